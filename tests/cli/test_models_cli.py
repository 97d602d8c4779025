from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from echoreel_cli.config import cache_dir
from echoreel_cli.models.folder import Card, Defaults, ModelInfo, ReferenceShape, Tokenizer
from echoreel_cli.models.names import models_folder
from echoreel_cli.models.save import finish, staged
from tests.loopback import Loopback, serving

ROOT = Path(__file__).parents[2]
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


def wait_for(ready: Callable[[], bool], seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not ready():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.02)


CHECKPOINT = "cscrisp/EchoReel/resolve/main/checkpoint/checkpoint.pt"


@pytest.fixture(scope="session")
def net() -> Any:
    from tests.published import tiny

    return tiny()


@pytest.fixture(scope="session")
def checkpoint(net: Any, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A tiny checkpoint in the published form."""
    from tests.published import published, write_deepspeed

    file = tmp_path_factory.mktemp("published") / "checkpoint.pt"
    write_deepspeed(file, published(net))
    return file.read_bytes()


@pytest.fixture
def hub(checkpoint: bytes, monkeypatch: pytest.MonkeyPatch) -> Iterator[Loopback]:
    """A hub on the loopback address that `pull` is pointed to, with the network allowed."""
    with serving() as loopback:
        loopback.files[CHECKPOINT] = checkpoint
        monkeypatch.setenv("ECHOREEL_HUB", loopback.url())
        monkeypatch.setenv("HF_HUB_OFFLINE", "0")
        yield loopback


def test_pull_says_size_and_licence_first_and_installs(hub: Loopback, checkpoint: bytes, cli: Cli, own_folders: Path) -> None:
    done = cli("models", "pull", "echoreel-lvdm")
    folder = models_folder() / "echoreel-lvdm"
    assert done.code == 0 and done.out == f"echoreel-lvdm is ready in {folder}\n"
    lines = done.err.splitlines()
    assert "about 3.6 GB" in lines[1] and lines[3].startswith("  licence  EchoReel: its authors published neither")
    digest = hashlib.sha256(checkpoint).hexdigest()
    assert any(line == f"sha256 {digest}  {hub.url(CHECKPOINT)}" for line in lines), "nobody published a hash, so it is shown"
    assert cli("models", "verify", "echoreel-lvdm").code == 0
    assert not any((own_folders / "xdg_cache").rglob("*.pt")), "the download is not needed any more"
    assert [path.name for path in models_folder().iterdir()] == ["echoreel-lvdm"]
    card = json.loads(cli("models", "show", "echoreel-lvdm", "--json").out)["card"]
    assert card["origins"][0]["sha256"] == digest and card["origins"][0]["size"] == len(checkpoint)


def test_pull_refuses_to_replace_without_force(hub: Loopback, cli: Cli) -> None:
    assert cli("models", "pull", "echoreel-lvdm", "-q").out.strip() == str(models_folder() / "echoreel-lvdm")
    requests = len(hub.seen)
    done = cli("models", "pull", "echoreel-lvdm")
    assert done.code == 2 and "--force" in done.err and len(hub.seen) == requests
    assert cli("models", "pull", "echoreel-lvdm", "--force").code == 0


def test_an_interrupted_pull_leaves_nothing_installed_and_goes_on(hub: Loopback, checkpoint: bytes, cli: Cli) -> None:
    """A real Ctrl-C: the signal arrives while the server holds the line."""
    script = "import sys; from echoreel_cli.app import main; sys.exit(main(sys.argv[1:]))"
    hub.stalls = [len(checkpoint) // 2]
    command = [sys.executable, "-c", script, "models", "pull", "echoreel-lvdm", "--json"]
    environment = os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'index'}"}
    with subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True) as run:
        part = cache_dir() / "downloads" / "echoreel-lvdm" / "checkpoint.pt.part"
        wait_for(lambda: part.exists() and part.stat().st_size > 0)
        run.send_signal(signal.SIGINT)
        assert run.wait(30) == 130
        assert run.stderr is not None
        error = json.loads(run.stderr.read().splitlines()[-1])["error"]
    assert error["code"] == "interrupted" and "same command again" in error["hint"]
    assert not (models_folder() / "echoreel-lvdm").exists()
    hub.stalls = []
    assert cli("models", "pull", "echoreel-lvdm").code == 0
    assert hub.seen[-1][1] is not None and hub.seen[-1][1].startswith("bytes=")


def test_a_failed_conversion_installs_nothing_and_is_not_downloaded_twice(hub: Loopback, cli: Cli, tmp_path: Path) -> None:
    import torch

    torch.save({"module": {"model.diffusion_model.time_embed.0.weight": torch.ones(2)}}, tmp_path / "other.pt")
    hub.files[CHECKPOINT] = (tmp_path / "other.pt").read_bytes()
    done = cli("models", "pull", "echoreel-lvdm")
    assert done.code == 5 and "holds no autoencoder" in done.err
    assert not models_folder().exists() or not any(models_folder().iterdir())
    requests = len(hub.seen)
    done = cli("models", "pull", "echoreel-lvdm")
    assert done.code == 5 and len(hub.seen) == requests and "already downloaded" in done.err


def test_a_hostile_checkpoint_is_refused(hub: Loopback, cli: Cli, tmp_path: Path) -> None:
    import torch

    class Hostile:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.system, (f"touch {tmp_path / 'ran'}",)

    torch.save({"module": {"w": torch.ones(2)}, "x": Hostile()}, tmp_path / "file.pt")
    hub.files[CHECKPOINT] = (tmp_path / "file.pt").read_bytes()
    done = cli("models", "pull", "echoreel-lvdm", "--json")
    error = json.loads(done.err.splitlines()[-1])["error"]
    assert done.code == 5 and error["code"] == "weights" and "system" in error["message"]
    assert not (tmp_path / "ran").exists() and not (models_folder() / "echoreel-lvdm").exists()


def test_a_wrong_checksum_is_refused(hub: Loopback, cli: Cli) -> None:
    done = cli("models", "pull", "echoreel-lvdm", "--sha256", "0" * 64)
    assert done.code == 1 and "wrong checksum" in done.err and not (models_folder() / "echoreel-lvdm").exists()


def test_from_a_file_needs_no_network(checkpoint: bytes, cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "mine.pt").write_bytes(checkpoint)
    done = cli("models", "pull", "echoreel-lvdm", "--from", tmp_path / "mine.pt", "--dtype", "bf16", "--json")
    found = json.loads(done.out)
    assert done.code == 0 and found["schema"] == "echoreel.model-pull/1" and found["dry_run"] is False
    assert found["card"]["dtype"] == "bfloat16" and found["card"]["origins"][0]["url"] == "mine.pt"
    assert (tmp_path / "mine.pt").exists()


def test_a_pulled_model_gives_what_the_original_networks_give(hub: Loopback, net: Any, cli: Cli) -> None:
    import torch

    from echoreel_cli.models.open import open_model
    from tests.published import outputs

    assert cli("models", "pull", "echoreel-lvdm").code == 0
    model = open_model("echoreel-lvdm", dtype=torch.float32)
    backbone = model.backbone
    found = outputs(backbone.denoiser, model.adapter, backbone.vae, backbone.text_encoder)
    wanted = net.forward()
    assert set(found) == set(wanted) and not torch.equal(found["plain"], found["guided"])
    for name in wanted:
        torch.testing.assert_close(found[name], wanted[name], rtol=0, atol=1e-6, msg=name)
    assert model.hashes["unet/model.safetensors"] and model.info.reference is not None
    assert backbone.encode_text(["a person doing a backflip"]).shape == (1, 77, 64)
