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
from echoreel_index.decoder import Decoder
from echoreel_index.encode import Encoder, unit
from echoreel_index.filters import Filters
from echoreel_index.fit import Background, background
from echoreel_index.nouns import Hit
from echoreel_index.phrases import deed_words
from echoreel_index.pictures import still
from echoreel_index.query import PICTURE_SUFFIXES, Query, Term
from echoreel_index.question import question
from echoreel_index.readers import Sample, ScanSettings
from echoreel_index.search import Ranking, answer, ranked
from echoreel_index.signals import Candidate, Question, verb_contrast
from echoreel_index.store import Store

POOL = 512
"""Candidates by each vector, and by words."""
EXAMPLE_STEP = 0.5
"""Seconds between the looks at a clip that is searched for."""
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
        total, wanted = self._store.count(), max(POOL, 8 * k)
        while True:
            pool = self._candidates(query, asked, filters, ranking, wanted)
            hits = answer(asked, pool, k=k, ranking=ranking, background=others, min_score=min_score)
            # Neighbours overlap: in a library of long files the pool may be a few files' windows.
            if len(hits) == k or wanted >= total or (hits == [] and pool != []):
                return hits
            wanted *= 4

    def ranked(self, query: Query, *, filters: Filters, ranking: Ranking) -> list[Hit]:
        """Every window that passes the filters, in the ranking's order: nothing is left out for being alike or for not fitting."""
        asked = self._question(query)
        others = self._background(query, asked)
        pool = self._candidates(query, asked, filters, ranking, self._store.count())
        return ranked(asked, pool, ranking=ranking, background=others)

    def _candidates(self, query: Query, question: Question, filters: Filters, ranking: Ranking, wanted: int) -> list[Candidate]:
        allowed = self._catalogue.allowed(filters)
        if allowed is not None and len(allowed.rows) == 0:
            return []
        said = self._words(query, ranking, allowed)
        rows = dict.fromkeys(best(said, wanted))
        for vector in _directions(question):
            rows |= dict.fromkeys(row for row, _ in self._store.nearest(vector, wanted, None if allowed is None else allowed.rows))
        clips = self._catalogue.clips(list(rows), allowed)
        there, means = self._store.vectors_of(np.array(sorted(clips), dtype=np.int64))
        looks = self._store.looks_of([int(row) for row in there])
        captions = self._captions([clips[int(row)].caption for row in there] if question.templates is not None else [])
        return [
            Candidate(clip := clips[int(row)], mean, samples, captions.get(clip.caption or ""), said.get(int(row)))
            for row, mean, samples in zip(there, means, looks, strict=True)
        ]

    def _words(self, query: Query, ranking: Ranking, allowed: Allowed | None) -> dict[int, float]:
        """Row -> BM25 score, of rows that may be found."""
        if query.sentence is None or ranking.weights.words == 0:
            return {}
        said = self._catalogue.with_words(deed_words(query.sentence), names=ranking.names)
        if allowed is None:
            return said
        rows = set(allowed.rows.tolist())
        return {row: score for row, score in said.items() if row in rows}

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
        settings = ScanSettings(step=EXAMPLE_STEP, size=self._encoder.frame_size, splitter="none")
        with self._decoder() as decoder:
            seen = [one for one in decoder.scan(term.path, settings) if isinstance(one, Sample)]
        within = [one.frame for one in seen if one.moment >= term.start and (term.end is None or one.moment < term.end)]
        frames = within or [min(seen, key=lambda one: abs(one.moment - term.start)).frame]
        return unit(self._encoder.embed_frames(np.stack(frames)).mean(0))

    def _background(self, query: Query, question: Question) -> Background | None:
        if query.sentence is None:
            return None
        known = self._captions(SENTENCES)
        vectors = np.stack([known[sentence] for sentence in SENTENCES])
        return background(query.sentence, question, SENTENCES, vectors, scale=self._encoder.logit_scale)


def _directions(question: Question) -> list[Vector]:
    """(d) the vectors by which candidates are gathered."""
    contrast = verb_contrast(question.action, question.scene) if question.action is not None and question.scene is not None else None
    return [vector for vector in (question.whole, question.templates, contrast) if vector is not None]
