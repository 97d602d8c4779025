"""Encoders: frames or text -> unit vectors in one space.

    frames: (n h w c) uint8 RGB, any size
    texts:  n strings
    out:    (n d) float32, each row of length 1

`open_encoder` understands every open_clip name (`ViT-B-32`, `ViT-B-32/openai`), `hf-hub:ORG/REPO`, and a local folder in
open_clip's own form: `open_clip_config.json` beside `open_clip_model.safetensors`, and `bpe.txt.gz` for a vocabulary that
is not CLIP's.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from echoreel_index.errors import UsageError, WeightsError
from echoreel_index.fetch import CONFIG_NAME, load_model
from echoreel_index.nouns import EncoderCard

if TYPE_CHECKING:
    import torch

DEFAULT_ENCODER = "PE-Core-B-16"
SAMPLES = 1024
"""Values of each tensor that go into a fingerprint."""


class Encoder(Protocol):
    """What the library needs of an encoder."""

    @property
    def card(self) -> EncoderCard:
        """Who it is."""
        ...

    @property
    def frame_size(self) -> int:
        """Short side, in pixels, of the frames that it wants; larger ones only cost time."""
        ...

    @property
    def logit_scale(self) -> float:
        """What it learnt to multiply cosines by before comparing texts by softmax; about 100 for CLIP."""
        ...

    def embed_frames(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(n h w c) -> (n d), unit rows."""
        ...

    def embed_texts(self, texts: list[str]) -> NDArray[np.float32]:
        """n texts -> (n d), unit rows."""
        ...


