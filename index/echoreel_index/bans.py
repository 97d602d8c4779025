"""Paths that a library was told never to take in, though they lie in folders that it indexes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from echoreel_index.errors import UsageError
from echoreel_index.files import FoundFile, Places
from echoreel_index.store import Store

BANNED = "banned"
"""The key of the library's `meta` table: a JSON list of absolute paths."""


def banned(store: Store) -> list[str]:
    """Files and folders that are kept out."""
    paths = json.loads(store.meta(BANNED) or "[]")
    return [path for path in paths if isinstance(path, str)]


def written(paths: Iterable[str]) -> str:
    """What is stored for these paths; undecodable bytes of names survive as escapes."""
    return json.dumps(sorted(set(paths)))


def admitted(found: Iterable[FoundFile], asked: Sequence[str], kept_out: Sequence[str]) -> list[FoundFile]:
    """The files that are not banned. Raises UsageError when a path that was asked for by name is banned itself."""
    banned = Places(kept_out)
    for path in asked:
        if path in banned:
            hint = f"let it in again with: echoreel library remove --unban {path}"
            raise UsageError(f"{path} was banned from this library", hint=hint)
    return [file for file in found if file.path not in banned]
