"""The parent's side of the decode worker: time limits, restarts, and PyAV for what decord refuses.

    with Decoder() as decoder:
        timeline = decoder.timeline(path)
        for frame, time in decoder.read(path, [0.5, 1.0], size=224): ...
        for found in decoder.scan(path, ScanSettings(step=0.5)): ...   # Samples, and last of all one Scan

A worker that crashes or says nothing for longer than the limit is killed, the next request starts a new one.
A scan is read by PyAV first, because in one pass with small pictures it is the faster (600 against 350 frames a second of
720p H.264 on two cores); everything else by decord, because that was asked for.
"""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from echoreel_index.clips import Timeline
from echoreel_index.containers import Probe, Refused
from echoreel_index.errors import EchoreelError, VideoError
from echoreel_index.passes import Frame
from echoreel_index.patience import Patience
from echoreel_index.readers import Sample, Scan, ScanSettings, Size
from echoreel_index.worker import MEMORY

SLOWEST = 20e6
"""Bytes a second: opening a file may mean reading it through, so the limit grows by size / SLOWEST seconds."""
START_LIMIT = 120.0
"""Seconds that a worker may need to start on a busy machine."""
PIPE = 1 << 20
"""Bytes that the worker may be ahead of us."""
SLOWEST_SCAN = 0.5e6
"""Bytes a second that a scan gets through at the very least."""
LEANEST = 4000.0
"""Bytes a second that a video has at the very least: a small file that claims to last for hours is not believed."""
THREADS = min(4, os.cpu_count() or 1)
"""With which one file is scanned; every thread holds frames of its own."""


class _WorkerLost(Exception):
    """The worker crashed or overran its time; the message says which."""


class _Spent(Refused):
    """The file took all that it may have, time or memory; the worker may be in the middle of it."""


