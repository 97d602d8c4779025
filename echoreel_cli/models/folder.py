"""What a model folder says about itself: `model_index.json` (how to run it) and `card.json` (where it comes from).

    model_index.json     ModelInfo: name, backbone, defaults, what a reference looks like
    card.json            Card: source, licence, paper, hash of every other file
    unet/ action_adapter/ vae/ text_encoder/ tokenizer/ scheduler/     as diffusers and transformers lay them out

Both files are read strictly: a key nobody knows is an error that names the nearest known one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

from echoreel_index.errors import UsageError, WeightsError
from echoreel_index.strict_json import from_json, to_json

INDEX_FILE, CARD_FILE = "model_index.json", "card.json"
INDEX_SCHEMA, CARD_SCHEMA = "echoreel.model/1", "echoreel.card/1"

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Defaults:
    """What `gen` uses where the user says nothing; sizes in pixels."""

    frames: int
    height: int
    width: int
    fps: float
    steps: int = 50
    guidance: float = 12.0
    eta: float = 1.0
    negative: str = ""
    action_guidance: float = 1.0
    """Weight of the references in guidance; 1 is the paper's."""


@dataclass(frozen=True, slots=True)
class ReferenceShape:
    """How a reference clip is read: `frames` of them, every `stride`-th of the file or `fps` a second; exactly one of the two."""

    frames: int
    stride: int | None = None
    fps: float | None = None

    def __post_init__(self) -> None:
        if (self.stride is None) == (self.fps is None):
            raise UsageError("a reference has either a stride or an fps", hint='for example {"frames": 16, "stride": 4}')


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """`model_index.json`: what a program has to know to run the model."""

    name: str
    backbone: str
    defaults: Defaults
    reference: ReferenceShape | None
    """None for a plain backbone that takes no references."""
    encoder: str
    """The encoder whose library suits this model."""
    score_floor: float
    """Clips that score lower are no match, in that encoder's cosines."""
    schema: str = INDEX_SCHEMA


@dataclass(frozen=True, slots=True)
class Tokenizer:
    """`tokenizer/tokenizer.json`: CLIP's byte-pair words, `length` tokens, filled up with `pad` (`eos` or `zero`).

    A vocabulary of one's own lies beside it as `bpe.txt.gz`, in the format of open_clip.
    """

    kind: Literal["clip"] = "clip"
    length: int = 77
    pad: Literal["eos", "zero"] = "eos"


@dataclass(frozen=True, slots=True)
class Origin:
    """One file that the model was made from."""

    url: str
    sha256: str
    size: int
    revision: str | None = None
    """Commit of the hub's repository, where the hub told it."""


@dataclass(frozen=True, slots=True)
class Card:
    """`card.json`: where the weights come from, what one may do with them, and the hash of every file but this one."""

    source: str
    licence: str
    paper: str = ""
    note: str = ""
    dtype: str = ""
    """Number type of the weights as stored; empty where the parts differ."""
    made_with: str = ""
    """Version of echoreel that wrote the folder."""
    origins: tuple[Origin, ...] = ()
    checks: tuple[str, ...] = ()
    """What was found out about the weights when they were converted, one sentence each."""
    extra: Mapping[str, object] = field(default_factory=dict)
    """Anything else worth keeping, such as how the weights were trained."""
    hashes: Mapping[str, str] = field(default_factory=dict)
    """Path inside the folder, with forward slashes -> SHA-256."""
    schema: str = CARD_SCHEMA


def read_info(folder: Path) -> ModelInfo:
    """The `model_index.json` of a model folder; WeightsError if it is missing, not ours or has unknown keys."""
    return read_object(folder / INDEX_FILE, ModelInfo, schema=INDEX_SCHEMA)


def read_card(folder: Path) -> Card:
    """The `card.json` of a model folder; WeightsError as with `read_info`."""
    card = read_object(folder / CARD_FILE, Card, schema=CARD_SCHEMA)
    if not all(isinstance(value, str) for value in card.hashes.values()):
        raise WeightsError(f"{folder / CARD_FILE}: hashes must be text")
    return card


def read_object(file: Path, kind: type[T], *, schema: str | None = None) -> T:
    """A JSON file -> a frozen dataclass, strictly; WeightsError says what is wrong and in which file."""
    data = read_json(file)
    found = data.get("schema") if isinstance(data, dict) else None
    if schema is not None and found != schema:
        raise WeightsError(f"{file}: schema is {found!r}, expected {schema!r}", hint="the folder may come from another version of echoreel")
    try:
        return from_json(kind, data, what=str(file))
    except UsageError as error:
        raise WeightsError(error.message, hint=error.hint) from error


def read_json(file: Path) -> Any:
    """The content of a JSON file; WeightsError if it is not there or not JSON."""
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise WeightsError(f"{file.parent} is no complete model folder: {file.name} is missing") from error
    except (OSError, ValueError) as error:
        raise WeightsError(f"{file} cannot be read: {error}") from error


def write_json(file: Path, value: object) -> None:
    """A dataclass or plain object as indented JSON; keys keep their order, so that equal content gives equal bytes."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(to_json(value), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def files_of(folder: Path) -> list[str]:
    """Every file of a model folder but the card, relative, with forward slashes, sorted."""
    found = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return sorted(name for name in found if name != CARD_FILE)


def sha256_of(file: Path) -> str:
    """SHA-256 of a file's content, in hexadecimal."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def hashed(card: Card, folder: Path) -> Card:
    """The card with the hash of every file that is in the folder now."""
    return replace(card, hashes={name: sha256_of(folder / name) for name in files_of(folder)})


@dataclass(frozen=True, slots=True)
class Verdict:
    """What `verify` found about one file: `ok`, `changed`, `missing`, or `unknown` where the card does not name it."""

    file: str
    state: Literal["ok", "changed", "missing", "unknown"]


def verify(folder: Path, progress: Callable[[Verdict], None] | None = None) -> list[Verdict]:
    """Compare every file of a model folder with its card; reads all of them."""
    hashes = read_card(folder).hashes
    present = set(files_of(folder))
    found: list[Verdict] = []
    for name in sorted(present | set(hashes)):
        if name not in present:
            verdict = Verdict(name, "missing")
        elif name not in hashes:
            verdict = Verdict(name, "unknown")
        else:
            verdict = Verdict(name, "ok" if sha256_of(folder / name) == hashes[name] else "changed")
        found.append(verdict)
        if progress is not None:
            progress(verdict)
    return found
