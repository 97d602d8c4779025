"""Vectors ready to be searched, in one of several forms; each can be made again from the vectors in SQLite at any time.

vector: (d) float32, unit
rows:   (n) int64, the numbers under which SQLite holds the vectors; never used twice

The forms: `VectorFile` here (every vector is compared), `ivf.IvfFile` (only the likely ones), `lance.LanceTable` (files that
many machines share). `vector_forms.open_vectors` chooses.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from echoreel_index.errors import LibraryError
from echoreel_index.faiss_file import FaissFile, faiss_module, selector
from echoreel_index.vector_plan import human

After = Callable[[int], Iterator[tuple[list[int], NDArray[np.float32]]]]
"""Row -> all vectors with higher rows, in chunks."""
Exact = Callable[[NDArray[np.int64]], tuple[NDArray[np.int64], NDArray[np.float32]]]
"""Rows -> those of them that (still) exist, in any order, and their vectors (n d)."""
Found = list[tuple[int, float]]
"""(row, cosine), best first; equal cosines by row."""

EXACT_LIMIT = 1_000_000
"""Windows up to which every vector is compared: 1 GiB at width 512, and 34 to 41 ms of one core a query (measured)."""
SPARE = 16
"""How many more than k are scored again where float16 may have changed their order."""


@dataclass(frozen=True, slots=True)
class VectorReport:
    """What holds the vectors, for a person: `said` is one sentence."""

    form: str
    count: int
    said: str
    recall: float | None
    """Share of the true ten nearest that are found; 1 where every vector is compared, None where it was not measured."""


class VectorIndex(Protocol):
    """Vectors ready to be searched."""

    generation: int
    """Which state of the library is shown; set by the caller."""

    @property
    def intact(self) -> bool:
        """Whether what is on disk was what was expected, and is what is searched."""

    def load(self, expected: str) -> None:
        """Take what is on disk if its fingerprint is `expected`, else begin empty; what is in memory already stays."""

    def catch_up(self, rows: NDArray[np.int64], after: After) -> None:
        """Remove what is not among the ascending `rows` any more, add what is newer than all that is held."""

    def nearest(self, vector: NDArray[np.float32], k: int, among: NDArray[np.int64] | None = None) -> Found:
        """The k closest to `vector`, of those in `among` if given; the cosines are those of the exact vectors."""

    def write(self) -> str:
        """Put everything on disk; its fingerprint."""

    def describe(self) -> VectorReport:
        """What this is, how large, and how well it finds."""


class VectorFile:
    """Every vector is compared.

    With `exact` they are held as float16, which takes half the memory and half the time (9 ms against 18 ms for 200,000 vectors of
    512 numbers on one core), and the best are scored again exactly. Without it they are held as float32.
    """

    def __init__(self, path: Path, width: int, exact: Exact | None = None) -> None:
        self.path, self.width = path, width
        self.generation = -1
        self.intact = False
        self._exact, self._file = exact, FaissFile(path)
        self._index: Any = None
        self._mapped = False

    def load(self, expected: str) -> None:
        """Take the file if its SHA-256 is `expected`, else begin empty; what is in memory already stays."""
        if self._index is not None:
            return
        self._index = self._file.read(mapped=True) if self._file.open(expected) else None
        if self._index is not None and (not hasattr(self._index, "id_map") or self._index.d != self.width):
            self._index = None
        self.intact = self._mapped = self._index is not None
        if self._index is None:
            self._index = flat(self.width, half=self._exact is not None)

    def catch_up(self, rows: NDArray[np.int64], after: After) -> None:
        """Remove what is not among the ascending `rows` any more, add what is newer than all that is held."""
        held = np.sort(held_rows(self._index))
        gone = np.setdiff1d(held, rows, assume_unique=True)
        if len(gone):
            self._changeable().remove_ids(gone)
        for some, vectors in after(int(held[-1]) if len(held) else -1):
            self._changeable().add_with_ids(np.ascontiguousarray(vectors, np.float32), np.array(some, dtype=np.int64))

    def nearest(self, vector: NDArray[np.float32], k: int, among: NDArray[np.int64] | None = None) -> Found:
        """The k closest to `vector`: (row, cosine), best first."""
        found = flat_nearest(self._index, vector, k + SPARE if self._exact else k, among)
        if self._exact is None:
            return found
        return rescored(vector, np.array([row for row, _ in found], np.int64), self._exact, k)

    def write(self) -> str:
        """Replace the file in one step; its SHA-256."""
        digest = self._file.write(self._index, {"form": "exact"})
        self.intact = True
        return digest

    def describe(self) -> VectorReport:
        """What this is, how large, and how well it finds."""
        count = self._index.ntotal if self._index is not None else 0
        said = f"{count:,} vectors, every one compared, {human(count * ((2 if self._exact else 4) * self.width + 8))}"
        return VectorReport("exact", count, said, 1.0)

    def _changeable(self) -> Any:
        """The index in memory, where it can be changed. Raises LibraryError when the file cannot be read any more."""
        if self._mapped:
            index = self._file.read(mapped=False)
            if index is None:
                raise LibraryError(f"cannot read {self.path}", hint="delete it: it is made again from the database")
            self._index, self._mapped = index, False
        self.intact = False
        return self._index


def flat(width: int, *, half: bool = True) -> Any:
    """An empty index of float16 or float32 vectors that are all compared."""
    faiss = faiss_module()
    if half:
        return faiss.IndexIDMap(faiss.IndexScalarQuantizer(width, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT))
    return faiss.IndexIDMap(faiss.IndexFlatIP(width))


def held_rows(index: Any) -> NDArray[np.int64]:
    """The rows of an index made by `flat`."""
    faiss = faiss_module()
    rows: NDArray[np.int64] = faiss.vector_to_array(index.id_map).astype(np.int64)
    return rows


def flat_nearest(index: Any, vector: NDArray[np.float32], k: int, among: NDArray[np.int64] | None) -> Found:
    """The k closest of an index made by `flat`."""
    faiss = faiss_module()
    if index.ntotal == 0 or k < 1 or (among is not None and len(among) == 0):
        return []
    chosen = faiss.SearchParameters(sel=selector(among)) if among is not None else None
    scores, rows = index.search(np.ascontiguousarray(vector[None], np.float32), min(k, index.ntotal), params=chosen)
    return best(rows[0], scores[0], k)


def rescored(vector: NDArray[np.float32], rows: NDArray[np.int64], exact: Exact, k: int) -> Found:
    """The k of `rows` whose exact vectors are closest to `vector`."""
    if len(rows) == 0:
        return []
    there, vectors = exact(np.unique(rows))
    return best(there, vectors.astype(np.float32, copy=False) @ vector.astype(np.float32), k)


def best(rows: NDArray[np.int64], scores: NDArray[np.float32], k: int) -> Found:
    """The k highest, best first, equal scores by row; FAISS writes -1 for a row that it did not find."""
    rows, scores = rows[rows >= 0], scores[rows >= 0]
    order = np.lexsort((rows, -scores))[:k]
    return [(int(rows[place]), float(scores[place])) for place in order]
