"""The presets of `echoreel train`: each is a function that returns the whole configuration of one stage of the mini model.

    mini-words -> mini-base -> mini-action -> mini-sharpen      the video model
             |            \\-> mini-exact                        the paper's own injection, to compare with
             \\-> mini-retriever                                 finds clips by words
    mini-judge                                                  measures what was made

Two scales: `full` is what is bundled; `tiny` goes through everything in seconds and is good for nothing but seeing that it runs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from echoreel_cli.adapters.inject import PrismAdapterConfig
from echoreel_cli.adapters.spacetime import SpacetimeAdapterConfig
from echoreel_cli.backbones.base import Site
from echoreel_cli.backbones.lvdm.config import VideoUNetConfig
from echoreel_cli.mini.world import FPS, FRAMES, SIZE
from echoreel_cli.models.folder import Defaults, ReferenceShape
from echoreel_cli.prism.action import PrismConfig
from echoreel_cli.prism.patches import PatchPrismConfig
from echoreel_cli.train.loop import LoopConfig
from echoreel_cli.train.sizes import LATENTS, PATCH, TEXT_WIDTH
from echoreel_index.errors import UsageError

Scale = Literal["full", "tiny"]
SCALES: tuple[Scale, ...] = ("full", "tiny")

MODEL_NAME = "echoreel-mini"
DEFAULTS = Defaults(frames=FRAMES, height=SIZE, width=SIZE, fps=FPS, steps=25, guidance=3.0, eta=0.0, action_guidance=3.0)
"""What `gen` uses with the mini model where the user says nothing."""
REFERENCE = ReferenceShape(frames=FRAMES, fps=FPS)
SCORE_FLOOR = 0.5
"""Cosine of the mini encoder under which a clip is no match: in a drawn library of 80 files five sentences about other things found nothing
above 0.46, while clips of a backflip or a cartwheel scored 0.55 or more when asked for."""


@dataclass(frozen=True, slots=True)
class WorldConfig:
    """How many clips are rendered, and from which seed."""

    seed: int
    per_action: int
    """Clips of each named action, held-out ones too; who may see which is each task's business."""
    wild: int
    """Motions without a name, three clips each."""


@dataclass(frozen=True, slots=True)
class ActionConfig:
    """The shape of the adapter, and how many references it meets."""

    prism: PatchPrismConfig | PrismConfig
    """Which prism also decides the form of the injection."""
    heads: int
    head_width: int
    """Of the spacetime form's attentions; the paper's form has those of the backbone."""
    most: int = 3
    """References of one sample, at most."""
    mirror: bool = True
    """Turn references to face as the target does, mostly; see `Pairs`."""
    retakes: int = 9600
    """Clips that are taken again by another person in another place; see `Pairs`. 0: none."""

    def adapter(self, sites: Sequence[Site]) -> SpacetimeAdapterConfig | PrismAdapterConfig:
        """The adapter's own configuration for a backbone with these sites."""
        if isinstance(self.prism, PrismConfig):
            return PrismAdapterConfig.for_sites(sites, self.prism, temporal_length=self.prism.temporal_length)
        return SpacetimeAdapterConfig.for_sites(sites, self.prism, heads=self.heads, head_width=self.head_width)


Network = VideoUNetConfig | ActionConfig | None
"""What the stage trains; None where the shape is fixed in its module."""


@dataclass(frozen=True, slots=True)
class Stage:
    """Everything about one stage but the machine it runs on."""

    name: str
    about: str
    """One line for `echoreel train --list`."""
    folder: str
    """Its place in the run folder."""
    needs: tuple[str, ...]
    """The stages that must have run before."""
    loop: LoopConfig
    world: WorldConfig
    test: WorldConfig
    """Clips that nothing is trained on."""
    network: Network = None
    scale: Scale = field(default="full", kw_only=True)

    def with_loop(
        self,
        *,
        steps: int | None = None,
        batch: int | None = None,
        learning_rate: float | None = None,
        seed: int | None = None,
        max_minutes: float | None = None,
        compile: bool | None = None,
        precision: str | None = None,
    ) -> Stage:
        """The stage with other settings of the loop where they are given."""
        own = self.loop
        loop = replace(
            own,
            steps=own.steps if steps is None else steps,
            batch=own.batch if batch is None else batch,
            learning_rate=own.learning_rate if learning_rate is None else learning_rate,
            seed=own.seed if seed is None else seed,
            max_minutes=own.max_minutes if max_minutes is None else max_minutes,
            compile=own.compile if compile is None else compile,
            mixed_precision=own.mixed_precision if precision is None else precision,
        )
        return replace(self, loop=loop)


_LATENT_LOOP = LoopConfig(steps=2150, batch=24, optimizer="muon", warmup=100, weight_decay=0.02, ema=0.998, betas=(0.9, 0.98))
"""What the networks of latents have in common."""
_ACTION_LOOP = replace(_LATENT_LOOP, learning_rate=4e-3, save_every=250)
"""How both forms of the adapter are trained."""


