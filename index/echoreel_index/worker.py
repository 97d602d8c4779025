"""The process that decodes: a bad file can hurt nobody but this one.

Started as `python -P -m echoreel_index.worker`. Requests come as JSON lines on stdin, answers go to stdout as JSON
lines, each followed by the number of raw bytes that it announces:

    {"op": "probe",    "path"}                          -> {"probe": {...}}
    {"op": "timeline", "path", "backend"}               -> {"end", "times": n, "keys": k, "bytes"} + float64s + int64s
    {"op": "read", "path", "backend", "seconds", "size"} -> {"frame": [h, w], "time", "bytes"} + uint8s, ... {"done": true}
    anything that fails                                 -> {"error": message}
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any, BinaryIO

from echoreel_index.errors import VideoError
from echoreel_index.readers import DecordReader, PyavReader, Reader, probe_file

Opener = Callable[[str], Reader]
_Key = tuple[str, str, tuple[int, int] | None]


def available() -> dict[str, Opener]:
    """The readers whose libraries are installed, best first."""
    found: dict[str, Opener] = {}
    # decord2 loads every NVIDIA library it finds beside it, for a GPU decoder that we do not use: 600 MB and half a second.
    sys.modules.setdefault("nvidia", None)  # type: ignore[arg-type]
    try:
        import decord  # noqa: F401

        found["decord"] = DecordReader
    except (ImportError, OSError):
        pass
    import av

    av.logging.set_level(av.logging.PANIC)
    found["pyav"] = PyavReader
    return found


def serve(readers: Mapping[str, Opener]) -> None:
    """Answer requests until stdin ends."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # native libraries write to stdout as they please; only answers may go there
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what an interrupt means
    threading.Thread(target=_die_with, args=(os.getppid(),), daemon=True).start()
    _answer(answers, {"backends": list(readers)})
    kept: dict[_Key, Reader] = {}
    for line in sys.stdin:
        request = json.loads(line)
        try:
            _handle(request, readers, kept, answers)
        except VideoError as error:
            _answer(answers, {"error": error.message})
        except Exception as error:  # whatever a native library makes of a damaged file, the next one is another file
            _answer(answers, {"error": f"{type(error).__name__}: {error}"[:300]})


def _handle(request: dict[str, Any], readers: Mapping[str, Opener], kept: dict[_Key, Reader], answers: BinaryIO) -> None:
    path = request["path"]
    if request["op"] == "probe":
        _answer(answers, {"probe": asdict(probe_file(path))})
        return
    key = (path, request["backend"], _stamp(path))
    if key not in kept:
        kept.clear()  # one open file at a time
        kept[key] = readers[request["backend"]](path)
    reader = kept[key]
    if request["op"] == "timeline":
        line = reader.timeline
        body = line.times.astype("<f8").tobytes() + line.keys.astype("<i8").tobytes()
        _answer(answers, {"end": line.end, "times": len(line.times), "keys": len(line.keys)}, body)
        return
    size = tuple(request["size"]) if isinstance(request["size"], list) else request["size"]
    for frame, shown_at in reader.read(request["seconds"], size):
        _answer(answers, {"frame": list(frame.shape[:2]), "time": shown_at}, frame.tobytes())
    _answer(answers, {"done": True})


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


def _die_with(parent: int) -> None:
    """A worker that hangs in native code must not outlive a parent that was killed."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


if __name__ == "__main__":
    try:
        serve(available())
    except BrokenPipeError:
        os._exit(0)
