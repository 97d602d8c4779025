"""The folder in which actions are hard to find: its labels are true, its names and words tell nothing that they should not."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from echoreel_cli.mini.actions import ACTIONS
from echoreel_cli.mini.haystack import CAPTIONED, LONGEST, POSTURES, SHORTEST, SHOT, Scenario, draw_haystack, pictures, scenarios
from echoreel_cli.mini.world import FPS, SIZE
from echoreel_index.captions import words
from echoreel_index.errors import OutputExists, UsageError


def save(path: Path, frames: NDArray[np.uint8], fps: float) -> None:
    """Stands for the MP4 writer; the bytes are all that counts here."""
    assert frames.shape[1:] == (SIZE, SIZE, 3) and frames.dtype == np.uint8 and fps == FPS
    path.write_bytes(frames[:, ::8, ::8].tobytes())


@pytest.fixture(scope="module")
def plan() -> list[Scenario]:
    return scenarios(seed=0)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Scenario]]:
    folder = tmp_path_factory.mktemp("haystack") / "hay"
    return folder, draw_haystack(folder, save=save, files=12, actions=3, seed=1)


def changes(frames: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Mean absolute difference of each frame and the one before it: (t - 1) grey levels."""
    difference = np.abs(np.diff(frames.astype(np.float64), axis=0))
    return np.asarray(difference.mean((1, 2, 3)), np.float64)


def test_there_are_enough_files_of_each_action_and_enough_that_distract(plan: list[Scenario]) -> None:
    kinds = Counter(scenario.kind for scenario in plan)
    assert kinds == {"cut": 120, "whole": 30, "bare": 30, "still": 20}
    files = Counter(label for scenario in plan for label in {str(line["label"]) for line in scenario.labels()})
    assert len(files) == 40 and min(files.values()) >= 3
    lengths = [sum(shot.frames for shot in scenario.shots) for scenario in plan]
    assert min(lengths) >= SHORTEST and max(lengths) <= LONGEST
    assert min(shot.frames for scenario in plan for shot in scenario.shots) >= SHOT


def test_what_distracts_shows_no_action_but_walking(plan: list[Scenario]) -> None:
    for scenario in plan:
        names = {shot.label for shot in scenario.shots}
        if scenario.kind == "bare":
            assert names <= {None, "walk"}
        elif scenario.kind == "still":
            assert names == {None} and not {shot.take.action for shot in scenario.shots} & set(POSTURES)
        else:
            assert names - {None}
    assert any(shot.take.action for scenario in plan if scenario.kind == "still" for shot in scenario.shots)


def test_clothes_and_places_of_what_distracts_are_those_of_the_wanted_shots(plan: list[Scenario]) -> None:
    wanted = {id(shot.take.look) for scenario in plan if scenario.kind == "cut" for shot in scenario.shots if shot.label}
    bare = [id(shot.take.look) in wanted for scenario in plan if scenario.kind == "bare" for shot in scenario.shots]
    assert 0.4 < np.mean(bare) < 0.9


def test_cuts_go_to_other_places_and_lie_where_the_labels_say(plan: list[Scenario]) -> None:
    for scenario in plan:
        places = [shot.take.look.scene.name for shot in scenario.shots]
        assert all(one != other for one, other in zip(places, places[1:], strict=False))
    for scenario in [one for one in plan if one.kind == "cut"][:6]:
        frames = pictures(scenario)
        cuts = [round(end * FPS) for _, end in scenario.times()[:-1]]
        assert len(frames) == round(scenario.times()[-1][1] * FPS)
        seen = changes(frames)
        assert {int(i) + 1 for i in np.argsort(-seen)[: len(cuts)]} == set(cuts)
        for line in scenario.labels():
            assert {round(float(str(line[name])) * FPS) for name in ("start", "end")} <= {0, *cuts, len(frames)}


def test_photographs_do_not_move_and_actions_do(plan: list[Scenario]) -> None:
    still = next(scenario for scenario in plan if scenario.kind == "still" and len(scenario.shots) == 1)
    whole = next(scenario for scenario in plan if scenario.kind == "whole")
    assert changes(pictures(still)).max() == 0 < changes(pictures(whole)).mean()


def test_captions_are_a_share_and_some_name_only_the_place(plan: list[Scenario]) -> None:
    said = [scenario.caption for scenario in plan if scenario.caption]
    assert abs(len(said) / len(plan) - CAPTIONED) < 0.08
    told = sum(any(phrase in caption for action in ACTIONS for phrase in action.phrases) for caption in said)
    assert 0.3 < told / len(said) < 0.8


def test_the_same_seed_gives_the_same_folder(drawn: tuple[Path, list[Scenario]], tmp_path: Path) -> None:
    folder, plan = drawn
    draw_haystack(tmp_path / "again", save=save, files=12, actions=3, seed=1)

    def contents(top: Path) -> dict[str, bytes]:
        return {str(path.relative_to(top)): path.read_bytes() for path in sorted(top.rglob("*")) if path.is_file()}

    assert contents(folder) == contents(tmp_path / "again")
    other = scenarios(files=12, actions=3, seed=2)
    assert [scenario.labels() for scenario in other] != [scenario.labels() for scenario in plan]


def test_what_stands_in_the_folder(drawn: tuple[Path, list[Scenario]]) -> None:
    folder, plan = drawn
    assert {path.name for path in folder.iterdir()} == {"videos", "truth.jsonl", "queries.json", "absent.txt"}
    lines = [json.loads(line) for line in (folder / "truth.jsonl").read_text().splitlines()]
    assert lines == [line for scenario in plan for line in scenario.labels()]
    queries = json.loads((folder / "queries.json").read_text())
    absent = (folder / "absent.txt").read_text().split("\n")[:-1]
    shown = {line["label"] for line in lines}
    assert set(queries) == {action.name for action in ACTIONS} == shown | set(absent) and not shown & set(absent)
    assert queries["squat"] == ["a person squatting", "a person doing squats"]


def test_no_label_can_be_read_as_a_word_of_a_video(drawn: tuple[Path, list[Scenario]]) -> None:
    folder, plan = drawn
    for scenario in plan:
        file = str(folder / "videos" / scenario.file)
        for said in (words(file), words(file, root=str(folder))):
            assert said.caption == scenario.caption
            assert not set(said.text.split("\n")) & {action.name for action in ACTIONS}
    names = {path.stem for path in (folder / "videos").iterdir()}
    assert names == {f"clip-{number + 1:04d}" for number in range(12)}


def test_a_broken_run_leaves_nothing_and_nothing_is_overwritten(drawn: tuple[Path, list[Scenario]], tmp_path: Path) -> None:
    def fails(path: Path, frames: NDArray[np.uint8], fps: float) -> None:
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space"):
        draw_haystack(tmp_path / "hay", save=fails, files=6, actions=2)
    assert not list(tmp_path.iterdir())
    with pytest.raises(OutputExists, match="already exists"):
        draw_haystack(drawn[0], save=save, files=12, actions=3, seed=1)


def test_numbers_that_make_no_sense() -> None:
    with pytest.raises(UsageError, match="2 to 50 actions"):
        scenarios(files=100, actions=51)
    with pytest.raises(UsageError, match="too few") as raised:
        scenarios(files=20, actions=40)
    fewest = int(str(raised.value.hint).split()[3])
    assert len({line["label"] for one in scenarios(files=fewest, actions=40) for line in one.labels()}) == 40
    with pytest.raises(UsageError, match="too few"):
        scenarios(files=fewest - 1, actions=40)
