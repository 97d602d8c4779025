"""A prompt -> the clips of a library that show its action.

The library's own encoder reads the prompt, so vectors are always compared with vectors of the same network.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
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
    anything: bool = False
    """The nearest clips, whether or not they fit and can be used."""


class Retriever:
    """One open library; its encoder is loaded at the first question and kept for all others."""

    def __init__(
        self, folder: Path, open_encoder: OpenEncoder, floor: Callable[[EncoderCard], float | None], choice: Choice = Choice()
    ) -> None:
        """Raises LibraryError if there is no library.

        `open_encoder` takes the name on the library's card; `floor` says which score is too low for that encoder, None for none.
        """
        from echoreel_index.library import Library

        self.folder, self.choice = folder, choice
        self._open_encoder = open_encoder
        self._encoder: Encoder | None = None
        self.library: Library = Library.open(folder)
        self.min_score = None if choice.anything else floor(self.library.card)

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
        # A floor on the score that was set for this encoder, by the user or with the model, stands in place of the fit.
        ranking = Ranking().anyhow() if anything or self.min_score is not None else Ranking()
        floor = None if anything else self.min_score
        filters = Filters(without=self.choice.without)
        return self.library.search(self.query(prompt), k=k, encoder=self._encoder, min_score=floor, ranking=ranking, filters=filters)

    def _why(self, prompt: str, hits: Sequence[Hit]) -> str:
        if hits:
            return " that can be used as a reference"
        nearest = self._search(prompt, 1, anything=True)
        if not nearest:
            return ": it holds no clips that may be taken"
        fit = "" if nearest[0].fit is None else f" and fits with {nearest[0].fit:.3f}"
        floor = "" if self.min_score is None else f", the floor is {self.min_score:.3f}"
        return f": the best clip, {_named(nearest[0])}, scores {nearest[0].score:.3f}{fit}{floor}"

    def record(self, prompt: str, k: int) -> RetrievalRecord:
        """For the provenance."""
        card = self.library.card
        return RetrievalRecord(str(self.folder.absolute()), card.name, card.fingerprint, k, self.min_score, self.query(prompt))


def floor_for(card: EncoderCard, asked: float | None, encoder: str, own: float) -> float | None:
    """The score below which a clip is no match: the user's, else the model's own if it was set for this encoder.

    Cosines of two encoders mean different things, so without either there is no floor.
    """
    if asked is not None:
        return asked
    return own if card.name.partition("/")[0] == encoder.partition("/")[0] else None


def _named(hit: Hit) -> str:
    return f"{Path(hit.clip.path).name}@{hit.clip.start:.2f}-{hit.clip.end:.2f}"
