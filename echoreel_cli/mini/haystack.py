"""A folder in which actions are hard to find, and what each moment of it shows: for measuring a search.

People, clothes and places are drawn from the same pools everywhere, so that only the motion tells files apart:

- `cut`: three or four shots; one shows the wanted action, the others other people in other places who stand, walk, move in no
  particular way or do something else;
- `whole`: one shot of the action;
- `bare`: three or four shots of people who stand, walk or move in no particular way, in the places and clothes of the wanted shots;
- `still`: a photograph, or a slide show of photographs, of people who stand or were caught in the middle of an action.

File names tell nothing. A share of the files has a caption beside it (`clip-0001.txt`), of the action, of another shot or of the place
only. Labels are of shots: every shot that shows a named action bears its name, walking included; photographs bear none. They stand
outside the folder of videos, in a file that an index does not take for a table of captions, as do the sentences to search for:

    FOLDER/videos/clip-0001.mp4, clip-0001.txt   what may be indexed
    FOLDER/truth.jsonl                           {"file": "clip-0001.mp4", "label": "squat", "start": 1.5, "end": 3.25}
    FOLDER/queries.json                          {"squat": ["a person squatting", "a person doing squats"], ...}
    FOLDER/absent.txt                            names of actions that no file shows, one a line
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from echoreel_cli.mini.actions import ACTIONS, Action, action_named
from echoreel_cli.mini.motion import Motion, loop, mirrored, pose
from echoreel_cli.mini.people import Look, describe
from echoreel_cli.mini.skeleton import Floats, joints_from_angles
from echoreel_cli.mini.wildmotion import TOO_NEAR, wild_motion
from echoreel_cli.mini.world import FPS, SIZE, WILD_PHRASES, Take, film, take, take_action
from echoreel_index.errors import OutputExists, UsageError

FILES, WANTED = 200, 40
"""How many files, and how many actions they show, unless told otherwise."""
SHARES = {"cut": 0.6, "whole": 0.15, "bare": 0.15, "still": 0.1}
CAPTIONED = 0.3
"""Share of the files with a caption beside them."""
SHORTEST, LONGEST = 32, 64
"""Frames of a file: 4 to 8 seconds."""
SHOT = 10
"""Frames of the shortest shot."""
POSTURES = ("handstand", "salute", "point up", "lateral raise", "wave", "sway")
"""Actions that a photograph may be said to show; none is taken of them."""
STREAM = 0x4A75
"""Keeps these performances apart from those of other sets with the same seed."""

_STILL = ("standing", "standing still")
_PHASES = 8

Save = Callable[[Path, NDArray[np.uint8], float], None]
"""Writes frames (t h w 3) uint8 at so many a second to a path."""


@dataclass(frozen=True, slots=True)
class Shot:
    """One uncut piece of a file."""

    take: Take
    frames: int

    @property
    def label(self) -> str | None:
        """The action that is seen to be done, if it has a name."""
        return self.take.action if self.take.pace > 0 else None


@dataclass(frozen=True, slots=True)
class Scenario:
    """What one file shows, shot after shot, and what is said beside it."""

    file: str
    kind: str
    """`cut`, `whole`, `bare` or `still`."""
    shots: tuple[Shot, ...]
    caption: str | None = None

    def times(self) -> list[tuple[float, float]]:
        """Start and end of each shot, seconds."""
        ends = np.cumsum([shot.frames for shot in self.shots]) / FPS
        return [(float(end) - shot.frames / FPS, float(end)) for shot, end in zip(self.shots, ends, strict=True)]

    def labels(self) -> list[dict[str, object]]:
        """The lines of the file of labels that are about this file."""
        spans = zip(self.shots, self.times(), strict=True)
        return [{"file": self.file, "label": shot.label, "start": start, "end": end} for shot, (start, end) in spans if shot.label]


def draw_haystack(
    folder: Path,
    *,
    save: Save,
    files: int = FILES,
    actions: int = WANTED,
    seed: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Scenario]:
    """Draw the folder, whole or not at all, and say what is in it. The same seed gives the same.

    Raises OutputExists when something is there already, UsageError when the numbers make no sense.
    """
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
    if folder.exists():
        raise OutputExists(f"{folder} already exists", hint="name a folder that is not there yet")
    plan = scenarios(files=files, actions=actions, seed=seed)
    folder.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    try:
        (part / "videos").mkdir()
        for number, scenario in enumerate(plan):
            save(part / "videos" / scenario.file, pictures(scenario), FPS)
            progress(number + 1, files)
        _write_words(part, plan, _cast(actions, seed))
        part.chmod(0o755)
        part.rename(folder)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    return plan


def pictures(scenario: Scenario) -> NDArray[np.uint8]:
    """The frames (t h w 3) of a file."""
    parts = [film([shot.take], frames=shot.frames, fps=FPS, size=SIZE)[0].numpy() for shot in scenario.shots]
    return np.concatenate(parts)


def scenarios(*, files: int = FILES, actions: int = WANTED, seed: int = 0) -> list[Scenario]:
    """What each file shows, in the order of their names. Raises UsageError when the numbers make no sense."""
    if not 2 <= actions <= len(ACTIONS):
        raise UsageError(f"there are 2 to {len(ACTIONS)} actions to show, got {actions}")
    kinds = [kind for kind, count in _counts(files).items() for _ in range(count)]
    wanted = _cast(actions, seed)
    stars = sum(kind in ("cut", "whole") for kind in kinds)
    if stars < actions:
        fewest = next(count for count in range(files, 1000) if sum(list(_counts(count).values())[:2]) >= actions)
        raise UsageError(f"{files} files are too few to show {actions} actions", hint=f"take at least {fewest} files")
    rng = np.random.default_rng((STREAM, seed))
    order = np.concatenate([rng.permutation(actions) for _ in range(-(-stars // actions))])[:stars]
    lead = iter([wanted[int(i)] for i in order])
    cast = [(kind, next(lead) if kind in ("cut", "whole") else None) for kind in kinds]
    found: list[Scenario] = []
    worn: list[Look] = []
    for number, i in enumerate(rng.permutation(files)):
        kind, action = cast[int(i)]
        own = np.random.default_rng((STREAM, seed, number))
        shots = tuple(_shots(kind, action, wanted, worn, own))
        worn += [shot.take.look for shot in shots if kind == "cut" and shot.take.action is not None]
        found.append(Scenario(f"clip-{number + 1:04d}.mp4", kind, shots, _caption(shots, action, own)))
    return found


def _counts(files: int) -> dict[str, int]:
    """How many files there are of each kind; what rounding leaves over is cut."""
    counts = {kind: int(files * share) for kind, share in SHARES.items()}
    counts["cut"] += files - sum(counts.values())
    return counts


def _cast(actions: int, seed: int) -> list[Action]:
    """The actions that are shown, walking always among them, in the catalogue's order."""
    others = [action for action in ACTIONS if action.name != "walk"]
    chosen = np.random.default_rng((STREAM, seed, 0, 0)).choice(len(others), actions - 1, replace=False)
    names = {"walk", *(others[int(i)].name for i in chosen)}
    return [action for action in ACTIONS if action.name in names]


