"""What references cost: the published way of computing against ours, at the published width.

    python -m benchmarks.reference_cost                                        arithmetic, counted without memory (seconds)
    python -m benchmarks.reference_cost --run --layers 2 --frames 4 --latents 8     both ways for real, outputs compared

The published way computes everything in every call: the prism with its text tiled over frames and both of its heads, keys and values of
its tokens for each of the h * w positions, keys and values of the prompt for each frame. It is written out below on the same weights.
Ours computes prism, tokens and text once for each branch of guidance. JSON on stdout, a table on stderr.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from echoreel_cli.adapters.action import ActionContext, Size, attached
from echoreel_cli.adapters.inject import InjectedAttention, PrismAdapter, PrismAdapterConfig
from echoreel_cli.attention import TextAttention
from echoreel_cli.backbones.base import TextContext
from echoreel_cli.backbones.lvdm.unet import VideoUNet, VideoUNetConfig
from echoreel_cli.prism.action import AffineHead, PrismConfig, PrismLayer

WORDS = 77


class Inputs:
    """One sample: noisy latents, timestep, prompt, reference latents and caption."""

    def __init__(self, unet: VideoUNet, adapter: PrismAdapter, *, frames: int, latents: int, reference_frames: int, device: str) -> None:
        generator = torch.Generator().manual_seed(0)

        def draw(*shape: int) -> Tensor:
            return torch.empty(shape, device="meta") if device == "meta" else torch.randn(shape, generator=generator).to(device)

        side = int(adapter.config.prism.positions**0.5)
        self.x = draw(1, unet.config.in_channels, frames, latents, latents)
        self.timesteps = torch.full((1,), 981, device=device)
        self.text = draw(1, WORDS, unet.config.context_dim)
        self.reference = draw(1, 1, adapter.config.prism.channels, reference_frames, side, side)
        self.caption = draw(1, 1, WORDS, unet.config.context_dim)


# ---- the published way -------------------------------------------------------------------------------------------------------------


def published_prism(adapter: PrismAdapter, unused_head: AffineHead, inputs: Inputs) -> Tensor:
    """Tokens (1 t c): text tiled over the frames, three maps a head, and a second head whose output nobody reads."""
    prism = adapter.prism
    x = prism.video_in(inputs.reference[:, 0].flatten(3).permute(0, 2, 3, 1))
    words = prism.words_in(torch.cat([inputs.text, inputs.caption[:, 0]], dim=1))
    tiled = words.repeat_interleave(x.shape[1], dim=0)
    for module in prism.layers:
        layer = cast(PrismLayer, module)
        with _text_for_each_frame(layer.text, tiled):
            x = layer(x, words)
    tokens: Tensor = x
    unread: Tensor = x
    for first, second in zip(prism.head, unused_head, strict=True):
        tokens, unread = first(tokens), second(unread)
    return tokens.flatten(2)


def published_injection(attention: InjectedAttention, x: Tensor, tokens: Tensor) -> Tensor:
    """Keys and values for each position from tokens that are tiled to all of them; x (1 t n d), tokens (1 s c)."""
    tiled = tokens.expand(x.shape[2], -1, -1).contiguous()
    q = attention.split(attention.to_q(attention.norm(x)))[0].permute(1, 2, 0, 3) * attention.scale  # (n a t e)
    k, v = (attention.split(project(tiled)).transpose(1, 2) for project in (attention.to_k, attention.to_v))
    weights = (q @ k.transpose(-1, -2) + attention.positions.logits(q, k.shape[2])).softmax(dim=-1)
    out = weights @ v + attention.positions.values(weights)
    result: Tensor = attention.to_out(out.permute(2, 0, 1, 3).flatten(2))[None]
    return result


def published_call(unet: VideoUNet, adapter: PrismAdapter, unused_head: AffineHead, inputs: Inputs) -> Tensor:
    """One call of the network with everything in it, as in every step and branch of the published sampler."""
    tokens = published_prism(adapter, unused_head, inputs)

    def hook(index: int) -> Callable[[nn.Module, tuple[Tensor, Size], Tensor], Tensor]:
        attention = cast(InjectedAttention, adapter.injections[index])
        return lambda module, arguments, output: output + published_injection(attention, output, tokens)

    tiled = inputs.text.repeat_interleave(inputs.x.shape[2], dim=0)
    with ExitStack() as stack:
        for index, transformer in enumerate(unet.transformers()):
            stack.enter_context(_text_for_each_frame(transformer.block.text, tiled))
            stack.callback(unet.site_module(f"temporal.{index}").register_forward_hook(hook(index)).remove)
        nothing = TextContext(((tiled, tiled),) * len(unet.sites()))
        out: Tensor = unet(inputs.x, inputs.timesteps, nothing)
    return out


@contextmanager
def _text_for_each_frame(attention: TextAttention, tiled: Tensor) -> Iterator[None]:
    """Keys and values of the text are projected anew for each frame; `tiled` is (t l c)."""

    def spread(module: nn.Module, arguments: tuple[Tensor, Any]) -> tuple[Tensor, Any]:
        return arguments[0].transpose(0, 1), tuple(attention.split(f(tiled)).transpose(1, 2) for f in (attention.to_k, attention.to_v))

    def gather(module: nn.Module, arguments: object, output: Tensor) -> Tensor:
        return output.transpose(0, 1)

    # the prism projects its words itself before this attention is called; for the count that must not happen twice
    kept, attention.project_text = attention.project_text, lambda text: (text, text)  # type: ignore[method-assign]
    before, after = attention.register_forward_pre_hook(spread), attention.register_forward_hook(gather)
    try:
        yield
    finally:
        before.remove()
        after.remove()
        attention.project_text = kept  # type: ignore[method-assign]


# ---- our way ------------------------------------------------------------------------------------------------------------------------


def prepare(unet: VideoUNet, adapter: PrismAdapter, inputs: Inputs) -> tuple[TextContext, ActionContext]:
    """Everything that no step changes, once for each branch."""
    return unet.project_text(inputs.text), adapter.encode(inputs.reference, inputs.text, inputs.caption)


def our_call(unet: VideoUNet, adapter: PrismAdapter, inputs: Inputs, words: TextContext, action: ActionContext | None) -> Tensor:
    """One call in the loop; without an action context the plain backbone."""
    with attached(unet, adapter, action):
        out: Tensor = unet(inputs.x, inputs.timesteps, words)
    return out


# ---- measuring ----------------------------------------------------------------------------------------------------------------------


def flops(function: Callable[[], object]) -> int:
    """Floating-point operations of a call, a multiplication and its addition counted as two."""
    counter = FlopCounterMode(display=False)
    with counter:
        function()
    return int(counter.get_total_flops())


def seconds(function: Callable[[], Tensor]) -> tuple[Tensor, float]:
    """A call's result and its time."""
    began = time.perf_counter()
    out = function()
    if out.is_cuda:
        torch.cuda.synchronize()
    return out, time.perf_counter() - began


