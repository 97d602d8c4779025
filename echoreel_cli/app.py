"""The command `echoreel`: finds the command that was asked for, and turns every end of it into a line and an exit code.

    0    done                          4    some items failed
    1    failure                       5    weights missing or wrong
    2    the request makes no sense    6    out of memory
    3    nothing matches               130  interrupted

Each module of `COMMANDS` lives in `echoreel_cli.commands`, has `register(app: typer.Typer) -> None` and imports only typer,
the standard library, `console`, `config`, `errors` and `nouns` at its top: `--help` has to come at once.
"""

from __future__ import annotations

import importlib
import os
import sys
import traceback
import warnings
from collections.abc import Sequence
from contextlib import suppress
from typing import Annotated, Any

import typer

from echoreel_cli.config import load
from echoreel_cli.console import write_error
from echoreel_index.errors import EchoreelError

COMMANDS = ("fetch", "index", "search", "library", "gen", "models", "train", "eval", "demo", "doctor", "show", "config")
MOVABLE = frozenset({"--json", "--quiet", "-q"})
HELP_OPTIONS = ["-h", "--help"]
DEBUG_HINT = "run again with --debug for the traceback"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code; nothing is raised, whatever happens inside."""
    if "_ECHOREEL_COMPLETE" in os.environ:  # the shell asks for completions; typer answers and leaves
        build()(prog_name="echoreel")
    args, debug = arranged(sys.argv[1:] if argv is None else argv)
    debug = debug or os.environ.get("ECHOREEL_DEBUG", "") not in ("", "0")
    as_json = "--json" in _options(args)
    _hush_libraries(debug)
    try:
        _invoke(args)
        sys.stdout.flush()
        return 0
    except BrokenPipeError:  # `| head` has seen enough
        _close_stdout()
        return 0
    except (typer.Exit, SystemExit) as leaving:
        return _exit_code(leaving)
    except BaseException as error:
        if debug and not isinstance(error, typer.TyperException):
            traceback.print_exc()
        code, exit_code, message, hint = described(error)
        if not message:  # a group without a command has just shown its help
            return 0
        write_error(message, hint=hint, code=code, as_json=as_json)
        return exit_code


def build() -> typer.Typer:
    """The whole command-line interface, with every command registered."""
    app = typer.Typer(
        name="echoreel",
        rich_markup_mode="rich",
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": HELP_OPTIONS},
        epilog="Exit codes: 0 done, 1 failure, 2 usage, 3 no match, 4 partly failed, 5 weights, 6 memory, 130 interrupted.",
    )
    app.callback(invoke_without_command=True)(root)
    for name in COMMANDS:
        importlib.import_module(f"echoreel_cli.commands.{name}").register(app)
    return app


def root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", "-V", help="Print the version and leave.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON; may stand anywhere on the line.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print bare results only; may stand anywhere on the line.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks (also ECHOREEL_DEBUG=1).")] = False,
) -> None:
    """Make a frozen video model do an action by showing it videos in which someone does.

    Index a folder of videos, search it in words, and generate:
    the best clips that were found show the model how the action goes.

    Examples:
      echoreel index ~/videos
      echoreel search "a person doing a backflip" --k 5
      echoreel gen "a person doing a backflip" --k 3 -o backflip.mp4
      echoreel demo
    """
    if version:
        from echoreel_cli import __version__

        print(f"echoreel {__version__}")
        raise typer.Exit()
    if context.invoked_subcommand is None:
        print(context.get_help())
        return
    # The hub's code reads its variable once, when it is imported, so this comes before any command.
    with suppress(EchoreelError):  # a bad settings file is for the command to report: --help works all the same
        if load().offline:
            os.environ["HF_HUB_OFFLINE"] = "1"


def arranged(argv: Sequence[str]) -> tuple[list[str], bool]:
    """The arguments without `--debug`, with `--json` and `-q` behind the command's name; and whether `--debug` was there.

    What follows `--` is left alone.
    """
    head = _options(argv)
    rest = list(argv[len(head) :])
    debug = "--debug" in head
    words = [word for word in head if word != "--debug"]
    first = next((place for place, word in enumerate(words) if not word.startswith("-")), len(words))
    moved = [word for word in words[:first] if word in MOVABLE]
    stays = [word for word in words[:first] if word not in MOVABLE]
    return [*stays, *words[first:], *moved, *rest], debug


def described(error: BaseException) -> tuple[str, int, str, str | None]:
    """(code, exit code, message, hint) of anything that may end a command."""
    if isinstance(error, EchoreelError):
        return error.code, error.exit_code, error.message, error.hint
    if isinstance(error, typer.TyperException):
        context = getattr(error, "ctx", None)
        path = context.command_path if context else "echoreel"
        return "usage", 2, error.format_message().rstrip("."), f"see {path} --help"
    if isinstance(error, (KeyboardInterrupt, typer.Abort)):
        return "interrupted", 130, "interrupted", None
    if _is_out_of_memory(error):
        hint = "try a smaller --size, fewer --frames or --k, --dtype bf16, --offload, or another --device"
        return "out_of_memory", 6, f"out of memory: {str(error).splitlines()[0] if str(error) else 'the machine has no more'}", hint
    text = str(error).strip().splitlines()
    return "failure", 1, f"{type(error).__name__}: {text[0]}" if text else type(error).__name__, DEBUG_HINT


def _invoke(args: list[str]) -> None:
    # Not app(...): typer would turn a broken pipe into exit code 1 before we see it.
    command = typer.main.get_command(build())
    _name_no_type_of_flags(command)
    with command.make_context("echoreel", args) as context:
        command.invoke(context)


def _name_no_type_of_flags(command: Any) -> None:
    """Help says `--json`, not `--json <bool>`: typer shows the type of options that take no value."""
    context = typer.Context(command, help_option_names=HELP_OPTIONS)
    for option in (*command.params, command.get_help_option(context)):
        if getattr(option, "is_flag", False) and option.metavar is None:
            option.metavar = ""
    for inner in getattr(command, "commands", {}).values():
        _name_no_type_of_flags(inner)


def _options(argv: Sequence[str]) -> list[str]:
    words = list(argv)
    return words[: words.index("--")] if "--" in words else words


def _exit_code(leaving: BaseException) -> int:
    if isinstance(leaving, typer.Exit):
        return leaving.exit_code
    code = getattr(leaving, "code", 1)
    return 0 if code is None else code if isinstance(code, int) else 1


def _is_out_of_memory(error: BaseException) -> bool:
    """Python's own, torch's for devices, and torch's plain RuntimeError when the CPU allocator fails."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)


def _close_stdout() -> None:
    # Python flushes stdout once more when it ends, which would fail again with noise.
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError):
        pass


def _hush_libraries(debug: bool) -> None:
    """Other people's notices are not ours to show: stderr belongs to our notes and errors, unless someone debugs."""
    if debug:
        return
    warnings.simplefilter("ignore")
    for name, value in (("TRANSFORMERS_VERBOSITY", "error"), ("DIFFUSERS_VERBOSITY", "error"), ("TOKENIZERS_PARALLELISM", "false")):
        os.environ.setdefault(name, value)
