"""The folder of drawn videos: the same from the same seed, finished after a break, with names that tell nothing."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from echoreel_cli.mini.actions import ACTIONS
from echoreel_cli.mini.footage import FRAMES, SIZE, Footage, action_of, casting, read_truth, render_library
from echoreel_index.errors import UsageError


def save(path: Path, frames: NDArray[np.uint8], fps: float) -> None:
    """Stands for the MP4 writer; the bytes are all that counts here."""
    assert frames.shape == (FRAMES, SIZE, SIZE, 3) and frames.dtype == np.uint8 and fps == 16
    path.write_bytes(frames[:, ::8, ::8].tobytes())


def render(folder: Path, *, seed: int = 1, clips: int = 3) -> list[Footage]:
    return render_library(folder / "videos", folder / "truth.jsonl", seed=seed, clips=clips, save=save)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((folder / "videos").iterdir())}


def test_the_cast_of_eighty_has_every_action_and_three_of_each_star() -> None:
    cast = [action.name for action in casting(seed=0, clips=80)]
    assert len(cast) == 80 and set(cast) == {action.name for action in ACTIONS}
    count = Counter(cast)
    assert count.pop("backflip") == count.pop("cartwheel") == 3
    assert set(count.values()) == {1, 2}
    assert cast == [action.name for action in casting(seed=0, clips=80)] != [action.name for action in casting(seed=1, clips=80)]


@pytest.mark.parametrize("clips", [1, 2, 8, 16, 200])
def test_a_cast_of_any_size_has_the_first_star(clips: int) -> None:
    cast = [action.name for action in casting(seed=3, clips=clips)]
    assert len(cast) == clips and "backflip" in cast


def test_the_same_seed_gives_the_same_files_and_names_tell_nothing(tmp_path: Path) -> None:
    first, second, other = render(tmp_path / "a"), render(tmp_path / "b"), render(tmp_path / "c", seed=2)
    assert first == second != other
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    assert list(contents(tmp_path / "a")) == ["clip-0001.mp4", "clip-0002.mp4", "clip-0003.mp4"]
    assert read_truth(tmp_path / "a" / "truth.jsonl") == first
    assert {shot.held_out for shot in first if shot.action in ("backflip", "cartwheel")} == {True}


def test_files_are_kept_and_a_missing_or_spoilt_one_is_drawn_again(tmp_path: Path) -> None:
    shots, before = render(tmp_path), contents(tmp_path)
    times = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "videos").iterdir()}
    (tmp_path / "videos" / "clip-0002.mp4").write_bytes(b"spoilt")
    (tmp_path / "videos" / "clip-0003.mp4").unlink()
    truth = tmp_path / "truth.jsonl"
    truth.write_text(truth.read_text()[:-40])  # broken off in the middle of the last line
    assert render(tmp_path) == shots and contents(tmp_path) == before
    assert (tmp_path / "videos" / "clip-0001.mp4").stat().st_mtime_ns == times["clip-0001.mp4"]


def test_another_seed_removes_its_own_files_only(tmp_path: Path) -> None:
    render(tmp_path, clips=3)
    (tmp_path / "videos" / "mine.mp4").write_bytes(b"mine")
    (tmp_path / "videos" / "clip-0003.mp4").write_bytes(b"mine now")
    shots = render(tmp_path, seed=2, clips=1)
    assert list(contents(tmp_path)) == ["clip-0001.mp4", "clip-0003.mp4", "mine.mp4"]
    assert [shot.file for shot in shots] == ["clip-0001.mp4"]


def test_a_truth_file_of_someone_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "truth.jsonl").write_text("the truth is out there\n")
    with pytest.raises(UsageError, match="was not written by this command"):
        render(tmp_path)
    assert (tmp_path / "truth.jsonl").read_text() == "the truth is out there\n"
    with pytest.raises(UsageError, match="at least one clip"):
        casting(seed=0, clips=0)


def test_prompts_name_actions() -> None:
    def name(prompt: str) -> str | None:
        action = action_of(prompt)
        return action.name if action else None

    assert name("a person doing a backflip") == "backflip"
    assert name("A person in a red shirt doing a  front kick in a park") == "front kick"
    assert name("a person jumping like a frog") == "frog jump"
    assert name("a person doing jumping jacks") == "jumping jack"
    assert name("a cat asleep") is None
