"""A query -> the vectors that the signals compare windows with; one batch for the text tower, whatever the query."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from echoreel_index.encode import unit
from echoreel_index.phrases import action_of, scene_of, templates_of
from echoreel_index.query import Query, Term, total
from echoreel_index.signals import Question, Vector


def question(query: Query, embed: Callable[[list[str]], Vector], example: Callable[[Term], Vector]) -> Question:
    """The vectors of `query`. `embed` turns n sentences into (n d) unit vectors, `example` a clip or a picture into its own (d).

    Templates stand for sentences, examples for themselves. Action and scene are those of the sentences that are asked for;
    what is subtracted has no say in the contrast of verbs. Raises UsageError when the terms cancel out.
    """
    said = [text for term in query.terms if (text := term.text) is not None]
    sentences = list(dict.fromkeys(one for text in said for one in _sentences(text)))
    vectors = dict(zip(sentences, embed(sentences), strict=True)) if sentences else {}
    shown = {term: example(term) for term in query.terms if term.text is None}
    wordings = {text: unit(np.mean([vectors[one] for one in templates_of(text)], axis=0)) for text in said}
    asked = [(term.weight, parts) for term in query.terms if term.weight > 0 and (parts := _parts(term.text))]

    def summed(of_sentences: dict[str, Vector]) -> Vector:
        return total([(term.weight, shown[term] if term.text is None else of_sentences[term.text]) for term in query.terms])

    return Question(
        whole=summed(vectors),
        templates=summed(wordings) if said else None,
        action=total([(weight, vectors[action]) for weight, (action, _) in asked]) if asked else None,
        scene=total([(weight, vectors[scene]) for weight, (_, scene) in asked]) if asked else None,
    )


def _sentences(text: str) -> Sequence[str]:
    """Everything that has to be embedded for one sentence."""
    return [text, *templates_of(text), *(_parts(text) or ())]


def _parts(text: str | None) -> tuple[str, str] | None:
    """Action and scene of a sentence that has both."""
    action, scene = (action_of(text), scene_of(text)) if text else (None, None)
    return (action, scene) if action and scene else None
