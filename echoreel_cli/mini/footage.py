"""Video files of the small world: a folder as a stranger might have it, with names that give nothing away.

What each file really shows stands in a truth file outside of that folder, so that no search can read it:

    {"schema": "echoreel.footage/1", "seed": 0, "clips": 80, "size": 128, "fps": 16.0, "frames": 32}
    {"file": "clip-0001.mp4", "action": "squat", "held_out": false, "caption": "...", "sha256": "..."}
    ...
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from echoreel_cli.mini.actions import ACTIONS, Action, action_named
from echoreel_cli.mini.world import film, take_action
from echoreel_index.errors import UsageError

SCHEMA = "echoreel.footage/1"
SIZE, FPS, FRAMES = 128, 16.0, 32
"""Two seconds at twice the size and rate of what the mini model makes: a library need not fit the model."""

STARS = ("backflip", "cartwheel")
"""Actions with more takes than the others, because they are searched for."""
TAKES_OF_A_STAR = 3
STREAM = 0xF007
"""Keeps these performances apart from those of a training set with the same seed."""

Save = Callable[[Path, NDArray[np.uint8], float], None]
"""Writes frames (t h w 3) uint8 at so many a second to a path, whole or not at all."""


@dataclass(frozen=True, slots=True)
class Footage:
    """One file and what it shows."""

    file: str
    action: str
    held_out: bool
    caption: str
    sha256: str = ""
    """Of the file's content; empty while it is only planned."""


def render_library(
    folder: Path, truth: Path, *, seed: int, clips: int, save: Save, progress: Callable[[int, int], None] = lambda done, total: None
) -> list[Footage]:
    """Draw `clips` video files into `folder` and write what they show to `truth`; files of the same seed are kept.

    Files of an earlier run that do not belong to this one are deleted, if they are still as they were written; nothing
    else in the folder is touched. Raises UsageError when `clips` is not positive or `truth` is something else.
    """
    head = {"schema": SCHEMA, "seed": seed, "clips": clips, "size": SIZE, "fps": FPS, "frames": FRAMES}
    plan = casting(seed, clips)
    before = read_truth(truth) if truth.exists() else []
    known = {shot.file: shot for shot in before if _is_unchanged(folder, shot)}
    same = bool(before) and _head(truth) == head
    done: list[Footage] = []
    if not same:
        for shot in known.values():
            (folder / shot.file).unlink()
        known = {}
    folder.mkdir(parents=True, exist_ok=True)
    truth.parent.mkdir(parents=True, exist_ok=True)
    # Line by line, so that a run that was broken off is known as ours and goes on where it stopped.
    with truth.open("w", encoding="utf-8") as lines:
        lines.write(json.dumps(head) + "\n")
        for number, action in enumerate(plan):
            name = f"clip-{number + 1:04d}.mp4"
            shot = known.get(name) or _shoot(folder / name, action, np.random.default_rng((STREAM, seed, number)), save)
            lines.write(json.dumps(asdict(shot), ensure_ascii=False) + "\n")
            lines.flush()
            done.append(shot)
            progress(number + 1, clips)
    return done


def casting(seed: int, clips: int) -> list[Action]:
    """Which action each file shows: the two stars up to three times, then every other action once, then again, shuffled."""
    if clips < 1:
        raise UsageError(f"a library needs at least one clip, got {clips}")
    rng = np.random.default_rng((STREAM, seed))
    takes = min(TAKES_OF_A_STAR, max(1, clips // 8))
    cast = [action_named(name) for name in STARS for _ in range(takes)]
    others = [action for action in ACTIONS if action.name not in STARS]
    while len(cast) < clips:
        cast += [others[i] for i in rng.permutation(len(others))]
    cast = cast[:clips]
    return [cast[i] for i in rng.permutation(clips)]


def read_truth(truth: Path) -> list[Footage]:
    """What the files show, as `render_library` wrote it. Raises UsageError when it did not."""
    if _head(truth).get("schema") != SCHEMA:
        raise UsageError(f"{truth} was not written by this command", hint="choose another folder")
    rows: list[Footage] = []
    for line in truth.read_text(encoding="utf-8").splitlines()[1:]:
        try:
            rows.append(Footage(**json.loads(line)))
        except (ValueError, TypeError):  # a run was broken off in the middle of a line
            break
    return rows


def _head(truth: Path) -> dict[str, Any]:
    try:
        with truth.open(encoding="utf-8") as lines:
            value = json.loads(lines.readline())
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def _is_unchanged(folder: Path, shot: Footage) -> bool:
    file = folder / shot.file
    return file.name == shot.file and file.is_file() and _sha256(file) == shot.sha256


def _shoot(path: Path, action: Action, rng: np.random.Generator, save: Save) -> Footage:
    take = take_action(action, rng)
    save(path, film([take], frames=FRAMES, fps=FPS, size=SIZE)[0].numpy(), FPS)
    shot = Footage(path.name, action.name, action.held_out, take.caption)
    return replace(shot, sha256=_sha256(path))


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def action_of(text: str) -> Action | None:
    """The action that a prompt names, by the longest phrase or name in it; None if it names none."""
    words = f" {' '.join(text.lower().split())} "
    said: Sequence[tuple[int, Action]] = [
        (len(phrase), action) for action in ACTIONS for phrase in (*action.phrases, action.name) if f" {phrase} " in words
    ]
    return max(said, key=lambda found: found[0])[1] if said else None
