"""One contract for every form of vectors; then what only the exact and the listed form do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from echoreel_index.ivf import IvfFile, noisy
from echoreel_index.lance import LanceTable
from echoreel_index.vector_forms import AutoVectors
from echoreel_index.vectors import Found, VectorFile, VectorIndex

WIDTH = 32
GIB = 2**30


class Truths:
    """What SQLite would hold: row -> unit vector, in a few clusters."""

    def __init__(self, count: int = 0, seed: int = 1) -> None:
        self._random = np.random.default_rng(seed)
        self._centres = self._random.standard_normal((12, WIDTH))
        self.held: dict[int, NDArray[np.float32]] = {}
        self.newest = 0
        self.add(count)

    def add(self, count: int) -> list[int]:
        rows = list(range(self.newest + 1, self.newest + 1 + count))
        for row in rows:
            vector = self._centres[row % len(self._centres)] + 0.6 * self._random.standard_normal(WIDTH)
            self.held[row] = (vector / np.linalg.norm(vector)).astype(np.float32)
        self.newest += count
        return rows

    def rows(self) -> NDArray[np.int64]:
        return np.array(sorted(self.held), np.int64)

    def after(self, row: int) -> Iterator[tuple[list[int], NDArray[np.float32]]]:
        later = [one for one in sorted(self.held) if one > row]
        for first in range(0, len(later), 300):
            some = later[first : first + 300]
            yield some, np.array([self.held[one] for one in some])

    def exact(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        there = [int(row) for row in rows if int(row) in self.held]
        return np.array(there, np.int64), np.array([self.held[row] for row in there], np.float32).reshape(len(there), WIDTH)

    def nearest(self, vector: NDArray[np.float32], k: int, among: NDArray[np.int64] | None = None) -> Found:
        rows = self.rows() if among is None else np.intersect1d(self.rows(), among)
        scores = np.array([float(self.held[int(row)] @ vector) for row in rows])
        return [(int(rows[place]), float(scores[place])) for place in np.lexsort((rows, -scores))[:k]]


Make = Callable[[Truths], VectorIndex]


@pytest.fixture(params=["exact", "float32", "ivf", "ivf coarse", "lance", "lance lists", "auto"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Make:
    """A fresh object over the same files each time it is called, as another process would have."""
    path = tmp_path / "vectors.faiss"
    forms: dict[str, Make] = {
        "exact": lambda truths: VectorFile(path, WIDTH, truths.exact),
        "float32": lambda truths: VectorFile(path, WIDTH),
        "ivf": lambda truths: IvfFile(path, WIDTH, truths.exact, GIB),
        "ivf coarse": lambda truths: IvfFile(path, WIDTH, truths.exact, 1),
        "lance": lambda truths: LanceTable(str(tmp_path / "table"), WIDTH, truths.exact),
        "lance lists": lambda truths: LanceTable(str(tmp_path / "table"), WIDTH, truths.exact, index_above=300),
        "auto": lambda truths: AutoVectors(path, WIDTH, truths.exact, GIB, limit=500),
    }
    return forms[str(request.param)]


def follow(index: VectorIndex, truths: Truths, expected: str = "") -> VectorIndex:
    """Open and bring up to date, as the store does."""
    index.load(expected)
    index.catch_up(truths.rows(), truths.after)
    return index


def query(seed: int = 5) -> NDArray[np.float32]:
    moved: NDArray[np.float32] = noisy(Truths(40).held[7][None], np.random.default_rng(seed))[0]
    return moved


def agrees(index: VectorIndex, truths: Truths, k: int = 10, among: NDArray[np.int64] | None = None) -> None:
    """Of the true nearest at least 0.9 are found over twenty queries; order and cosines of what is found are exact."""
    shared = 0
    for seed in range(20):
        vector = query(seed)
        found, true = index.nearest(vector, k, among), truths.nearest(vector, k, among)
        assert len(found) == len(true)
        shared += len({row for row, _ in found} & {row for row, _ in true})
        for row, cosine in found:
            assert cosine == pytest.approx(float(truths.held[row] @ vector), abs=1e-5)
        assert found == sorted(found, key=lambda one: (-one[1], one[0]))
    assert shared >= 0.9 * 20 * min(k, len(truths.nearest(query(), k, among)))


class TestEveryForm:
    def test_finds_what_is_nearest(self, make: Make) -> None:
        truths = Truths(800)
        agrees(follow(make(truths), truths), truths)

    def test_an_empty_library_finds_nothing_and_takes_vectors_later(self, make: Make) -> None:
        truths = Truths()
        index = follow(make(truths), truths)
        assert index.nearest(query(), 5) == []
        again = make(truths)
        again.load(index.write())
        assert again.nearest(query(), 5) == []
        truths.add(3)
        index.catch_up(truths.rows(), truths.after)
        agrees(index, truths)

    def test_fewer_than_k(self, make: Make) -> None:
        truths = Truths(4)
        index = follow(make(truths), truths)
        assert [row for row, _ in index.nearest(query(), 50)] == [row for row, _ in truths.nearest(query(), 50)]

    def test_what_is_removed_is_never_found_and_what_is_new_is(self, make: Make) -> None:
        truths = Truths(700)
        index = follow(make(truths), truths)
        gone = {row for row, _ in truths.nearest(query(), 40)}
        for row in gone:
            del truths.held[row]
        new = truths.add(60)
        index.catch_up(truths.rows(), truths.after)
        assert not gone & {row for row, _ in index.nearest(query(), 100)}
        assert index.nearest(truths.held[new[-1]], 1)[0][0] == new[-1]
        agrees(index, truths)

    def test_all_are_removed(self, make: Make) -> None:
        truths = Truths(400)
        index = follow(make(truths), truths)
        truths.held.clear()
        index.catch_up(truths.rows(), truths.after)
        assert index.nearest(query(), 5) == []
        again = make(truths)
        follow(again, truths, index.write())
        assert again.nearest(query(), 5) == []

    def test_only_among_the_given(self, make: Make) -> None:
        truths = Truths(600)
        index = follow(make(truths), truths)
        agrees(index, truths, among=truths.rows()[::9])
        assert index.nearest(query(), 5, np.empty(0, np.int64)) == []
        del truths.held[9], truths.held[18]
        index.catch_up(truths.rows(), truths.after)
        assert {row for row, _ in index.nearest(query(), 5, np.array([9, 18, 27], np.int64))} == {27}

    def test_equal_vectors_come_by_row(self, make: Make) -> None:
        truths = Truths(50)
        for row in (12, 31, 44):
            truths.held[row] = truths.held[3]
        index = follow(make(truths), truths)
        assert [row for row, _ in index.nearest(truths.held[3], 4)] == [3, 12, 31, 44]

    def test_reopening_shows_the_same_and_is_intact(self, make: Make) -> None:
        truths = Truths(800)
        index = follow(make(truths), truths)
        fingerprint = index.write()
        assert index.intact
        again = make(truths)
        again.load(fingerprint)
        assert again.intact
        assert again.nearest(query(), 10) == index.nearest(query(), 10)
        again.catch_up(truths.rows(), truths.after)
        assert again.intact
        assert again.nearest(query(), 10) == index.nearest(query(), 10)

    def test_what_is_behind_is_brought_up_to_date(self, make: Make) -> None:
        truths = Truths(700)
        fingerprint = follow(make(truths), truths).write()
        truths.add(50)
        del truths.held[5]
        index = follow(make(truths), truths, fingerprint)
        agrees(index, truths)
        again = make(truths)
        again.load(index.write())
        assert again.intact
        agrees(again, truths)

    def test_what_is_not_expected_is_made_again(self, make: Make) -> None:
        truths = Truths(700)
        follow(make(truths), truths).write()
        index = make(truths)
        index.load("0" * 64)
        assert not index.intact
        index.catch_up(truths.rows(), truths.after)
        agrees(index, truths)

    def test_a_damaged_file_is_made_again(self, make: Make, tmp_path: Path) -> None:
        truths = Truths(700)
        fingerprint = follow(make(truths), truths).write()
        for file in (tmp_path / "vectors.faiss", *(tmp_path / "table").rglob("*.lance")):
            if file.is_file():
                content = file.read_bytes()
                file.write_bytes(content[: len(content) // 2])
        index = follow(make(truths), truths, fingerprint)
        agrees(index, truths)
        again = make(truths)
        again.load(index.write())
        assert again.intact
        agrees(again, truths)

    def test_large_row_numbers(self, make: Make) -> None:
        truths = Truths()
        truths.newest = 2**40
        truths.add(400)
        index = follow(make(truths), truths)
        agrees(index, truths)
        agrees(index, truths, among=truths.rows()[::2])

    def test_a_vector_that_vanishes_between_is_not_returned(self, make: Make) -> None:
        truths = Truths(400)
        index = follow(make(truths), truths)
        row, _ = truths.nearest(query(), 1)[0]
        held = truths.held.pop(row)
        found = {one for one, _ in index.nearest(query(), 5)}
        truths.held[row] = held
        assert row not in found or isinstance(index, VectorFile)

    def test_says_how_many(self, make: Make) -> None:
        truths = Truths(600)
        report = follow(make(truths), truths).describe()
        assert report.count == 600 and "600 vectors" in report.said
        assert report.recall is not None and report.recall >= 0.9
