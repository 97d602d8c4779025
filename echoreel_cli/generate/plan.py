"""What a run will need, found out before any weight is read: settings that fit the network, memory, disk.

Sizes come from the headers of the model's files; working memory is an estimate of the largest tensors that are alive at
once, good to about a third. It is there to refuse what cannot work, not to fill a device to the brim.
"""

from __future__ import annotations

import json
import math
import shutil
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from echoreel_cli.models.folder import ModelInfo, read_json
from echoreel_index.errors import EchoreelError, OutOfMemory, UsageError, WeightsError

PARTS = ("unet", "action_adapter", "vae", "text_encoder")
DTYPE_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}


@dataclass(frozen=True, slots=True)
class Sampling:
    """Everything that decides one video besides the prompt and the references; sizes in pixels."""

    seed: int
    steps: int
    guidance: float
    eta: float
    height: int
    width: int
    frames: int
    fps: float
    negative: str = ""
    action_guidance: float = 1.0

    @classmethod
    def of(cls, info: ModelInfo, seed: int) -> Sampling:
        """The model's own settings."""
        own = info.defaults
        return cls(
            seed, own.steps, own.guidance, own.eta, own.height, own.width, own.frames, own.fps, own.negative, own.action_guidance
        )


@dataclass(frozen=True, slots=True)
class Shape:
    """What the model folder's configurations say about sizes."""

    width: int
    """Channels at the network's full resolution."""
    levels: int
    vae_factor: int
    """Pixels along one side of a latent position."""
    vae_width: int

    @property
    def multiple(self) -> int:
        """Height and width in pixels must be multiples of this."""
        return int(self.vae_factor * 2 ** (self.levels - 1))


@dataclass(frozen=True, slots=True)
class Estimate:
    """Bytes."""

    weights: int
    working: int

    @property
    def memory(self) -> int:
        """What the device must have free."""
        return self.weights + self.working


def read_shape(folder: Path) -> Shape:
    """Sizes out of the configurations of a model folder; WeightsError if they are not there."""
    unet, vae = read_json(folder / "unet" / "config.json"), read_json(folder / "vae" / "config.json")
    try:
        blocks = vae["block_out_channels"]
        return Shape(unet["model_channels"], len(unet["channel_mult"]), 2 ** (len(blocks) - 1), blocks[0])
    except (KeyError, TypeError) as error:
        raise WeightsError(f"{folder}: a configuration lacks {error}") from error


def check(sampling: Sampling, shape: Shape) -> None:
    """UsageError for settings with which the network cannot run, naming the nearest that work."""
    for name, value in (("height", sampling.height), ("width", sampling.width)):
        if value < 1 or value % shape.multiple:
            near = max(1, round(value / shape.multiple)) * shape.multiple
            raise UsageError(f"{name} {value} does not fit this model: it must be a multiple of {shape.multiple}", hint=f"try {near}")
    if sampling.frames < 1:
        raise UsageError(f"a video needs at least one frame, got {sampling.frames}")
    if not 0 < sampling.fps <= 1000:
        raise UsageError(f"frames per second must be above 0 and at most 1000, got {sampling.fps:g}")
    for name, scale in (("guidance", sampling.guidance), ("action guidance", sampling.action_guidance)):
        if not math.isfinite(scale) or scale < 0:
            raise UsageError(f"{name} must be 0 or more, got {scale:g}")
    if not 0 <= sampling.seed < 2**63:
        raise UsageError(f"a seed is a whole number from 0 to 2^63 - 1, got {sampling.seed}")


def check_steps(folder: Path, steps: Iterable[int]) -> None:
    """UsageError for a number of steps that does not cover the model's noise schedule."""
    from echoreel_cli.backbones.schedule import build_schedule
    from echoreel_cli.generate.sampler import choose_timesteps

    scheduler = build_schedule(read_json(folder / "scheduler" / "scheduler_config.json"))
    for count in sorted(set(steps)):
        choose_timesteps(scheduler, count)


def estimate(
    folder: Path, info: ModelInfo, shape: Shape, sampling: Sampling, *, references: int, dtype: str, offload: bool, device: str
) -> Estimate:
    """Memory of one run. With `offload` only the largest part counts, the others wait in main memory."""
    unit = DTYPE_BYTES[dtype]
    parts = [parameters(folder / part) * unit for part in PARTS if (folder / part).is_dir() and (references or part != "action_adapter")]
    weights = max(parts, default=0) if offload and device != "cpu" else sum(parts)
    positions = sampling.frames * (sampling.height // shape.vae_factor) * (sampling.width // shape.vae_factor)
    # Gated feed-forward (8 widths in, 4 out), the residual stream, norms and the skips that wait (about 6 in all levels).
    denoise = positions * shape.width * 24 * unit
    prism = 0
    if references and info.reference is not None:
        latents = info.reference.frames * (info.defaults.height // shape.vae_factor) * (info.defaults.width // shape.vae_factor)
        prism = latents * 2 * shape.width * 20 * unit
    # The decoder's last level: twice the first width at every pixel of a frame, input, output and norm alive together.
    decode = min(sampling.frames, 16) * sampling.height * sampling.width * shape.vae_width * 2 * 4 * unit
    return Estimate(weights, max(denoise, prism, decode) + 256 * 2**20)


def parameters(part: Path) -> int:
    """Number of values in all safetensors files of a part, from their headers."""
    total = 0
    for file in part.glob("*.safetensors"):
        for name, entry in _header(file).items():
            if name != "__metadata__":
                total += math.prod(entry["shape"])
    return total


def _header(file: Path) -> Mapping[str, Any]:
    try:
        with file.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            if length > file.stat().st_size:
                raise ValueError("it ends too early")
            header: Mapping[str, Any] = json.loads(stream.read(length))
            return header
    except (OSError, struct.error, ValueError) as error:
        raise WeightsError(f"{file} is damaged: {error}", hint="remove the model and pull it again") from error


def refuse_if_too_big(need: Estimate, free: int | None, device: str, sampling: Sampling) -> None:
    """OutOfMemory before any work if the device cannot hold the run; what cannot be asked is not refused."""
    if free is None or need.memory <= free:
        return
    offload = "" if device == "cpu" else ", --offload model"
    raise OutOfMemory(
        f"{sampling.frames} frames of {sampling.width}x{sampling.height} need about {size_in_words(need.memory)} on {device},"
        f" {size_in_words(free)} are free",
        hint=f"try a smaller --size, fewer --frames{offload}, --dtype bfloat16, or another --device",
    )


def refuse_if_disk_full(folder: Path, videos: int, sampling: Sampling) -> None:
    """A failure before any work if the videos will surely not fit; at this quality a pixel takes about half a byte."""
    while not folder.exists():
        folder = folder.parent
    need = videos * (sampling.frames * sampling.height * sampling.width // 2 + 65536)
    free = shutil.disk_usage(folder).free
    if need > free:
        raise EchoreelError(f"{videos} videos need about {size_in_words(need)} in {folder}, {size_in_words(free)} are free")


def size_in_words(count: int) -> str:
    """`1.5 GB`; decimal units, as disks and devices are sold."""
    value, units = float(count), ["bytes", "kB", "MB", "GB", "TB"]
    while value >= 1000 and len(units) > 1:
        value /= 1000
        units.pop(0)
    return f"{value:.3g} {units[0]}"
