"""From a model's name to its folder: the bundled models first, then the user's, or a path."""

from __future__ import annotations

import difflib
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from echoreel_cli.config import data_dir
from echoreel_cli.mini import weights_folder
from echoreel_cli.models.catalogue import CATALOGUE
from echoreel_cli.models.folder import INDEX_FILE, Card, ModelInfo, files_of, read_card, read_info
from echoreel_index.errors import EchoreelError, UsageError, WeightsError

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True, slots=True)
class Installed:
    """A model that is on this machine."""

    name: str
    folder: Path
    bundled: bool
    info: ModelInfo
    card: Card
    size: int
    """Bytes of all its files."""


def models_folder() -> Path:
    """Where pulled models live; need not exist."""
    return data_dir() / "models"


def user_folder(name: str) -> Path:
    """Where the user's model of that name lives or would live; UsageError if the name could leave the models folder."""
    if not NAME.fullmatch(name):
        raise UsageError(f"{name!r} is no name of a model", hint="names have letters, digits, dots, dashes and underscores only")
    return models_folder() / name


def find_model(name_or_folder: str) -> Path:
    """The folder of a model.

    A name is looked for among the bundled models, then among the user's; anything with a slash is a path, and so is a
    folder that has a `model_index.json`.

    Raises:
        WeightsError: there is none; the hint says what to type.
    """
    text = name_or_folder
    looks_like_path = os.sep in text or text.startswith((".", "~"))
    if not looks_like_path and NAME.fullmatch(text):
        for folder in (weights_folder() / text, user_folder(text)):
            if (folder / INDEX_FILE).is_file():
                return folder
    folder = Path(text).expanduser()
    if (folder / INDEX_FILE).is_file():
        return folder.absolute()
    if looks_like_path and folder.exists():
        raise WeightsError(f"{folder} is no model folder: it has no {INDEX_FILE}")
    raise WeightsError(f"the model {text!r} is not here", hint=_how_to_get(text))


def installed() -> list[Installed]:
    """Every model on this machine, bundled ones first; folders that cannot be read are left out."""
    found = []
    for base, bundled in ((weights_folder(), True), (models_folder(), False)):
        for folder in sorted(base.iterdir()) if base.is_dir() else []:
            if folder.name.startswith(".") or not (folder / INDEX_FILE).is_file():
                continue
            try:
                found.append(describe(folder, bundled=bundled))
            except EchoreelError:
                continue
    return found


def describe(folder: Path, *, bundled: bool | None = None) -> Installed:
    """What is known about one model folder."""
    inside = folder.absolute().parent == weights_folder().absolute() if bundled is None else bundled
    size = sum((folder / name).stat().st_size for name in files_of(folder))
    return Installed(folder.name, folder, inside, read_info(folder), read_card(folder), size)


def remove(name: str) -> int:
    """Delete one of the user's models and say how many bytes that freed.

    Only a folder that lies directly in the models folder and is a model is ever deleted, and never through a link.

    Raises:
        UsageError: the name is a path, or the model is bundled.
        WeightsError: there is no such model.
    """
    folder = user_folder(name)
    if not folder.is_symlink() and not (folder / INDEX_FILE).is_file():
        if (weights_folder() / name / INDEX_FILE).is_file():
            raise UsageError(f"{name} came with echoreel and cannot be removed")
        raise WeightsError(f"the model {name!r} is not here", hint="see echoreel models list")
    if folder.is_symlink():
        folder.unlink()
        return 0
    size = sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file())
    # Renamed first: if deleting is interrupted then no half of a model keeps its name.
    doomed = folder.with_name(f".{name}.removed")
    shutil.rmtree(doomed, ignore_errors=True)
    folder.rename(doomed)
    shutil.rmtree(doomed)
    return size


def _how_to_get(name: str) -> str:
    if name in CATALOGUE:
        return f"echoreel models pull {name}"
    known = [*CATALOGUE, *(model.name for model in installed())]
    near = difflib.get_close_matches(name, known, n=1)
    if near:
        return f"did you mean {near[0]}? See echoreel models list"
    return "see echoreel models list, and echoreel models pull"
