"""Prompt and references -> frames: the one place where text encoder, prism, denoiser and decoder meet.

    reference frames: (t h w c) uint8      result frames: (t h w c) uint8

Guidance has two branches, prompt (c) and negative (u), and a third without references where these have a weight of their
own (see `guidance`). The first two have their own run of the prism each, with the texts [c, r] and [u, r] and the same
reference latents (EchoReel, section on conditioning); r is the reference's caption, or the prompt where a clip has none,
since it was found by it. Both runs, and all keys and values made of them, happen once before the first step, and are
kept for further seeds and prompts.

The public code draws a sample of the autoencoder's posterior for each reference. Here its mode is taken: the
references of a video are then the same whatever the seed, and results of one clip can be kept.

All noise comes from one CPU generator seeded by the request, so a seed means the same on every device.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

import numpy as np

from echoreel_cli.generate.plan import Sampling
from echoreel_cli.generate.references import Shown, to_frames, to_video
from echoreel_index.errors import OutOfMemory, UsageError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from echoreel_cli.adapters.action import ActionAdapter, ActionContext
    from echoreel_cli.backbones.lvdm.model import LVDM
    from echoreel_cli.generate.guidance import Branch
    from echoreel_cli.models.open import Model

Stage = Literal["references", "denoise", "decode"]
Frames = np.ndarray[Any, Any]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Progress:
    """One more piece of a stage is done."""

    stage: Stage
    done: int
    total: int


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """One video."""

    prompt: str
    sampling: Sampling
    references: tuple[Shown, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class GenerationResult:
    """What came out: frames (t h w c) uint8, and the seconds that each stage took."""

    request: GenerationRequest
    frames: Frames
    timings: dict[str, float]


class Kept(Generic[T]):
    """The last few results by key; the oldest goes when there are too many."""

    def __init__(self, limit: int = 64) -> None:
        self._limit = limit
        self._results: OrderedDict[Hashable, T] = OrderedDict()

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        """The result of that key, made if it is not there."""
        if key not in self._results:
            self._results[key] = make()
        self._results.move_to_end(key)
        while len(self._results) > self._limit:
            self._results.popitem(last=False)
        return self._results[key]


def silent(progress: Progress) -> None:
    """Nobody is watching."""


class Pipeline:
    """A loaded model that makes one video after another; what several videos share is computed once."""

    def __init__(self, model: Model, *, device: str | None = None, offload: bool = False) -> None:
        """With `offload` the model's parts wait where they are, and each is on `device` only while it works."""
        self.model = model
        self.device = device or str(model.backbone.device)
        self.offload = offload
        self._texts: Kept[Tensor] = Kept()
        self._latents: Kept[Tensor] = Kept()
        self._contexts: Kept[ActionContext] = Kept()

    def generate(self, request: GenerationRequest, progress: Callable[[Progress], None] = silent) -> GenerationResult:
        """Make one video.

        Raises:
            UsageError: references were given to a model without adapter, or the settings do not fit the schedule.
            OutOfMemory: the device is too small; the hint says what to make smaller.
        """
        import torch

        if request.references and self.model.adapter is None:
            raise UsageError(f"the model {self.model.info.name} takes no references", hint="--k 0 generates without")
        timings: dict[str, float] = {}
        with _memory_watched(), torch.inference_mode(), _repeatable():
            with _timed(timings, "references"):
                branches = self._branches(request, progress)
            with _timed(timings, "denoise"):
                latents = self._denoise(request.sampling, branches, progress)
            with _timed(timings, "decode"), self._here("vae"):
                (frames,) = to_frames(self.model.backbone.decode_video(latents))
            progress(Progress("decode", 1, 1))
        return GenerationResult(request, frames, timings)

    def _branches(self, request: GenerationRequest, progress: Callable[[Progress], None]) -> dict[str, Branch]:
        """The branches of guidance that are needed (prompt, negative, plain): everything that does not depend on the step."""
        import torch

        from echoreel_cli.generate.guidance import Branch, Needed

        sampling = request.sampling
        needed = Needed.of(sampling.guidance, sampling.action_guidance, references=bool(request.references))
        named = {"prompt": request.prompt}
        if needed.negative:
            named["negative"] = sampling.negative
        if needed.plain:
            named["plain"] = sampling.negative
        captions = tuple(shown.reference.caption or request.prompt for shown in request.references)
        words = self._words([*named.values(), *captions])
        latents = [self._latents.get(shown.key, partial(self._latent, shown)) for shown in request.references]
        branches = {}
        with self._here("unet"), self._here("action_adapter"):
            for number, (name, text) in enumerate(named.items(), start=1):
                action = None
                if self.model.adapter is not None and latents and name != "plain":
                    described = torch.cat([words[caption] for caption in captions])
                    encode = partial(_encode, self.model.adapter, latents, words[text], described)
                    action = self._contexts.get((text, captions, tuple(shown.key for shown in request.references)), encode)
                branches[name] = Branch(self.model.backbone.denoiser.project_text(words[text]), action)
                progress(Progress("references", number, len(named)))
        return branches

    def _words(self, texts: list[str]) -> dict[str, Tensor]:
        """Each text's tokens (1 l d)."""
        with self._here("text_encoder"):
            return {text: self._texts.get(text, partial(self.model.backbone.encode_text, [text])) for text in texts}

    def _latent(self, shown: Shown) -> Tensor:
        """The reference's latents (1 c t h w), the posterior's mode."""
        with self._here("vae"):
            return self.model.backbone.encode_video(to_video(shown.frames).to(self.device))

    def _denoise(self, sampling: Sampling, branches: dict[str, Branch], progress: Callable[[Progress], None]) -> Tensor:
        """Noise of the seed -> latents (1 c t h w)."""
        import torch

        from echoreel_cli.generate.guidance import guided
        from echoreel_cli.generate.sampler import sample

        backbone, adapter = self.model.backbone, self.model.adapter
        with self._here("unet"), self._here("action_adapter"):
            predict = guided(
                backbone.denoiser,
                adapter,
                branches["prompt"],
                branches.get("negative"),
                branches.get("plain"),
                scale=sampling.guidance,
                action_scale=sampling.action_guidance,
                dtype=backbone.dtype,
                together=not self.offload,
            )
            return sample(
                predict,
                backbone.scheduler,
                _latent_shape(backbone, sampling),
                generators=[torch.Generator().manual_seed(sampling.seed)],
                steps=sampling.steps,
                eta=sampling.eta,
                device=self.device,
                progress=lambda done, total: progress(Progress("denoise", done, total)),
            )

    @contextmanager
    def _here(self, part: str) -> Iterator[None]:
        """The part is on the device inside the block, and back where it waited afterwards."""
        module = self._part(part) if self.offload else None
        if module is None:
            yield
            return
        home = next(module.parameters()).device
        module.to(self.device)
        try:
            yield
        finally:
            module.to(home)

    def _part(self, part: str) -> nn.Module | None:
        backbone = self.model.backbone
        parts: dict[str, nn.Module | None] = {
            "unet": backbone.denoiser,
            "action_adapter": self.model.adapter,
            "vae": backbone.vae,
            "text_encoder": backbone.text_encoder,
        }
        return parts[part]


