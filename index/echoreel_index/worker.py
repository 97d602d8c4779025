"""The process that decodes: a bad file can hurt nobody but this one.

Started as `python -P -m echoreel_index.worker`. Requests come as JSON lines on stdin, answers go to stdout as JSON
lines, each followed by the number of raw bytes that it announces:

    {"op": "probe",    "path"}                          -> {"probe": {...}}
    {"op": "timeline", "path", "backend"}               -> {"end", "times": n, "keys": k, "bytes"} + float64s + int64s
    {"op": "read", "path", "backend", "seconds", "size"} -> {"frame": [h, w], "time", "bytes"} + uint8s, ... {"done": true}
    {"op": "scan", "path", "backend", "settings", "threads", "skip"} -> any number of
        {"sample": [h, w], "moment", "shown_at", "bytes"} + uint8s (none where it is the frame before once more)
        {"alive": seconds reached, "announced": seconds}
        and last {"scan": {...}, "times": m, "bytes"} + float64s + float32s + float32s
    anything that fails                                 -> {"error": message, "final": whether other readers would fail too}

The one argument is how many bytes of memory it may take beyond what it has at its start.
"""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any, BinaryIO

from echoreel_index.containers import Refused, container_of, probe_file
from echoreel_index.errors import VideoError
from echoreel_index.passes import forgive
from echoreel_index.readers import DECORD_READS, DecordReader, PyavReader, Reader, Sample, Scan, ScanSettings
from echoreel_index.shots import scan
from echoreel_index.stills import WebpReader, is_webp

Opener = Callable[[str], Reader]
_Key = tuple[str, str, tuple[int, int] | None]
MEMORY = "out of memory"
"""The error of a file that needs more than it may have; the parent, who set the limit, puts it into words."""


NICE = 10
"""How far a modest worker steps back."""


def available() -> dict[str, Opener]:
    """The readers whose libraries are installed, best first."""
    found: dict[str, Opener] = {}
    # decord2 loads every NVIDIA library it finds beside it, for a GPU decoder that we do not use: 600 MB and half a second.
    sys.modules.setdefault("nvidia", None)  # type: ignore[arg-type]
    if importlib.util.find_spec("decord") is not None:  # it is loaded by the first file that needs it, which no scan does
        found["decord"] = DecordReader
    import av

    # FFmpeg's threads would need the interpreter to say something, while it waits for them to end: nobody listens to them.
    av.logging.set_level(None)
    found["pyav"] = PyavReader
    return found


def serve(readers: Mapping[str, Opener]) -> None:
    """Answer requests until stdin ends."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # native libraries write to stdout as they please; only answers may go there
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what an interrupt means
    threading.Thread(target=die_with, args=(os.getppid(),), daemon=True).start()
    _answer(answers, {"backends": list(readers)})
    kept: dict[_Key, Reader] = {}
    for line in sys.stdin:
        request = json.loads(line)
        try:
            _handle(request, readers, kept, answers)
        except VideoError as error:
            _answer(answers, {"error": error.message, "final": isinstance(error, Refused)})
        except Exception as error:  # whatever a native library makes of a damaged file, the next one is another file
            try:
                forgive(error)
                _answer(answers, {"error": " ".join(f"{type(error).__name__}: {error}".split())[:300], "final": False})
            except MemoryError:
                kept.clear()
                _answer(answers, {"error": MEMORY, "final": True})


def _handle(request: dict[str, Any], readers: Mapping[str, Opener], kept: dict[_Key, Reader], answers: BinaryIO) -> None:
    path = request["path"]
    if request["op"] == "probe":
        _answer(answers, {"probe": asdict(WebpReader(path).probe() if is_webp(path) else probe_file(path))})
        return
    key = (path, request["backend"], _stamp(path))
    if key not in kept:
        kept.clear()  # one open file at a time
        kept[key] = _open(path, request["backend"], readers)
    reader = kept[key]
    if request["op"] == "scan":
        _scan(reader, request, answers)
        return
    if request["op"] == "timeline":
        line = reader.timeline
        body = line.times.astype("<f8").tobytes() + line.keys.astype("<i8").tobytes()
        _answer(answers, {"end": line.end, "times": len(line.times), "keys": len(line.keys)}, body)
        return
    size = tuple(request["size"]) if isinstance(request["size"], list) else request["size"]
    for frame, shown_at in reader.read(request["seconds"], size):
        _answer(answers, {"frame": list(frame.shape[:2]), "time": shown_at}, frame.tobytes())
    _answer(answers, {"done": True})


def _open(path: str, backend: str, readers: Mapping[str, Opener]) -> Reader:
    if is_webp(path):
        return WebpReader(path)
    container = container_of(path)
    if backend == "decord" and not container.startswith(DECORD_READS):
        raise VideoError(f"decord is not asked to read {container}")
    return readers[backend](path)


def _scan(reader: Reader, request: dict[str, Any], answers: BinaryIO) -> None:
    wanted = dict(request["settings"])
    size = tuple(wanted.pop("size")) if isinstance(wanted["size"], list) else wanted.pop("size")
    settings = ScanSettings(size=size, **wanted)
    watched = reader.watch(keyframes=settings.policy == "keyframes", threads=request["threads"])
    before: Sample | None = None
    for found in scan(watched, settings, skip=request["skip"]):
        if isinstance(found, Sample):
            again = before is not None and before.frame is found.frame
            head = {"sample": list(found.frame.shape[:2]), "moment": found.moment, "shown_at": found.shown_at}
            _answer(answers, head, b"" if again else found.frame.tobytes())
            before = found
        elif isinstance(found, Scan):
            told = {name: getattr(found, name) for name in ("end", "width", "height", "fps", "codec", "shots", "cut_short")}
            curves = found.times.astype("<f8").tobytes() + found.motion.astype("<f4").tobytes() + found.brightness.astype("<f4").tobytes()
            _answer(answers, {"scan": told, "times": len(found.times)}, curves)
        else:
            _answer(answers, {"alive": found, "announced": watched.announced})


def limit_memory(extra: int) -> None:
    """Let this process take `extra` bytes more than it has now. Does nothing where the system cannot say or set that (Linux can)."""
    try:
        import resource

        with open("/proc/self/status") as status:
            held = next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmData:"))
        _, hardest = resource.getrlimit(resource.RLIMIT_DATA)
        wanted = held + extra
        resource.setrlimit(resource.RLIMIT_DATA, (wanted if hardest == resource.RLIM_INFINITY else min(wanted, hardest), hardest))
    except (ImportError, OSError, ValueError, StopIteration):
        return


def _stamp(path: str) -> tuple[int, int] | None:
    """Another file may stand under the same name by now."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns


def _answer(answers: BinaryIO, head: dict[str, Any], body: bytes = b"") -> None:
    answers.write(json.dumps({**head, "bytes": len(body)}).encode() + b"\n")
    answers.write(body)
    answers.flush()


def die_with(parent: int) -> None:
    """A worker that hangs in native code must not outlive a parent that was killed."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


if __name__ == "__main__":
    try:
        found = available()
        if len(sys.argv) > 1:
            limit_memory(int(sys.argv[1]))
        if "modest" in sys.argv[2:]:
            os.nice(NICE)
        serve(found)
    except BrokenPipeError:
        os._exit(0)
