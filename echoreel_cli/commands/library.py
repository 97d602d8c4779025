"""`echoreel library`: what is in a library, and keeping it in order."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from echoreel_cli.commands import library_lines
from echoreel_cli.config import load
from echoreel_cli.console import Console, JsonOption, QuietOption
from echoreel_index.errors import LibraryError, OutputExists, UsageError

if TYPE_CHECKING:
    from echoreel_index.merging import Merged
    from echoreel_index.store import Store
    from echoreel_index.upkeep import Removal
    from echoreel_index.verification import Check

LibraryOption = Annotated[Path | None, typer.Option(help="Folder of the library.  [default: echoreel/library in the data folder]")]
UnderOption = Annotated[
    list[str] | None, typer.Option(metavar="PATH", help="Only files here: a file, a folder or a pattern ('*/gym/*.mp4'); may be repeated.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", "-n", help="Say what would happen, and change nothing.")]


def register(app: typer.Typer) -> None:
    """Add the group `library`."""
    group = typer.Typer(help="List, check, mend, export and merge libraries.", no_args_is_help=True, rich_markup_mode="rich")
    for command in (list_files, show, remove, verify, rebuild, export, merge):
        group.command(command.__name__.removesuffix("_files"))(command)
    app.add_typer(group, name="library")


def list_files(
    under: UnderOption = None,
    failed: Annotated[bool, typer.Option("--failed", help="The files that could not be read, and why.")] = False,
    missing: Annotated[bool, typer.Option("--missing", help="Only files that are not there now.")] = False,
    library: LibraryOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """List the files of a library: how many windows, how long, how large, what is said about them.

    With -q only paths are printed.

    Examples:
      echoreel library list
      echoreel library list --under ~/videos/gym
      echoreel library list --failed
      echoreel library list --missing -q | xargs -d '\\n' echoreel library remove
    """
    from echoreel_index import listing

    console = Console(json=as_json, quiet=quiet)
    with _opened(library) as store:
        if failed:
            bad = [one for one in listing.failures(store, under or ()) if not (missing and one.present)]
            library_lines.say_failures(console, bad)
            return
        files = [one for one in listing.files(store, under or ()) if not (missing and one.present)]
        library_lines.say_files(console, files)
        console.note(library_lines.counted(len(files), "file"))


def show(
    what: Annotated[str | None, typer.Argument(metavar="[FILE|ID]", help="A file, or the id of a window; none: the library.")] = None,
    library: LibraryOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Show a library as a whole, one of its files with its windows, or one window.

    With -q the folder of the library is printed, or the ids of the windows.

    Examples:
      echoreel library show
      echoreel library show ~/videos/gym/flip.mp4
      echoreel library show 3f9a1c0d2b7e4a55 --json
    """
    from echoreel_index import listing
    from echoreel_index.files import absolute

    console = Console(json=as_json, quiet=quiet)
    with _opened(library) as store:
        if what is None:
            library_lines.say_summary(console, listing.summary(store))
            return
        path = absolute(Path(what))
        file = next((one for one in listing.files(store, (path,)) if one.path == path), None)
        if file is not None:
            library_lines.say_file(console, file, listing.windows(store, path=path))
            return
        windows = listing.windows(store, name=what)
        failure = store.failures().get(path)
    if failure is not None:
        raise LibraryError(f"{path} could not be read: {failure[1]}", hint="try it again with: echoreel index --retry")
    if not windows:
        hint = "see what there is with: echoreel library list"
        raise UsageError(f"the library has no file and no window {what}", hint=hint)
    library_lines.say_windows(console, windows)


