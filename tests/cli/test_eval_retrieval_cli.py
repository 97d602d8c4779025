"""`echoreel eval haystack` and `echoreel eval retrieval`: a drawn folder is searched, and nothing that is measured leaks into the index."""

from __future__ import annotations

import csv
import json
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from echoreel_cli.generate.write import video_bytes
from echoreel_cli.mini.actions import action_named
from echoreel_cli.mini.haystack import draw_haystack
from echoreel_cli.mini.world import film, take_action

Cli = Callable[..., Any]


@pytest.fixture(scope="module")
def hay(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six files of four to eight seconds in which two actions are shown."""
    folder = tmp_path_factory.mktemp("hay") / "hay"
    draw_haystack(folder, save=lambda path, frames, fps: _write(path, frames, fps), files=6, actions=2, seed=2)
    (folder / "absent.txt").write_text("swim\nhandstand\n")  # fewer than there are: each is asked in every way
    return folder


def _write(path: Path, frames: Any, fps: float) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(video_bytes(frames, fps))


@pytest.fixture(scope="module")
def sorted_videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four files of a second each in folders that are called as what they show."""
    import numpy as np

    top, rng = tmp_path_factory.mktemp("sorted") / "videos", np.random.default_rng(0)
    for name in ("backflip", "jumping jack"):
        for number in range(2):
            frames = film([take_action(action_named(name), rng)])[0].numpy()
            _write(top / name.replace(" ", "_") / f"{name.replace(' ', '_')}_{number}.mp4", frames, 8.0)
    return top


def words_of(hay: Path) -> list[str | Path]:
    return [
        hay / "videos",
        "--labels",
        hay / "truth.jsonl",
        "--queries",
        hay / "queries.json",
        "--absent",
        hay / "absent.txt",
        "--encoder",
        "mini",
    ]


def everything_stored(folder: Path) -> str:
    """All text in all databases below the folder."""
    found: list[str] = []
    for path in folder.rglob("*"):
        if path.is_file() and path.read_bytes()[:15] == b"SQLite format 3":
            with sqlite3.connect(path) as database:
                found += list(database.iterdump())
            database.close()
    assert found
    return "\n".join(found)


def test_a_haystack_is_drawn_once(cli: Cli, tmp_path: Path) -> None:
    done = cli("eval", "haystack", tmp_path / "hay", "--files", "4", "--actions", "2", "--seed", "1", "--json")
    assert done.code == 0, done.err
    [line] = done.out.splitlines()
    result = json.loads(line)
    assert result["schema"] == "echoreel.haystack/1" and (result["files"], result["actions"], result["seed"]) == (4, 2, 1)
    assert all(Path(result[name]).exists() for name in ("videos", "labels", "queries", "absent"))
    assert len(list(Path(result["videos"]).glob("*.mp4"))) == 4
    done = cli("eval", "haystack", tmp_path / "hay")
    assert done.code == 2 and "already exists" in done.err and done.out == ""
    done = cli("eval", "haystack", tmp_path / "other", "--files", "3", "--actions", "9")
    assert done.code == 2 and "too few" in done.err and not (tmp_path / "other").exists()


def test_a_drawn_folder_is_measured_and_everything_is_written(cli: Cli, hay: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = cli("eval", "retrieval", *words_of(hay), "--k", "2,1", "--out", out, "--json")
    assert done.code == 0, done.err
    [line] = done.out.splitlines()
    result = json.loads(line)
    assert result["schema"] == "echoreel.eval-retrieval/1" and result["k"] == [1, 2] and result["encoder"] == "mini"
    assert result["files"] == 6 and result["labels"] == 2 and result["unreadable"] == 0 and result["absent_queries"] == 3
    names = [row["name"] for row in result["rows"]]
    assert names[0] == "mean-pooled files" and result["whole"] in names
    for row in result["rows"]:
        low, high = row["map"]["interval"]
        assert 0 <= low <= row["map"]["mean"] <= high <= 1 and row["map_of_files"]["mean"] >= row["map"]["mean"]
    assert json.loads((out / "eval.json").read_text()) == result
    with (out / "rankings.csv").open() as file:
        assert [row["ranking"] for row in csv.DictReader(file)] == names
    with (out / "queries.csv").open() as file:
        assert len(list(csv.DictReader(file))) == len(names) * (result["queries"] + result["absent_queries"])
    assert (out / "eval.png").read_bytes()[:4] == b"\x89PNG"
    again = cli("eval", "retrieval", *words_of(hay), "--k", "1,2", "--out", out)
    assert again.code == 0 and len(again.out.splitlines()) == 1 + len(names) + 3
    assert f"{result['queries']} queries about 2 actions, 6 files" in again.out.splitlines()[-1]
    quiet = cli("eval", "retrieval", *words_of(hay), "--k", "1,2", "--out", out, "--quiet")
    assert quiet.out.splitlines() == [str(out / name) for name in ("eval.json", "rankings.csv", "queries.csv", "eval.png")]


def test_names_of_folders_are_no_words(cli: Cli, sorted_videos: Path, tmp_path: Path) -> None:
    for name, secret in (("backflip", "quuxercise"), ("jumping_jack", "Zzyzxing")):
        for number in range(2):
            target = tmp_path / "videos" / secret / f"{secret}_{number}.mp4"
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(sorted_videos / name / f"{name}_{number}.mp4", target)
    done = cli(
        "eval", "retrieval", tmp_path / "videos", "--template", "doing a {label}", "--encoder", "mini", "--out", tmp_path / "out", "--json"
    )
    assert done.code == 0, done.err
    result = json.loads(done.out)
    assert (result["files"], result["labels"], result["queries"]) == (4, 2, 2)
    assert "doing a zzyzxing" in (tmp_path / "out" / "queries.csv").read_text()
    stored = everything_stored(tmp_path / "out" / "library").lower()
    assert "quuxerc" not in stored and "zzyzx" not in stored


def test_a_file_of_labels_among_the_videos_is_no_table_of_captions(cli: Cli, sorted_videos: Path, tmp_path: Path) -> None:
    shutil.copytree(sorted_videos / "backflip", tmp_path / "videos")
    labels = tmp_path / "videos" / "labels.csv"
    labels.write_text("file,label,start,end\nbackflip_0.mp4,quuxercising,0,1\nbackflip_1.mp4,quuxercising,,\n")
    done = cli("eval", "retrieval", tmp_path / "videos", "--labels", labels, "--encoder", "mini", "--out", tmp_path / "out", "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["rows"][0]["map"]["mean"] == 1, "there is nothing else to find"
    stored = everything_stored(tmp_path / "out" / "library").lower()
    assert "quuxerc" not in stored and "backflip" in stored, "names are kept, labels are not"


def test_what_cannot_be_read_is_named_and_never_found(cli: Cli, sorted_videos: Path, tmp_path: Path) -> None:
    shutil.copytree(sorted_videos, tmp_path / "videos")
    (tmp_path / "videos" / "backflip" / "bad.mp4").write_bytes(b"no video")
    done = cli("eval", "retrieval", tmp_path / "videos", "--encoder", "mini", "--json")
    assert done.code == 0 and str(tmp_path / "videos" / "backflip" / "bad.mp4") in done.err
    result = json.loads(done.out)
    assert (
        result["unreadable"] == 1
        and result["files"] == 5
        and result["rows"][0]["recall"]["10"]["mean"] == pytest.approx((2 / 3 + 1) / 2, abs=1e-3)
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--k", "1,x"), "--k takes whole numbers"),
        (("--k", "0,5"), "--k must be at least 1"),
        (("--labels", "labels.txt"), "takes folders, or a .jsonl or .csv file"),
        (("--template", "a person"), "must have {label} in it"),
        (("--queries", "nothing.json"), "cannot be read"),
        (("--seed", "-1"), "--seed"),
    ],
)
def test_requests_that_make_no_sense(cli: Cli, sorted_videos: Path, words: tuple[str, ...], message: str) -> None:
    done = cli("eval", "retrieval", sorted_videos, "--encoder", "mini", *words)
    assert done.code == 2 and message in done.err and done.out == ""


def test_the_result_may_not_lie_among_the_videos(cli: Cli, sorted_videos: Path) -> None:
    done = cli("eval", "retrieval", sorted_videos, "--encoder", "mini", "--out", sorted_videos / "out")
    assert done.code == 2 and "lies in the folder that is to be measured" in done.err and not (sorted_videos / "out").exists()
