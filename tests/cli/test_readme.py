"""The README is true: its shell and Python blocks run, in order, in one empty folder."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
NOT_RUN = ["it is how the tests themselves are installed", "it needs the network", "it draws 200 films", "it needs the network"]
"""Why a block is left alone, for each that is, in order: leaving out another one has to be decided here."""


@dataclass(frozen=True)
class Block:
    """A fenced block of a language that runs."""

    language: str
    code: str
    not_run: str | None


def blocks(text: str) -> list[Block]:
    """Every ```bash and ```python block, with the reason of a `<!-- not run: reason -->` line right above it."""
    pattern = r"(?:<!-- not run: ([^>]*?) -->\n)?^```(bash|python)\n(.*?)^```$"
    return [Block(found[2], found[3], found[1]) for found in re.finditer(pattern, text, re.MULTILINE | re.DOTALL)]


def test_every_block_that_is_left_out_is_known() -> None:
    assert [block.not_run for block in blocks(TEXT) if block.not_run] == NOT_RUN


def test_no_block_hides_in_another_language() -> None:
    fences = re.findall(r"^```(.+)$", TEXT, re.MULTILINE)
    assert set(fences) <= {"bash", "python", "text", "bibtex"}


@pytest.mark.slow
def test_blocks_run_in_order(tmp_path: Path) -> None:
    env = {
        **os.environ,
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "index")]),
    }
    commands = {"bash": ["bash", "-euo", "pipefail"], "python": [sys.executable]}
    for block in blocks(TEXT):
        if block.not_run:
            continue
        command = [*commands[block.language], "-c", block.code]
        done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        assert done.returncode == 0, f"{block.code}\n--- stdout\n{done.stdout}\n--- stderr\n{done.stderr}"
    assert (tmp_path / "backflip.mp4").stat().st_size > 1000


def test_links_to_files_lead_somewhere() -> None:
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", TEXT) if "://" not in link]
    assert "docs/cli.md" in links and "LICENSE" in links
    assert not [link for link in links if not (ROOT / link).exists()]


def test_files_to_read_first_are_there() -> None:
    named = re.findall(r"^\d\. `([^`]+)`", TEXT, re.MULTILINE)
    assert len(named) == 5
    assert not [name for name in named if not (ROOT / name).is_file()]


def test_every_schema_is_documented() -> None:
    sources = [file.read_text(encoding="utf-8") for part in ("echoreel_cli", "index") for file in sorted((ROOT / part).rglob("*.py"))]
    named = {name for source in sources for name in re.findall(r'"echoreel\.([a-z-]+)/1"', source)}
    short = set(re.findall(r"`(?:echoreel\.)?([a-z-]+)/1`", TEXT))
    assert {"hit", "generation", "doctor", "error"} <= named
    assert not [name for name in named if name not in short and name.removeprefix("model") not in short]
