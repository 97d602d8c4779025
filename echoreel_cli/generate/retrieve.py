"""A prompt -> the clips of a library that show its action.

The library's own encoder reads the prompt, so vectors are always compared with vectors of the same network.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from echoreel_cli.generate.provenance import RetrievalRecord
from echoreel_index.errors import NoMatch
from echoreel_index.nouns import EncoderCard, Reference

if TYPE_CHECKING:
    from echoreel_index.encode import Encoder
    from echoreel_index.library import Library

OpenEncoder = Callable[[str], "Encoder"]


class Retriever:
    """One open library; its encoder is loaded at the first question and kept for all others."""

    def __init__(self, folder: Path, open_encoder: OpenEncoder, floor: Callable[[EncoderCard], float | None]) -> None:
        """Raises LibraryError if there is no library.

        `open_encoder` takes the name on the library's card; `floor` says which score is too low for that encoder, None for none.
        """
        from echoreel_index.library import Library

        self.folder = folder
        self._open_encoder = open_encoder
        self._encoder: Encoder | None = None
        self.library: Library = Library.open(folder)
        self.min_score = floor(self.library.card)

    def close(self) -> None:
        """Let go of the library."""
        self.library.close()

    def references(self, prompt: str, k: int) -> tuple[Reference, ...]:
        """The best k clips that pass the floor, best first.

        Raises:
            NoMatch: there is none; the message says how close the best one came.
            EncoderMismatch: the encoder on this machine is not the one that made the library.
        """
        if self._encoder is None:
            self._encoder = self._open_encoder(self.library.card.name)
        hits = self.library.search(prompt, k=k, encoder=self._encoder)
        good = tuple(Reference.from_hit(hit) for hit in hits if self.min_score is None or hit.score >= self.min_score)
        if not good:
            best = f"the best clip scores {hits[0].score:.3f}, the floor is {self.min_score:.3f}" if hits else "it holds no clips"
            raise NoMatch(
                f"nothing in {self.folder} shows {prompt!r}: {best}",
                hint="index more videos, lower --min-score, or --allow-no-match to go on without references",
            )
        return good

    def record(self, k: int) -> RetrievalRecord:
        """For the provenance."""
        card = self.library.card
        return RetrievalRecord(str(self.folder.absolute()), card.name, card.fingerprint, k, self.min_score)


def floor_for(card: EncoderCard, asked: float | None, encoder: str, own: float) -> float | None:
    """The score below which a clip is no match: the user's, else the model's own if it was set for this encoder.

    Cosines of two encoders mean different things, so without either there is no floor.
    """
    if asked is not None:
        return asked
    return own if card.name.partition("/")[0] == encoder.partition("/")[0] else None
