"""Pure ranking: a question and candidates -> hits, best first, usable and different.

Each signal puts the candidates in an order of its own; the orders are fused by reciprocal rank (Cormack et al. 2009):

    fused = sum over signals of weight / (k0 + place), divided by the same sum for first places everywhere

Places need no common unit, so that a cosine and a BM25 score can be added without a scale that would have to be tuned.
Ties are broken by file and start, so that an answer never depends on how the vectors happen to be stored.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from echoreel_index.diversity import choose
from echoreel_index.errors import UsageError
from echoreel_index.fit import Background, fits
from echoreel_index.gate import GateSettings, problems
from echoreel_index.nouns import Hit, Signal
from echoreel_index.signals import SIGNALS, Candidate, Question, matrix

UNKNOWN = ("captions", "motion")
"""Signals of which nothing may be known about a window, which says nothing about the window."""


@dataclass(frozen=True, slots=True)
class Weights:
    """How much the place by each signal counts; 0 switches a signal off."""

    visual: float = 1.0
    """The whole sentence: who, where and what."""
    best: float = 0.25
    """It repeats `visual` but for windows in which the action is short."""
    templates: float = 1.0
    """The action in several wordings, without clothes and place."""
    verb: float = 1.0
    """What the verb adds to the scene: as strong a voice as the scene has."""
    words: float = 1.0
    """Words are seldom there, but where they are they are seldom wrong."""
    captions: float = 0.5
    """The same words seen by the encoder; softer, and it sees little of verbs."""
    motion: float = 0.1
    """A nudge: it knows nothing of what was asked for, and what stands still the gate puts last."""

    def __post_init__(self) -> None:
        values = self.values()
        if not (np.isfinite(values).all() and (values >= 0).all() and values.any()):
            raise UsageError("weights of signals must be 0 or more, and not all 0", hint=f"signals are {', '.join(SIGNALS)}")

    def values(self) -> NDArray[np.float64]:
        """In the order of `SIGNALS`."""
        return np.array([getattr(self, name) for name in SIGNALS], np.float64)


@dataclass(frozen=True, slots=True)
class Ranking:
    """How candidates become hits. Every part can be switched off.

    The defaults were reasoned, not searched for; on drawn clips two nudges (`best`, `motion`) were made smaller because they cost more than
    they gave there.
    """

    weights: Weights = field(default_factory=Weights)
    names: bool = True
    """Whether names of files and folders count as words."""
    k0: float = 60.0
    """The constant of reciprocal rank fusion: the larger, the less the very first places stand out."""
    diversity: float = 0.1
    """Fused score that a hit loses at most for repeating a better one; 0 is plain order."""
    duplicates: float = 0.985
    """Cosine from which two windows count as the same picture; above 1 keeps them all."""
    gate: Literal["off", "last", "drop"] = "last"
    """Windows that are no usable reference: like any other, behind all usable ones, or left out."""
    gates: GateSettings = field(default_factory=GateSettings)
    floor: float = 0.3
    """Fit below which a window does not answer a sentence; 0 lets everything through. Half would ask a sentence to be likelier than
    a hundred others together, also than those that describe the same clip in other words; a third leaves room for a few of these."""
    known_score: float | None = None
    """Cosine from which a window answers too, whatever its fit, where somebody knows it for the library's encoder."""
    likeness: float = 0.5
    """Cosine of mean vectors below which a window does not answer a query without words, for which there is no fit; -1 is off."""

    def __post_init__(self) -> None:
        if not (self.k0 >= 0 and 0 <= self.diversity <= 1 and self.duplicates > 0 and 0 <= self.floor <= 1 and -1 <= self.likeness <= 1):
            raise UsageError("k0 must be 0 or more, diversity and floor 0 to 1, likeness -1 to 1, and duplicates above 0")

    def anyhow(self) -> Ranking:
        """The same order, with no window left out because it does not fit."""
        return replace(self, floor=0.0, likeness=-1.0)

    @classmethod
    def plain(cls) -> Ranking:
        """The mean vector's cosine and nothing else, as the research code does it; overlapping windows are still one."""
        only = Weights(visual=1, best=0, templates=0, verb=0, words=0, captions=0, motion=0)
        return cls(only, names=False, diversity=0.0, duplicates=2.0, gate="off", floor=0.0, likeness=-1.0)


def ranked(question: Question, candidates: Iterable[Candidate], *, ranking: Ranking, background: Background | None = None) -> list[Hit]:
    """All candidates in the ranking's order, each with its signals, its fit and its problems: nothing is left out."""
    return [hit for hit, _ in _judged(question, candidates, ranking, background)]


