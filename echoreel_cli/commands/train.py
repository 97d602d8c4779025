"""`echoreel train`: one stage of the mini model, or the bundle of all of them."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from echoreel_cli.console import Bar, Console, JsonOption, QuietOption
from echoreel_index.errors import UsageError

if TYPE_CHECKING:
    from echoreel_cli.train.loop import Progress
    from echoreel_cli.train.presets import Scale, Stage

SCHEMA, LIST_SCHEMA = "echoreel.train/1", "echoreel.preset/1"
EXPORT_SCHEMA, IMPORT_SCHEMA = "echoreel.train-export/1", "echoreel.train-import/1"
EXPORT, IMPORT = "mini-export", "mini-import"
QUIET_SECONDS = 30.0
"""Off a terminal, a line of progress at most this often."""
LOOP, BUNDLE = "How to train", "mini-export and mini-import"


def register(app: typer.Typer) -> None:
    """Add the command `train`."""
    app.command("train")(train)


def train(
    preset: Annotated[
        str | None, typer.Argument(metavar="[PRESET]", help="A stage, mini-export or mini-import; see --list.", show_default=False)
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Run folder: everything is kept there and found again.")] = None,
    steps: Annotated[int | None, typer.Option("--steps", min=1, help="Train until this step.", rich_help_panel=LOOP)] = None,
    batch: Annotated[int | None, typer.Option("--batch", min=1, help="Clips in each step.", rich_help_panel=LOOP)] = None,
    learning_rate: Annotated[float | None, typer.Option("--learning-rate", help="Highest learning rate.", rich_help_panel=LOOP)] = None,
    seed: Annotated[int | None, typer.Option("--seed", min=0, help="Of fresh weights and of every batch.", rich_help_panel=LOOP)] = None,
    max_minutes: Annotated[
        float | None, typer.Option("--max-minutes", min=0, help="Stop after this long, whatever the step.", rich_help_panel=LOOP)
    ] = None,
    compile: Annotated[
        bool | None,
        typer.Option("--compile/--no-compile", help="Compile the network first; worth it from some minutes on.", rich_help_panel=LOOP),
    ] = None,
    precision: Annotated[str | None, typer.Option("--precision", help="no, bf16 or fp16.", rich_help_panel=LOOP)] = None,
    scale: Annotated[str, typer.Option("--scale", help="full, or tiny: everything in seconds, to see that it runs.")] = "full",
    to: Annotated[Path | None, typer.Option("--to", help="Folder of the bundle.", rich_help_panel=BUNDLE)] = None,
    bundle: Annotated[
        Path | None, typer.Option("--from", help="Bundle to go on from; what echoreel carries otherwise.", rich_help_panel=BUNDLE)
    ] = None,
    evaluation: Annotated[
        Path | None, typer.Option("--eval", help="Result of eval mini --json, for the record.", rich_help_panel=BUNDLE)
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a bundle that is there.", rich_help_panel=BUNDLE)] = False,
    show_list: Annotated[bool, typer.Option("--list", help="Name the presets, and do nothing.")] = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Train one stage of the mini model; run it again to go on where it stopped.

    The small world is rendered into the run folder first. Ctrl-C and SIGTERM save and leave with code 130.
    The stages in order: mini-words, mini-base, mini-action, mini-sharpen; mini-retriever and mini-judge.
    mini-export writes what all of them made as the folders that echoreel carries with it;
    mini-import is the way back: a run folder whose stages go on from those weights.

    Examples:
      echoreel train --list
      echoreel train mini-words --out runs
      echoreel train mini-base --out runs --max-minutes 60
      echoreel train mini-export --out runs --to bundle
    """
    console = Console(json=as_json, quiet=quiet)
    if show_list:
        _list(console)
        return
    if preset is None:
        raise UsageError("no preset was named", hint="see echoreel train --list")
    chosen = _scale(scale)
    if bundle is not None and preset != IMPORT:
        raise UsageError(f"--from goes with {IMPORT} only")
    if preset == EXPORT:
        _export(console, _needed(out, "--out"), _needed(to, "--to"), chosen, evaluation, force)
        return
    for name, value in (("--to", to), ("--eval", evaluation), ("--force", force or None)):
        if value is not None:
            raise UsageError(f"{name} goes with {EXPORT} only")
    if preset == IMPORT:
        _import(console, _needed(out, "--out"), bundle)
        return
    stage = _stage(preset, chosen).with_loop(
        steps=steps,
        batch=batch,
        learning_rate=learning_rate,
        seed=seed,
        max_minutes=max_minutes,
        compile=compile,
        precision=_precision(precision),
    )
    if steps is not None and stage.loop.log_every > steps:
        stage = replace(stage, loop=replace(stage.loop, log_every=steps))
    given = {
        "--out": out,
        "--steps": steps,
        "--batch": batch,
        "--learning-rate": learning_rate,
        "--seed": seed,
        "--max-minutes": max_minutes,
        "--compile": compile,
        "--precision": precision,
        "--scale": None if scale == "full" else scale,
    }
    _run(console, stage, _needed(out, "--out"), _as_typed(preset, given))


def _stage(name: str, scale: Scale) -> Stage:
    from echoreel_cli.train.presets import preset

    return preset(name, scale)


def _scale(text: str) -> Scale:
    from echoreel_cli.train.presets import SCALES

    if text not in SCALES:
        raise UsageError(f"--scale must be one of {', '.join(SCALES)}, got {text!r}")
    return text


