"""The sound of an excerpt: its samples from one moment to another, on the clock of the pictures.

Decoded in a process of its own, which is stopped when it takes too long or too much memory. That process is started as
`python -P -m echoreel_index.sound PATH START END`; it answers with one line of JSON and raw samples, or with nothing at
all where the file has no sound. Only `sound` is meant for callers.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from echoreel_index.errors import VideoError
from echoreel_index.files import absolute

RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000)
"""Samples a second that AAC can carry; sound at another rate is converted to USUAL_RATE."""
USUAL_RATE = 48000
RUN_UP = 1.0
"""Seconds that are decoded before the start: many codecs need some packets until they are in tune."""
LIMIT = 60.0
"""Seconds that the process may take, and as long again as the excerpt lasts."""
MEMORY = 2 << 30
"""Bytes that it may hold."""


@dataclass(frozen=True, slots=True, eq=False)
class Sound:
    """Samples on the clock of the pictures; where the film is silent or has a gap they are 0."""

    samples: NDArray[np.int16]
    """(n channels), one or two channels."""
    rate: int
    """Samples a second; one of RATES."""


def sound(path: Path | str, start: float, end: float) -> Sound | None:
    """What is heard in [start, end), seconds from the first picture; None where the file has no sound. Raises VideoError."""
    command = [sys.executable, "-P", "-m", "echoreel_index.sound", absolute(Path(path)), repr(start), repr(end)]
    package = str(Path(__file__).resolve().parent.parent)
    known = os.environ.get("PYTHONPATH")
    environment = {**os.environ, "PYTHONPATH": package if not known else os.pathsep.join((package, known))}
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, env=environment, timeout=LIMIT + (end - start), check=False
        )
    except subprocess.TimeoutExpired as error:
        raise VideoError(f"its sound could not be decoded within {LIMIT + end - start:.0f} s") from error
    if done.returncode != 0:
        raise VideoError("its sound cannot be decoded")
    line, _, body = done.stdout.partition(b"\n")
    if not line:
        return None
    head = json.loads(line)
    return Sound(np.frombuffer(body, "<i2").reshape(-1, head["channels"]).astype(np.int16), head["rate"])


def _decoded(path: str, start: float, end: float) -> Sound | None:
    """Runs in the process that may be stopped."""
    import av

    from echoreel_index.containers import POINTERS, Refused, opened

    with opened(path) as container:
        if container.format.name in POINTERS:
            raise Refused("a list of other files, not a video")
        stream = next(iter(container.streams.audio), None)
        if stream is None:
            return None
        zero = _first_picture(container)
        rate = stream.rate if stream.rate in RATES else USUAL_RATE
        layout = "mono" if stream.channels == 1 else "stereo"
        heard = np.zeros((max(1, round((end - start) * rate)), 1 if layout == "mono" else 2), np.int16)
        resampler = av.AudioResampler(format="s16", layout=layout, rate=rate)
        if start > RUN_UP:
            container.seek(int((start + zero - RUN_UP) * av.time_base), backward=True)
        for packet in container.demux(stream):
            for frame in _frames(packet):
                if frame.time is not None and frame.time - zero >= end:
                    return Sound(heard, rate)
                for part in resampler.resample(frame) if frame.time is not None else ():
                    _place(heard, part.to_ndarray().reshape(-1, heard.shape[1]), round((part.time - zero - start) * rate))
        return Sound(heard, rate)


def _first_picture(container: Any) -> float:
    """Seconds on the container's clock at which the pictures start, which is our zero."""
    stream = next(iter(container.streams.video), None)
    return 0.0 if stream is None or stream.start_time is None else float(stream.start_time * stream.time_base)


def _frames(packet: Any) -> list[Any]:
    from av.error import FFmpegError

    try:
        return list(packet.decode())
    except FFmpegError:  # a damaged packet is a moment of silence
        return []


def _place(heard: NDArray[np.int16], part: NDArray[np.int16], at: int) -> None:
    """Write `part` at the sample `at`, as far as it lies inside."""
    first, last = max(at, 0), min(at + len(part), len(heard))
    if last > first:
        heard[first:last] = part[first - at : last - at]


def _main(path: str, start: str, end: str) -> None:
    from echoreel_index.worker import die_with, limit_memory

    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # only the answer may go to stdout
    threading.Thread(target=die_with, args=(os.getppid(),), daemon=True).start()
    limit_memory(MEMORY)
    found = _decoded(path, float(start), float(end))
    if found is not None:
        answers.write(json.dumps({"rate": found.rate, "channels": found.samples.shape[1]}).encode() + b"\n")
        answers.write(found.samples.astype("<i2").tobytes())
    answers.flush()


if __name__ == "__main__":
    _main(*sys.argv[1:])
