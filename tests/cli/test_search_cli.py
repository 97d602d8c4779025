"""`echoreel search` as a user meets it: drawn people, the bundled encoder, a library that the command itself indexed."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from echoreel_cli.commands.asking import moment, parsed_weights, searches
from echoreel_cli.generate.write import video_bytes
from echoreel_index.decode import Decoder, frames_at
from echoreel_index.search import Weights

Cli = Callable[..., Any]
FPS = 8
CC_BY = "Creative Commons Attribution 4.0"
FILMS: dict[str, tuple[str, float, dict[str, object]]] = {
    "gym/one.mp4": ("lunge", 2.0, {"license": CC_BY, "upload_date": "20260110", "webpage_url": "https://example.org/1"}),
    "gym/two.mp4": ("push-up", 2.0, {"license": "all rights reserved", "upload_date": "20260201"}),
    "park/three.mp4": ("walk", 2.0, {"license": "CC0", "upload_date": "20240501"}),
    "park/four.mp4": ("jumping jack", 4.0, {"upload_date": "20200101"}),
}
"""File: what is done in it, seconds, what a downloader wrote."""


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from echoreel_cli.mini.actions import action_named
    from echoreel_cli.mini.world import film, take_action

    folder = tmp_path_factory.mktemp("films")
    for number, (name, (action, seconds, said)) in enumerate(FILMS.items(), start=8):
        take = take_action(action_named(action), np.random.default_rng(number))
        frames = film([take], frames=round(seconds * FPS), fps=FPS, size=64)[0].numpy()
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(video_bytes(frames, FPS))
        (folder / name).with_suffix(".info.json").write_text(json.dumps(said))
        if action == "lunge":
            (folder / "still.mp4").write_bytes(video_bytes(np.repeat(frames[:1], 16, axis=0), FPS))
    return folder


@pytest.fixture(scope="module")
def library(films: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from echoreel_cli.app import main

    folder = tmp_path_factory.mktemp("library") / "library"
    assert main(["index", str(films), "--encoder", "mini", "--library", str(folder), "-q"]) == 0
    return folder


@pytest.fixture(autouse=True)
def settings(library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ECHOREEL_LIBRARY", str(library))
    monkeypatch.setenv("ECHOREEL_DEVICE", "cpu")


def hits(done: Any) -> list[dict[str, Any]]:
    assert done.code == 0, done.err
    return [json.loads(line) for line in done.out.splitlines()]


def names(done: Any) -> set[str]:
    """Files that were found."""
    return {Path(hit["path"]).stem for hit in hits(done)}


def test_the_action_is_found_and_printed_as_a_table(cli: Cli, films: Path) -> None:
    done = cli("search", "a person lunging", "--k", 1)
    assert done.code == 0 and done.err == ""
    path, start, end, score = done.out.split()
    assert path == str(films / "gym/one.mp4") and 0 <= float(start) < float(end) <= 2 and 0 < float(score) < 1


def test_json_carries_everything_that_is_known(cli: Cli, films: Path, library: Path) -> None:
    found = hits(cli("search", "a person lunging", "--k", 2, "--any", "--json"))
    assert [hit["rank"] for hit in found] == [1, 2]
    one = found[0]
    assert list(one) == [
        "schema", "query", "rank", "id", "path", "start", "end", "score", "fused", "fit", "caption", "source", "licence", "sha256",
        "duration", "width", "height", "date", "motion", "brightness", "one_shot", "problems", "signals", "library", "encoder",
    ]  # fmt: skip
    assert (one["schema"], one["query"], one["path"]) == ("echoreel.hit/1", "a person lunging", str(films / "gym/one.mp4"))
    assert (one["source"], one["licence"], one["library"], one["encoder"]) == ("https://example.org/1", CC_BY, str(library), "mini")
    assert (one["duration"], one["width"], one["height"], len(one["sha256"])) == (2.0, 64, 64, 64)
    assert 0 < one["motion"] < 1 and 0 < one["brightness"] < 1 and 0 < one["fused"] <= 1 and 0 <= one["fit"] <= 1
    assert {"visual", "best", "templates", "verb", "motion"} <= {signal["name"] for signal in one["signals"]}
    assert all(set(signal) == {"name", "value", "rank", "weight"} and signal["rank"] >= 1 for signal in one["signals"])


def test_explain_says_why_below_each_hit(cli: Cli) -> None:
    lines = cli("search", "a person lunging", "--k", 2, "--any", "--explain").out.splitlines()
    hits_at = [number for number, line in enumerate(lines) if not line.startswith("    ")]
    assert len(hits_at) == 2 and "one.mp4" in lines[0]
    reasons = lines[hits_at[0] + 1 : hits_at[1]]
    assert reasons[0].split()[0] == "visual" and reasons[0].split()[2:] == ["place", "1", "weight", f"{Weights().visual:g}"]
    assert len({line.index("weight") for line in reasons if "weight" in line}) == 1, "in columns"
    assert reasons[-1].startswith("    fused ") and ", fit " in reasons[-1]
    still = cli("search", "a person lunging", "--under", "*/still.mp4", "--any", "--explain").out
    assert "no good reference: hardly moves" in still


def test_bare_paths(cli: Cli, films: Path) -> None:
    quiet = cli("search", "a person", "--k", 9, "--any", "-q")
    assert set(quiet.out.splitlines()) <= {str(films / name) for name in (*FILMS, "still.mp4")} and quiet.err == ""
    null = cli("search", "a person", "--k", 9, "--any", "-0", "--explain").out
    assert null.split("\0")[:-1] == quiet.out.splitlines() and "\n" not in null


def test_nothing_fits_is_an_answer(cli: Cli) -> None:
    done = cli("search", "a plate of noodles on a wooden table")
    assert (done.code, done.out) == (3, "")
    error, hint = done.err.splitlines()
    assert error.startswith("error: nothing in ") and "with a fit of 0." in error and ".mp4 " in error and "0.3 is asked for" in error
    assert hint.startswith("hint: --any shows what comes closest")
    assert len(hits(cli("search", "a plate of noodles on a wooden table", "--any", "--k", 2, "--json"))) == 2
    scored = cli("search", "a person lunging", "--min-score", "0.99")
    assert scored.code == 3 and "--min-score asks for at least 0.99" in scored.err
    unusable = cli("search", "a person lunging", "--under", "*/still.mp4", "--usable", "--any")
    assert unusable.code == 3 and "no usable reference: hardly moves" in unusable.err
    filtered = cli("search", "a person lunging", "--min-duration", "100")
    assert filtered.code == 3 and "no video passes the filters" in filtered.err
    error_object = json.loads(cli("search", "a plate of noodles", "--json").err)
    assert error_object["error"]["code"] == "no_match" and "--any" in error_object["error"]["hint"]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--under", "{films}/gym"), {"one", "two"}),
        (("--under", "*/park/*", "--under", "{films}/gym/one.mp4"), {"one", "three", "four"}),
        (("--not", "{films}/gym/two.mp4", "--not", "{films}/still.mp4"), {"one", "three", "four"}),
        (("--min-duration", "3"), {"four"}),
        (("--max-duration", "3", "--under", "{films}/park"), {"three"}),
        (("--since", "2026-01-10", "--until", "2026-01-10"), {"one"}),
        (("--until", "2024-05-01"), {"three", "four"}),
        (("--licence", "cc"), {"one", "three"}),
        (("--licence", "cc0", "--licence", "reserved"), {"two", "three"}),
        (("--usable",), {"one", "two", "three", "four"}),
        (("--min-motion", "0.002"), {"one", "two", "three", "four"}),
    ],
)
def test_filters(cli: Cli, films: Path, options: tuple[str, ...], expected: set[str]) -> None:
    given = [option.format(films=films) for option in options]
    assert names(cli("search", "a person", "--any", "--k", 20, "--json", *given)) == expected


def test_paths_may_be_relative_and_ids_are_left_out(cli: Cli, films: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(films / "gym")
    assert names(cli("search", "a person", "--any", "--k", 9, "--json", "--under", ".", "--not", "two.mp4")) == {"one"}
    assert names(cli("search", "a person", "--any", "--k", 9, "--json", "--under", "t*.mp4")) == {"two"}
    every = hits(cli("search", "a person", "--any", "--k", 20, "--json"))
    less = hits(cli("search", "a person", "--any", "--k", 20, "--json", "--not", every[0]["id"]))
    assert every[0]["id"] not in {hit["id"] for hit in less} and less


def test_weights_switch_signals(cli: Cli) -> None:
    (one,) = hits(cli("search", "a person lunging", "--any", "--k", 1, "--json", "--weights", "visual=0,best=2.5"))
    weights = {signal["name"]: signal["weight"] for signal in one["signals"]}
    assert "visual" not in weights and weights["best"] == 2.5 and weights["verb"] == Weights().verb


def test_a_clip_and_a_picture_find_what_looks_like_them(cli: Cli, films: Path, tmp_path: Path) -> None:
    from PIL import Image

    (one,) = hits(cli("search", films / "gym/two.mp4@0-1", "--k", 1, "--json"))
    assert one["path"] == str(films / "gym/two.mp4") and one["fit"] is None and one["score"] > 0.9
    with Decoder() as decoder:
        Image.fromarray(frames_at(films / "park/three.mp4", [1.0], decoder=decoder)[0]).save(tmp_path / "picture.png")
    (one,) = hits(cli("search", tmp_path / "picture.png", "--k", 1, "--json"))
    assert one["path"] == str(films / "park/three.mp4")
    terms = ("--minus", f"2:{films / 'gym/two.mp4'}", "--plus", "a walk")
    other = hits(cli("search", films / "gym/two.mp4", "--k", 1, "--json", "--any", *terms))
    assert other[0]["path"] != str(films / "gym/two.mp4") and other[0]["query"].count(" - 2:") == 1


def test_searches_come_from_stdin(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [
        "a person lunging",
        "",
        json.dumps({"query": "a person walking", "k": 2, "minus": ["0.2:a person lunging"]}),
        "a plate of noodles on a wooden table",
    ]
    monkeypatch.setattr(sys, "stdin", io.StringIO("\n".join(lines)))
    monkeypatch.chdir(tmp_path)
    done = cli("search", "-", "--k", "1", "--json", "--sheet", "all.png")
    found = hits(done)
    assert found[0]["query"] == lines[0] and {hit["query"] for hit in found[1:]} == {"a person walking - 0.2:a person lunging"}
    assert "noodles" in done.err and "wrote all.png" in done.err and (tmp_path / "all.png").is_file()
    monkeypatch.setattr(sys, "stdin", io.StringIO("a bowl of soup\na plate of noodles\n"))
    nothing = cli("search", "-", "-q")
    assert nothing.code == 3 and "fits any of 2 searches" in nothing.err and "soup" not in nothing.err
    monkeypatch.setattr(sys, "stdin", io.StringIO("\n"))
    assert "holds no search" in cli("search", "-").err


def test_export_cuts_exactly_what_was_found(cli: Cli, films: Path, tmp_path: Path, decoder: Decoder) -> None:
    folder, sheet = tmp_path / "clips", tmp_path / "hits.png"
    done = cli("search", "a person lunging", "--k", 2, "--any", "--json", "--export", folder, "--sheet", sheet)
    found = hits(done)
    videos = sorted(folder.glob("*.mp4"))
    assert [line.split()[1] for line in done.err.splitlines()] == [str(path) for path in (*videos, sheet)]
    for number, (hit, video) in enumerate(zip(found, videos, strict=True), start=1):
        start, end = hit["start"], hit["end"]
        assert video.name == f"{number:02d}-{Path(hit['path']).stem}-{start:.2f}-{end:.2f}.mp4"
        line, film = decoder.timeline(str(video)), decoder.timeline(hit["path"])
        expected = [second for second in film.times.tolist() if start - 0.124 < second < end - 1e-3]
        assert len(line.times) == len(expected) and line.end == pytest.approx(end - start, abs=0.01)
        pictures = frames_at(video, line.times.tolist(), decoder=decoder).astype(int)
        originals = frames_at(hit["path"], expected, decoder=decoder).astype(int)
        assert np.abs(pictures - originals).mean() < 4
        record = json.loads(video.with_suffix(".json").read_text())
        assert record["cut_from"]["path"] == hit["path"] and record["query"] == "a person lunging"
    again = cli("search", "a person lunging", "--k", 2, "--any", "--export", folder)
    assert again.code == 2 and again.out == "" and "already exist" in again.err and "--force" in again.err
    assert cli("search", "a person lunging", "--any", "--sheet", sheet).code == 2
    assert cli("search", "a person lunging", "--k", 2, "--any", "--export", folder, "--sheet", sheet, "--force", "-q").err == ""


def test_what_cannot_be_cut_is_exit_four(cli: Cli, films: Path, tmp_path: Path) -> None:
    """A film that was damaged after it was indexed, beside one that was not."""
    from shutil import copytree

    folder = tmp_path / "films"
    copytree(films / "gym", folder)
    library = tmp_path / "library"
    assert cli("index", folder, "--encoder", "mini", "--library", library).code == 0
    (folder / "two.mp4").write_bytes(b"nothing")
    kept = ("--export", tmp_path / "clips", "--sheet", tmp_path / "hits.png")
    done = cli("search", "a person", "--k", 9, "--any", "--library", library, *kept)
    assert done.code == 4 and "warning: two.mp4" in done.err and "hits could not be read" in done.err
    assert all("-one-" in path.name for path in (tmp_path / "clips").iterdir()) and (tmp_path / "hits.png").is_file()


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ((" ",), "the text is empty"),
        (("x", "--k", "0"), "--k"),
        (("x", "--since", "yesterday"), "YYYY-MM-DD"),
        (("x", "--since", "2026-02-01", "--until", "2026-01-01"), "nothing is after 2026-02-01"),
        (("x", "--min-duration", "5", "--max-duration", "4"), "no video is longer than 5"),
        (("x", "--weights", "visul=1"), "did you mean 'visual'?"),
        (("x", "--weights", "visual"), "write NAME=NUMBER"),
        (("x", "--weights", "visual=-1"), "0 or more"),
        (("x", "--diversity", "2"), "--diversity"),
        (("x", "--sheet", "hits.jpg"), "does not end in .png"),
        (("x", "--export", "{here}"), "is a file"),
        (("x", "--encoder", "ViT-B-32"), "was made by encoder mini, not by ViT-B-32"),
    ],
)
def test_wrong_requests_are_refused_in_a_line(cli: Cli, command: tuple[str, ...], message: str) -> None:
    done = cli("search", *(word.format(here=__file__) for word in command))
    assert done.code == 2 and done.out == "" and message in done.err


def test_no_library_is_an_error(cli: Cli, tmp_path: Path) -> None:
    assert cli("search", "red", "--library", tmp_path / "none").code == 1
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"query": 3}', "`query` is missing or empty"),
        ('{"query": "x", "kk": 3}', "did you mean 'k'?"),
        ('{"query": "x", "k": 0}', "whole number from 1"),
        ('{"query": "x", "plus": [3]}', "a text or a list of texts"),
        ('{"query"', "not JSON"),
    ],
)
def test_bad_lines_of_stdin_are_named(line: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from echoreel_index.errors import UsageError

    monkeypatch.setattr(sys, "stdin", io.StringIO(f"first\n{line}\n"))
    with pytest.raises(UsageError, match="standard input, line 2") as caught:
        list(searches("-", (), ()))
    assert message in caught.value.message


def test_moments_of_dates() -> None:
    day = 86400.0
    assert moment("1970-01-02", "--since") == day and moment("1970-01-02", "--until", end_of_day=True) == 2 * day
    week, fortnight = moment("7d", "--since"), moment("2w", "--since")
    assert week - fortnight == pytest.approx(7 * day, abs=60) and moment("99999y", "--since") < 0


def test_weights_that_are_not_named_stay() -> None:
    assert parsed_weights("words=0, verb = 2", Weights()) == Weights(words=0.0, verb=2.0)


@pytest.fixture(scope="module")
def decoder() -> Any:
    with Decoder() as one:
        yield one


def test_a_caption_that_says_every_word_is_an_answer(cli: Cli, films: Path, tmp_path: Path) -> None:
    folder = tmp_path / "told"
    folder.mkdir()
    film = next(path for path in sorted(films.iterdir()) if path.suffix == ".mp4")
    (folder / "a.mp4").write_bytes(film.read_bytes())
    (folder / "a.txt").write_text("a gymnast strolling through the orchard")
    library = ("--library", tmp_path / "told-library")
    assert cli("index", folder, "--encoder", "mini", *library).code == 0
    told = cli("search", "strolling", *library, "--json")
    assert told.code == 0 and json.loads(told.out.splitlines()[0])["path"] == str(folder / "a.mp4")
    assert cli("search", "strolling with umbrellas", *library).code == 3


def test_what_is_not_wanted_must_be_something(cli: Cli) -> None:
    done = cli("search", "a person walking", "--not", "nonsuch.mp4")
    assert done.code == 2 and "no such file" in done.err
