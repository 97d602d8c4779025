"""The words of a video: sidecars of every kind, tables, subtitles and names."""

from __future__ import annotations

import csv
import json
import os
import random
from pathlib import Path

import pytest

from echoreel_index.captions import LONGEST, Words, name_words, words
from echoreel_index.sidecars import Folders
from echoreel_index.subtitles import LONGEST_CUE, cues


def test_words_come_from_the_sidecars(tmp_path: Path) -> None:
    video = str(tmp_path / "jump.mp4")
    assert words(video) == Words()
    (tmp_path / "jump.txt").write_text("\ufeff a cat jumps \n", encoding="utf-8")
    assert words(video) == Words("a cat jumps")
    (tmp_path / "jump.json").write_text(json.dumps({"caption": "ein Kater", "source": "https://e.org", "licence": "CC0", "x": 1}))
    said = words(video)
    assert said == Words("ein Kater", "https://e.org", "CC0", more=("a cat jumps",))
    assert said.text == "ein Kater\na cat jumps"


@pytest.mark.parametrize("name", ["jump.json", "jump.info.json", "jump.mp4.json"])
def test_each_json_sidecar_is_read(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text('{"title": "Jump!", "license": "CC-BY", "url": "https://e.org"}')
    assert words(str(tmp_path / "jump.mp4")) == Words("Jump!", "https://e.org", "CC-BY", title="Jump!")


def test_what_a_downloader_wrote(tmp_path: Path) -> None:
    info = {
        "title": "Backflip tutorial", "description": "How to flip.\n" + "x" * 9000, "tags": ["flip", " parkour ", 3, None],
        "categories": ["Sports"],
        "uploader": "Ana", "license": "Creative Commons Attribution license (reuse allowed)", "webpage_url": "https://v.example/1",
        "upload_date": "20240229", "chapters": [{"start_time": 0, "end_time": 4.5, "title": "warm-up"}, {"start_time": "x"}, 7],
        "formats": [{"url": "https://cdn.example/" + "y" * 300}] * 500,
    }  # fmt: skip
    (tmp_path / "v.info.json").write_text(json.dumps(info))
    said = words(str(tmp_path / "v.mp4"))
    assert (said.caption, said.title, said.uploader, said.source) == (
        "Backflip tutorial",
        "Backflip tutorial",
        "Ana",
        "https://v.example/1",
    )
    assert said.licence == "Creative Commons Attribution license (reuse allowed)"
    assert said.tags == ("flip", "parkour", "Sports")
    assert said.date == 1709164800
    assert said.cues == ((0, 4.5, "warm-up"),)
    assert said.text.startswith("Backflip tutorial\nflip\nparkour\nSports\nAna\nHow to flip.") and len(said.text) < 5100


@pytest.mark.parametrize(
    ("date", "seconds"),
    [
        ({"timestamp": 86400, "upload_date": "20240229"}, 86400.0),
        ({"date": "1970-01-02"}, 86400.0),
        ({"date": "1970-01-02T00:00:00+01:00"}, 82800.0),
        ({"upload_date": 20260131}, 1769817600.0),
        ({"date": 20260131.0}, 1769817600.0),
        ({"date": 20261331, "upload_date": 19700102}, 86400.0),
        ({"timestamp": 20260131}, 20260131.0),
        ({"date": 1769817600}, 1769817600.0),
        ({"upload_date": -20260131, "date": float("inf")}, -20260131.0),
        ({"timestamp": True, "upload_date": "yesterday"}, None),
        ({"timestamp": 1e300}, None),
        ({"timestamp": float("nan")}, None),
    ],
)
def test_dates(date: dict[str, object], seconds: float | None, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps(date))
    assert words(str(tmp_path / "a.mp4")).date == seconds


def test_broken_sidecars_say_nothing(tmp_path: Path) -> None:
    nested = "[" * 100_000 + "]" * 100_000
    for text in ("{", "[1]", '{"caption": 3}', "\x00", nested, '{"tags": {"a": 1}, "chapters": "x", "description": ["", 3]}'):
        (tmp_path / "a.json").write_text(text)
        assert words(str(tmp_path / "a.mp4")) == Words()
    (tmp_path / "b.txt").write_bytes(b"caf\xe9")
    assert words(str(tmp_path / "b.mp4")).caption == "caf\ufffd"
    (tmp_path / "c.txt").write_text("a cat", encoding="utf-16")
    assert words(str(tmp_path / "c.mp4")).caption == "a cat"
    (tmp_path / "d.json").write_text('{"caption": "half \\ud83d of \\u0000a pair"}')
    assert words(str(tmp_path / "d.mp4")).caption == "half ? of a pair"
    (tmp_path / "e.txt").write_text("x" * 10_000_000)
    assert len(words(str(tmp_path / "e.mp4")).caption or "") == LONGEST
    (tmp_path / "f.json").mkdir()
    os.mkfifo(tmp_path / "f.txt")
    (tmp_path / "f.srt").write_bytes(os.urandom(5000))
    (tmp_path / "metadata.csv").write_bytes(b'file_name,text\n"f.mp4,\x00\xff\n')
    (tmp_path / "metadata.jsonl").write_bytes(b'{"file_name": "f.mp4"\n[3]\n"f.mp4"\n\xff\n')
    (tmp_path / "captions.json").write_text("3")
    assert words(str(tmp_path / "f.mp4")) == Words()


def test_rows_of_a_video_folder(tmp_path: Path) -> None:
    rows = [
        {"file_name": "clips/a.mp4", "text": "a man jumps", "action": "jump", "split": "train", "fps": "25", "page": "https://e.org/a"},
        {"file_name": "./clips/b.mp4", "text": "a dog runs", "action": "", "split": "", "fps": "", "page": ""},
    ]
    with (tmp_path / "metadata.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]))
        table.writeheader()
        table.writerows(rows)
    folders = Folders()
    root = str(tmp_path)
    said = words(str(tmp_path / "clips" / "a.mp4"), root=root, folders=folders)
    assert said.caption == "a man jumps"
    assert {"jump", "train"} <= set(said.more) and "25" not in said.text and "e.org" not in said.text
    assert words(str(tmp_path / "clips" / "b.mp4"), root=root, folders=folders).caption == "a dog runs"
    assert words(str(tmp_path / "clips" / "c.mp4"), folders=folders) == Words()


@pytest.mark.parametrize(
    ("name", "table"),
    [
        ("captions.jsonl", '{"video": "a.mp4", "caption": "a leap", "licence": "CC0"}\n{"video": "b.mp4", "caption": "no"}\n'),
        ("CAPTIONS.csv", '\ufeffpath,caption,licence\na.mp4,"a leap",CC0\n'),
        ("labels.tsv", "file\tlabel\tlicense\na.mp4\ta leap\tCC0\n"),
        ("manifest.json", '[{"video_path": "a.mp4", "text": "a leap", "license": "CC0"}]'),
        ("annotations.json", '{"videos": [{"video_id": "a", "license": "CC0"}], "sentences": [{"video_id": "a", "caption": "a leap"}]}'),
        ("captions.json", '{"a.mp4": {"caption": "a leap", "licence": "CC0"}, "b.mp4": "no"}'),
        ("train.json", '{"a": {"captions": ["a leap", "a leap"], "licence": "CC0"}}'),
    ],
)
def test_tables_of_many_kinds(name: str, table: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(table, encoding="utf-8")
    said = words(str(tmp_path / "a.mp4"))
    assert (said.caption, said.licence, said.text) == ("a leap", "CC0", "a leap")


def test_what_is_nearer_wins_and_the_rest_is_kept(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    (tmp_path / "captions.csv").write_text("file_name,caption\nfar/a.mp4,from above\n")
    (tmp_path / "far" / "captions.csv").write_text("file_name,caption\na.mp4,from beside\na.mp4,said twice\n")
    (tmp_path / "far" / "a.txt").write_text("its own")
    said = words(str(tmp_path / "far" / "a.mp4"))
    assert said.caption == "its own" and said.more == ("from beside", "said twice", "from above")


def test_a_table_above_the_root_says_nothing(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "captions.csv").write_text("file_name,caption\nin/a.mp4,from above\n")
    assert words(str(tmp_path / "in" / "a.mp4"), root=str(tmp_path / "in")).caption is None
    assert words(str(tmp_path / "in" / "a.mp4"), root=str(tmp_path)).caption == "from above"


def test_folders_are_read_once(tmp_path: Path) -> None:
    table = tmp_path / "captions.csv"
    table.write_text("file_name,caption\na.mp4,one\nb.mp4,two\n")
    folders = Folders()
    assert words(str(tmp_path / "a.mp4"), folders=folders).caption == "one"
    table.write_text("file_name,caption\nb.mp4,three\n")
    assert words(str(tmp_path / "b.mp4"), folders=folders).caption == "two"
    assert words(str(tmp_path / "b.mp4"), folders=Folders()).caption == "three"


def test_subtitles_belong_to_their_moments(tmp_path: Path) -> None:
    (tmp_path / "a.de.srt").write_text("1\n00:00:01,000 --> 00:00:02,000\nauf Deutsch\n")
    shown = "<v Ann>he <b>flips</b> &amp; lands\n\n01:00:00.0 --> 01:00:01.0\nend\n"
    (tmp_path / "a.en.vtt").write_text(f"WEBVTT\n\nintro\n00:01.500 --> 00:03.000 align:start\n{shown}")
    said = words(str(tmp_path / "a.mp4"))
    assert said.cues == ((1.5, 3.0, "he flips & lands"), (3600, 3601, "end"))
    assert said.text == ""
    assert said.during(2.9, 10) == "he flips & lands"
    assert said.during(3.0, 3600) == said.during(0, 1.5) == ""


def test_odd_subtitles() -> None:
    windows = "1\r\n00:00:01,0 --> 00:00:02,0\r\n{\\an8}one\r\ntwo\r\n2\r\n00:00:02,0 --> 00:00:03,0\r\nthree"
    assert cues(windows) == ((1, 2, "one two"), (2, 3, "three"))
    assert cues("00:05 --> 00:04\nbackwards\n\n00:01 --> 00:02\n\n\n--> \n٠٠:٠١ --> ٠٠:٠٢\nx") == ()
    rolling = "00:00 --> 00:01\nfirst\n\n00:01 --> 00:02\nfirst\nsecond\n\n00:02 --> 00:03\nsecond\nthird\n"
    assert [text for _, _, text in cues(rolling)] == ["first", "second", "third"]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/v/BackFlips/take_02-AnnaMaria.mp4", "v back flips take anna maria"),
        ("/v/HTMLVideo 3.backup.mov", "v html video backup"),
        ("/v/跳跃/プール 2.mp4", "v 跳跃 プール"),
        ("/v/हिन्दी-वीडियो.mp4", "v हिन्दी वीडियो"),
        ("/v/Прыжок (2).mkv", "v прыжок"),
        ("/v/A jump [dQw4w9WgXcQ].webm", "v a jump"),
        ("/v/a jump [slow].webm", "v a jump slow"),
        ("/v/jump/jump.mp4", "v jump"),
        ("/v/0001.mp4", "v"),
        ("/elsewhere/jump/01.mp4", "jump"),
    ],
)
def test_names_are_words(path: str, expected: str) -> None:
    assert name_words(path, "/v") == expected


def test_a_file_that_is_its_own_root() -> None:
    assert name_words("/v/a-jump.mp4", "/v/a-jump.mp4") == "a jump"


def test_words_survive_json() -> None:
    said = Words(
        "a “cat”", "https://e.org", None, "A cat", ("x", "ÿ"), "Ana", 12.5, ("more\nlines",), ((0.5, 1.0, "hey"), (1.0, 2.0, "ho"))
    )
    assert Words.from_json(said.to_json()) == said
    assert "\n" not in said.to_json() and Words().to_json() == "{}"
    for odd in ("", "[]", "null", '{"caption": 3, "tags": 4, "date": "x", "cues": [[1], [2, 1, "a"], [0, 1, 5]], "more": {"a": 1}}'):
        assert Words.from_json(odd) == Words()


ODD = (
    "a", "é", "e\u0301", "跳", "👩\u200d🚀", " ", "\u00a0", "\u2028", "\u3000",
    "\t", "\n", "\r", ",", "\x01", "\x85", "\u202e", "&#x202e;", "<b>",
)  # fmt: skip


def odd_text(chance: random.Random, about: int) -> str:
    """Nearly as long as what is kept, or a little longer, with blanks and signs that nobody sees wherever the cut may fall."""
    filling = chance.choice(("x", "x ", " x", "é\u3000", ""))
    return "".join((*chance.choices(ODD, k=6), (filling * about)[: about - 12 + chance.randrange(12)], *chance.choices(ODD, k=12)))


@pytest.mark.parametrize("seed", range(40))
def test_words_of_odd_files_survive_json(seed: int, tmp_path: Path) -> None:
    chance = random.Random(seed)

    def text() -> str:
        return odd_text(chance, LONGEST)

    (tmp_path / "a.txt").write_text(text(), encoding="utf-8", newline="")
    chapters = [{"start_time": n, "end_time": n + 1, "title": odd_text(chance, LONGEST_CUE)} for n in range(3)]
    said = {"title": text(), "tags": [text(), "\x01"], "keywords": text(), "description": text(), "uploader": text(), "licence": "\ud83d "}
    (tmp_path / "a.json").write_text(json.dumps({**said, "chapters": [*chapters, {"start_time": 0, "end_time": 1, "title": "\x01"}]}))
    lines = "".join(f"{n}:00 --> {n}:01\n{odd_text(chance, LONGEST_CUE)}\n\n" for n in range(5))
    (tmp_path / "a.srt").write_text(lines, encoding="utf-8", newline="")
    (tmp_path / "b.txt").write_text(text(), encoding="utf-8", newline="")
    for name in ("a.mp4", "b.mp4"):
        found = words(str(tmp_path / name))
        assert found.caption and Words.from_json(found.to_json()) == found


@pytest.mark.parametrize("caption", ["x" * (LONGEST + 1), "x" * (LONGEST - 1) + " y", "\x01 x"])
def test_long_captions_survive_json(caption: str, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(caption)
    (tmp_path / "a.srt").write_text(f"0:00 --> 0:01\n{'x' * (LONGEST_CUE - 1)} y\n\n0:02 --> 0:03\n&#x202e;\n")
    (tmp_path / "a.json").write_text('{"date": "9999-01-01"}')
    found = words(str(tmp_path / "a.mp4"))
    assert found.cues == ((0, 1, "x" * (LONGEST_CUE - 1)),) and found.date is None
    assert Words.from_json(found.to_json()) == found
