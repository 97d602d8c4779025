"""Kills a process that changes a library, at many moments, and looks at what is left; flips bytes of a database, and looks.

    python -m benchmarks.kill_points --points 150             deeds killed at 150 moments, one JSON object
    python -m benchmarks.kill_points --points 0 --flips 200   200 databases with flipped bytes
    python -m benchmarks.kill_points --points 0 --reads 200   200 readings while another process writes

Deeds: index from nothing, index after changes, remove, rebuild of a damaged library, merge, and the step from the first form of
the database to the present one. How they are killed, always by SIGKILL:

    call       before or after the n-th call of SQLite, os.replace, os.fsync, os.unlink or faiss.write_index
    syscall    at the n-th system call that changes a file (ptrace, x86-64; between two pages that SQLite writes, for instance)
    time       after a random time
    command    the whole command `echoreel index` with its decode processes, after a random time

After each kill the library is opened, verified and searched, and every window and vector in it is compared with those of
undisturbed runs; then the deed is done again and everything but row numbers is compared with an undisturbed library. Videos are
decoded once, before; each attempt is a fork of one process that has imported everything, so that it takes a fraction of a second.
Linux only.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import json
import os
import pickle
import platform
import random
import select
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from echoreel_index import merging, upkeep
from echoreel_index.clips import WindowSettings
from echoreel_index.database import DATABASE, FIRST_FORMAT
from echoreel_index.decoder import Decoder
from echoreel_index.encode import unit
from echoreel_index.engine import LocalEngine
from echoreel_index.errors import EchoreelError, LibraryError, UsageError, VideoError
from echoreel_index.faiss_file import FaissFile
from echoreel_index.library import Library
from echoreel_index.nouns import EncoderCard
from echoreel_index.readers import Sample, Scan, ScanSettings
from echoreel_index.store import VECTORS, Store
from echoreel_index.vectors import held_rows
from echoreel_index.verification import verify

SETTINGS = WindowSettings()
WORDS = ("red", "green", "blue")
Dump = dict[str, Any]


class ColourEncoder:
    """Sees how red, green and blue a frame is, and reads the same of words; what it says of a frame depends on nothing else."""

    frame_size = 16
    logit_scale = 100.0

    def __init__(self) -> None:
        self.card = EncoderCard("colours", 6, "c" * 64)

    def embed_frames(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(n h w c) -> (n 6)."""
        pixels = frames.astype(np.float32).reshape(len(frames), -1, 3) / 255
        return unit(np.concatenate([pixels.mean(1), pixels.std(1)], axis=1))

    def embed_texts(self, texts: list[str]) -> NDArray[np.float32]:
        """(n 6)."""
        return unit(np.array([[float(word in text) + 1e-3 for word in WORDS] + [0.0] * 3 for text in texts], dtype=np.float32))


class Recorded(Decoder):
    """Gives again what a decoder gave before; by the bytes of a file, since files move."""

    def __init__(self, seen: dict[bytes, list[Sample | Scan] | str]) -> None:
        super().__init__()
        self._seen = seen

    def scan(self, path: str, settings: ScanSettings) -> Iterator[Sample | Scan]:
        """See `Decoder.scan`."""
        known = self._seen[Path(path).read_bytes()]
        if isinstance(known, str):
            raise VideoError(known)
        yield from known


# The stage: videos before and after, libraries to begin with.


@dataclass
class Stage:
    """Folders and what was decoded; every attempt copies from here."""

    home: Path
    seen: dict[bytes, list[Sample | Scan] | str] = field(default_factory=dict)

    @property
    def videos(self) -> Path:
        """Shown as it is after the changes; the library `before` knows what was there earlier."""
        return self.home / "videos"

    def start(self, name: str) -> Path:
        """The library that a deed begins with."""
        return self.home / "start" / name

    def engine(self) -> LocalEngine:
        """Two threads that decode, by heart."""
        return LocalEngine(ColourEncoder(), SETTINGS, decoders=[Recorded(self.seen), Recorded(self.seen)])

    def update(self, folder: Path, *paths: Path) -> None:
        """What `echoreel index` does."""
        library = Library.create_or_open(folder, ColourEncoder())
        try:
            library.update(list(paths) or [self.videos], settings=SETTINGS, engine=self.engine())
        finally:
            library.close()


