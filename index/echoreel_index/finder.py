"""A query and a library -> hits: gathers candidates from vectors and words, and hands them to the ranking.

The nearest windows by each of the query's vectors, and those whose words match, are the candidates; every signal is then computed
for all of them, from the exact vectors in the database.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from echoreel_index.background import SENTENCES
from echoreel_index.catalogue import Allowed, Catalogue, best
from echoreel_index.decode import frames_at
from echoreel_index.decoder import Decoder
from echoreel_index.encode import Encoder, unit
from echoreel_index.errors import UsageError
from echoreel_index.filters import Filters
from echoreel_index.fit import Background, background
from echoreel_index.nouns import Hit
from echoreel_index.phrases import deed_words
from echoreel_index.pictures import still
from echoreel_index.query import PICTURE_SUFFIXES, Query, Term
from echoreel_index.question import question
from echoreel_index.search import Ranking, answer, ranked
from echoreel_index.signals import Candidate, Question, verb_contrast
from echoreel_index.store import Store

POOL = 512
"""Candidates by each vector, and by words."""
LARGEST_POOL = 8192
"""Candidates by each vector at which a search gives up looking for more hits."""
EXAMPLE_STEP = 0.5
"""Seconds between the looks at a clip that is searched for."""
MOST_LOOKS = 64
"""At a long clip they are further apart."""
Vector = NDArray[np.float32]


class Finder:
    """Searches in one store with one encoder."""

    def __init__(self, store: Store, catalogue: Catalogue, encoder: Encoder, decoder: Callable[[], Decoder] = Decoder) -> None:
        """`decoder` makes one for a query that is a clip."""
        self._store, self._catalogue, self._encoder, self._decoder = store, catalogue, encoder, decoder

    def search(self, query: Query, *, k: int, filters: Filters, ranking: Ranking, min_score: float | None) -> list[Hit]:
        """At most k hits that differ and fit, best first."""
        asked = self._question(query)
        others = self._background(query, asked)
        allowed = self._catalogue.allowed(filters)
        reach = self._store.count() if allowed is None else len(allowed.rows)
        wanted, found = max(POOL, 8 * k), -1
        while True:
            pool = self._candidates(query, asked, allowed, ranking, wanted)
            hits = answer(asked, pool, k=k, ranking=ranking, background=others, min_score=min_score)
            # Neighbours overlap, and what is left out leaves room: a larger pool may hold more, until it does not.
            if len(hits) == k or len(hits) == found or wanted >= min(reach, LARGEST_POOL):
                return hits
            wanted, found = 4 * wanted, len(hits)

    def ranked(self, query: Query, *, filters: Filters, ranking: Ranking) -> list[Hit]:
        """Every window that passes the filters, in the ranking's order: nothing is left out for being alike or for not fitting."""
        asked = self._question(query)
        pool = self._candidates(query, asked, self._catalogue.allowed(filters), ranking, self._store.count())
        return ranked(asked, pool, ranking=ranking, background=self._background(query, asked))

    def _candidates(
        self, query: Query, question: Question, allowed: Allowed | None, ranking: Ranking, wanted: int
    ) -> list[Candidate]:
        if allowed is not None and len(allowed.rows) == 0:
            return []
        said, told = self._words(query, ranking, allowed)
        rows = dict.fromkeys(best(said, wanted))
        for vector in _directions(question):
            rows |= dict.fromkeys(row for row, _ in self._store.nearest(vector, wanted, None if allowed is None else allowed.rows))
        clips = self._catalogue.clips(list(rows), allowed)
        there, means = self._store.vectors_of(np.array(sorted(clips), dtype=np.int64))
        looks = self._store.looks_of([int(row) for row in there])
        captions = self._captions([clips[int(row)].caption for row in there] if question.templates is not None else [])
        return [
            Candidate(clip := clips[int(row)], mean, samples, captions.get(clip.caption or ""), said.get(int(row)), int(row) in told)
            for row, mean, samples in zip(there, means, looks, strict=True)
        ]

    def _words(self, query: Query, ranking: Ranking, allowed: Allowed | None) -> tuple[dict[int, float], set[int]]:
        """Row -> BM25 score, of rows that may be found; and those of which every word of a sentence's action is said."""
        if ranking.weights.words == 0:
            return {}, set()
        asked = [deed_words(text) for text in query.sentences]
        words = list(dict.fromkeys(word for some in asked for word in some))
        told = [self._catalogue.with_words(some, names=ranking.names, allowed=allowed, every=True) for some in asked]
        return self._catalogue.with_words(words, names=ranking.names, allowed=allowed), set().union(*told)

    def _captions(self, captions: Sequence[str | None]) -> dict[str, Vector]:
        """Caption -> its vector; those that were not embedded when they were indexed are embedded now."""
        wanted = sorted({caption for caption in captions if caption})
        known = self._catalogue.caption_vectors(wanted)
        missing = [caption for caption in wanted if caption not in known]
        if missing:
            known |= dict(zip(missing, self._encoder.embed_texts(missing), strict=True))
        return known

    def _question(self, query: Query) -> Question:
        return question(query, self._encoder.embed_texts, self._example)

    def _example(self, term: Term) -> Vector:
        """(d) the mean of the looks at a clip or a picture, made a unit vector."""
        assert term.path is not None
        if os.path.splitext(term.path)[1].lower() in PICTURE_SUFFIXES and (picture := still(term.path)) is not None:
            return unit(self._encoder.embed_frames(picture[None])[0])
        with self._decoder() as decoder:
            end = min(decoder.timeline(term.path).end, np.inf if term.end is None else term.end)
            if term.start >= end:
                raise UsageError(f"{term.path} ends before {term.start:g} s", hint=f"it lasts {end:.2f} s")
            count = int(min(max(1, (end - term.start) / EXAMPLE_STEP), MOST_LOOKS))
            moments = [term.start + (i + 0.5) * (end - term.start) / count for i in range(count)]
            frames = frames_at(term.path, moments, size=self._encoder.frame_size, decoder=decoder)
        return unit(self._encoder.embed_frames(frames).mean(0))

    def _background(self, query: Query, question: Question) -> Background | None:
        """What the query competes with; None where nothing of it is asked for in words."""
        if not query.sentences:
            return None
        known = self._captions(SENTENCES)
        vectors = np.stack([known[sentence] for sentence in SENTENCES])
        return background(query.sentences, question, SENTENCES, vectors, scale=self._encoder.logit_scale)


def _directions(question: Question) -> list[Vector]:
    """(d) the vectors by which candidates are gathered."""
    contrast = verb_contrast(question.action, question.scene) if question.action is not None and question.scene is not None else None
    return [vector for vector in (question.whole, question.templates, contrast) if vector is not None]
