"""Addresses -> video files with their origins: pages, playlists, searches and plain files, by yt-dlp as a library.

    with closing(fetch(urls, FetchSettings(folder=...))) as fetched:
        for one in fetched:
            print(one.status, one.path, one.reason)

One `Fetched` for each video, as soon as its fate is known; what goes wrong with one stops no other. A file comes under its
final name only when it is whole and has been looked into: until then it lies in `.echoreel-parts`, where a later run goes on
with a broken transfer. Where a server gives no length and no mark of the end, a cut transfer cannot be told from a whole one;
then only looking into the file helps. A file that changes on its server between two attempts starts anew where the server
marks its files with an ETag.

    FOLDER/Title [id].mp4             the video
    FOLDER/Title [id].info.json       its origin, see `origins`
    FOLDER/.echoreel-archive.txt      what was fetched, as yt-dlp writes it: not fetched again, even when the file is gone
    FOLDER/.echoreel-parts/           transfers that are not finished
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from echoreel_index.decoder import Decoder
from echoreel_index.downloader import PROTOCOLS, Access, Heard, lacks_format, open_downloader, part_of, said
from echoreel_index.entries import Entries, Missing
from echoreel_index.errors import EchoreelError, UsageError, VideoError
from echoreel_index.intake import BeyondEnd, Intake, Unwanted, Write
from echoreel_index.licences import is_creative_commons
from echoreel_index.origins import Origin, archive_key, origin_of, without_password
from echoreel_index.sections import Section

ARCHIVE = ".echoreel-archive.txt"
PARTS = ".echoreel-parts"
NAME = "%(title)s [%(id)s]"
Status = Literal["fetched", "known", "skipped", "failed", "planned"]


@dataclass(frozen=True, slots=True)
class FetchSettings:
    """What to fetch, and where to."""

    folder: Path
    access: Access = Access()
    name: str = NAME
    """Template of names without suffix, in yt-dlp's language; `/` makes folders."""
    filters: tuple[str, ...] = ()
    """Conditions in the language of yt-dlp's --match-filters; a video has to meet one of them, each may be a list with `&`."""
    licence: Literal["any", "cc"] = "any"
    """`cc`: only what says that it is under a Creative Commons licence."""
    largest: int | None = None
    """Bytes."""
    tallest: int | None = None
    """Lines of the picture: the best version up to there, and none that is taller; None: about 720 where there is a choice."""
    sections: tuple[Section, ...] = ()
    """Keep only these parts, each as a file."""
    limit: int | None = None
    """Videos looked at for each address."""
    archive: bool = True
    """Leave out what was fetched before."""
    dry_run: bool = False
    """Look at everything and fetch nothing: videos that would be fetched are `planned`."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """What became of one video, or of an address that led to none."""

    status: Status
    url: str
    """The video's own page."""
    asked: str
    """The address that was given."""
    title: str | None = None
    licence: str | None = None
    seconds: float | None = None
    bytes: int | None = None
    path: Path | None = None
    reason: str | None = None
    """Why it was skipped or failed."""


@dataclass(frozen=True, slots=True)
class Transfer:
    """How far the download of one video is."""

    url: str
    title: str
    done: int
    """Bytes."""
    total: int | None


def fetch(
    urls: Iterable[str],
    settings: FetchSettings,
    *,
    progress: Callable[[Transfer], None] = lambda transfer: None,
    write: Write | None = None,
    decoder: Decoder | None = None,
) -> Generator[Fetched, None, None]:
    """Fetch each address in turn. `write` is needed for sections; `decoder` looks into files and stays open.

    Raises UsageError for settings that make no sense, and when another process fetches into the folder.
    """
    _check(settings, write)
    if settings.dry_run:
        yield from _run(urls, settings, progress, write, decoder)
        return
    settings.folder.mkdir(parents=True, exist_ok=True)
    with _alone(settings.folder):
        (settings.folder / PARTS).mkdir(exist_ok=True)
        try:
            yield from _run(urls, settings, progress, write, decoder)
        finally:
            with suppress(OSError):  # it stays while a broken transfer waits in it
                (settings.folder / PARTS).rmdir()


def _run(
    urls: Iterable[str], settings: FetchSettings, progress: Callable[[Transfer], None], write: Write | None, decoder: Decoder | None
) -> Iterator[Fetched]:
    with nullcontext(decoder) if decoder is not None else Decoder() as worker, _Visit(settings, progress, write, worker) as visit:
        seen: set[str] = set()
        for url in urls:
            if url not in seen:
                seen.add(url)
                yield from visit.address(url)


