"""How long vectors take to be put in order and to be searched, how much memory that needs, and how many of the true ten are found.

    python -m benchmarks.vector_scale --count 1000000 --width 512
    python -m benchmarks.vector_scale --count 10000000 --form ivf --folder /big/disk       keeps the vectors for the next run

The vectors are drawn, chunk by chunk and the same ones each time: 20,000 centres around 200 others, and around each centre noise of
length 0.8 whose strength falls over the dimensions as a power (`--spectrum`, the exponent of the standard deviation: 0.5 gives
some 30 effective dimensions, 0 as many as there are numbers). They lie on disk as float16 and are read from there, as a library
reads them from SQLite; no run ever holds them all. Queries are drawn in the same way and are not among them (`near`); in a second
round noise of length 3 puts them as far from all vectors as words are from pictures (`far`, cosine 0.3). They are asked one at a
time, all of them twice: `first_*` is the first time, `median_ms` and `p99_ms` the second, `cpu_median_ms` its processor time, which
says more than the clock on a machine that is busy with other things.

Prints one JSON object a run. Memory is the highest resident size (VmHWM), code and mapped files included. Linux only.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from echoreel_index.ivf import FAR, TEN, Truth
from echoreel_index.vector_forms import FORMS, open_vectors
from echoreel_index.vectors import VectorIndex

CENTRES, SUPER, NOISE = 20_000, 200, 0.8
CHUNK = 16_384
QUERY_CHUNK = 2**31
"""The number of the chunk that queries are taken from."""


@dataclass(frozen=True, slots=True)
class World:
    """Where vectors come from."""

    width: int
    spectrum: float
    seed: int

    def centres(self) -> NDArray[np.float32]:
        """(c d) unit vectors."""
        random = np.random.default_rng(self.seed)
        groups = random.standard_normal((SUPER, self.width), np.float32)[random.integers(0, SUPER, CENTRES)]
        return _unit(groups + random.standard_normal((CENTRES, self.width), np.float32))

    def chunk(self, number: int, count: int, centres: NDArray[np.float32]) -> NDArray[np.float32]:
        """(count d) unit vectors, always the same for the same number."""
        random = np.random.default_rng((self.seed, number))
        strength = np.arange(1, self.width + 1, dtype=np.float32) ** -self.spectrum
        noise = random.standard_normal((count, self.width), np.float32)
        noise *= strength * np.float32(NOISE) / np.linalg.norm(strength)
        noise += centres[random.integers(0, len(centres), count)]
        return _unit(noise)

    def queries(self, count: int, noise: float) -> NDArray[np.float32]:
        """(count d) vectors that are not among the others, each moved by Gaussian noise of that length."""
        drawn = self.chunk(QUERY_CHUNK, count, self.centres())
        aside = _unit(np.random.default_rng((self.seed, QUERY_CHUNK + 1)).standard_normal(drawn.shape, np.float32))
        return _unit(drawn + np.float32(noise) * aside)


class Vectors:
    """`count` float16 vectors on disk: row r is at place r - 1."""

    def __init__(self, path: Path, count: int, width: int) -> None:
        self.path, self.count, self.width = path, count, width

    def draw(self, world: World) -> None:
        """Write them, unless they are there."""
        if self.path.exists() and self.path.stat().st_size == self.count * self.width * 2:
            return
        centres = world.centres()
        with self.path.open("wb") as file:
            for first in range(0, self.count, CHUNK):
                file.write(world.chunk(first // CHUNK, min(CHUNK, self.count - first), centres).astype(np.float16).tobytes())

    def after(self, row: int) -> Iterator[tuple[list[int], NDArray[np.float32]]]:
        """All with higher rows, in chunks."""
        with self.path.open("rb") as file:
            file.seek(max(row, 0) * self.width * 2)
            for first in range(max(row, 0), self.count, CHUNK):
                some = min(CHUNK, self.count - first)
                vectors = np.frombuffer(file.read(some * self.width * 2), np.float16).reshape(some, self.width)
                yield list(range(first + 1, first + 1 + some)), vectors.astype(np.float32)

    def exact(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Those of the rows, read one by one."""
        size = self.width * 2
        with self.path.open("rb", buffering=0) as file:
            content = b"".join(os.pread(file.fileno(), size, (int(row) - 1) * size) for row in rows)
        return rows, np.frombuffer(content, np.float16).reshape(len(rows), self.width).astype(np.float32)


