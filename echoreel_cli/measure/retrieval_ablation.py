"""Ways to rank one library's windows, each asked all questions: the plain search first, then one thing more at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from echoreel_cli.measure.retrieval import Found, Score, Span, judge
from echoreel_cli.measure.retrieval_baseline import PooledFiles
from echoreel_cli.measure.retrieval_labels import Question
from echoreel_cli.measure.retrieval_report import Row
from echoreel_cli.measure.retrieval_view import View
from echoreel_index.encode import Encoder
from echoreel_index.library import Library
from echoreel_index.nouns import Hit

POOLED = "mean-pooled files"
WHOLE = "+ captions = full"


@dataclass(frozen=True, slots=True)
class Way:
    """One way to rank everything there is."""

    name: str
    ranked: Callable[[str], list[Found]]
    """A sentence -> all windows, or all files, best first."""
    whole_files: bool = False
    """Whether its answers name files and no moments."""


def pooled_way(pooled: PooledFiles, encoder: Encoder) -> Way:
    """The plain search."""
    return Way(POOLED, lambda sentence: pooled.ranked(encoder.embed_texts([sentence])[0]), whole_files=True)


def library_ways(library: Library, encoder: Encoder, view: View, *, floor: float | None) -> list[Way]:
    """What the library can do, beginning with windows alone; `floor` is the least score of an answer."""
    real = _real_files(library, view)

    def ranked(sentence: str) -> list[Found]:
        hits = library.search(sentence, k=max(1, library.count()), encoder=encoder)
        return [found for hit in hits for found in _found(hit, real, floor)]

    return [Way("+ windows", ranked)]


def _real_files(library: Library, view: View) -> dict[str, list[str]]:
    """Path in the library -> the videos that have the same content, itself first."""
    same: dict[str, list[str]] = {}
    for row in library.files():
        same.setdefault(row.sha256, []).append(row.path)
    return {
        row.path: [view.real[path] for path in dict.fromkeys((row.path, *same[row.sha256])) if path in view.real] for row in library.files()
    }


def _found(hit: Hit, real: Mapping[str, Sequence[str]], floor: float | None) -> list[Found]:
    clip = hit.clip
    return [Found(file, clip.start, clip.end, floor is None or hit.score >= floor) for file in real.get(clip.path, ())]


def ask(
    way: Way,
    questions: Sequence[Question],
    absent: Sequence[Question],
    shown: Mapping[str, Mapping[str, Sequence[Span]]],
    ks: Sequence[int],
    *,
    progress: Callable[[], None] = lambda: None,
) -> Row:
    """Every question's answer in this way, judged."""

    def judged(question: Question) -> Score:
        progress()
        ranking, truth = way.ranked(question.sentence), shown.get(question.label, {})
        return judge(question.label, question.sentence, ranking, truth, ks, whole_files=way.whole_files)

    return Row(way.name, tuple(map(judged, questions)), tuple(map(judged, absent)), floor=not way.whole_files)
