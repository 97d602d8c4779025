"""What every command promises, whichever it is: help with an example, a place in the README, codes, one-line errors, a quick start."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from echoreel_cli import app
from echoreel_index import errors

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
MODULE = [sys.executable, "-m", "echoreel_cli"]
HEAVY = {"torch", "torchvision", "diffusers", "transformers", "accelerate", "faiss", "open_clip", "av", "decord", "numpy", "PIL", "yt_dlp"}


def leaves(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command that does something, with the words that call it."""
    for name, inner in command.commands.items():
        if hasattr(inner, "commands"):
            yield from leaves(inner, (*path, name))
        else:
            yield (*path, name), inner


LEAVES = dict(leaves(typer.main.get_command(app.build())))
each_command = pytest.mark.parametrize("path", LEAVES, ids=" ".join)


@each_command
def test_help_has_an_example(path: tuple[str, ...]) -> None:
    text = LEAVES[path].help
    assert text and text.splitlines()[0].endswith((".", "?")), "the first line is one sentence"
    assert "Examples:" in text
    assert "echoreel " + " ".join(path) in text.partition("Examples:")[2]


@each_command
def test_readme_mentions_it(path: tuple[str, ...]) -> None:
    assert "echoreel " + " ".join(path) in README


@each_command
def test_takes_json_and_quiet(path: tuple[str, ...]) -> None:
    options = {word for parameter in LEAVES[path].params for word in parameter.opts}
    assert {"--json", "--quiet", "-q"} <= options


@each_command
def test_unknown_option_is_one_line_and_code_2(path: tuple[str, ...], cli: Callable[..., Any]) -> None:
    done = cli(*path, "--no-such-option")
    assert done.code == 2
    assert done.out == ""
    first, second = done.err.splitlines()
    assert first.startswith("error: ") and "--no-such-option" in first
    assert second == f"hint: see echoreel {' '.join(path)} --help"


@pytest.mark.parametrize("path", [(), *LEAVES], ids=" ".join)
def test_help_imports_nothing_heavy(path: tuple[str, ...]) -> None:
    code = f"import sys; from echoreel_cli.app import main; c = main({[*path, '--help']!r}); print(); print(c, *sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT, env=environment())
    status, *modules = done.stdout.splitlines()[-1].split()
    assert status == "0"
    assert not HEAVY & set(modules)
    assert "Usage: echoreel" in done.stdout


@pytest.mark.parametrize(
    ("error", "code", "exit_code"),
    [
        (errors.EchoreelError("x"), "failure", 1),
        (errors.UsageError("x"), "usage", 2),
        (errors.OutputExists("x"), "output_exists", 2),
        (errors.NoMatch("x"), "no_match", 3),
        (errors.PartialFailure("x"), "partial", 4),
        (errors.WeightsError("x"), "weights", 5),
        (errors.OutOfMemory("x"), "out_of_memory", 6),
        (MemoryError(), "out_of_memory", 6),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"), "out_of_memory", 6),
        (KeyboardInterrupt(), "interrupted", 130),
        (errors.Interrupted("x"), "interrupted", 130),
        (ZeroDivisionError("no\nway"), "failure", 1),
    ],
    ids=repr,
)
def test_every_end_has_its_code(error: BaseException, code: str, exit_code: int, cli: Callable[..., Any], monkeypatch: Any) -> None:
    def fails(args: list[str]) -> None:
        raise error

    monkeypatch.setattr(app, "_invoke", fails)
    done = cli("doctor")
    assert done.code == exit_code
    assert done.err.startswith("error: " if code != "interrupted" or "x" in str(error) else "error: interrupted")
    assert len([line for line in done.err.splitlines() if not line.startswith("hint: ")]) == 1
    as_object = cli("doctor", "--json")
    assert as_object.code == exit_code
    assert as_object.out == ""
    found = json.loads(as_object.err)
    assert found["schema"] == "echoreel.error/1"
    assert found["error"]["code"] == code


