"""`echoreel gen`: prompts and references in, videos out."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from echoreel_cli.commands.making import STDIO, Run, generate, make_again, read_model
from echoreel_cli.config import OFFLOADS, Settings, load
from echoreel_cli.console import Console, JsonOption, QuietOption
from echoreel_index.errors import UsageError
from echoreel_index.nouns import Reference

if TYPE_CHECKING:
    from echoreel_cli.generate.jobs import Wanted
    from echoreel_cli.generate.plan import Sampling
    from echoreel_cli.generate.prompts import Prompt
    from echoreel_cli.models.folder import ModelInfo

T = TypeVar("T")
PROMPT, REFERENCES, VIDEO, RUN, OUTPUT = "What to make", "References", "The video", "How to run", "Output"


def register(app: typer.Typer) -> None:
    """Add the command `gen`."""
    app.command("gen")(gen)


def gen(
    prompt: Annotated[
        list[str] | None, typer.Argument(metavar="PROMPT...", help="What the video shows; `-` reads prompts from stdin.")
    ] = None,
    prompts: Annotated[
        Path | None, typer.Option("--prompts", help="File of prompts: one a line, or JSON lines.", rich_help_panel=PROMPT)
    ] = None,
    again: Annotated[
        Path | None, typer.Option("--from", help="Make a video again, from the JSON file beside it.", rich_help_panel=PROMPT)
    ] = None,
    negative: Annotated[str | None, typer.Option("--negative", help="What the video must not show.", rich_help_panel=PROMPT)] = None,
    k: Annotated[
        int | None, typer.Option("--k", "-k", min=0, help="Clips to find; 0 is the model alone.", rich_help_panel=REFERENCES)
    ] = None,
    ref: Annotated[
        list[str] | None,
        typer.Option("--ref", help="A clip to use: FILE or FILE@START-END; `-` reads hits of search --json.", rich_help_panel=REFERENCES),
    ] = None,
    library: Annotated[Path | None, typer.Option("--library", help="Folder of the library.", rich_help_panel=REFERENCES)] = None,
    query: Annotated[
        str | None, typer.Option("--query", help="Look for this, not for PROMPT: words, a clip, a picture.", rich_help_panel=REFERENCES)
    ] = None,
    without: Annotated[
        list[str] | None, typer.Option("--not", help="Not this clip: an id of search, or a file.", rich_help_panel=REFERENCES)
    ] = None,
    anything: Annotated[
        bool, typer.Option("--any", help="The nearest clips, even if they do not fit.", rich_help_panel=REFERENCES)
    ] = False,
    min_fit: Annotated[
        float | None, typer.Option("--min-fit", min=0, max=1, help="How sure it must be that a clip fits.", rich_help_panel=REFERENCES)
    ] = None,
    min_score: Annotated[float | None, typer.Option("--min-score", help="Lower clips are no match.", rich_help_panel=REFERENCES)] = None,
    allow_no_match: Annotated[
        bool, typer.Option("--allow-no-match", help="Go on without references if none is good enough.", rich_help_panel=REFERENCES)
    ] = False,
    seed: Annotated[
        int | None, typer.Option("--seed", min=0, help="Random unless given; printed and stored.", rich_help_panel=VIDEO)
    ] = None,
    count: Annotated[int, typer.Option("--count", min=1, help="Videos of each prompt; their seeds follow.", rich_help_panel=VIDEO)] = 1,
    steps: Annotated[int | None, typer.Option("--steps", min=1, help="Denoising steps.", rich_help_panel=VIDEO)] = None,
    guidance: Annotated[
        float | None, typer.Option("--guidance", help="How strictly the prompt is followed.", rich_help_panel=VIDEO)
    ] = None,
    action_guidance: Annotated[
        float | None, typer.Option("--action-guidance", help="How strictly the clips are followed.", rich_help_panel=VIDEO)
    ] = None,
    size: Annotated[str | None, typer.Option("--size", metavar="WxH", help="Pixels, such as 256x256.", rich_help_panel=VIDEO)] = None,
    frames: Annotated[int | None, typer.Option("--frames", min=1, help="Number of frames.", rich_help_panel=VIDEO)] = None,
    fps: Annotated[float | None, typer.Option("--fps", help="Frames a second.", rich_help_panel=VIDEO)] = None,
    model: Annotated[str | None, typer.Option("--model", help="Name or folder; see echoreel models list.", rich_help_panel=RUN)] = None,
    device: Annotated[str | None, typer.Option("--device", help="auto, cpu, cuda, cuda:1, mps.", rich_help_panel=RUN)] = None,
    dtype: Annotated[str | None, typer.Option("--dtype", help="auto, float32, bfloat16, float16.", rich_help_panel=RUN)] = None,
    offload: Annotated[
        str | None, typer.Option("--offload", help="none, model (parts wait in main memory) or auto.", rich_help_panel=RUN)
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", "-n", help="Say what would be done, and do nothing.", rich_help_panel=RUN)] = False,
    accept_changes: Annotated[
        bool, typer.Option("--accept-changes", help="With --from: go on if references or weights have changed.", rich_help_panel=RUN)
    ] = False,
    output: Annotated[
        str | None,
        typer.Option(
            "--output", "-o", help="out.mp4, folder/ or - for stdout.", show_default="<prompt>-<seed>.mp4", rich_help_panel=OUTPUT
        ),
    ] = None,
    sheet: Annotated[bool, typer.Option("--sheet", help="Also write a contact sheet: out.png.", rich_help_panel=OUTPUT)] = False,
    force: Annotated[bool, typer.Option("--force", help="Overwrite files that are there.", rich_help_panel=OUTPUT)] = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Generate a video of PROMPT, led by the clips of the library that show its action.

    Prints the path of each video; out.json beside it says how it was made.
    A line of a prompt file may be a JSON object with the keys prompt, seed, negative, output, k, refs.
    Of several videos with one name in -o each gets a number: out-0001.mp4.

    Examples:
      echoreel gen "a person doing a backflip" --k 3 -o backflip.mp4
      echoreel gen "a person doing a backflip" --ref flip.mp4@1.5-3.5 --ref other.mp4
      echoreel search "a cartwheel" --k 2 --json | echoreel gen "a clown doing a cartwheel" --ref -
      echoreel gen --prompts prompts.txt --count 4 --seed 1 -o videos/
      echoreel gen "a robot doing a backflip" --query "a person doing a backflip" --not old.mp4
      echoreel gen --from backflip.json -o again.mp4
    """
    from echoreel_cli.commands.asking import unwanted
    from echoreel_cli.generate.retrieve import Choice

    console = Console(json=as_json, quiet=quiet)
    if output == STDIO and (as_json or sheet):
        raise UsageError("standard output carries the video itself", hint="-o - goes with neither --json nor --sheet")
    if output == STDIO and sys.stdout.isatty() and not dry_run:
        raise UsageError("a terminal cannot show a video", hint="send it on: ... -o - | ffplay -")
    settings = load()
    run = Run(
        console=console,
        model=model or settings.model,
        device=device or settings.device,
        dtype=dtype or settings.dtype,
        offload=offload or settings.offload,
        library=library.expanduser() if library is not None else settings.library,
        choice=Choice(
            query=query,
            without=tuple(unwanted(one) for one in without or ()),
            min_fit=min_fit,
            min_score=settings.min_score if min_score is None else min_score,
            anything=anything,
        ),
        allow_no_match=allow_no_match,
        sheet=sheet,
        force=force,
        dry_run=dry_run,
    )
    if run.offload not in OFFLOADS:
        raise UsageError(f"--offload must be one of {', '.join(OFFLOADS)}, got {run.offload!r}")
    if again is not None:
        _only_with_from(prompt, prompts, ref, k, seed, steps, guidance, action_guidance, size, frames, fps, negative, count, model)
        make_again(run, again, output, accept_changes, device, dtype)
        return
    words = _read_prompts(prompt or [], prompts, from_stdin_too=STDIO in (ref or []))
    refs = _read_references(ref, k)
    info, folder, shape = read_model(run.model)
    options = _sampling(info, settings, seed, steps, guidance, action_guidance, size, frames, fps, negative)
    wanted = _wanted(words, options, count, settings.k if k is None else k, refs, output, seed)
    generate(run, wanted, info, folder, shape)


