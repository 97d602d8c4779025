"""Many files -> their contents: several decode workers feed one encoder, whose batches go across files.

    worker threads, each with a decode process          the caller's thread
    hash -> known? -> looks in parts  -> bounded queue -> batches of looks -> encoder -> windows -> outcome

However many files there are, only the parts in the queue and one batch of each frame size are in memory.
"""

from __future__ import annotations

import os
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from echoreel_index.clips import WindowSettings
from echoreel_index.cutting import Look, Parts, cut, embedded, looks_of_file, stacked
from echoreel_index.decoder import Decoder
from echoreel_index.encode import Encoder
from echoreel_index.errors import VideoError
from echoreel_index.files import FoundFile, content_hash, stamp
from echoreel_index.readers import Scan
from echoreel_index.store import Content

BATCH = 32
"""Frames of one size embedded at once."""
WAITING = 4 * BATCH
"""Frames of different sizes that may wait for their batch to fill."""
PARTS = 4
"""Parts of files that may wait between decoding and embedding."""
PATIENCE = 0.5
"""Seconds without a new part after which a batch is embedded though it is not full."""


CHANGED = "it changed while it was being read; the next run takes it"


@dataclass(frozen=True, slots=True)
class Begun:
    """A file is being read."""

    file: FoundFile


@dataclass(frozen=True, slots=True)
class Taken:
    """A file was read; without `content` its bytes are known already, or came with another file of this run."""

    file: FoundFile
    sha256: str
    content: Content | None


@dataclass(frozen=True, slots=True)
class Failed:
    """A file cannot be read."""

    file: FoundFile
    message: str


Outcome = Begun | Taken | Failed


def finished(file: FoundFile, sha256: str, scan: Scan, parts: Parts, settings: WindowSettings) -> Taken | Failed:
    """The outcome of a file that has been seen whole; one that has changed meanwhile is Failed."""
    try:
        if stamp(file.path) != file.stamp:
            raise VideoError(CHANGED)
        return Taken(file, sha256, cut(sha256, scan, stacked(parts), settings))
    except VideoError as error:
        return Failed(file, error.message)


class Engine(Protocol):
    """What turns files into contents."""

    def read(self, files: Sequence[FoundFile], known: Callable[[str], bool]) -> Iterator[Outcome]:
        """Every file once as Begun, then as Taken or Failed, in any order; `known` says whether a SHA-256 needs no decoding.

        The caller stores each content before it asks for the next outcome.
        """
        ...


@dataclass(slots=True)
class Times:
    """Seconds spent so far: by all decode threads together while they decode, and in the encoder."""

    decode: float = 0.0
    network: float = 0.0


@dataclass(slots=True, eq=False)
class _File:
    """A file on its way: what of it is still to be embedded, and what is known of it."""

    file: FoundFile
    sha256: str
    parts: Parts = field(default_factory=dict)
    waiting: int = 0
    scan: Scan | None = None


_Message = Outcome | tuple[_File, list[Look] | Scan] | None


