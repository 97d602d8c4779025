"""Training the small retriever: an open_clip model on the rendered world, all actions named, frames pooled as the library pools them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import cast

import numpy as np
import open_clip
import torch
from open_clip.tokenizer import SimpleTokenizer
from safetensors.torch import save_file
from torch import Tensor, nn

from echoreel_cli.mini import vocabulary
from echoreel_cli.mini.actions import action_named
from echoreel_cli.mini.people import SCENES
from echoreel_cli.mini.world import WILD_PHRASES
from echoreel_cli.train import checkpoint
from echoreel_cli.train.sizes import TEXT_HEADS, TEXT_LENGTH, TEXT_WIDTH
from echoreel_cli.train.worldset import Label, WorldSet
from echoreel_index.errors import UsageError


def model_config(tokens: int) -> dict[str, object]:
    """open_clip's configuration of the retriever for a vocabulary of that many tokens."""
    return {
        "embed_dim": 128,
        "vision_cfg": {"image_size": 64, "layers": [1, 1, 2, 1], "width": 24, "head_width": 32},
        "text_cfg": {"context_length": TEXT_LENGTH, "vocab_size": tokens, "width": TEXT_WIDTH, "heads": TEXT_HEADS, "layers": 3},
    }


PREPROCESS = {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5], "interpolation": "bilinear", "resize_mode": "squash"}
"""How frames are prepared, in open_clip's own words."""


def new_retriever(vocabulary_file: Path) -> tuple[open_clip.CLIP, SimpleTokenizer]:
    """A fresh retriever and its tokenizer; the vocabulary is written to `vocabulary_file`."""
    vocabulary_file.parent.mkdir(parents=True, exist_ok=True)
    vocabulary.write(vocabulary_file)
    return untrained(vocabulary_file)


def untrained(vocabulary_file: Path) -> tuple[open_clip.CLIP, SimpleTokenizer]:
    """A fresh retriever for a vocabulary that is there, and its tokenizer."""
    tokenizer = SimpleTokenizer(bpe_path=str(vocabulary_file), context_length=TEXT_LENGTH)
    config = model_config(tokenizer.vocab_size)
    model = open_clip.CLIP(embed_dim=config["embed_dim"], vision_cfg=config["vision_cfg"], text_cfg=config["text_cfg"])
    return model, tokenizer


class WordsTask:
    """First the words alone: the text tower learns to tell what a caption says (action, clothes, place). It is locked afterwards.

    The video model reads this tower, so its training need not wait for the picture tower.
    """

    def __init__(self, data: WorldSet, model: open_clip.CLIP, tokenizer: SimpleTokenizer) -> None:
        said = [_said(label) for label in data.labels]
        self._classes = [tuple(dict.fromkeys(column)) for column in zip(*said, strict=True)]
        index = [{name: i for i, name in enumerate(names)} for names in self._classes]
        self._targets = torch.tensor([[table[name] for table, name in zip(index, row, strict=True)] for row in said])
        self._tokens = tokenizer([label.caption for label in data.labels])
        heads = nn.ModuleList(nn.Linear(TEXT_WIDTH, len(names)) for names in self._classes)
        self.network: nn.Module = nn.ModuleDict({"model": model, "heads": heads})

    def loss(self, network: nn.Module, batch: int, generator: torch.Generator) -> tuple[Tensor, Mapping[str, float]]:
        """Cross entropy of everything that the captions of `batch` clips say."""
        inner = cast(nn.ModuleDict, getattr(network, "module", network))
        rows = torch.randint(len(self._tokens), (batch,), generator=generator)
        device = next(network.parameters()).device
        vectors = cast(open_clip.CLIP, inner["model"]).encode_text(self._tokens[rows].to(device))
        targets = self._targets[rows].to(device)
        heads = cast(nn.ModuleList, inner["heads"])
        losses = [nn.functional.cross_entropy(head(vectors).float(), targets[:, i]) for i, head in enumerate(heads)]
        return torch.stack(losses).sum(), {f"part{i}": float(one.detach()) for i, one in enumerate(losses)}


def _said(label: Label) -> tuple[str, ...]:
    """What a caption itself says: action, shirt, trousers, hat, place; empty where it is silent."""
    words = label.caption.split()
    before = {name: words[words.index(name) - 1] if name in words else "" for name in ("shirt", "trousers", "hat")}
    place = next((scene.name for scene in SCENES if scene.phrase in label.caption), "")
    return (label.action or "", before["shirt"], before["trousers"], before["hat"], place)