def _read_prompts(words: Sequence[str], file: Path | None, *, from_stdin_too: bool) -> list[Prompt]:
    from echoreel_cli.generate.prompts import Prompt, parse_prompts

    if file is not None and words:
        raise UsageError("prompts come from arguments or from --prompts, not from both")
    if not words and file is None:
        raise UsageError("there is no prompt", hint='echoreel gen "a person doing a backflip"')
    if list(words) == [STDIO] or (file is not None and str(file) == STDIO):
        if from_stdin_too:
            raise UsageError(
                "standard input cannot bring prompts and references at once", hint="put one of them into a file or an argument"
            )
        return parse_prompts(sys.stdin, "standard input")
    if file is not None:
        try:
            return parse_prompts(file.read_text(encoding="utf-8").splitlines(), str(file))
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"cannot read prompts from {file}: {error}") from error
    if STDIO in words:
        raise UsageError("`-` reads all prompts from standard input, so no other can be given")
    if any(not word.strip() for word in words):
        raise UsageError("a prompt is empty")
    return [Prompt(word.strip()) for word in words]


def _read_references(given: Sequence[str] | None, k: int | None) -> tuple[Reference, ...] | None:
    """None when the library is to be asked."""
    from echoreel_cli.generate.prompts import parse_hits, parse_reference

    if not given:
        return None
    if k == 0:
        raise UsageError("--k 0 is the model without references, and --ref names one")
    found: list[Reference] = []
    for text in given:
        found += parse_hits(sys.stdin, "standard input") if text == STDIO else [parse_reference(text)]
    return tuple(found)


