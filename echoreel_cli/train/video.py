"""Training the mini model's video network and its action adapter on latents of the rendered world.

Base: words -> video, seen actions and unnamed motions. Adapter: pairs of clips of one motion, the base frozen, as EchoReel trains.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import cast

import numpy as np
import torch
from diffusers import DDIMScheduler
from torch import Tensor, nn

from echoreel_cli.adapters.action import ActionAdapter, attached
from echoreel_cli.backbones.lvdm.unet import VideoUNet
from echoreel_cli.generate.guidance import Predictor
from echoreel_cli.train.latents import LatentSet, Retakes
from echoreel_cli.train.pairs import Pairs

SCHEDULE: dict[str, object] = {
    "num_train_timesteps": 1000,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "prediction_type": "sample",
    "clip_sample": False,
    "set_alpha_to_one": True,
    "steps_offset": 0,
    "timestep_spacing": "trailing",
    "rescale_betas_zero_snr": True,
}
"""The public model's noise, stretched so that the noisiest timestep holds no clip any more, and sampled from there down to no noise at all.

Otherwise 7 % of each clip is left at the noisiest timestep in training and nothing of it when a video is made (Lin et al. 2024,
2305.08891), and 3 % of the noise would stay in what is made. The network predicts the clip itself: 64 channels cannot carry 32 channels of
noise from its way in to its way out as well as the picture (Li and He 2025, 2511.13720, found the same for pictures).
"""

LEAST_NOISE = 0.05
"""Noise levels below this are weighted like this one in the loss."""

MEASURED = 20
"""`ActionTask` measures its figures once in so many steps."""


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
    """The network predicts the clip; the loss is the error of the v (Salimans and Ho 2022, eq. 12) that follows from it."""

    def __init__(self) -> None:
        self.schedule = DDIMScheduler.from_config(SCHEDULE)

    def times(self, count: int, generator: torch.Generator, *, power: float = 0.7) -> Tensor:
        """Timesteps (b), a little more of them at high noise, where motion is decided."""
        u = torch.rand(count, generator=generator)
        return (u**power * 999.999).long()

    def error(self, predict: Predictor, clean: Tensor, times: Tensor, generator: torch.Generator) -> Tensor:
        """Mean squared error of each sample (b)."""
        noise = torch.randn(clean.shape, generator=generator).to(clean.device)
        noisy = self.schedule.add_noise(clean, noise, times)
        level = (1 - self.schedule.alphas_cumprod[times]).sqrt().clamp(min=LEAST_NOISE).to(clean.device)
        error: Tensor = (predict(noisy, times.to(clean.device)).float() - clean).pow(2).mean((1, 2, 3, 4))
        weighted: Tensor = error / level.pow(2)
        return weighted


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
    """`Pairs` of clips of one motion; only the adapter trains.

    `gap` is the number to watch: the loss with another motion's reference minus the loss with the right one, at high noise.
    """

    def __init__(
        self,
        data: LatentSet,
        backbone: VideoUNet,
        adapter: ActionAdapter,
        words: Words,
        *,
        mirror: Tensor | None = None,
        retakes: Retakes | None = None,
        most: int = 3,
    ) -> None:
        """`mirror` and `retakes` as in `Pairs`; a sample has one reference, or two, or `most`."""
        self.network: nn.Module = adapter
        self._backbone = backbone.requires_grad_(False)
        self._pairs = Pairs(data, mirror=mirror, retakes=retakes)
        self._words, self._objective, self._most = words, Objective(), most
        self._calls = 0
        self._figures: dict[str, float] = {}

    def loss(self, network: nn.Module, batch: int, generator: torch.Generator) -> tuple[Tensor, Mapping[str, float]]:
        """The loss on `batch` pairs; the figures are measured anew every twentieth time."""
        rng = np.random.default_rng(int(torch.randint(2**31, (1,), generator=generator)))
        count = int(rng.choice([1, 2, self._most], p=[0.7, 0.15, 0.15]))
        pairs = [self._pairs.draw(count, rng) for _ in range(batch)]
        device = next(network.parameters()).device
        clean = torch.stack([pair.target for pair in pairs]).to(device)
        references = torch.stack([pair.references for pair in pairs]).to(device)
        text = self._words([pair.caption for pair in pairs]).to(device)
        times = self._objective.times(batch, generator, power=0.5)
        predict_with = self._predictor(cast(ActionAdapter, getattr(network, "module", network)), text)
        state = generator.get_state()
        error = self._objective.error(predict_with(references), clean, times, generator)
        self._calls += 1
        if self._calls % MEASURED == 0:
            self._figures = self._measure(predict_with, clean, references, generator, state)
        return error.mean(), self._figures

    def _predictor(self, adapter: ActionAdapter, text: Tensor) -> Callable[[Tensor], Predictor]:
        """References (b r c t h w) -> what the backbone with the adapter predicts."""
        context = self._backbone.project_text(text)

        def predict_with(references: Tensor) -> Predictor:
            def predict(x: Tensor, t: Tensor) -> Tensor:
                action = adapter.encode(references, text, text[:, None].expand(-1, references.shape[1], -1, -1))
                with attached(self._backbone, adapter, action):
                    out: Tensor = self._backbone(x, t, context)
                    return out

            return predict

        return predict_with

    @torch.no_grad()
    def _measure(
        self, predict_with: Callable[[Tensor], Predictor], clean: Tensor, references: Tensor, generator: torch.Generator, state: Tensor
    ) -> dict[str, float]:
        """The loss with the right references, and how much worse another sample's are, with the same noise (the generator's `state`)."""
        high = torch.full((len(clean),), 900)
        errors = []
        for shown in (references, references.roll(1, 0)):
            generator.set_state(state)
            errors.append(float(self._objective.error(predict_with(shown), clean, high, generator).mean()))
        right, wrong = errors
        return {"right": right, "gap": wrong - right}
