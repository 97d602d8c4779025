"""Queries -> the sentences to embed -> a `Question`; one batch for the text tower, whatever the query."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from echoreel_index.errors import UsageError
from echoreel_index.phrases import action_of, scene_of, templates_of
from echoreel_index.signals import Question, Vector

SMALLEST = 1e-3
"""Length of a sum of unit vectors below which its terms cancel out."""


@dataclass(frozen=True, slots=True)
class Part:
    """One term of a query: a sentence, or the unit vector (d) of a clip or a picture."""

    what: str | Vector
    weight: float = 1.0


def question(parts: Sequence[Part], embed: Callable[[list[str]], Vector]) -> Question:
    """The vectors of a weighted sum of parts; `embed` turns n sentences into (n d) unit vectors.

    Templates stand for sentences, other parts for themselves. Action and scene are those of the sentences that are asked for
    and have both; what is subtracted has no say in the contrast. Raises UsageError when the parts cancel out.
    """
    texts = [part.what for part in parts if isinstance(part.what, str)]
    sayings = {text: [text, *templates_of(text), *filter(None, (action_of(text), scene_of(text)))] for text in texts}
    sentences = list(dict.fromkeys(sentence for said in sayings.values() for sentence in said))
    vectors = dict(zip(sentences, embed(sentences), strict=True)) if sentences else {}

    def one(part: Part) -> Vector:
        return vectors[part.what] if isinstance(part.what, str) else part.what

    def wordings(part: Part) -> Vector:
        if not isinstance(part.what, str):
            return part.what
        return _unit(np.mean([vectors[said] for said in templates_of(part.what)], axis=0))

    asked = [(part.weight, action, scene) for part in parts if part.weight > 0 and isinstance(part.what, str)
             and (action := action_of(part.what)) and (scene := scene_of(part.what))]  # fmt: skip
    return Question(
        whole=_total([(part.weight, one(part)) for part in parts]),
        templates=_total([(part.weight, wordings(part)) for part in parts]) if texts else None,
        action=_total([(weight, vectors[action]) for weight, action, _ in asked]) if asked else None,
        scene=_total([(weight, vectors[scene]) for weight, _, scene in asked]) if asked else None,
    )


def _total(terms: Sequence[tuple[float, Vector]]) -> Vector:
    """(d) unit vector of a weighted sum."""
    total = np.sum([weight * vector for weight, vector in terms], axis=0)
    if not terms or float(np.linalg.norm(total)) < SMALLEST:
        raise UsageError("the terms of the query cancel each other out", hint="what is added and what is subtracted must differ")
    return _unit(total)


def _unit(vector: Vector) -> Vector:
    return np.asarray(vector / max(float(np.linalg.norm(vector)), 1e-12), np.float32)
