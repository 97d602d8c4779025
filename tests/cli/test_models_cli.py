from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from echoreel_cli.models.folder import Card, Defaults, ModelInfo, ReferenceShape, Tokenizer
from echoreel_cli.models.names import models_folder
from echoreel_cli.models.save import finish, staged

Cli = Callable[..., Any]
INFO = ModelInfo("mine", "lvdm", Defaults(16, 64, 64, 8.0), ReferenceShape(8, fps=8.0), "mini", 0.2)


@pytest.fixture
def mine() -> Path:
    """A model folder with everything but networks."""
    folder = models_folder() / "mine"
    with staged(folder) as new:
        finish(new, info=INFO, card=Card(source="made here", licence="CC0", paper="none"), tokenizer=Tokenizer())
    return folder


def test_list_tells_what_is_here_and_what_can_be_fetched(mine: Path, cli: Cli) -> None:
    done = cli("models", "list")
    assert done.code == 0 and done.err == ""
    lines = {line.split()[0]: line.split()[1] for line in done.out.splitlines()}
    assert lines["mine"] == "here" and lines["echoreel-lvdm"] == "available"
    names = cli("models", "list", "-q").out.split()
    assert "mine" in names and "echoreel-lvdm" not in names
    rows = [json.loads(line) for line in cli("models", "list", "--json").out.splitlines()]
    assert {row["schema"] for row in rows} == {"echoreel.model-row/1"}
    assert next(row for row in rows if row["name"] == "mine")["licence"] == "CC0"


def test_show_a_model_that_is_here(mine: Path, cli: Cli) -> None:
    done = cli("models", "show", "mine", "--json")
    found = json.loads(done.out)
    assert found["schema"] == "echoreel.model-show/1" and found["info"]["reference"] == {"frames": 8, "stride": None, "fps": 8.0}
    assert set(found["card"]["hashes"]) == {"model_index.json", "tokenizer/tokenizer.json", "scheduler/scheduler_config.json"}
    text = cli("models", "show", "mine").out
    assert "licence     CC0" in text and "reference   frames 8, fps 8.0" in text
    assert cli("models", "show", "mine", "-q").out.strip() == str(mine)


def test_show_a_public_model_says_where_it_comes_from_and_on_what_terms(cli: Cli) -> None:
    found = json.loads(cli("models", "show", "echoreel-lvdm", "--json").out)
    assert found["state"] == "available" and found["card"] is None
    assert "neither a licence" in found["licence"] and "arXiv:2403.11535" in found["paper"]


@pytest.mark.parametrize(
    ("words", "code", "says", "hint"),
    [
        (("show", "absent"), 5, "is not here", "echoreel models list"),
        (("verify", "absent"), 5, "is not here", "echoreel models list"),
        (("rm", "absent"), 5, "is not here", "echoreel models list"),
        (("rm", "../mine"), 2, "no name of a model", "letters"),
        (("rm", "/tmp"), 2, "no name of a model", "letters"),
        (("pull", "echoreel-lvmd"), 2, "no public model", "did you mean echoreel-lvdm?"),
        (("pull", "lvdm", "--with-base"), 2, "no separate base", ""),
        (("pull", "lvdm", "--from", "absent.pt"), 2, "there is no file absent.pt", ""),
        (("pull", "lvdm", "--dtype", "float12"), 2, "no number type", "float16"),
        (("pull", "lvdm", "-y"), 5, "network must not be used", "--from FILE"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(words: tuple[str, ...], code: int, says: str, hint: str, cli: Cli) -> None:
    done = cli("models", *words, "-q")
    assert done.code == code and done.out == ""
    first, *rest = done.err.splitlines()
    assert first.startswith("error: ") and says in first
    assert hint in "".join(rest) and len(rest) <= 1


def test_verify_finds_a_changed_file_and_exits_with_5(mine: Path, cli: Cli) -> None:
    assert cli("models", "verify", "mine").code == 0
    (mine / "tokenizer" / "tokenizer.json").write_text("{}")
    done = cli("models", "verify", "mine")
    assert done.code == 5 and "changed  tokenizer/tokenizer.json" in done.out and "1 of 3 files" in done.err
    assert cli("models", "verify", "mine", "-q").out == "tokenizer/tokenizer.json\n"
    found = json.loads(cli("models", "verify", "mine", "--json").out)
    assert [file["state"] for file in found["files"]] == ["ok", "ok", "changed"]


def test_rm_deletes_without_asking_where_nobody_can_answer(mine: Path, cli: Cli) -> None:
    done = cli("models", "rm", "mine", "--json")
    assert done.code == 0 and json.loads(done.out)["freed"] > 0
    assert not mine.exists() and models_folder().is_dir()


def test_dry_run_says_everything_and_does_nothing(cli: Cli, own_folders: Path) -> None:
    done = cli("models", "pull", "echoreel-lvdm", "--dry-run", "--with-base", "--json")
    found = json.loads(done.out)
    assert found["dry_run"] is True and len(found["files"]) == 2 and found["to_download_about"] > 8e9
    assert cli("models", "pull", "echoreel-lvdm", "--dry-run", "-q").out.startswith("https://huggingface.co/cscrisp/EchoReel/")
    assert not models_folder().exists() and not (own_folders / "xdg_cache").exists()
