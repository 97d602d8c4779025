"""`echoreel demo` from nothing to a page, with real classes at tiny size in the place of the bundled weights."""

from __future__ import annotations

import json
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from echoreel_cli.generate.provenance import load
from echoreel_cli.mini.footage import read_truth
from tests.tiny_model import write_tiny_encoder, write_tiny_model

Cli = Callable[..., Any]
ODD = 'a "<b>robot</b>" & co'
VOID = {"img", "meta", "input", "br", "link"}


class Reader(HTMLParser):
    """What a page loads, says and marks; fails where tags do not close each other."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def having(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def stand_in(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A weights folder of the real shape with tiny random weights."""
    root = tmp_path_factory.mktemp("weights")
    write_tiny_model(root / "echoreel-mini")
    write_tiny_encoder(root / "encoder")
    return root


def bundle(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Let `folder` stand where the bundled weights do."""
    from echoreel_cli.models import encoders, names

    for module in (encoders, names):
        monkeypatch.setattr(module, "weights_folder", lambda: folder)


@pytest.fixture
def demo(cli: Cli, stand_in: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """`echoreel demo` in an empty folder."""
    bundle(monkeypatch, stand_in)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ECHOREEL_DEVICE", "cpu")

    def run(*args: object) -> Any:
        return cli("demo", *args)

    return run


def test_from_nothing_to_a_page(demo: Cli, cli: Cli, tmp_path: Path) -> None:
    done = demo("out", "--clips", "5", "--k", "2", "--seed", "3", "--prompt", "a person doing a backflip", "--prompt", ODD, "--json")
    assert done.code == 0, done.err
    told = json.loads(done.out)
    assert told == json.loads((tmp_path / "out" / "demo.json").read_text())
    assert (told["schema"], told["clips"], told["k"], told["seed"], told["steps"]) == ("echoreel.demo/1", 5, 2, 3, 2)
    assert set(told["seconds"]) == {"load", "draw", "index", "search", "generate", "write"}
    flip, odd = told["prompts"]
    assert (flip["action"], flip["held_out"], odd["action"]) == ("backflip", True, None)
    truth = {shot.file: shot.action for shot in read_truth(tmp_path / "out" / "truth.jsonl")}
    assert len(truth) == 5 and sorted(truth) == sorted(path.name for path in (tmp_path / "out" / "videos").iterdir())
    for scene in (flip, odd):
        assert [reference["action"] for reference in scene["references"]] == [truth[Path(r["path"]).name] for r in scene["references"]]
        assert len(scene["references"]) == 2 and scene["references"][0]["score"] >= scene["references"][1]["score"]
        alone, led = load(Path(scene["alone"]["path"])), load(Path(scene["led"]["path"]))
        assert (alone.seed, alone.references, alone.retrieval) == (3, (), None)
        assert led.seed == 3 and [r.path for r in led.references] == [r["path"] for r in scene["references"]]
        assert alone.video.sha256 != led.video.sha256
    check_page((tmp_path / "out" / "index.html").read_text(encoding="utf-8"))
    check_picture(tmp_path / "out" / "demo.png")
    check_second_run(demo, tmp_path / "out")


def check_page(page: str) -> None:
    read = Reader(page)
    loaded = [value for _, attributes in read.tags for name in ("src", "href") if (value := attributes.get(name)) is not None]
    assert loaded and all(value.startswith("data:") for value in loaded), "the page needs nothing beside itself"
    assert "url(" not in page and "@import" not in page and not read.having("link")
    assert len(read.having("video")) == 4, "two references for each prompt"
    assert len([a for a in read.having("a") if a.get("download")]) == 4, "two results for each prompt"
    frames = [a for a in read.having("img") if ", frame " in (a.get("alt") or "")]
    assert len(frames) == 2 * (2 + 2) * 4, "four frames of each result and each reference"
    assert ODD in read.text and "<b>robot</b>" not in page
    assert "in truth: " in read.text and "never trained on it" in read.text
    assert "echoreel gen --from out/results/1-a-person-doing-a-backflip-k2.json -o again.mp4" in read.text


def check_picture(file: Path) -> None:
    from PIL import Image

    with Image.open(file) as picture:
        assert picture.format == "PNG"
        assert picture.height > 2 * 4 * 2 * 16, "for each prompt two references and two results of 16 pixels at scale 2"


def check_second_run(demo: Cli, folder: Path) -> None:
    """A finished demo is in the way; with --force it is made again from the videos that are there."""
    again = ("out", "--clips", "5", "--seed", "3", "--k", "1")
    refused = demo(*again)
    assert refused.code == 2 and "index.html already exists" in refused.err and "--force" in refused.err
    before = {path: path.stat().st_mtime_ns for path in (folder / "videos").iterdir()}
    done = demo(*again, "--force")
    assert done.code == 0, done.err
    assert done.out.splitlines() == ["out/index.html", "out/demo.png"]
    assert "0 files read, 5 known" in done.err and "what they truly show" in done.err
    assert {path: path.stat().st_mtime_ns for path in (folder / "videos").iterdir()} == before
    words = Reader((folder / "index.html").read_text(encoding="utf-8")).text
    assert "a person doing a backflip" in words and "a person doing a cartwheel" in words, "the two usual prompts"


def test_weights_that_are_not_there(demo: Cli, stand_in: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle(monkeypatch, tmp_path / "nowhere")
    done = demo("out", "--json")
    assert (done.code, done.out) == (5, "")
    (line,) = done.err.splitlines()
    assert json.loads(line)["error"]["code"] == "weights" and "echoreel-mini" in line
    half = tmp_path / "half"
    half.mkdir()
    (half / "echoreel-mini").symlink_to(stand_in / "echoreel-mini")
    bundle(monkeypatch, half)
    done = demo("out")
    assert done.code == 5 and done.err.startswith("error: the bundled encoder is not in this installation\n")
    assert not (tmp_path / "out").exists(), "nothing is drawn for a demo that cannot end"


def test_refusals_before_any_work(demo: Cli, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    done = demo("mine", "--force")
    assert done.code == 2 and "holds no demo" in done.err
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["letter.txt"]
    done = demo("out", "--steps", "7")
    assert done.code == 2 and "7 steps" in done.err
    done = demo("out", "--prompt", " ")
    assert done.code == 2 and "a prompt is empty" in done.err
    assert demo("out", "--clips", "0").code == 2 and not (tmp_path / "out").exists()


def test_a_library_of_older_weights_is_made_again(demo: Cli, stand_in: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    asked = ("out", "--clips", "2", "--k", "1", "--prompt", "a person doing a cartwheel", "-q")
    first = demo(*asked)
    assert (first.code, first.out, first.err) == (0, "out/index.html\nout/demo.png\n", "")
    newer = tmp_path / "newer"
    (newer / "encoder").mkdir(parents=True)
    (newer / "echoreel-mini").symlink_to(stand_in / "echoreel-mini")
    for file in (stand_in / "encoder").iterdir():
        (newer / "encoder" / file.name).write_bytes(file.read_bytes())
    file = newer / "encoder" / "open_clip_model.safetensors"
    save_file({name: value + 0.01 * torch.ones_like(value) for name, value in load_file(file).items()}, file)
    bundle(monkeypatch, newer)
    before = made_by(tmp_path / "out" / "library")
    done = demo(*asked, "--force")
    assert done.code == 0, done.err
    assert made_by(tmp_path / "out" / "library") != before


def made_by(library: Path) -> str:
    """Fingerprint of the encoder whose vectors a library holds."""
    from contextlib import closing

    from echoreel_index.library import Library

    with closing(Library.open(library)) as opened:
        assert opened.count() == 2
        return opened.card.fingerprint