def draw(path: Path, colour: tuple[int, int, int], seconds: float) -> None:
    """A film of one colour whose left edge darkens."""
    import av

    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(8))
        stream.width, stream.height, stream.pix_fmt = 48, 32, "yuv420p"
        stream.options = {"threads": "1"}
        for place in range(round(seconds * 8)):
            picture = np.full((32, 48, 3), colour, np.uint8)
            picture[:, : place % 48] //= 2
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())


def set_stage(home: Path) -> Stage:
    """Draw, decode, and make the libraries that the deeds begin with."""
    stage = Stage(home)
    videos = stage.videos
    for place, word in enumerate(WORDS):
        draw(videos / f"{word}.mp4", tuple(200 if i == place else 30 for i in range(3)), 3 + place)  # type: ignore[arg-type]
    draw(videos / "long.mp4", (120, 120, 30), 12)
    draw(videos / "going.mp4", (10, 120, 130), 3)
    draw(home / "elsewhere" / "new.mp4", (90, 20, 160), 5)
    (videos / "bad.mp4").write_bytes(b"no video")
    (videos / "red.txt").write_text("a red field with a border")
    (videos / "green.srt").write_text("1\n00:00:00,000 --> 00:00:01,500\nsomebody says green\n\n2\n00:00:02,000 --> 00:00:03,000\nbye\n")
    record(stage, videos, home / "elsewhere")
    in_child(lambda: stage.update(stage.start("before")))
    (videos / "going.mp4").unlink()
    (videos / "moved").mkdir()
    shutil.move(videos / "blue.mp4", videos / "moved" / "azure.mp4")
    shutil.copy(home / "elsewhere" / "new.mp4", videos / "new.mp4")
    shutil.copy(videos / "red.mp4", videos / "copy.mp4")
    draw(videos / "long.mp4", (30, 120, 120), 9)
    (videos / "red.txt").write_text("a crimson field")
    record(stage, videos)
    in_child(lambda: stage.update(stage.start("full")))
    in_child(lambda: stage.update(stage.start("other"), home / "elsewhere"))
    shutil.copytree(stage.start("full"), stage.start("damaged"))
    in_child(lambda: break_a_vector(stage.start("damaged")))
    for name in ("before", "other"):
        first_form(stage.start(name), stage.start(f"first-{name}"))
    return stage


def record(stage: Stage, *folders: Path) -> None:
    """Decode every file for once."""
    wanted = ScanSettings(step=SETTINGS.step, size=ColourEncoder.frame_size, splitter=SETTINGS.splitter, policy=SETTINGS.policy)
    with Decoder() as decoder:
        for path in (path for folder in folders for path in sorted(folder.rglob("*.mp4"))):
            try:
                stage.seen[path.read_bytes()] = list(decoder.scan(str(path), wanted))
            except VideoError as error:
                stage.seen[path.read_bytes()] = error.message


def break_a_vector(folder: Path) -> None:
    """One window whose vector does not fit its checksum, and texts that do not fit their index."""
    with contextlib.closing(sqlite3.connect(folder / DATABASE)) as db, db:
        db.execute("UPDATE windows SET vector = zeroblob(LENGTH(vector)) WHERE row = 3")
        db.execute("UPDATE file_words_content SET c1 = 'something else' WHERE id = 1")


