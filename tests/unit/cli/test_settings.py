"""Settings: which value wins, and what a wrong one says."""

from __future__ import annotations

from pathlib import Path

import pytest

from echoreel_cli import config
from echoreel_index.errors import UsageError


def test_built_in_values(tmp_path: Path, own_folders: Path) -> None:
    loaded = config.load_with_origin(tmp_path)
    assert loaded.settings.model == "echoreel-mini"
    assert loaded.settings.library == own_folders / "xdg_data" / "echoreel" / "library"
    assert set(loaded.origin.values()) == {"default"}


def test_each_place_overrules_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    user = config.user_file()
    user.parent.mkdir(parents=True)
    user.write_text('k = 4\nmodel = "from-user"\nguidance = 9\n')
    project = config.project_file(tmp_path)
    project.write_text('k = 5\nlibrary = "clips"\n')
    monkeypatch.setenv("ECHOREEL_K", "6")
    loaded = config.load_with_origin(tmp_path)
    assert loaded.settings.k == 6 and loaded.origin["k"] == "ECHOREEL_K"
    assert loaded.settings.library == tmp_path / "clips" and loaded.origin["library"] == str(project)
    assert loaded.settings.model == "from-user" and loaded.origin["model"] == str(user)
    assert loaded.settings.guidance == 9.0 and isinstance(loaded.settings.guidance, float)
    assert loaded.origin["encoder"] == "default"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("librray = 'x'", ["librray", "'library'", "echoreel.toml"]),
        ("k = 'three'", ["k must be a whole number", "'three'", "echoreel.toml"]),
        ("k = true", ["k must be a whole number", "True"]),
        ("k = -1", ["k is too small"]),
        ("steps = 0", ["steps is too small"]),
        ("dtype = 'float8'", ["dtype must be one of", "bfloat16", "'float8'"]),
        ("offline = 'yes'", ["offline must be true or false"]),
        ("k = ", ["cannot read settings", "echoreel.toml"]),
    ],
)
def test_a_wrong_file_is_named(text: str, words: list[str], tmp_path: Path) -> None:
    config.project_file(tmp_path).write_text(text)
    with pytest.raises(UsageError) as caught:
        config.load(tmp_path)
    told = f"{caught.value.message} {caught.value.hint}"
    assert all(word in told for word in words), told


def test_a_wrong_variable_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ECHOREEL_GUIDANCE", "strong")
    with pytest.raises(UsageError, match="guidance must be a number, got 'strong' from ECHOREEL_GUIDANCE"):
        config.load(tmp_path)


@pytest.mark.parametrize(("text", "value"), [("1", True), ("true", True), ("no", False)])
def test_variables_know_true_and_false(text: str, value: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ECHOREEL_OFFLINE", text)
    assert config.load(tmp_path).offline is value


def test_folders_follow_xdg(monkeypatch: pytest.MonkeyPatch, own_folders: Path) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", "relative/is/ignored")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert config.data_dir() == own_folders / ".local/share/echoreel"
    assert config.cache_dir() == own_folders / ".cache/echoreel"
    assert config.config_dir() == own_folders / "xdg_config" / "echoreel"