class Decoder:
    """One decode worker, started when it is first needed and restarted after every loss."""

    def __init__(
        self,
        *,
        limit: float = 20.0,
        total: float = 120.0,
        memory: float = 4.0,
        threads: int = THREADS,
        modest: bool = False,
        command: Sequence[str] | None = None,
    ) -> None:
        """`limit`: seconds of silence allowed, per answer. `total`: seconds allowed for a scan, to which more is added by the
        file's size and length. `memory`: GiB that the worker may take beyond what it has at its start. `threads`: with which a
        file is scanned (1 is best where there is a decoder for each core). `modest`: whoever else computes on this machine comes
        first. `command`: what to run in place of the usual worker.
        """
        self.limit = limit
        self.total = total
        self.memory = memory
        self.threads = threads
        usual = [sys.executable, "-P", "-m", "echoreel_index.worker", str(int(memory * 2**30)), *(["modest"] if modest else [])]
        self._command = list(command) if command is not None else usual
        self._waited = 0.0
        self._process: subprocess.Popen[bytes] | None = None
        self._buffer = bytearray()
        self._backends: list[str] = []
        self._refused: tuple[str, str, str] | None = None  # path, backend, why: do not try that again for this path

    def __enter__(self) -> Decoder:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Stop the worker."""
        process, self._process = self._process, None
        self._buffer.clear()
        if process is not None:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()

    @property
    def pid(self) -> int | None:
        """Process id of the worker, if it runs."""
        return self._process.pid if self._process is not None else None

    def probe(self, path: str) -> Probe:
        """What the container says. Raises VideoError."""
        try:
            self._send({"op": "probe", "path": path})
            head, _ = self._receive(self._patience(path))
        except _WorkerLost as lost:
            raise VideoError(f"the decoder {lost}") from lost
        return Probe(**head["probe"])

    def timeline(self, path: str) -> Timeline:
        """When the frames of the file are shown. Raises VideoError."""

        def ask(backend: str) -> Timeline:
            self._send({"op": "timeline", "path": path, "backend": backend})
            head, body = self._receive(self._patience(path))
            times = np.frombuffer(body, "<f8", head["times"]).astype(np.float64)
            keys = np.frombuffer(body, "<i8", head["keys"], offset=8 * head["times"]).astype(np.int64)
            return Timeline(times, keys, head["end"])

        while True:
            backend = self._backend(path)
            try:
                return ask(backend)
            except (_WorkerLost, VideoError) as error:
                self._refuse(path, backend, error)

    def read(self, path: str, seconds: Sequence[float], *, size: Size = None) -> Iterator[tuple[Frame, float]]:
        """For each of the ascending `seconds` the frame (h w c) shown then, and the second at which it starts.

        What decord fails to give in the middle of a file is asked of PyAV. Raises VideoError.
        """
        given = 0
        while given < len(seconds):
            backend = self._backend(path)
            try:
                for answer in self._read_once(path, backend, seconds[given:], size):
                    given += 1
                    yield answer
            except (_WorkerLost, VideoError) as error:
                self._refuse(path, backend, error)

    def scan(self, path: str, settings: ScanSettings) -> Iterator[Sample | Scan]:
        """Look through a whole file once: its Samples as soon as they are decoded, and last of all exactly one Scan.

        Nothing is read ahead, and not more than one frame is held. The iterator may be closed early. What PyAV fails to give, be it
        in the middle of a file, is asked of PyAV with one thread and then of decord. Time that the caller takes for itself does
        not count against the limits.
        Raises VideoError, also after some Samples.
        """
        given, why, lost = 0, "", False
        for backend, threads in self._ways():
            if threads == 1 < self.threads and backend == self._backends[-1] and not lost:
                continue
            try:
                for found in self._scan_once(path, backend, settings, threads, given):
                    given += isinstance(found, Sample)
                    yield found
                return
            except Refused:
                raise
            except (_WorkerLost, VideoError) as error:
                lost = isinstance(error, _WorkerLost)
                why = why or (f"the decoder {error}" if lost else str(error))
        raise VideoError(why)

    def _ways(self) -> list[tuple[str, int]]:
        """(backend, threads) to scan with, best first. FFmpeg's frame threads may lock each other for ever on damaged files, so that
        what hangs or crashes with several is tried with one."""
        if self._process is None:
            self._start()
        *others, best = self._backends
        return list(dict.fromkeys([(best, self.threads), (best, 1), *((other, 1) for other in reversed(others))]))

    def _scan_once(self, path: str, backend: str, settings: ScanSettings, threads: int, skip: int) -> Iterator[Sample | Scan]:
        request = {"settings": asdict(settings), "threads": threads, "skip": skip}
        self._waited, before = 0.0, None
        self._send({"op": "scan", "path": path, "backend": backend, **request})
        allowed, finished = self._allowance(path, 0.0), False
        try:
            while not finished:
                head, body = self._receive(self._patience(path))
                if self._waited > allowed:
                    raise _Spent(f"needs more than {allowed:.0f} s to decode, for its size and length")
                if "alive" in head:
                    allowed = self._allowance(path, head["announced"])
                elif "sample" in head:
                    frame = np.frombuffer(body, np.uint8).reshape(*head["sample"], 3) if body else before
                    assert frame is not None
                    before = frame
                    yield Sample(head["moment"], head["shown_at"], frame)
                else:
                    finished = True
                    yield _scan_of(head, body)
        except VideoError as error:
            finished = not isinstance(error, _Spent)
            raise
        finally:
            if not finished:
                self.close()  # answers to a request that nobody waits for must not meet the next one

    def _allowance(self, path: str, announced: float) -> float:
        """Seconds that a scan of the file may keep us waiting."""
        try:
            size = os.path.getsize(path)
        except OSError:
            size = 0
        return self.total + size / SLOWEST_SCAN + 2 * min(announced, size / LEANEST)

    def _read_once(self, path: str, backend: str, seconds: Sequence[float], size: Size) -> Iterator[tuple[Frame, float]]:
        self._send({"op": "read", "path": path, "backend": backend, "seconds": list(seconds), "size": size})
        finished = False
        try:
            for _ in seconds:
                head, body = self._receive(self._patience(path))
                height, width = head["frame"]
                yield np.frombuffer(body, np.uint8).reshape(height, width, 3), head["time"]
            self._receive(self._patience(path))  # {"done": true}
            finished = True
        except VideoError:
            finished = True
            raise
        finally:
            if not finished:
                self.close()  # answers to a request that nobody waits for must not meet the next one

    def _backend(self, path: str) -> str:
        if self._process is None:
            self._start()
        if self._refused is not None and self._refused[0] == path:
            return self._backends[-1]
        return self._backends[0]

    def _refuse(self, path: str, backend: str, error: Exception) -> None:
        """Go on to the next way of reading, or give the file up."""
        why = f"the decoder {error}" if isinstance(error, _WorkerLost) else str(error)
        if isinstance(error, Refused):
            self._refused = None
            raise error
        if backend == self._backends[-1]:
            self._refused = None
            raise VideoError(why) from error
        self._refused = (path, backend, why)

    def _patience(self, path: str) -> float:
        try:
            return self.limit + min(280.0, os.path.getsize(path) / SLOWEST)
        except OSError:
            return self.limit

    def _start(self) -> None:
        package = str(Path(__file__).resolve().parent.parent)
        known = os.environ.get("PYTHONPATH")
        environment = {**os.environ, "PYTHONPATH": package if not known else os.pathsep.join((package, known))}
        self._buffer.clear()
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            bufsize=0,
            pipesize=PIPE,
        )
        try:
            head, _ = self._receive(START_LIMIT)
        except _WorkerLost as lost:
            raise EchoreelError(f"the decode worker {lost} while starting", hint="run `echoreel doctor`") from lost
        self._backends = list(head["backends"])

    def _send(self, request: dict[str, Any]) -> None:
        if self._process is None:
            self._start()
        assert self._process is not None and self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
        except OSError as error:
            self.close()
            raise _WorkerLost("crashed") from error

    def _receive(self, limit: float) -> tuple[dict[str, Any], bytes]:
        """One answer. Raises VideoError for an answer that says so, _WorkerLost after a crash or `limit` seconds."""
        assert self._process is not None
        patience = Patience(self._process.pid, limit)
        try:
            return self._answer(patience, limit)
        finally:
            patience.left()  # what has passed since the last look counts too
            self._waited += patience.charged

    def _answer(self, patience: Patience, limit: float) -> tuple[dict[str, Any], bytes]:
        while (line_end := self._buffer.find(b"\n")) < 0:
            self._fill(patience, limit)
        head: dict[str, Any] = json.loads(self._buffer[:line_end])
        total = line_end + 1 + head["bytes"]
        while len(self._buffer) < total:
            self._fill(patience, limit)
        body = bytes(self._buffer[line_end + 1 : total])
        del self._buffer[:total]
        if "error" in head:
            if head["error"] == MEMORY:
                raise _Spent(self._starved())
            raise (Refused if head.get("final") else VideoError)(head["error"])
        return head, body

    def _starved(self) -> str:
        return f"needs more than {self.memory:g} GiB of memory to decode"

    def _fill(self, patience: Patience, limit: float) -> None:
        assert self._process is not None and self._process.stdout is not None
        pipe = self._process.stdout.fileno()
        with selectors.DefaultSelector() as selector:
            selector.register(pipe, selectors.EVENT_READ)
            while not selector.select(left := patience.left()):
                if left == 0:
                    self.close()
                    raise _WorkerLost(f"gave no answer for {limit:.0f} s")
        chunk = os.read(pipe, PIPE)
        if not chunk:
            peak = self._peak_memory()
            status = self._process.wait()
            self.close()
            if peak > 0.8 * self.memory:
                raise _Spent(self._starved())
            raise _WorkerLost(f"crashed (exit status {status})")
        self._buffer += chunk

    def _peak_memory(self) -> float:
        """GiB that the worker, which has ended, held at its most; 0 where the system does not say."""
        assert self._process is not None
        try:
            _, status, usage = os.wait4(self._process.pid, 0)
        except (AttributeError, ChildProcessError):
            return 0.0
        self._process.returncode = os.waitstatus_to_exitcode(status)
        return float(usage.ru_maxrss) / (2**30 if sys.platform == "darwin" else 2**20)


def _scan_of(head: dict[str, Any], body: bytes) -> Scan:
    count = head["times"]
    times = np.frombuffer(body, "<f8", count).astype(np.float64)
    motion, brightness = (np.frombuffer(body, "<f4", count, offset=place * count).astype(np.float32) for place in (8, 12))
    told = head["scan"]
    return Scan(
        end=told["end"],
        width=told["width"],
        height=told["height"],
        fps=told["fps"],
        codec=told["codec"],
        shots=tuple((start, end) for start, end in told["shots"]),
        times=times,
        motion=motion,
        brightness=brightness,
        cut_short=told["cut_short"],
    )
