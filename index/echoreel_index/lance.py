"""Vectors in a LanceDB table: past one machine.

LanceDB and not Qdrant: it is a library, so a command-line tool needs no server beside it; a table is plain files, in a folder or
in object storage (s3://, gs://, az://), and many machines read the same ones; each change is a new version, so that a reader
never sees half of one. Qdrant is the better choice where a service answers many users at once; its embedded mode loads everything
into memory of one process and compares every vector.

    row     int64      the number under which SQLite holds the vector
    vector  (d) float16

Both the cosines that are returned and the measured recall are against the exact vectors, which stay in the library. Catching up
adds to the table at once, in versions of `COMMIT` rows; doing it twice, or on two machines, changes nothing more. Whoever only
searches takes nothing away: what it does not know may be what another machine has just added. Rows are removed, and a damaged
table is replaced, by `write` alone, whose caller has the right to write.
Needs `pip install 'echoreel[lance]'`.
"""

from __future__ import annotations

import json
import uuid
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from echoreel_index.errors import LibraryError, UsageError
from echoreel_index.ivf import FEW, QUERIES, ROUNDS, SEED, Truth, noisy
from echoreel_index.vector_plan import CANDIDATES, POINTS, PROBES, VectorPlan, human, lists_for, tune
from echoreel_index.vectors import After, Exact, Found, VectorReport, rescored

TABLE, NOTE = "windows", "windows_note"
COMMIT = 65_536
"""Rows a version: 64 MiB in memory at width 512."""
INDEX_ABOVE = 100_000
"""Vectors above which LanceDB looks into lists of 1-bit codes instead of comparing all."""
NAMED = 10_000
"""Rows named in one deletion."""
PEEK = 16
"""Rows whose vectors are compared to tell whether a table is this library's."""


