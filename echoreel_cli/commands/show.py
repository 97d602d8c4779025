"""`echoreel show`: how a generated video was made, from the file beside it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from echoreel_cli.console import Console, JsonOption, QuietOption, emphasised

if TYPE_CHECKING:
    from echoreel_cli.generate.provenance import Record
    from echoreel_index.nouns import Reference


def register(app: typer.Typer) -> None:
    """Add the command `show`."""
    app.command("show")(show)


def show(
    file: Annotated[Path, typer.Argument(help="A generated video, or the JSON file beside it.")],
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Say how a generated video was made: prompt, seed, model, references, timings.

    With -q only the paths of the references are printed.

    Examples:
      echoreel show backflip.mp4
      echoreel show backflip.mp4 --json | jq .references
    """
    from echoreel_cli.generate.provenance import load
    from echoreel_index.strict_json import to_json

    console = Console(json=as_json, quiet=quiet)
    record = load(file)
    if as_json:
        console.json(to_json(record))
        return
    for line in (reference.path for reference in record.references) if quiet else described(record):
        console.result(line)


def described(record: Record) -> Iterator[str]:
    """The record for a person."""
    yield _row("prompt", record.prompt)
    yield _row("negative", record.negative or "-")
    yield _row("seed", record.seed)
    size = f"{record.width} x {record.height}"
    yield _row("video", f"{record.frames} frames of {size} at {record.fps:g} a second, {record.video.bytes} bytes")
    yield _row("steps", f"{record.steps}, guidance {record.guidance:g}, action guidance {record.action_guidance:g}, eta {record.eta:g}")
    yield _row("model", f"{record.model.name} ({record.model.backbone}, adapter: {record.model.adapter or 'none'})")
    yield _row("ran on", f"{record.device}, {record.dtype}, {record.threads} threads, offload {record.offload}")
    yield _row("made", record.created)
    yield _row("with", ", ".join(f"{name} {version}" for name, version in record.versions.items()))
    if record.retrieval:
        floor = "no score floor" if record.retrieval.min_score is None else f"score floor {record.retrieval.min_score:g}"
        yield _row("library", f"{record.retrieval.library} (encoder {record.retrieval.encoder}, k {record.retrieval.k}, {floor})")
    yield ""
    yield emphasised("references") if record.references else "no references: the model alone"
    for place, reference in enumerate(record.references, start=1):
        yield f"  {place}  {_reference(reference)}"
    yield ""
    yield emphasised("seconds")
    for name, seconds in record.timings.items():
        yield f"  {name:<14}{seconds:9.3f}"


def _row(name: str, value: object) -> str:
    return f"{name:<10}{value}"


def _reference(reference: Reference) -> str:
    words = [reference.path, f"{reference.start:.2f}-{reference.end:.2f} s"]
    if reference.score is not None:
        words.append(f"score {reference.score:.3f}")
    named = (("caption", reference.caption), ("source", reference.source), ("licence", reference.licence))
    return "  ".join([*words, *(f"{name}: {value}" for name, value in named if value)])