def _latent_shape(backbone: LVDM, sampling: Sampling) -> tuple[int, int, int, int]:
    """(c t h w) of the latents of one video."""
    down = backbone.downsampling
    return backbone.denoiser.config.in_channels, sampling.frames, sampling.height // down, sampling.width // down


def _encode(adapter: ActionAdapter, latents: list[Tensor], words: Tensor, described: Tensor) -> ActionContext:
    """r latents (1 c t h w), words (1 l d), captions (r l d) -> what the adapter makes of them."""
    import torch

    return adapter.encode(torch.stack(latents, dim=1), words, described[None])


@contextmanager
def _timed(timings: dict[str, float], stage: str) -> Iterator[None]:
    import torch

    began = time.perf_counter()
    yield
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    timings[stage] = time.perf_counter() - began


@contextmanager
def _repeatable() -> Iterator[None]:
    """The same bytes again on one GPU: fixed convolution algorithms, no search for the quickest."""
    import torch

    cudnn = torch.backends.cudnn
    before = cudnn.benchmark, cudnn.deterministic
    cudnn.benchmark, cudnn.deterministic = False, True
    try:
        yield
    finally:
        cudnn.benchmark, cudnn.deterministic = before


@contextmanager
def _memory_watched() -> Iterator[None]:
    """OutOfMemory in place of what torch raises when a device is full."""
    import torch

    try:
        yield
    except (MemoryError, torch.OutOfMemoryError) as error:
        raise _out_of_memory(error) from error
    except RuntimeError as error:
        if "can't allocate memory" not in str(error):
            raise
        raise _out_of_memory(error) from error


def _out_of_memory(error: BaseException) -> OutOfMemory:
    lines = str(error).strip().splitlines()
    return OutOfMemory(
        f"out of memory: {lines[0] if lines else 'the machine has no more'}",
        hint="try a smaller --size, fewer --frames, --offload model, --dtype bfloat16, or another --device",
    )