def _shots(kind: str, action: Action | None, wanted: Sequence[Action], worn: Sequence[Look], rng: np.random.Generator) -> Iterator[Shot]:
    """The shots of one file; neighbours are in different places."""
    if kind == "whole" and action is not None:
        yield Shot(take_action(action, rng), int(rng.integers(SHORTEST, LONGEST + 1)))
        return
    lengths = _lengths(1 if kind == "still" and rng.random() < 0.5 else int(rng.integers(3, 5)), rng)
    star = int(rng.integers(len(lengths))) if kind == "cut" else -1
    place = None
    for number, frames in enumerate(lengths):
        while True:
            if number == star and action is not None:
                one = take_action(action, rng)
            else:
                one = _photograph(wanted, rng) if kind == "still" else _distractor(kind, action, wanted, rng)
                if kind == "bare" and worn and rng.random() < 0.7:
                    one = _dressed(one, worn[int(rng.integers(len(worn)))], rng)
            if one.look.scene.name != place:
                break
        place = one.look.scene.name
        yield Shot(one, frames)


def _lengths(shots: int, rng: np.random.Generator) -> list[int]:
    """Frames of each shot of a file."""
    total = int(rng.integers(max(SHORTEST, shots * (SHOT + 2)), LONGEST + 1))
    spare = rng.multinomial(total - shots * SHOT, np.full(shots, 1 / shots))
    return [SHOT + int(more) for more in spare]


