"""A prompt -> the clips of a library that show its action.

The library's own encoder reads the prompt, so vectors are always compared with vectors of the same network.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from echoreel_cli.generate.provenance import RetrievalRecord
from echoreel_index.errors import NoMatch
from echoreel_index.nouns import EncoderCard, Reference

if TYPE_CHECKING:
    from echoreel_index.encode import Encoder
    from echoreel_index.library import Library
    from echoreel_index.nouns import Hit

OpenEncoder = Callable[[str], "Encoder"]


@dataclass(frozen=True, slots=True)
class Choice:
    """How clips are chosen, besides by the prompt."""

    query: str | None = None
    """Look for this instead of the prompt: a sentence, a clip or a picture."""
    without: tuple[str, ...] = ()
    """Ids of windows and absolute paths that are not wanted."""
    min_fit: float | None = None
    """Least fit; None is the usual one, or a score that the model knows for the library's encoder."""
    min_score: float | None = None
    """Least score, in place of the fit."""
    anything: bool = False
    """The nearest clips, whether or not they fit and can be used."""


class Retriever:
    """One open library; its encoder is loaded at the first question and kept for all others."""

    def __init__(
        self, folder: Path, open_encoder: OpenEncoder, known: Callable[[EncoderCard], float | None], choice: Choice = Choice()
    ) -> None:
        """Raises LibraryError if there is no library.

        `open_encoder` takes the name on the library's card; `known` says which score is enough with that encoder, None if nobody knows.
        """
        from echoreel_index.library import Library

        self.folder, self.choice = folder, choice
        self._open_encoder = open_encoder
        self._encoder: Encoder | None = None
        self.library: Library = Library.open(folder)
        self._known = known(self.library.card) if choice.min_fit is None else None

    def close(self) -> None:
        """Let go of the library."""
        self.library.close()

    def references(self, prompt: str, k: int, warn: Callable[[str], None]) -> tuple[Reference, ...]:
        """The best k clips that fit and can be used, best first; `warn` is told about clips that fit and cannot be used.

        Raises:
            NoMatch: there is none; the message says how close the best one came.
            EncoderMismatch: the encoder on this machine is not the one that made the library.
        """
        anyhow = self.choice.anything
        hits = self._search(prompt, k, anything=anyhow)
        for hit in hits:
            if hit.problems:
                warn(f"{_named(hit)} is no usable reference{'' if anyhow else ' and left out'}: {', '.join(hit.problems)}")
        good = tuple(Reference.from_hit(hit) for hit in hits if anyhow or not hit.problems)
        if not good:
            hint = "index more videos, take what comes closest with --any, or go on without references with --allow-no-match"
            raise NoMatch(f"nothing in {self.folder} shows {self.query(prompt)!r}{self._why(prompt, hits)}", hint=hint)
        return good

    def query(self, prompt: str) -> str:
        """What is searched for: as chosen, else the prompt's action, whose clothes and place are the model's affair, not the clips'."""
        from echoreel_index.phrases import action_of

        return self.choice.query or action_of(prompt) or prompt

    def _search(self, prompt: str, k: int, *, anything: bool) -> list[Hit]:
        from echoreel_index.filters import Filters
        from echoreel_index.search import Ranking

        if self._encoder is None:
            self._encoder = self._open_encoder(self.library.card.name)
        ranking = replace(Ranking(), floor=self._floor, known_score=self._known)
        floor = None if anything else self.choice.min_score
        if anything or floor is not None:
            ranking = ranking.anyhow()
        filters = Filters(without=self.choice.without)
        return self.library.search(self.query(prompt), k=k, encoder=self._encoder, min_score=floor, ranking=ranking, filters=filters)

    def _why(self, prompt: str, hits: Sequence[Hit]) -> str:
        if hits:
            return " that can be used as a reference"
        nearest = self._search(prompt, 1, anything=True)
        if not nearest:
            return ": it holds no clips that may be taken"
        best = f": the best clip is {_named(nearest[0])} with a score of {nearest[0].score:.3f}"
        if self.choice.min_score is not None:
            return f"{best}, and at least {self.choice.min_score:g} is asked for"
        fit = "" if nearest[0].fit is None else f" and a fit of {nearest[0].fit:.3f}"
        score = "" if self._known is None else f"a score of {self._known:g} or "
        return f"{best}{fit}, and {score}a fit of {self._floor:g} is asked for"

    @property
    def _floor(self) -> float:
        from echoreel_index.search import Ranking

        return Ranking().floor if self.choice.min_fit is None else self.choice.min_fit

    def record(self, prompt: str, k: int) -> RetrievalRecord:
        """For the provenance."""
        card = self.library.card
        least = self._known if self.choice.min_score is None else self.choice.min_score
        return RetrievalRecord(str(self.folder.absolute()), card.name, card.fingerprint, k, least, self.query(prompt))


def known_score(card: EncoderCard, encoder: str, own: float) -> float | None:
    """The score that is enough for a match: the model's `own`, if it was set for this encoder; cosines of two mean different things."""
    return own if card.name.partition("/")[0] == encoder.partition("/")[0] else None


def _named(hit: Hit) -> str:
    return f"{Path(hit.clip.path).name}@{hit.clip.start:.2f}-{hit.clip.end:.2f}"
