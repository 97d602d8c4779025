"""Settings and folders: built-in values < user file < project file < environment < options.

    user file      $XDG_CONFIG_HOME/echoreel/config.toml   (~/.config/echoreel/config.toml)
    project file   ./echoreel.toml
    environment    ECHOREEL_LIBRARY, ECHOREEL_MODEL, ECHOREEL_K ... one for each field of `Settings`

A command calls `load()` once and lets its own options win:

    settings = load()
    folder = library if library is not None else settings.library

Both files are flat TOML. A key nobody knows is an error that names the nearest known one. Paths in a file are taken from
the folder of that file, those in the environment from the current folder; `~` is the home folder in both.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from echoreel_index.errors import UsageError

DTYPES = ("auto", "float32", "bfloat16", "float16")
OFFLOADS = ("none", "model", "auto")


@dataclass(frozen=True, slots=True)
class Settings:
    """What a user may fix once instead of typing it each time; None means that the model's own value is used."""

    library: Path
    """Folder of the library; `library` in the data folder unless set."""
    encoder: str = "PE-Core-B-16"
    """Encoder of new libraries: an open_clip name, `hf-hub:...`, a folder, or `mini`, the bundled one."""
    model: str = "echoreel-mini"
    """Video model: a name from `echoreel models list` or a folder."""
    device: str = "auto"
    """`auto`, `cpu`, `cuda`, `cuda:1`, `mps`."""
    dtype: str = "auto"
    """`auto`, `float32`, `bfloat16` or `float16`."""
    offload: str = "none"
    """`none`, `model` or `auto`: whether parts of the model wait in main memory."""
    k: int = 3
    """How many clips show the model the action."""
    steps: int | None = None
    """Denoising steps."""
    guidance: float | None = None
    """Guidance scale."""
    action_guidance: float | None = None
    """Weight of the references in guidance."""
    min_score: float | None = None
    """Clips with a lower score are no match."""
    offline: bool = False
    """Never touch the network; the same as HF_HUB_OFFLINE=1."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """Settings, and for each key where its value came from: `default`, a file, or the name of a variable."""

    settings: Settings
    origin: Mapping[str, str]


def load(cwd: Path | None = None) -> Settings:
    """The settings that hold in this folder; raises UsageError for a bad file or variable."""
    return load_with_origin(cwd).settings


def load_with_origin(cwd: Path | None = None) -> Loaded:
    """The same as `load`, and where each value came from."""
    settings = Settings(library=data_dir() / "library")
    origin = {field.name: "default" for field in fields(Settings)}
    for file in (user_file(), project_file(cwd)):
        for key, value in _read(file).items():
            settings = replace(settings, **{key: _checked(key, value, place=str(file), base=file.parent)})
            origin[key] = str(file)
    for key in origin:
        name = f"ECHOREEL_{key.upper()}"
        if text := os.environ.get(name):
            settings = replace(settings, **{key: _checked(key, _parsed(key, text), place=name, base=Path.cwd())})
            origin[key] = name
    return Loaded(settings, origin)


def user_file() -> Path:
    """The user's settings; need not exist."""
    return config_dir() / "config.toml"


def project_file(cwd: Path | None = None) -> Path:
    """The settings of the current folder; need not exist."""
    return (cwd or Path.cwd()) / "echoreel.toml"


def config_dir() -> Path:
    """Where settings live."""
    return _xdg("XDG_CONFIG_HOME", ".config")


def data_dir() -> Path:
    """Where libraries and models live."""
    return _xdg("XDG_DATA_HOME", ".local/share")


def cache_dir() -> Path:
    """Where files live that may be deleted at any time, such as half-finished downloads."""
    return _xdg("XDG_CACHE_HOME", ".cache")


def _xdg(variable: str, below_home: str) -> Path:
    # The XDG specification says that a relative path in these variables is to be ignored.
    base = Path(os.environ.get(variable, ""))
    return (base if base.is_absolute() else Path.home() / below_home) / "echoreel"


def _read(file: Path) -> dict[str, Any]:
    try:
        found = tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"cannot read settings from {file}: {error}") from error
    known = [field.name for field in fields(Settings)]
    for key in found:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1, cutoff=0.0)
            raise UsageError(f"{file} has an unknown key {key!r}", hint=f"did you mean {near[0]!r}? Known keys: {', '.join(known)}")
    return found


def _parsed(key: str, text: str) -> Any:
    """The text of an environment variable as the value that TOML would have given."""
    kind = _kind(key)
    if kind == "bool":
        return {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}.get(text.lower(), text)
    try:
        return int(text) if kind == "int" else float(text) if kind == "float" else text
    except ValueError:
        return text


def _checked(key: str, value: Any, *, place: str, base: Path) -> Any:
    """The value with its proper type, or UsageError naming the place it came from."""
    kind = _kind(key)
    if kind == "Path" and isinstance(value, str):
        return base / Path(value).expanduser()
    if kind == "float" and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    fits = {"str": str, "int": int, "float": float, "bool": bool, "Path": Path}[kind]
    if not isinstance(value, fits) or (kind == "int" and isinstance(value, bool)):
        raise UsageError(f"{key} must be {_words(kind)}, got {value!r} from {place}")
    allowed = {"dtype": DTYPES, "offload": OFFLOADS}.get(key)
    if allowed and value not in allowed:
        raise UsageError(f"{key} must be one of {', '.join(allowed)}, got {value!r} from {place}")
    if key in ("k", "steps") and isinstance(value, int) and value < (0 if key == "k" else 1):
        raise UsageError(f"{key} is too small: {value} from {place}")
    return value


def _kind(key: str) -> str:
    return next(str(field.type) for field in fields(Settings) if field.name == key).removesuffix(" | None")


def _words(kind: str) -> str:
    return {"str": "text", "int": "a whole number", "float": "a number", "bool": "true or false", "Path": "a folder"}[kind]
