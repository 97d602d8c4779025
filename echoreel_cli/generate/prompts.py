"""What to make, in the user's words: prompts from arguments, files and standard input.

A line is a prompt as it stands, or a JSON object:

    {"prompt": "a person doing a backflip", "seed": 7, "refs": ["clip.mp4@1.0-3.0"], "output": "flip.mp4"}

Empty lines and lines that begin with `#` are skipped.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from echoreel_index.errors import UsageError
from echoreel_index.nouns import Reference
from echoreel_index.query import piece

WHOLE_FILE = float("inf")
"""End of a reference that was named without times: the end of its file, found when it is opened."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """One line of work; what is None is taken from the options."""

    text: str
    seed: int | None = None
    negative: str | None = None
    output: str | None = None
    k: int | None = None
    refs: tuple[Reference, ...] | None = None


_KEYS = ("prompt", "seed", "negative", "output", "k", "refs")


def parse_prompts(lines: Iterable[str], where: str) -> list[Prompt]:
    """Every prompt of a text; `where` names it in errors. UsageError when there is none."""
    prompts = []
    for number, line in enumerate(lines, start=1):
        line = line.strip().lstrip("\ufeff")
        if not line or line.startswith("#"):
            continue
        prompts.append(_json_prompt(line, f"{where}, line {number}") if line.startswith("{") else Prompt(line))
    if not prompts:
        raise UsageError(f"{where} holds no prompt", hint="one prompt a line, or JSON objects with a `prompt`")
    return prompts


def _json_prompt(line: str, where: str) -> Prompt:
    value = _object(line, where)
    for key in value:
        if key not in _KEYS:
            near = difflib.get_close_matches(key, _KEYS, n=1, cutoff=0.0)[0]
            raise UsageError(f"{where}: unknown key {key!r}, did you mean {near!r}?", hint=f"known keys: {', '.join(_KEYS)}")
    text = _field(value, "prompt", str, where)
    if text is None or not text.strip():
        raise UsageError(f"{where}: `prompt` is missing or empty")
    refs = _field(value, "refs", list, where)
    return Prompt(
        text=text.strip(),
        seed=_field(value, "seed", int, where),
        negative=_field(value, "negative", str, where),
        output=_field(value, "output", str, where),
        k=_field(value, "k", int, where),
        refs=None if refs is None else tuple(_reference(item, where) for item in refs),
    )


def _reference(item: object, where: str) -> Reference:
    if isinstance(item, str):
        return parse_reference(item)
    if isinstance(item, dict):
        return _hit(item, where)
    raise UsageError(f"{where}: a reference is FILE@START-END or an echoreel.hit/1 object, got {item!r}")


def parse_reference(text: str) -> Reference:
    """`FILE`, `FILE@START-END` or `FILE@START-`, read as in a query. Raises UsageError."""
    path, start, end = piece(text)
    return Reference(path=path, start=start, end=WHOLE_FILE if end is None else end)


def parse_hits(lines: Iterable[str], where: str) -> list[Reference]:
    """References out of the JSON lines that `echoreel search --json` prints."""
    hits = [_hit(_object(line, f"{where}, line {n}"), f"{where}, line {n}") for n, line in enumerate(lines, 1) if line.strip()]
    if not hits:
        raise UsageError(f"{where} holds no reference", hint='try: echoreel search "..." --json | echoreel gen "..." --ref -')
    return hits


def _hit(value: Mapping[str, Any], where: str) -> Reference:
    schema = value.get("schema", "echoreel.hit/1")
    if schema != "echoreel.hit/1":
        raise UsageError(f"{where}: expected schema echoreel.hit/1, got {schema!r}")
    path = _field(value, "path", str, where)
    start, end = _field(value, "start", float, where), _field(value, "end", float, where)
    if path is None or start is None or end is None or end <= start or start < 0:
        raise UsageError(f"{where}: a reference needs `path`, `start` and `end`, with 0 <= start < end")
    return Reference(
        path=str(Path(path).absolute()),
        start=start,
        end=end,
        caption=_field(value, "caption", str, where),
        score=_field(value, "score", float, where),
        clip_id=_field(value, "id", str, where),
        source=_field(value, "source", str, where),
        licence=_field(value, "licence", str, where),
        sha256=_field(value, "sha256", str, where),
    )


def _object(line: str, where: str) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except json.JSONDecodeError as error:
        raise UsageError(f"{where}: not JSON: {error.msg} at column {error.colno}") from None
    if not isinstance(value, dict):
        raise UsageError(f"{where}: expected a JSON object, got {type(value).__name__}")
    return value


T = TypeVar("T", str, int, float, list[Any])


def _field(value: Mapping[str, Any], key: str, kind: type[T], where: str) -> T | None:
    got = value.get(key)
    if got is None:
        return None
    if kind is float and isinstance(got, int) and not isinstance(got, bool):
        got = float(got)
    if not isinstance(got, kind) or isinstance(got, bool):
        raise UsageError(f"{where}: `{key}` must be {kind.__name__}, got {got!r}")
    return got
