"""A FAISS index on disk: replaced in one step, known by its SHA-256, read without being copied into memory.

Beside it lies a note (`vectors.faiss.json`): what the file is, its SHA-256, and its size and time when that was computed. A file
of many gigabytes whose size and time are those of the note is not read through again each time it is opened.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from echoreel_index.errors import LibraryError

ALWAYS_READ = 256 * 2**20
"""Files up to so many bytes are hashed each time they are opened: it takes a fraction of a second."""
DENSE = 2**28
"""Row numbers below this are selected by a map of bits (at most 32 MiB), others by a set."""

Note = dict[str, Any]


class FaissFile:
    """The file at `path` and its note. What was opened stays the same when another process replaces the file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._note = path.with_name(path.name + ".json")
        self._opened: BinaryIO | None = None

    def __del__(self) -> None:
        self._close()

    def note(self) -> Note:
        """What was written of the file; empty where nothing was or it cannot be read."""
        try:
            note = json.loads(self._note.read_text("utf-8"))
        except (OSError, ValueError):
            return {}
        return note if isinstance(note, dict) else {}

    def open(self, expected: str) -> bool:
        """Whether the file is the one whose SHA-256 is `expected`; it is then open for `read`."""
        try:
            self._keep(self.path.open("rb"))
            if self._digest(self.note()) == expected:
                return True
        except OSError:
            pass
        self._close()
        return False

    def read(self, *, mapped: bool) -> Any:
        """The index in the opened file; `mapped` leaves the bytes there, and the index cannot be changed. None when that fails."""
        if self._opened is None:
            return None
        faiss = faiss_module()
        try:
            return faiss.read_index(f"/dev/fd/{self._opened.fileno()}", faiss.IO_FLAG_MMAP_IFC if mapped else 0)
        except RuntimeError:
            return None

    def write(self, index: Any, note: Note) -> str:
        """Replace the file and its note, and have the new one open; its SHA-256. Raises LibraryError when it cannot be written."""
        temporary = self.path.with_name(self.path.name + ".new")
        try:
            faiss_module().write_index(index, str(temporary))
            self._keep(temporary.open("rb"))
            digest, stat = self._digest({}), self._stat()
            os.fsync(self._number())
            os.replace(temporary, self.path)
            known = {"sha256": digest, "size": stat.st_size, "mtime_ns": stat.st_mtime_ns}
            temporary.write_text(json.dumps({**note, **known}, indent=1) + "\n", "utf-8")
            os.replace(temporary, self._note)
        except (OSError, RuntimeError) as error:
            temporary.unlink(missing_ok=True)
            message = f"cannot write {self.path}: {str(error).strip().splitlines()[-1]}"
            raise LibraryError(message, hint="is the disk full? nothing that was indexed is lost") from error
        return digest

    def _digest(self, note: Note) -> str:
        """SHA-256 of the opened file: that of the note where the file is large and has not been touched since."""
        stat = self._stat()
        if stat.st_size > ALWAYS_READ and (note.get("size"), note.get("mtime_ns")) == (stat.st_size, stat.st_mtime_ns):
            return str(note.get("sha256"))
        with os.fdopen(os.dup(self._number()), "rb") as file:
            file.seek(0)
            return hashlib.file_digest(file, "sha256").hexdigest()

    def _stat(self) -> os.stat_result:
        return os.fstat(self._number())

    def _number(self) -> int:
        assert self._opened is not None
        return self._opened.fileno()

    def _keep(self, file: BinaryIO) -> None:
        self._close()
        self._opened = file

    def _close(self) -> None:
        if self._opened is not None:
            self._opened.close()
            self._opened = None


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