FIRST_SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE roots (path BLOB PRIMARY KEY);
CREATE TABLE contents (sha256 TEXT PRIMARY KEY, settings TEXT NOT NULL, duration REAL NOT NULL, frames INTEGER NOT NULL);
CREATE TABLE windows (
    row INTEGER PRIMARY KEY AUTOINCREMENT,
    sha256 TEXT NOT NULL REFERENCES contents ON DELETE CASCADE,
    id TEXT NOT NULL, start REAL NOT NULL, end REAL NOT NULL, vector BLOB NOT NULL
);
CREATE INDEX windows_of ON windows (sha256);
CREATE TABLE files (
    path BLOB PRIMARY KEY, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, sha256 TEXT NOT NULL REFERENCES contents,
    caption TEXT, source TEXT, licence TEXT
);
CREATE INDEX files_of ON files (sha256);
CREATE TABLE failures (path BLOB PRIMARY KEY, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, message TEXT NOT NULL);
"""
"""The tables of `echoreel.library/1`, as version 0.1 made them."""


def first_form(present: Path, folder: Path) -> None:
    """A library as the first form would have held what `present` holds: float32 vectors, no words, no looks, no FAISS file."""
    folder.mkdir(parents=True)
    with (
        contextlib.closing(sqlite3.connect(present / DATABASE)) as new,
        contextlib.closing(sqlite3.connect(folder / DATABASE, isolation_level=None)) as old,
    ):
        old.execute("PRAGMA journal_mode = WAL")
        old.executescript(FIRST_SCHEMA)
        meta = dict(new.execute("SELECT key, value FROM meta").fetchall())
        kept = {key: meta[key] for key in ("card", "settings", "generation")}
        old.executemany("INSERT INTO meta VALUES (?, ?)", {**kept, "format": FIRST_FORMAT, "faiss_sha256": ""}.items())
        for table, columns in (
            ("roots", "path"),
            ("contents", "sha256, settings, duration, frames"),
            ("windows", "row, sha256, id, start, end, vector"),
            ("files", "path, size, mtime_ns, sha256, caption, source, licence"),
            ("failures", "path, size, mtime_ns, message"),
        ):
            rows = new.execute(f"SELECT {columns} FROM {table}").fetchall()
            if table == "windows":
                rows = [(*row[:5], np.frombuffer(row[5], "<f2").astype("<f4").tobytes()) for row in rows]
            old.executemany(f"INSERT INTO {table} ({columns}) VALUES ({', '.join('?' * len(columns.split(',')))})", rows)


# The deeds.


def remove(stage: Stage, folder: Path) -> None:
    """Forget a file, and a folder for good; done again, there is nothing left to do."""
    with contextlib.closing(Store.open(folder)) as store:
        with contextlib.suppress(UsageError):
            upkeep.remove(store, [stage.videos / "red.mp4"])
        upkeep.remove(store, [stage.videos / "moved"], ban=True)


def rebuild(stage: Stage, folder: Path) -> None:
    """Mend a library with a broken vector and broken words."""
    with contextlib.closing(Store.open(folder)) as store:
        upkeep.rebuild(store)


def merge(stage: Stage, folder: Path) -> None:
    """Take a library of the present form and one of the first."""
    with contextlib.closing(Store.open(folder)) as store:
        merging.merge(store, [merging.source(stage.start("other")), merging.source(stage.start("first-other"))])


def migrate(stage: Stage, folder: Path) -> None:
    """Open a library of the first form, and bring its file of vectors up to date as the next update would."""
    with contextlib.closing(Store.open(folder)) as store, store.writing():
        store.write_vectors()


@dataclass(frozen=True)
class Deed:
    """Something that changes a library."""

    start: str | None
    do: Callable[[Stage, Path], None]


DEEDS = {
    "index": Deed(None, lambda stage, folder: stage.update(folder)),
    "change": Deed("before", lambda stage, folder: stage.update(folder)),
    "remove": Deed("full", remove),
    "rebuild": Deed("damaged", rebuild),
    "merge": Deed("before", merge),
    "migrate": Deed("first-before", migrate),
    "migrate-and-index": Deed("first-before", lambda stage, folder: stage.update(folder)),
}


# Everything in a library but row numbers.


def dump(folder: Path) -> Dump:
    """By natural names, in a fixed order; the FAISS file's vectors by the names of their windows."""
    with contextlib.closing(Store.open(folder)) as store:
        ask = store.ask
        rows = ask("SELECT sha256, id, start, end, vector, crc, motion, brightness, one_shot, row FROM windows ORDER BY sha256, start, id")
        words = "SELECT path, names, said FROM files f JOIN file_words w ON w.rowid = f.row ORDER BY path"
        cues = "SELECT path, start, end, said FROM files f JOIN cues c ON c.file = f.row JOIN cue_words w ON w.rowid = c.row"
        private = ("generation", "faiss_sha256", "faiss_generation")
        return {
            "contents": ask("SELECT * FROM contents ORDER BY sha256"),
            "windows": [row[:-1] for row in rows],
            "looks": ask("SELECT * FROM looks ORDER BY sha256"),
            "files": ask("SELECT path, size, mtime_ns, sha256, caption, source, licence, words, date FROM files ORDER BY path"),
            "words": ask(words),
            "cues": ask(f"{cues} ORDER BY path, start, said"),
            "captions": ask("SELECT * FROM caption_vectors ORDER BY caption"),
            "failures": ask("SELECT * FROM failures ORDER BY path"),
            "roots": ask("SELECT * FROM roots ORDER BY path"),
            "meta": [row for row in ask("SELECT key, value FROM meta ORDER BY key") if row[0] not in private],
            "vectors": faiss_vectors(store, {row[-1]: row[1] for row in rows}),
            "on disk": sorted(path.name for path in folder.iterdir() if not path.name.endswith(("-wal", "-shm"))),
        }