def answer(
    question: Question,
    candidates: Iterable[Candidate],
    *,
    k: int,
    ranking: Ranking,
    background: Background | None = None,
    min_score: float | None = None,
) -> list[Hit]:
    """At most k hits, best first, none overlapping, none that does not fit; [] says that nothing fits.

    With a `background` each window has a fit, and `ranking.floor` holds for it; where nothing of the question was said in
    words, `ranking.likeness` holds for the cosine. `min_score` is a floor on the cosine that the caller asks for.
    """
    floor = ranking.likeness if question.templates is None else -1.0
    floor = floor if min_score is None else max(floor, min_score)

    def passes(hit: Hit) -> bool:
        known = ranking.known_score is not None and hit.score >= ranking.known_score
        fits_in = hit.fit is None or hit.fit >= ranking.floor or hit.told or known
        return fits_in and hit.score >= floor and not (ranking.gate == "drop" and hit.problems)

    left = [(hit, candidate) for hit, candidate in _judged(question, candidates, ranking, background) if passes(hit)]
    merit = np.array([_merit(hit, ranking) for hit, _ in left])
    chosen = choose([candidate for _, candidate in left], merit, k=k, diversity=ranking.diversity, duplicates=ranking.duplicates)
    return [replace(left[place][0], rank=number) for number, place in enumerate(chosen, start=1)]


def _judged(
    question: Question, candidates: Iterable[Candidate], ranking: Ranking, background: Background | None
) -> list[tuple[Hit, Candidate]]:
    """Every candidate with all that is to be said about it, in the ranking's order."""
    pool = sorted(candidates, key=lambda candidate: (candidate.clip.path, candidate.clip.start, candidate.clip.end))
    if not pool:
        return []
    values = matrix(question, pool)
    ranks = settled(places(values))
    fused = _fused(ranks, ranking)
    sure = fits(question, pool, background) if background is not None else None
    hits = [
        Hit(
            clip=candidate.clip,
            score=float(candidate.mean @ question.whole),
            rank=0,
            fused=float(fused[at]),
            told=candidate.told,
            fit=None if sure is None else float(sure[at]),
            signals=_signals(values[at], ranks[at], ranking),
            problems=() if ranking.gate == "off" else problems(candidate.clip, ranking.gates),
        )
        for at, candidate in enumerate(pool)
    ]
    order = sorted(range(len(pool)), key=lambda at: -_merit(hits[at], ranking))
    return [(replace(hits[at], rank=number), pool[at]) for number, at in enumerate(order, start=1)]


def _merit(hit: Hit, ranking: Ranking) -> float:
    """What hits are ordered by: the fused score; what is to stand behind loses more than there is to win."""
    return hit.fused - 2.0 if hit.problems and ranking.gate == "last" else hit.fused


def places(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n signals) places from 1, by falling value; equal values share the best of their places, NaN has none (NaN)."""
    found = np.full(values.shape, np.nan)
    for column in range(values.shape[1]):
        there = np.flatnonzero(~np.isnan(values[:, column]))
        rising = np.sort(values[there, column])
        found[there, column] = len(there) - np.searchsorted(rising, values[there, column], side="right") + 1
    return found


def settled(ranks: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n signals) places, where a window of which a signal of `UNKNOWN` knows nothing has that signal's middle place.

    That a video has no caption speaks neither for nor against it; that none of its words was asked for gives it nothing.
    """
    found = ranks.copy()
    for name in UNKNOWN:
        column = found[:, SIGNALS.index(name)]
        silent = np.isnan(column)
        if silent.any() and not silent.all():
            column[silent] = np.floor(np.median(column[~silent]))
    return found


def _fused(ranks: NDArray[np.float64], ranking: Ranking) -> NDArray[np.float64]:
    """(n) reciprocal rank fusion, 0 to 1; a signal that says nothing about a candidate gives it nothing."""
    weights = ranking.weights.values()
    heard = weights * ~np.isnan(ranks).all(axis=0)
    most = heard.sum() / (ranking.k0 + 1)
    if most == 0:
        return np.zeros(len(ranks))
    return np.asarray(np.nansum(weights / (ranking.k0 + ranks), axis=1) / most, np.float64)


def _signals(values: NDArray[np.float64], ranks: NDArray[np.float64], ranking: Ranking) -> tuple[Signal, ...]:
    """The signals that were heard, in their order."""
    rows = zip(SIGNALS, values, ranks, ranking.weights.values(), strict=True)
    heard = [row for row in rows if row[3] > 0 and not np.isnan(row[2])]
    return tuple(Signal(name, None if np.isnan(value) else float(value), int(place), float(weight)) for name, value, place, weight in heard)
