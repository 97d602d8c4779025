"""The arrows between packages, checked by import-linter so that plain pytest guards them too."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_imports_point_one_way() -> None:
    code = "import sys; sys.path[:0] = ['.', 'index']; from importlinter.cli import lint_imports_command; lint_imports_command()"
    done = subprocess.run([sys.executable, "-c", code, "--no-cache"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert ", 0 broken" in done.stdout


def test_nothing_is_called_index() -> None:
    """`index/` is a folder of sources, not a package: as one it would collide with a user's own index.py."""
    assert not (ROOT / "index" / "__init__.py").exists()
    code = "import sys; sys.path.insert(0, '.'); import index.echoreel_index"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode != 0
    assert "import this package as echoreel_index" in done.stderr