def build(device: str, layers: int) -> tuple[VideoUNet, PrismAdapter, AffineHead]:
    """The published network, with weights drawn from a seed (zero-initialised ones too, so that every part acts)."""
    torch.manual_seed(0)
    with torch.device(device):
        unet = VideoUNet(VideoUNetConfig())
        adapter = PrismAdapter(replace(PrismAdapterConfig(), prism=PrismConfig(layers=layers)))
        unused = AffineHead(adapter.config.prism.width, adapter.config.prism.channels)
    for module in (unet, adapter, unused):
        module.eval().requires_grad_(False)
        if device != "meta":
            for parameter in module.parameters():
                if not parameter.any():
                    parameter.normal_(std=0.02)
    return unet, adapter, unused


def count(options: argparse.Namespace) -> dict[str, Any]:
    """Arithmetic of both ways, for one call and for a whole video."""
    unet, adapter, unused = build("meta", options.layers)
    inputs = _inputs(unet, adapter, options, "meta")
    words, action = prepare(unet, adapter, inputs)
    calls, branches = options.steps * options.branches, options.branches
    one = {
        "published_call": flops(lambda: published_call(unet, adapter, unused, inputs)),
        "our_call": flops(lambda: our_call(unet, adapter, inputs, words, action)),
        "our_preparation": flops(lambda: prepare(unet, adapter, inputs)),
        "plain_call": flops(lambda: our_call(unet, adapter, inputs, words, None)),
        "plain_preparation": flops(lambda: unet.project_text(inputs.text)),
    }
    another = one["our_preparation"] - one["plain_preparation"]
    video = {
        "published": calls * one["published_call"],
        "ours": calls * one["our_call"] + branches * one["our_preparation"],
        "plain_backbone": calls * one["plain_call"] + branches * one["plain_preparation"],
        "ours_each_further_reference": branches * another,
    }
    ratios = {
        "published_to_ours": video["published"] / video["ours"],
        "ours_to_plain_backbone": video["ours"] / video["plain_backbone"],
        "published_to_plain_backbone": video["published"] / video["plain_backbone"],
    }
    return {
        "gflop_one_call": {name: value / 1e9 for name, value in one.items()},
        "tflop_video": {name: value / 1e12 for name, value in video.items()},
        "ratios": ratios,
    }


