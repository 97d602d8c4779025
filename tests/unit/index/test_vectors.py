"""One contract for every form of vectors; then what only the exact and the listed form do."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from echoreel_index import faiss_file, ivf
from echoreel_index.errors import LibraryError, UsageError
from echoreel_index.faiss_file import FaissFile
from echoreel_index.ivf import IvfFile, Truth, noisy
from echoreel_index.lance import LanceTable
from echoreel_index.vector_forms import AutoVectors, open_vectors
from echoreel_index.vector_plan import CANDIDATES, MOST_CANDIDATES, PROBES, Kind, VectorPlan, code_bytes, lists_for, plan, tune
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
        scores = self.exact(rows)[1] @ vector
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
    """A vector near to some, another for each seed."""
    pair = np.repeat(Truths(40).held[7][None], 2, axis=0)
    moved: NDArray[np.float32] = noisy(pair, np.random.default_rng(seed))[0]
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
    assert shared >= 0.9 * sum(len(truths.nearest(query(seed), k, among)) for seed in range(20))


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
        gone = {row for row, _ in truths.nearest(query(), 300)}  # more than are scored again
        for row in gone:
            del truths.held[row]
        index.catch_up(truths.rows(), truths.after)
        agrees(index, truths)
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


class TestExact:
    def test_held_as_float16_with_cosines_of_the_exact_vectors(self, tmp_path: Path) -> None:
        truths = Truths(200)
        half, full = VectorFile(tmp_path / "half", WIDTH, truths.exact), VectorFile(tmp_path / "full", WIDTH)
        for index in (half, full):
            follow(index, truths).write()
        agrees(half, truths)
        assert [row for row, _ in half.nearest(query(), 5)] == [row for row, _ in full.nearest(query(), 5)]
        assert (tmp_path / "half").stat().st_size < 0.7 * (tmp_path / "full").stat().st_size

    def test_a_file_of_another_form_is_not_taken(self, tmp_path: Path) -> None:
        truths = Truths(300)
        fingerprint = follow(IvfFile(tmp_path / "v", WIDTH, truths.exact, GIB), truths).write()
        index = VectorFile(tmp_path / "v", WIDTH, truths.exact)
        index.load(fingerprint)
        assert not index.intact
        agrees(follow(index, truths), truths)

    def test_what_is_open_stays_when_another_process_replaces_the_file(self, tmp_path: Path) -> None:
        truths = Truths(600)
        fingerprint = follow(VectorFile(tmp_path / "v", WIDTH, truths.exact), truths).write()
        reader = follow(VectorFile(tmp_path / "v", WIDTH, truths.exact), truths, fingerprint)
        truths.add(30)
        follow(VectorFile(tmp_path / "v", WIDTH, truths.exact), truths, fingerprint).write()
        reader.catch_up(truths.rows(), truths.after)
        assert reader.describe().count == 630
        agrees(reader, truths)

    def test_a_file_that_cannot_be_written_is_said_and_leaves_nothing(self, tmp_path: Path) -> None:
        truths = Truths(10)
        (tmp_path / "v").mkdir()  # a folder is in the way
        with pytest.raises(LibraryError, match="cannot write"):
            follow(VectorFile(tmp_path / "v", WIDTH, truths.exact), truths).write()
        assert [one.name for one in tmp_path.iterdir()] == ["v"]


class TestListed:
    def make(self, path: Path, truths: Truths, budget: int = GIB) -> IvfFile:
        return IvfFile(path / "v", WIDTH, truths.exact, budget)

    def learned(self, path: Path) -> int:
        note = json.loads((path / "v.json").read_text())
        return int(note["learned"])

    def test_lists_are_learned_again_when_vectors_have_doubled_or_are_few(self, tmp_path: Path) -> None:
        truths = Truths(400)
        fingerprint = follow(self.make(tmp_path, truths), truths).write()
        truths.add(399)
        fingerprint = follow(self.make(tmp_path, truths), truths, fingerprint).write()
        assert self.learned(tmp_path) == 400
        truths.add(1)
        fingerprint = follow(self.make(tmp_path, truths), truths, fingerprint).write()
        assert self.learned(tmp_path) == 800
        for row in range(1, 602):
            del truths.held[row]
        index = follow(self.make(tmp_path, truths), truths, fingerprint)
        index.write()
        assert self.learned(tmp_path) == 199
        agrees(index, truths)

    def test_a_long_tail_is_put_into_the_lists_at_once(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(ivf, "TAIL", 100)
        truths = Truths(600)
        fingerprint = follow(self.make(tmp_path, truths), truths).write()
        truths.add(350)
        del truths.held[20]
        index = follow(self.make(tmp_path, truths), truths, fingerprint)
        assert index.describe().count == 949
        agrees(index, truths)
        again = self.make(tmp_path, truths)
        again.load(index.write())
        assert again.intact and again.describe().count == 949
        agrees(again, truths)

    def test_many_rows_to_choose_from_are_searched_in_the_lists(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(ivf, "FEW", 10)
        truths = Truths(2000)
        index = follow(self.make(tmp_path, truths), truths)
        gone = [row for row, _ in truths.nearest(query(), 3)]
        for row in gone:
            del truths.held[row]
        new = truths.add(40)
        index.catch_up(truths.rows(), truths.after)
        agrees(index, truths, among=truths.rows()[1::3])
        among = np.array(sorted([*gone, *range(100, 300), *new[::2]]), np.int64)
        agrees(index, truths, among=among)
        assert not set(gone) & {row for row, _ in index.nearest(query(), 50, among)}

    def test_the_fewer_to_choose_from_the_more_lists_are_looked_into(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(ivf, "FEW", 10)
        monkeypatch.setattr(ivf, "tune", lambda start, recall: (start, 1.0))  # eight lists of 32
        truths = Truths(2000)
        index = follow(self.make(tmp_path, truths), truths)
        agrees(index, truths, 40, among=truths.rows()[1::37])

    def test_lists_made_and_kept_in_memory_are_not_made_again(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        worst = {"probes": 1, "candidates": 1}
        monkeypatch.setattr(ivf, "tune", lambda start, recall: (replace(start, **worst), 0.0))
        truths = Truths(600)
        truths.held |= {row + 1: truths.held[row] for row in range(1, 600, 2)}  # twins: it would not be recognised
        index = follow(self.make(tmp_path, truths, 1), truths)
        monkeypatch.setattr(ivf, "learned_lists", None)
        truths.add(5)
        index.catch_up(truths.rows(), truths.after)
        index.write()
        truths.add(5)
        index.catch_up(truths.rows(), truths.after)
        assert index.describe().count == 610

    def test_a_file_that_is_whole_but_not_known_is_recognised(self, tmp_path: Path) -> None:
        truths = Truths(600)
        old = follow(self.make(tmp_path, truths), truths).write()
        truths.add(100)
        follow(self.make(tmp_path, truths), truths, old).write()  # and killed before it could say so
        index = follow(self.make(tmp_path, truths), truths, old)
        assert not index.intact
        index.write()
        assert index.intact and self.learned(tmp_path) == 600
        agrees(index, truths)

    def test_another_librarys_file_is_not_taken(self, tmp_path: Path) -> None:
        other, truths = Truths(600, seed=1), Truths(700, seed=2)
        follow(self.make(tmp_path, other), other).write()
        index = follow(self.make(tmp_path, truths), truths, "f" * 64)
        index.write()
        assert self.learned(tmp_path) == 700
        agrees(index, truths)

    @pytest.mark.parametrize("note", ["", "[]", '{"form": "ivf", "plan": {"kind": "sq8"}}'])
    def test_a_damaged_note_costs_only_time(self, tmp_path: Path, note: str) -> None:
        truths = Truths(600)
        fingerprint = follow(self.make(tmp_path, truths), truths).write()
        (tmp_path / "v.json").write_text(note)
        agrees(follow(self.make(tmp_path, truths), truths, fingerprint), truths)

    def test_recall_is_measured_and_raised_to_the_target(self, tmp_path: Path) -> None:
        truths = Truths(4000)
        index = follow(self.make(tmp_path, truths, 1), truths)
        report = index.describe()
        assert report.recall is not None and report.recall >= 0.95
        index.write()
        note = json.loads((tmp_path / "v.json").read_text())
        assert note["recall"] == report.recall and note["plan"]["kind"] == "rabitq"
        assert f"finds {report.recall:.3f} of the true ten" in report.said

    def test_never_more_than_a_chunk_of_vectors_is_asked_for(self, tmp_path: Path) -> None:
        truths = Truths(600)
        sizes: list[int] = []

        def exact(rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
            sizes.append(len(rows))
            return truths.exact(rows)

        follow(IvfFile(tmp_path / "v", WIDTH, exact, GIB), truths)
        assert 0 < max(sizes) <= ivf.CHUNK


class TestStamp:
    """Large files are not read through each time; here every file counts as large."""

    def test_an_untouched_file_is_not_read_again_and_a_touched_one_is(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(faiss_file, "ALWAYS_READ", 0)
        truths = Truths(100)
        fingerprint = follow(VectorFile(tmp_path / "v", WIDTH, truths.exact), truths).write()
        before = (tmp_path / "v").stat()
        content = bytearray((tmp_path / "v").read_bytes())
        content[-1] ^= 1
        (tmp_path / "v").write_bytes(content)
        os.utime(tmp_path / "v", ns=(before.st_atime_ns, before.st_mtime_ns + 1))
        assert not FaissFile(tmp_path / "v").open(fingerprint)
        os.utime(tmp_path / "v", ns=(before.st_atime_ns, before.st_mtime_ns))
        assert FaissFile(tmp_path / "v").open(fingerprint)
        assert not FaissFile(tmp_path / "v").open("0" * 64)


class TestForms:
    def test_auto_changes_form_with_the_number_and_back(self, tmp_path: Path) -> None:
        truths = Truths(500)

        def auto(expected: str) -> AutoVectors:
            index = AutoVectors(tmp_path / "v", WIDTH, truths.exact, GIB, limit=500)
            follow(index, truths, expected)
            return index

        first = auto("")
        assert first.describe().form == "exact"
        truths.add(1)
        first.catch_up(truths.rows(), truths.after)
        assert first.describe().form == "ivf" and not first.intact
        fingerprint = first.write()
        assert auto(fingerprint).describe().form == "ivf"
        for row in range(1, 252):
            del truths.held[row]
        assert auto(fingerprint).describe().form == "ivf"
        del truths.held[252]
        last = auto(fingerprint)
        assert last.describe().form == "exact" and not last.intact
        agrees(last, truths)
        assert auto(last.write()).intact

    @pytest.mark.parametrize(
        ("setting", "form"),
        [("auto", AutoVectors), ("exact", VectorFile), ("ivf", IvfFile), ("lance", LanceTable), ("s3://bucket/folder", LanceTable)],
    )
    def test_settings(self, tmp_path: Path, setting: str, form: type[VectorIndex]) -> None:
        assert isinstance(open_vectors(setting, tmp_path, WIDTH, Truths().exact), form)
        assert list(tmp_path.iterdir()) == []

    def test_an_unknown_setting(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="'hnsw' is no form of vectors"):
            open_vectors("hnsw", tmp_path, WIDTH, Truths().exact)


class TestPlan:
    @pytest.mark.parametrize(
        ("count", "budget", "kind", "lists"),
        [
            (1_000_000, 6 * GIB, "sq8", 1024),
            (10_000_000, 12 * GIB, "sq8", 4096),
            (10_000_000, 6 * GIB, "sq4", 4096),
            (10_000_000, 2 * GIB, "rabitq", 4096),
            (100_000_000, 6 * GIB, "rabitq", 8192),
            (100, 6 * GIB, "sq8", 2),
            (1, 6 * GIB, "sq8", 1),
            (0, 0, "sq8", 1),
        ],
    )
    def test_the_finest_codes_that_fit(self, count: int, budget: int, kind: str, lists: int) -> None:
        chosen = plan(count, 512, budget)
        assert (chosen.kind, chosen.lists) == (kind, lists)
        assert chosen.probes <= chosen.lists
        assert f"{count:,} vectors in {lists:,} lists" in chosen.said

    def test_what_does_not_fit_is_said(self) -> None:
        assert "read from disk" in plan(100_000_000, 512, 6 * GIB).said
        assert "read from disk" not in plan(10_000_000, 512, 6 * GIB).said

    def test_bytes(self) -> None:
        kinds: tuple[Kind, ...] = ("sq8", "sq4", "rabitq")
        assert [code_bytes(kind, 513) for kind in kinds] == [513, 257, 73]
        assert lists_for(10**12) == 16384

    def test_tuning_takes_what_helps_and_stops(self) -> None:
        start = VectorPlan("sq8", 64, 8, PROBES, CANDIDATES, "")
        found, recall = tune(start, lambda one: min(one.probes / 32, 1.0))
        assert (found.probes, found.candidates, recall) == (32, CANDIDATES, 1.0)
        found, recall = tune(start, lambda one: min(one.candidates / 800, 1.0))
        assert (found.probes, found.candidates, recall) == (PROBES, 800, 1.0)
        found, recall = tune(start, lambda one: 0.5)
        assert (found.probes, found.candidates, recall) == (64, MOST_CANDIDATES, 0.5)


class TestTruth:
    def test_the_true_ten_whatever_the_chunks(self) -> None:
        truths = Truths(500)
        queries = np.stack([query(seed) for seed in range(7)])
        test = Truth(queries)
        for rows, vectors in truths.after(-1):
            test.see(np.array(rows, np.int64), vectors)
        for found, one in zip(test.rows, queries, strict=True):
            assert set(found.tolist()) == {row for row, _ in truths.nearest(one, 10)}
        assert test.recall(lambda one: np.array([row for row, _ in truths.nearest(one, 5)], np.int64)) == 0.5

    def test_noise_has_the_length_that_is_said(self) -> None:
        vectors = np.stack(list(Truths(300).held.values()))
        cosines = (vectors * noisy(vectors, np.random.default_rng(0))).sum(1)
        near, far = cosines[:150], cosines[150:]
        assert 0.5 < near.min() < 0.7 and 0.9 < near.max() < 1
        assert far.mean() == pytest.approx(0.316, abs=0.05)

    def test_the_half_that_is_found_worse_counts(self) -> None:
        truths = Truths(100)
        test = Truth(np.stack([query(seed) for seed in range(8)]))
        test.see(truths.rows(), np.stack(list(truths.held.values())))
        worse = test.queries[6]

        def most(one: NDArray[np.float32]) -> NDArray[np.int64]:
            return np.array([row for row, _ in truths.nearest(one, 2 if np.array_equal(one, worse) else 10)], np.int64)

        assert test.recall(most) == pytest.approx(0.8)
