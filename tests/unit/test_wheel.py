"""What an installed echoreel consists of."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Every file of a freshly built wheel."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    [wheel] = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_two_packages_and_nothing_else_on_top(names: set[str]) -> None:
    tops = {name.partition("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"echoreel_cli", "echoreel_index"}


def test_typed_and_licensed(names: set[str]) -> None:
    assert {"echoreel_cli/py.typed", "echoreel_index/py.typed"} <= names
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_bundled_weights_travel_along(names: set[str]) -> None:
    weights = ROOT / "echoreel_cli" / "mini" / "weights"
    here = {file.relative_to(ROOT).as_posix() for file in weights.rglob("*") if file.is_file()}
    assert any(name.endswith("echoreel-mini/model_index.json") for name in here), "the bundled model is not in the tree"
    assert here <= names
