"""A library always shows what lies in its folders: new, changed, moved, copied, gone and unreadable files."""

from __future__ import annotations

import json
import os
import shutil
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from echoreel_index.clips import WindowSettings
from echoreel_index.cutting import looks_of_file
from echoreel_index.decoder import Decoder
from echoreel_index.errors import EncoderMismatch, LibraryError, UsageError
from echoreel_index.library import IndexEvent, IndexReport, Library
from echoreel_index.readers import Sample, ScanSettings
from echoreel_index.search import Ranking

PLAIN = Ranking.plain()
Encoder = Any  # the ColourEncoder of conftest
MakeVideo = Callable[..., Path]


@pytest.fixture
def update(library: Library, settings: WindowSettings, decoder: Decoder) -> Callable[..., IndexReport]:
    def run(*paths: Path, retry: bool = False, cut: WindowSettings = settings) -> IndexReport:
        return library.update(list(paths), settings=cut, retry=retry, decoder=decoder)

    return run


Update = Callable[..., IndexReport]


def names(library: Library) -> list[str]:
    return [Path(row.path).name for row in library.files()]


def test_indexes_searches_and_tells_everything(library: Library, update: Update, videos: Path, encoder: Encoder) -> None:
    (videos / "green.json").write_text(json.dumps({"caption": "a lawn", "source": "https://example.org/g", "license": "CC0"}))
    report = update(videos)
    assert (report.new, report.windows, report.bad) == (3, 6, ())
    hits = library.search("green", k=2, encoder=encoder, ranking=PLAIN)
    best = hits[0].clip
    assert (Path(best.path), best.start, best.end - best.start) == (videos / "green.mp4", best.start, 2.0)
    assert (best.caption, best.source, best.licence) == ("a lawn", "https://example.org/g", "CC0")
    assert hits[0].rank == 1 and 0.9 < hits[0].score <= 1.0 and best.sha256 is not None and len(best.id) == 16
    assert [hit.clip.path for hit in hits] == sorted({hit.clip.path for hit in hits}, key=[hit.clip.path for hit in hits].index)


def test_the_second_run_embeds_nothing(update: Update, videos: Path, encoder: Encoder, library: Library) -> None:
    first, seen = update(videos), encoder.frames
    again = update(videos)
    everything = update()
    assert seen == first.frames > 0 and encoder.frames == seen
    assert (again.unchanged, again.new, everything.unchanged) == (3, 0, 3)


def test_a_touched_file_costs_no_decoding(update: Update, videos: Path, encoder: Encoder) -> None:
    update(videos)
    seen = encoder.frames
    os.utime(videos / "red.mp4", (1, 1))
    report = update(videos)
    assert (report.unchanged, report.changed, encoder.frames) == (3, 0, seen)


def test_changed_removed_and_added_files(update: Update, videos: Path, encoder: Encoder, library: Library, make_video: MakeVideo) -> None:
    update(videos)
    make_video(videos / "red.mp4", colour=(20, 20, 220), seconds=5)
    (videos / "blue.mp4").unlink()
    make_video(videos / "sub" / "new.mp4", seconds=1)
    report = update(videos)
    assert (report.new, report.changed, report.removed, report.unchanged) == (1, 1, 1, 1)
    assert names(library) == ["green.mp4", "red.mp4", "new.mp4"]
    assert report.windows == library.count() == 4 + 2 + 1
    assert library.search("blue", k=1, encoder=encoder, ranking=PLAIN)[0].clip.path == str(videos / "red.mp4")


def test_a_moved_file_keeps_its_vectors_and_a_copy_is_found_once(update: Update, videos: Path, encoder: Encoder, library: Library) -> None:
    update(videos)
    seen = encoder.frames
    (videos / "red.mp4").rename(videos / "crimson.mp4")
    shutil.copy(videos / "green.mp4", videos / "copy.mp4")
    report = update(videos)
    assert (report.moved, report.copies, report.removed, report.new, encoder.frames) == (1, 1, 0, 0, seen)
    assert names(library) == ["blue.mp4", "copy.mp4", "crimson.mp4", "green.mp4"]
    assert [Path(hit.clip.path).name for hit in library.search("green", k=9, encoder=encoder, ranking=PLAIN)].count("green.mp4") == 0
    found = {Path(hit.clip.path).name for hit in library.search("green", k=9, encoder=encoder, ranking=PLAIN)}
    assert found == {"blue.mp4", "copy.mp4", "crimson.mp4"}


