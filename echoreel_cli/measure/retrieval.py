"""How good a ranking of windows is, counted in files: average precision, recall and precision at k, intervals by the bootstrap.

A file's place is the place of its best window. Where a label says when the action is seen, that window must show it there; where it
does not, the file alone counts. A file that comes back with the wrong moment counts as wrong, and does not get a second try.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Span = tuple[float, float]
"""Start and end, seconds."""
Floats = NDArray[np.float64]

ENOUGH = 0.5
"""Share of the shorter of window and labelled interval that must overlap."""
DRAWS = 2000
"""Resamples of the bootstrap."""


@dataclass(frozen=True, slots=True)
class Found:
    """One window of an answer; the windows of an answer are in order, best first."""

    file: str
    """Absolute path."""
    start: float
    end: float
    accepted: bool = True
    """Whether the search stands by it: it lies above the floor."""


@dataclass(frozen=True, slots=True)
class Score:
    """One sentence's answer, judged."""

    label: str
    sentence: str
    files: int
    """How many files show the action; 0 for a sentence about one that is not there."""
    precision: float
    """Average precision."""
    precision_of_files: float
    """The same where every window of a right file is right."""
    recall_at: tuple[float, ...]
    precision_at: tuple[float, ...]
    """One value for each k."""
    answered: bool
    """Whether the first window is above the floor."""
    right: bool
    """Whether the first window is right."""


def shows(found: Found, spans: Sequence[Span]) -> bool:
    """Whether a window shows what is labelled at `spans`; no spans mean the whole file."""
    for start, end in spans:
        common = min(found.end, end) - max(found.start, start)
        if common >= ENOUGH * min(found.end - found.start, end - start) - 1e-9:
            return True
    return not spans


def by_file(ranking: Sequence[Found]) -> list[Found]:
    """The best window of each file, best file first."""
    best: dict[str, Found] = {}
    for found in ranking:
        best.setdefault(found.file, found)
    return list(best.values())


def average_precision(right: Sequence[bool], wanted: int) -> float:
    """Mean over the `wanted` right answers of the precision at each one's place; one that is missing adds 0. ValueError: none wanted."""
    if wanted < 1:
        raise ValueError(f"an average needs at least one right answer to find, got {wanted}")
    places = np.flatnonzero(np.asarray(right, bool)) + 1
    return float(np.sum(np.arange(1, len(places) + 1) / places) / wanted)


def recall_at(right: Sequence[bool], wanted: int, k: int) -> float:
    """Share of the `wanted` right answers among the first k."""
    return sum(right[:k]) / wanted


def precision_at(right: Sequence[bool], k: int) -> float:
    """Share of right ones in k places; places that stay empty are wrong."""
    return sum(right[:k]) / k


def judge(
    label: str,
    sentence: str,
    ranking: Sequence[Found],
    truth: Mapping[str, Sequence[Span]],
    ks: Sequence[int],
    *,
    whole_files: bool = False,
) -> Score:
    """The score of one answer; `truth` maps the files that show the action to when they do. It may be empty: then all is wrong.

    With `whole_files` the ranking is one of files and names no moments: only the file is judged.
    """
    files = by_file(ranking)
    of_file = [found.file in truth for found in files]
    right = of_file if whole_files else [found.file in truth and shows(found, truth[found.file]) for found in files]
    wanted = len(truth)
    return Score(
        label=label,
        sentence=sentence,
        files=wanted,
        precision=average_precision(right, wanted) if wanted else 0.0,
        precision_of_files=average_precision(of_file, wanted) if wanted else 0.0,
        recall_at=tuple(recall_at(right, wanted, k) if wanted else 0.0 for k in ks),
        precision_at=tuple(precision_at(right, k) for k in ks),
        answered=bool(files) and files[0].accepted,
        right=bool(right) and right[0],
    )


def per_label(scores: Sequence[Score], values: Sequence[float]) -> Floats:
    """(labels) mean of `values`, which belong to `scores`, over the sentences of each label, in the order in which labels first appear.

    Sentences about one action share their right answers: taken one by one, they would make intervals look narrower than they are.
    """
    groups: dict[str, list[float]] = {}
    for score, value in zip(scores, values, strict=True):
        groups.setdefault(score.label, []).append(value)
    return np.asarray([np.mean(group) for group in groups.values()], np.float64)


def resampled_means(values: Floats, *, seed: int, draws: int = DRAWS) -> Floats:
    """(draws) means of `values` (n) drawn with repetition. Equal n and seed draw the same places, so that differences are paired.

    ValueError: no values.
    """
    if len(values) == 0:
        raise ValueError("an interval needs at least one value")
    picks = np.random.default_rng(seed).integers(len(values), size=(draws, len(values)))
    return np.asarray(values[picks].mean(1), np.float64)


def interval(means: Floats, *, level: float = 0.95) -> tuple[float, float]:
    """The percentile interval of resampled means."""
    tail = (1 - level) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return float(low), float(high)