class _Visit:
    """One run: the open downloader, the decoder that looks into files, and the archive."""

    def __init__(self, settings: FetchSettings, progress: Callable[[Transfer], None], write: Write | None, decoder: Decoder) -> None:
        self._settings, self._progress = settings, progress
        self._heard = Heard()
        self._parts = settings.folder.absolute() / PARTS
        self._archive = _read_archive(settings.folder / ARCHIVE)
        self._known = set(self._archive) if settings.archive else set[str]()
        self._matches = _filter(settings.filters)
        self._now: tuple[str, str] = ("", "")  # address and title of the transfer that runs
        self._mark: tuple[Path, str] | None = None  # where the ETag of which address is to be kept with the part
        self._downloader = open_downloader(settings.access, self._parts, self._heard, tallest=settings.tallest, progress=self._hook)
        self._entries = Entries(self._downloader, self._is_known)
        render: Callable[[dict[str, Any]], str] = partial(self._downloader.evaluate_outtmpl, settings.name)
        self._intake = Intake(settings.folder.absolute(), render, decoder, tallest=settings.tallest, write=write)

    def __enter__(self) -> _Visit:
        return self

    def __exit__(self, *_: object) -> None:
        self._downloader.close()

    def address(self, url: str) -> Iterator[Fetched]:
        """Everything that one address leads to."""
        for found in self._entries.of(url, self._settings.limit):
            if isinstance(found, Missing):
                yield self._failed(found.error, found.url, url, found.title)
            elif found.unopened:
                yield Fetched("known", without_password(found.url), without_password(url), title=found.title)
            else:
                yield from self._video(found.info, url)

    def _is_known(self, info: Mapping[str, Any], url: str) -> bool:
        """Whether a member of a list was fetched as a whole before, by what the list says about it."""
        return not self._settings.sections and archive_key(info, without_password(url)) in self._known

    def _video(self, info: dict[str, Any], asked: str) -> Iterator[Fetched]:
        """One video, as one file or one for each section."""
        origin = origin_of(info, asked)
        wanted = [part for part in self._settings.sections or (None,) if _line(origin, part) not in self._known]
        start = Fetched("failed", origin.url, origin.asked, origin.title, origin.licence, origin.seconds, origin.size)
        if not wanted:
            yield replace(start, status="known")
            return
        try:
            self._refuse(info, origin)
            if self._settings.dry_run:
                yield replace(start, status="planned", bytes=origin.size or self._asked_size(info))
                return
            file = self._download(info, origin)
            for section in wanted:
                yield self._take(file, info, origin, section, start)
            self._forget(info)
        except Unwanted as skip:
            self._forget(info)
            yield replace(start, status="skipped", reason=str(skip))
        except VideoError as error:
            self._forget(info)
            yield replace(start, reason=f"what came is no video that can be read: {error.message}")
        except Exception as error:
            yield replace(self._failed(error, origin.url, asked, origin.title), licence=origin.licence)

    def _refuse(self, info: Mapping[str, Any], origin: Origin) -> None:
        """Raises Unwanted for what is known beforehand not to be wanted."""
        if info.get("is_live") or info.get("live_status") in ("is_live", "is_upcoming"):
            raise Unwanted("it is live; it can be fetched when it is over")
        if self._settings.licence == "cc" and not is_creative_commons(origin.licence):
            raise Unwanted(f"its licence is no Creative Commons one: {origin.licence}" if origin.licence else "its licence is unknown")
        if not self._matches(info):
            raise Unwanted(f"it does not meet the filter {' or '.join(self._settings.filters)}")
        if info.get("vcodec") == "none":
            raise Unwanted("it has sound but no picture")
        if str(info.get("protocol") or "https").partition("+")[0] not in PROTOCOLS:
            raise Unwanted(f"it is sent by {info.get('protocol')}, which echoreel does not speak")
        self._refuse_size(origin.size if info.get("filesize") else None)

    def _refuse_size(self, size: int | None) -> None:
        if self._settings.largest is not None and size is not None and size > self._settings.largest:
            raise Unwanted(f"it has {size / 1e6:.1f} MB, more than {self._settings.largest / 1e6:g} MB")

    def _download(self, info: dict[str, Any], origin: Origin) -> Path:
        """The whole file, under a name of ours."""
        self._heard.refused = None  # by something that it could do without
        self._now = (origin.url, origin.title or origin.url)
        file, media = part_of(self._parts, info), str(info.get("url"))
        mark = file.with_suffix(".etag")
        with suppress(OSError):
            self._heard.marks[media] = mark.read_text()
        self._mark = mark, media
        # The suffix is chosen by the content afterwards; what the address claims is no concern of the file system.
        self._downloader.process_info({**info, "ext": "mp4"})
        if not file.is_file():
            raise EchoreelError("nothing came")
        return file

    def _take(self, file: Path, info: Mapping[str, Any], origin: Origin, section: Section | None, start: Fetched) -> Fetched:
        """One part of the download, or all of it, into the folder."""
        try:
            taken = self._intake.take(file, info, origin, section)
        except BeyondEnd as beyond:
            return replace(start, status="skipped", reason=str(beyond))
        self._note(_line(origin, section))
        return replace(start, status="fetched", seconds=round(taken.seconds, 3), bytes=taken.path.stat().st_size, path=taken.path)

    def _asked_size(self, info: Mapping[str, Any]) -> int | None:
        """What the server says when it is asked for the size of the file alone."""
        from yt_dlp.networking import HEADRequest

        if info.get("protocol") not in ("http", "https"):
            return None
        with suppress(Exception):
            with self._downloader.urlopen(HEADRequest(info["url"], headers=dict(info.get("http_headers") or {}))) as answer:
                return int(answer.headers["Content-Length"])
        return None

    def _hook(self, state: Mapping[str, Any]) -> None:
        """yt-dlp calls this with each block that has come."""
        done, total = int(state.get("downloaded_bytes") or 0), state.get("total_bytes")
        self._refuse_size(max(done, int(total or 0)))
        if self._mark is not None and (etag := self._heard.marks.get(self._mark[1])):
            self._mark[0].write_text(etag)
        self._mark = None
        total = total or state.get("total_bytes_estimate")
        self._progress(Transfer(*self._now, done, int(total) if total else None))

    def _failed(self, error: Exception, url: str, asked: str, title: object) -> Fetched:
        why = self._heard.refused or (error.message if isinstance(error, EchoreelError) else said(error))
        self._heard.refused = None
        named = title if isinstance(title, str) else None
        tallest = self._settings.tallest
        if lacks_format(error):
            why = f"no version of it can be fetched over http{f' and has at most {tallest} lines' if tallest else ''}"
        status: Status = "skipped" if lacks_format(error) and tallest else "failed"
        return Fetched(status, without_password(url), without_password(asked), title=named, reason=why)

    def _note(self, line: str) -> None:
        self._known.add(line)  # two lists may name the same video
        if line not in self._archive:
            self._archive.add(line)
            with (self._settings.folder / ARCHIVE).open("a", encoding="utf-8") as file:
                file.write(f"{line}\n")

    def _forget(self, info: Mapping[str, Any]) -> None:
        """Delete what was downloaded of a video."""
        for file in self._parts.glob(f"{part_of(self._parts, info).stem}*"):
            file.unlink(missing_ok=True)