def _sampling(
    info: ModelInfo,
    settings: Settings,
    seed: int | None,
    steps: int | None,
    guidance: float | None,
    action_guidance: float | None,
    size: str | None,
    frames: int | None,
    fps: float | None,
    negative: str | None,
) -> Sampling:
    """Options over settings over the model's own values."""
    from echoreel_cli.generate.plan import Sampling

    own = info.defaults
    width, height = _parsed_size(size) if size is not None else (own.width, own.height)
    return Sampling(
        seed=seed or 0,
        steps=_first(steps, settings.steps, own.steps),
        guidance=_first(guidance, settings.guidance, own.guidance),
        action_guidance=_first(action_guidance, settings.action_guidance, own.action_guidance),
        eta=own.eta,
        height=height,
        width=width,
        frames=_first(frames, None, own.frames),
        fps=_first(fps, None, own.fps),
        negative=own.negative if negative is None else negative,
    )


def _first(option: T | None, setting: T | None, default: T) -> T:
    return option if option is not None else setting if setting is not None else default


def _parsed_size(text: str) -> tuple[int, int]:
    """`256x192` or `256`: (width, height)."""
    parts = text.lower().replace("\u00d7", "x").split("x")
    if len(parts) > 2 or not all(part.strip().isdecimal() for part in parts):
        raise UsageError(f"cannot read the size {text!r}", hint="write WIDTHxHEIGHT in pixels, as in 256x256")
    return int(parts[0]), int(parts[-1])


def _wanted(
    words: Sequence[Prompt],
    sampling: Sampling,
    count: int,
    k: int,
    refs: tuple[Reference, ...] | None,
    output: str | None,
    seed: int | None,
) -> list[Wanted]:
    import secrets

    from echoreel_cli.generate.jobs import wanted_videos

    new_seed = (lambda: secrets.randbelow(2**31)) if seed is None else None
    return wanted_videos(words, sampling, count=count, k=k, refs=refs, output=output, new_seed=new_seed)


def _only_with_from(
    prompt: Sequence[str] | None, prompts: Path | None, ref: Sequence[str] | None, k: int | None, seed: int | None, *others: object
) -> None:
    """A record says everything that decides the bytes; an option that contradicts it would be ignored."""
    given = [prompt, prompts, ref, k, seed, *others]
    names = [
        "PROMPT",
        "--prompts",
        "--ref",
        "--k",
        "--seed",
        "--steps",
        "--guidance",
        "--action-guidance",
        "--size",
        "--frames",
        "--fps",
        "--negative",
        "--count",
        "--model",
    ]
    for name, value in zip(names, given, strict=True):
        if value is not None and value != [] and not (name == "--count" and value == 1):
            raise UsageError(
                f"--from takes everything from the record, so {name} cannot be given", hint="generate without --from to change it"
            )