class OpenClipEncoder:
    """Any model that open_clip can build."""

    def __init__(
        self, model: Any, tokenizer: Any, name: str, *, device: str, dtype: Literal["float32", "bfloat16"], batch: int | None = None
    ) -> None:
        """`model` holds float32 weights; it is moved to `device` and cast to `dtype` here.

        `batch`: frames embedded at once; by default what fits a processor's cache, or keeps a GPU busy.
        """
        import torch

        from echoreel_index.preprocess import Preprocessing

        self._torch = torch
        config = _preprocess_config(model)
        self._prepare = Preprocessing.of(config)
        # Not requires_grad_(False): torch multiplies such weights one sentence after the other, twenty times slower in bfloat16.
        self._model = model.to(device=device).eval()
        self._tokenizer, self._device = tokenizer, device
        self._batch = batch or (16 if device == "cpu" else 64)
        self._logit_scale = float(model.logit_scale.detach().exp())
        self._dtype = torch.bfloat16 if dtype == "bfloat16" else torch.float32
        prints = fingerprint(model.state_dict(), config)
        self._model.to(self._dtype)
        self._card = EncoderCard(name=name, width=self.embed_texts([""]).shape[1], fingerprint=prints)

    @property
    def card(self) -> EncoderCard:
        return self._card

    @property
    def frame_size(self) -> int:
        return max(self._prepare.height, self._prepare.width)

    @property
    def logit_scale(self) -> float:
        return self._logit_scale

    def embed_frames(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(n h w c) uint8 -> (n d) float32, unit rows; `batch` frames at a time."""
        if frames.ndim != 4 or frames.shape[3] != 3 or frames.dtype != np.uint8:
            raise ValueError(f"frames must be (n h w 3) uint8, got {frames.shape = } {frames.dtype = }")
        parts = []
        with self._torch.inference_mode():
            for first in range(0, len(frames), self._batch):
                pixels = self._prepare(frames[first : first + self._batch], self._device).to(self._dtype)
                parts.append(_unit(self._model.encode_image(pixels)))
        return np.concatenate(parts) if parts else np.zeros((0, self.card.width), np.float32)

    def embed_texts(self, texts: list[str]) -> NDArray[np.float32]:
        """n texts -> (n d) float32, unit rows; what is longer than the context is cut off."""
        with self._torch.inference_mode():
            return _unit(self._model.encode_text(self._tokenizer(texts).to(self._device)))


def open_encoder(
    name: str, *, device: str = "cpu", dtype: Literal["float32", "bfloat16"] = "float32", called: str | None = None
) -> Encoder:
    """The encoder of that name; `called` is the name that goes on its card, where that differs (`mini` for a folder).

    Raises WeightsError when its weights are not here and cannot be fetched, UsageError when nobody knows the name.
    """
    spec, tag = _resolved(name)
    try:
        model, tokenizer = load_model(spec, tag)
    except Exception as error:  # open_clip and the hub raise a dozen kinds for one thing: there are no usable weights
        raise _no_weights(name, spec, error) from error
    return OpenClipEncoder(model, tokenizer, called or canonical_name(name), device=device, dtype=dtype)


def canonical_name(name: str) -> str:
    """One spelling for one encoder: absolute folders, no tag where it is the usual one. Does not import open_clip."""
    if name.startswith("hf-hub:"):
        return name
    folder = Path(name.removeprefix("local-dir:")).expanduser()
    if folder.is_dir():
        return os.path.abspath(folder)
    return name


def _resolved(name: str) -> tuple[str, str | None]:
    """The (model, pretrained) that open_clip takes for our `name`."""
    if name.startswith("hf-hub:"):
        return name, None
    folder = Path(name.removeprefix("local-dir:")).expanduser()
    if folder.is_dir():
        if not (folder / CONFIG_NAME).is_file():
            raise WeightsError(f"{folder} holds no {CONFIG_NAME}", hint="an encoder folder holds it beside open_clip_model.safetensors")
        return f"local-dir:{folder}", None
    import open_clip

    model, _, tag = name.partition("/")
    if model not in open_clip.list_models():
        raise UsageError(f"no encoder is called {name!r}", hint=_nearest(model, open_clip.list_models()))
    tags = open_clip.list_pretrained_tags_by_model(model)
    if tag and tag not in tags:
        raise UsageError(f"{model} has no weights called {tag!r}", hint=f"it has: {', '.join(tags) or 'none'}")
    if not tags:
        raise UsageError(f"nobody has published weights for {model}", hint="choose another encoder")
    return model, tag or tags[0]


def _nearest(model: str, known: Sequence[str]) -> str:
    import difflib

    near = difflib.get_close_matches(model, known, n=3, cutoff=0.4)
    return f"did you mean {', '.join(near)}?" if near else "use an open_clip model, hf-hub:ORG/REPO, a folder, or mini"


def _no_weights(name: str, spec: str, error: Exception) -> WeightsError:
    if spec.startswith("local-dir:"):
        return WeightsError(
            f"the encoder in {spec.removeprefix('local-dir:')} cannot be loaded: {_one_line(error)}",
            hint="the folder needs open_clip_config.json and the open_clip_model.safetensors that belongs to it",
        )
    return WeightsError(
        f"the weights of encoder {name} are not on this machine and could not be fetched: {_one_line(error)}",
        hint="connect to the network once, or copy a Hugging Face cache here and set HF_HOME, "
        "or name a folder of weights with --encoder FOLDER, or take the bundled one with --encoder mini",
    )


def _one_line(error: Exception) -> str:
    """The innermost reason in one sentence."""
    words = " ".join(str(error).split()).split("Last error: ")[-1].split(". ")[0]
    return (words or type(error).__name__)[:200]


def _preprocess_config(model: Any) -> dict[str, Any]:
    from open_clip.transform import PreprocessCfg

    config: dict[str, Any] = {**PreprocessCfg().__dict__, **model.visual.preprocess_cfg}
    return config


def _unit(vectors: torch.Tensor) -> NDArray[np.float32]:
    rows: NDArray[np.float32] = vectors.float().cpu().numpy()
    return unit(rows)


def unit(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Each row divided by its length; a row of zeros stays."""
    lengths = np.linalg.norm(rows, axis=-1, keepdims=True)
    return np.ascontiguousarray(rows / np.maximum(lengths, 1e-12), dtype=np.float32)


def fingerprint(weights: dict[str, torch.Tensor], preprocessing: dict[str, Any]) -> str:
    """SHA-256 over the preprocessing and over name, shape and evenly spaced values of every tensor.

    Not all values: a search must not wait until gigabytes are hashed, and training changes every tensor everywhere.
    """
    digest = hashlib.sha256(json.dumps(preprocessing, sort_keys=True, default=list).encode())
    for name in sorted(weights):
        flat = weights[name].detach().reshape(-1)
        chosen = flat[:: max(1, flat.numel() // SAMPLES)].cpu().float().numpy()
        digest.update(f"{name}{tuple(weights[name].shape)}".encode() + chosen.astype("<f4").tobytes())
    return digest.hexdigest()
