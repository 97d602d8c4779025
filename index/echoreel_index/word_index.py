"""Text as the full-text index takes it, for what is stored and for what is asked alike."""

from __future__ import annotations

import re
from collections.abc import Sequence

UNSPACED = re.compile("([\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff])")
"""Scripts that write no blanks between words: Kana and Han."""


def spaced(text: str) -> str:
    """A blank around each character of scripts that have none between words, so that each becomes a word of the index."""
    return " ".join(UNSPACED.sub(r" \1 ", text).split())


def match(words: Sequence[str], columns: Sequence[str] = (), *, every: bool = False) -> str | None:
    """The FTS5 expression for texts that hold any of `words`, or `every` one, in any of `columns`; None when there are no words.

    Characters that belong together in a script without blanks have to stand together.
    """
    phrases = [f'"{phrase}"' for word in words if (phrase := spaced(word.replace('"', " ")))]
    if not phrases:
        return None
    wanted = (" AND " if every else " OR ").join(phrases)
    return f"{{{' '.join(columns)}}} : ({wanted})" if columns else wanted
