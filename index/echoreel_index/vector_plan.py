"""How many vectors are searched: how they are grouped, how many bytes each may take, and how far a query looks.

Pure but for `machine_memory`. The figures behind the choices, of `benchmarks.vector_scale`'s 100,000 vectors of 512 numbers in 256
lists, 64 of them looked into, for queries as far away as words are from pictures; milliseconds on one core without the scoring:

    bytes  kind     scored again: 100          200          400          800          1600
    520    sq8      0.972  1.5 ms        0.972        0.972        0.972        0.972  2.2 ms
    264    sq4      0.972  1.7 ms        0.972        0.972        0.972        0.972  2.7 ms
     80    rabitq   0.688  0.7 ms        0.785        0.878        0.929        0.964  1.5 ms

So four bits are as good as eight, and one bit is paid for with more exact vectors to be read: it is for what does not fit otherwise.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

Kind = Literal["sq8", "sq4", "rabitq"]

TARGET = 0.95
"""Recall at 10, against exact search, that a file of vectors must reach when it is made."""
ROW = 8
"""Bytes of a row number."""
SLACK = 1.5
"""Memory while the lists are made, over what they hold in the end: each grows by doubling."""
POINTS = 64
"""Vectors that a list's centre is learned from."""
PROBES, CANDIDATES = 8, 200
"""Where the search for good settings begins: lists looked into, vectors scored again."""
MOST_CANDIDATES = 3200
MOST_LISTS = 16384
"""A vector is compared with every list's centre when it is added: above this, adding takes too long."""
WORDS: dict[Kind, str] = {"sq8": "8-bit codes", "sq4": "4-bit codes", "rabitq": "1-bit codes (RaBitQ)"}


@dataclass(frozen=True, slots=True)
class VectorPlan:
    """An inverted file: `lists` groups of vectors, `code` bytes a vector, `probes` groups looked into, `candidates` scored again."""

    kind: Kind
    lists: int
    code: int
    probes: int
    candidates: int
    said: str
    """One sentence for the user."""


def code_bytes(kind: Kind, width: int) -> int:
    """Bytes of one vector of `width` numbers, without its row number."""
    sizes: dict[Kind, int] = {"sq8": width, "sq4": (width + 1) // 2, "rabitq": (width + 7) // 8 + 8}
    return sizes[kind]


def lists_for(count: int) -> int:
    """The power of two nearest to the square root of `count`, with at least 32 vectors a list."""
    nearest = 1 << round(math.log2(max(count, 1)) / 2)
    return min(nearest, 1 << int(math.log2(max(count // 32, 1))), MOST_LISTS)


def plan(count: int, width: int, budget: int) -> VectorPlan:
    """The finest codes whose lists stay within `budget` bytes while `count` vectors of `width` numbers are put into them.

    When not even the coarsest fit, they are taken all the same, and `said` says that parts of them will be read from disk.
    """
    kinds: tuple[Kind, ...] = ("sq8", "sq4", "rabitq")
    needs = {kind: int(count * (code_bytes(kind, width) + ROW) * SLACK) for kind in kinds}
    kind = next((one for one in kinds if needs[one] <= budget), kinds[-1])
    lists = lists_for(count)
    size = count * (code_bytes(kind, width) + ROW)
    said = f"{count:,} vectors in {lists:,} lists as {WORDS[kind]}, {human(size)}"
    said += f" ({human(needs[kind])} to make them, {human(budget)} allowed)"
    if needs[kind] > budget:
        said += ": more than allowed, so parts will be read from disk again and again"
    return VectorPlan(kind, lists, code_bytes(kind, width), min(PROBES, lists), CANDIDATES, said)


def tune(start: VectorPlan, recall: Callable[[VectorPlan], float], target: float = TARGET) -> tuple[VectorPlan, float]:
    """Look into more lists or score more candidates, whichever helps more, until `recall` reaches `target` or there are no more."""
    best, reached = start, recall(start)
    while reached < target:
        wider = replace(best, probes=min(best.lists, 2 * best.probes))
        deeper = replace(best, candidates=min(MOST_CANDIDATES, 2 * best.candidates))
        tries = [(recall(one), one) for one in (wider, deeper) if one != best]
        if not tries:
            break
        reached, best = max(tries, key=lambda one: one[0])
    return best, reached


def default_budget() -> int:
    """A quarter of the memory of this machine, in bytes."""
    return machine_memory() // 4


def machine_memory() -> int:
    """Bytes of memory of this machine."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def human(size: int) -> str:
    """Bytes as a person writes them."""
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.1f} MiB"
