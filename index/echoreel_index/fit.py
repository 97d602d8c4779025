"""How sure the encoder is that a sentence describes a window: the answer to "nothing fits".

A cosine alone says little: 0.25 is much for one sentence and little for another, and each encoder has its own range. So the sentence
competes with a hundred others about what videos usually show (`background`), as captions did when the encoder was trained:

    fit = exp(s x) / (exp(s x) + sum over background sentences b of exp(s y_b))

x and y_b are cosines with the window's mean vector, s is the encoder's own logit scale. The scale was learnt so that these
probabilities match how often a caption belongs to a picture; that is the whole calibration, nothing is fitted to any collection.
At the default floor of 0.3 a window answers when the sentence is nearly half as likely as all the others together.

- The mean vector, not the best moment: the best moment of the best of a thousand windows is always near something.
- What is asked for is the action, where the sentence has one: a clip of other clothes elsewhere still fits.
- Background sentences that say the same as the query would take its share, so they are left out for it.
- A library of one action only must answer too. So a window is never compared with the library's other windows.
- The best of many windows is surer than it should be. Against that stand the common actions in the background: they
  are what a wrong best window mostly shows. A rare action that looks like the one asked for still passes now and then.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from echoreel_index.content_words import ANYONE, stems_of
from echoreel_index.phrases import action_of
from echoreel_index.signals import Candidate, Question, Vector

SAME = 0.9
"""Cosine of two sentences from which they say the same."""


@dataclass(frozen=True, slots=True)
class Background:
    """What a query competes with: (n d) unit vectors of other sentences, and the encoder's logit scale."""

    vectors: Vector
    scale: float


def background(texts: Sequence[str], question: Question, sentences: Sequence[str], vectors: Vector, *, scale: float) -> Background:
    """The sentences that say something else than any of `texts`: no content word of the action in common, cosine up to `SAME`.

    `question` is that of `texts`; `vectors` (n d) belong to `sentences`. ValueError when they do not, or when the scale is
    not positive.
    """
    if len(sentences) != len(vectors):
        raise ValueError(f"{len(sentences)} sentences have {len(vectors)} vectors")
    if not scale > 0:
        raise ValueError(f"a logit scale is positive, got {scale}")
    mine = frozenset().union(*(_deed(text) for text in texts))
    other = np.array([not (_deed(sentence) & mine) for sentence in sentences], bool)
    return Background(vectors[other & (vectors @ asked(question) <= SAME)], scale)


def asked(question: Question) -> Vector:
    """(d) what a window has to show: the action, or all that was asked for where no action was found."""
    return question.whole if question.action is None else question.action


def fits(question: Question, candidates: Sequence[Candidate], others: Background) -> NDArray[np.float64]:
    """(n) fit of each candidate, 0 to 1; 1 where no sentence is left to compete."""
    means = np.array([candidate.mean for candidate in candidates], np.float64)
    lead = others.scale * (means @ others.vectors.T - (means @ asked(question))[:, None])
    return np.asarray(1 / (1 + np.exp(np.minimum(lead, 500)).sum(axis=1)), np.float64)


def _deed(text: str) -> frozenset[str]:
    """Stems of what is done, or of everything said where nothing is done."""
    return stems_of(action_of(text) or text) - ANYONE
