"""Real processes are killed at many moments of every deed that changes a library; bytes of its database are flipped."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def told() -> Any:
    """What `benchmarks/kill_points.py` says, in a process of its own: it forks."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "index")]), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "benchmarks.kill_points", "--points", "28", "--flips", "15", "--reads", "16", "--seed", "1"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment)
    assert done.stdout, done.stderr
    return json.loads(done.stdout)


@pytest.mark.slow
def test_whatever_is_killed_whenever_nothing_is_lost_and_nothing_wrong_is_found(told: Any) -> None:
    assert told["found"] == [] and told["differences"] == 0 and told["points"] == 28
    assert set(told["deeds"]) == {"index", "change", "remove", "rebuild", "merge", "migrate", "migrate-and-index"}
    assert set(told["kinds"]) >= {"call"} and told["ended_before"] < 14, "most were killed while they worked"


@pytest.mark.slow
def test_flipped_bytes_are_found_or_harmless(told: Any) -> None:
    flips = told["flips"]
    assert flips["found"] == [] and sum(flips["outcomes"].values()) == 15
    assert flips["outcomes"].get("found", 0) + flips["outcomes"].get("refused", 0) > 0


@pytest.mark.slow
def test_a_reader_sees_nothing_wrong_while_another_process_writes(told: Any) -> None:
    assert told["reads"]["found"] == [] and told["reads"]["reads"] == 16 and told["reads"]["states_seen"] > 1
