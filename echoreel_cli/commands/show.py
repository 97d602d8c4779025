"""`echoreel show`: how a generated video was made, from the file beside it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from echoreel_cli.console import Console, JsonOption, QuietOption, emphasised
from echoreel_index.errors import UsageError

SCHEMA = "echoreel.generation/1"


def register(app: typer.Typer) -> None:
    """Add the command `show`."""
    app.command("show")(show)


def show(
    file: Annotated[Path, typer.Argument(help="A generated video, or the JSON file beside it.")],
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Say how a generated video was made: prompt, seed, model, references with their licences, timings.

    With -q only the paths of the references are printed.

    Examples:
      echoreel show backflip.mp4
      echoreel show backflip.mp4 --json | jq .references
    """
    console = Console(json=as_json, quiet=quiet)
    record = read_record(file)
    if as_json:
        console.json(record)
    elif quiet:
        for reference in _references(record):
            console.result(str(reference.get("path", "")))
    else:
        for line in described(record):
            console.result(line)


def read_record(file: Path) -> Mapping[str, object]:
    """The record of a video, from its own name or the name of the JSON file; UsageError says what is wrong with it."""
    if not file.exists():
        raise UsageError(f"there is no file {file}")
    beside = file if file.suffix == ".json" else file.with_suffix(".json")
    if not beside.is_file():
        hint = "`echoreel gen` writes one with each video"
        raise UsageError(f"nothing is known about {file}: there is no {beside.name} beside it", hint=hint)
    try:
        record = json.loads(beside.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise UsageError(f"{beside} is not JSON: {error}") from error
    if not isinstance(record, dict) or record.get("schema") != SCHEMA:
        found = record.get("schema") if isinstance(record, dict) else None
        raise UsageError(f"{beside} is no record of a generation: its schema is {found!r}, not {SCHEMA!r}")
    return record


def described(record: Mapping[str, object]) -> Iterator[str]:
    """The record for a person: plain values first, then groups, then a line for each reference."""
    for key, value in record.items():
        if key != "schema" and not isinstance(value, (Mapping, list)):
            yield f"{key:<12}{'-' if value is None else value}"
    for key, value in record.items():
        if isinstance(value, Mapping) and value:
            yield ""
            yield emphasised(key)
            for name, part in value.items():
                yield f"  {name:<22}{_brief(part)}"
    for key, value in record.items():
        if isinstance(value, list):
            yield ""
            yield emphasised(key) if value else f"{key}: none"
            for place, part in enumerate(value, start=1):
                yield f"  {place}  {_reference(part) if isinstance(part, Mapping) else part}"


def _references(record: Mapping[str, object]) -> Sequence[Mapping[str, object]]:
    found = record.get("references")
    return [part for part in found if isinstance(part, Mapping)] if isinstance(found, list) else []


def _reference(part: Mapping[str, object]) -> str:
    if "path" not in part:
        return _brief(part)
    words = [str(part["path"])]
    if isinstance(start := part.get("start"), (int, float)) and isinstance(end := part.get("end"), (int, float)):
        words.append(f"{start:.2f}-{end:.2f} s")
    if isinstance(score := part.get("score"), (int, float)):
        words.append(f"score {score:.3f}")
    words += [f"{key}: {part[key]}" for key in ("caption", "source", "licence") if part.get(key)]
    return "  ".join(words)


def _brief(part: object) -> str:
    """One value on one line; hashes are cut, a length in seconds gets three digits."""
    if isinstance(part, float):
        return f"{part:.3f}"
    if isinstance(part, Mapping):
        return ", ".join(f"{key} {_brief(value)}" for key, value in part.items())
    text = "-" if part is None else str(part)
    return f"{text[:12]}..." if len(text) == 64 and set(text) <= set("0123456789abcdef") else text