def _distractor(kind: str, action: Action | None, wanted: Sequence[Action], rng: np.random.Generator) -> Take:
    """Somebody who stands, walks, moves in no particular way or, in files of kind `cut`, does another of the wanted actions."""
    draw = rng.random() * (1.0 if kind == "cut" else 0.8)
    if draw < 0.4:
        return take(loop("front", 1.0, {0.0: pose(), 0.5: pose()}), _STILL, None, rng)
    if draw < 0.55:
        return take_action(action_named("walk"), rng)
    if draw < 0.8:
        return take(_nameless(rng), WILD_PHRASES, None, rng)
    others = [other for other in wanted if other is not action]
    return take_action(others[int(rng.integers(len(others)))], rng)


def _photograph(wanted: Sequence[Action], rng: np.random.Generator) -> Take:
    """A moment of somebody who stands or does something, held."""
    movers = [action for action in wanted if action.name not in POSTURES]
    one = _distractor("bare", None, wanted, rng) if rng.random() < 0.3 else take_action(movers[int(rng.integers(len(movers)))], rng)
    return replace(one, pace=0.0, phase=float(rng.random()), camera=replace(one.camera, drift=0.0))


def _dressed(one: Take, look: Look, rng: np.random.Generator) -> Take:
    """The same performance in the clothes and the place of another."""
    said = next(phrase for phrase in _said(one) if phrase in one.caption)
    return replace(one, look=look, caption=describe(look, said, rng))


def _said(one: Take) -> list[str]:
    """How the performance may have been put in words, longest first."""
    names = (*WILD_PHRASES, *_STILL) if one.action is None else action_named(one.action).phrases
    return sorted(names, key=len, reverse=True)


def _caption(shots: Sequence[Shot], action: Action | None, rng: np.random.Generator) -> str | None:
    """What is said beside the file, if anything: half the time the action, else the place only, or another shot."""
    draw, what = rng.random(), rng.random()
    if draw >= CAPTIONED:
        return None
    star = next((shot for shot in shots if action is not None and shot.label == action.name), shots[0])
    if what < 0.5:
        return star.take.caption
    if what < 0.8:
        return f"a person {star.take.look.scene.phrase}"
    return shots[int(rng.integers(len(shots)))].take.caption


def _nameless(rng: np.random.Generator) -> Motion:
    """A random motion that is close to no named action, held out or not."""
    while True:
        motion = wild_motion(rng)
        gaps = np.linalg.norm(_named_tracks() - _track(motion)[None], axis=-1).mean((1, 2))
        if float(gaps.min()) >= TOO_NEAR:
            return motion


def _track(motion: Motion) -> Floats:
    """Joint positions (phases j 3) about the pelvis, in metres."""
    phases, ones = np.arange(_PHASES, dtype=np.float32) / np.float32(_PHASES), np.ones(_PHASES, np.float32)
    joints = joints_from_angles(motion.at(np.asarray(phases, np.float32)), 0 * ones, 1.75 * ones)
    return np.asarray(joints - joints[:, :1] * np.asarray([1, 0, 1], np.float32), np.float32)


@lru_cache(maxsize=1)
def _named_tracks() -> Floats:
    """Every named action and its mirror image in every shift in time: (tracks phases j 3)."""
    motions = [motion for action in ACTIONS for motion in (action.motion, replace(action.motion, poses=mirrored(action.motion.poses)))]
    return np.asarray(np.stack([np.roll(_track(motion), shift, axis=0) for motion in motions for shift in range(_PHASES)]), np.float32)


def _write_words(folder: Path, plan: Sequence[Scenario], wanted: Sequence[Action]) -> None:
    for scenario in plan:
        if scenario.caption is not None:
            (folder / "videos" / scenario.file).with_suffix(".txt").write_text(scenario.caption + "\n", encoding="utf-8")
    lines = [json.dumps(line) + "\n" for scenario in plan for line in scenario.labels()]
    (folder / "truth.jsonl").write_text("".join(lines), encoding="utf-8")
    queries = {action.name: [f"a person {phrase}" for phrase in action.phrases] for action in ACTIONS}
    (folder / "queries.json").write_text(json.dumps(queries, indent=1) + "\n", encoding="utf-8")
    shown = {action.name for action in wanted}
    absent = [f"{action.name}\n" for action in ACTIONS if action.name not in shown]
    (folder / "absent.txt").write_text("".join(absent), encoding="utf-8")