def faiss_vectors(store: Store, names: dict[int, str]) -> list[tuple[str, bytes]]:
    """(window, vector) as the FAISS file holds them; nothing if there is no valid file."""
    file = FaissFile(store.folder / VECTORS)
    if not file.open(store.meta("faiss_sha256") or ""):
        return []
    index = file.read(mapped=True)
    rows = held_rows(index)
    vectors = index.index.reconstruct_n(0, len(rows)) if len(rows) else []
    return sorted((names.get(int(row), "?"), vector.tobytes()) for row, vector in zip(rows, vectors, strict=True))


def differences(one: Dump, other: Dump, *, tolerance: bool = False) -> list[str]:
    """Names of the parts that are not the same; with `tolerance` vectors may differ by rounding."""
    return [part for part in one if not (same(one[part], other[part]) if tolerance else one[part] == other[part])]


def same(one: Any, other: Any) -> bool:
    """Equal, but for the rounding of vectors and of figures computed from pixels."""
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        return len(one) == len(other) and all(same(a, b) for a, b in zip(one, other, strict=True))
    if isinstance(one, bytes) and isinstance(other, bytes) and len(one) == len(other) and len(one) % 256 == 0:
        kind = "<f4" if len(one) == 512 else "<f2"
        return bool(np.allclose(np.frombuffer(one, kind), np.frombuffer(other, kind), atol=4e-3))
    if isinstance(one, int) and isinstance(other, int) and abs(one) > 2**16 > 0 and one != other:
        return one < 2**32 > other  # checksums of vectors that differ by rounding
    return bool(one == other)


# What a killed library may show.


@dataclass
class Truth:
    """Every window, content and file that may rightly be in the library, from undisturbed runs before and after the deed."""

    windows: dict[str, set[tuple[Any, ...]]]
    files: set[tuple[Any, ...]]

    @classmethod
    def of(cls, *dumps: Dump) -> Truth:
        """What one of them has is right."""
        windows: dict[str, set[tuple[Any, ...]]] = {}
        for one in dumps:
            for row in one["windows"]:
                windows.setdefault(row[1], set()).add((row[0], row[2], row[3], row[4]))
        return cls(windows, {row[:4] for one in dumps for row in one["files"]})


def wrongs(folder: Path, truth: Truth, *, damaged_before: bool = False) -> list[str]:
    """What is wrong with the library as it is now: damage, and windows, files or hits that no undisturbed run knows."""
    found: list[str] = []
    with contextlib.closing(Store.open(folder)) as store:
        if not damaged_before:
            found += [f"verify: {check.name}: {one.message}" for check in verify(store) for one in check.findings if one.damage]
        for row in store.ask("SELECT path, size, mtime_ns, sha256 FROM files"):
            if row not in truth.files:
                found.append(f"a file that nobody indexed: {os.fsdecode(row[0])}")
    try:
        return found + wrong_hits(folder, truth)
    except LibraryError as error:
        return found if damaged_before else [*found, f"search: {error.message}"]


def wrong_hits(folder: Path, truth: Truth) -> list[str]:
    """Hits of searches whose times, content, score or vector are not those of an undisturbed library."""
    with contextlib.closing(Library.open(folder)) as library:
        return hits_of(library, truth)


def hits_of(library: Library, truth: Truth) -> list[str]:
    """See `wrong_hits`."""
    found: list[str] = []
    encoder, store = ColourEncoder(), library._store
    for word in WORDS:
        query = encoder.embed_texts([word])[0]
        with store.reading():
            for row, score in store.nearest(query, 1000):
                for (name,) in store.ask("SELECT id FROM windows WHERE row = ?", (row,)):
                    if not right(name, None, score, query, truth):
                        found.append(f"a vector that no undisturbed library has: {name}")
        for hit in [*library.search(word, k=10, encoder=encoder), *library.ranked(word, encoder=encoder)]:
            clip = hit.clip
            if not right(clip.id, (clip.sha256, clip.start, clip.end), hit.score, query, truth):
                found.append(f"a hit that no undisturbed library has: {clip.id}")
    return found


