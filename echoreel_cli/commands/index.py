"""`echoreel index`: folders of videos -> a library that can be searched."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from echoreel_cli.config import load
from echoreel_cli.console import Console, JsonOption, QuietOption
from echoreel_cli.devices import pick_device, pick_encoder_dtype
from echoreel_index.errors import EchoreelError, EncoderMismatch, Interrupted, PartialFailure, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from echoreel_index.clips import WindowSettings
    from echoreel_index.encode import Encoder
    from echoreel_index.engine import Engine
    from echoreel_index.files import Changes
    from echoreel_index.library import IndexEvent, IndexReport, Library

SCHEMA = "echoreel.index/1"
PLAN_SCHEMA = "echoreel.index-plan/1"
ENGINES = ("local", "ray")
MOST_UNREAD = 10
"""Folders and files that could not be looked at which are named one by one."""


def register(app: typer.Typer) -> None:
    """Add the command `index`."""
    app.command("index")(index)


def index(
    paths: Annotated[list[Path] | None, typer.Argument(metavar="[PATH]...", help="Files and folders; none: all of before.")] = None,
    library: Annotated[Path | None, typer.Option(help="Folder of the library.  [default: echoreel/library in the data folder]")] = None,
    encoder: Annotated[
        str | None,
        typer.Option(help="mini, an open_clip MODEL or MODEL/WEIGHTS, hf-hub:ORG/REPO, or a folder.  [default: the library's own]"),
    ] = None,
    window: Annotated[float | None, typer.Option(help="Length of a window in seconds.  [default: 2, or as before]")] = None,
    stride: Annotated[float | None, typer.Option(help="Seconds from one window's start to the next.  [default: 1]")] = None,
    frames: Annotated[int | None, typer.Option(help="Frames looked at in each window.  [default: 4]")] = None,
    keyframes: Annotated[
        bool | None, typer.Option("--keyframes/--every-frame", help="Decode keyframes only: quick on long files, coarser in time.")
    ] = None,
    splitter: Annotated[
        str | None, typer.Option(help="How cuts are found: adaptive, content, none.  [default: adaptive, or as before]")
    ] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes that decode.  [default: one for each core, at most 8]")] = None,
    engine: Annotated[str, typer.Option(help="local, or ray: on a cluster whose nodes reach the files under the same paths.")] = "local",
    address: Annotated[
        str | None, typer.Option(help="The Ray cluster: auto or HOST:PORT.  [default: RAY_ADDRESS, or one started here]")
    ] = None,
    vectors: Annotated[
        str | None, typer.Option(help="How vectors are held: auto, exact, ivf, lance, or s3://...  [default: auto, or as before]")
    ] = None,
    vector_memory: Annotated[
        float | None, typer.Option(min=0.01, help="GiB that lists of a large library may take.  [default: a quarter of the machine's]")
    ] = None,
    retry: Annotated[bool, typer.Option("--retry", help="Try files again that could not be read before.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", "-n", help="Say what would be read, and read nothing.")] = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Make videos findable: look at every few seconds of each file and remember what is seen.

    Run it again at any time: only new and changed files are read, and files that are gone are no longer found.
    A file that cannot be read is named on stderr, remembered, and stops nothing (exit 4; 1 if no file could be read).

    Examples:
      echoreel index ~/videos
      echoreel index ~/videos --encoder mini --library ./library
      echoreel index ~/raw --window 3 --stride 1.5 --splitter none
      echoreel index                      # everything that was indexed before
      echoreel index ~/videos --dry-run
      echoreel index /net/videos --engine ray --address auto
    """
    from contextlib import closing

    from echoreel_cli.models.encoders import open_encoder, spelled
    from echoreel_index.library import Library
    from echoreel_index.store import Store

    console = Console(json=as_json, quiet=quiet)
    _check_engine(engine, address)
    settings = load()
    folder = library.expanduser() if library is not None else settings.library
    if not Store.exists(folder):
        _refuse_nothing(paths)
        sure = False
        cut, name = cut_as(None, window, stride, frames, keyframes, splitter), spelled(encoder or settings.encoder)
        changes = _first_plan(folder, paths or [])
    else:
        with closing(Library.open(folder)) as known:
            sure = same_name(known, encoder)
            cut, name = cut_as(known.settings, window, stride, frames, keyframes, splitter), encoder or known.card.name
            changes = known.plan(paths or [], settings=cut, retry=retry)
    if dry_run:
        _say_plan(console, changes, folder, name)
        return
    # Torch's threads must not spin while they wait: the cores are needed for decoding. It reads this once, when it is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # Loading an encoder takes seconds; a library in which nothing has changed does without.
    needed = bool(changes.to_read) or not sure
    place = pick_device(device or settings.device) if needed else "cpu"
    eye = open_encoder(name, device=place, dtype=pick_encoder_dtype(place)) if needed else None
    far = ray_engine(eye, name, place, cut, address, workers) if engine == "ray" and eye is not None else None
    with closing(Library.create_or_open(folder, eye)) as opened:
        if vectors is not None or vector_memory is not None:
            opened.use_vectors(vectors, None if vector_memory is None else round(vector_memory * 2**30))
        report = _update(console, opened, paths or [], cut, retry, workers, far, len(changes.to_read))
        _say_report(console, report, opened)


