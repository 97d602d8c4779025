"""What the video model is trained on: clips of the small world as latents, and retakes of some of them.

Both are made once and kept: `latents.pt` is a tensor, `retakes.pt` a dictionary of `latents`, `rows` and `captions`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from numpy.typing import NDArray
from torch import Tensor

from echoreel_cli.attention import unflatten
from echoreel_cli.mini.world import Take, film, retake
from echoreel_cli.train.autoencoder import fold
from echoreel_cli.train.worldset import Label, WorldSet, is_held_out
from echoreel_index.errors import UsageError

_CHOICE, _LOOKS = 5, 6
"""Seeds: of which clips are taken again, and of how the retakes differ."""
_FILMED = 32


@dataclass(frozen=True, slots=True)
class LatentSet:
    """Latents of the clips that the video model may see. ValueError: a label is of a held-out action."""

    latents: Tensor
    """(n c t h w), unit variance over all, half precision."""
    labels: tuple[Label, ...]

    def __post_init__(self) -> None:
        if any(is_held_out(label) for label in self.labels):
            raise ValueError("held-out actions must not reach the video model")


@dataclass(frozen=True, slots=True)
class Retakes:
    """The same performances by other people in other places: timing, facing and position nearly as in the original."""

    latents: Tensor
    """(m c t h w), half precision."""
    captions: tuple[str, ...]
    rows: Tensor
    """(m) where the originals stand in their `LatentSet`."""


def encode_set(
    autoencoder: AutoencoderKL, data: WorldSet, folder: Path, *, rows: NDArray[np.int64], progress: Callable[[int, int], None]
) -> LatentSet:
    """Encode the given clips once (held-out ones are refused) and keep the latents in a folder; a finished cache is opened as it is."""
    if any(is_held_out(data.labels[row]) for row in rows):
        raise ValueError("held-out actions must not reach the video model")
    labels = tuple(data.labels[row] for row in rows)
    path = folder / "latents.pt"
    if path.exists():
        return LatentSet(torch.load(path, weights_only=True, mmap=True), labels)
    parts = []
    for first in range(0, len(rows), 16):
        clips = np.stack([data.frames[row] for row in rows[first : first + 16]])
        parts.append(encode_clips(autoencoder, torch.from_numpy(clips)))
        progress(first + len(clips), len(rows))
    _save(torch.cat(parts), path)
    return LatentSet(torch.load(path, weights_only=True, mmap=True), labels)


def film_retakes(
    autoencoder: AutoencoderKL,
    data: LatentSet,
    perform: Callable[[], Sequence[Take]],
    folder: Path,
    *,
    count: int,
    progress: Callable[[int, int], None],
) -> Retakes:
    """Take `count` clips of a set again (fewer if it has fewer) and keep the latents in a folder; finished ones are opened as they are.

    `perform` gives the performances that the set shows, in its order; it is only asked if there is something to film.

    Raises:
        UsageError: the performances are others (the clips were rendered with other settings), or the finished retakes are of other clips.
    """
    path = folder / "retakes.pt"
    if not path.exists():
        originals = perform()
        if [one.caption for one in originals] != [label.caption for label in data.labels]:
            raise UsageError("the clips were rendered with other settings, so they cannot be taken again", hint="use another run folder")
        rows = np.random.default_rng(_CHOICE).permutation(len(originals))[:count]
        rng = np.random.default_rng(_LOOKS)
        takes = [retake(originals[row], rng) for row in rows]
        parts, done = [], 0
        for first in range(0, len(takes), _FILMED):
            parts.append(encode_clips(autoencoder, film(takes[first : first + _FILMED])))
            done += len(parts[-1])
            progress(done, len(takes))
        _save({"latents": torch.cat(parts), "rows": torch.from_numpy(rows), "captions": [one.caption for one in takes]}, path)
    found = torch.load(path, weights_only=True, mmap=True)
    if int(found["rows"].max()) >= len(data.labels) or len(found["rows"]) != min(count, len(data.labels)):
        raise UsageError(f"{path} holds other retakes than these", hint="delete it to make them again")
    return Retakes(found["latents"], tuple(found["captions"]), found["rows"])


@torch.no_grad()
def encode_clips(autoencoder: AutoencoderKL, clips: Tensor) -> Tensor:
    """(b t h w 3) uint8 -> latents (b c t h w), half precision."""
    frames = clips.flatten(0, 1).permute(0, 3, 1, 2).float() / 127.5 - 1
    with torch.autocast(frames.device.type, torch.bfloat16):
        latents: Tensor = autoencoder.encode(fold(frames)).latent_dist.mode()
    return unflatten(latents.half(), 0, (clips.shape[0], clips.shape[1])).transpose(1, 2).contiguous()


def _save(found: object, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    torch.save(found, partial)
    partial.replace(path)