def right(name: str, seen: tuple[Any, ...] | None, score: float, query: NDArray[np.float32], truth: Truth) -> bool:
    """Whether the window has the content and times `seen`, where they are given, and the score of a true vector."""
    vectors = [known[3] for known in truth.windows.get(name, ()) if seen is None or known[:3] == seen]
    scores = [np.frombuffer(vector, "<f2").astype(np.float32) @ query for vector in vectors]
    return any(abs(score - one) < 2e-3 for one in scores)


# Processes.


def in_child(work: Callable[[], Any]) -> Any:
    """What `work` gives in a fork; its errors are raised here."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        try:
            answer = (True, work())
        except EchoreelError as error:
            answer = (False, f"{type(error).__name__}: {error.message}")
        except BaseException:
            answer = (False, traceback.format_exc())
        with os.fdopen(writing, "wb") as pipe:
            pickle.dump(answer, pipe)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        data = pipe.read()
    os.waitpid(pid, 0)
    done, value = pickle.loads(data) if data else (False, "the process died")
    if not done:
        raise RuntimeError(value)
    return value


class Counted(sqlite3.Connection):
    """A connection that counts its calls."""

    step: Callable[[str], None] = staticmethod(lambda what: None)

    def execute(self, *args: Any) -> sqlite3.Cursor:
        """See sqlite3; one step before and one after."""
        Counted.step("execute")
        cursor = super().execute(*args)
        Counted.step("executed")
        return cursor

    def executemany(self, *args: Any) -> sqlite3.Cursor:
        """See sqlite3."""
        Counted.step("executemany")
        cursor = super().executemany(*args)
        Counted.step("executedmany")
        return cursor

    def close(self) -> None:
        """See sqlite3; closing the last connection writes the log back into the database."""
        Counted.step("close")
        super().close()
        Counted.step("closed")


def hook(step: Callable[[str], None]) -> None:
    """From now on, in this process, `step` is told before and after each call that may leave something half done."""
    import faiss

    Counted.step = staticmethod(step)
    plain = sqlite3.connect

    def connect(*args: Any, **named: Any) -> sqlite3.Connection:
        return plain(*args, **{**named, "factory": Counted})  # type: ignore[no-any-return]

    def around(module: Any, name: str) -> None:
        call = getattr(module, name)

        def stepping(*args: Any, **named: Any) -> Any:
            step(name)
            answer = call(*args, **named)
            step(f"{name} done")
            return answer

        setattr(module, name, stepping)

    sqlite3.connect = connect  # type: ignore[assignment]
    for module, name in ((os, "replace"), (os, "fsync"), (os, "unlink"), (faiss, "write_index")):
        around(module, name)


def dies_at(step: int) -> Callable[[str], None]:
    """Counts, and kills its own process at the n-th step."""
    count = 0

    def counting(what: str) -> None:
        nonlocal count
        count += 1
        if count == step:
            os.kill(os.getpid(), signal.SIGKILL)

    return counting


def killed_at_call(work: Callable[[], None], step: int) -> bool:
    """Fork, and die at a step; whether it came so far."""
    pid = os.fork()
    if pid == 0:
        hook(dies_at(step))
        quietly(work)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL


def calls_of(work: Callable[[], None]) -> int:
    """How many steps it takes."""

    def counting() -> int:
        steps: list[str] = []
        hook(steps.append)
        work()
        return len(steps)

    return int(in_child(counting))


def killed_after(work: Callable[[], None], seconds: float) -> bool:
    """Fork, and kill it from outside after a while; whether it still lived."""
    pid = os.fork()
    if pid == 0:
        quietly(work)
    with contextlib.closing(os.fdopen(os.pidfd_open(pid), "rb", closefd=True)) as watched:
        select.select([watched], [], [], seconds)
    os.kill(pid, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL


def quietly(work: Callable[[], None]) -> None:
    """Do it and end this process."""
    try:
        work()
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        os._exit(1)


# Tracing, with the constants of <sys/ptrace.h>.

TRACEME, SYSCALL, SETOPTIONS, SYSCALL_INFO, GOOD = 0, 24, 0x4200, 0x420E, 1
CHANGING = {1, 18, 20, 74, 75, 76, 77, 82, 84, 87, 257, 263, 264, 285, 316}
"""x86-64: write, pwrite64, writev, fsync, fdatasync, truncate, ftruncate, rename, rmdir, unlink, openat, unlinkat, renameat,
fallocate, renameat2."""


def can_trace() -> bool:
    """Whether this machine is one whose numbers are known."""
    return platform.machine() == "x86_64" and sys.platform == "linux"


def ptrace(request: int, pid: int, address: int = 0, data: Any = None) -> int:
    """The system call; -1 when it fails."""
    call = ctypes.CDLL(None, use_errno=True).ptrace
    call.argtypes, call.restype = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p], ctypes.c_long
    return int(call(request, pid, address, data))


def traced(work: Callable[[], None], step: int | None) -> int | None:
    """Run under trace and kill at the n-th stop at a system call that changes a file; None if killed, else how many there were."""
    pid = os.fork()
    if pid == 0:
        ptrace(TRACEME, 0)
        os.kill(os.getpid(), signal.SIGSTOP)
        quietly(work)
    os.waitpid(pid, 0)
    ptrace(SETOPTIONS, pid, 0, ctypes.c_void_p(GOOD))
    info = (ctypes.c_uint64 * 11)()
    stops, changing, deliver = 0, False, 0
    while True:
        ptrace(SYSCALL, pid, 0, ctypes.c_void_p(deliver))
        _, status = os.waitpid(pid, 0)
        if os.WIFEXITED(status) or os.WIFSIGNALED(status):
            return stops
        stopped_by = os.WSTOPSIG(status)
        deliver = 0 if stopped_by & 0x80 or stopped_by == signal.SIGTRAP else stopped_by
        if not stopped_by & 0x80:
            continue
        ptrace(SYSCALL_INFO, pid, ctypes.sizeof(info), ctypes.byref(info))
        if info[0] & 0xFF == 1:  # on its way in
            changing = info[3] in CHANGING
        stops += changing
        if step is not None and changing and stops == step:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            return None


# The trial.


@dataclass
class Trial:
    """A deed, what an undisturbed run leaves, and how long it is."""

    name: str
    deed: Deed
    stage: Stage
    end: Dump
    truth: Truth
    calls: int
    stops: int
    seconds: float

    def work(self, folder: Path) -> Callable[[], None]:
        """The deed, ready to be done."""
        return lambda: self.deed.do(self.stage, folder)


def fresh(stage: Stage, deed: Deed, folder: Path) -> Path:
    """A folder as the deed finds it."""
    shutil.rmtree(folder, ignore_errors=True)
    if deed.start is not None:
        shutil.copytree(stage.start(deed.start), folder)
    return folder


def rehearse(name: str, stage: Stage) -> Trial:
    """Do the deed undisturbed, count its steps, and remember what it leaves."""
    deed, folder = DEEDS[name], stage.home / "rehearsal"
    work = lambda: deed.do(stage, folder)  # noqa: E731
    fresh(stage, deed, folder)
    begin = [in_child(lambda: dump(fresh(stage, deed, stage.home / "begin")))] if deed.start else []
    calls = calls_of(work)
    end = in_child(lambda: dump(folder))
    fresh(stage, deed, folder)
    began = time.monotonic()
    in_child(work)
    seconds = time.monotonic() - began
    fresh(stage, deed, folder)
    stops = (traced(work, None) or 0) if can_trace() else 0
    return Trial(name, deed, stage, end, Truth.of(end, *begin), calls, stops, seconds)


def attempt(trial: Trial, kind: str, chance: random.Random) -> tuple[bool, list[str]]:
    """Kill the deed once; whether it was still running, and everything that is not as it should be."""
    folder = fresh(trial.stage, trial.deed, trial.stage.home / "attempt")
    work = trial.work(folder)
    if kind == "call":
        killed = killed_at_call(work, chance.randint(1, trial.calls))
    elif kind == "syscall":
        killed = traced(work, chance.randint(1, trial.stops)) is None
    else:
        killed = killed_after(work, chance.uniform(0, trial.seconds))
    return killed, aftermath(trial, folder)


def aftermath(trial: Trial, folder: Path) -> list[str]:
    """Open, verify and search what was left; do the deed again; compare."""
    try:
        found: list[str] = []
        if in_child(lambda: Store.exists(folder)):
            damaged_before = trial.name == "rebuild"
            found += in_child(lambda: wrongs(folder, trial.truth, damaged_before=damaged_before))
        elif trial.deed.start is not None:
            found.append("the library is gone")
        in_child(trial.work(folder))
        left = in_child(lambda: dump(folder))
        return found + [f"done again, but not the same: {part}" for part in differences(trial.end, left)]
    except RuntimeError as error:
        return [f"failed: {error}"]


def try_points(stage: Stage, points: int, seed: int) -> dict[str, Any]:
    """Kill at so many moments, spread over deeds and kinds."""
    chance = random.Random(seed)
    trials = [rehearse(name, stage) for name in DEEDS]
    kinds = ["call", "syscall", "time"] if can_trace() else ["call", "time"]
    counted: Counter[str] = Counter()
    deeds: Counter[str] = Counter()
    late, found = 0, []
    for place in range(points):
        trial, kind = trials[place % len(trials)], kinds[(place // len(trials)) % len(kinds)]
        killed, wrong = attempt(trial, kind, chance)
        counted[kind] += 1
        deeds[trial.name] += 1
        late += not killed
        found += [f"{trial.name}, {kind}: {one}" for one in wrong]
    steps = {trial.name: {"calls": trial.calls, "syscalls": trial.stops} for trial in trials}
    return {"kinds": dict(counted), "deeds": dict(deeds), "moments": steps, "ended_before": late, "found": found}


# The whole command.


def try_commands(stage: Stage, points: int, seed: int) -> dict[str, Any]:
    """Kill `echoreel index` as a user would, with its decode processes; the bundled encoder."""
    chance = random.Random(seed)
    home = stage.home / "command"
    run_command(stage, home / "undisturbed")
    began = time.monotonic()
    run_command(stage, home / "undisturbed-again")
    seconds = time.monotonic() - began
    end = in_child(lambda: dump(home / "undisturbed"))
    found: list[str] = []
    for _ in range(points):
        folder = home / "attempt"
        shutil.rmtree(folder, ignore_errors=True)
        running = subprocess.Popen(command(stage, folder), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            running.wait(chance.uniform(0.3 * seconds, seconds))
        running.kill()
        running.wait()
        try:
            if in_child(lambda folder=folder: Store.exists(folder)):  # type: ignore[misc]
                found += in_child(lambda folder=folder: damage(folder))  # type: ignore[misc]
            run_command(stage, folder)
            left = in_child(lambda folder=folder: dump(folder))  # type: ignore[misc]
            found += [f"command: not the same: {part}" for part in differences(end, left, tolerance=True)]
        except RuntimeError as error:
            found.append(f"command: {error}")
    return {"points": points, "seconds_undisturbed": round(seconds, 2), "found": found}


def command(stage: Stage, folder: Path) -> list[str]:
    """`echoreel index` on the stage's videos."""
    return [sys.executable, "-m", "echoreel_cli", "index", str(stage.videos), "--encoder", "mini", "--library", str(folder), "-q"]


