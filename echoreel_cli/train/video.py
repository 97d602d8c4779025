"""Training the mini model's video network and its action adapter on latents of the rendered world.

Base: words -> video, seen actions and unnamed motions. Adapter: pairs of clips of one motion, the base frozen, as EchoReel trains.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler
from numpy.typing import NDArray
from torch import Tensor, nn

from echoreel_cli.adapters.action import ActionAdapter, attached
from echoreel_cli.backbones.lvdm.unet import VideoUNet
from echoreel_cli.mini.actions import SEEN
from echoreel_cli.mini.world import WILD_PHRASES
from echoreel_cli.train.autoencoder import fold
from echoreel_cli.train.worldset import Label, WorldSet, is_held_out

SCHEDULE: dict[str, object] = {
    "num_train_timesteps": 1000,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "prediction_type": "v_prediction",
    "clip_sample": False,
    "set_alpha_to_one": False,
    "steps_offset": 1,
    "timestep_spacing": "leading",
    "rescale_betas_zero_snr": False,
}
"""The public model's noise schedule; v-prediction, because latents of a small world are mostly decided at high noise."""


@dataclass(frozen=True, slots=True)
class LatentSet:
    """Latents of the clips that the video model may see. ValueError: a label is of a held-out action."""

    latents: Tensor
    """(n c t h w), unit variance over all, half precision."""
    labels: tuple[Label, ...]

    def __post_init__(self) -> None:
        if any(is_held_out(label) for label in self.labels):
            raise ValueError("held-out actions must not reach the video model")


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
        clips = torch.from_numpy(np.stack([data.frames[row] for row in rows[first : first + 16]]))
        frames = clips.flatten(0, 1).permute(0, 3, 1, 2).float() / 127.5 - 1
        with torch.no_grad(), torch.autocast(frames.device.type, torch.bfloat16):
            latents = autoencoder.encode(fold(frames)).latent_dist.mode()
        parts.append(latents.half().unflatten(0, (len(clips), -1)).transpose(1, 2).contiguous())
        progress(first + len(clips), len(rows))
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(torch.cat(parts), path.with_suffix(".partial"))
    path.with_suffix(".partial").replace(path)
    return LatentSet(torch.load(path, weights_only=True, mmap=True), labels)


class Words:
    """Captions -> text tokens by a frozen encoder, each caption encoded once."""

    def __init__(self, encode: Callable[[Sequence[str]], Tensor]) -> None:
        self._encode = encode
        self._known: dict[str, Tensor] = {}

    def __call__(self, captions: Sequence[str]) -> Tensor:
        """(b l d)."""
        new = [caption for caption in dict.fromkeys(captions) if caption not in self._known]
        if new:
            with torch.no_grad():
                self._known.update(zip(new, self._encode(new).float(), strict=True))
        return torch.stack([self._known[caption] for caption in captions])


class Objective:
    """The v-prediction loss (Salimans and Ho 2022, eq. 12 with unit weight) on the schedule above."""

    def __init__(self) -> None:
        self.schedule = DDIMScheduler.from_config(SCHEDULE)

    def times(self, count: int, generator: torch.Generator, *, power: float = 0.7) -> Tensor:
        """Timesteps (b), a little more of them at high noise, where motion is decided."""
        u = torch.rand(count, generator=generator)
        return (u**power * 999.999).long()

    def error(self, predict: Callable[[Tensor, Tensor], Tensor], clean: Tensor, times: Tensor, generator: torch.Generator) -> Tensor:
        """Mean squared error of each sample (b)."""
        noise = torch.randn(clean.shape, generator=generator).to(clean.device)
        noisy = self.schedule.add_noise(clean, noise, times)
        target = self.schedule.get_velocity(clean, noise, times)
        error: Tensor = (predict(noisy, times.to(clean.device)).float() - target).pow(2).mean((1, 2, 3, 4))
        return error


class BaseTask:
    """Words -> video; a tenth of the samples without words, so that guidance works."""

    def __init__(self, data: LatentSet, network: VideoUNet, words: Words) -> None:
        self.network: nn.Module = network
        self._data, self._words, self._objective = data, words, Objective()

    def loss(self, network: nn.Module, batch: int, generator: torch.Generator) -> tuple[Tensor, Mapping[str, float]]:
        """The loss on `batch` clips."""
        rows = torch.randint(len(self._data.labels), (batch,), generator=generator)
        device = next(network.parameters()).device
        clean = self._data.latents[rows].float().to(device)
        silent = torch.rand(batch, generator=generator) < 0.1
        captions = ["" if silent[i] else self._data.labels[row].caption for i, row in enumerate(rows.tolist())]
        times = self._objective.times(batch, generator)
        text = self._words(captions).to(device)
        inner = cast(VideoUNet, getattr(network, "module", network))
        error = self._objective.error(lambda x, t: network(x, t, inner.project_text(text)), clean, times, generator)
        high = error[times >= 700]
        return error.mean(), {"high_noise": float(high.mean().detach()) if len(high) else float("nan")}


