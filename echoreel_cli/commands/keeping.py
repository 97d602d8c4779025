"""What a search leaves on disk when asked to: a contact sheet of its hits, and each hit as a clip of its own."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from echoreel_cli.commands.hits import short_hit
from echoreel_cli.console import Console
from echoreel_index.errors import EchoreelError, PartialFailure, UsageError, VideoError

if TYPE_CHECKING:
    from echoreel_cli.generate.clippings import Clipping
    from echoreel_cli.generate.hit_sheet import HitRow
    from echoreel_index.decode import Decoder
    from echoreel_index.library import Library
    from echoreel_index.nouns import Hit


class Keeping:
    """Clips are written search by search, the sheet at the end; nothing is written over without `force`."""

    def __init__(self, console: Console, *, sheet: Path | None, export: Path | None, force: bool, several: bool) -> None:
        """`several`: searches come from stdin, so rows of the sheet say which one they answer."""
        self._console, self._sheet, self._export, self._force, self._several = console, sheet, export, force, several
        self._rows: list[HitRow] = []
        self._planned: list[Clipping] = []
        self._title = ""
        self._searches = self._hits = self._failed = 0
        if sheet is not None:
            _check_sheet(sheet, force=force)
        if export is not None and export.exists() and not export.is_dir():
            raise UsageError(f"{export} is a file, so no clips can be written into it", hint="--export takes a folder")

    def plan(self, hits: Sequence[Hit], query: str) -> None:
        """Take the hits of one search, and find out where they go. Raises OutputExists before any of them is written."""
        self._title = query if self._searches == 0 else f"{self._searches + 1} searches"
        self._searches += 1
        self._planned = []
        if self._export is not None:
            from echoreel_cli.generate.clippings import clippings, refuse_clippings

            self._planned = clippings(hits, query, self._export, first=self._hits + 1)
            refuse_clippings(self._planned, force=self._force)

    def keep(self, hits: Sequence[Hit], query: str, decoder: Decoder, library: Library) -> None:
        """Look at the hits that were planned, and cut them out. Those that cannot be read are warned about."""
        for place, hit in enumerate(hits):
            try:
                if self._sheet is not None:
                    self._draw(hit, query, decoder)
                if self._planned:
                    self._cut(self._planned[place], decoder, library)
            except VideoError as error:
                self._failed += 1
                self._console.warn(f"{short_hit(hit)}: {error.message}")
        self._hits += len(hits)

    def finish(self) -> None:
        """Write the sheet. Raises PartialFailure when some hits could not be kept, EchoreelError when none could."""
        if self._sheet is not None and self._rows:
            from echoreel_cli.generate.hit_sheet import MOST_ROWS, hit_sheet
            from echoreel_cli.generate.write import write_atomically

            write_atomically(self._sheet, hit_sheet(self._rows, self._title), force=self._force)
            cut = f", the first {MOST_ROWS} of {self._hits} hits" if len(self._rows) > MOST_ROWS else ""
            self._console.note(f"wrote {self._sheet}{cut}")
        if self._failed:
            message = f"{self._failed} of {self._hits} hits could not be read"
            raise (PartialFailure if self._failed < self._hits else EchoreelError)(message, hint="they are named above")

    def _draw(self, hit: Hit, query: str, decoder: Decoder) -> None:
        from echoreel_cli.generate.hit_sheet import MOST_ROWS, hit_row

        if len(self._rows) <= MOST_ROWS:
            self._rows.append(hit_row(hit, decoder, query=query if self._several else None))

    def _cut(self, clipping: Clipping, decoder: Decoder, library: Library) -> None:
        from echoreel_cli.generate.clippings import write_clipping

        folder, encoder = os.path.abspath(library.folder), library.card.name
        cut = write_clipping(clipping, decoder, library=folder, encoder=encoder, force=self._force)
        for trouble in cut.troubles:
            self._console.warn(f"{clipping.video}: {trouble}")
        self._console.note(f"wrote {clipping.video}")


def _check_sheet(sheet: Path, *, force: bool) -> None:
    from echoreel_cli.generate.naming import refuse_overwrite

    if sheet.suffix.lower() != ".png":
        raise UsageError(f"{str(sheet)!r} does not end in .png", hint="contact sheets are written as PNG")
    refuse_overwrite([sheet], force=force, hint="--force overwrites")
