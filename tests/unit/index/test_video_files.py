"""Walking: what is found, each thing once, and what has changed since."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from echoreel_index.errors import UsageError
from echoreel_index.files import FileStamp, FoundFile, Places, compare, content_hash, merge_roots, walk, within


def names(*paths: Path, skip: Path | None = None) -> list[str]:
    return [os.path.basename(file.path) for file in walk(paths, skip=skip)]


def test_finds_videos_by_suffix_in_order_and_passes_over_the_rest(tmp_path: Path) -> None:
    for name in ("b.mp4", "a.MKV", "note.txt", ".hidden.mp4", "sub/c.webm", ".git/d.mp4", "sub/._c.webm"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(name.encode())
    assert names(tmp_path) == ["a.MKV", "b.mp4", "c.webm"]


def test_names_in_any_script_and_no_script_at_all(tmp_path: Path) -> None:
    wanted = ["прыжок.mp4", "後方宙返り.mp4", "قفزة خلفية.mp4", "a b'\"\n.mp4", os.fsdecode(b"caf\xe9.mp4")]
    for name in wanted:
        (tmp_path / name).write_bytes(b"x")
    assert sorted(names(tmp_path)) == sorted(wanted)


def test_symlink_loops_end_and_each_file_comes_once(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "one.mp4").write_bytes(b"1")
    (tmp_path / "a" / "loop").symlink_to(tmp_path)
    (tmp_path / "again.mp4").symlink_to(tmp_path / "a" / "one.mp4")
    (tmp_path / "dangling.mp4").symlink_to(tmp_path / "nowhere.mp4")
    assert len(names(tmp_path)) == 1
    assert len(names(tmp_path, tmp_path / "a", tmp_path / "a" / "one.mp4")) == 1


def test_a_file_that_is_named_is_taken_whatever_its_suffix(tmp_path: Path) -> None:
    (tmp_path / "film").write_bytes(b"1")
    assert names(tmp_path / "film") == ["film"] and names(tmp_path) == []


def test_the_library_itself_is_left_out_and_a_missing_path_is_a_usage_error(tmp_path: Path) -> None:
    (tmp_path / "library").mkdir()
    (tmp_path / "library" / "x.mp4").write_bytes(b"1")
    assert names(tmp_path, skip=tmp_path / "library") == []
    with pytest.raises(UsageError, match="no such file or folder"):
        names(tmp_path / "nothing")


def test_content_hash_is_that_of_the_bytes(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"abc")
    assert content_hash(str(tmp_path / "x")) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_compare_sorts_files_by_what_must_be_done() -> None:
    now, before = FileStamp(2, 2), FileStamp(1, 1)
    found = [FoundFile(f"/v/{name}", now) for name in ("new", "same", "touched", "recut", "bad", "healed")]
    good = {"/v/same": (now, True), "/v/touched": (before, True), "/v/recut": (now, False), "/v/gone": (now, True), "/w/else": (now, True)}
    bad = {"/v/bad": now, "/v/healed": before}
    changes = compare(found, roots=["/v"], good=good, bad=bad)
    assert [file.path for file in changes.new] == ["/v/new"]
    assert [file.path for file in changes.changed] == ["/v/touched", "/v/recut", "/v/healed"]
    assert [file.path for file in changes.same] == ["/v/same"]
    assert [file.path for file in changes.known_bad] == ["/v/bad"]
    assert changes.gone == ("/v/gone",)
    assert "/v/bad" in [file.path for file in compare(found, roots=["/v"], good=good, bad=bad, retry=True).new]


def test_roots_that_lie_in_others_are_dropped() -> None:
    assert merge_roots(["/a/b", "/c"], ["/a", "/ab"]) == ["/a", "/ab", "/c"]
    assert within("/a/x.mp4", ["/a"]) and not within("/ab/x.mp4", ["/a"]) and within("/x", ["/"])


def test_of_webp_files_only_animations_are_found(tmp_path: Path) -> None:
    from PIL import Image

    pictures = [Image.new("RGB", (32, 32), (40 * number, 0, 0)) for number in range(3)]
    pictures[0].save(tmp_path / "still.webp")
    pictures[0].save(tmp_path / "moving.webp", save_all=True, append_images=pictures[1:])
    (tmp_path / "cut.webp").write_bytes(b"RIFF")
    assert [Path(found.path).name for found in walk([tmp_path])] == ["moving.webp"]


def locked(monkeypatch: pytest.MonkeyPatch, function: str, place: Path, code: int = errno.EACCES) -> None:
    """Let the system refuse to look at `place`, as it does not do to root."""
    honest = getattr(os, function)

    def refuse(path: str | Path) -> object:
        if os.fspath(path) == str(place):
            raise OSError(code, os.strerror(code), str(path))
        return honest(path)

    monkeypatch.setattr(os, function, refuse)


@pytest.mark.parametrize(("function", "code"), [("listdir", errno.EACCES), ("listdir", errno.EIO), ("stat", errno.ESTALE)])
def test_what_cannot_be_looked_at_is_not_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: str, code: int) -> None:
    for name in ("locked/a.mp4", "locked/deep/b.mp4", "open/c.mp4", "d.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_bytes(name.encode())
    before = list(walk([tmp_path]))
    good = {file.path: (file.stamp, True) for file in before} | {str(tmp_path / "lost.mp4"): (FileStamp(1, 1), True)}
    locked(monkeypatch, function, tmp_path / "locked", code)
    unread: list[str] = []
    found = list(walk([tmp_path], unread=unread))
    changes = compare(found, roots=[str(tmp_path)], good=good, bad={}, unread=unread)
    assert len(before) == 4 and [os.path.basename(file.path) for file in changes.same] == ["d.mp4", "c.mp4"]
    assert changes.unread == (str(tmp_path / "locked"),) and changes.gone == (str(tmp_path / "lost.mp4"),)


def test_a_file_or_a_named_folder_that_cannot_be_looked_at_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a.mp4", "b.mp4"):
        (tmp_path / name).write_bytes(name.encode())
    unread: list[str] = []
    locked(monkeypatch, "stat", tmp_path / "a.mp4")
    assert [Path(file.path).name for file in walk([tmp_path], unread=unread)] == ["b.mp4"] and unread == [str(tmp_path / "a.mp4")]
    locked(monkeypatch, "stat", tmp_path)
    assert list(walk([tmp_path], unread=unread)) == [] and unread[1:] == [str(tmp_path)]


def test_a_locked_folder_is_looked_for_under_its_other_name_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The library may know its files by either."""
    (tmp_path / "z").mkdir()
    (tmp_path / "a").symlink_to(tmp_path / "z")
    honest = os.listdir

    def refuse(path: str) -> list[str]:
        if os.path.basename(path) in "az":
            raise PermissionError(errno.EACCES, "no")
        return honest(path)

    monkeypatch.setattr(os, "listdir", refuse)
    unread: list[str] = []
    assert list(walk([tmp_path], unread=unread)) == [] and unread == [str(tmp_path / "a"), str(tmp_path / "z")]


def test_many_places_are_looked_up_and_not_tried_one_by_one() -> None:
    class Watched(str):
        tried = 0

        def startswith(self, *args: object) -> bool:
            Watched.tried += 1
            return str.startswith(self, *args)  # type: ignore[arg-type]

        def __eq__(self, other: object) -> bool:
            Watched.tried += 1
            return str.__eq__(self, other)

        __hash__ = str.__hash__

    roots = [f"/v/{number}.mp4" for number in range(1000)]
    found = [FoundFile(Watched(root), FileStamp(1, 1)) for root in roots]
    good = {file.path: (file.stamp, True) for file in found}
    assert len(compare([], roots=roots, good=good, bad={}).gone) == 1000
    assert merge_roots(roots, [file.path for file in found]) == sorted(roots)
    assert Watched.tried < 50_000  # a million, one by one
    places = Places(["/a", "/a/b/c", "/d/"])
    assert [places.over(path) for path in ("/a/x", "/a/b/c/x", "/a", "/ab", "/d/x", "/")] == ["/a", "/a/b/c", "/a", None, "/d", None]
    assert "/x" in Places(["/"]) and "/x" not in Places([])
