"""What only the LanceDB form does; the contract that it shares with the others is in `test_vectors`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from echoreel_index import lance
from echoreel_index.errors import LibraryError, UsageError
from echoreel_index.lance import LanceTable

WIDTH = 16


class Rows:
    """Unit vectors by row."""

    def __init__(self, count: int, seed: int = 0) -> None:
        vectors = np.random.default_rng(seed).standard_normal((count, WIDTH)).astype(np.float32)
        self.vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        self.rows = np.arange(1, count + 1, dtype=np.int64)

    def after(self, row: int) -> Iterator[tuple[list[int], NDArray[np.float32]]]:
        for first in range(0, len(self.rows), 100):
            some = [int(one) for one in self.rows[first : first + 100] if one > row]
            if some:
                yield some, self.vectors[np.array(some) - 1]

    def exact(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        rows = np.intersect1d(rows, self.rows)
        return rows, self.vectors[rows - 1]

    def table(self, place: Path, expected: str = "", index_above: int = lance.INDEX_ABOVE) -> LanceTable:
        """Opened and brought up to date."""
        table = LanceTable(str(place / "table"), WIDTH, self.exact, index_above)
        table.load(expected)
        table.catch_up(self.rows, self.after)
        return table

    def first(self, table: LanceTable, row: int) -> int:
        """What is nearest to the vector of `row`."""
        return table.nearest(self.vectors[row - 1], 1)[0][0]


def test_without_the_package_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lancedb", None)
    with pytest.raises(UsageError) as raised:
        LanceTable(str(tmp_path), WIDTH, Rows(1).exact).load("")
    assert raised.value.hint == "pip install 'echoreel[lance]'"


@pytest.mark.parametrize("address", ["nonsense://bucket/folder", "file:///proc/nowhere"])
def test_an_address_that_cannot_be_used(address: str) -> None:
    with pytest.raises(LibraryError, match="cannot be used"):
        LanceTable(address, WIDTH, Rows(1).exact).load("")


def test_the_table_of_another_library_is_left_alone(tmp_path: Path) -> None:
    mine, other = Rows(50, seed=1), Rows(50, seed=2)
    fingerprint = mine.table(tmp_path).write()
    with pytest.raises(LibraryError, match="another library"):
        other.table(tmp_path)
    narrow = LanceTable(str(tmp_path / "table"), WIDTH - 1, other.exact)
    with pytest.raises(LibraryError, match="another library"):
        narrow.load("")
    again = mine.table(tmp_path, fingerprint)
    assert again.intact and mine.first(again, 7) == 7


def test_a_table_that_echoreel_did_not_make_is_left_alone(tmp_path: Path) -> None:
    import lancedb

    lancedb.connect(str(tmp_path / "table")).create_table("windows", [{"row": 1, "name": "precious"}])
    with pytest.raises(LibraryError, match="another library"):
        Rows(5).table(tmp_path)
    assert lancedb.connect(str(tmp_path / "table")).open_table("windows").count_rows() == 1


def test_a_run_killed_before_it_was_recorded_is_taken_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of the rows are in the table, and the library knows of none."""
    monkeypatch.setattr(lance, "COMMIT", 200)
    rows = Rows(500)

    class Killed(Exception):
        pass

    def dying(row: int) -> Iterator[tuple[list[int], NDArray[np.float32]]]:
        for some, vectors in rows.after(row):
            if some[0] > 300:
                raise Killed
            yield some, vectors

    table = LanceTable(str(tmp_path / "table"), WIDTH, rows.exact)
    table.load("")
    with pytest.raises(Killed):
        table.catch_up(rows.rows, dying)
    again = LanceTable(str(tmp_path / "table"), WIDTH, rows.exact)
    again.load("")
    assert again.describe().count == 200
    again.catch_up(rows.rows, rows.after)
    assert again.describe().count == 500 and not again.intact
    assert [rows.first(again, row) for row in (1, 200, 201, 500)] == [1, 200, 201, 500]


