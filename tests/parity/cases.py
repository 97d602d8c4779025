"""How the stored cases are computed with our network; shared by the parity tests and the parity report."""

from __future__ import annotations

import torch
from torch import Tensor

from echoreel_cli.adapters.action import attached
from echoreel_cli.adapters.inject import PrismAdapter
from echoreel_cli.backbones.lvdm.unet import VideoUNet
from echoreel_cli.backbones.schedule import build_schedule
from echoreel_cli.generate.guidance import Branch, guided
from echoreel_cli.generate.sampler import denoise
from tests.parity.golden import Stored


def call(unet: VideoUNet, adapter: PrismAdapter, case: Stored, sample: slice, references: Tensor, captions: Tensor) -> Tensor:
    """One call of the network: references (b r c t h w), captions (b r l d)."""
    text = case.input["context"][sample]
    context = adapter.encode(references, text, captions)
    with attached(unet, adapter, context):
        out: Tensor = unet(case.input["x"][sample], case.input["timesteps"][sample], unet.project_text(text))
    return out


def ddim_trace(unet: VideoUNet, adapter: PrismAdapter, case: Stored, *, together: bool = True) -> list[Tensor]:
    """Case F: x after each of 4 steps with eta 1, guidance 12 and the stored noise."""
    reference, caption = case.input["ref_video"][:1, None], case.input["ref_text"][:1, None]
    with_prompt, without = (
        Branch(unet.project_text(text), adapter.encode(reference, text, caption))
        for text in (case.input["context"][:1], case.input["uncond"])
    )
    predict = guided(unet, adapter, with_prompt, without, scale=12.0, dtype=torch.float32, together=together)
    noise, trace = iter(case.input["ddim_noise"]), []

    def watched(x: Tensor, timesteps: Tensor) -> Tensor:
        trace.append(x)
        return predict(x, timesteps)

    final = denoise(watched, build_schedule(), case.input["x"][:1], steps=4, eta=1.0, draw=lambda: next(noise))
    return [*trace[1:], final]
