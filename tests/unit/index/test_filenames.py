"""Names that strangers chose, sections that users wrote, sizes and suffixes."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from echoreel_index.errors import UsageError
from echoreel_index.filenames import free_path, is_text, safe_part, safe_path, safe_stem, video_suffix
from echoreel_index.origins import sidecar_of
from echoreel_index.sections import Section, parse_section


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a jump", "a jump"),
        ("跳跃 プール हिन्दी Прыжок قفز 점프", "跳跃 プール हिन्दी Прыжок قفز 점프"),
        ("می‌خواهم 👩‍🚀", "می‌خواهم 👩‍🚀"),
        ("e\u0301te\u0301", "été"),
        ("../../etc/passwd", "_.._etc_passwd"),
        ("..\\..\\x", "_.._x"),
        ("/abs", "_abs"),
        ("C:\\x", "C__x"),
        ("...", "video"),
        ("", "video"),
        (" . hidden .", "hidden"),
        ("--exec rm", "exec rm"),
        ("~root", "root"),
        ("CON", "_CON"),
        ("nul.tar", "_nul.tar"),
        ("com1", "_com1"),
        ("console", "console"),
        ("a\x00b\nc\td\x1b[31m\x9b", "ab c d[31m"),
        ("exe\u202egpj.\ud83d!", "exegpj.!"),
        ('q? "x" <y> *|', "q_ _x_ _y_ __"),
    ],
)
def test_safe_names(name: str, expected: str) -> None:
    assert safe_stem(name) == expected


def test_long_names_are_cut_between_letters() -> None:
    for letter in ("x", "й", "跳", "👩"):
        cut = safe_stem(letter * 400)
        assert cut == letter * len(cut) and 200 - len(letter.encode()) < len(cut.encode()) <= 200
    assert safe_part("é" * 3 + "u\u0323\u0308" * 200, 10) == "ééé"[:3] + "ụ̈"[:1] or len(safe_part("u\u0323\u0308" * 200, 10).encode()) <= 10
    assert safe_part("x" * 139 + "q\u0323\u0308") == "x" * 139


def test_templates_may_make_folders_but_not_leave() -> None:
    assert safe_path("Ana/a jump") == Path("Ana/a jump")
    assert safe_path("/../..//con/./x") == Path("_con/x")
    assert safe_path("/") == safe_path("..") == Path("video")


def test_free_paths(tmp_path: Path) -> None:
    assert free_path(tmp_path, Path("a"), ".mp4", sidecar_of, lambda path: False) == tmp_path / "a.mp4"
    (tmp_path / "a.mp4").touch()
    (tmp_path / "a (2).mp4").symlink_to("nowhere")
    assert free_path(tmp_path, Path("a"), ".mp4", sidecar_of, lambda path: False) == tmp_path / "a (3).mp4"
    assert free_path(tmp_path, Path("a"), ".mp4", sidecar_of, lambda path: path.name == "a.mp4") == tmp_path / "a.mp4"
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "link").symlink_to(tmp_path)
    with pytest.raises(ValueError, match="leads out of"):
        free_path(tmp_path / "in", Path("link/a"), ".mp4", sidecar_of, lambda path: False)


def test_a_name_whose_sidecar_belongs_to_another_video_is_not_free(tmp_path: Path) -> None:
    (tmp_path / "a.info.json").write_text("{}")
    assert free_path(tmp_path, Path("a"), ".webm", sidecar_of, lambda path: False) == tmp_path / "a (2).webm"
    (tmp_path / "a (2).info.json").symlink_to("nowhere")
    assert free_path(tmp_path, Path("a"), ".webm", sidecar_of, lambda path: False) == tmp_path / "a (3).webm"
    assert free_path(tmp_path, Path("a"), ".webm", sidecar_of, lambda path: path.name == "a.webm") == tmp_path / "a.webm"


@pytest.mark.parametrize(
    ("head", "told", "suffix"),
    [
        (b"\0\0\0 ftypisom", "mp4", ".mp4"),
        (b"\0\0\0 ftypisom", "M4V", ".m4v"),
        (b"\0\0\0 ftypisom", "html", ".mp4"),
        (b"\0\0\0 ftypisom", "webm", ".mp4"),
        (b"\0\0\0 ftypqt  ", "php", ".mov"),
        (b"\x1aE\xdf\xa3....webm", "unknown_video", ".webm"),
        (b"\x1aE\xdf\xa3....matroska", "mp4", ".mkv"),
        (b"RIFF....AVI LIST", "mp4", ".avi"),
        (b"G" + b"\0" * 187 + b"G", "mp4", ".ts"),
        (b"FLV\x01", "", ".flv"),
        (b"GIF89a", "mp4", ".gif"),
        (b"\0\0\x01\xba", "mpeg", ".mpeg"),
        (b"\0\0\0\0", "../x", ".mp4"),
    ],
)
def test_suffixes_follow_the_content(head: bytes, told: str, suffix: str) -> None:
    assert video_suffix(head, told) == suffix


def test_text_is_told_from_video() -> None:
    assert is_text(b"<!DOCTYPE html>\r\n\t<p>caf\xc3\xa9\x1b[0m") and is_text(b"") and is_text(b"#EXTM3U\n")
    assert not is_text(b"\0\0\0 ftypisom") and not is_text(b"YUV4MPEG2 W2 H2\nFRAME\n\x10\x10")


@pytest.mark.parametrize(
    ("text", "start", "end"),
    [
        ("10-20", 10, 20), ("1:05.5-1:10", 65.5, 70), ("1:00:00-1:00:01", 3600, 3601), ("30-", 30, math.inf), ("-5", 0, 5),
        (" 0 - inf ", 0, math.inf),
    ],
)  # fmt: skip
def test_sections(text: str, start: float, end: float) -> None:
    assert parse_section(text) == Section(start, end)
    assert parse_section(str(Section(start, end))) == Section(start, end)


@pytest.mark.parametrize("text", ["", "-", "5", "20-10", "5-5", "a-b", "1:2:3:4-5", "1-2-3", "-inf-3", "１-２"])
def test_what_is_no_section(text: str) -> None:
    with pytest.raises(UsageError):
        parse_section(text)
