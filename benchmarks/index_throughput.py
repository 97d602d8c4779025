"""How fast a library is made, and what of that is decoding, what the network, what our own doing.

    python -m benchmarks.index_throughput                             200 drawn videos, the tiny encoder made here
    python -m benchmarks.index_throughput --encoder default --random --count 96 --plain 12
    python -m benchmarks.index_throughput --folder ~/videos --encoder mini --plain 200

One run, the same files: the whole way; decoding alone (the same workers, an encoder that does nothing); the network alone (the
same number of frames, in memory, in the same batches); the second run, which has nothing to do. `once_s` is what a new library costs with
one file: the sentences that every query competes with are embedded. It is no part of the whole way. `overlap` is the slower of the
two bare costs as a share of the whole way's time: 1 would be perfect on a machine where the two do not share cores.

With --plain N also two plain loops, one file at a time, as research code does it: decord, a seek for each frame, the encoder's own
transform picture by picture, float32, FAISS. `windows` makes the very windows that we make, each from its own frames;
`file` makes one vector a file from as many evenly spaced frames as we look at.

--random takes the architecture of the encoder with random weights, where its weights are not at hand: it costs the same.
Prints one JSON object. Peak memory is that of this process, most of it torch and the encoder (`before_mib`). Linux only.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from echoreel_cli.devices import pick_encoder_dtype
from echoreel_index.clips import WindowSettings
from echoreel_index.engine import LocalEngine, Taken
from echoreel_index.files import walk
from echoreel_index.library import Library
from echoreel_index.nouns import EncoderCard

if TYPE_CHECKING:
    from echoreel_index.encode import Encoder, OpenClipEncoder
    from echoreel_index.store import Content

T = TypeVar("T")
TINY = {
    "model_cfg": {
        "embed_dim": 64,
        "vision_cfg": {"image_size": 64, "layers": 2, "width": 64, "head_width": 32, "patch_size": 16},
        "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 1},
    },
    "preprocess_cfg": {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]},
}


class Blind:
    """An encoder that costs nothing and sees nothing."""

    logit_scale = 1.0

    def __init__(self, frame_size: int, width: int) -> None:
        self.frame_size, self.card = frame_size, EncoderCard("blind", width, "0" * 64)

    def embed_frames(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        vectors = np.zeros((len(frames), self.card.width), np.float32)
        vectors[:, 0] = 1
        return vectors

    def embed_texts(self, texts: list[str]) -> NDArray[np.float32]:
        return np.zeros((len(texts), self.card.width), np.float32)


def draw(folder: Path, count: int, seconds: float, height: int, width: int) -> None:
    """`count` films of a square that moves over a grained ground, 25 frames a second, each one different."""
    import av

    random = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        ground, colour = random.integers(0, 256, (2, 3), dtype=np.uint8)
        grain = random.integers(0, 40, (height, width, 3), dtype=np.uint8)
        side = height // 3
        with av.open(str(folder / f"{number:04d}.mp4"), "w") as container:
            stream = container.add_stream("libx264", rate=Fraction(25))
            stream.width, stream.height, stream.pix_fmt, stream.options = width, height, "yuv420p", {"preset": "veryfast"}
            for place in range(round(seconds * 25)):
                picture = np.roll(np.clip(ground.astype(int) + grain, 0, 255).astype(np.uint8), place, axis=1)
                left = place * 2 % (width - side)
                picture[side : 2 * side, left : left + side] = colour
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            container.mux(stream.encode())


def tiny_encoder(folder: Path) -> Path:
    """A small open_clip model with random weights: its cost is that of decoding and storing, not of seeing."""
    import open_clip
    import torch
    from safetensors.torch import save_file

    folder.mkdir(parents=True)
    (folder / "open_clip_config.json").write_text(json.dumps(TINY))
    torch.manual_seed(0)
    model = open_clip.create_model(f"local-dir:{folder}", load_weights=False)
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, str(folder / "open_clip_model.safetensors"))
    return folder


def opened(name: str | None, place: Path, device: str, random: bool, dtype: Any) -> OpenClipEncoder:
    """The encoder of that name, in that number type."""
    from echoreel_cli.models.encoders import open_encoder
    from echoreel_index.encode import DEFAULT_ENCODER, OpenClipEncoder

    name = DEFAULT_ENCODER if name == "default" else name
    if random and name is not None:
        import open_clip
        import torch

        torch.manual_seed(0)
        model = open_clip.create_model(name, load_weights=False).float()
        return OpenClipEncoder(model, open_clip.get_tokenizer(name), name, device=device, dtype=dtype)
    folder = place / "encoder"
    found: Any = open_encoder(name or str(folder if folder.is_dir() else tiny_encoder(folder)), device=device, dtype=dtype)
    assert isinstance(found, OpenClipEncoder)
    return found


def decode_alone(folder: Path, encoder: Encoder, workers: int | None) -> tuple[float, dict[str, Content]]:
    """Seconds of scanning every file without seeing it, and what lies where."""
    engine = LocalEngine(Blind(encoder.frame_size, encoder.card.width), WindowSettings(), workers=workers)
    contents: dict[str, Content] = {}
    before = time.perf_counter()
    for outcome in engine.read(list(walk([folder])), lambda sha256: False):
        if isinstance(outcome, Taken) and outcome.content is not None:
            contents[outcome.file.path] = outcome.content
    return time.perf_counter() - before, contents


def network_alone(encoder: Encoder, frames: int, shape: tuple[int, ...]) -> float:
    """Seconds of embedding so many frames of that shape that lie in memory."""
    some = np.random.default_rng(0).integers(0, 256, (32, *shape), dtype=np.uint8)
    encoder.embed_frames(some[:2])
    before = time.perf_counter()
    for first in range(0, frames, len(some)):
        encoder.embed_frames(some[: min(len(some), frames - first)])
    return time.perf_counter() - before


def plain_loop(contents: dict[str, Content], encoder: OpenClipEncoder, *, windows: bool) -> float:
    """Seconds of the plain way; see the head of this file."""
    import decord
    import faiss
    import torch
    from open_clip.transform import PreprocessCfg, image_transform_v2
    from PIL import Image

    prepare = image_transform_v2(PreprocessCfg(**encoder._model.visual.preprocess_cfg), is_train=False)
    index = faiss.IndexFlatIP(encoder.card.width)

    def seen(video: Any, moments: NDArray[np.float64]) -> NDArray[np.float32]:
        indices = np.clip((moments * video.get_avg_fps()).astype(int), 0, len(video) - 1)
        pictures = torch.stack([prepare(Image.fromarray(video[int(i)].asnumpy())) for i in indices])
        with torch.inference_mode():
            vectors = torch.nn.functional.normalize(encoder._model.encode_image(pictures), dim=-1)
        mean: NDArray[np.float32] = torch.nn.functional.normalize(vectors.mean(0, keepdim=True), dim=-1).numpy()
        return mean

    before = time.perf_counter()
    for path, content in contents.items():
        video = decord.VideoReader(path)
        if windows:
            for window in content.windows:
                parts = max(1, round((window.end - window.start) / content.step))
                index.add(seen(video, window.start + (np.arange(parts) + 0.5) * (window.end - window.start) / parts))
        else:
            index.add(seen(video, (np.arange(len(content.looks)) + 0.5) * content.duration / len(content.looks)))
    return time.perf_counter() - before


def measure(folder: Path, place: Path, encoder: OpenClipEncoder, workers: int | None) -> tuple[dict[str, object], dict[str, Content]]:
    """Everything but the plain loops."""
    before_mib = peak_memory("self")
    library = Library.create_or_open(place / "library", encoder)
    draw(place / "one", 1, 1.0, 64, 64)
    _, once = timed(lambda: library.update([place / "one"], settings=WindowSettings()))
    engine = LocalEngine(encoder, WindowSettings(), workers=workers)
    first, whole = timed(lambda: library.update([folder], settings=WindowSettings(), engine=engine))
    peak = peak_memory("self")
    second, again = timed(lambda: library.update([folder], settings=WindowSettings()))
    _, searching = timed(lambda: library.search("a square moves", k=5, encoder=encoder))
    library.close()
    decode, contents = decode_alone(folder, encoder, workers)
    one = next(iter(contents.values()))
    short = min(one.height, one.width)
    scale = min(1.0, encoder.frame_size / short)
    network = network_alone(encoder, first.frames, (round(one.height * scale), round(one.width * scale), 3))
    return {
        "once_s": round(once, 3),
        "files": first.new,
        "bad": len(first.bad),
        "windows": sum(len(content.windows) for content in contents.values()),
        "frames": first.frames,
        "first_run_s": round(whole, 3),
        "files_per_s": round(first.new / whole, 2),
        "frames_per_s": round(first.frames / whole, 1),
        "busy_decoding_s": round(engine.times.decode, 3),
        "busy_network_s": round(engine.times.network, 3),
        "decode_alone_s": round(decode, 3),
        "network_alone_s": round(network, 3),
        "overlap": round(max(decode, network) / whole, 3),
        "sum_of_both": round((decode + network) / whole, 3),
        "second_run_s": round(again, 4),
        "second_run_frames": second.frames,
        "search_s": round(searching, 4),
        "before_mib": before_mib,
        "peak_mib": peak,
        "library_mib": round(sum(file.stat().st_size for file in (place / "library").iterdir()) / 2**20, 2),
    }, contents


def timed(action: Callable[[], T]) -> tuple[T, float]:
    """What `action` gives, and its seconds."""
    before = time.perf_counter()
    result = action()
    return result, time.perf_counter() - before


def peak_memory(process: str) -> int:
    """MiB that a process has held at most since it started (Linux)."""
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) // 1024
    return 0


def main() -> None:
    """Parse, measure, print."""
    import logging

    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--folder", type=Path, help="index this instead of drawn videos")
    parser.add_argument("--count", type=int, default=200, help="how many videos to draw")
    parser.add_argument("--seconds", type=float, default=4.0, help="how long each of them is")
    parser.add_argument("--size", default="320x180", help="width and height of drawn videos")
    parser.add_argument("--encoder", help="default, mini, an open_clip name or a folder; none: a tiny one with random weights")
    parser.add_argument("--random", action="store_true", help="the encoder's architecture with random weights")
    parser.add_argument("--plain", type=int, default=0, metavar="N", help="also time the plain loops, on the first N files")
    parser.add_argument("--workers", type=int, help="decode processes")
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    logging.disable()
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as `echoreel index` does
    with tempfile.TemporaryDirectory() as made:
        place = Path(made)
        folder = args.folder or place / "videos"
        if args.folder is None:
            width, height = map(int, args.size.split("x"))
            draw(folder, args.count, args.seconds, height, width)
        dtype = pick_encoder_dtype(args.device)
        encoder = opened(args.encoder, place, args.device, args.random, dtype)
        found, contents = measure(folder, place, encoder, args.workers)
        told: dict[str, object] = {"schema": "echoreel.bench-index/2", "encoder": encoder.card.name, "dtype": dtype, **found}
        if args.plain:
            single = opened(args.encoder, place, args.device, args.random, "float32")
            for name, windows in (("windows", True), ("file", False)):
                some = dict(sorted(contents.items())[: args.plain])
                seconds = plain_loop(some, single, windows=windows) / len(some)
                told[f"plain_{name}_s_a_file"] = round(seconds, 4)
                told[f"faster_than_plain_{name}"] = round(seconds * len(contents) / float(str(found["first_run_s"])), 2)
        print(json.dumps(told))


if __name__ == "__main__":
    main()