def run_command(stage: Stage, folder: Path) -> None:
    """Undisturbed; one file is bad, so the command ends with 4, or 0 when that is known."""
    done = subprocess.run(command(stage, folder), capture_output=True, text=True)
    if done.returncode not in (0, 4):
        raise RuntimeError(done.stderr)


def damage(folder: Path) -> list[str]:
    """What `verify` finds."""
    with contextlib.closing(Store.open(folder)) as store:
        return [f"command: verify: {check.name}: {one.message}" for check in verify(store) for one in check.findings if one.damage]


# Readers while another process writes.


def try_reads(stage: Stage, count: int) -> dict[str, Any]:
    """Verify and search so often while another process indexes, removes and indexes again without a pause."""
    folder = stage.home / "shared"
    fresh(stage, DEEDS["change"], folder)
    before = in_child(lambda: dump(fresh(stage, DEEDS["change"], stage.home / "begin")))
    truth = Truth.of(before, in_child(lambda: dump(stage.start("full"))))
    writer = os.fork()
    if writer == 0:
        quietly(lambda: write_without_end(stage, folder))
    try:
        generations, found = in_child(lambda: read_often(folder, truth, count))
    finally:
        alive = os.waitpid(writer, os.WNOHANG)[0] == 0
        if alive:
            os.kill(writer, signal.SIGKILL)
            os.waitpid(writer, 0)
    return {"reads": count, "states_seen": generations, "found": found if alive else [*found, "the writer failed"]}


