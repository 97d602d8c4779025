"""What a search found, on the screen: a table, why each hit is where it is, bare paths, or JSON."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from echoreel_cli.console import Console

if TYPE_CHECKING:
    from echoreel_index.library import Library
    from echoreel_index.nouns import Hit, Signal

SCHEMA = "echoreel.hit/1"
HEADER = ("path", "start", "end", "score")


def say_hits(console: Console, hits: Sequence[Hit], query: str, library: Library, *, explain: bool, end: str) -> None:
    """The hits of one search to stdout; bare paths end with `end`, each once."""
    if console.as_json:
        for hit in hits:
            console.json(as_json_hit(hit, query, library))
    elif console.quiet:
        for path in dict.fromkeys(hit.clip.path for hit in hits):
            console.result(path, end=end)
    elif explain:
        rows = [_cells(hit) for hit in hits]
        for hit, line in zip(hits, aligned(rows), strict=True):
            console.result("\n".join((line, *explanation(hit))))
    else:
        console.table([_cells(hit) for hit in hits], header=HEADER)
        for hit in hits:
            if hit.problems:
                console.note(f"{short_hit(hit)} would be a poor reference: {', '.join(hit.problems)}")


def _cells(hit: Hit) -> tuple[str, ...]:
    return hit.clip.path, f"{hit.clip.start:.2f}", f"{hit.clip.end:.2f}", f"{hit.score:.3f}"


def explanation(hit: Hit) -> list[str]:
    """Lines that say why the hit is where it is: each signal's value, place and weight, then what they come to."""
    rows = [(signal.name, _value(signal), f"place {signal.rank}", f"weight {signal.weight:g}") for signal in hit.signals]
    fit = "" if hit.fit is None else f", fit {hit.fit:.3f}"
    problems = [f"no good reference: {problem}" for problem in hit.problems]
    return [f"    {line}" for line in (*aligned(rows), f"fused {hit.fused:.3f}{fit}", *problems)]


def _value(signal: Signal) -> str:
    """BM25 scores have no fixed range; all others are small."""
    if signal.value is None:
        return "unknown"
    return f"{signal.value:.2f}" if signal.name == "words" else f"{signal.value:.4f}"


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Cells in columns: names and words to the left, numbers, none of them in the first column, to the right."""
    if not rows:
        return []
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [_line(row, widths) for row in rows]


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    cells = [
        cell.ljust(width) if column == 0 or cell[:1].isalpha() else cell.rjust(width)
        for column, (cell, width) in enumerate(zip(row, widths, strict=True))
    ]
    return "  ".join(cells).rstrip()


def short_hit(hit: Hit) -> str:
    """`flip.mp4 12.50-14.50`."""
    return f"{Path(hit.clip.path).name} {hit.clip.start:.2f}-{hit.clip.end:.2f}"


def as_json_hit(hit: Hit, query: str, library: Library) -> dict[str, object]:
    """One line of `search --json`; `gen --ref -` reads it."""
    clip = hit.clip
    return {
        "schema": SCHEMA,
        "query": query,
        "rank": hit.rank,
        "id": clip.id,
        "path": clip.path,
        "start": clip.start,
        "end": clip.end,
        "score": _rounded(hit.score),
        "fused": _rounded(hit.fused),
        "fit": _rounded(hit.fit),
        "caption": clip.caption,
        "source": clip.source,
        "licence": clip.licence,
        "sha256": clip.sha256,
        "duration": clip.duration,
        "width": clip.width,
        "height": clip.height,
        "date": clip.date,
        "motion": _rounded(clip.motion),
        "brightness": _rounded(clip.brightness),
        "one_shot": clip.one_shot,
        "problems": list(hit.problems),
        "signals": [
            {"name": one.name, "value": _rounded(one.value), "rank": one.rank, "weight": one.weight} for one in hit.signals
        ],
        "library": os.path.abspath(library.folder),
        "encoder": library.card.name,
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)
