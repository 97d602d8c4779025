"""Times that people write: one reading of them, wherever they stand."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from echoreel_cli.generate.prompts import parse_reference
from echoreel_index.errors import UsageError
from echoreel_index.moments import seconds_of, span_of
from echoreel_index.query import parse_term
from echoreel_index.sections import parse_section
from echoreel_index.subtitles import cues


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("3.5", 3.5), ("3", 3), ("3.", 3), (".5", 0.5), ("1:03.5", 63.5), ("1:00:03.5", 3603.5), ("0:90", 90), ("90:00", 5400)],
)
def test_moments(text: str, seconds: float) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize(
    "text",
    ["", ".", "a", ":", "1:", ":1", "1:2:3:4", "1.5:30", "1..2", "1.2.3", "-1", "1e3", "inf", "nan", "1_0", "1,5", "１", "9" * 400, " 1"],
)
def test_what_is_no_moment(text: str) -> None:
    with pytest.raises(ValueError):
        seconds_of(text)


SPANS = [
    ("10-20", 10.0, 20.0), ("1:05.5-1:10", 65.5, 70.0), ("1:00:00-1:00:01", 3600.0, 3601.0), (".5-1.", 0.5, 1.0), ("30-", 30.0, None),
    ("30-inf", 30.0, None), ("-5", 0.0, 5.0), ("-1:05", 0.0, 65.0),
]  # fmt: skip


@pytest.mark.parametrize(("text", "start", "end"), SPANS)
def test_a_span_means_the_same_everywhere(text: str, start: float, end: float | None, tmp_path: Path) -> None:
    file = tmp_path / "clip.mp4"
    file.touch()
    assert span_of(text) == (start, end)
    assert (parse_term(f"{file}@{text}").start, parse_term(f"{file}@{text}").end) == (start, end)
    last = math.inf if end is None else end
    assert (parse_section(text).start, parse_section(text).end) == (start, last)
    assert (parse_reference(f"{file}@{text}").start, parse_reference(f"{file}@{text}").end) == (start, last)


@pytest.mark.parametrize(
    "text", ["", "-", "5", "a-b", "1:2:3:4-", "0-1:2:3:4", "1.5:30-", "1-2-3", "-inf-3", "inf-", "１-２", f"0-{'9' * 400}"]
)
def test_what_is_no_span_is_none_anywhere(text: str, tmp_path: Path) -> None:
    file = tmp_path / "clip.mp4"
    file.touch()
    with pytest.raises(ValueError):
        span_of(text)
    for read in (parse_term, parse_reference):
        with pytest.raises(UsageError, match="cannot read the times"):
            read(f"{file}@{text}")
    with pytest.raises(UsageError, match="no section"):
        parse_section(text)


def test_subtitles_keep_their_own_format() -> None:
    assert cues("01:00:01,5 --> 01:00:02.25\na\n") == ((3601.5, 3602.25, "a"),)
    assert cues("1.5 --> 2.5\na\n") == ()


def test_references_and_queries_name_files_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for name in ("clip.mp4", "take@1-2", "~odd.mp4"):
        Path(name).touch()
    for text in ("~odd.mp4", "clip.mp4", "./clip.mp4@1-2", "~/clip.mp4@1-2", "take@1-2", "take@1-2@0-1"):
        assert parse_reference(text).path == parse_term(text).path
    assert parse_reference("take@1-2@0-1").end == parse_term("take@1-2@0-1").end == 1
    Path("far/away").mkdir(parents=True)
    Path("link").symlink_to("far/away")
    Path("far/clip.mp4").touch()
    assert Path(parse_reference("link/../clip.mp4").path).samefile("far/clip.mp4")
    assert Path(parse_term("link/../clip.mp4@0-1").path or "").samefile("far/clip.mp4")