def mini_words(scale: Scale = "full") -> Stage:
    """The text tower alone learns to tell what a caption says; finding and making share it, so it is locked afterwards."""
    loop = LoopConfig(steps=1200, batch=128, learning_rate=1e-3, warmup=50, ema=0.99, log_every=50)
    return _stage("mini-words", "text tower of the retriever and of the video model", "words", (), loop, None, scale)


def mini_base(scale: Scale = "full") -> Stage:
    """Words -> video, on seen actions and unnamed motions."""
    loop = replace(_LATENT_LOOP, steps=4300, learning_rate=8e-3, log_every=100)
    unet = VideoUNetConfig(
        in_channels=LATENTS,
        out_channels=LATENTS,
        model_channels=64 if scale == "full" else 32,
        channel_mult=(1, 2),
        num_res_blocks=1,
        attention_resolutions=(1, 2),
        num_heads=2,
        context_dim=TEXT_WIDTH,
        temporal_length=FRAMES,
    )
    return _stage("mini-base", "the video model, frozen afterwards", "base", ("mini-words",), loop, unet, scale)


def mini_action(scale: Scale = "full") -> Stage:
    """The prism and its injection on pairs of one motion, the base frozen."""
    prism = PatchPrismConfig(channels=LATENTS, temporal_length=FRAMES, grid=SIZE // PATCH // 2)
    config = ActionConfig(prism, heads=4, head_width=40)
    if scale == "tiny":
        config = ActionConfig(replace(prism, width=32, layers=1, heads=2), heads=2, head_width=16, retakes=12)
    needs = ("mini-words", "mini-base")
    return _stage("mini-action", "Action Prism and injection: references -> motion", "action", needs, _ACTION_LOOP, config, scale)


def mini_exact(scale: Scale = "full") -> Stage:
    """The same pairs for the paper's own form: one token a frame, the same for all positions. It is measured, not bundled."""
    positions = (SIZE // PATCH) ** 2
    prism = PrismConfig(LATENTS, positions, 128, TEXT_WIDTH, 128, layers=3, heads=4, head_width=32, temporal_length=FRAMES)
    config = ActionConfig(prism, heads=4, head_width=32)
    if scale == "tiny":
        prism = replace(prism, width=32, words_width=32, layers=1, heads=2, head_width=16)
        config = ActionConfig(prism, heads=2, head_width=16, retakes=12)
    needs = ("mini-words", "mini-base")
    return _stage("mini-exact", "the paper's injection at this size, to compare with", "exact", needs, _ACTION_LOOP, config, scale)


def mini_sharpen(scale: Scale = "full") -> Stage:
    """The decoder learns to paint the edges that the linear code blurs."""
    loop = LoopConfig(steps=420, batch=64, learning_rate=5e-4, warmup=50, ema=0.99, betas=(0.9, 0.98))
    return _stage("mini-sharpen", "decoder of the autoencoder", "sharpen", (), loop, None, scale)


def mini_retriever(scale: Scale = "full") -> Stage:
    """The picture tower learns to meet the locked words, all actions named."""
    loop = LoopConfig(steps=900, batch=64, learning_rate=2e-3, warmup=100, weight_decay=0.05, ema=0.995, betas=(0.9, 0.98), save_every=100)
    return _stage("mini-retriever", "open_clip model that finds clips by words", "retriever", ("mini-words",), loop, None, scale)


def mini_judge(scale: Scale = "full") -> Stage:
    """Which action, in which colours: trained on rendered clips only, all actions."""
    loop = LoopConfig(steps=1250, batch=64, learning_rate=1.5e-3, warmup=100, ema=0.995, log_every=25, save_every=200)
    return _stage("mini-judge", "classifier that measures what was made", "judge", (), loop, None, scale)


PRESETS: Mapping[str, Callable[[Scale], Stage]] = {
    "mini-words": mini_words,
    "mini-base": mini_base,
    "mini-action": mini_action,
    "mini-exact": mini_exact,
    "mini-sharpen": mini_sharpen,
    "mini-retriever": mini_retriever,
    "mini-judge": mini_judge,
}
"""In an order in which they can be run."""


def preset(name: str, scale: Scale = "full") -> Stage:
    """The stage of that name; UsageError names what there is."""
    if name not in PRESETS:
        raise UsageError(f"there is no preset {name!r}", hint=f"presets are {', '.join(PRESETS)}; see echoreel train --list")
    return PRESETS[name](scale)


def _stage(name: str, about: str, folder: str, needs: tuple[str, ...], loop: LoopConfig, network: Network, scale: Scale) -> Stage:
    world, test = WorldConfig(1, 300, 3500), WorldConfig(999, 24, 0)
    if scale == "tiny":
        world, test = WorldConfig(1, 2, 6), WorldConfig(999, 1, 0)
        loop = replace(loop, steps=4, batch=4, warmup=2, log_every=2, save_every=2, compile=False)
    return Stage(name, about, folder, needs, loop, world, test, network, scale=scale)
