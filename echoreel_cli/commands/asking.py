"""How a search is asked: options and lines of standard input -> what the library takes."""

from __future__ import annotations

import difflib
import json
import os
import re
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from echoreel_index.errors import UsageError

if TYPE_CHECKING:
    from echoreel_index.filters import Filters
    from echoreel_index.search import Ranking, Weights

KEYS = ("query", "plus", "minus", "k")
AGO = {"d": 1, "w": 7, "y": 365}


@dataclass(frozen=True, slots=True)
class Asked:
    """One search."""

    query: str
    plus: tuple[str, ...] = ()
    minus: tuple[str, ...] = ()
    k: int | None = None
    """None means as many as the options say."""

    @property
    def text(self) -> str:
        """The whole search on one line."""
        return " ".join(filter(None, (self.query, *(f"+ {term}" for term in self.plus), *(f"- {term}" for term in self.minus))))


def searches(query: str, plus: Sequence[str], minus: Sequence[str]) -> Iterator[Asked]:
    """The search itself, or those that stand on standard input, to each of which the terms of the options are added."""
    if query != "-":
        if not query.strip() and not plus:
            raise UsageError("there is nothing to search for: the text is empty")
        return iter((Asked(query.strip(), tuple(plus), tuple(minus)),))
    if sys.stdin.isatty():
        raise UsageError("- reads searches from stdin, but stdin is a terminal", hint="pipe them in, one a line")
    return _lines(plus, minus)


def _lines(plus: Sequence[str], minus: Sequence[str]) -> Iterator[Asked]:
    nothing = True
    for number, line in enumerate(sys.stdin, start=1):
        text = line.strip().lstrip("\ufeff")
        if text:
            one = _object(text, f"standard input, line {number}") if text.startswith("{") else Asked(text)
            yield replace(one, plus=(*one.plus, *plus), minus=(*one.minus, *minus))
            nothing = False
    if nothing:
        raise UsageError("standard input holds no search", hint="one a line, or JSON objects with a `query`")


def _object(text: str, where: str) -> Asked:
    """`{"query": "a jump", "plus": ["0.5:beach"], "minus": "gym", "k": 3}`."""
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise UsageError(f"{where}: not JSON: {error.msg} at column {error.colno}") from None
    for key in value:
        if key not in KEYS:
            near = difflib.get_close_matches(key, KEYS, n=1, cutoff=0.0)[0]
            raise UsageError(f"{where}: unknown key {key!r}, did you mean {near!r}?", hint=f"known keys: {', '.join(KEYS)}")
    query, k = value.get("query", ""), value.get("k")
    if not isinstance(query, str) or not (query.strip() or value.get("plus")):
        raise UsageError(f"{where}: `query` is missing or empty")
    if k is not None and (not isinstance(k, int) or isinstance(k, bool) or k < 1):
        raise UsageError(f"{where}: `k` must be a whole number from 1 on, got {k!r}")
    return Asked(query.strip(), _terms(value, "plus", where), _terms(value, "minus", where), k)


def _terms(value: dict[str, Any], key: str, where: str) -> tuple[str, ...]:
    found = value.get(key, [])
    terms = [found] if isinstance(found, str) else found
    if not isinstance(terms, list) or not all(isinstance(term, str) for term in terms):
        raise UsageError(f"{where}: `{key}` must be a text or a list of texts, got {found!r}")
    return tuple(terms)


def filters(
    *,
    under: Sequence[str],
    min_duration: float | None,
    max_duration: float | None,
    since: str | None,
    until: str | None,
    licences: Sequence[str],
    min_motion: float | None,
    without: Sequence[str],
) -> Filters:
    """What the options let through. Raises UsageError for dates that are none, and for a range that nothing can be in."""
    from echoreel_index.files import pattern
    from echoreel_index.filters import Filters

    earliest = moment(since, "--since") if since is not None else None
    latest = moment(until, "--until", end_of_day=True) if until is not None else None
    if min_duration is not None and max_duration is not None and min_duration > max_duration:
        raise UsageError(f"no video is longer than {min_duration:g} and shorter than {max_duration:g} seconds")
    if earliest is not None and latest is not None and earliest >= latest:
        raise UsageError(f"nothing is after {since} and before {until}")
    return Filters(
        under=tuple(pattern(one) for one in under),
        min_duration=min_duration,
        max_duration=max_duration,
        since=earliest,
        until=latest,
        licences=tuple(licences),
        min_motion=min_motion,
        without=tuple(unwanted(one) for one in without),
    )


def moment(text: str, option: str, *, end_of_day: bool = False) -> float:
    """`2026-01-31` (UTC, as undated hours of sidecars are) or `7d`, `2w`, `1y` ago, as seconds since 1970.

    With `end_of_day` a date means the first moment after that day.
    """
    if ago := re.fullmatch(r"(\d{1,5})\s*([dwy])", text.strip().lower()):
        return time.time() - int(ago[1]) * AGO[ago[2]] * 86400.0
    try:
        day = datetime.strptime(text.strip(), "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        raise UsageError(f"{option} cannot read {text!r}", hint="write a date as YYYY-MM-DD, or how long ago it is: 7d, 2w, 1y") from None
    return (day + timedelta(days=1) if end_of_day else day).timestamp()


def unwanted(text: str) -> str:
    """An id as it stands; the path of a file made absolute. Raises UsageError for what is neither."""
    path = os.path.expanduser(text)
    if os.path.exists(path):
        return os.path.abspath(path)
    if re.fullmatch("[0-9a-f]{16}", text):
        return text
    raise UsageError(f"--not {text}: no such file, and no id of a hit", hint="ids are in search --json; quote names that contain spaces")


def ranking(*, usable: bool, diversity: float | None, weights: str | None, min_fit: float | None, anything: bool) -> Ranking:
    """The library's own ranking, but for what the options say."""
    from echoreel_index.search import Ranking

    found = Ranking()
    if usable:
        found = replace(found, gate="drop")
    if diversity is not None:
        found = replace(found, diversity=diversity)
    if weights is not None:
        found = replace(found, weights=parsed_weights(weights, found.weights))
    if min_fit is not None:
        found = replace(found, floor=min_fit)
    return found.anyhow() if anything else found


def parsed_weights(text: str, usual: Weights) -> Weights:
    """`visual=1,words=0`: the named signals, the others as usual."""
    known = [field.name for field in fields(usual)]
    given: dict[str, float] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, equals, value = (piece.strip() for piece in part.partition("="))
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.0)[0]
            raise UsageError(f"--weights knows no signal {name!r}, did you mean {near!r}?", hint=f"signals are {', '.join(known)}")
        try:
            given[name] = float(value)
        except ValueError:
            raise UsageError(f"--weights cannot read {part!r}", hint="write NAME=NUMBER, as in visual=1,words=0") from None
    return replace(usual, **given)