@torch.inference_mode()
def run(options: argparse.Namespace) -> dict[str, Any]:
    """Both ways for real, side by side on the same weights and inputs."""
    unet, adapter, unused = build(options.device, options.layers)
    inputs = _inputs(unet, adapter, options, options.device)
    theirs, published_seconds = seconds(lambda: published_call(unet, adapter, unused, inputs))
    began = time.perf_counter()
    words, action = prepare(unet, adapter, inputs)
    preparation_seconds = time.perf_counter() - began
    ours, call_seconds = seconds(lambda: our_call(unet, adapter, inputs, words, action))
    plain, plain_seconds = seconds(lambda: our_call(unet, adapter, inputs, words, None))
    calls, branches = options.steps * options.branches, options.branches
    video = {
        "published": calls * published_seconds,
        "ours": calls * call_seconds + branches * preparation_seconds,
        "plain_backbone": calls * plain_seconds,
    }
    return {
        "device": options.device,
        "threads": torch.get_num_threads(),
        "seconds": {
            "published_call": published_seconds,
            "our_preparation": preparation_seconds,
            "our_call": call_seconds,
            "plain_call": plain_seconds,
        },
        "seconds_video_extrapolated": video,
        "published_to_ours": video["published"] / video["ours"],
        "largest_difference": float((theirs - ours).abs().max()),
        "largest_output": float(theirs.abs().max()),
        "effect_of_reference": float((ours - plain).abs().max()),
    }


def _inputs(unet: VideoUNet, adapter: PrismAdapter, options: argparse.Namespace, device: str) -> Inputs:
    frames, latents = options.frames, options.latents
    return Inputs(unet, adapter, frames=frames, latents=latents, reference_frames=options.reference_frames or frames, device=device)


def _table(report: dict[str, Any]) -> Iterator[str]:
    for title in ("gflop_one_call", "tflop_video", "ratios"):
        yield from (f"{title.replace('_', ' '):<16}  {name.replace('_', ' '):<30} {value:>12,.3f}" for name, value in report[title].items())
    if "run" in report:
        yield from (f"{'run':<16}  {name.replace('_', ' '):<30} {value!s:>12}" for name, value in report["run"].items())


def main() -> None:
    """Count, run if asked, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--branches", type=int, default=2, help="2 with classifier-free guidance, 1 without")
    parser.add_argument("--layers", type=int, default=18, help="layers of the prism")
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--reference-frames", type=int, default=None, help="as many as --frames if not given")
    parser.add_argument("--latents", type=int, default=32, help="height and width of the target's latents")
    parser.add_argument("--run", action="store_true", help="also run both ways (6.3 GB of weights) and compare their outputs")
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    settings = {key: value for key, value in vars(options).items() if key not in ("run", "device")}
    report: dict[str, Any] = {"schema": "echoreel.reference-cost/1", "torch": torch.__version__, "settings": settings, **count(options)}
    if options.run:
        report["run"] = run(options)
    print(json.dumps(report, indent=2))
    print("\n".join(_table(report)), file=sys.stderr)


if __name__ == "__main__":
    main()