class ActionTask:
    """Pairs: a clip and other clips of the same motion; only the adapter trains.

    Often the caption does not say the action, and sometimes it says a wrong one, so that the references have to carry it. `gap` is the
    number to watch: the loss with another motion's reference minus the loss with the right one.
    """

    def __init__(
        self, data: LatentSet, backbone: VideoUNet, adapter: ActionAdapter, words: Words, *, mirror: Tensor | None = None, most: int = 3
    ) -> None:
        self.network: nn.Module = adapter
        self._backbone = backbone.requires_grad_(False)
        self._data, self._words, self._objective, self._most = data, words, Objective(), most
        by_motion: dict[int, list[int]] = defaultdict(list)
        for row, label in enumerate(data.labels):
            by_motion[label.motion].append(row)
        self._clips = {motion: rows for motion, rows in by_motion.items() if len(rows) > 1}
        self._named = [motion for motion, rows in self._clips.items() if data.labels[rows[0]].action is not None]
        self._wild = [motion for motion, rows in self._clips.items() if data.labels[rows[0]].action is None]
        self._calls = 0
        self._figures: dict[str, float] = {}
        self._mirror = mirror

    def loss(self, network: nn.Module, batch: int, generator: torch.Generator) -> tuple[Tensor, Mapping[str, float]]:
        """The loss on `batch` pairs."""
        rng = np.random.default_rng(int(torch.randint(2**31, (1,), generator=generator)))
        count = int(rng.choice([1, 2, self._most], p=[0.7, 0.15, 0.15]))
        motions = [self._motion(rng) for _ in range(batch)]
        picks = [self._pick(motion, count, rng) for motion in motions]
        device = next(network.parameters()).device
        clean = self._data.latents[[rows[0] for rows in picks]].float().to(device)
        references = torch.stack([self._references(rows, rng) for rows in picks]).to(device)
        captions = [self._caption(self._data.labels[rows[0]], rng) for rows in picks]
        text = self._words(captions).to(device)
        context = self._backbone.project_text(text)
        times = self._objective.times(batch, generator, power=0.5)
        adapter = cast(ActionAdapter, getattr(network, "module", network))

        def predict_with(latents: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
            def predict(x: Tensor, t: Tensor) -> Tensor:
                hung = adapter.encode(latents, text, text[:, None].expand(-1, latents.shape[1], -1, -1))
                with attached(self._backbone, adapter, hung):
                    out: Tensor = self._backbone(x, t, context)
                    return out

            return predict

        state = generator.get_state()
        error = self._objective.error(predict_with(references), clean, times, generator)
        self._calls += 1
        if self._calls % 20 == 0:
            generator.set_state(state)
            with torch.no_grad():
                high = torch.full_like(times, 900)
                right = self._objective.error(predict_with(references), clean, high, generator).mean()
                generator.set_state(state)
                wrong = self._objective.error(predict_with(references.roll(1, 0)), clean, high, generator).mean()
            self._figures = {"right": float(right), "gap": float(wrong - right)}
        return error.mean(), self._figures

    def _references(self, rows: list[int], rng: np.random.Generator) -> Tensor:
        """Latents (r c t h w) of the references of a target; the first usually faces as the target does, the others half of the time more.

        Which mirror image of a motion comes out is not the model's to guess; where it cannot be told from the reference, nothing is
        learned.
        """
        found = self._data.latents[rows[1:]].float()
        if self._mirror is None:
            return found
        wanted = self._data.labels[rows[0]].leftward
        for place, row in enumerate(rows[1:]):
            if self._data.labels[row].leftward != wanted and rng.random() < (0.9 if place == 0 else 0.5):
                found[place] = torch.einsum("cthw,cd->dthw", found[place].flip(-1), self._mirror)
        return found

    def _motion(self, rng: np.random.Generator) -> int:
        pool = self._named if rng.random() < 0.5 or not self._wild else self._wild
        return pool[int(rng.integers(len(pool)))]

    def _pick(self, motion: int, count: int, rng: np.random.Generator) -> list[int]:
        """A target row and `count` other rows of the motion (repeated where there are too few)."""
        rows = self._clips[motion]
        order = rng.permutation(len(rows))[: count + 1]
        target, *others = [rows[i] for i in order]
        return [target, *(others[i % len(others)] for i in range(count))]

    @staticmethod
    def _caption(label: Label, rng: np.random.Generator) -> str:
        draw = rng.random()
        if draw < 0.1:
            return ""
        if label.action is None or draw > 0.65:
            return label.caption
        action = next(a for a in SEEN if a.name == label.action)
        said = next((phrase for phrase in sorted(action.phrases, key=len, reverse=True) if phrase in label.caption), None)
        if said is None:
            return label.caption
        if draw < 0.4:
            return label.caption.replace(said, WILD_PHRASES[int(rng.integers(len(WILD_PHRASES)))])
        other = SEEN[int(rng.integers(len(SEEN)))]
        return label.caption.replace(said, other.phrases[int(rng.integers(len(other.phrases)))])
