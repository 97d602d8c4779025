"""`echoreel fetch`: addresses -> videos in a folder, with what was said about them there."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from echoreel_cli.config import cache_dir, data_dir, load
from echoreel_cli.console import Bar, Console, JsonOption, QuietOption
from echoreel_index.errors import DownloadError, PartialFailure, UsageError

if TYPE_CHECKING:
    from echoreel_index.download import Fetched, FetchSettings, Transfer

SCHEMA = "echoreel.fetched/1"
PLAN_SCHEMA = "echoreel.fetch-plan/1"
UNITS = {"": 1, "k": 1000, "m": 1000**2, "g": 1000**3, "ki": 1024, "mi": 1024**2, "gi": 1024**3}

LASTING = ("HTTP Error 4", "Unsupported URL", "no web address", "only http and https", "not a video", "no video")
"""Words of reasons that another try does not change."""


def register(app: typer.Typer) -> None:
    """Add the command `fetch`."""
    app.command("fetch")(fetch)


def fetch(
    urls: Annotated[list[str], typer.Argument(metavar="URL...", help="Pages, playlists, files, ytsearch5:WORDS; - reads them from stdin.")],
    to: Annotated[Path | None, typer.Option(help="Folder for the videos.  [default: echoreel/videos in the data folder]")] = None,
    index: Annotated[bool, typer.Option("--index", help="Make the folder findable afterwards, as `echoreel index` does.")] = False,
    library: Annotated[Path | None, typer.Option(help="Folder of the library for --index.")] = None,
    encoder: Annotated[str | None, typer.Option(help="Encoder of a new library for --index.")] = None,
    licence: Annotated[Literal["any", "cc"], typer.Option(help="cc: only what says that it is under Creative Commons.")] = "any",
    match_filter: Annotated[
        list[str] | None, typer.Option(metavar="EXPR", help="Only videos that meet it, in yt-dlp's language: 'duration < 60'.")
    ] = None,
    section: Annotated[list[str] | None, typer.Option(metavar="START-END", help="Keep only this part, exact to the frame.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Videos looked at for each URL.")] = None,
    max_size: Annotated[str | None, typer.Option(metavar="SIZE", help="Leave larger files: 200M, 1.5G.")] = None,
    max_height: Annotated[
        int | None, typer.Option(min=1, help="Leave taller pictures.  [default: about 720 lines, where there is a choice]")
    ] = None,
    name: Annotated[str | None, typer.Option(metavar="TEMPLATE", help="Names, as yt-dlp has them.  [default: %(title)s [%(id)s]]")] = None,
    again: Annotated[bool, typer.Option("--again", help="Fetch also what was fetched before.")] = False,
    rate: Annotated[str | None, typer.Option(metavar="SIZE", help="Bytes a second at most: 2M.")] = None,
    retries: Annotated[int, typer.Option(min=0, help="How often a broken transfer is taken up again.")] = 5,
    cookies: Annotated[Path | None, typer.Option(help="File of cookies in Netscape's format; it is only read.")] = None,
    cookies_from_browser: Annotated[str | None, typer.Option(metavar="BROWSER", help="Use the cookies of firefox, chrome ...")] = None,
    allow_host: Annotated[list[str] | None, typer.Option(metavar="HOST", help="Fetch from this host though it is private.")] = None,
    allow_private: Annotated[bool, typer.Option("--allow-private", help="Fetch from any private address.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", "-n", help="Say what would be fetched, and fetch nothing.")] = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Fetch videos from the web, with title, tags, licence and source beside each file.

    Run it again at any time: broken transfers go on where they broke, and what was fetched before is left out.
    Only http and https, and no private addresses unless they are asked for. What turns out to be no video is not kept.

    Examples:
      echoreel fetch https://example.org/backflip.mp4 --index
      echoreel fetch "ytsearch10:backflip tutorial" --licence cc --max-size 200M
      echoreel fetch https://example.org/list --match-filter "duration < 60" -n
      echoreel fetch https://example.org/watch --section 0:41-0:45.5 --to ~/videos
      cat urls.txt | echoreel fetch - --json
    """
    from echoreel_cli.generate.write import excerpt_bytes
    from echoreel_index.addresses import Reach
    from echoreel_index.download import NAME, FetchSettings
    from echoreel_index.download import fetch as fetch_all
    from echoreel_index.downloader import Access
    from echoreel_index.sections import parse_section

    console = Console(json=as_json, quiet=quiet)
    if load().offline:
        hint = "see where it comes from: echoreel config show --origin"
        raise UsageError("nothing can be fetched: the setting `offline` is on", hint=hint)
    settings = FetchSettings(
        folder=(to if to is not None else data_dir() / "videos").expanduser(),
        access=Access(
            reach=Reach(private=allow_private, hosts=tuple(allow_host or ())),
            retries=retries,
            rate=parse_size(rate, "--rate"),
            cookies=cookies,
            browser=cookies_from_browser,
            cache=cache_dir() / "yt-dlp",
        ),
        name=name or NAME,
        filters=tuple(match_filter or ()),
        licence=licence,
        largest=parse_size(max_size, "--max-size"),
        tallest=max_height,
        sections=tuple(parse_section(text) for text in section or ()),
        limit=limit,
        archive=not again,
        dry_run=dry_run,
    )
    asked = list(dict.fromkeys(_asked(urls)))
    with _Bars(console) as bars, closing(fetch_all(asked, settings, progress=bars.draw, write=excerpt_bytes)) as found:
        results = list(_told(console, bars, found, alone=len(asked) == 1))
    if index and not dry_run and any(one.status in ("fetched", "known") for one in results):
        _index(settings, library, encoder, console)
    _sum_up(console, results, settings)


