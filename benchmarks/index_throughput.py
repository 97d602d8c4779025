"""How fast a library is made: files a second, peak memory, and what the second run costs.

    python benchmarks/index_throughput.py                      200 drawn videos, the tiny encoder made here
    python benchmarks/index_throughput.py --folder ~/videos --encoder mini

Prints one JSON object. Peak memory is that of this process, most of it torch and the encoder (`peak_memory_before_mib`); the
decode worker's is given beside it. Linux only.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from echoreel_index.clips import WindowSettings
from echoreel_index.decoder import Decoder
from echoreel_index.library import Library

if TYPE_CHECKING:
    from echoreel_index.encode import Encoder

TINY = {
    "model_cfg": {
        "embed_dim": 64,
        "vision_cfg": {"image_size": 64, "layers": 2, "width": 64, "head_width": 32, "patch_size": 16},
        "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 1},
    },
    "preprocess_cfg": {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]},
}


def draw(folder: Path, count: int, seconds: float) -> None:
    """`count` films of a square that moves, 160 by 120 pixels, 25 frames a second, each one different."""
    import av

    random = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        ground, colour = random.integers(0, 256, (2, 3), dtype=np.uint8)
        with av.open(str(folder / f"{number:04d}.mp4"), "w") as container:
            stream = container.add_stream("libx264", rate=Fraction(25))
            stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
            for place in range(round(seconds * 25)):
                picture = np.full((120, 160, 3), ground, np.uint8)
                picture[40:80, place % 120 : place % 120 + 40] = colour
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            container.mux(stream.encode())


def tiny_encoder(folder: Path) -> Path:
    """A small open_clip model with random weights: its cost is that of decoding and storing, not of seeing."""
    import logging

    import open_clip
    import torch
    from safetensors.torch import save_file

    folder.mkdir(parents=True)
    (folder / "open_clip_config.json").write_text(json.dumps(TINY))
    torch.manual_seed(0)
    logging.disable()
    model = open_clip.create_model(f"local-dir:{folder}", load_weights=False)
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, str(folder / "open_clip_model.safetensors"))
    return folder


def measure(folder: Path, library: Path, encoder: Encoder) -> dict[str, object]:
    """Index `folder` into an empty library twice."""
    opened = Library.create_or_open(library, encoder)
    memory_before = peak_memory("self")
    with Decoder() as decoder:
        before = time.perf_counter()
        first = opened.update([folder], settings=WindowSettings(), decoder=decoder)
        between = time.perf_counter()
        worker_memory = peak_memory(str(decoder.pid))
    second = opened.update([folder], settings=WindowSettings())
    after = time.perf_counter()
    asked = time.perf_counter()
    opened.search("a square moves", k=5, encoder=encoder)
    answered = time.perf_counter()
    opened.close()
    return {
        "files": first.new,
        "bad": len(first.bad),
        "windows": first.windows,
        "frames": first.frames,
        "first_run_s": round(between - before, 3),
        "files_per_s": round(first.new / (between - before), 2),
        "frames_per_s": round(first.frames / (between - before), 1),
        "second_run_s": round(after - between, 4),
        "second_run_frames": second.frames,
        "search_s": round(answered - asked, 4),
        "peak_memory_before_mib": memory_before,
        "peak_memory_mib": peak_memory("self"),
        "peak_worker_memory_mib": worker_memory,
        "library_mib": round(sum(file.stat().st_size for file in library.iterdir()) / 2**20, 2),
    }


def peak_memory(process: str) -> int:
    """MiB that a process has held at most since it started (Linux)."""
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) // 1024
    return 0


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--folder", type=Path, help="index this instead of drawn videos")
    parser.add_argument("--count", type=int, default=200, help="how many videos to draw")
    parser.add_argument("--seconds", type=float, default=4.0, help="how long each of them is")
    parser.add_argument("--encoder", help="mini, an open_clip name or a folder; none: a tiny one with random weights")
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    from echoreel_cli.models.encoders import open_encoder

    with tempfile.TemporaryDirectory() as made:
        place = Path(made)
        if args.folder is None:
            draw(place / "videos", args.count, args.seconds)
        encoder = open_encoder(args.encoder or str(tiny_encoder(place / "encoder")), device=args.device)
        print(json.dumps({"schema": "echoreel.bench-index/1", **measure(args.folder or place / "videos", place / "library", encoder)}))


if __name__ == "__main__":
    main()