def remove(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH...", help="Files and folders.")],
    ban: Annotated[bool, typer.Option("--ban", help="For good: echoreel index leaves them out from now on.")] = False,
    unban: Annotated[bool, typer.Option("--unban", help="Take a ban back; the next echoreel index takes them in again.")] = False,
    dry_run: DryRun = False,
    library: LibraryOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Forget files and folders: they are not found any more. The videos are not touched.

    A folder that was indexed by name is forgotten as such, so `echoreel index` does not come back to it. Files inside a
    folder that is still indexed come back with the next `echoreel index` (you are told which); --ban keeps them out for good.
    With -q only the paths of the files are printed.

    Examples:
      echoreel library remove ~/videos/old
      echoreel library remove ~/videos/private --ban
      echoreel library remove ~/videos/private --unban
      echoreel library remove ~/videos/old --dry-run
    """
    from echoreel_index import upkeep

    if ban and unban:
        raise UsageError("--ban and --unban exclude each other")
    console = Console(json=as_json, quiet=quiet)
    with _opened(library) as store:
        if unban:
            lifted = upkeep.unban(store, paths, dry_run=dry_run)
            library_lines.say_unbanned(console, lifted, dry_run)
            return
        _say_removal(console, upkeep.remove(store, paths, ban=ban, dry_run=dry_run), dry_run)


def _say_removal(console: Console, removal: Removal, dry_run: bool) -> None:
    library_lines.say_removal(console, removal, dry_run)
    if removal.returning:
        which = removal.returning[0] if len(removal.returning) == 1 else f"{len(removal.returning)} of these files"
        console.note(f"{which} will be back with the next echoreel index, which looks at the folder around: --ban keeps them out")


def verify(
    deep: Annotated[bool, typer.Option("--deep", help="Read every video too: is it still the one that was indexed?")] = False,
    library: LibraryOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Check everything in a library: the database, every vector, the words, the file of vectors, the videos.

    Nothing is changed. Exit code 1 when something is damaged, with what to do about it; videos that are gone or have changed
    are named, but are no damage. With -q only what is damaged is printed.

    Examples:
      echoreel library verify
      echoreel library verify --deep
      echoreel library verify --json | jq '.checks[] | select(.damaged)'
    """
    from echoreel_index import verification

    console = Console(json=as_json, quiet=quiet)
    checks: list[Check] = []
    with _opened(library) as store, console.progress(None, "checking") as bar:
        for check in verification.verify(store, deep=deep, progress=lambda what: bar.advance(1, what[-40:])):
            checks.append(check)
            if not as_json:
                library_lines.say_check(console, check)
        folder = store.folder
    damaged = [check for check in checks if check.damaged]
    if as_json:
        library_lines.say_checks(console, folder, checks)
    if damaged:
        what = ", ".join(check.name for check in damaged)
        hint = next((check.mend for check in damaged if check.mend == verification.START_AGAIN), damaged[0].mend)
        raise LibraryError(f"the library in {folder} is damaged: {what}", hint=hint)


def rebuild(library: LibraryOption = None, as_json: JsonOption = False, quiet: QuietOption = False) -> None:
    """Make the file of vectors and the full-text index again from the database.

    Damaged windows are dropped, and their files read again by the next `echoreel index`. With -q the paths of these are printed.

    Examples:
      echoreel library rebuild
      echoreel library rebuild -q | wc -l
    """
    from echoreel_index import upkeep

    console = Console(json=as_json, quiet=quiet)
    with _opened(library) as store:
        done = upkeep.rebuild(store)
        folder = store.folder
    library_lines.say_rebuilding(console, folder, done)
    if done.again:
        console.note(f"{library_lines.counted(len(done.again), 'file')} must be read again: echoreel index")


def export(
    under: UnderOption = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write the lines here.  [default: stdout]")] = None,
    vectors: Annotated[
        Path | None, typer.Option(metavar="FILE.npz", help="Write the vectors too: arrays `ids` and `vectors` (float16), a row a line.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace files that are there.")] = False,
    library: LibraryOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Write every window as a line of JSON: file, times, words, motion, brightness; with --vectors what the encoder saw, too.

    The lines are JSON with or without --json. With -q and -o nothing is said. `numpy.load(FILE)` reads the vectors.

    Examples:
      echoreel library export > windows.jsonl
      echoreel library export -o windows.jsonl --vectors windows.npz
      echoreel library export --under ~/videos/gym | jq -r .id
    """
    from echoreel_index.exporting import export_vectors, exported

    console = Console(json=True, quiet=quiet)
    _check_outputs([path for path in (output, vectors) if path is not None], vectors, force)
    with _opened(library) as store, store.reading():
        count = library_lines.write_windows(console, exported(store, under or ()), output)
        if vectors is not None:
            export_vectors(store, vectors, under or ())
    said = f"{library_lines.counted(count, 'window')} written to {output}" if output is not None else library_lines.counted(count, "window")
    console.note(said if vectors is None else f"{said}, vectors to {vectors}")


def _check_outputs(outputs: list[Path], vectors: Path | None, force: bool) -> None:
    if vectors is not None and vectors.suffix != ".npz":
        raise UsageError(f"{vectors} is no .npz file", hint="vectors are written as arrays of NumPy: --vectors windows.npz")
    for path in outputs:
        if path.exists() and not force:
            raise OutputExists(f"{path} is there already", hint="choose another name, or say --force")
        if not path.absolute().parent.is_dir():
            raise UsageError(f"there is no folder {path.absolute().parent}")


def merge(
    others: Annotated[list[Path], typer.Argument(metavar="OTHER...", help="Folders of libraries; they are only read.")],
    dry_run: DryRun = False,
    library: LibraryOption = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Take what other libraries know into this one, without reading a video.

    All must come from the same encoder and be cut the same way. Files with the same bytes are stored once; where two
    libraries know the same path, this one is believed. If there is no library yet, one is made. With -q only the folders
    are printed.

    Examples:
      echoreel library merge /mnt/nas/echoreel-library
      echoreel library merge a/library b/library --library all
      echoreel library merge /mnt/nas/echoreel-library --dry-run --json
    """
    from echoreel_index import merging
    from echoreel_index.store import Store

    console = Console(json=as_json, quiet=quiet)
    folder = _folder(library)
    sources = [merging.source(other.expanduser()) for other in others]
    with ExitStack() as stack:
        place = folder
        if not Store.exists(folder):
            if dry_run:  # nothing may be left behind
                place = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            Store.create(place, sources[0].card).close()
        taken: list[Merged] = merging.merge(stack.enter_context(closing(Store.open(place))), sources, dry_run=dry_run)
    library_lines.say_merged(console, folder, taken, dry_run)


def _folder(library: Path | None) -> Path:
    return library.expanduser() if library is not None else load().library


@contextmanager
def _opened(library: Path | None) -> Iterator[Store]:
    from echoreel_index.store import Store

    with closing(Store.open(_folder(library))) as store:
        yield store
