"""Models as lines for a person and as objects for a program; what `echoreel models` prints."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from echoreel_cli.models.catalogue import Entry
    from echoreel_cli.models.names import Installed
    from echoreel_cli.models.pull import Plan


def row(model: Installed) -> dict[str, object]:
    """What `list` and `show` say of a model that is here."""
    state = "bundled" if model.bundled else "here"
    folder, card = str(model.folder), model.card
    return {
        "name": model.name,
        "state": state,
        "folder": folder,
        "size": model.size,
        "title": "",
        "source": card.source,
        "licence": card.licence,
    }


def offer(entry: Entry) -> dict[str, object]:
    """The same of a public model that is not."""
    about = entry.checkpoint.size or entry.checkpoint.about
    return {
        "name": entry.name,
        "state": "available",
        "folder": None,
        "size": about,
        "title": entry.title,
        "source": entry.source,
        "licence": entry.licence,
    }


def described(row: dict[str, object]) -> Iterator[str]:
    """A row of `show`, with `info` and `card`, line by line."""
    for key in ("name", "title", "state", "folder", "source", "paper", "licence", "note"):
        if row[key]:
            yield _line(key, row[key])
    yield _line("size", in_bytes(row["size"]))
    info, card = row["info"], row["card"]
    if isinstance(info, dict):
        for key in ("backbone", "defaults", "reference", "encoder", "score_floor"):
            yield _line(key.replace("_", " "), _brief(info[key]))
    if isinstance(card, dict):
        for check in card["checks"]:
            yield _line("checked", check)
        for origin in card["origins"]:
            yield _line("made from", f"{origin['url']}  {in_bytes(origin['size'])}  sha256 {origin['sha256']}")
        for file, digest in card["hashes"].items():
            yield f"  {digest[:16]}  {file}"


def _line(key: str, value: object) -> str:
    return f"{key:<12}{value}"


def terms(plan: Plan) -> Iterator[str]:
    """What has to be known before anything is fetched."""
    entry = plan.entry
    yield f"{entry.name}: {entry.title}"
    for source in filter(None, (plan.checkpoint, plan.base)):
        yield f"  from     {source.address} ({'about ' if not source.local else ''}{in_bytes(source.size)})"
    yield f"  into     {plan.target}"
    yield f"  licence  {entry.licence}"
    yield f"  note     {entry.note}"


def _brief(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {part}" for name, part in value.items() if part not in (None, ""))
    return "takes none" if value is None else str(value)


def in_bytes(size: object) -> str:
    """Bytes for a person, in powers of ten."""
    if not isinstance(size, int):
        return "size not known"
    for unit, name in ((10**9, "GB"), (10**6, "MB"), (10**3, "kB")):
        if size >= unit:
            return f"{size / unit:.1f} {name}"
    return f"{size} B"