def _precision(text: str | None) -> str | None:
    known = {"no": "no", "fp32": "no", "float32": "no", "bf16": "bf16", "bfloat16": "bf16", "fp16": "fp16", "float16": "fp16"}
    if text is not None and text not in known:
        raise UsageError(f"--precision must be no, bf16 or fp16, got {text!r}")
    return None if text is None else known[text]


def _needed(folder: Path | None, option: str) -> Path:
    if folder is None:
        raise UsageError(f"{option} is missing", hint="everything is kept in that folder")
    return folder.expanduser()


def _list(console: Console) -> None:
    from echoreel_cli.train.presets import PRESETS

    stages = [make("full") for make in PRESETS.values()]
    if console.as_json:
        for stage in stages:
            length = {"steps": stage.loop.steps, "batch": stage.loop.batch}
            console.json({"schema": LIST_SCHEMA, "preset": stage.name, "about": stage.about, "needs": list(stage.needs), **length})
    elif console.quiet:
        for stage in stages:
            console.result(stage.name)
    else:
        rows = [(stage.name, f"{stage.loop.steps} steps of {stage.loop.batch}", stage.about) for stage in stages]
        bundles = [(EXPORT, "", "writes the bundle of all of them"), (IMPORT, "", "starts a run folder from a bundle")]
        console.table([*rows, *bundles], header=("preset", "length", "what it trains"))


def _as_typed(preset: str, options: Mapping[str, object]) -> str:
    """The command line that gives these options; what was not given is left out."""
    words = ["echoreel", "train", preset]
    for name, value in options.items():
        if value is True or value is False:
            words.append(name if value else f"--no-{name.removeprefix('--')}")
        elif value is not None:
            words += [name, str(value)]
    return shlex.join(words)


def _run(console: Console, stage: Stage, out: Path, command: str) -> None:
    from echoreel_cli.train.stages import run_stage

    with _preparing(console) as making, _training(console, stage) as progress:
        done = run_stage(stage, out, command=command, making=making, progress=progress)
    if console.as_json:
        console.json(
            {"schema": SCHEMA, "preset": stage.name, "step": done.step, "folder": str(done.folder), "seconds": round(done.seconds, 1)}
        )
    elif console.quiet:
        console.result(str(done.folder))
    else:
        console.result(f"{stage.name}: step {done.step} of {stage.loop.steps} in {done.folder} ({done.seconds:.0f} s)")


def _export(console: Console, out: Path, to: Path, scale: Scale, evaluation: Path | None, force: bool) -> None:
    from datetime import date

    from echoreel_cli.train.export import export_mini, read_evaluation
    from echoreel_cli.train.record import describe_machine

    figures = read_evaluation(evaluation) if evaluation is not None else None
    with _preparing(console) as making:
        done = export_mini(
            out, to, date=date.today().isoformat(), machine=describe_machine(), scale=scale, evaluation=figures, force=force, making=making
        )
    if console.as_json:
        console.json({"schema": EXPORT_SCHEMA, "folder": str(done.folder), "parameters": dict(done.parameters), "steps": dict(done.steps)})
    elif console.quiet:
        console.result(str(done.folder))
    else:
        console.result(f"{done.folder}: {', '.join(f'{name} {number / 1e6:.2f} M' for name, number in done.parameters.items())}")


def _import(console: Console, out: Path, bundle: Path | None) -> None:
    from echoreel_cli.mini import weights_folder
    from echoreel_cli.train.bundle_in import import_mini

    names = import_mini(weights_folder() if bundle is None else bundle.expanduser(), out)
    if console.as_json:
        console.json({"schema": IMPORT_SCHEMA, "folder": str(out), "presets": list(names)})
    elif console.quiet:
        console.result(str(out))
    else:
        console.result(f"{out}: {', '.join(names)} go on from there")


@contextmanager
def _preparing(console: Console) -> Iterator[Callable[[str, int, int], None]]:
    """Bars for what is rendered and encoded first, each drawn only while it moves."""
    shown: list[Any] = []
    told: set[str] = set()

    def making(what: str, done: int, total: int) -> None:
        if what not in told:
            told.add(what)
            _close(shown)
            console.note(f"{what}: {total} clips" if total > 1 else what)
            bar = console.progress(total, what)
            shown[:] = [bar, bar.__enter__(), 0]
        if shown:
            cast(Bar, shown[1]).advance(done - shown[2])
            shown[2] = done
            if done >= total:
                _close(shown)

    try:
        yield making
    finally:
        _close(shown)


def _close(shown: list[Any]) -> None:
    if shown:
        shown[0].__exit__(None, None, None)
        shown.clear()


@contextmanager
def _training(console: Console, stage: Stage) -> Iterator[Callable[[Progress], None]]:
    """A bar on a terminal, drawn from the first step on; elsewhere a line now and then."""
    from contextlib import ExitStack

    with ExitStack() as drawn:
        bars: list[Bar] = []
        before = [0, time.monotonic() - QUIET_SECONDS]

        def progress(line: Progress) -> None:
            text = f"{stage.name} step {line.step}/{line.steps}  loss {line.loss:.4f}  {line.samples_per_second:.1f} clips/s"
            if not sys.stderr.isatty():
                if time.monotonic() - before[1] >= QUIET_SECONDS or line.step == line.steps:
                    before[1] = time.monotonic()
                    console.note(f"{text}  {_time_left(line.seconds_left)} left")
                return
            if not bars:
                bars.append(drawn.enter_context(console.progress(line.steps, stage.name)))
            bars[0].advance(line.step - before[0], f"{stage.name}  loss {line.loss:.4f}  {line.samples_per_second:.1f} clips/s")
            before[0] = line.step

        yield progress


def _time_left(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
