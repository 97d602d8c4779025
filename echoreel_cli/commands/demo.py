"""`echoreel demo`: the whole path on drawn videos, as one page and one picture."""

from __future__ import annotations

import json
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from echoreel_cli.config import load
from echoreel_cli.console import Bar, Console, JsonOption, QuietOption
from echoreel_index.errors import UsageError

if TYPE_CHECKING:
    from echoreel_cli.demo.nouns import Plan, Step, Story

DOING = {"draw": "drawing", "index": "indexing", "generate": "generating"}
DONE = {"load": "loaded", "draw": "drew", "index": "indexed", "search": "found", "generate": "generated", "write": "wrote"}


def register(app: typer.Typer) -> None:
    """Add the command `demo`."""
    app.command("demo")(demo)


def demo(
    folder: Annotated[Path, typer.Argument(metavar="[FOLDER]", help="A folder of its own for the demo.")] = Path("echoreel-demo"),
    clips: Annotated[int, typer.Option(min=1, help="Videos to draw.")] = 80,
    prompt: Annotated[
        list[str] | None,
        typer.Option(help="What to make; may be given more than once.  [default: a backflip, and a cartwheel]"),
    ] = None,
    k: Annotated[int, typer.Option("--k", "-k", min=1, help="Clips to find for each prompt.")] = 3,
    seed: Annotated[int, typer.Option(min=0, help="Of the drawn videos and of the noise.")] = 4,
    steps: Annotated[int | None, typer.Option(min=1, help="Denoising steps.  [default: the model's own]")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a finished demo.")] = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """See the whole path at work, with nothing but what is installed: index, search, generate.

    Draws a small library of videos, indexes it, searches it, and generates each prompt twice with one seed: by the
    bundled video model alone, and by the same model shown the clips that were found. Prints the paths of a page to open
    in a browser and of a picture. What was drawn before with the same seed is used again.

    Examples:
      echoreel demo
      echoreel demo flips --prompt "a person doing a handstand" --seed 3
      echoreel demo --force --k 1 --json
    """
    console = Console(json=as_json, quiet=quiet)
    plan = _plan(folder, clips, prompt, k, seed, steps, device)
    plan.folder.refuse(force=force)
    story = _told(console, plan)
    if as_json:
        from echoreel_cli.demo.nouns import as_json as to_json

        console.json(to_json(story))
        return
    console.result(str(plan.folder.page))
    console.result(str(plan.folder.picture))


def _plan(folder: Path, clips: int, prompt: list[str] | None, k: int, seed: int, steps: int | None, device: str | None) -> Plan:
    from echoreel_cli.demo.folder import DemoFolder
    from echoreel_cli.demo.nouns import Plan
    from echoreel_cli.demo.story import PROMPTS
    from echoreel_cli.devices import pick_device, pick_dtype

    prompts = tuple(dict.fromkeys(" ".join(text.split()) for text in prompt or PROMPTS))
    if "" in prompts:
        raise UsageError("a prompt is empty")
    settings = load()
    chosen = pick_device(device or settings.device)
    return Plan(DemoFolder(folder.expanduser()), prompts, clips, k, seed, steps, chosen, pick_dtype("auto", chosen))


def _told(console: Console, plan: Plan) -> Story:
    """The story, with its page, picture and record on disk; the page last, as the sign that all is there."""
    from echoreel_cli.demo.nouns import Step, as_json
    from echoreel_cli.demo.page import page
    from echoreel_cli.demo.picture import picture
    from echoreel_cli.demo.story import tell, timed
    from echoreel_cli.generate.write import write_atomically

    with Stages(console) as stages:
        story = tell(plan, watch=stages, warn=console.warn)
        with timed(story.seconds, "write"):
            write_atomically(plan.folder.picture, picture(story), force=True)
            content = page(story).encode()
        write_atomically(plan.folder.record, (json.dumps(as_json(story), indent=2) + "\n").encode(), force=True)
        write_atomically(plan.folder.page, content, force=True)
        stages(Step("write", 1, 1, f"{plan.folder.page} and {plan.folder.picture}"))
    return story


class Stages:
    """Draws one bar after the other, and a line when a stage ends."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._open = ExitStack()
        self._bar: Bar | None = None
        self._shown = 0
        self._began = time.monotonic()

    def __enter__(self) -> Stages:
        return self

    def __exit__(self, *error: object) -> None:
        self._open.close()

    def __call__(self, step: Step) -> None:
        """What the story tells."""
        if step.said is not None:
            self._open.close()
            self._bar, self._shown = None, 0
            first, *rest = step.said.splitlines()
            spent, self._began = time.monotonic() - self._began, time.monotonic()
            self._console.note("\n".join([f"{DONE[step.stage]:<9} {first}  ({spent:.1f} s)", *(f"{'':<9} {line}" for line in rest)]))
            return
        if self._bar is None:
            self._bar = self._open.enter_context(self._console.progress(step.total, DOING[step.stage]))
        self._bar.advance(step.done - self._shown)
        self._shown = step.done
