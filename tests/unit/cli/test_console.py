"""The two streams: what goes where, and what it looks like on a terminal."""

from __future__ import annotations

import io
import json

import pytest

from echoreel_cli.console import Console, emphasised, has_colour, write_error


class Terminal(io.StringIO):
    """A text stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_results_go_to_stdout_and_notes_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    console = Console()
    console.result("found")
    console.result("zero", end="\0")
    console.note("by the way")
    console.warn("mind")
    captured = capsys.readouterr()
    assert captured.out == "found\nzero\0"
    assert captured.err == "by the way\nwarning: mind\n"


def test_quiet_keeps_results_and_warnings(capsys: pytest.CaptureFixture[str]) -> None:
    console = Console(quiet=True)
    console.result("found")
    console.note("by the way")
    console.warn("mind")
    assert capsys.readouterr() == ("found\n", "warning: mind\n")


def test_json_is_one_line_of_plain_utf8(capsys: pytest.CaptureFixture[str]) -> None:
    Console(json=True).json({"schema": "echoreel.hit/1", "caption": "ein Saltö\n", "score": 0.5})
    out = capsys.readouterr().out
    assert out.count("\n") == 1 and "Saltö" in out
    assert json.loads(out)["caption"] == "ein Saltö\n"
    with pytest.raises(ValueError):
        Console(json=True).json({"score": float("nan")})


def test_file_names_that_are_no_text_are_shown_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    Console().result(b"caf\xe9.mp4".decode("utf-8", "surrogateescape"))
    assert capsys.readouterr().out == "caf\\udce9.mp4\n"


def test_table_aligns_and_drops_its_header_off_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    Console().table([["a", "1.0"], ["longer", "2"]], header=["name", "size"])
    assert capsys.readouterr().out == "a       1.0\nlonger  2\n"


def test_table_has_its_header_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stdout", terminal)
    monkeypatch.setenv("NO_COLOR", "1")
    Console().table([["a", "1.0"]], header=["name", "size"])
    assert terminal.getvalue() == "name  size\na     1.0\n"


def test_colour_needs_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    assert has_colour(Terminal()) and not has_colour(io.StringIO())
    assert emphasised("x", stream=Terminal()) == "\033[1mx\033[0m"
    monkeypatch.setenv("NO_COLOR", "1")
    assert emphasised("x", stream=Terminal()) == "x"
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("TERM", "dumb")
    assert not has_colour(Terminal())


@pytest.mark.parametrize("quiet", [False, True])
def test_progress_is_drawn_on_a_terminal_only(quiet: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    with Console(quiet=quiet).progress(total=4, description="reading") as bar:
        bar.advance(3)
        bar.advance(description="last one")
    assert ("4/4" in terminal.getvalue()) is not quiet
    assert ("last one" in terminal.getvalue()) is not quiet
    monkeypatch.setattr("sys.stderr", plain := io.StringIO())
    with Console().progress(total=4, description="reading") as bar:
        bar.advance(4)
    assert plain.getvalue() == ""


def test_progress_without_a_known_end(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    with Console().progress(total=None, description="looking") as bar:
        bar.advance(2)
        bar.total(7)
    assert "2/7" in terminal.getvalue()


def test_an_error_is_one_line_and_a_hint(capsys: pytest.CaptureFixture[str]) -> None:
    write_error("two\nlines", hint="try this", code="failure", as_json=False)
    assert capsys.readouterr().err == "error: two lines\nhint: try this\n"