def parse_size(text: str | None, option: str) -> int | None:
    """Bytes of `200M` (millions), `1.5G`, `64KiB` (1024) or a plain number. Raises UsageError."""
    if text is None:
        return None
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmg]i?)?b?\s*", text, re.IGNORECASE | re.ASCII)
    size = round(float(match[1]) * UNITS[(match[2] or "").lower()]) if match else 0
    if size < 1:
        raise UsageError(f"{option} is no size: {text!r}", hint="examples: 500k, 200M, 1.5G, 64KiB")
    return size


class _Bars:
    """A bar for each transfer, in megabytes."""

    def __init__(self, console: Console) -> None:
        self._console, self._stack = console, ExitStack()
        self._bar, self._url, self._done, self._total = Bar(), "", 0.0, 0.0

    def __enter__(self) -> _Bars:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def draw(self, transfer: Transfer) -> None:
        """More has come."""
        if transfer.url != self._url:
            self.close()
            title = " ".join(transfer.title.split())
            short = title if len(title) <= 30 else f"{title[:14]}...{title[-13:]}"
            self._bar = self._stack.enter_context(self._console.progress(total=None, description=f"{short} (MB)"))
            self._url, self._done, self._total = transfer.url, 0.0, 0.0
        if transfer.total and (total := transfer.total / 1e6) != self._total:
            self._total = total
            self._bar.total(total)
        self._bar.advance(transfer.done / 1e6 - self._done)
        self._done = transfer.done / 1e6

    def close(self) -> None:
        """The transfer is over; its bar stays as it is."""
        self._stack.close()
        self._bar, self._url = Bar(), ""


def _asked(urls: list[str]) -> Iterator[str]:
    """The addresses of the command line, `-` being those on stdin: one a line, or objects with `url`."""
    for url in urls:
        if url != "-":
            yield url.strip()
            continue
        for line in sys.stdin:
            if (text := line.strip()) and not text.startswith("#"):
                yield _address_in(text)


def _address_in(line: str) -> str:
    if not line.startswith("{"):
        return line
    try:
        found = json.loads(line)
    except ValueError:
        found = None
    if not isinstance(found, dict) or not isinstance(found.get("url"), str):
        raise UsageError(f"a line on stdin is an object without an address in `url`: {line[:80]}")
    return str(found["url"])


def _told(console: Console, bars: _Bars, found: Iterable[Fetched], *, alone: bool) -> Iterator[Fetched]:
    """Say each result as it comes. A failure that may stay the only result is left to the error at the end."""
    kept: Fetched | None = None
    for place, one in enumerate(found):
        bars.close()
        if kept is not None:
            console.warn(_why(kept))
            kept = None
        if console.as_json:
            console.json(_as_object(one))
        elif one.status == "failed" and alone and place == 0:
            kept = one
        else:
            _say(console, one)
        yield one


def _as_object(one: Fetched) -> dict[str, object]:
    return {
        "schema": PLAN_SCHEMA if one.status == "planned" else SCHEMA,
        "status": one.status,
        "path": str(one.path) if one.path else None,
        "url": one.url,
        "asked": one.asked,
        "title": one.title,
        "licence": one.licence,
        "seconds": one.seconds,
        "bytes": one.bytes,
        "reason": one.reason,
    }


def _say(console: Console, one: Fetched) -> None:
    size = f"{one.bytes / 1e6:8.1f} MB" if one.bytes is not None else "       ? MB"
    title = " ".join((one.title or "").split())
    if one.status == "fetched":
        console.result(str(one.path) if console.quiet else f"fetched {size}  {one.path}")
    elif one.status == "planned":
        console.result(one.url if console.quiet else f"would fetch {size}  {title}  {one.url}")
    elif one.status == "known":
        console.note(f"known: {title or one.url}")
    elif one.status == "skipped":
        console.note(f"skipped: {title or one.url}: {one.reason}")
    else:
        console.warn(_why(one))


def _why(one: Fetched) -> str:
    return f"{one.url}: {one.reason}"


def _index(settings: FetchSettings, library: Path | None, encoder: str | None, console: Console) -> None:
    from echoreel_cli.commands.index import index

    index(paths=[settings.folder], library=library, encoder=encoder, as_json=console.as_json, quiet=console.quiet)


def _sum_up(console: Console, results: list[Fetched], settings: FetchSettings) -> None:
    """What a user must know besides; raises for what failed, which scripts must see."""
    counts = {status: sum(one.status == status for one in results) for status in ("fetched", "planned", "known", "skipped", "failed")}
    if counts["known"]:
        console.note(f"{counts['known']} of {len(results)} were fetched before; --again fetches them anew")
    if settings.dry_run:
        size = sum(one.bytes or 0 for one in results if one.status == "planned")
        console.note(f"would fetch {counts['planned']} videos ({size / 1e6:.1f} MB) to {settings.folder}")
    if not results:
        console.note("nothing to fetch")
    failed = [one for one in results if one.status == "failed"]
    if not failed:
        return
    hint = "run the same command again: what is whole is kept, and broken transfers go on where they broke"
    if all(any(word in (one.reason or "") for word in LASTING) for one in failed):
        hint = "the reason is above; running it again changes nothing"
    if all("public address" in (one.reason or "") for one in failed):
        hint = "if you trust that server, say so: --allow-host HOST, or --allow-private"
    if len(results) == 1:
        raise DownloadError(_why(failed[0]), hint=None if settings.dry_run else hint)
    message = f"{len(failed)} of {len(results)} videos could not be fetched"
    if len(failed) == len(results):
        raise DownloadError(message, hint="the reasons are given above")
    raise PartialFailure(message, hint=f"the reasons are given above; {hint}")