def test_a_file_that_comes_back_under_two_names_was_moved_once(update: Update, videos: Path) -> None:
    update(videos)
    shutil.copy(videos / "red.mp4", videos / "crimson.mp4")
    (videos / "red.mp4").rename(videos / "scarlet.mp4")
    report = update(videos)
    assert (report.moved, report.copies, report.removed) == (1, 1, 0)


def test_no_frame_outlives_its_batch(
    tmp_path: Path, make_video: MakeVideo, encoder: Encoder, library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    from echoreel_index import engine

    make_video(tmp_path / "v" / "long.mp4", seconds=100, fps=4)
    frames: list[weakref.ref[Any]] = []
    most, embed = 0, encoder.embed_frames

    def watched_reading(*asked: Any) -> Iterator[Any]:
        for part in looks_of_file(*asked):
            frames.extend(weakref.ref(look.frame) for look in part) if isinstance(part, list) else None
            yield part

    def watched_embedding(batch: Any) -> Any:
        nonlocal most
        most = max(most, sum(frame() is not None for frame in frames))
        return embed(batch)

    monkeypatch.setattr(engine, "looks_of_file", watched_reading)
    encoder.embed_frames = watched_embedding
    assert library.update([tmp_path / "v"], settings=WindowSettings(), workers=1).frames == 200 == len(frames)
    assert 0 < most <= engine.BATCH + 16 * (engine.PARTS + 3)  # a batch and the parts on their way, not the whole file


def test_a_new_word_leaves_the_vectors_alone(update: Update, videos: Path, library: Library, encoder: Encoder) -> None:
    update(videos)
    before = (library.folder / "vectors.faiss").stat().st_mtime_ns
    (videos / "red.txt").write_text("a red field")
    update(videos)
    assert (library.folder / "vectors.faiss").stat().st_mtime_ns == before
    assert library.search("red", k=1, encoder=encoder, ranking=PLAIN)[0].clip.caption == "a red field"


def test_bad_files_are_remembered_and_tried_again_when_they_change(
    update: Update, videos: Path, library: Library, make_video: MakeVideo
) -> None:
    bad = videos / "bad.mp4"
    bad.write_bytes(b"nothing that a decoder knows")
    first = update(videos)
    assert (first.new, [Path(one.path).name for one in first.bad]) == (3, ["bad.mp4"])
    second = update(videos)
    assert (second.bad, second.known_bad, second.unchanged) == ((), 1, 3)
    assert len(update(videos, retry=True).bad) == 1
    make_video(bad)
    healed = update(videos)
    assert (healed.changed + healed.new, healed.known_bad, library.failures()) == (1, 0, [])


def test_a_good_file_that_breaks_is_found_no_more(update: Update, videos: Path, library: Library, encoder: Encoder) -> None:
    update(videos)
    (videos / "red.mp4").write_bytes(b"broken")
    assert len(update(videos).bad) == 1
    assert "red.mp4" not in names(library) and library.count() == 4
    (videos / "red.mp4").unlink()
    assert update(videos).removed == 1 and library.failures() == []


def test_hanging_and_crashing_files_hurt_nobody_else(
    library: Library, settings: WindowSettings, tmp_path: Path, make_video: MakeVideo, bad_worker: list[str]
) -> None:
    for place, name in enumerate(("a.mp4", "crash.mp4", "hang-twice.mp4", "z.mp4")):
        make_video(tmp_path / "videos" / name, colour=(200, 40, 40 * place))
    with Decoder(limit=1.0, command=bad_worker) as decoder:
        report = library.update([tmp_path / "videos"], settings=settings, decoder=decoder)
    assert [Path(bad.path).name for bad in report.bad] == ["hang-twice.mp4"] and "gave no answer" in report.bad[0].message
    assert names(library) == ["a.mp4", "crash.mp4", "z.mp4"] and report.new == 3


def test_several_and_overlapping_paths_index_each_file_once(update: Update, videos: Path, library: Library, make_video: MakeVideo) -> None:
    make_video(videos / "sub" / "one.mp4", colour=(9, 9, 9))
    assert update(videos / "sub", videos, videos / "red.mp4").new == 4
    assert library.roots() == [str(videos)]
    (videos / "blue.mp4").unlink()
    assert update(videos / "sub").removed == 0 and update().removed == 1


def test_a_named_folder_that_is_gone_takes_its_files_along(update: Update, videos: Path, library: Library, encoder: Encoder) -> None:
    update(videos)
    shutil.rmtree(videos)
    remembered = update()
    assert (remembered.missing_roots, remembered.removed) == ((str(videos),), 0)
    assert library.search("red", k=3, encoder=encoder, ranking=PLAIN) == []  # files that are not there are not found, whatever the rows say
    assert update(videos).removed == 3 and library.count() == 0


def test_a_path_that_never_was_is_a_usage_error(update: Update, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file or folder"):
        update(tmp_path / "nothing")
    with pytest.raises(UsageError, match="nothing was indexed"):
        update()


def test_other_settings_cut_again_and_are_remembered(update: Update, videos: Path, library: Library) -> None:
    update(videos)
    other = WindowSettings(length=1.0, stride=0.5, frames=2)
    report = update(videos, cut=other)
    assert (report.changed, library.settings) == (3, other)
    assert library.count() == 3 * 5


def test_a_changed_sidecar_is_taken_without_reading_the_video(update: Update, videos: Path, encoder: Encoder, library: Library) -> None:
    update(videos)
    seen = encoder.frames
    (videos / "red.txt").write_text("ein rotes Feld\n")
    update(videos)
    assert library.search("red", k=1, encoder=encoder, ranking=PLAIN)[0].clip.caption == "ein rotes Feld" and encoder.frames == seen


def test_another_encoder_is_refused_by_name(
    update: Update, videos: Path, library: Library, other_encoder: Encoder, encoder: Encoder
) -> None:
    update(videos)
    with pytest.raises(EncoderMismatch, match="made by encoder colours, not by other"):
        library.search("red", k=1, encoder=other_encoder, ranking=PLAIN)
    with pytest.raises(EncoderMismatch):
        Library.create_or_open(library.folder, other_encoder)
    impostor = type(encoder)("colours", "e" * 64)
    with pytest.raises(EncoderMismatch, match="with other weights"):
        library.search("red", k=1, encoder=impostor, ranking=PLAIN)


def test_without_an_encoder_nothing_is_added(videos: Path, settings: WindowSettings, update: Update, library: Library) -> None:
    update(videos / "red.mp4")
    reader = Library.open(library.folder)
    assert len(reader.files()) == 1
    with pytest.raises(LibraryError, match="without an encoder"):
        reader.update([videos], settings=settings)
    reader.close()


def test_events_count_up_to_the_end(library: Library, settings: WindowSettings, videos: Path, decoder: Decoder) -> None:
    (videos / "bad.mp4").write_bytes(b"x")
    events: list[IndexEvent] = []
    library.update([videos], settings=settings, progress=events.append, decoder=decoder)
    assert [event.kind for event in events if event.kind != "start"] == ["bad", "file", "file", "file"]
    assert [event.files_done for event in events if event.kind != "start"] == [1, 2, 3, 4]
    assert {event.files_total for event in events} == {4} and events[-1].seconds_left == 0.0 and events[-1].rate > 0


def test_windows_of_a_broken_off_file_end_with_its_last_frame(
    update: Update, tmp_path: Path, make_video: MakeVideo, library: Library, encoder: Encoder
) -> None:
    whole = make_video(tmp_path / "v" / "cut.mkv", seconds=8)
    whole.write_bytes(whole.read_bytes()[: int(whole.stat().st_size * 0.6)])
    report = update(tmp_path / "v")
    assert report.bad == ()
    ends = [hit.clip.end for hit in library.search("red", k=9, encoder=encoder, ranking=PLAIN)]
    assert 2.0 <= max(ends) < 6.5


def test_searching_never_gives_overlapping_windows_and_goes_on_until_k(
    update: Update, tmp_path: Path, make_video: MakeVideo, library: Library, encoder: Encoder
) -> None:
    make_video(tmp_path / "v" / "long.mp4", seconds=100, fps=4)
    make_video(tmp_path / "v" / "pale.mp4", colour=(120, 90, 90))
    update(tmp_path / "v", cut=WindowSettings(length=2.0, stride=0.25, frames=1))
    hits = library.search("red", k=30, encoder=encoder, ranking=PLAIN)
    assert len(hits) == 30
    spans = sorted((hit.clip.path, hit.clip.start, hit.clip.end) for hit in hits)
    assert all(one[0] != two[0] or one[2] <= two[1] for one, two in zip(spans, spans[1:], strict=False))
    scores = [hit.score for hit in hits]
    assert scores == sorted(scores, reverse=True) and [hit.rank for hit in hits] == list(range(1, 31))
    floor = scores[10]
    assert all(hit.score >= floor for hit in library.search("red", k=30, encoder=encoder, ranking=PLAIN, min_score=floor))
    assert library.search("red", k=3, encoder=encoder, ranking=PLAIN, min_score=1.1) == []


def test_vectors_are_means_of_unit_vectors_of_looks(
    update: Update, videos: Path, library: Library, encoder: Encoder, decoder: Decoder
) -> None:
    update(videos / "red.mp4")
    rows, vectors = next(library._store.vectors())
    found = list(decoder.scan(str(videos / "red.mp4"), ScanSettings(step=0.5, size=32)))
    looks = encoder.embed_frames(np.stack([one.frame for one in found if isinstance(one, Sample)]))
    assert len(looks) == 6 and len(vectors) == 2
    for first, vector, kept in zip((0, 2), vectors, library._store.looks_of(rows), strict=True):
        mean = looks[first : first + 4].mean(0)
        np.testing.assert_allclose(vector, mean / np.linalg.norm(mean), atol=1e-3)
        np.testing.assert_allclose(kept, looks[first : first + 4], atol=1e-3)


def test_windows_end_at_cuts_and_know_how_they_look(
    update: Update, tmp_path: Path, library: Library, make_film: MakeVideo, encoder: Encoder
) -> None:
    make_film(tmp_path / "v" / "two.mp4", [((200, 30, 30), 2.5), ((30, 30, 200), 3.0)])
    update(tmp_path / "v")
    hits = library.search("red", k=9, encoder=encoder, ranking=PLAIN)
    assert all(hit.clip.one_shot for hit in hits)
    assert not [hit for hit in hits if hit.clip.start < 2.4 and hit.clip.end > 2.6]
    assert hits[0].clip.start == 0 and hits[0].clip.end == pytest.approx(2.5, abs=0.01)
    best = hits[0].clip
    assert best.motion is not None and best.brightness is not None and 0 < best.motion < 0.2 and 0.2 < best.brightness < 0.5
    assert (best.width, best.height) == (64, 48) and best.duration == pytest.approx(5.5, abs=0.01)


def test_many_workers_make_the_same_library_as_one(tmp_path: Path, make_video: MakeVideo, encoder: Encoder) -> None:
    for number in range(9):
        size = (48, 64 + 16 * (number % 2))
        make_video(tmp_path / "v" / f"{number}.mp4", colour=(20 * number, 90, 50), seconds=1 + number % 4, size=size)
    shutil.copy(tmp_path / "v" / "1.mp4", tmp_path / "v" / "1-again.mp4")
    (tmp_path / "v" / "bad.mp4").write_bytes(b"no video")
    shutil.copy(tmp_path / "v" / "bad.mp4", tmp_path / "v" / "bad-again.mp4")
    seen = []
    for workers in (1, 3):
        one = Library.create_or_open(tmp_path / f"library{workers}", encoder)
        report = one.update([tmp_path / "v"], settings=WindowSettings(), workers=workers)
        assert (report.new, report.copies, len(report.bad)) == (9, 1, 2)
        columns = "sha256, id, start, end, vector, motion, brightness, one_shot"
        seen.append((names(one), one._store.ask(f"SELECT {columns} FROM windows ORDER BY sha256, start"), len(one.failures())))
        one.close()
    assert seen[0] == seen[1]


def test_a_folder_that_cannot_be_looked_at_keeps_its_files(
    update: Update, videos: Path, library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    update(videos)
    honest = os.listdir

    def refuse(path: str) -> list[str]:
        if os.fspath(path) == str(videos):
            raise PermissionError(13, "Permission denied")
        return honest(path)

    monkeypatch.setattr(os, "listdir", refuse)
    report = update(videos)
    assert (report.removed, report.unread, library.count()) == (0, (str(videos),), 6)
