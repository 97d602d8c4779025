"""`echoreel library`: what each command prints, and how it ends."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from echoreel_index.database import DATABASE
from echoreel_index.store import VECTORS

Cli = Callable[..., Any]


@pytest.fixture(scope="module")
def indexed(tmp_path_factory: pytest.TempPathFactory, draw_video: Any) -> Path:
    """A folder with videos of two kinds, one with words, one broken, and a library of them made by the bundled encoder."""
    from echoreel_cli.app import main

    home = tmp_path_factory.mktemp("indexed")
    draw_video(home / "videos" / "walk.mp4", seconds=3)
    draw_video(home / "videos" / "gym" / "flip.mp4", seconds=3, colour=(40, 200, 60))
    (home / "videos" / "walk.json").write_text(json.dumps({"caption": "a square walks", "license": "CC0", "tags": ["walk", "square"]}))
    (home / "videos" / "gym" / "flip.srt").write_text("1\n00:00:00,000 --> 00:00:01,000\nand jump\n")
    (home / "videos" / "broken.mp4").write_bytes(b"nothing")
    assert main(["index", str(home / "videos"), "--encoder", "mini", "--library", str(home / "library"), "-q"]) == 4
    return home


@pytest.fixture
def home(indexed: Path, tmp_path: Path) -> Path:
    """A library that a test may spoil; the videos stay where they are."""
    shutil.copytree(indexed / "library", tmp_path / "library")
    return tmp_path


@pytest.fixture
def run(home: Path, cli: Cli) -> Cli:
    """`run("list", "-q")` is `echoreel library list -q` on that library."""
    return lambda command, *words: cli("library", command, *words, "--library", home / "library")


def objects(text: str) -> list[Any]:
    return [json.loads(line) for line in text.splitlines()]


def test_list_tells_files_and_failures(run: Cli, indexed: Path) -> None:
    done = run("list")
    assert done.code == 0 and done.err == "2 files\n"
    flip, walk = done.out.splitlines()
    assert flip.split()[:2] == ["2", "0:03"] and walk.split()[-4:] == [str(indexed / "videos" / "walk.mp4"), "a", "square", "walks"]
    rows = objects(run("list", "--json").out)
    assert {row["schema"] for row in rows} == {"echoreel.library-file/1"}
    assert (rows[1]["caption"], rows[1]["licence"], rows[1]["tags"], rows[1]["cues"]) == ("a square walks", "CC0", ["walk", "square"], 0)
    assert rows[0]["windows"] == 2 and rows[0]["cues"] == 1 and rows[0]["present"] and rows[0]["current"] and rows[0]["codec"] == "h264"
    for under in (str(indexed / "videos" / "gym"), "*/gym/*.mp4", str(indexed / "videos" / "gym" / "flip.mp4")):
        assert run("list", "-q", "--under", under).out.splitlines() == [str(indexed / "videos" / "gym" / "flip.mp4")]
    assert run("list", "-q", "--under", "/nowhere").out == "" and run("list", "-q", "--missing").out == ""
    failed = objects(run("list", "--failed", "--json").out)
    assert [row["path"] for row in failed] == [str(indexed / "videos" / "broken.mp4")] and failed[0]["message"]
    assert run("list", "--failed", "-q").out == f"{indexed / 'videos' / 'broken.mp4'}\n"


def test_show_a_library_a_file_and_a_window(run: Cli, home: Path, indexed: Path) -> None:
    text = run("show").out
    assert "encoder     mini, 128 numbers" in text and "1 file: echoreel library list --failed" in text and "exact" in text
    about = objects(run("show", "--json").out)[0]
    assert about["schema"] == "echoreel.library-show/1" and (about["files"], about["windows"], about["failures"]) == (2, 4, 1)
    assert about["bytes"]["database"] > 4096 and about["vectors"] == {"setting": "auto", "form": "exact", "recall": 1.0, "current": True}
    assert about["roots"] == [{"path": str(indexed / "videos"), "present": True}] and about["settings"].startswith("length=2 stride=1")
    assert run("show", "-q").out == f"{home / 'library'}\n"
    flip = indexed / "videos" / "gym" / "flip.mp4"
    file = objects(run("show", flip, "--json").out)[0]
    assert file["schema"] == "echoreel.library-file-show/1" and [one["said"] for one in file["inside"]] == ["and jump", ""]
    first, second = run("show", flip, "-q").out.split()
    assert "and jump" in run("show", flip).out and first in run("show", flip).out
    window = objects(run("show", first, "--json").out)[0]
    assert window["schema"] == "echoreel.library-window/1" and (window["path"], window["start"]) == (str(flip), 0.0)
    assert 0 <= window["motion"] <= 1 and 0 <= window["brightness"] <= 1 and window["one_shot"] is True
    assert run("show", second).out.splitlines()[0] == str(flip)


@pytest.mark.parametrize(
    ("words", "code", "says", "hint"),
    [
        (("show", "0123456789abcdef"), 2, "no file and no window", "library list"),
        (("remove", "/nowhere"), 2, "knows nothing at /nowhere", "library list"),
        (("remove", "/nowhere", "--unban"), 2, "is not banned", "nothing is banned"),
        (("remove", "x", "--ban", "--unban"), 2, "exclude each other", ""),
        (("export", "--vectors", "x.parquet"), 2, "no .npz", "--vectors windows.npz"),
        (("export", "-o", "/nowhere/x.jsonl"), 2, "there is no folder /nowhere", ""),
        (("merge", "/nowhere"), 1, "there is no library in /nowhere", "library show"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(words: tuple[str, ...], code: int, says: str, hint: str, run: Cli) -> None:
    done = run(*words)
    assert done.code == code and done.out == ""
    first, *rest = done.err.splitlines()
    assert first.startswith("error: ") and says in first and hint in "".join(rest) and len(rest) <= 1


def test_a_file_that_could_not_be_read_says_why(run: Cli, indexed: Path) -> None:
    done = run("show", indexed / "videos" / "broken.mp4")
    assert done.code == 1 and "could not be read" in done.err and "--retry" in done.err


def test_no_library_is_said(cli: Cli, tmp_path: Path) -> None:
    for command in ("list", "show", "verify", "rebuild", "export"):
        done = cli("library", command, "--library", tmp_path / "none")
        assert done.code == 1 and "there is no library" in done.err and not (tmp_path / "none").exists()


def test_remove_ban_and_unban(run: Cli, indexed: Path, home: Path, cli: Cli) -> None:
    walk = indexed / "videos" / "walk.mp4"
    dry = run("remove", walk, "--dry-run")
    assert dry.out == f"forget  {walk}\n" and "would forget 1 file and 2 windows" in dry.err and len(run("list", "-q").out.split()) == 2
    done = run("remove", walk)
    assert done.out == "forgot 1 file and 2 windows\n" and "will be back with the next echoreel index" in done.err
    assert run("list", "-q").out == f"{indexed / 'videos' / 'gym' / 'flip.mp4'}\n"
    banned = objects(run("remove", indexed / "videos" / "gym", "--ban", "--json").out)[0]
    assert banned["schema"] == "echoreel.library-remove/1" and banned["banned"] == [str(indexed / "videos" / "gym")]
    assert banned["returning"] == [] and f"banned      {indexed / 'videos' / 'gym'}" in run("show").out
    plan = objects(cli("index", "--library", home / "library", "--dry-run", "--json").out)[0]
    assert plan["new"] == [str(walk)]
    freed = objects(run("remove", indexed / "videos" / "gym", "--unban", "--json").out)[0]
    assert freed == {"schema": "echoreel.library-unban/1", "dry_run": False, "paths": [str(indexed / "videos" / "gym")]}
    assert len(objects(cli("index", "--library", home / "library", "--dry-run", "--json").out)[0]["new"]) == 2
    assert run("remove", indexed / "videos", "-q").out == f"{indexed / 'videos' / 'broken.mp4'}\n"


def test_verify_and_rebuild(run: Cli, home: Path) -> None:
    done = run("verify", "--deep")
    assert done.code == 0 and done.err == "" and [line.split()[:2] for line in done.out.splitlines()] == [
        ["ok", name] for name in ("database", "windows", "looks", "captions", "words", "vectors", "files")
    ]
    assert run("verify", "-q").out == ""
    (home / "library" / VECTORS).write_bytes(b"not this")
    done = run("verify")
    assert done.code == 1 and "is damaged: vectors" in done.err and "hint: echoreel library rebuild" in done.err
    assert run("verify", "-q").out.startswith(f"vectors: {VECTORS}: is not the file that was written")
    report = objects(run("verify", "--json").out)[0]
    assert report["schema"] == "echoreel.library-verify/1" and report["damaged"]
    assert [check["check"] for check in report["checks"] if check["damaged"]] == ["vectors"]
    done = run("rebuild", "--json")
    assert objects(done.out)[0] == {
        "schema": "echoreel.library-rebuild/1", "library": str(home / "library"), "windows": 4, "dropped": 0, "again": [], "files": 2,
    }  # fmt: skip
    assert run("verify").code == 0 and run("rebuild", "-q").out == ""
    assert "4 windows and the words of 2 files; 0 damaged windows dropped" in run("rebuild").out
    (home / "library" / DATABASE).write_bytes(b"SQLite format 3\0" + b"\xff" * 4096)
    done = run("verify")
    assert done.code == 1 and "cannot be read" in done.err and "delete the folder and index again" in done.err


def test_export_lines_and_vectors(run: Cli, home: Path) -> None:
    lines = objects(run("export", "-q").out)
    assert len(lines) == 4 and {line["schema"] for line in lines} == {"echoreel.library-window/1"}
    done = run("export", "-o", home / "all.jsonl", "--vectors", home / "all.npz")
    assert done.code == 0 and done.out == "" and "4 windows written to" in done.err
    assert objects((home / "all.jsonl").read_text()) == lines
    with np.load(home / "all.npz", allow_pickle=False) as arrays:
        assert arrays["ids"].tolist() == [line["id"] for line in lines] and arrays["vectors"].shape == (4, 128)
    again = run("export", "-o", home / "all.jsonl")
    assert again.code == 2 and "is there already" in again.err
    assert run("export", "-o", home / "all.jsonl", "--force", "--under", "*/gym/*", "-q").code == 0
    assert len(objects((home / "all.jsonl").read_text())) == 2


def test_merge_makes_a_library_or_adds_to_one(cli: Cli, home: Path, indexed: Path, run: Cli) -> None:
    dry = cli("library", "merge", home / "library", "--library", home / "all", "--dry-run", "--json")
    told = objects(dry.out)[0]
    assert told["schema"] == "echoreel.library-merge/1" and (told["dry_run"], told["files"], told["windows"]) == (True, 2, 4)
    assert not (home / "all").exists()
    run("remove", indexed / "videos" / "walk.mp4")
    done = cli("library", "merge", home / "library", indexed / "library", "--library", home / "all")
    assert done.code == 0 and done.out.splitlines() == [
        f"took 1 file and 2 windows from {home / 'library'}",
        f"took 1 file and 2 windows from {indexed / 'library'}, 1 known here already",
    ]
    assert cli("library", "verify", "--library", home / "all").code == 0
    assert cli("library", "merge", indexed / "library", "--library", home / "all", "-q").out == f"{indexed / 'library'}\n"