class LocalEngine:
    """The engine of one machine."""

    def __init__(
        self, encoder: Encoder, settings: WindowSettings, *, workers: int | None = None, decoders: Sequence[Decoder] | None = None
    ) -> None:
        """`workers`: decode processes, by default one for each core, at most 8. `decoders`: use these, and leave them open."""
        self._encoder, self._settings, self._given = encoder, settings, decoders
        self._workers = len(decoders) if decoders is not None else workers or min(8, os.cpu_count() or 1)
        self.times = Times()

    def read(self, files: Sequence[FoundFile], known: Callable[[str], bool]) -> Iterator[Outcome]:
        """See `Engine`. Raises what an encoder raises, and EchoreelError when no decode process can be started."""
        run = _Run(self, files, known)
        with run.working(self._decoders(len(files))):
            yield from self._outcomes(run)

    def _decoders(self, files: int) -> list[Decoder]:
        if self._given is not None:
            return list(self._given)
        workers = min(self._workers, files)
        threads = max(1, (os.cpu_count() or 1) // workers)
        # Modest: where one of torch's threads waits for a core, all of them wait for it.
        return [Decoder(threads=threads, modest=True) for _ in range(workers)]

    def _outcomes(self, run: _Run) -> Iterator[Outcome]:
        batches: dict[tuple[int, ...], list[tuple[_File, Look]]] = {}
        for message in run.messages(lambda: bool(batches)):
            if message is None:
                yield from self._flush(batches, run, least=1)
            elif not isinstance(message, tuple):
                yield from run.finished(message)
            else:
                file, part = message
                if isinstance(part, Scan):
                    file.scan = part
                else:
                    file.waiting += len(part)
                    for look in part:
                        batches.setdefault(look.frame.shape, []).append((file, look))
                yield from self._flush(batches, run, least=BATCH)
                if sum(map(len, batches.values())) >= WAITING:
                    yield from self._flush(batches, run, least=max(map(len, batches.values())))
                if file.scan is not None and file.waiting == 0:
                    yield from run.finished(self._done(file))
        yield from self._flush(batches, run, least=1)

    def _flush(self, batches: dict[tuple[int, ...], list[tuple[_File, Look]]], run: _Run, *, least: int) -> Iterator[Outcome]:
        """Embed every batch that holds at least `least` frames; files that are complete with it are finished."""
        for shape in [shape for shape, held in batches.items() if len(held) >= least]:
            held = batches.pop(shape)
            some, rest = held[:BATCH], held[BATCH:]
            if rest:
                batches[shape] = rest
            before = time.perf_counter()
            vectors = embedded([look for _, look in some], self._encoder)
            self.times.network += time.perf_counter() - before
            for (file, look), vector in zip(some, vectors, strict=True):
                file.parts[look.first] = (look.count, vector)
                file.waiting -= 1
            for file in dict.fromkeys(file for file, _ in some):
                if file.scan is not None and file.waiting == 0:
                    yield from run.finished(self._done(file))

    def _done(self, file: _File) -> Taken | Failed:
        assert file.scan is not None
        return finished(file.file, file.sha256, file.scan, file.parts, self._settings)

    def decode(self, file: FoundFile, sha256: str, decoder: Decoder) -> Iterator[tuple[_File, list[Look] | Scan]]:
        """One file's parts; runs in a worker thread."""
        owner = _File(file, sha256)
        before = time.perf_counter()
        for part in looks_of_file(file.path, self._settings, self._encoder.frame_size, decoder):
            self.times.decode += time.perf_counter() - before
            yield owner, part
            before = time.perf_counter()


class _Stopped(Exception):
    """Nobody waits for more."""


class _Run:
    """One pass over a list of files: the threads, the queue, and which bytes are being read at the moment."""

    def __init__(self, engine: LocalEngine, files: Sequence[FoundFile], known: Callable[[str], bool]) -> None:
        self._engine, self._known = engine, known
        self._todo = iter(files)
        self._queue: queue.Queue[_Message | BaseException] = queue.Queue(PARTS)
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._reading: dict[str, list[FoundFile]] = {}
        self._threads: list[threading.Thread] = []

    @contextmanager
    def working(self, decoders: Sequence[Decoder]) -> Iterator[None]:
        """The worker threads run for the length of the block; decode processes end with them unless the caller owns them."""
        self._threads = [threading.Thread(target=self._work, args=(decoder,), daemon=True) for decoder in decoders]
        for thread in self._threads:
            thread.start()
        try:
            yield
        finally:
            self._stop.set()
            for thread in self._threads:
                thread.join(PATIENCE)

    def messages(self, impatient: Callable[[], bool]) -> Iterator[_Message]:
        """What the threads send until all have ended; None after a while without anything, if somebody is `impatient`."""
        working = len(self._threads)
        while working:
            try:
                message = self._queue.get(timeout=PATIENCE if impatient() else None)
            except queue.Empty:
                yield None
                continue
            if message is None:
                working -= 1
            elif isinstance(message, BaseException):
                raise message
            else:
                yield message

    def finished(self, outcome: Outcome) -> Iterator[Outcome]:
        """The outcome, and then that of the files which have the same bytes and waited for it."""
        yield outcome
        if isinstance(outcome, Begun):
            return
        with self._lock:
            sha256 = next((one for one, files in self._reading.items() if files[0] == outcome.file), None)
            twins = self._reading.pop(sha256)[1:] if sha256 is not None else []
        for twin in twins:
            yield Failed(twin, outcome.message) if isinstance(outcome, Failed) else Taken(twin, outcome.sha256, None)

    def _work(self, decoder: Decoder) -> None:
        try:
            while True:
                with self._lock:
                    file = next(self._todo, None)
                if file is None:
                    break
                self._read(file, decoder)
            self._send(None)
        except _Stopped:
            pass
        except BaseException as error:
            try:
                self._send(error)
            except _Stopped:
                pass
        finally:
            if self._engine._given is None:
                decoder.close()

    def _read(self, file: FoundFile, decoder: Decoder) -> None:
        self._send(Begun(file))
        try:
            sha256 = content_hash(file.path)
            with self._lock:
                if sha256 in self._reading:
                    self._reading[sha256].append(file)
                    return
                if not (known := self._known(sha256)):
                    self._reading[sha256] = [file]
            if known:
                self._send(Taken(file, sha256, None))
                return
            for part in self._engine.decode(file, sha256, decoder):
                self._send(part)
        except VideoError as error:
            self._send(Failed(file, error.message))

    def _send(self, message: _Message | BaseException) -> None:
        while not self._stop.is_set():
            try:
                self._queue.put(message, timeout=PATIENCE)
                return
            except queue.Full:
                continue
        raise _Stopped