def ask(index: VectorIndex, vectors: Vectors, queries: NDArray[np.float32]) -> dict[str, float]:
    """Milliseconds of a query the first and the second time, and the share of the true ten that is found."""
    times: list[list[float]] = [[], []]
    worked: list[float] = []
    found: list[set[int]] = []
    for place in range(2):
        found = []
        for query in queries:
            before, work = time.perf_counter(), time.process_time()
            hits = index.nearest(query, TEN)
            times[place].append((time.perf_counter() - before) * 1000)
            worked.append((time.process_time() - work) * 1000)
            found.append({row for row, _ in hits})
    truth = Truth(queries)
    for some, chunk in vectors.after(-1):
        truth.see(np.array(some, np.int64), chunk)
    shared = sum(len(one & set(true.tolist())) for one, true in zip(found, truth.rows, strict=True))
    return {
        "first_median_ms": round(float(np.median(times[0])), 2),
        "first_p99_ms": round(float(np.percentile(times[0], 99)), 2),
        "median_ms": round(float(np.median(times[1])), 2),
        "p99_ms": round(float(np.percentile(times[1], 99)), 2),
        "cpu_median_ms": round(float(np.median(worked[len(queries) :])), 2),
        "recall_at_10": round(shared / (TEN * len(queries)), 4),
    }


def run(world: World, vectors: Vectors, form: str, folder: Path, budget: int | None, count: int) -> dict[str, object]:
    """Build, write, open, ask, compare."""
    rows = np.arange(1, vectors.count + 1, dtype=np.int64)
    building = open_vectors(form, folder, vectors.width, vectors.exact, budget)
    before, start = time.perf_counter(), time.process_time()
    building.load("")
    building.catch_up(rows, vectors.after)
    built, work = time.perf_counter(), time.process_time()
    fingerprint = building.write()
    written = time.perf_counter()
    build_peak = peak_mib()
    del building

    forget_peak()
    index = open_vectors(form, folder, vectors.width, vectors.exact, budget)
    opening = time.perf_counter()
    index.load(fingerprint)
    opened = time.perf_counter()
    asked = {name: ask(index, vectors, world.queries(count, noise)) for name, noise in (("near", 0.0), ("far", FAR))}
    report = index.describe()
    return {
        "count": report.count,
        "width": vectors.width,
        "spectrum": world.spectrum,
        "form": report.form,
        "threads": os.environ.get("OMP_NUM_THREADS", "all"),
        "said": report.said,
        "build_s": round(built - before, 1),
        "build_cpu_s": round(work - start, 1),
        "write_s": round(written - built, 1),
        "open_s": round(opened - opening, 3),
        "build_peak_mib": build_peak,
        "query_peak_mib": peak_mib(),
        "file_mib": round(sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 2**20),
        "queries": count,
        **asked,
        "recall_measured_at_build": report.recall,
    }


def peak_mib() -> int:
    """Highest resident size since the last `forget_peak`."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) // 1024 for line in lines if line.startswith("VmHWM"))


def forget_peak() -> None:
    """Measure the peak from here on."""
    Path("/proc/self/clear_refs").write_text("5")


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


def main() -> None:
    """Read the options, run once."""
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--count", type=int, default=1_000_000)
    options.add_argument("--width", type=int, default=512)
    options.add_argument("--form", choices=FORMS, default="auto")
    options.add_argument("--queries", type=int, default=200)
    options.add_argument("--spectrum", type=float, default=0.5)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--budget", type=float, help="GiB for the codes; a quarter of the memory if not given")
    options.add_argument("--folder", type=Path, help="keep the drawn vectors here")
    given = options.parse_args()
    with tempfile.TemporaryDirectory(dir=given.folder) as place:
        world = World(given.width, given.spectrum, given.seed)
        name = f"{given.count}x{given.width}-{given.spectrum:g}-{given.seed}.f16"
        vectors = Vectors((given.folder or Path(place)) / name, given.count, given.width)
        vectors.draw(world)
        forms = Path(place) / "index"
        forms.mkdir()
        budget = int(given.budget * 2**30) if given.budget is not None else None
        print(json.dumps(run(world, vectors, given.form, forms, budget, given.queries)), flush=True)


if __name__ == "__main__":
    main()