def _action_alone(label: Label) -> str:
    """The shortest sentence that says the action of a clip."""
    phrases = action_named(label.action).phrases if label.action is not None else WILD_PHRASES
    return "a person " + next(phrase for phrase in sorted(phrases, key=len, reverse=True) if phrase in label.caption)


def lock_words(model: open_clip.CLIP) -> None:
    """Freeze the text tower; its last projection still learns to meet the pictures."""
    for part in (model.token_embedding, model.transformer, model.ln_final):
        part.requires_grad_(False)
    model.positional_embedding.requires_grad_(False)


def load_words(folder: Path, model: open_clip.CLIP) -> int:
    """Put the text tower that `WordsTask` left in a run's folder into a retriever; returns the step. UsageError if there is none."""
    state = checkpoint.load(folder / "average.pt")
    if state is None:
        raise UsageError(f"there are no trained words in {folder}", hint="train them first")
    found = {**cast(dict[str, Tensor], state["buffers"]), **cast(dict[str, Tensor], state["average"])}
    words = {name.removeprefix("model."): value for name, value in found.items() if name.startswith("model.")}
    trained = dict(model.named_parameters())
    with torch.no_grad():
        for name, value in words.items():
            if name in trained:
                trained[name].copy_(value)
    return cast(int, state["step"])


class RetrieverTask:
    """The CLIP loss between sentences and the mean of a clip's frame vectors.

    In most batches the sentence says the action alone, as a search does, and clips of one action count as one answer; otherwise
    it is the whole caption with clothes and place.
    """

    def __init__(self, data: WorldSet, model: open_clip.CLIP, tokenizer: SimpleTokenizer, *, frames: int = 4) -> None:
        self.network: nn.Module = model
        self._frames, self._labels, self._count = data.frames, data.labels, frames
        self._rows = data.where(lambda label: label.action is not None)
        self._tokens = tokenizer([label.caption for label in data.labels])
        self._short = tokenizer([_action_alone(label) for label in data.labels])

    def loss(self, network: nn.Module, batch: int, generator: torch.Generator) -> tuple[Tensor, Mapping[str, float]]:
        """The loss on `batch` clips of `frames` frames each."""
        rows = self._rows[torch.randint(len(self._rows), (batch,), generator=generator).numpy()]
        device = next(network.parameters()).device
        start = int(torch.randint(2, (1,), generator=generator))
        clips = np.stack([self._frames[row][start::2][: self._count] for row in rows])
        images = torch.from_numpy(clips).to(device).flatten(0, 1).permute(0, 3, 1, 2).float() / 127.5 - 1
        inner = cast(open_clip.CLIP, getattr(network, "module", network))
        vision = nn.functional.normalize(inner.encode_image(images, normalize=True).float().unflatten(0, (batch, -1)).mean(1), dim=-1)
        short = float(torch.rand((), generator=generator)) < 0.85
        tokens = (self._short if short else self._tokens)[torch.from_numpy(rows)].to(device)
        logits = inner.logit_scale.exp().clamp(max=50) * vision @ inner.encode_text(tokens, normalize=True).float().T
        names = [self._labels[row].action for row in rows]
        answers = torch.tensor([[a == b if short else i == j for j, b in enumerate(names)] for i, a in enumerate(names)], device=device)
        target = answers.float() / answers.sum(1, keepdim=True)
        loss = (nn.functional.cross_entropy(logits, target) + nn.functional.cross_entropy(logits.T, target)) / 2
        found = logits.argmax(-1).tolist()
        same = float(np.mean([names[i] == names[j] for i, j in enumerate(found)]))
        return loss, {"same_action": same}


def export(model: open_clip.CLIP, vocabulary_file: Path, folder: Path) -> None:
    """Write the retriever in open_clip's own folder format, with its vocabulary beside it; weights in half precision."""
    folder.mkdir(parents=True, exist_ok=True)
    tokens = int(model.token_embedding.weight.shape[0])
    config = {"model_cfg": model_config(tokens), "preprocess_cfg": PREPROCESS}
    (folder / "open_clip_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    state = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    halved = {name: value.half() if value.is_floating_point() else value for name, value in state.items()}
    save_file(halved, folder / "open_clip_model.safetensors")
    (folder / "bpe.txt.gz").write_bytes(vocabulary_file.read_bytes())
