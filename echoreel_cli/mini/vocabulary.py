"""The words of the small world as a byte-pair vocabulary that open_clip's tokenizer reads: each of its words is one token.

Made by our own code from the world's own captions; words of no caption are spelt in pieces. Nothing of a public vocabulary is used.
"""

from __future__ import annotations

import gzip
from collections import Counter
from pathlib import Path

from echoreel_cli.mini.actions import ACTIONS
from echoreel_cli.mini.people import COLOURS, SCENES
from echoreel_cli.mini.world import WILD_PHRASES

_FILLERS = (
    "a the an person in on at and of shirt trousers hat doing is who with man woman someone people video clip",
    "does do going to moving quickly slowly up down left right one two hand hands arm arms leg legs",
)


def words() -> tuple[str, ...]:
    """Every word of the caption grammar, each once, in a fixed order."""
    sentences = [phrase for action in ACTIONS for phrase in (action.name, *action.phrases)]
    sentences += [scene.phrase for scene in SCENES] + list(COLOURS) + list(WILD_PHRASES) + list(_FILLERS)
    return tuple(dict.fromkeys(word for sentence in sentences for word in sentence.replace("-", " ").split()))


def merges(vocabulary: tuple[str, ...]) -> list[tuple[str, str]]:
    """Byte-pair merges, most frequent pair first (ties by the alphabet), until each word is one token."""
    pieces = {word: (*word[:-1], word[-1] + "</w>") for word in vocabulary}
    found: list[tuple[str, str]] = []
    while any(len(parts) > 1 for parts in pieces.values()):
        pairs = Counter(pair for parts in pieces.values() for pair in zip(parts, parts[1:], strict=False))
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        found.append(best)
        pieces = {word: _merged(parts, best) for word, parts in pieces.items()}
    return found


def _merged(parts: tuple[str, ...], pair: tuple[str, str]) -> tuple[str, ...]:
    out: list[str] = []
    for part in parts:
        if out and (out[-1], part) == pair:
            out[-1] = out[-1] + part
        else:
            out.append(part)
    return tuple(out)


def write(path: Path) -> int:
    """Write the vocabulary where open_clip's SimpleTokenizer finds it (a gzipped merge list); returns the number of tokens."""
    found = merges(words())
    text = "\n".join(["#version: echoreel small world", *(" ".join(pair) for pair in found)])
    with path.open("wb") as raw, gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0) as file:
        file.write(text.encode())
    return 512 + len(found) + 2
