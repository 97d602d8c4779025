"""A tiny rendered world, drawn once for all tests of training."""

from __future__ import annotations

import pytest

from echoreel_cli.train.worldset import WorldSet, build


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> WorldSet:
    """Two clips of each action, three of each of four unnamed motions."""
    return build(tmp_path_factory.mktemp("world"), seed=1, per_action=2, wild=4)
