"""`doctor`, `show` and `config` as a user types them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

RECORD = {
    "schema": "echoreel.generation/1",
    "prompt": "a person doing a backflip",
    "negative": "",
    "seed": 7,
    "steps": 50,
    "guidance": 12.0,
    "eta": 1.0,
    "width": 64,
    "height": 48,
    "frames": 8,
    "fps": 8.0,
    "device": "cpu",
    "dtype": "float32",
    "threads": 2,
    "offload": "none",
    "created": "2026-11-21T12:00:00+00:00",
    "video": {"file": "out.mp4", "sha256": "cd" * 32, "bytes": 4321},
    "model": {"name": "echoreel-mini", "backbone": "lvdm", "adapter": "prism", "hashes": {"unet/model.safetensors": "ab" * 32}},
    "retrieval": {"library": "/lib", "encoder": "mini", "encoder_fingerprint": "ef" * 32, "k": 1, "min_score": None},
    "references": [
        {
            "path": "/clips/a.mp4", "start": 1.0, "end": 3.0, "caption": None, "score": 0.31, "clip_id": "a:1",
            "source": "https://example.org/a", "licence": "CC0", "sha256": None,
        },
    ],
    "versions": {"echoreel": "0.1.0", "torch": "2.15.0"},
    "timings": {"denoise": 12.3456},
}  # fmt: skip


def test_doctor_in_full(cli: Callable[..., Any]) -> None:
    done = cli("doctor", "--json")
    report = json.loads(done.out)
    assert report["schema"] == "echoreel.doctor/1"
    assert report["decoders"] == {"decord": "ok", "av": "ok", "h264": "ok"}
    assert report["packages"]["torch"]
    assert report["devices"][-1]["name"] == "cpu" and report["devices"][-1]["memory"] > 0
    assert report["would_use"]["dtype"] in ("float32", "bfloat16", "float16")
    assert done.code == (1 if report["problems"] else 0)


def test_doctor_fast_names_what_is_missing(cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ECHOREEL_MODEL", "echoreel-lvdm")
    done = cli("doctor", "--fast", "-q")
    assert done.code == 1
    assert done.out == "the model 'echoreel-lvdm' is not here; echoreel models pull echoreel-lvdm\n"


def test_show_reads_the_file_beside_the_video(tmp_path: Path, cli: Callable[..., Any]) -> None:
    video = tmp_path / "out.mp4"
    video.write_bytes(b"")
    video.with_suffix(".json").write_text(json.dumps(RECORD))
    for file in (video, video.with_suffix(".json")):
        out = cli("show", file).out
        assert "a person doing a backflip" in out
        assert "/clips/a.mp4  1.00-3.00 s  score 0.310  source: https://example.org/a  licence: CC0" in out
        assert "8 frames of 64 x 48 at 8 a second" in out and "12.346" in out
        assert "/lib (encoder mini, k 1, no score floor)" in out
    printed = json.loads(cli("show", video, "--json").out)
    assert {key: printed[key] for key in ("schema", "prompt", "seed", "references")} == {
        key: RECORD[key] for key in ("schema", "prompt", "seed", "references")
    }
    assert cli("show", video, "-q").out == "/clips/a.mp4\n"


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("missing.mp4", None, "there is no"),
        ("alone.mp4", "", "alone.json"),
        ("bad.json", "{", "cannot read"),
        ("other.json", '{"schema": "something/1"}', "its schema is 'something/1'"),
        ("list.json", "[]", "no record of a generation"),
    ],
)
def test_show_says_what_is_wrong(name: str, text: str | None, words: str, tmp_path: Path, cli: Callable[..., Any]) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    done = cli("show", tmp_path / name)
    assert done.code == 2 and words in done.err


def test_config_show_says_where_values_come_from(cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "echoreel.toml").write_text("k = 5\n")
    monkeypatch.setenv("ECHOREEL_MODEL", "mine")
    done = json.loads(cli("config", "show", "--json").out)
    assert (done["settings"]["k"], done["origin"]["k"]) == (5, str(tmp_path / "echoreel.toml"))
    assert (done["settings"]["model"], done["origin"]["model"]) == ("mine", "ECHOREEL_MODEL")
    lines = cli("config", "show", "--origin").out.splitlines()
    assert any(line.startswith("k = 5") and line.endswith("echoreel.toml") for line in lines)


def test_config_show_is_a_config_file(cli: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = cli("config", "show").out
    monkeypatch.chdir(tmp_path)
    (tmp_path / "echoreel.toml").write_text(text)
    assert cli("config", "show").out == text


def test_config_path(cli: Callable[..., Any], own_folders: Path) -> None:
    first, second = cli("config", "path", "-q").out.splitlines()
    assert first == str(own_folders / "xdg_config" / "echoreel" / "config.toml")
    assert second.endswith("echoreel.toml")


def test_a_bad_settings_file_stops_commands_but_not_help(cli: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "echoreel.toml").write_text("librray = 'x'\n")
    assert cli("doctor", "--help").code == 0
    done = cli("config", "show")
    assert done.code == 2 and "did you mean 'library'" in done.err


def test_offline_reaches_the_hub(cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE")
    cli("config", "show")
    assert "HF_HUB_OFFLINE" not in os.environ
    monkeypatch.setenv("ECHOREEL_OFFLINE", "1")
    cli("config", "show")
    assert os.environ["HF_HUB_OFFLINE"] == "1"


def test_doctor_sees_the_library(cli: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ECHOREEL_LIBRARY", str(tmp_path))
    report = json.loads(cli("doctor", "--fast", "--json").out)
    assert "no library" in report["library"]["state"] and report["would_use"]["encoder"] == "PE-Core-B-16"
