"""How long a worker has really had: seconds that a busy machine gave to others do not count.

A worker that gets a part of a processor only is charged what it got, doubled, so that a slow machine does not make good files bad.
One that uses no processor at all waits for something (a lock, a disk) and is charged every second, as is one that has a whole one.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

LEAST, MOST = 0.01, 0.5
"""Shares of a processor between which a worker counts as one that is kept waiting by others."""
LONGEST = 20.0
"""Times the limit after which patience ends in any case."""
LOOK = 0.5
"""Seconds between two looks at what a worker has used."""


class Patience:
    """One wait of at most `limit` charged seconds for the process `pid`."""

    def __init__(self, pid: int, limit: float) -> None:
        self._pid, self._limit = pid, limit
        self.charged = 0.0
        self._began = self._seen = time.monotonic()
        self._used = used(pid)

    def left(self) -> float:
        """Seconds to wait before the next look; 0 when patience is at its end."""
        now, processor = time.monotonic(), used(self._pid)
        passed, worked = now - self._seen, processor - self._used
        if passed > 0:
            kept_waiting = LEAST * passed < worked < MOST * passed
            self.charged += 2 * worked if kept_waiting else passed
        self._seen, self._used = now, processor
        over = self.charged >= self._limit or now - self._began >= LONGEST * self._limit
        return 0.0 if over else min(LOOK, self._limit - self.charged)


def used(pid: int) -> float:
    """Seconds of processor that all threads of a process have had; 0 where the system does not say (not Linux)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