def cut_as(
    before: WindowSettings | None,
    window: float | None,
    stride: float | None,
    frames: int | None,
    keyframes: bool | None,
    splitter: str | None,
) -> WindowSettings:
    """How to cut: as asked, else as the library was cut `before`, else the usual way. Raises UsageError."""
    from echoreel_index.clips import SPLITTERS, WindowSettings

    usual = before or WindowSettings()
    named = usual.splitter if splitter is None else next((one for one in SPLITTERS if one == splitter), None)
    if named is None:
        raise UsageError(f"there is no splitter {splitter!r}", hint=f"use {', '.join(SPLITTERS)}")
    length = usual.length if window is None else window
    return WindowSettings(
        length=length,
        stride=min(usual.stride, length) if stride is None else stride,
        frames=usual.frames if frames is None else frames,
        policy=usual.policy if keyframes is None else "keyframes" if keyframes else "exact",
        splitter=named,
    )


def _check_engine(engine: str, address: str | None) -> None:
    if engine not in ENGINES:
        raise UsageError(f"there is no engine {engine!r}", hint=f"use {', '.join(ENGINES)}")
    if address is not None and engine != "ray":
        raise UsageError("--address names a Ray cluster", hint="say --engine ray")


def ray_engine(eye: Encoder, name: str, place: str, cut: WindowSettings, address: str | None, workers: int | None) -> Engine:
    """The engine on a Ray cluster, whose nodes open the encoder `name` once more; `workers` are its decode actors."""
    from functools import partial

    from echoreel_cli.models.encoders import open_encoder
    from echoreel_index.ray_engine import EncoderRecipe, RayEngine

    far = place.partition(":")[0]  # on each node Ray says which of its GPUs
    recipe = partial(open_encoder, name, device=far, dtype=pick_encoder_dtype(place))
    described = EncoderRecipe(recipe, eye.card.fingerprint, eye.frame_size, gpu=far == "cuda")
    return RayEngine(described, cut, address=address, decoders=workers)


def _refuse_nothing(paths: list[Path] | None) -> None:
    if not paths:
        raise UsageError("nothing was indexed in this library yet", hint="say which folder: echoreel index FOLDER")


def _first_plan(folder: Path, paths: list[Path]) -> Changes:
    from echoreel_index.files import absolute, compare, walk

    found = list(walk(paths, skip=folder))
    return compare(found, roots=[absolute(path) for path in paths], good={}, bad={})


def same_name(library: Library, asked: str | None) -> bool:
    """Whether the names alone say that `asked` made the library; False leaves it to the weights.

    Raises EncoderMismatch, before any weights are fetched, when they say that it did not.
    """
    from echoreel_cli.models.encoders import spelled

    mine = library.card.name
    if asked is None or spelled(asked) == mine:
        return True
    spelled_out = asked.partition("/")[0] == mine.partition("/")[0] and not asked.startswith("hf-hub:")
    if spelled_out or Path(spelled(asked)).is_absolute():
        return False  # the same model with its weights spelled out, or a folder, which may hold anything
    raise EncoderMismatch(
        f"the library in {library.folder} was made by encoder {mine}, not by {asked}",
        hint=f"leave --encoder out or say --encoder {mine}; for another encoder make another library with --library",
    )


