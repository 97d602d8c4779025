"""Vectors in lists of neighbours, of which a query looks into a few: for more than about a million.

    base    FAISS inverted lists of short codes, mapped from the file, never changed while it is searched
    tail    what is newer than the base, compared in full
    gone    rows of the base that do not exist any more, never returned

`write` folds tail and gone into the base. When there are twice as many vectors as the lists were learned from, or a quarter, or the
file is damaged, everything is made again, chunk by chunk: memory holds the codes (see `vector_plan`) and one chunk.

The codes only choose candidates: these are scored again from the exact vectors, so the cosines are exact and only the choice is
approximate. How good it is is measured whenever the lists are made, against a comparison with all vectors, on `QUERIES` held
vectors moved by Gaussian noise: half of them by a length between 0.25 and 1 times their own (cosine to where they were: 0.97 to
0.71), as pictures of the same thing are apart; half of them by 3 (cosine 0.32), as far as words are from pictures in the usual
encoders. The lower of both figures is the one that must reach the target and that is told.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from echoreel_index.errors import LibraryError
from echoreel_index.faiss_file import FaissFile, faiss_module, selector
from echoreel_index.vector_plan import POINTS, VectorPlan, default_budget, plan, tune
from echoreel_index.vectors import After, Exact, Found, VectorReport, flat, flat_nearest, held_rows, rescored

QUERIES, TEN, FAR = 200, 10, 3.0
TAIL = 50_000
"""Vectors compared in full before they are put into the lists."""
FEW = 20_000
"""So few rows to choose from are all scored exactly."""
PEEK = 64
"""Vectors by which a file is recognised."""
CHUNK = 8192
ROUNDS = 8
"""Passes of k-means."""
SEED = 0


class IvfFile:
    """An inverted file and what has changed since it was written. `budget` is in bytes; None is a quarter of the machine's memory."""

    def __init__(self, path: Path, width: int, exact: Exact, budget: int | None = None) -> None:
        self.path, self.width = path, width
        self.generation = -1
        self._exact, self._file = exact, FaissFile(path)
        self._budget = default_budget() if budget is None else budget
        self._base: Any = None
        self._mapped = False
        self._digest = ""
        self._known, self._ours = False, False
        """Whether the library knows the base's file; whether the base was seen to be this library's."""
        self._plan: VectorPlan | None = None
        self._learned, self._recall = 0, 0.0
        self._tail: Any = None
        self._gone = np.empty(0, np.int64)

    @property
    def intact(self) -> bool:
        """Whether the file is the expected one and shows everything."""
        return self._mapped and self._known and self._tail.ntotal == 0 and len(self._gone) == 0

    def load(self, expected: str) -> None:
        """Take the file if it is whole, else begin empty; what is in memory already stays.

        A file other than `expected` is not `intact`. It may still be this library's, written by a process that was killed before
        it could say so, or that is about to: `catch_up` finds out.
        """
        if self._tail is not None:
            return
        self._tail = flat(self.width)
        note = self._file.note()
        try:
            settings = VectorPlan(**note["plan"])
            self._learned, self._recall, digest = int(note["learned"]), float(note["recall"]), str(note["sha256"])
        except (KeyError, TypeError, ValueError):
            return
        self._base = self._file.read(mapped=True) if self._file.open(digest) else None
        if self._base is not None:
            self._plan, self._mapped, self._digest, self._known = settings, True, digest, digest == expected

    def catch_up(self, rows: NDArray[np.int64], after: After) -> None:
        """Remove what is not among the ascending `rows` any more, add what is newer than all that is held."""
        fits = self._learned // 4 <= len(rows) < 2 * self._learned
        base = self._base_rows() if self._base is not None and fits else np.empty(0, np.int64)
        self._ours = len(base) > 0 and (self._known or self._ours or self._finds_itself(np.intersect1d(base, rows)))
        if not self._ours:
            self._make(rows, after)
            return
        tail = held_rows(self._tail)
        self._gone = np.setdiff1d(base, rows)
        dropped = np.setdiff1d(tail, rows)
        if len(dropped):
            self._tail.remove_ids(dropped)
        for some, vectors in after(int(max(base.max(initial=-1), tail.max(initial=-1)))):
            self._tail.add_with_ids(np.ascontiguousarray(vectors, np.float32), np.array(some, np.int64))
            if self._tail.ntotal > TAIL:
                self._fold_tail()

    def nearest(self, vector: NDArray[np.float32], k: int, among: NDArray[np.int64] | None = None) -> Found:
        """The k closest to `vector`: (row, cosine), best first. Up to `FEW` rows in `among` are all compared."""
        if among is not None and len(among) <= FEW:
            return rescored(vector, self._alive(among), self._exact, k)
        newer = [row for row, _ in flat_nearest(self._tail, vector, k, among)]
        candidates = np.concatenate([self._candidates(vector, k, among), np.array(newer, np.int64)])
        return rescored(vector, candidates, self._exact, k)

    def write(self) -> str:
        """Fold all changes in, replace the file in one step, map it; its SHA-256. An empty library has no file: ''."""
        if self._plan is None:
            return ""
        if not self.intact:
            self._fold_tail()
            if len(self._gone):
                self._base.remove_ids(self._gone)
                self._gone = np.empty(0, np.int64)
            note = {"form": "ivf", "plan": asdict(self._plan), "learned": self._learned, "recall": self._recall}
            self._digest = self._file.write(self._base, note)
            self._base, self._mapped, self._known = self._file.read(mapped=True), True, True
        return self._digest

    def describe(self) -> VectorReport:
        """What this is, how large, and how well it finds."""
        if self._plan is None:
            return VectorReport("ivf", 0, "no vectors", None)
        count = self._base.ntotal - len(self._gone) + self._tail.ntotal
        said = (
            f"{self._plan.said}; a query looks into {self._plan.probes:,} lists and scores the best {self._plan.candidates:,} again;"
            f" it finds {self._recall:.3f} of the true ten nearest (measured when there were {self._learned:,})"
        )
        return VectorReport("ivf", count, said, self._recall)

    # Searching.

    def _candidates(self, vector: NDArray[np.float32], k: int, among: NDArray[np.int64] | None) -> NDArray[np.int64]:
        """Rows of the base whose codes are closest."""
        if self._plan is None or self._base.ntotal == 0:
            return np.empty(0, np.int64)
        chosen, left = None, self._base.ntotal - len(self._gone)
        if among is not None:
            chosen, left = selector(self._alive(among)), len(among)
        elif len(self._gone):
            chosen = faiss_module().IDSelectorNot(selector(self._gone))
        # The fewer are left of those that the lists were learned from, the more lists have to be looked into.
        probes = int(np.ceil(self._plan.probes * max(1.0, self._learned / max(left, 1))))
        settings = replace(self._plan, probes=min(self._plan.lists, probes), candidates=max(self._plan.candidates, 10 * k))
        return probe(self._base, vector, settings, chosen)

    def _alive(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.setdiff1d(rows, self._gone) if len(self._gone) else rows

    # Changing.

    def _finds_itself(self, rows: NDArray[np.int64]) -> bool:
        """Whether the base finds the library's own vectors where it should: nearly all of some, drawn by chance."""
        if self._plan is None or len(rows) == 0:
            return False
        some = np.random.default_rng(SEED).choice(rows, min(PEEK, len(rows)), replace=False)
        there, vectors = self._exact(some)
        found = [row in probe(self._base, vector, self._plan, None) for row, vector in zip(there, vectors, strict=True)]
        return sum(found) >= 0.9 * len(some)

    def _base_rows(self) -> NDArray[np.int64]:
        faiss = faiss_module()
        lists = faiss.extract_index_ivf(self._base).invlists
        sizes = [lists.list_size(one) for one in range(lists.nlist)]
        parts = [faiss.rev_swig_ptr(lists.get_ids(one), size).copy() for one, size in enumerate(sizes) if size]
        return np.concatenate(parts) if parts else np.empty(0, np.int64)

    def _fold_tail(self) -> None:
        """Put the tail into the lists, in memory. Raises LibraryError when the file cannot be read any more."""
        if self._mapped:
            base = self._file.read(mapped=False)
            if base is None:
                raise LibraryError(f"cannot read {self.path}", hint="delete it: it is made again from the database")
            self._base, self._mapped = base, False
        rows = held_rows(self._tail)
        for first in range(0, len(rows), CHUNK):
            there, vectors = self._exact(rows[first : first + CHUNK])
            self._base.add_with_ids(np.ascontiguousarray(vectors, np.float32), there)
        self._tail = flat(self.width)

    def _make(self, rows: NDArray[np.int64], after: After) -> None:
        """Learn the lists, fill them and measure, in one pass over all vectors."""
        self._base, self._plan, self._mapped, self._known = None, None, False, False
        self._tail, self._gone = flat(self.width), np.empty(0, np.int64)
        if len(rows) == 0:
            return
        random = np.random.default_rng(SEED)
        start = plan(len(rows), self.width, self._budget)
        base = learned_lists(start, self._sample(rows, POINTS * start.lists, random))
        test = Truth(noisy(random.permutation(self._sample(rows, QUERIES, random)), random))
        for some, vectors in after(-1):
            base.add_with_ids(np.ascontiguousarray(vectors, np.float32), np.array(some, np.int64))
            test.see(np.array(some, np.int64), vectors)
        self._base, self._learned, self._ours = base, len(rows), True
        self._plan, self._recall = tune(start, lambda settings: test.recall(lambda query: probe(base, query, settings, None)))

    def _sample(self, rows: NDArray[np.int64], count: int, random: np.random.Generator) -> NDArray[np.float32]:
        """Vectors (n d) of at most `count` of the rows."""
        some = np.sort(random.choice(rows, min(count, len(rows)), replace=False))
        return np.concatenate([self._exact(some[first : first + CHUNK])[1] for first in range(0, len(some), CHUNK)])


class Truth:
    """The true ten nearest of some queries (q d), the first half of them near and the others far, found while vectors go by."""

    def __init__(self, queries: NDArray[np.float32]) -> None:
        self.queries = queries
        self.rows = np.full((len(queries), TEN), -1, np.int64)
        self.scores = np.full((len(queries), TEN), -np.inf, np.float32)

    def see(self, rows: NDArray[np.int64], vectors: NDArray[np.float32]) -> None:
        """Take vectors (n d) into account."""
        scores = np.concatenate([self.scores, self.queries @ vectors.T], axis=1)
        known = np.concatenate([self.rows, np.broadcast_to(rows, (len(self.queries), len(rows)))], axis=1)
        order = np.argpartition(-scores, TEN - 1, axis=1)[:, :TEN]
        self.scores, self.rows = np.take_along_axis(scores, order, 1), np.take_along_axis(known, order, 1)

    def recall(self, candidates: Callable[[NDArray[np.float32]], NDArray[np.int64]]) -> float:
        """Share of the true ten that are among the `candidates` of a query (d), for the half for which it is lower.

        The exact scores then put all of these first.
        """
        hits = [np.isin(truth[truth >= 0], candidates(query)) for truth, query in zip(self.rows, self.queries, strict=True)]
        middle = len(hits) // 2
        return min(float(np.concatenate(half).mean()) for half in (hits[:middle], hits[middle:]) if half)


def probe(base: Any, query: NDArray[np.float32], settings: VectorPlan, chosen: Any) -> NDArray[np.int64]:
    """Rows whose codes are closest to `query` (d), of those that the selector `chosen` lets through."""
    faiss = faiss_module()
    inner = faiss.SearchParametersIVF(nprobe=settings.probes, sel=chosen)
    around = faiss.SearchParametersPreTransform(index_params=inner)
    rows: NDArray[np.int64] = base.search(np.ascontiguousarray(query[None], np.float32), settings.candidates, params=around)[1][0]
    return rows[rows >= 0]


def learned_lists(settings: VectorPlan, sample: NDArray[np.float32]) -> Any:
    """Empty lists around the k-means centres of `sample` (n d). A random turn before them spreads what the codes must hold evenly."""
    faiss = faiss_module()
    width = sample.shape[1]
    turn = faiss.RandomRotationMatrix(width, width)
    turn.init(SEED)
    turned = turn.apply(sample)
    centres = faiss.IndexFlatIP(width)
    how = faiss.ClusteringParameters()
    how.niter, how.spherical, how.seed, how.min_points_per_centroid, how.max_points_per_centroid = ROUNDS, True, SEED, 1, POINTS
    faiss.Clustering(width, settings.lists, how).train(turned, centres)
    metric, kinds = faiss.METRIC_INNER_PRODUCT, {"sq8": faiss.ScalarQuantizer.QT_8bit, "sq4": faiss.ScalarQuantizer.QT_4bit}
    if settings.kind == "rabitq":
        lists = faiss.IndexIVFRaBitQ(centres, width, settings.lists, metric)
        lists.qb = 8  # bits of the query's numbers; 4, the default, finds two in a hundred fewer
    else:
        lists = faiss.IndexIVFScalarQuantizer(centres, width, settings.lists, kinds[settings.kind], metric, True)
    lists.train(turned)
    around = faiss.IndexPreTransform(turn, lists)
    around.is_trained = True
    return around


def noisy(vectors: NDArray[np.float32], random: np.random.Generator) -> NDArray[np.float32]:
    """Unit vectors (n d), moved by Gaussian noise: the first half by a length between 0.25 and 1, the others by `FAR`."""
    noise = random.standard_normal(vectors.shape, np.float32)
    length = random.uniform(0.25, 1.0, (len(vectors), 1)).astype(np.float32)
    length[len(vectors) // 2 :] = FAR
    moved = vectors + noise * length / np.linalg.norm(noise, axis=1, keepdims=True)
    return np.asarray(moved / np.linalg.norm(moved, axis=1, keepdims=True), np.float32)