class LanceTable:
    """The table at `address`: a folder or the address of one in object storage; one library each."""

    def __init__(self, address: str, width: int, exact: Exact, index_above: int = INDEX_ABOVE) -> None:
        self.address, self.width = address, width
        self.generation = -1
        self.intact = False
        self._exact, self._index_above = exact, index_above
        self._db: Any = None
        self._table: Any = None
        self._note: dict[str, Any] = {}
        self._surplus = np.empty(0, np.int64)
        """Rows of the table that the library does not have, as far as it was known when we caught up."""
        self._damaged = False
        """Whether the table cannot be read; then `_table` is one in memory."""
        self._last: tuple[NDArray[np.int64], After] | None = None
        """What we caught up with."""

    def load(self, expected: str) -> None:
        """Open the table; `intact` if its fingerprint is `expected`. What is open already stays.

        Raises UsageError without LanceDB, LibraryError when the table cannot be reached or belongs to another library.
        """
        if self._table is not None:
            return
        self._db = _connect(self.address)
        try:
            self._table = self._db.open_table(TABLE) if TABLE in self._db.list_tables().tables else self._new()
            self._note = self._read_note()
            if not self._name() or self._name() != expected.partition("@")[0]:
                self._must_be_ours()
        except (OSError, RuntimeError, ValueError) as error:
            self._do_without(error)
        self.intact = not self._damaged and self._fingerprint() == expected

    def catch_up(self, rows: NDArray[np.int64], after: After) -> None:
        """Add what is newer than all that is held; what is not among the ascending `rows` is passed over, until `write` removes it.

        Raises LibraryError when the table cannot be written.
        """
        self._last = (rows, after)
        try:
            held = self._held()
        except (OSError, RuntimeError, ValueError) as error:
            self._do_without(error)
            held = np.empty(0, np.int64)
        self._surplus = np.setdiff1d(held, rows)
        self.intact = self.intact and not len(self._surplus)
        try:
            self._add(int(held[-1]) if len(held) else -1, after)
            if len(rows) >= max(self._index_above, 2 * int(self._note.get("learned", 0))):
                self._learn(rows, after)
        except (OSError, RuntimeError) as error:
            raise self._unreachable(error) from error

    def nearest(self, vector: NDArray[np.float32], k: int, among: NDArray[np.int64] | None = None) -> Found:
        """The k closest to `vector`: (row, cosine), best first. Up to `ivf.FEW` rows in `among` are all compared."""
        if among is not None and len(among) <= FEW:
            return rescored(vector, among, self._exact, k)
        try:
            return rescored(vector, self._candidates(vector, k, self._plan(), among), self._exact, k)
        except (OSError, RuntimeError) as error:
            raise self._unreachable(error) from error

    def write(self) -> str:
        """Remove what the library has no more, merge small files, bring the lists up to date; the fingerprint `NAME@VERSION`.

        A table that cannot be read is made anew. The caller has the right to write.
        """
        try:
            if self._damaged:
                self._begin_anew()
            self._remove(self._surplus)
            self._surplus = np.empty(0, np.int64)
            self._table.optimize()
        except (OSError, RuntimeError) as error:
            raise self._unreachable(error) from error
        self.intact = True
        return self._fingerprint()

    def held(self, expected: str) -> NDArray[np.int64]:
        """The rows of the table, ascending; opens it and changes nothing. Raises LibraryError when it cannot be read."""
        self.load(expected)
        if self._damaged:
            raise LibraryError(f"the table at {self.address} cannot be read", hint="make it again with: echoreel library rebuild")
        try:
            return self._held()
        except (OSError, RuntimeError, ValueError) as error:
            raise self._unreachable(error) from error

    def describe(self) -> VectorReport:
        """What this is, how large, and how well it finds."""
        count = int(self._table.count_rows()) - len(self._surplus) if self._table is not None else 0
        said = f"{count:,} vectors in a LanceDB table at {self.address}, {human(count * (2 * self.width + 8))}, "
        if not self._note:
            return VectorReport("lance", count, said + "every one compared", 1.0)
        plan, recall = self._plan(), float(self._note["recall"])
        said += (
            f"in {plan.lists:,} lists as {plan.said}; a query looks into {plan.probes:,} lists and scores the best"
            f" {plan.candidates:,} again; it finds {recall:.3f} of the true ten nearest"
            f" (measured when there were {self._note['learned']:,})"
        )
        return VectorReport("lance", count, said, recall)

    # Searching.

    def _plan(self) -> VectorPlan:
        note = self._note
        probes, candidates = note.get("probes", PROBES), note.get("candidates", CANDIDATES)
        return VectorPlan("rabitq", note.get("lists", 1), self.width // 8, probes, candidates, "1-bit codes (RaBitQ)")

    def _candidates(self, vector: NDArray[np.float32], k: int, plan: VectorPlan, among: NDArray[np.int64] | None) -> NDArray[np.int64]:
        """Rows of the table that seem closest."""
        wanted = max(plan.candidates, 10 * k) + len(self._surplus)  # `rescored` drops those that are not in the library
        query = self._table.search(np.asarray(vector, np.float32)).distance_type("dot").limit(wanted)
        if among is not None:
            query = query.where(f"row IN ({','.join(map(str, among.tolist()))})", prefilter=True)
        if self._note:
            # The fewer are left of those that the lists were learned from, the more lists have to be looked into.
            left = len(among) if among is not None else self._table.count_rows() - len(self._surplus)
            query = query.nprobes(min(plan.lists, int(np.ceil(plan.probes * max(1.0, self._note["learned"] / max(left, 1))))))
        rows: NDArray[np.int64] = query.select(["row", "_distance"]).to_arrow()["row"].to_numpy()
        return rows

    # Changing.

    def _held(self) -> NDArray[np.int64]:
        """Rows of the table's newest version, ascending."""
        self._table.checkout_latest()
        rows: NDArray[np.int64] = np.sort(self._table.search().select(["row"]).to_arrow()["row"].to_numpy())
        return rows

    def _remove(self, rows: NDArray[np.int64]) -> None:
        for first in range(0, len(rows), NAMED):
            self.intact = False
            self._table.delete(f"row IN ({','.join(map(str, rows[first : first + NAMED].tolist()))})")

    def _add(self, newest: int, after: After) -> None:
        """Add what is newer than the row `newest`; a row that is there already stays as it is."""
        waiting: list[Any] = []
        for rows, vectors in after(newest):
            waiting.append(self._batch(rows, vectors))
            if sum(len(one) for one in waiting) >= COMMIT:
                self._commit(waiting)
                waiting = []
        if waiting:
            self._commit(waiting)

    def _commit(self, batches: list[Any]) -> None:
        import pyarrow

        self.intact = False
        self._table.merge_insert("row").when_not_matched_insert_all().execute(pyarrow.Table.from_batches(batches))

    def _batch(self, rows: list[int], vectors: NDArray[np.float32]) -> Any:
        import pyarrow

        schema = self._table.schema
        flat = pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(vectors.astype(np.float16).ravel()), self.width)
        return pyarrow.RecordBatch.from_arrays([pyarrow.array(rows, pyarrow.int64()), flat], schema=schema)

    def _learn(self, rows: NDArray[np.int64], after: After) -> None:
        """Make the lists, measure what they find as `ivf` does, and write down the settings that find enough."""
        from lancedb.index import IvfRq

        start = replace(self._plan(), lists=lists_for(len(rows)), probes=PROBES, candidates=CANDIDATES)
        self.intact = False
        config = IvfRq(distance_type="dot", num_partitions=start.lists, max_iterations=ROUNDS, sample_rate=POINTS)
        self._table.create_index("vector", config=config, replace=True)
        random = np.random.default_rng(SEED)
        asked = random.choice(rows, min(QUERIES, len(rows)), replace=False)
        test = Truth(noisy(random.permutation(self._exact(asked)[1]), random))
        for some, vectors in after(-1):
            test.see(np.array(some, np.int64), vectors)
        self._note = {"learned": len(rows), "lists": start.lists, "recall": 0.0}  # from here on `_candidates` uses the lists
        plan, recall = tune(start, lambda settings: test.recall(lambda query: self._candidates(query, 1, settings, None)))
        self._note |= {"probes": plan.probes, "candidates": plan.candidates, "recall": recall}
        self._db.create_table(NOTE, [{"note": json.dumps(self._note)}], mode="overwrite")

    # The table.

    def _new(self) -> Any:
        import pyarrow

        vector = pyarrow.list_(pyarrow.float16(), self.width)
        fields = [pyarrow.field("row", pyarrow.int64(), nullable=False), pyarrow.field("vector", vector)]
        schema = pyarrow.schema(fields, metadata={"echoreel": uuid.uuid4().hex})
        table = self._db.create_table(TABLE, schema=schema, exist_ok=True)
        table.set_unenforced_primary_key("row")  # so that two who add the same rows at once meet, and one of them adds none
        return table

    def _read_note(self) -> dict[str, Any]:
        if NOTE not in self._db.list_tables().tables:
            return {}
        note: dict[str, Any] = json.loads(self._db.open_table(NOTE).to_arrow()["note"][0].as_py())
        return note

    def _name(self) -> str:
        """What tells this table from every other; empty for one that echoreel did not make."""
        return str((self._table.schema.metadata or {}).get(b"echoreel", b"").decode())

    def _fingerprint(self) -> str:
        return f"{self._name()}@{self._table.version}"

    def _must_be_ours(self) -> None:
        """Compare some vectors with the library's: a killed run leaves a table that the library does not know yet."""
        foreign = LibraryError(
            f"the table at {self.address} holds the vectors of another library", hint="choose another address, or delete that table"
        )
        if not self._name() or self._table.schema.field("vector").type.list_size != self.width:
            raise foreign
        some = self._table.search().select(["row", "vector"]).limit(PEEK).to_arrow()
        held = np.array(some["vector"].to_pylist(), np.float32).reshape(-1, self.width)
        places = {row: place for place, row in enumerate(some["row"].to_pylist())}
        rows, vectors = self._exact(np.array(sorted(places), np.int64)) if places else (np.empty(0, np.int64), held)
        if places and not len(rows):
            raise foreign
        if any(float(held[places[int(row)]] @ vector) < 0.99 for row, vector in zip(rows, vectors, strict=True)):
            raise foreign

    def _do_without(self, error: Exception) -> None:
        """Search in a table in memory where that on this machine is damaged.

        What is far away is never thrown away, it may just be out of reach: then raises LibraryError.
        """
        if "://" in self.address:
            raise self._unreachable(error) from error
        self._db = _connect(f"memory://{uuid.uuid4().hex}")
        self._table, self._note, self.intact, self._damaged = self._new(), {}, False, True

    def _begin_anew(self) -> None:
        """Replace the damaged table by one with all vectors."""
        self._db, self._damaged = _connect(self.address), False
        for name in (TABLE, NOTE):
            self._db.drop_table(name, ignore_missing=True)
        self._table, self._note = self._new(), {}
        if self._last is not None:
            self.catch_up(*self._last)

    def _unreachable(self, error: Exception) -> LibraryError:
        lines = str(error).splitlines() or [type(error).__name__]
        return LibraryError(f"the table at {self.address} cannot be used: {lines[0]}", hint="check the address and your rights to it")


def _connect(address: str) -> Any:
    try:
        import lancedb
    except ImportError as error:
        raise UsageError("vectors in LanceDB need a package that is not installed", hint="pip install 'echoreel[lance]'") from error
    try:
        return lancedb.connect(address)
    except (OSError, RuntimeError, ValueError) as error:
        raise LibraryError(f"the table at {address} cannot be used: {error}", hint="check the address and your rights to it") from error