def test_two_that_catch_up_at_once_add_nothing_twice(tmp_path: Path) -> None:
    few, all_ = Rows(300), Rows(500)
    few.vectors = all_.vectors[:300]
    few.table(tmp_path)
    one, two = (LanceTable(str(tmp_path / "table"), WIDTH, all_.exact) for _ in range(2))
    one.load("")
    two.load("")
    held = two._held()
    one.catch_up(all_.rows, all_.after)
    two._add(int(held[-1]), all_.after)  # as if it had looked before the other wrote
    assert two.describe().count == 500
    assert sorted(two._held().tolist()) == all_.rows.tolist()


def test_many_rows_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lance, "NAMED", 30)
    rows = Rows(300)
    table = rows.table(tmp_path)
    rows.rows = rows.rows[100:]
    table.catch_up(rows.rows, rows.after)
    assert table.describe().count == 200 and rows.first(table, 101) == 101
    assert rows.first(table, 50) != 50
    table.write()
    assert len(table._held()) == 200


def test_who_only_searches_takes_nothing_away(tmp_path: Path) -> None:
    """A reader knows the library of a moment ago; another machine has added rows since."""
    before, now = Rows(100), Rows(300)
    before.vectors = now.vectors[:100]
    fingerprint = now.table(tmp_path).write()
    reader = before.table(tmp_path, fingerprint)
    assert len(reader._held()) == 300 and not reader.intact and reader.describe().count == 100
    assert [row for row, _ in reader.nearest(now.vectors[249], 100)] == [row for row, _ in nearest(before, now.vectors[249], 100)]
    writer = now.table(tmp_path, fingerprint)
    assert writer.intact and writer.describe().count == 300 and now.first(writer, 250) == 250


def nearest(rows: Rows, vector: NDArray[np.float32], k: int) -> list[tuple[int, float]]:
    scores = rows.vectors @ vector
    return [(int(place) + 1, float(scores[place])) for place in np.argsort(-scores)[:k]]


def test_a_table_that_cannot_be_read_is_replaced_by_who_may_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To who searches it may be out of reach for a moment only."""
    rows = Rows(200)
    fingerprint = rows.table(tmp_path).write()

    def fail(table: LanceTable) -> None:
        raise OSError("the network file system is stale")

    for name in ("_read_note", "_held"):
        with monkeypatch.context() as patch:
            patch.setattr(LanceTable, name, fail)
            reader = LanceTable(str(tmp_path / "table"), WIDTH, rows.exact)
            reader.load(fingerprint)
            reader.catch_up(rows.rows, rows.after)
            assert rows.first(reader, 9) == 9 and not reader.intact
        again = LanceTable(str(tmp_path / "table"), WIDTH, rows.exact)
        again.load(fingerprint)
        assert again.intact and again.describe().count == 200  # nobody touched it
    assert reader.write() != fingerprint and reader.intact and reader.describe().count == 200 and rows.first(reader, 9) == 9
    again = LanceTable(str(tmp_path / "table"), WIDTH, rows.exact)
    again.load(reader.write())
    assert again.describe().count == 200


def test_lists_are_made_above_a_number_measured_and_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lance, "FEW", 10)
    rows = Rows(600)
    table = rows.table(tmp_path, index_above=500)
    report = table.describe()
    assert report.recall is not None and report.recall >= 0.95 and "lists" in report.said
    fingerprint = table.write()
    again = LanceTable(str(tmp_path / "table"), WIDTH, rows.exact, 500)
    again.load(fingerprint)
    assert again.intact and again.describe() == report
    among = rows.rows[1::2]
    found = [row for row, _ in again.nearest(rows.vectors[0], 10, among)]
    true = among[np.argsort(-rows.vectors[among - 1] @ rows.vectors[0])[:10]]
    assert set(found) <= set(among.tolist()) and len(set(found) & set(true.tolist())) >= 9


def test_damage_that_shows_while_searching_is_said(tmp_path: Path) -> None:
    rows = Rows(400)
    fingerprint = rows.table(tmp_path).write()
    for file in (tmp_path / "table").rglob("data/*.lance"):
        file.write_bytes(file.read_bytes()[:100])
    table = LanceTable(str(tmp_path / "table"), WIDTH, rows.exact)
    table.load(fingerprint)
    with pytest.raises(LibraryError, match="cannot be used"):
        table.nearest(rows.vectors[0], 3)
    table.catch_up(rows.rows, rows.after)
    assert rows.first(table, 9) == 9
