"""The report: figures that can be checked by hand, a table and a plot that show them, and the plain search behind the first row."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from echoreel_cli.measure.retrieval import Found, Score, Span, judge
from echoreel_cli.measure.retrieval_baseline import pooled_files
from echoreel_cli.measure.retrieval_plot import BASE, PAPER, WHOLE, plot
from echoreel_cli.measure.retrieval_report import Row, as_csv, queries_as_csv, report, table
from echoreel_index.decode import Decoder
from echoreel_index.encode import unit
from echoreel_index.nouns import EncoderCard
from tests.conftest import DrawVideo

TRUTH: dict[str, dict[str, tuple[Span, ...]]] = {"jump": {"a": ()}, "run": {"b": ()}, "fall": {"c": ((0.0, 2.0),)}, "sit": {"d": ()}}
KS = (1, 2)
ABOUT: dict[str, object] = {"files": 4, "windows": 8, "encoder": "mini", "whole": "full"}


def scored(label: str, order: str, *, accepted: bool = True) -> Score:
    ranking = [Found(file, 0, 2, accepted) for file in order]
    return judge(label, f"a person who does {label}", ranking, TRUTH.get(label, {}), KS)


@pytest.fixture
def rows() -> list[Row]:
    """A first row that finds every file in the second place, and a whole one that finds all but one in the first."""
    first = tuple(scored(label, order) for label, order in (("jump", "ba"), ("run", "ab"), ("fall", "ac"), ("sit", "ad")))
    better = tuple(scored(label, order) for label, order in (("jump", "ab"), ("run", "ba"), ("fall", "cb")))
    unsure = scored("sit", "ad", accepted=False)
    absent = (scored("fly", "ab", accepted=False), scored("swim", "ab", accepted=True))
    return [Row("plain", first, absent, floor=False), Row("full", (*better, unsure), absent)]


@pytest.fixture
def result(rows: list[Row]) -> dict[str, Any]:
    return report(rows, ks=KS, seed=5, about=ABOUT)


def test_figures_by_hand(rows: list[Row], result: dict[str, Any]) -> None:
    plain, full = result["rows"]
    assert result["schema"] == "echoreel.eval-retrieval/1"
    assert (result["labels"], result["queries"], result["absent_queries"]) == (4, 4, 2)
    assert plain["map"] == {"mean": 0.5, "interval": [0.5, 0.5]} and plain["gain"] == {"mean": 0, "interval": [0, 0]}
    assert full["map"]["mean"] == 0.875 and full["gain"]["mean"] == 0.375
    low, high = full["gain"]["interval"]
    assert low == pytest.approx(full["map"]["interval"][0] - 0.5, abs=1e-3) and high == 0.5, "differences are of the same resamples"
    assert plain["recall"] == {"1": {"mean": 0, "interval": [0, 0]}, "2": {"mean": 1, "interval": [1, 1]}}
    assert full["precision"]["1"]["mean"] == 0.75 and full["precision"]["2"]["mean"] == 0.5
    assert "floor" not in plain
    assert full["floor"]["refused"]["mean"] == 0.25 and full["floor"]["right_of_answered"]["mean"] == 1
    assert full["floor"]["refused_of_absent"]["mean"] == 0.5
    assert report(rows, ks=KS, seed=5, about=ABOUT) == result
    assert report(rows, ks=KS, seed=6, about=ABOUT)["rows"][0] == plain, "what does not vary has no interval to draw"


def test_nothing_answered_and_nothing_absent_are_said_as_such(rows: list[Row]) -> None:
    silent = Row("full", tuple(scored(label, "a", accepted=False) for label in TRUTH))
    result = report([silent], ks=KS, seed=0, about=ABOUT)
    assert result["rows"][0]["floor"]["right_of_answered"] is None and result["rows"][0]["floor"]["refused_of_absent"] is None
    assert "above the floor: none" in table(result)[-1]
    with pytest.raises(ValueError, match="nothing to report"):
        report([], ks=KS, seed=0, about=ABOUT)


def test_the_table_shows_all_rows_and_what_the_floor_does(result: dict[str, Any]) -> None:
    lines = table(result)
    assert len(lines) == 5 and lines[0].split() == "ranking mAP 95 % interval gain 95 % interval files R@1 R@2 P@1 P@2".split()
    assert lines[1].startswith("plain     50.0   50.0 to 50.0   +0.0") and lines[2].split()[:2] == ["full", "87.5"]
    assert "+37.5" in lines[2] and {len(line) for line in lines[:3]} == {len(lines[0])}
    assert "100.0 % (100.0 to 100.0) of the first answers are right; refused: 25.0 %" in lines[3]
    assert lines[4].startswith("of 2 queries for actions that are not there, refused: 50.0 %")


def test_tables_for_a_spreadsheet(rows: list[Row], result: dict[str, Any]) -> None:
    first, second = csv.DictReader(io.StringIO(as_csv(result)))
    assert first["ranking"] == "plain" and float(second["map"]) == 0.875 and float(second["precision_at_2"]) == 0.5
    assert float(second["map_low"]) == result["rows"][1]["map"]["interval"][0]
    queries = list(csv.DictReader(io.StringIO(queries_as_csv(rows))))
    assert len(queries) == 12
    assert queries[9] == {
        "ranking": "full", "label": "sit", "sentence": "a person who does sit", "files": "1", "average_precision": "0.5",
        "first_is_right": "0", "answered": "0",
    }  # fmt: skip


def test_bars_are_as_long_as_their_figures(result: dict[str, Any]) -> None:
    picture = np.asarray(plot(result))
    for colour, share in ((BASE, 0.5), (WHOLE, 0.875)):
        places = np.argwhere((picture == colour).all(-1))
        rows, columns = places[:, 0], places[:, 1]
        row = np.bincount(rows).argmax()
        own = columns[rows == row]
        assert own.max() - own.min() == pytest.approx(900 * share, abs=2)
    assert tuple(picture[0, 0]) == PAPER


class MeanColour:
    """Sees the mean colour of a frame, and reads the names of three."""

    card = EncoderCard("colour", 3, "c" * 64)
    frame_size = 32
    logit_scale = 100.0

    def embed_frames(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        return unit(frames.astype(np.float32).mean((1, 2)))

    def embed_texts(self, texts: list[str]) -> NDArray[np.float32]:
        return unit(np.array([[name in text for name in ("red", "green", "blue")] for text in texts], np.float32))


def test_the_plain_search_pools_files_and_leaves_out_what_cannot_be_read(tmp_path: Path, draw_video: DrawVideo) -> None:
    files = [
        str(draw_video(tmp_path / f"{number}.mp4", seconds=1, ground=ground, colour=ground))
        for number, ground in enumerate([(200, 10, 10), (10, 200, 10), (10, 100, 100)])
    ]
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    encoder = MeanColour()
    with Decoder() as decoder:
        pooled = pooled_files([*files, str(tmp_path / "bad.mp4")], encoder, decoder)
    assert pooled.files == tuple(files) and pooled.ends == pytest.approx((1, 1, 1), abs=0.01)
    assert np.allclose(np.linalg.norm(pooled.vectors, axis=1), 1)
    assert [found.file for found in pooled.ranked(encoder.embed_texts(["green"])[0])] == [files[1], files[2], files[0]]
    assert [found.file for found in pooled.ranked(encoder.embed_texts(["blue"])[0])][0] == files[2]
