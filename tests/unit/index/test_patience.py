"""Patience: a worker is charged what it really had."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from echoreel_index import patience
from echoreel_index.patience import Patience


@contextmanager
def running(code: str) -> Iterator[int]:
    process = subprocess.Popen([sys.executable, "-c", code])
    try:
        yield process.pid
    finally:
        process.kill()
        process.wait()


def waited(pid: int, limit: float) -> Patience:
    one = Patience(pid, limit)
    while (left := one.left()) > 0:
        time.sleep(left)
    return one


def test_who_sleeps_is_charged_every_second() -> None:
    with running("import time; time.sleep(100)") as pid:
        time.sleep(1.0)  # its start costs some processor
        began = time.monotonic()
        assert waited(pid, 1.0).charged >= 1.0
        assert time.monotonic() - began < 5


def test_who_gets_a_part_of_a_processor_is_charged_that_part(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(patience, "used", lambda pid: 0.1 * clock[0])
    one = Patience(1, 10.0)
    while one.left() > 0:
        clock[0] += 1.0
    assert clock[0] == pytest.approx(50.0, abs=1.0)  # a tenth of a processor, charged double
    monkeypatch.setattr(patience, "used", lambda pid: 0.02 * clock[0])
    one = Patience(1, 10.0)
    began = clock[0]
    while one.left() > 0:
        clock[0] += 1.0
    assert clock[0] - began == pytest.approx(patience.LONGEST * 10.0, abs=1.0)


def test_a_process_that_is_gone_has_used_nothing() -> None:
    assert patience.used(2**22 + 1) == 0.0
