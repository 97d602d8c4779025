"""Ways to rank one library's windows, each asked all questions: the plain search first, then one thing more at a time.

Which place a window has by one signal does not depend on the other signals. So each question is put to the library once, with all
signals, and every way to rank is another sum over the same places: `reordered` is the library's own order for any weights.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from echoreel_cli.measure.retrieval import Found, Score, Span, judge
from echoreel_cli.measure.retrieval_baseline import PooledFiles
from echoreel_cli.measure.retrieval_labels import Question
from echoreel_cli.measure.retrieval_report import Row
from echoreel_cli.measure.retrieval_view import View
from echoreel_index.encode import Encoder
from echoreel_index.library import Library
from echoreel_index.nouns import Hit
from echoreel_index.search import Ranking, Weights

POOLED = "mean-pooled files"
WINDOWS = "+ windows in shots"
WHOLE = "+ reference gate = full"
SPOKEN = {
    "visual": "mean of the window",
    "best": "best samples",
    "templates": "templates",
    "verb": "verb contrast",
    "motion": "motion",
    "words": "words",
    "captions": "captions",
}
"""The signals in the order in which they are added, and how the table calls them."""


@dataclass(frozen=True, slots=True)
class Way:
    """One way to order the windows."""

    name: str
    ranking: Ranking


def ways(full: Ranking) -> list[Way]:
    """Windows by their mean alone, one signal more each time with the weight that `full` gives it, `full`, and `full` without each part."""
    found: list[Way] = []
    weights = {name: 0.0 for name in SPOKEN}
    for name in SPOKEN:
        weights[name] = getattr(full.weights, name)
        ranking = replace(full, weights=Weights(**weights), gate="off")
        found.append(Way(WINDOWS if name == "visual" else f"+ {SPOKEN[name]}", ranking))
    found.append(Way(WHOLE, full))
    for name, said in SPOKEN.items():
        found.append(Way(f"full without {said}", replace(full, weights=replace(full.weights, **{name: 0.0}))))
    found.append(Way("full without reference gate", replace(full, gate="off")))
    return found


def reordered(hits: Sequence[Hit], ranking: Ranking) -> list[Hit]:
    """Hits of all windows, in the order that another ranking would give them. Their signals must hold every one that it weighs."""
    weights: dict[str, float] = {name: getattr(ranking.weights, name) for name in SPOKEN}

    def merit(hit: Hit) -> float:
        fused = sum(weights[signal.name] / (ranking.k0 + signal.rank) for signal in hit.signals)
        behind = bool(hit.problems) and ranking.gate == "last"
        return fused - behind * sum(weights.values())

    return sorted(hits, key=lambda hit: (-merit(hit), hit.clip.path, hit.clip.start, hit.clip.end))


def answers(
    questions: Sequence[Question],
    absent: Sequence[Question],
    shown: Mapping[str, Mapping[str, Sequence[Span]]],
    ks: Sequence[int],
    *,
    library: Library,
    view: View,
    encoder: Encoder,
    pooled: PooledFiles,
    ranking: Ranking,
    min_score: float | None = None,
    progress: Callable[[], None] = lambda: None,
) -> list[Row]:
    """Every question answered in every way, judged: a row for the plain search, and one for each of `ways`.

    The floor of `ranking`, and `min_score` beside it, are judged on the whole ranking alone.
    """
    tried = ways(ranking)
    scores: dict[str, tuple[list[Score], list[Score]]] = {name: ([], []) for name in (POOLED, *(way.name for way in tried))}
    real = real_files(library, view)
    for place, asked in enumerate((questions, absent)):
        for question in asked:
            progress()
            truth = shown.get(question.label, {})
            text = encoder.embed_texts([question.sentence])[0]
            plain = judge(question.label, question.sentence, pooled.ranked(text), truth, ks, whole_files=True)
            scores[POOLED][place].append(plain)
            hits = library.ranked(question.sentence, encoder=encoder, ranking=ranking)
            for way in tried:
                order = hits if way.name == WHOLE else reordered(hits, way.ranking)
                found = list(_found(order, real, ranking.floor, min_score))
                scores[way.name][place].append(judge(question.label, question.sentence, found, truth, ks))
    return [Row(name, tuple(there), tuple(not_there), floor=name == WHOLE) for name, (there, not_there) in scores.items()]


def real_files(library: Library, view: View) -> dict[str, list[str]]:
    """Path in the library -> the videos of that content, whichever the library names: a copy is found with its original."""
    same: dict[str, list[str]] = {}
    for row in library.files():
        if row.path in view.real:
            same.setdefault(row.sha256, []).append(view.real[row.path])
    return {row.path: same[row.sha256] for row in library.files() if row.sha256 in same}


def _found(hits: Sequence[Hit], real: Mapping[str, Sequence[str]], floor: float, min_score: float | None) -> Iterator[Found]:
    for hit in hits:
        accepted = (hit.fit is None or hit.fit >= floor or hit.told) and (min_score is None or hit.score >= min_score)
        for file in real.get(hit.clip.path, ()):
            yield Found(file, hit.clip.start, hit.clip.end, accepted)
