"""Why a window may be what was asked for: one number a signal, each in its own unit, higher is better.

    visual     cosine of the window's mean vector and the whole sentence
    best       the same for its best moments: the mean of the two best samples, so that one lucky frame does not win
    templates  cosine of the mean vector and the mean of several sentences around the action alone
    verb       what the action says beyond the scene: its cosine, less the scene's cosine as far as the two sentences agree
    words      BM25 of the words known about the video
    captions   cosine of the caption's vector and the whole sentence, text against text
    motion     motion energy up to `ENOUGH_MOTION`: still windows lose, and a shaky camera gains nothing over a calm one

Shapes: `n` candidates, `m` samples of one window, `d` width of vectors, all of them unit vectors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from echoreel_index.nouns import Clip

Vector = NDArray[np.float32]

SIGNALS = ("visual", "best", "templates", "verb", "words", "captions", "motion")
"""All signals, in the order in which they are shown."""

ENOUGH_MOTION = 0.003
"""Motion energy above which more is no better: about what two hands in a still picture make, three times what the gate asks for."""


@dataclass(frozen=True, slots=True)
class Question:
    """A query as vectors; what it cannot say is None, and the signals that need it are silent."""

    whole: Vector
    """(d) the query itself: a sentence, a clip, or a sum of such."""
    templates: Vector | None = None
    """(d) mean of sentences around the action."""
    action: Vector | None = None
    """(d) the action without its scene."""
    scene: Vector | None = None
    """(d) the scene without its action."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A window and what is known about it."""

    clip: Clip
    mean: Vector
    """(d) unit mean of the samples."""
    samples: Vector
    """(m d) one vector a moment; m may be 0 where they were not kept."""
    caption: Vector | None = None
    """(d) vector of the words known about it."""
    words: float | None = None
    """BM25, higher is better; None where no word of the query occurs."""
    told: bool = False
    """Whether every word of the action is among the words known about it."""


def matrix(question: Question, candidates: Sequence[Candidate]) -> NDArray[np.float64]:
    """(n signals) values in the order of `SIGNALS`; NaN where a candidate or the question has nothing to say."""
    values = np.full((len(candidates), len(SIGNALS)), np.nan)
    if not candidates:
        return values
    means = np.stack([candidate.mean for candidate in candidates])
    columns: dict[str, NDArray[np.float64]] = {
        "visual": _cosines(means, question.whole),
        "best": _best(candidates, question.whole),
        "words": np.array([np.nan if c.words is None else c.words for c in candidates]),
        "captions": np.array([np.nan if c.caption is None else float(c.caption @ question.whole) for c in candidates]),
        "motion": np.array([np.nan if c.clip.motion is None else min(c.clip.motion, ENOUGH_MOTION) for c in candidates]),
    }
    if question.templates is not None:
        columns["templates"] = _cosines(means, question.templates)
    if question.action is not None and question.scene is not None:
        contrast = verb_contrast(question.action, question.scene)
        columns["verb"] = (_cosines(means, contrast) + _best(candidates, contrast)) / 2
    for name, column in columns.items():
        values[:, SIGNALS.index(name)] = column
    return values


def verb_contrast(action: Vector, scene: Vector) -> Vector:
    """(d) the action's vector without its share along the scene's: nouns that both sentences hold cancel.

    A plain difference would also subtract what only the scene says, and push away windows that lack it or have it by chance.
    """
    return np.asarray(action - max(0.0, float(action @ scene)) * scene, np.float32)


def _cosines(rows: Vector, vector: Vector) -> NDArray[np.float64]:
    return np.asarray(rows @ vector, np.float64)


def _best(candidates: Sequence[Candidate], vector: Vector) -> NDArray[np.float64]:
    """(n) mean of the two samples nearest to `vector`; the window's mean where no samples were kept."""
    return np.array([best_cosine(candidate, vector) for candidate in candidates])


def best_cosine(candidate: Candidate, vector: Vector) -> float:
    """Mean cosine of the two best samples of one window; that of its mean vector where no samples were kept."""
    if len(candidate.samples) == 0:
        return float(candidate.mean @ vector)
    return float(np.sort(np.asarray(candidate.samples, np.float32) @ vector)[-2:].mean())
