"""A prompt -> the clips of a library that show its action.

The library's own encoder reads the prompt, so vectors are always compared with vectors of the same network.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from echoreel_cli.generate.provenance import RetrievalRecord
from echoreel_index.errors import NoMatch
from echoreel_index.nouns import Reference

if TYPE_CHECKING:
    from echoreel_index.encode import Encoder
    from echoreel_index.library import Library

OpenEncoder = Callable[[str], "Encoder"]


class Retriever:
    """One open library; its encoder is loaded at the first question and kept for all others."""

    def __init__(self, folder: Path, open_encoder: OpenEncoder) -> None:
        """Raises LibraryError if there is no library. `open_encoder` takes the name on the library's card."""
        from echoreel_index.library import Library

        self.folder = folder
        self._open_encoder = open_encoder
        self._encoder: Encoder | None = None
        self.library: Library = Library.open(folder)

    def close(self) -> None:
        """Let go of the library."""
        self.library.close()

    def references(self, prompt: str, k: int, min_score: float) -> tuple[Reference, ...]:
        """The best k clips that score at least `min_score`, best first.

        Raises:
            NoMatch: there is none; the message says how close the best one came.
            EncoderMismatch: the encoder on this machine is not the one that made the library.
        """
        if self._encoder is None:
            self._encoder = self._open_encoder(self.library.card.name)
        hits = self.library.search(prompt, k=k, encoder=self._encoder)
        good = tuple(Reference.from_hit(hit) for hit in hits if hit.score >= min_score)
        if not good:
            best = f"the best clip scores {hits[0].score:.3f}" if hits else "it holds no clips"
            raise NoMatch(
                f"nothing in {self.folder} shows {prompt!r}: {best}, the floor is {min_score:.3f}",
                hint="index more videos, lower --min-score, or --allow-no-match to go on without references",
            )
        return good

    def record(self, k: int, min_score: float) -> RetrievalRecord:
        """For the provenance."""
        card = self.library.card
        return RetrievalRecord(str(self.folder.absolute()), card.name, card.fingerprint, k, min_score)
