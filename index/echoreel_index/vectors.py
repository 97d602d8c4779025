"""The FAISS file: a search structure that can be made again from the vectors in SQLite at any time.

vector: (d) float32, unit
rows:   (n) int64, the numbers under which SQLite holds the vectors; never used twice
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

After = Callable[[int], Iterator[tuple[list[int], NDArray[np.float32]]]]
"""Row -> all vectors with higher rows, in chunks."""


class VectorFile:
    """An exact inner-product index in memory, and the file that saves making it each time."""

    def __init__(self, path: Path, width: int) -> None:
        self.path, self.width = path, width
        self.generation = -1
        """Which state of the library the index in memory shows."""
        self.intact = False
        """Whether the file was the one that was expected."""
        self._index: Any = None

    def load(self, expected: str) -> None:
        """Take the file if its SHA-256 is `expected`, else begin empty; what is in memory already stays."""
        import faiss

        if self._index is not None:
            return
        try:
            with self.path.open("rb") as file:
                self.intact = hashlib.file_digest(file, "sha256").hexdigest() == expected
            self._index = faiss.read_index(str(self.path)) if self.intact else None
        except (OSError, RuntimeError):
            self.intact = False
        if self._index is None:
            self._index = faiss.IndexIDMap2(faiss.IndexFlatIP(self.width))

    def catch_up(self, rows: NDArray[np.int64], after: After) -> None:
        """Remove what is not among the ascending `rows` any more, add what is newer than all that is held."""
        import faiss

        held = np.sort(faiss.vector_to_array(self._index.id_map)).astype(np.int64)
        gone = np.setdiff1d(held, rows, assume_unique=True)
        if len(gone):
            self._index.remove_ids(gone)
        for some, vectors in after(int(held[-1]) if len(held) else -1):
            self._index.add_with_ids(vectors, np.array(some, dtype=np.int64))

    def nearest(self, vector: NDArray[np.float32], k: int) -> list[tuple[int, float]]:
        """The k closest to `vector`: (row, cosine), best first."""
        if self._index.ntotal == 0:
            return []
        scores, rows = self._index.search(np.ascontiguousarray(vector[None], np.float32), min(k, self._index.ntotal))
        return [(int(row), float(score)) for row, score in zip(rows[0], scores[0], strict=True) if row >= 0]

    def write(self) -> str:
        """Replace the file in one step; its SHA-256."""
        import faiss

        temporary = self.path.with_suffix(".new")
        faiss.write_index(self._index, str(temporary))
        with temporary.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            os.fsync(file.fileno())
        os.replace(temporary, self.path)
        self.intact = True
        return digest
