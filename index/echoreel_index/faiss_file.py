"""A FAISS index on disk: replaced in one step, known by its SHA-256, read without being copied into memory.

Beside it lies a note (`vectors.faiss.json`): what the file is, its SHA-256, and its size and time when that was computed. A file
of many gigabytes whose size and time are those of the note is not read through again each time it is opened.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

ALWAYS_READ = 256 * 2**20
"""Files up to so many bytes are hashed each time they are opened: it takes a fraction of a second."""
DENSE = 2**28
"""Row numbers below this are selected by a map of bits (at most 32 MiB), others by a set."""

Note = dict[str, Any]


class FaissFile:
    """The file at `path` and its note."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._note = path.with_name(path.name + ".json")

    def note(self) -> Note:
        """What was written of the file; empty where nothing was or it cannot be read."""
        try:
            note = json.loads(self._note.read_text("utf-8"))
        except (OSError, ValueError):
            return {}
        return note if isinstance(note, dict) else {}

    def intact(self, expected: str) -> bool:
        """Whether the file is the one whose SHA-256 is `expected`."""
        try:
            stat = self.path.stat()
            note = self.note()
            seen = (expected, stat.st_size, stat.st_mtime_ns)
            if stat.st_size > ALWAYS_READ and (note.get("sha256"), note.get("size"), note.get("mtime_ns")) == seen:
                return True
            return bool(expected) and _digest(self.path) == expected
        except OSError:
            return False

    def read(self, *, mapped: bool) -> Any:
        """The index; `mapped` leaves the bytes in the file, and the index cannot be changed. None when it cannot be read."""
        faiss = faiss_module()
        try:
            return faiss.read_index(str(self.path), faiss.IO_FLAG_MMAP_IFC if mapped else 0)
        except RuntimeError:
            return None

    def write(self, index: Any, note: Note) -> str:
        """Replace the file and its note; the file's SHA-256."""
        faiss = faiss_module()
        temporary = self.path.with_name(self.path.name + ".new")
        faiss.write_index(index, str(temporary))
        digest = _digest(temporary)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
            stat = os.fstat(file.fileno())
        os.replace(temporary, self.path)
        known = {"sha256": digest, "size": stat.st_size, "mtime_ns": stat.st_mtime_ns}
        temporary.write_text(json.dumps({**note, **known}, indent=1) + "\n", "utf-8")
        os.replace(temporary, self._note)
        return digest


def faiss_module() -> Any:
    """FAISS, imported when it is needed; untyped, since its stubs know nothing of what its Python layer adds to the C++ classes."""
    import faiss

    return faiss


def selector(rows: NDArray[np.int64]) -> Any:
    """What FAISS asks whether a row may be returned: only those of `rows`."""
    faiss = faiss_module()
    if len(rows) == 0 or rows.max() >= DENSE:
        return faiss.IDSelectorBatch(rows)
    marks = np.zeros(int(rows.max()) + 1, np.uint8)
    marks[rows[rows >= 0]] = 1
    return faiss.IDSelectorBitmap(np.packbits(marks, bitorder="little"))


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
