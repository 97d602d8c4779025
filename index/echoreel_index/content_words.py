"""The words of a text that say something, in any script: for the word index, and to tell whether two sentences are about the same."""

from __future__ import annotations

import re
import unicodedata

from echoreel_index import english as en
from echoreel_index.word_index import UNSPACED

_RUN = re.compile(f"{UNSPACED.pattern}+")
"""Signs of scripts without blanks, as many as stand together."""


def words_of(text: str) -> list[str]:
    """The content words of a text in any script, for the word index: lower case, no stop words, each once.

    Scripts without blanks give each pair of neighbouring signs, so that a text which holds a part of the run is found. Letters are
    only lowered, as the index does; it takes off accents by itself, for both sides.
    """
    plain = unicodedata.normalize("NFC", text).lower()
    found: dict[str, None] = {}
    for run in re.findall(r"\w+", re.sub("['\u2019]s\\b|_", " ", plain)):
        for part in _pieces(run):
            if part not in en.STOP_WORDS:
                found[part] = None
    return list(found)


def stems_of(text: str) -> frozenset[str]:
    """The roots of the content words of a text, so that forms of one word meet; `push-ups` is one word here."""
    return frozenset(en.stem(word) for word in words_of(text.replace("-", "")))


def _pieces(run: str) -> list[str]:
    """One run of letters as index words."""
    found, last = [], 0
    for match in _RUN.finditer(run):
        found += [run[last : match.start()]] if match.start() > last else []
        signs, last = match.group(), match.end()
        found += [signs[i : i + 2] for i in range(len(signs) - 1)] or [signs]
    return found + ([run[last:]] if last < len(run) else [])


ANYONE = stems_of(
    "person people someone somebody man men woman women boy girl boys girls child children kid kids adult athlete player dancer human "
    "mother father he she they two three four something thing perform play move"
)
"""Stems of words that do not tell one action from another."""
