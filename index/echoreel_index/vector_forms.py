"""Which form a library's vectors take: a setting, or by their number.

    auto     exact up to a million, then ivf
    exact    every vector compared
    ivf      inverted lists, codes chosen from a memory budget
    lance    a LanceDB table in the library's folder
    s3://…   a LanceDB table at this address (also gs://, az://, file://…), which many machines may share
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from echoreel_index.errors import UsageError
from echoreel_index.faiss_file import FaissFile
from echoreel_index.ivf import IvfFile
from echoreel_index.lance import LanceTable
from echoreel_index.vectors import EXACT_LIMIT, After, Exact, Found, VectorFile, VectorIndex, VectorReport

FILE, TABLE = "vectors.faiss", "vectors.lance"
FORMS = ("auto", "exact", "ivf", "lance")


def open_vectors(setting: str, folder: Path, width: int, exact: Exact, budget: int | None = None) -> VectorIndex:
    """The vectors of the library in `folder`, in the form that `setting` names; nothing is read yet.

    Raises UsageError for a setting that is neither a form nor an address.
    """
    if setting == "auto":
        return AutoVectors(folder / FILE, width, exact, budget)
    if setting == "exact":
        return VectorFile(folder / FILE, width, exact)
    if setting == "ivf":
        return IvfFile(folder / FILE, width, exact, budget)
    if setting == "lance" or "://" in setting:
        return LanceTable(setting if "://" in setting else str(folder / TABLE), width, exact)
    raise UsageError(f"{setting!r} is no form of vectors", hint=f"choose {', '.join(FORMS)} or an address such as s3://bucket/folder")


class AutoVectors:
    """Exact up to `limit` vectors, in lists above; back to exact only below half of it, so that it does not change to and fro."""

    def __init__(self, path: Path, width: int, exact: Exact, budget: int | None = None, limit: int = EXACT_LIMIT) -> None:
        self.path, self.width = path, width
        self.generation = -1
        self._exact, self._budget, self._limit = exact, budget, limit
        self._form: VectorFile | IvfFile | None = None

    @property
    def form(self) -> VectorFile | IvfFile:
        """What holds the vectors now."""
        if self._form is None:
            self._form = self._as(FaissFile(self.path).note().get("form") == "ivf")
        return self._form

    @property
    def intact(self) -> bool:
        """Whether the file is the expected one and shows everything."""
        return self.form.intact

    def load(self, expected: str) -> None:
        """Take the file if its SHA-256 is `expected`, else begin empty; what is in memory already stays."""
        self.form.load(expected)

    def catch_up(self, rows: NDArray[np.int64], after: After) -> None:
        """Change the form if the number of rows asks for it, then follow them."""
        listed = isinstance(self.form, IvfFile)
        if len(rows) > self._limit and not listed or len(rows) < self._limit // 2 and listed:
            self._form = self._as(not listed)
            self._form.load("")
        self.form.catch_up(rows, after)

    def nearest(self, vector: NDArray[np.float32], k: int, among: NDArray[np.int64] | None = None) -> Found:
        """The k closest to `vector`: (row, cosine), best first."""
        return self.form.nearest(vector, k, among)

    def write(self) -> str:
        """Replace the file in one step; its SHA-256."""
        return self.form.write()

    def describe(self) -> VectorReport:
        """What this is, how large, and how well it finds."""
        return self.form.describe()

    def _as(self, listed: bool) -> VectorFile | IvfFile:
        if listed:
            return IvfFile(self.path, self.width, self._exact, self._budget)
        return VectorFile(self.path, self.width, self._exact)
