"""How a video was made: the JSON beside each MP4, enough to make the same bytes again on the same machine.

Schema `echoreel.generation/1`; every field of `Record` is one key. Unknown keys are refused when a record is read,
because a setting that is not understood would silently change the result.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from echoreel_index.errors import UsageError
from echoreel_index.nouns import Reference
from echoreel_index.strict_json import from_json, to_json

SCHEMA = "echoreel.generation/1"
_PACKAGES = ("torch", "diffusers", "transformers", "av", "numpy")


@dataclass(frozen=True, slots=True)
class VideoFile:
    """The MP4 that came out."""

    file: str
    """Name without folder, so that the pair of files can be moved; `-` for standard output."""
    sha256: str
    bytes: int


@dataclass(frozen=True, slots=True)
class ModelRecord:
    """Which weights were used: SHA-256 of each file of the model folder, the adapter's among them."""

    name: str
    backbone: str
    adapter: str | None
    """Kind of the adapter that was used; None without references."""
    hashes: dict[str, str]
    folder: str = ""
    """Where the model was; looked for by name when it is no longer there."""


@dataclass(frozen=True, slots=True)
class RetrievalRecord:
    """Where the references came from, if a library was asked."""

    library: str
    encoder: str
    encoder_fingerprint: str
    k: int
    min_score: float | None
    query: str | None = None
    """What was searched for."""


@dataclass(frozen=True, slots=True)
class Record:
    """Everything about one generated video."""

    schema: str
    prompt: str
    negative: str
    seed: int
    steps: int
    guidance: float
    eta: float
    width: int
    height: int
    frames: int
    fps: float
    device: str
    dtype: str
    threads: int
    """CPU threads; sums are split among them, so their number can change the last bits on a CPU."""
    offload: str
    created: str
    """Time of day when it was finished, ISO 8601 with offset."""
    video: VideoFile
    model: ModelRecord
    retrieval: RetrievalRecord | None
    references: tuple[Reference, ...]
    versions: dict[str, str]
    timings: dict[str, float]
    """Seconds of each stage."""
    action_guidance: float = 1.0
    """Weight of the references; records from before it existed have the paper's 1."""


def dumps(record: Record) -> bytes:
    """The record as the file's content."""
    return (json.dumps(to_json(record), ensure_ascii=False, indent=2, allow_nan=False) + "\n").encode()


def load(path: Path) -> Record:
    """Read a record from its own file or from the MP4 it belongs to.

    Raises:
        UsageError: there is no record, or it is not one.
    """
    file = path if path.suffix == ".json" else path.with_suffix(".json")
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"there is no {file}", hint="`echoreel gen` writes it beside each video") from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise UsageError(f"cannot read {file}: {error}") from None
    schema = value.get("schema") if isinstance(value, dict) else None
    if schema != SCHEMA:
        raise UsageError(f"{file} is no record of a generation: its schema is {schema!r}, not {SCHEMA!r}")
    return from_json(Record, value, what=str(file))


def versions(echoreel: str) -> dict[str, str]:
    """Versions of what can change the bytes of a video."""
    found = {"echoreel": echoreel, "python": platform.python_version(), "platform": platform.platform()}
    for package in _PACKAGES:
        found[package] = metadata.version(package)
    return found


def differences(then: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """What is not as it was, in words: `torch 2.11.0 -> 2.15.0`."""
    return [f"{key} {then.get(key, '-')} -> {now.get(key, '-')}" for key in sorted({*then, *now}) if then.get(key) != now.get(key)]


def summary(record_model: str, seed: int, references: int, echoreel: str) -> str:
    """The comment that the MP4 itself carries; no time of day, so that bytes can be compared."""
    plural = "" if references == 1 else "s"
    return f"made by echoreel {echoreel}; model {record_model}; seed {seed}; {references} reference{plural}; see the JSON file beside it"
