"""What a command says, and where: results to stdout, everything else to stderr.

How a command uses it (the whole mechanism; there is no global state):

    def search(text: ..., as_json: JsonOption = False, quiet: QuietOption = False) -> None:
        console = Console(json=as_json, quiet=quiet)
        with console.progress(total=len(todo), description="reading") as bar:
            for item in todo:
                ...
                bar.advance(1)
        console.note("3 of 80 files could not be read")       # stderr, silent with --quiet
        console.json({"schema": "echoreel.hit/1", ...})       # stdout, one line, flushed
        console.result("walk.mp4  1.0-3.0  0.31")             # stdout, flushed

- Every command declares `as_json: JsonOption = False` and `quiet: QuietOption = False`, and nothing for `--debug`.
  `app.main` takes `--debug` out of the arguments wherever it stands and moves a `--json` or `-q` that was typed before the
  command's name behind it, so `echoreel --json search x` and `echoreel search x --json` are the same.
- With `--json` a command prints one object, or one object a line where there are many; each has a `schema` field.
- With `--quiet` a command prints bare paths or names, one a line, and no notes.
- Errors are never printed by a command: it raises from `echoreel_index.errors` and `app.main` writes the lines.
- Examples stand at the end of the command's docstring, in a paragraph that starts with `Examples:`; lines keep their breaks.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, TextIO

import typer

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON: one object, or one object a line.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Print bare paths or names only, no notes and no progress bars.")]


class Bar:
    """A counter that a command advances; draws only when it was given something to draw on."""

    def __init__(self, drawn: tuple[Progress, TaskID] | None = None) -> None:
        self._drawn = drawn

    def advance(self, n: float = 1, description: str | None = None) -> None:
        """`n` more are done; `description` replaces the text before the bar."""
        if self._drawn:
            progress, task = self._drawn
            progress.update(task, advance=n, description=description)

    def total(self, total: float) -> None:
        """The number to reach has become known, or has changed."""
        if self._drawn:
            progress, task = self._drawn
            progress.update(task, total=total)


class Console:
    """The two streams of one command."""

    def __init__(self, *, json: bool = False, quiet: bool = False) -> None:
        self.as_json = json
        self.quiet = quiet

    def result(self, text: str, *, end: str = "\n") -> None:
        """A result for the reader: to stdout, flushed. `end="\\0"` serves `xargs -0`."""
        _write(sys.stdout, text + end)

    def json(self, obj: Mapping[str, object]) -> None:
        """A result for a program: one line to stdout, flushed. Not-a-number is refused, as JSON has no word for it."""
        _write(sys.stdout, json.dumps(obj, ensure_ascii=False, allow_nan=False) + "\n")

    def table(self, rows: Sequence[Sequence[str]], *, header: Sequence[str] | None = None) -> None:
        """Rows in aligned columns to stdout; the header, which only a person needs, is left out off a terminal."""
        titled = header is not None and sys.stdout.isatty()
        cells = [header, *rows] if titled and header is not None else list(rows)
        if not cells:
            return
        widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
        for place, row in enumerate(cells):
            line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            self.result(emphasised(line) if titled and place == 0 else line)

    def note(self, text: str) -> None:
        """Something worth knowing that is no result: to stderr, silent with `--quiet`."""
        if not self.quiet:
            _write(sys.stderr, text + "\n")

    def warn(self, text: str) -> None:
        """Something that may make the result other than expected: to stderr, even with `--quiet`."""
        _write(sys.stderr, f"warning: {text}\n")

    @contextmanager
    def progress(self, total: float | None, description: str) -> Iterator[Bar]:
        """A bar with count, rate and time left on stderr; nothing is drawn with `--quiet` or off a terminal.

        `total` None means not known yet: the bar moves without an end until `Bar.total` is called.
        """
        if self.quiet or not sys.stderr.isatty():
            yield Bar()
            return
        with _progress() as progress:
            yield Bar((progress, progress.add_task(description, total=total)))


def emphasised(text: str, *, stream: TextIO | None = None) -> str:
    """The text in bold where the stream (stdout by default) shows colour, else as it is."""
    stream = stream or sys.stdout
    return f"\033[1m{text}\033[0m" if has_colour(stream) else text


def has_colour(stream: TextIO) -> bool:
    """Whether control sequences may be written: a terminal that is not dumb, and no NO_COLOR."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def write_error(message: str, *, hint: str | None, code: str, as_json: bool) -> None:
    """The last words of a run that failed, on stderr: `error:` and `hint:` lines, or one JSON object."""
    if as_json:
        error = {"code": code, "message": message, "hint": hint}
        _write(sys.stderr, json.dumps({"schema": "echoreel.error/1", "error": error}, ensure_ascii=False) + "\n")
        return
    label = "\033[1;31merror:\033[0m" if has_colour(sys.stderr) else "error:"
    _write(sys.stderr, f"{label} {' '.join(message.split())}\n")
    if hint:
        _write(sys.stderr, f"hint: {hint}\n")


def _write(stream: TextIO, text: str) -> None:
    # Undecodable bytes of file names come as lone surrogates; show them escaped rather than fail.
    encoding = stream.encoding or "utf-8"
    stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
    stream.flush()


def _progress() -> Progress:
    """Bars on stderr, redrawn at most ten times a second."""
    from rich.console import Console as Screen
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
    from rich.text import Text

    class Rate(ProgressColumn):
        def render(self, task: Task) -> Text:
            return Text(f"{task.speed:.3g}/s" if task.speed else "", style="progress.data.speed")

    return Progress(
        TextColumn("{task.description}", markup=False),  # a file may be called [/b].mp4
        BarColumn(),
        MofNCompleteColumn(),
        Rate(),
        TimeRemainingColumn(elapsed_when_finished=True),
        console=Screen(stderr=True),
        refresh_per_second=10,
    )
