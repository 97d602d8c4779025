"""`echoreel config`: which settings hold here, where each came from, and where to write them."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from echoreel_cli.config import load_with_origin, project_file, user_file
from echoreel_cli.console import Console, JsonOption, QuietOption


def register(app: typer.Typer) -> None:
    """Add the group `config`."""
    group = typer.Typer(help="Show settings and where they come from.", no_args_is_help=True, rich_markup_mode="rich")
    group.command("show")(show)
    group.command("path")(path)
    app.add_typer(group, name="config")


def show(
    origin: Annotated[bool, typer.Option("--origin", help="Say where each value comes from.")] = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Show the settings that hold in this folder.

    Built-in values are overruled by the user's file, that by ./echoreel.toml, that by
    ECHOREEL_* variables, and those by the options of a command.

    Examples:
      echoreel config show --origin
      ECHOREEL_K=5 echoreel config show --json
    """
    console = Console(json=as_json, quiet=quiet)
    loaded = load_with_origin()
    values = {key: str(value) if isinstance(value, Path) else value for key, value in asdict(loaded.settings).items()}
    if as_json:
        console.json({"schema": "echoreel.config/1", "settings": values, "origin": dict(loaded.origin)})
        return
    for key, value in values.items():
        line = f"# {key}: left to the model" if value is None else f"{key} = {_toml(value)}"
        console.result(f"{line:<44}  # {loaded.origin[key]}" if origin else line)


def path(as_json: JsonOption = False, quiet: QuietOption = False) -> None:
    """Print the files that settings are read from, the weaker first.

    Examples:
      echoreel config path
      $EDITOR "$(echoreel config path -q | head -1)"
    """
    console = Console(json=as_json, quiet=quiet)
    files = [user_file(), project_file()]
    if as_json:
        console.json({"schema": "echoreel.config-path/1", "files": [{"path": str(file), "exists": file.is_file()} for file in files]})
        return
    for file in files:
        console.result(str(file) if quiet or file.is_file() else f"{file}  (not there)")


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"' if isinstance(value, str) else str(value)
