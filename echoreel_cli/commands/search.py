"""`echoreel search`: words -> the pieces of indexed videos that show them."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from echoreel_cli.config import load
from echoreel_cli.console import Console, JsonOption, QuietOption
from echoreel_cli.devices import pick_device
from echoreel_index.errors import NoMatch, UsageError

if TYPE_CHECKING:
    from echoreel_index.library import Library
    from echoreel_index.nouns import Hit

SCHEMA = "echoreel.hit/1"


def register(app: typer.Typer) -> None:
    """Add the command `search`."""
    app.command("search")(search)


def search(
    text: Annotated[str, typer.Argument(help="What to look for, in words; - reads one search a line from stdin.")],
    k: Annotated[int, typer.Option("--k", "-k", min=1, help="How many pieces to find.")] = 5,
    library: Annotated[Path | None, typer.Option(help="Folder of the library.  [default: echoreel/library in the data folder]")] = None,
    encoder: Annotated[str | None, typer.Option(help="Must be the one that made the library.  [default: that one]")] = None,
    min_score: Annotated[float | None, typer.Option(help="Leave out what scores less (cosine, -1 to 1).")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")] = None,
    print0: Annotated[bool, typer.Option("--print0", "-0", help="Bare paths, each followed by a null byte, for xargs -0.")] = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Find the pieces of your videos that show what TEXT says: path, start, end (seconds) and score.

    No two pieces of one file overlap. Nothing found, or nothing above --min-score: exit 3.

    Examples:
      echoreel search "a person doing a backflip" --k 3
      echoreel search "someone opens a door" --json | echoreel gen "a robot opens a door" --ref -
      echoreel search "a dog jumps" -0 | xargs -0 ls -l
    """
    from contextlib import closing

    from echoreel_cli.commands.index import same_name
    from echoreel_cli.models.encoders import open_encoder
    from echoreel_index.library import Library

    console = Console(json=as_json, quiet=quiet or print0)
    settings = load()
    folder = library.expanduser() if library is not None else settings.library
    floor = settings.min_score if min_score is None else min_score
    texts = _texts(text)
    with closing(Library.open(folder)) as opened:
        same_name(opened, encoder)
        if opened.count() == 0:
            raise NoMatch(f"the library in {folder} holds no videos yet", hint="fill it with: echoreel index FOLDER")
        eye = open_encoder(encoder or opened.card.name, device=pick_device(device or settings.device))
        found = 0
        for line in texts:
            hits = opened.search(line, k=k, encoder=eye, min_score=floor)
            found += len(hits)
            _say(console, hits, opened, "\0" if print0 else "\n")
    if not found:
        reason = "" if floor is None else f" with a score of at least {floor:g}"
        raise NoMatch(f"nothing in {folder} matches{reason}", hint="lower --min-score, or index more videos")


def _texts(text: str) -> Iterator[str]:
    """The search itself, or those that stand on stdin."""
    if text != "-":
        if not text.strip():
            raise UsageError("there is nothing to search for: the text is empty")
        return iter((text,))
    if sys.stdin.isatty():
        raise UsageError("- reads searches from stdin, but stdin is a terminal", hint="pipe them in, one a line")
    return (line.strip() for line in sys.stdin if line.strip())


def _say(console: Console, hits: list[Hit], library: Library, end: str) -> None:
    if console.as_json:
        for hit in hits:
            console.json(as_json_hit(hit, library))
    elif console.quiet:
        for path in dict.fromkeys(hit.clip.path for hit in hits):
            console.result(path, end=end)
    else:
        rows = [(hit.clip.path, f"{hit.clip.start:.2f}", f"{hit.clip.end:.2f}", f"{hit.score:.3f}") for hit in hits]
        console.table(rows, header=("path", "start", "end", "score"))


def as_json_hit(hit: Hit, library: Library) -> dict[str, object]:
    """One line of `search --json`; `gen --ref -` reads it."""
    clip = hit.clip
    return {
        "schema": SCHEMA,
        "rank": hit.rank,
        "id": clip.id,
        "path": clip.path,
        "start": clip.start,
        "end": clip.end,
        "score": round(hit.score, 6),
        "caption": clip.caption,
        "source": clip.source,
        "licence": clip.licence,
        "sha256": clip.sha256,
        "library": os.path.abspath(library.folder),
        "encoder": library.card.name,
    }
