"""The same files through the engine of one machine and through the one on Ray: rates, and whether the windows are the same.

    python -m benchmarks.ray_engine                                     60 drawn videos, a tiny encoder made here
    python -m benchmarks.ray_engine --folder /net/videos --encoder PE-Core-B-16 --device cuda --address auto

`start_s` is Ray's start, the actors' and the encoder's in them, up to the first file that is read: it is paid once a run, so
`files_per_s` is from there to the last outcome; `whole_s` is everything. The local engine's encoder is open when its clock starts.
Prints one JSON object. Compare with OMP_NUM_THREADS=1, which Ray sets for its actors: on busy cores it decides more than the engine.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.index_throughput import draw, tiny_encoder
from echoreel_cli.devices import pick_encoder_dtype
from echoreel_cli.models.encoders import open_encoder
from echoreel_index.clips import WindowSettings
from echoreel_index.engine import Begun, Engine, LocalEngine, Taken
from echoreel_index.files import FoundFile, walk
from echoreel_index.ray_engine import EncoderRecipe, RayEngine
from echoreel_index.store import Content


def timed(engine: Engine, files: Sequence[FoundFile]) -> tuple[dict[str, object], dict[str, Content]]:
    """The rate at which `engine` reads all of `files`, and what it made of them."""
    contents: dict[str, Content] = {}
    start, first, failed = time.perf_counter(), 0.0, 0
    for outcome in engine.read(files, lambda sha256: False):
        if isinstance(outcome, Begun):
            first = first or time.perf_counter()
        elif isinstance(outcome, Taken) and outcome.content is not None:
            contents[outcome.file.path] = outcome.content
        elif not isinstance(outcome, Taken):
            failed += 1
        last = time.perf_counter()
    end, frames = time.perf_counter(), sum(len(content.looks) for content in contents.values())
    return {
        "files": len(contents),
        "failed": failed,
        "frames": frames,
        "start_s": round(first - start, 3),
        "whole_s": round(end - start, 3),
        "files_per_s": round(len(contents) / (last - first), 2),
        "frames_per_s": round(frames / (last - first), 1),
    }, contents


def difference(one: dict[str, Content], other: dict[str, Content]) -> dict[str, object]:
    """Whether two engines made the same windows, and how far their vectors are apart."""
    same = one.keys() == other.keys() and all(
        [(w.id, w.motion, w.brightness) for w in one[path].windows] == [(w.id, w.motion, w.brightness) for w in other[path].windows]
        for path in one
    )
    apart = [float(np.abs(one[path].looks - other[path].looks).max()) for path in one if path in other]
    return {"same_windows": same, "vectors_differ_by_at_most": max(apart, default=0.0)}


def main() -> None:
    """Parse, measure, print."""
    import logging

    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--folder", type=Path, help="read this instead of drawn videos")
    parser.add_argument("--count", type=int, default=60, help="how many videos to draw")
    parser.add_argument("--seconds", type=float, default=4.0, help="how long each of them is")
    parser.add_argument("--encoder", help="mini, an open_clip name or a folder; none: a tiny one with random weights")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--address", help="of a Ray cluster; none: one on this machine")
    parser.add_argument("--workers", type=int, help="decoders of each engine")
    args = parser.parse_args()
    logging.disable()
    with tempfile.TemporaryDirectory() as made:
        place = Path(made)
        if args.folder is None:
            draw(place / "videos", args.count, args.seconds, 180, 320)
        files = list(walk([args.folder or place / "videos"]))
        name = args.encoder or str(tiny_encoder(place / "encoder"))
        recipe = partial(open_encoder, name, device=args.device, dtype=pick_encoder_dtype(args.device))
        encoder = recipe()
        described = EncoderRecipe(recipe, encoder.card.fingerprint, encoder.frame_size, gpu=args.device.startswith("cuda"))
        local, here = timed(LocalEngine(encoder, WindowSettings(), workers=args.workers), files)
        far, there = timed(RayEngine(described, WindowSettings(), address=args.address, decoders=args.workers), files)
        told = {"schema": "echoreel.bench-ray/1", "cpus": os.cpu_count(), "encoder": encoder.card.name if args.encoder else "tiny"}
        print(json.dumps({**told, "local": local, "ray": far, **difference(here, there)}))


if __name__ == "__main__":
    main()
