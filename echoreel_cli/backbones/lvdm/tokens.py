"""Words -> CLIP's token ids, always `length` of them: start, words, end, then filled up."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

if TYPE_CHECKING:
    from open_clip.tokenizer import SimpleTokenizer


class ClipTokenizer:
    """CLIP's byte-pair encoding. The public text encoders were trained with the end token as filling: it matters, they use no mask."""

    def __init__(self, length: int = 77, pad: Literal["eos", "zero"] = "eos", vocabulary: Path | None = None) -> None:
        """`vocabulary` is a `bpe.txt.gz` of one's own in open_clip's format; None is CLIP's."""
        self.length = length
        self.pad = pad
        self._encoding = _open(vocabulary, length)

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """Texts -> ids (b l), int64; longer texts are cut so that the end token stays."""
        ids = torch.as_tensor(self._encoding(list(texts)), dtype=torch.long)
        if self.pad == "zero" or not len(ids):
            return ids
        # the end token has the highest id of all, so its first place is the maximum's
        after_end = torch.arange(self.length)[None] > ids.argmax(dim=1, keepdim=True)
        return ids.masked_fill(after_end, self._encoding.eot_token_id)


def _open(vocabulary: Path | None, length: int) -> SimpleTokenizer:
    from open_clip.tokenizer import SimpleTokenizer

    if vocabulary is None:
        return SimpleTokenizer(context_length=length)
    return SimpleTokenizer(bpe_path=str(vocabulary), context_length=length)
