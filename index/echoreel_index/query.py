"""What is searched for: a sentence, a clip, a picture, or a sum of such.

    a person doing a backflip            a sentence
    flip.mp4   flip.mp4@3-6   pose.jpg   a file, or a piece of one; its times are read by `moments`
    0.5:a beach                          any of these with a weight; 1 is usual

A file is meant when it exists. The query's vector is the unit sum of weight times unit vector over its terms.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from echoreel_index.encode import unit
from echoreel_index.errors import UsageError
from echoreel_index.files import VIDEO_SUFFIXES
from echoreel_index.moments import span_of
from echoreel_index.signals import Vector

PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif")
SMALLEST = 1e-3
"""Length of a sum of unit vectors below which its terms cancel out."""
HEAVIEST = 100.0

_WEIGHTED = re.compile(r"\s*([+-]?(?:\d+(?:\.\d*)?|\.\d+))\s*:(?!//|\d)\s*(.*)", re.DOTALL)
"""`0.5:a beach`, but not the clock of `12:30 in the morning`."""


@dataclass(frozen=True, slots=True)
class Term:
    """One part of a query: either a sentence (`text`) or a piece of a file (`path`)."""

    text: str | None = None
    path: str | None = None
    """Absolute."""
    start: float = 0.0
    end: float | None = None
    """Seconds; None is the end of the file."""
    weight: float = 1.0
    """Below 0 the term is subtracted."""


@dataclass(frozen=True, slots=True)
class Query:
    """The sum of its terms; at least one."""

    terms: tuple[Term, ...]

    @property
    def sentences(self) -> tuple[str, ...]:
        """What is asked for in words; what is subtracted is not among it."""
        return tuple(term.text for term in self.terms if term.text is not None and term.weight > 0)


def parse_query(text: str, plus: Sequence[str] = (), minus: Sequence[str] = ()) -> Query:
    """The query of the main text, what is added and what is subtracted; an empty `text` leaves the others alone.

    Raises UsageError when there is nothing to search for, or a term cannot be read.
    """
    terms = [parse_term(one) for one in ([text] if text.strip() else [])]
    terms += [parse_term(one) for one in plus]
    terms += [_negative(parse_term(one)) for one in minus]
    if not terms:
        raise UsageError("there is nothing to search for: the text is empty", hint='say what: echoreel search "a person jumping"')
    if all(term.weight <= 0 for term in terms):
        raise UsageError("a query needs something to look for, not only what to avoid", hint="subtract it from a sentence or a clip")
    return Query(tuple(terms))


def parse_term(text: str) -> Term:
    """One term. A file that exists wins over a weight, a weight over a sentence. Raises UsageError."""
    body, weight = text.strip(), 1.0
    if not _is_file(body) and (match := _WEIGHTED.fullmatch(body)):
        weight, body = float(match[1]), match[2].strip()
    if not body:
        raise UsageError(f"a term of the query is empty: {text!r}" if text.strip() else "a term of the query is empty")
    if weight == 0 or abs(weight) > HEAVIEST:
        raise UsageError(f"the weight of {text!r} must not be 0 or beyond {HEAVIEST:g}", hint="write it as 0.5:a beach")
    if (named := _named(body)) is not None:
        path, start, end = named
        return Term(path=path, start=start, end=end, weight=weight)
    return Term(text=" ".join(body.split()), weight=weight)


def total(terms: Sequence[tuple[float, Vector]]) -> Vector:
    """(d) unit vector of a weighted sum. Raises UsageError when hardly anything is left of it."""
    summed: Vector = np.asarray(np.sum([weight * vector for weight, vector in terms], axis=0), np.float32)
    if float(np.linalg.norm(summed)) < SMALLEST:
        raise UsageError("the terms of the query cancel each other out", hint="what is added and what is subtracted must differ")
    return unit(summed)


def _negative(term: Term) -> Term:
    return Term(term.text, term.path, term.start, term.end, -term.weight)


def _exists(text: str) -> bool:
    try:
        return os.path.exists(os.path.expanduser(text))
    except ValueError:  # a zero byte
        return False


def _is_file(text: str) -> bool:
    try:
        return os.path.isfile(os.path.expanduser(text))
    except ValueError:  # a zero byte
        return False


def piece(text: str) -> tuple[str, float, float | None]:
    """(absolute path, start, end) of `FILE` or `FILE@START-END`, for a text that is meant as a file; end None is the file's.

    A file whose very name ends in something like times wins over the times; no other file need exist. Raises UsageError.
    """
    if "@" not in text or _exists(text):
        return _absolute(text), 0.0, None
    file, _, times = text.rpartition("@")
    try:
        start, end = span_of(times)
        if not file:
            raise ValueError
    except ValueError:
        raise UsageError(f"cannot read the times of {text!r}", hint="write FILE@START-END, as in clip.mp4@1.5-3.5") from None
    if end is not None and end <= start:
        raise UsageError(f"{text!r} ends before it starts")
    return _absolute(file), start, end


def _named(text: str) -> tuple[str, float, float | None] | None:
    """The piece that a term names; None where it is a sentence."""
    file = text.rpartition("@")[0]
    if _is_file(text) or (file and _is_file(file)):
        return piece(text)
    name = file if _looks_like_file(file) else text
    if _looks_like_file(name):
        raise UsageError(f"no such file: {name}", hint="check the spelling and the folder; for words leave out the suffix")
    return None


def _looks_like_file(text: str) -> bool:
    """Whether the text can only be meant as a file: one of our suffixes, and no sentence around it."""
    suffix = os.path.splitext(text)[1].lower()
    return suffix in {*VIDEO_SUFFIXES, *PICTURE_SUFFIXES} and (" " not in text or os.sep in text)


def _absolute(text: str) -> str:
    """`..` stays: after a link it is not the folder before it."""
    return str(Path(os.path.expanduser(text)).absolute())