def test_torch_out_of_memory_is_recognised() -> None:
    import torch

    assert app.described(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"))[:2] == ("out_of_memory", 6)


def test_every_error_class_has_a_documented_code() -> None:
    def below(kind: type[errors.EchoreelError]) -> Iterator[type[errors.EchoreelError]]:
        yield kind
        for inner in kind.__subclasses__():
            yield from below(inner)

    documented = app.__doc__ or ""
    for kind in below(errors.EchoreelError):
        assert f"{kind.exit_code}  " in documented, kind
        assert f"| {kind.exit_code} |" in README, kind


def test_debug_shows_the_traceback(cli: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(args: list[str]) -> None:
        raise ZeroDivisionError("no way")

    monkeypatch.setattr(app, "_invoke", fails)
    assert "Traceback" not in cli("doctor").err
    for line in (("--debug", "doctor"), ("doctor", "--debug")):
        done = cli(*line)
        assert done.code == 1
        assert "Traceback" in done.err and "ZeroDivisionError: no way" in done.err
    monkeypatch.setenv("ECHOREEL_DEBUG", "1")
    assert "Traceback" in cli("doctor").err


@pytest.mark.parametrize(
    ("typed", "meant", "debug"),
    [
        (["--json", "search", "x"], ["search", "x", "--json"], False),
        (["-q", "--debug", "config", "show"], ["config", "show", "-q"], True),
        (["search", "x", "--debug", "--json"], ["search", "x", "--json"], True),
        (["gen", "--", "--debug"], ["gen", "--", "--debug"], False),
        (["--json", "gen", "--", "--json"], ["gen", "--json", "--", "--json"], False),
        (["--version"], ["--version"], False),
    ],
)
def test_options_may_stand_before_the_command(typed: list[str], meant: list[str], debug: bool) -> None:
    assert app.arranged(typed) == (meant, debug)


def test_no_command_shows_help(cli: Callable[..., Any]) -> None:
    for line in ((), ("config",)):
        done = cli(*line)
        assert done.code == 0 and "Usage: echoreel" in done.out and done.err == ""


def test_misspelt_command_names_the_nearest(cli: Callable[..., Any]) -> None:
    done = cli("serch", "x")
    assert done.code == 2 and "'search'" in done.err


def test_installed_command_starts() -> None:
    command = Path(sys.executable).parent / "echoreel"
    done = subprocess.run([command, "--version"], capture_output=True, text=True, env=environment())
    assert (done.returncode, done.stdout, done.stderr) == (0, "echoreel 0.1.0\n", "")


def test_a_reader_that_left_is_no_error() -> None:
    command = [*MODULE, "config", "show"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment(), cwd=ROOT)
    assert process.stdout and process.stderr
    process.stdout.close()
    noise = process.stderr.read()
    process.stderr.close()
    assert (process.wait(timeout=60), noise) == (0, b"")


@pytest.mark.parametrize(("no_color", "coloured"), [("", True), ("1", False)])
def test_colour_only_where_wanted(no_color: str, coloured: bool) -> None:
    env = {**environment(), "NO_COLOR": no_color, "TERM": "xterm"}
    on_terminal = spoken_on_terminal(["doctor", "--fast"], env)
    assert (b"\033[" in on_terminal) is coloured
    piped = subprocess.run([*MODULE, "doctor", "--fast"], capture_output=True, env=env, cwd=ROOT)
    assert b"\033[" not in piped.stdout + piped.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shell_completion(shell: str) -> None:
    env = {**environment(), "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    script = subprocess.run([*MODULE, "--show-completion", shell], capture_output=True, text=True, env=env, cwd=ROOT)
    assert script.returncode == 0 and "_ECHOREEL_COMPLETE" in script.stdout


def test_completion_offers_commands() -> None:
    env = {**environment(), "_ECHOREEL_COMPLETE": "complete_bash", "COMP_WORDS": "echoreel doc", "COMP_CWORD": "1"}
    done = subprocess.run(MODULE, capture_output=True, text=True, env=env, cwd=ROOT)
    assert done.stdout.split() == ["doctor"]


def spoken_on_terminal(args: list[str], env: dict[str, str]) -> bytes:
    """Everything a command writes when stdout and stderr are a terminal."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen([*MODULE, *args], stdout=theirs, stderr=theirs, stdin=theirs, env=env, cwd=ROOT)
    os.close(theirs)
    heard = b""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:  # Linux says EIO when the other side has gone
            break
        if not part:
            break
        heard += part
    os.close(ours)
    process.wait(timeout=60)
    return heard


def environment() -> dict[str, str]:
    """The test's own environment, with both packages in reach of a subprocess."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "index")])}