def _update(
    console: Console,
    library: Library,
    paths: list[Path],
    cut: WindowSettings,
    retry: bool,
    workers: int | None,
    engine: Engine | None,
    total: int,
) -> IndexReport:
    with console.progress(total=total, description="indexing") as bar:

        def draw(event: IndexEvent) -> None:
            if event.kind == "start":
                bar.advance(0, description=_short(Path(event.path).name))
                return
            bar.advance(1)
            done[0] = event.files_done
            if event.message is not None:
                console.warn(f"{event.path}: {event.message}")

        done = [0]
        try:
            return library.update(paths, settings=cut, progress=draw, retry=retry, workers=workers, engine=engine)
        except KeyboardInterrupt:
            message = f"interrupted; {done[0]} of {total} files are done"
            raise Interrupted(message, hint="run it again: it goes on with the rest") from None


def _short(name: str) -> str:
    return name if len(name) <= 30 else f"{name[:14]}...{name[-13:]}"


def _say_plan(console: Console, changes: Changes, folder: Path, encoder: str) -> None:
    size = sum(file.stamp.size for file in changes.to_read)
    _say_unread(console, changes.unread)
    if console.as_json:
        console.json(
            {
                "schema": PLAN_SCHEMA,
                "library": str(folder.absolute()),
                "encoder": encoder,
                "new": [file.path for file in changes.new],
                "changed": [file.path for file in changes.changed],
                "removed": list(changes.gone),
                "unchanged": len(changes.same),
                "known_bad": [file.path for file in changes.known_bad],
                "bytes": size,
            }
        )
        return
    for word, names in (("read", [file.path for file in changes.to_read]), ("forget", changes.gone)):
        for name in names:
            console.result(name if console.quiet else f"{word:<7} {name}")
    console.note(
        f"would read {len(changes.to_read)} files ({size / 1e6:.1f} MB) with encoder {encoder}, forget {len(changes.gone)},"
        f" leave {len(changes.same)} as they are"
    )


def _say_report(console: Console, report: IndexReport, library: Library) -> None:
    held = library.vectors()
    if held.form != "exact":
        console.note(held.said)
    if console.as_json:
        console.json(
            {
                "schema": SCHEMA,
                "library": str(library.folder.absolute()),
                "encoder": library.card.name,
                "new": report.new,
                "changed": report.changed,
                "moved": report.moved,
                "copies": report.copies,
                "unchanged": report.unchanged,
                "removed": report.removed,
                "bad": [{"path": bad.path, "message": bad.message} for bad in report.bad],
                "known_bad": report.known_bad,
                "missing_roots": list(report.missing_roots),
                "unread": list(report.unread),
                "frames": report.frames,
                "windows": report.windows,
                "vectors": {"form": held.form, "count": held.count, "recall": held.recall},
                "seconds": round(report.seconds, 3),
            }
        )
    elif console.quiet:
        console.result(str(library.folder.absolute()))
    else:
        counted = (
            (report.new, "new"), (report.changed, "changed"), (report.moved, "moved"), (report.copies, "copies"),
            (report.unchanged, "unchanged"), (report.removed, "removed"), (len(report.bad), "unreadable"),
        )  # fmt: skip
        words = ", ".join(f"{number} {word}" for number, word in counted if number) or "no videos found"
        console.result(f"{words}; {report.windows} windows in {library.folder} ({report.seconds:.1f} s)")
    _say_trouble(console, report)


def _say_unread(console: Console, unread: Sequence[str]) -> None:
    for path in unread[:MOST_UNREAD]:
        console.warn(f"{path} cannot be looked at; what the library knows of it is kept")
    if len(unread) > MOST_UNREAD:
        console.warn(f"{len(unread) - MOST_UNREAD} more folders and files cannot be looked at")


def _say_trouble(console: Console, report: IndexReport) -> None:
    """What a user must know besides; raises for files that failed this time, which scripts must see."""
    for root in report.missing_roots:
        console.warn(f"{root} is not there now; its files are kept in the library but not found")
    _say_unread(console, report.unread)
    if report.known_bad:
        console.note(f"{report.known_bad} files that could not be read before were left out; --retry tries them again")
    if report.bad:
        tried = report.taken + len(report.bad)
        message = f"{len(report.bad)} of {tried} files could not be read"
        if report.taken or report.unchanged:
            raise PartialFailure(message, hint="they are named above; they are tried again when they change, or with --retry")
        raise EchoreelError(message, hint="they are named above; see what they are with ffprobe")
