from __future__ import annotations

from pathlib import Path

import pytest

from echoreel_cli.generate.naming import STDOUT, Output, name_outputs, refuse_overwrite, slug
from echoreel_index.errors import OutputExists, UsageError


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("A person doing a backflip!", "a-person-doing-a-backflip"),
        ("../../etc/passwd", "etc-passwd"),
        ("  ", "video"),
        ("ein Rückwärtssalto", "ein-rückwärtssalto"),
        ("x" * 100, "x" * 48),
        ("one two " * 20, "one-two-one-two-one-two-one-two-one-two-one-two"),
    ],
)
def test_slug(text: str, name: str) -> None:
    assert slug(text) == name


def videos(wanted: str | None, *jobs: tuple[str, int, str | None]) -> list[str]:
    return [str(output.video) for output in name_outputs(wanted, jobs)]


def test_names(tmp_path: Path) -> None:
    assert videos(None, ("a cat", 7, None)) == ["a-cat-7.mp4"]
    assert videos("out.mp4", ("a cat", 7, None)) == ["out.mp4"]
    assert videos("out.mp4", ("a cat", 7, None), ("a dog", 8, None)) == ["out-0001.mp4", "out-0002.mp4"]
    assert videos("new/", ("a cat", 7, None), ("a cat", 8, None)) == ["new/a-cat-7.mp4", "new/a-cat-8.mp4"]
    assert videos(str(tmp_path), ("a cat", 7, None)) == [str(tmp_path / "a-cat-7.mp4")]
    assert videos(None, ("a cat", 7, None), ("a cat", 7, None)) == ["a-cat-7.mp4", "a-cat-7-0002.mp4"]
    assert videos("new/", ("a", 1, "own.mp4"), ("b", 2, None)) == ["own.mp4", "new/b-2.mp4"]


def test_standard_output_takes_one_video() -> None:
    assert name_outputs(STDOUT, [("a", 1, None)]) == [Output(None)]
    with pytest.raises(UsageError, match="standard output takes one video, 2"):
        name_outputs(STDOUT, [("a", 1, None), ("a", 2, None)])


def test_refuses_other_suffixes_and_doubles() -> None:
    with pytest.raises(UsageError, match="does not end in .mp4"):
        name_outputs("out.gif", [("a", 1, None)])
    with pytest.raises(UsageError, match="two videos"):
        name_outputs(None, [("a", 1, "own.mp4"), ("b", 1, "own.mp4")])


def test_refuses_to_overwrite_video_or_record(tmp_path: Path) -> None:
    output = Output(tmp_path / "deep" / "out.mp4")
    refuse_overwrite(output.files, force=False)
    output.files[1].parent.mkdir()
    output.files[1].write_text("{}")
    with pytest.raises(OutputExists, match="out.json already exists"):
        refuse_overwrite(output.files, force=False)
    refuse_overwrite(output.files, force=True)


def test_refuses_impossible_places(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="is a file, so"):
        refuse_overwrite([tmp_path / "file" / "out.mp4"], force=True)
    (tmp_path / "folder.mp4").mkdir()
    with pytest.raises(UsageError, match="is a folder"):
        refuse_overwrite([tmp_path / "folder.mp4"], force=True)