def write_without_end(stage: Stage, folder: Path) -> None:
    """Index everything, forget most of it, and again."""
    while True:
        stage.update(folder)
        with contextlib.closing(Store.open(folder)) as store:
            upkeep.remove(store, [stage.videos / "long.mp4", stage.videos / "red.mp4", stage.videos / "copy.mp4"])


def read_often(folder: Path, truth: Truth, count: int) -> tuple[int, list[str]]:
    """How many states of the library were seen, and what was wrong; by a library that is just opened, and by one that stays open."""
    found: list[str] = []
    generations: set[str | None] = set()
    with contextlib.closing(Library.open(folder)) as staying:
        for _ in range(count // 2):
            generations.add(staying._store.meta("generation"))
            try:
                found += wrongs(folder, truth) + hits_of(staying, truth)
            except EchoreelError as error:
                found.append(f"{type(error).__name__}: {error.message}")
    return len(generations), found


# Flipped bytes.


def try_flips(stage: Stage, count: int, seed: int) -> dict[str, Any]:
    """Flip a few bytes of the database in random places: found by `verify`, said by a search, or harmless; never a wrong hit."""
    chance = random.Random(seed)
    source = stage.start("full")
    end = in_child(lambda: dump(source))
    truth = Truth.of(end)
    outcomes: Counter[str] = Counter()
    unnoticed: Counter[str] = Counter()
    found: list[str] = []
    for _ in range(count):
        folder = stage.home / "flipped"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(source, folder)
        data = bytearray((folder / DATABASE).read_bytes())
        for place in chance.sample(range(len(data)), chance.randint(1, 4)):
            data[place] ^= chance.randint(1, 255)
        (folder / DATABASE).write_bytes(data)
        try:
            outcome, parts = in_child(lambda folder=folder: flipped(folder, truth, end))  # type: ignore[misc]
        except RuntimeError as error:
            lines = str(error).strip().splitlines()
            outcome, parts = "crashed", [" ".join(lines[-4:])]
        outcomes[outcome] += 1
        if outcome in ("crashed", "wrong"):
            found += [f"{outcome}: {part}" for part in parts]
        unnoticed.update(parts if outcome == "unnoticed" else ())
    return {"flips": count, "outcomes": dict(outcomes), "unnoticed": dict(unnoticed), "found": found}


def flipped(folder: Path, truth: Truth, end: Dump) -> tuple[str, list[str]]:
    """`refused` at once, `wrong` hits, `found` by verify, `harmless`, or `unnoticed`: right hits, another text somewhere."""
    try:
        with contextlib.closing(Store.open(folder)):
            pass
    except EchoreelError:
        return "refused", []
    said = False
    try:
        wrong = wrong_hits(folder, truth)
    except EchoreelError:
        wrong, said = [], True
    with contextlib.closing(Store.open(folder)) as store:
        noticed = any(check.damaged for check in verify(store))
    if wrong:
        return "wrong", wrong
    if noticed or said:
        return ("found" if noticed else "said"), []
    parts = differences(end, dump(folder))
    return ("unnoticed", parts) if parts else ("harmless", [])


def main(argv: Sequence[str] | None = None) -> int:
    """Print one JSON object; exit 1 when something was found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--points", type=int, default=150, help="moments at which a deed is killed")
    parser.add_argument("--commands", type=int, default=0, help="moments at which the whole command is killed")
    parser.add_argument("--flips", type=int, default=0, help="databases with flipped bytes")
    parser.add_argument("--reads", type=int, default=0, help="searches while another process writes")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    import faiss  # noqa: F401  once, here, for all forks

    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="kill-points.") as home:
        stage = set_stage(Path(home))
        killed = try_points(stage, args.points, args.seed) if args.points else {"found": []}
        commands = try_commands(stage, args.commands, args.seed) if args.commands else {"found": []}
        reads = try_reads(stage, args.reads) if args.reads else {"found": []}
        flips = try_flips(stage, args.flips, args.seed) if args.flips else {"found": []}
    found = [*killed["found"], *commands["found"], *reads["found"], *flips["found"]]
    summary = {
        "points": args.points + args.commands,
        "differences": len(found),
        **killed,
        "commands": commands,
        "reads": reads,
        "flips": flips,
        "seconds": round(time.monotonic() - began, 1),
    }
    print(json.dumps(summary, indent=1))
    return 1 if found else 0


if __name__ == "__main__":
    raise SystemExit(main())
