"""`echoreel search`: words, a clip or a picture -> the pieces of indexed videos that show it."""

from __future__ import annotations

from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from echoreel_cli.config import load
from echoreel_cli.console import Console, JsonOption, QuietOption
from echoreel_cli.devices import pick_device
from echoreel_index.errors import NoMatch

if TYPE_CHECKING:
    from echoreel_cli.commands.asking import Asked
    from echoreel_index.encode import Encoder
    from echoreel_index.filters import Filters
    from echoreel_index.library import Library
    from echoreel_index.nouns import Hit
    from echoreel_index.search import Ranking

QUERY, NARROW, ORDER, OUTPUT, RUN = "What to look for", "Where to look", "Order and choice", "Output", "How to run"
HINT = "--any shows what comes closest; or index more videos"


def register(app: typer.Typer) -> None:
    """Add the command `search`."""
    app.command("search")(search)


def search(
    query: Annotated[
        str, typer.Argument(metavar="QUERY", help="A sentence, a clip such as ./clip.mp4@3-6, a picture, or `-` for searches from stdin.")
    ],
    plus: Annotated[
        list[str] | None, typer.Option("--plus", help="And this: words, clip or picture; 0.5:beach counts half.", rich_help_panel=QUERY)
    ] = None,
    minus: Annotated[list[str] | None, typer.Option("--minus", help="And rather not this.", rich_help_panel=QUERY)] = None,
    k: Annotated[int, typer.Option("--k", "-k", min=1, help="How many pieces to find.", rich_help_panel=QUERY)] = 5,
    under: Annotated[
        list[str] | None, typer.Option("--under", help="Only below this folder, or files like '*/gym/*.mp4'.", rich_help_panel=NARROW)
    ] = None,
    without: Annotated[list[str] | None, typer.Option("--not", help="Not this id or file.", rich_help_panel=NARROW)] = None,
    min_duration: Annotated[
        float | None, typer.Option("--min-duration", min=0, help="Seconds of the whole file.", rich_help_panel=NARROW)
    ] = None,
    max_duration: Annotated[
        float | None, typer.Option("--max-duration", min=0, help="Seconds of the whole file.", rich_help_panel=NARROW)
    ] = None,
    since: Annotated[
        str | None, typer.Option("--since", metavar="DATE", help="YYYY-MM-DD, or 7d, 2w, 1y ago.", rich_help_panel=NARROW)
    ] = None,
    until: Annotated[
        str | None, typer.Option("--until", metavar="DATE", help="The same; that day counts.", rich_help_panel=NARROW)
    ] = None,
    licence: Annotated[
        list[str] | None, typer.Option("--licence", help="A word of the licence; cc is Creative Commons.", rich_help_panel=NARROW)
    ] = None,
    min_motion: Annotated[
        float | None, typer.Option("--min-motion", min=0, max=1, help="Motion energy; 0.002 hardly moves.", rich_help_panel=NARROW)
    ] = None,
    min_score: Annotated[
        float | None, typer.Option("--min-score", help="Leave out what scores less (cosine, -1 to 1).", rich_help_panel=NARROW)
    ] = None,
    min_fit: Annotated[
        float | None,
        typer.Option("--min-fit", min=0, max=1, help="How sure the encoder must be that QUERY fits.", rich_help_panel=NARROW),
    ] = None,
    usable: Annotated[
        bool, typer.Option("--usable", help="Only pieces that are good references for `gen`.", rich_help_panel=ORDER)
    ] = False,
    anything: Annotated[bool, typer.Option("--any", help="The nearest pieces, even if nothing fits.", rich_help_panel=ORDER)] = False,
    diversity: Annotated[
        float | None, typer.Option("--diversity", min=0, max=1, help="How much hits must differ.", rich_help_panel=ORDER)
    ] = None,
    weights: Annotated[
        str | None, typer.Option("--weights", metavar="NAME=N,...", help="Weights of signals; 0 is off.", rich_help_panel=ORDER)
    ] = None,
    explain: Annotated[bool, typer.Option("--explain", help="Say why each piece is where it is.", rich_help_panel=OUTPUT)] = False,
    sheet: Annotated[
        Path | None, typer.Option("--sheet", metavar="FILE.png", help="Draw a contact sheet of the hits.", rich_help_panel=OUTPUT)
    ] = None,
    export: Annotated[
        Path | None, typer.Option("--export", metavar="FOLDER", help="Cut each hit out, exactly to the frame.", rich_help_panel=OUTPUT)
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite files that are there.", rich_help_panel=OUTPUT)] = False,
    print0: Annotated[
        bool, typer.Option("--print0", "-0", help="Bare paths, each followed by a null byte, for xargs -0.", rich_help_panel=OUTPUT)
    ] = False,
    library: Annotated[
        Path | None,
        typer.Option("--library", help="Folder of the library.", show_default="echoreel/library in the data folder", rich_help_panel=RUN),
    ] = None,
    encoder: Annotated[
        str | None, typer.Option("--encoder", help="Must be the one that made the library.", rich_help_panel=RUN)
    ] = None,
    device: Annotated[str | None, typer.Option("--device", help="auto, cpu, cuda, cuda:1, mps.", rich_help_panel=RUN)] = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Find the pieces of your videos that show what QUERY says: path, start, end (seconds) and score.

    No two pieces of one file overlap. If nothing fits, that is the answer: exit 3, and --any shows what comes closest.
    Signals for --weights: visual, best, templates, verb, words, captions, motion; --explain shows each of them.
    A line of stdin may be a JSON object with the keys query, plus, minus, k.

    Examples:
      echoreel search "a person doing a backflip" --k 3 --explain
      echoreel search ./clip.mp4@3-6 --plus "on a beach" --minus 0.5:gym.jpg
      echoreel search "a dog jumps" --under ~/videos --licence cc --since 1y --usable
      echoreel search "someone opens a door" --sheet doors.png --export doors/
      echoreel search "someone opens a door" --json | echoreel gen "a robot opens a door" --ref -
      echoreel search "a dog jumps" -0 | xargs -0 ls -l
    """
    from echoreel_cli.commands.asking import filters, ranking, searches
    from echoreel_cli.commands.hits import say_hits
    from echoreel_cli.commands.index import same_name
    from echoreel_cli.commands.keeping import Keeping
    from echoreel_cli.models.encoders import open_encoder
    from echoreel_index.decode import Decoder
    from echoreel_index.library import Library

    console = Console(json=as_json, quiet=quiet or print0)
    settings = load()
    keeping = Keeping(console, sheet=sheet, export=export, force=force, several=query == "-")
    asked = searches(query, plus or (), minus or ())
    wanted = filters(
        under=under or (),
        min_duration=min_duration,
        max_duration=max_duration,
        since=since,
        until=until,
        licences=licence or (),
        min_motion=min_motion,
        without=without or (),
    )
    order = ranking(usable=usable, diversity=diversity, weights=weights, min_fit=min_fit, anything=anything)
    folder = library.expanduser() if library is not None else settings.library
    floor = settings.min_score if min_score is None else min_score
    misses: list[NoMatch] = []
    found = 0
    with ExitStack() as stack:
        opened = stack.enter_context(closing(Library.open(folder)))
        same_name(opened, encoder)
        if opened.count() == 0:
            raise NoMatch(f"the library in {folder} holds no videos yet", hint="fill it with: echoreel index FOLDER")
        eye = open_encoder(encoder or opened.card.name, device=pick_device(device or settings.device))
        decoder = stack.enter_context(Decoder())
        seeker = Seeker(opened, eye, wanted, order, floor)
        for one in asked:
            hits = seeker.hits(one, k)
            if not hits:
                misses.append(seeker.miss(one))
                if query == "-":
                    console.note(misses[-1].message)
                continue
            found += len(hits)
            if len(hits) < (one.k or k):
                console.note(f"{len(hits)} of {one.k or k}: nothing else fits; --any shows what comes next")
            keeping.plan(hits, one.text)
            say_hits(console, hits, one.text, opened, explain=explain, end="\0" if print0 else "\n")
            keeping.keep(hits, one.text, decoder, opened)
    keeping.finish()
    if not found:
        raise misses[0] if len(misses) == 1 else NoMatch(f"nothing in {folder} fits any of {len(misses)} searches", hint=HINT)


@dataclass(frozen=True, slots=True)
class Seeker:
    """An open library and everything that is the same for all searches of a run."""

    library: Library
    encoder: Encoder
    filters: Filters
    ranking: Ranking
    floor: float | None
    """Least score."""

    def hits(self, asked: Asked, k: int) -> list[Hit]:
        """At most k hits, or as many as the search itself says; [] when nothing fits."""
        return self._search(asked, asked.k or k, self.ranking, self.floor)

    def miss(self, asked: Asked) -> NoMatch:
        """Why there are no hits: how near the nearest window came."""
        place = f"nothing in {self.library.folder} fits {asked.text!r}"
        gate = "last" if self.ranking.gate == "drop" else self.ranking.gate
        nearest = self._search(asked, 1, replace(self.ranking.anyhow(), gate=gate), None)
        if not nearest:
            return NoMatch(f"{place}: no video passes the filters", hint="leave some of the filters out, or index more videos")
        return NoMatch(f"{place}: the best is {self._shortcoming(nearest[0])}", hint=HINT)

    def _shortcoming(self, best: Hit) -> str:
        from echoreel_cli.commands.hits import short_hit

        name = short_hit(best)
        if best.fit is not None and best.fit < self.ranking.floor:
            return f"{name} with a fit of {best.fit:.3f}, and {self.ranking.floor:g} is asked for"
        if best.fit is None and best.score < self.ranking.likeness:
            return f"{name} with a likeness of {best.score:.3f}, and {self.ranking.likeness:g} is asked for"
        if self.floor is not None and best.score < self.floor:
            return f"{name} with a score of {best.score:.3f}, and --min-score asks for at least {self.floor:g}"
        return f"{name}, which is no usable reference: {'; '.join(best.problems)}"

    def _search(self, asked: Asked, k: int, ranking: Ranking, floor: float | None) -> list[Hit]:
        from echoreel_index.query import parse_query

        query = parse_query(asked.query, plus=asked.plus, minus=asked.minus)
        return self.library.search(query, k=k, encoder=self.encoder, min_score=floor, filters=self.filters, ranking=ranking)
