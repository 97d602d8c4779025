"""A run folder: what the stages of the mini model leave for each other, opened or made on demand.

    world/ test/       rendered clips            code.pt          the linear code of patches
    latents/           clips and retakes through that code
    words/ base/ action/ exact/ sharpen/ retriever/ judge/    one folder a stage
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import nn

from echoreel_cli.train import checkpoint
from echoreel_cli.train.autoencoder import LinearCode, linear_code, new_autoencoder
from echoreel_cli.train.loop import load_average
from echoreel_cli.train.presets import PRESETS, ActionConfig, Network, WorldConfig
from echoreel_cli.train.record import read_record
from echoreel_cli.train.sizes import TEXT_HEADS
from echoreel_cli.train.worldset import WorldSet, build, is_held_out, takes
from echoreel_index.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    import open_clip
    from diffusers import AutoencoderKL
    from numpy.typing import NDArray
    from open_clip.tokenizer import SimpleTokenizer
    from transformers import CLIPTextModel

    from echoreel_cli.adapters.action import ActionAdapter
    from echoreel_cli.backbones.lvdm.unet import VideoUNet
    from echoreel_cli.measure.judge import Judge
    from echoreel_cli.mini.world import Take
    from echoreel_cli.train.latents import LatentSet, Retakes
    from echoreel_cli.train.video import Words

M = TypeVar("M", bound=nn.Module)
Making = Callable[[str, int, int], None]
"""Called while something is made: what, how many are done, of how many."""


class RunFolder:
    """The networks that are returned carry averaged weights and belong to the caller."""

    def __init__(self, folder: Path, *, making: Making | None = None, scale: str = "full") -> None:
        self.folder = folder
        self._making = making or (lambda what, done, total: None)
        self._scale = scale

    def stage(self, preset: str) -> Path:
        """The folder of a stage."""
        return self.folder / PRESETS[preset]("full").folder

    def require(self, preset: str) -> Path:
        """The folder of a stage that must have run; UsageError says how to run it."""
        found = self.stage(preset)
        if not (found / "average.pt").exists():
            scale = "" if self._scale == "full" else f" --scale {self._scale}"
            raise UsageError(f"{self.folder} has no {preset} yet", hint=f"echoreel train {preset} --out {self.folder}{scale}")
        return found

    def network(self, preset: str) -> Network:
        """The shape of what a stage trained, as its own folder says; the preset's where it says nothing."""
        record = read_record(self.stage(preset))
        return record.stage.network if record is not None else PRESETS[preset]("full").network

    def world(self, config: WorldConfig) -> WorldSet:
        """The clips to train on; rendered first if they are not there."""
        return self._rendered("world", config)

    def test(self, config: WorldConfig) -> WorldSet:
        """Clips that nothing is trained on."""
        return self._rendered("test", config)

    def _rendered(self, name: str, config: WorldConfig) -> WorldSet:
        def progress(done: int, total: int) -> None:
            self._making(f"rendering {name}", done, total)

        return build(self.folder / name, seed=config.seed, per_action=config.per_action, wild=config.wild, progress=progress)

    def code(self, world: WorldSet | None = None) -> LinearCode:
        """The linear code of patches; computed from the clips if it is not there. UsageError: neither is."""
        state = checkpoint.load(self.folder / "code.pt")
        if state is None:
            if world is None:
                raise UsageError(f"{self.folder} has no code of pictures yet", hint=f"echoreel train mini-base --out {self.folder}")
            self._making("computing the code", 0, 1)
            code = linear_code(world)
            self.keep_code(code)
            return code
        mean, basis, scale = (state[name] for name in ("mean", "basis", "scale"))
        assert isinstance(mean, torch.Tensor) and isinstance(basis, torch.Tensor) and isinstance(scale, torch.Tensor)
        return LinearCode(mean, basis, scale)

    def keep_code(self, code: LinearCode) -> None:
        """Write the linear code that all clips here are encoded by."""
        checkpoint.save(self.folder / "code.pt", {"mean": code.mean, "basis": code.basis, "scale": code.scale})

    def autoencoder(self, world: WorldSet | None = None, *, sharpened: bool = False) -> AutoencoderKL:
        """The autoencoder that holds the code; `sharpened` puts in the decoder that mini-sharpen trained."""
        found = new_autoencoder(self.code(world)).eval()
        if sharpened:
            load_average(self.require("mini-sharpen"), found)
        return found

    def latents(self, world: WorldSet) -> LatentSet:
        """Latents of the clips that the video model may see; encoded first if they are not there."""
        from echoreel_cli.train.latents import encode_set

        rows = _shown(world)

        def progress(done: int, total: int) -> None:
            self._making("encoding", done, total)

        return encode_set(self.autoencoder(world), world, self.folder / "latents", rows=rows, progress=progress)

    def retakes(self, world: WorldSet, config: WorldConfig, count: int) -> Retakes:
        """Retakes of `count` of these clips, encoded; filmed first if they are not there. UsageError: the clips are not `config`'s."""
        from echoreel_cli.train.latents import film_retakes

        def perform() -> list[Take]:
            performed = [one for _, one in takes(config.seed, per_action=config.per_action, wild=config.wild)]
            return [performed[row] for row in _shown(world) if row < len(performed)]

        def progress(done: int, total: int) -> None:
            self._making("taking again", done, total)

        data, folder = self.latents(world), self.folder / "latents"
        return film_retakes(self.autoencoder(world), data, perform, folder, count=count, progress=progress)

    @property
    def vocabulary(self) -> Path:
        """The byte-pair vocabulary that finding and making share."""
        return self.folder / "words" / "bpe.txt.gz"

    def new_retriever(self) -> tuple[open_clip.CLIP, SimpleTokenizer]:
        """A fresh retriever; writes the vocabulary."""
        from echoreel_cli.train.retriever import new_retriever

        return new_retriever(self.vocabulary)

    def retriever(self, *, trained: bool) -> tuple[open_clip.CLIP, SimpleTokenizer]:
        """The retriever with the words of mini-words, and with the pictures of mini-retriever if `trained`."""
        from echoreel_cli.train.retriever import load_words, untrained

        words = self.require("mini-words")
        model, tokenizer = untrained(self.vocabulary)
        load_words(words, model)
        if trained:
            load_average(self.require("mini-retriever"), model)
            model.eval()  # its batch norms have to stop counting
        return model, tokenizer

    def text_encoder(self) -> CLIPTextModel:
        """The words of mini-words as transformers' text model."""
        from echoreel_cli.train.text_tower import text_model

        return text_model(self.retriever(trained=False)[0], heads=TEXT_HEADS)

    def words(self) -> Words:
        """Captions -> tokens for the video model."""
        from echoreel_cli.train.video import Words

        tokenizer, encoder = self.retriever(trained=False)[1], self.text_encoder()
        return Words(lambda captions: encoder(input_ids=tokenizer(list(captions))).last_hidden_state)

    def base(self) -> VideoUNet:
        """The video model of mini-base."""
        from echoreel_cli.backbones.lvdm.unet import VideoUNet, VideoUNetConfig

        folder, config = self.require("mini-base"), self.network("mini-base")
        assert isinstance(config, VideoUNetConfig)
        return _loaded(folder, VideoUNet(config))

    def new_adapter(self, config: ActionConfig, base: VideoUNet) -> ActionAdapter:
        """A fresh adapter for the video model's sites."""
        from echoreel_cli.adapters.inject import PrismAdapter, PrismAdapterConfig
        from echoreel_cli.adapters.spacetime import SpacetimeAdapter

        shape = config.adapter(base.sites())
        return PrismAdapter(shape) if isinstance(shape, PrismAdapterConfig) else SpacetimeAdapter(shape)

    def adapter(self, base: VideoUNet, preset: str = "mini-action") -> ActionAdapter:
        """The adapter of mini-action or of mini-exact."""
        folder, config = self.require(preset), self.network(preset)
        assert isinstance(config, ActionConfig)
        return _loaded(folder, self.new_adapter(config, base))

    def judge(self) -> Judge:
        """The judge of mini-judge."""
        from echoreel_cli.measure.judge import Judge

        return _loaded(self.require("mini-judge"), Judge())


def _shown(world: WorldSet) -> NDArray[np.int64]:
    """Rows of the clips that the video model may see."""
    return world.where(lambda label: not is_held_out(label))


def _loaded(folder: Path, module: M) -> M:
    load_average(folder, module)
    return module.eval()