def _check(settings: FetchSettings, write: Write | None) -> None:
    from yt_dlp import YoutubeDL

    if settings.sections and write is None:
        raise UsageError("sections cannot be cut here: there is nothing to write them with")
    if settings.limit is not None and settings.limit < 1:
        raise UsageError(f"the limit must be at least 1, got {settings.limit}")
    _filter(settings.filters)
    if (error := YoutubeDL.validate_outtmpl(settings.name)) is not None:
        raise UsageError(f"the template {settings.name!r} cannot be understood: {error}", hint="the usual one: %(title)s [%(id)s]")
    if settings.folder.exists() and not settings.folder.is_dir():
        raise UsageError(f"{settings.folder} is no folder")


def _filter(filters: Sequence[str]) -> Callable[[Mapping[str, Any]], bool]:
    """Whether a video meets one of the filters. Raises UsageError for one that cannot be understood."""
    from yt_dlp.utils import match_str

    for condition in filters:
        try:
            match_str(condition, {}, True)
        except ValueError as error:
            hint = "examples: 'duration < 60', 'duration > 5 & title ~= (?i)backflip', 'license *= Creative'"
            raise UsageError(f"the filter {condition!r} cannot be understood: {error}", hint=hint) from error
    return lambda info: not filters or any(match_str(condition, info) for condition in filters)


def _line(origin: Origin, section: Section | None) -> str:
    return origin.key if section is None else f"{origin.key} {section}"


def _read_archive(file: Path) -> set[str]:
    try:
        return set(file.read_text(encoding="utf-8", errors="replace").splitlines())
    except OSError:
        return set()


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Two runs in one folder would write into each other's parts."""
    import fcntl

    opened = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            hint = "wait for it, or use another folder with --to"
            raise UsageError(f"another echoreel fetch is writing to {folder}", hint=hint) from error
        yield
    finally:
        os.close(opened)
