"""Gets a public model: plan, download, convert, install; every step may be interrupted and taken up again."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from echoreel_cli.config import cache_dir
from echoreel_cli.models.catalogue import Entry, RemoteFile
from echoreel_cli.models.download import Transfer, download
from echoreel_cli.models.folder import INDEX_FILE, Card, Origin, sha256_of
from echoreel_cli.models.names import user_folder
from echoreel_index.errors import OutputExists, UsageError, WeightsError
from echoreel_index.strict_json import from_json, to_json


@dataclass(frozen=True, slots=True)
class Source:
    """Where one published file is taken from."""

    address: str
    """An http(s) address or a path."""
    local: bool
    size: int | None
    """Bytes; for addresses an estimate, None where even that is not known."""
    sha256: str | None


@dataclass(frozen=True, slots=True)
class Plan:
    """What a pull is going to do."""

    entry: Entry
    checkpoint: Source
    base: Source | None
    target: Path
    dtype: str | None
    """Number type to store, None for that of the file."""

    @property
    def to_download(self) -> int | None:
        """Bytes to fetch, about; None where a size is not known."""
        sizes = [source.size for source in (self.checkpoint, self.base) if source is not None and not source.local]
        return None if None in sizes else sum(size for size in sizes if size is not None)


@dataclass(frozen=True, slots=True)
class Step:
    """What a pull is doing; `transfer` comes with every piece of a download."""

    stage: Literal["download", "read", "write"]
    what: str
    transfer: Transfer | None = None


Watch = Callable[[Step], None]


def plan(
    entry: Entry,
    *,
    source: str | None = None,
    base: str | None = None,
    with_base: bool = False,
    dtype: str | None = None,
    sha256: str | None = None,
) -> Plan:
    """Decide where everything comes from and goes to; touches no network.

    `source` and `base` are addresses or paths that take the place of the catalogue's. The base file is only fetched when
    `base` or `with_base` asks for it: the EchoReel checkpoint holds the base network as well, so it serves as a check.

    Raises:
        UsageError: a path is not there, or the model has no separate base.
    """
    if (base or with_base) and entry.base is None:
        raise UsageError(f"{entry.name} has no separate base file")
    wanted = _source(entry.checkpoint, source)
    checkpoint = Source(wanted.address, wanted.local, wanted.size, sha256 or wanted.sha256)
    return Plan(
        entry=entry,
        checkpoint=checkpoint,
        base=_source(entry.base, base) if entry.base is not None and (base or with_base) else None,
        target=user_folder(entry.name),
        dtype=dtype,
    )


def pull(plan: Plan, *, force: bool = False, offline: bool = False, watch: Watch = lambda step: None) -> Card:
    """Carry a plan out and return the new model's card.

    Downloads lie in the cache folder until the model is installed; after a failure or an interruption the next pull goes on
    with what is there.

    Raises:
        OutputExists: the model is installed and `force` is not given.
        DownloadError, WeightsError: see `download` and `convert`.
    """
    from echoreel_cli.models.convert import convert

    if (plan.target / INDEX_FILE).exists() and not force:
        raise OutputExists(f"{plan.entry.name} is already here, in {plan.target}", hint="use --force to pull it again")
    waiting = cache_dir() / "downloads" / plan.entry.name
    file, origin = _fetch(plan.checkpoint, waiting, offline=offline, watch=watch)
    base = _fetch(plan.base, waiting, offline=offline, watch=watch) if plan.base is not None else None
    card = convert(
        plan.entry,
        file,
        origin,
        plan.target,
        base=base,
        dtype=plan.dtype,
        force=force,
        watch=lambda stage, what: watch(Step(stage, what)),
    )
    shutil.rmtree(waiting, ignore_errors=True)
    return card


def _source(remote: RemoteFile, given: str | None) -> Source:
    if given is None:
        return Source(remote.url, False, remote.size or remote.about, remote.sha256)
    if "://" in given:
        return Source(given, False, remote.size or remote.about, remote.sha256)
    path = Path(given).expanduser()
    if not path.is_file():
        raise UsageError(f"there is no file {given}")
    return Source(str(path.absolute()), True, path.stat().st_size, remote.sha256)


def _fetch(source: Source, waiting: Path, *, offline: bool, watch: Watch) -> tuple[Path, Origin]:
    if source.local:
        return Path(source.address), _of_file(Path(source.address), source.sha256)
    target = waiting / (source.address.rpartition("/")[2].partition("?")[0] or "file")
    record = target.with_name(target.name + ".json")
    if (earlier := _earlier(target, record, source)) is not None:
        watch(Step("download", target.name, Transfer(earlier.size, earlier.size, "already downloaded")))
        return target, earlier
    origin = download(
        source.address,
        target,
        sha256=source.sha256,
        offline=offline,
        progress=lambda transfer: watch(Step("download", target.name, transfer)),
    )
    record.write_text(json.dumps(to_json(origin)), encoding="utf-8")
    return target, origin


def _of_file(file: Path, sha256: str | None) -> Origin:
    found = sha256_of(file)
    if sha256 is not None and found != sha256:
        raise WeightsError(f"{file} has the wrong checksum: expected {sha256}, got {found}")
    return Origin(url=file.name, sha256=found, size=file.stat().st_size)


def _earlier(target: Path, record: Path, source: Source) -> Origin | None:
    """A whole download of an earlier pull that did not come to its end, if it is still what it was."""
    try:
        origin = from_json(Origin, json.loads(record.read_text(encoding="utf-8")), what=str(record))
    except (OSError, ValueError, UsageError):
        return None
    fits = (
        origin.url == source.address and target.is_file() and sha256_of(target) == origin.sha256 and source.sha256 in (None, origin.sha256)
    )
    return origin if fits else None
