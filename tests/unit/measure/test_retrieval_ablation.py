"""Ways to rank: each differs from the one before in one thing, and what is summed here is the library's own order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from echoreel_cli.generate.write import video_bytes
from echoreel_cli.measure.retrieval_ablation import POOLED, SPOKEN, WHOLE, answers, real_files, reordered, ways
from echoreel_cli.measure.retrieval_baseline import pooled_files
from echoreel_cli.measure.retrieval_labels import Question
from echoreel_cli.measure.retrieval_view import View
from echoreel_cli.mini.haystack import pictures, scenarios
from echoreel_cli.models.encoders import open_encoder
from echoreel_index.clips import WindowSettings
from echoreel_index.decode import Decoder
from echoreel_index.encode import Encoder
from echoreel_index.library import Library
from echoreel_index.search import Ranking, Weights
from echoreel_index.signals import SIGNALS

FILES = 4


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return open_encoder("mini")


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some files of a drawn folder, the last one twice, and some captions."""
    folder = tmp_path_factory.mktemp("videos")
    for number, scenario in enumerate(scenarios(files=20, actions=4, seed=1)[:FILES]):
        (folder / scenario.file).write_bytes(video_bytes(pictures(scenario), 8.0))
        if number % 2:
            (folder / scenario.file).with_suffix(".txt").write_text(scenario.shots[0].take.caption)
    (folder / "copy.mp4").write_bytes((folder / scenario.file).read_bytes())
    return folder


@pytest.fixture(scope="module")
def library(videos: Path, encoder: Encoder, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Library]:
    opened = Library.create_or_open(tmp_path_factory.mktemp("library") / "library", encoder)
    opened.update([videos], settings=WindowSettings(), workers=1)
    yield opened
    opened.close()


def test_each_way_differs_from_the_one_before_in_one_thing() -> None:
    found = {way.name: way.ranking for way in ways(Ranking())}
    names = list(found)
    assert set(SPOKEN) == set(SIGNALS) and names[len(SPOKEN)] == WHOLE and found[WHOLE] == Ranking()
    before = [0.0] * len(SIGNALS)
    for number, signal in enumerate(SPOKEN):
        weights = found[names[number]].weights
        now = [getattr(weights, name) for name in SPOKEN]
        assert now == [*before[:number], getattr(Weights(), signal), *before[number + 1 :]]
        before = now
    for signal, said in SPOKEN.items():
        assert found[f"full without {said}"] == replace(Ranking(), weights=replace(Weights(), **{signal: 0.0}))
    assert found["full without reference gate"] == replace(Ranking(), gate="off") and len(names) == 2 * len(SPOKEN) + 2


@pytest.mark.parametrize("sentence", ["a person walking in a park", "a person in a red shirt standing still"])
def test_what_is_summed_here_is_the_order_of_the_library(library: Library, encoder: Encoder, sentence: str) -> None:
    hits = library.ranked(sentence, encoder=encoder, ranking=Ranking())
    assert len(hits) == library.count()
    for way in ways(Ranking()):
        own = library.ranked(sentence, encoder=encoder, ranking=way.ranking)
        assert [hit.clip.id for hit in reordered(hits, way.ranking)] == [hit.clip.id for hit in own], way.name


def test_every_way_is_judged_on_every_question(library: Library, encoder: Encoder, videos: Path) -> None:
    files = sorted(str(path) for path in videos.glob("*.mp4"))
    view = View(videos, {file: file for file in files})
    with Decoder() as decoder:
        pooled = pooled_files(files, encoder, decoder)
    asked = [Question("all", "a person walking"), Question("copied", "a person jumping")]
    twice = files[FILES - 1]
    shown = {"all": {file: () for file in files}, "copied": {twice: (), str(videos / "copy.mp4"): ()}}
    rows = answers(
        asked, [Question("none", "a dog asleep")], shown, (1, 5), library=library, view=view, encoder=encoder, pooled=pooled,
        ranking=Ranking(),
    )  # fmt: skip
    assert [row.name for row in rows] == [POOLED, *(way.name for way in ways(Ranking()))]
    for row in rows:
        everything, copied = row.scores
        assert everything.precision == 1 and np.allclose(everything.recall_at, (1 / 5, 1)), row.name
        assert copied.files == 2 and copied.recall_at[1] == 1, "a copy is found with its original"
        assert [score.files for score in row.absent] == [0] and row.floor == (row.name == WHOLE)


def test_a_minimum_score_refuses_beside_the_floor(library: Library, encoder: Encoder, videos: Path) -> None:
    files = sorted(str(path) for path in videos.glob("*.mp4"))
    view = View(videos, {file: file for file in files})
    with Decoder() as decoder:
        pooled = pooled_files(files[:1], encoder, decoder)

    def answered(floor: float, min_score: float | None) -> bool:
        rows = answers(
            [Question("all", "a person walking")], [], {"all": {file: () for file in files}}, (1,), library=library, view=view,
            encoder=encoder, pooled=pooled, ranking=Ranking(floor=floor), min_score=min_score,
        )  # fmt: skip
        return next(row for row in rows if row.name == WHOLE).scores[0].answered

    assert answered(0.0, None) and not answered(0.0, 0.99) and not answered(1.0, None)


def test_a_copy_is_every_video_of_its_content(library: Library, videos: Path) -> None:
    files = sorted(str(path) for path in videos.glob("*.mp4"))
    real = real_files(library, View(videos, {file: file for file in files}))
    assert sorted(np.concatenate([real[file] for file in files[: FILES - 1]]).tolist()) == files[: FILES - 1]
    assert set(real[str(videos / "copy.mp4")]) == {str(videos / "copy.mp4"), files[FILES - 1]}
