"""A library is verified, mended, merged, exported and made smaller; a full disk and a reader during a write hurt nothing."""

from __future__ import annotations

import os
import resource
import shutil
import sqlite3
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from echoreel_index import listing, merging, upkeep
from echoreel_index.clips import WindowSettings
from echoreel_index.database import DATABASE
from echoreel_index.decoder import Decoder
from echoreel_index.editing import editing
from echoreel_index.errors import EncoderMismatch, LibraryError, UsageError
from echoreel_index.exporting import export_vectors, exported, replaced
from echoreel_index.library import Library
from echoreel_index.store import VECTORS, Store
from echoreel_index.verification import Check, verify

Encoder = Any  # the ColourEncoder of conftest
MakeVideo = Callable[..., Path]
SETTINGS = WindowSettings()


@pytest.fixture
def update(encoder: Encoder, decoder: Decoder) -> Callable[..., None]:
    """Bring the library in a folder up to date with paths."""

    def run(folder: Path, *paths: Path, cut: WindowSettings = SETTINGS) -> None:
        library = Library.create_or_open(folder, encoder)
        try:
            library.update(list(paths), settings=cut, decoder=decoder)
        finally:
            library.close()

    return run


Update = Callable[..., None]


@pytest.fixture
def folder(tmp_path: Path, videos: Path, update: Update) -> Path:
    """A library of three films, one of them with words and one with subtitles, and of one file that is no film."""
    (videos / "red.txt").write_text("a red field")
    (videos / "green.srt").write_text("1\n00:00:00,000 --> 00:00:01,500\nhello there\n")
    (videos / "bad.mp4").write_bytes(b"no film")
    update(tmp_path / "library", videos)
    return tmp_path / "library"


@pytest.fixture
def store(folder: Path) -> Iterator[Store]:
    with closing(Store.open(folder)) as opened:
        yield opened


def names(store: Store) -> list[str]:
    return [Path(row.path).name for row in store.files()]


def damaged(store: Store, **how: bool) -> list[str]:
    return [check.name for check in verify(store, deep=how.get("deep", False)) if check.damaged]


def said(checks: list[Check]) -> str:
    return " ".join(f"{finding.subject}: {finding.message}" for check in checks for finding in check.findings)


# Forgetting.


def test_removed_files_are_found_no_more_and_come_back_unless_banned(store: Store, videos: Path, update: Update) -> None:
    removal = upkeep.remove(store, [videos / "red.mp4", videos / "bad.mp4"])
    assert [Path(path).name for path in removal.paths] == ["bad.mp4", "red.mp4"] and removal.windows == 2
    assert removal.returning == removal.paths and removal.roots == removal.banned == ()
    assert names(store) == ["blue.mp4", "green.mp4"] and store.failures() == {} and store.count() == 4 and damaged(store) == []
    update(store.folder)
    assert names(store) == ["blue.mp4", "green.mp4", "red.mp4"]
    removal = upkeep.remove(store, [videos / "red.mp4"], ban=True)
    assert removal.returning == () and removal.banned == (str(videos / "red.mp4"),)
    update(store.folder)
    assert names(store) == ["blue.mp4", "green.mp4"]
    with pytest.raises(UsageError, match="red.mp4 was banned"):
        update(store.folder, videos / "red.mp4")
    assert upkeep.unban(store, [videos / "red.mp4"]) == (str(videos / "red.mp4"),)
    update(store.folder)
    assert names(store) == ["blue.mp4", "green.mp4", "red.mp4"]
    with pytest.raises(UsageError, match="not banned"):
        upkeep.unban(store, [videos / "red.mp4"])


def test_a_removed_root_is_not_looked_at_again(store: Store, videos: Path, update: Update) -> None:
    removal = upkeep.remove(store, [videos.parent])
    assert removal.roots == (str(videos),) and removal.returning == () and len(removal.paths) == 4
    assert store.count() == 0 and store.roots() == [] and store.ask("SELECT * FROM contents") == []
    assert [store.ask(f"SELECT COUNT(*) FROM {table}") for table in ("looks", "file_words", "cues", "cue_words")] == [[(0,)]] * 4
    with pytest.raises(UsageError, match="nothing was indexed"):
        update(store.folder)


def test_removing_says_what_it_would_do_and_refuses_what_it_does_not_know(store: Store, videos: Path) -> None:
    before = listing.summary(store)
    assert upkeep.remove(store, [videos], ban=True, dry_run=True).windows == 6
    assert listing.summary(store) == before
    with pytest.raises(UsageError, match="knows nothing at .*absent"):
        upkeep.remove(store, [videos / "absent.mp4"])
    assert upkeep.remove(store, [videos / "absent.mp4"], ban=True).banned == (str(videos / "absent.mp4"),)


# Verifying and mending.


def change(store: Store, statement: str, *values: object) -> None:
    with editing(store.folder) as db:
        db.execute(statement, values)


def longer(store: Store) -> None:
    """A vector of another length, with a checksum that fits."""
    ((blob,),) = store.ask("SELECT vector FROM windows WHERE row = 2")
    wrong = (2 * np.frombuffer(blob, "<f2")).tobytes()
    change(store, "UPDATE windows SET vector = ?, crc = ? WHERE row = 2", wrong, zlib.crc32(wrong))


def other_mean(store: Store) -> None:
    """A unit vector that is not the mean of its looks."""
    wrong = np.eye(6, dtype="<f2")[5].tobytes()
    change(store, "UPDATE windows SET vector = ?, crc = ? WHERE row = 2", wrong, zlib.crc32(wrong))


def bit_of_the_vector_file(store: Store) -> None:
    data = bytearray((store.folder / VECTORS).read_bytes())
    data[-3] ^= 4
    (store.folder / VECTORS).write_bytes(data)


DAMAGE: dict[str, tuple[Callable[[Store], None], list[str]]] = {
    "vector": (lambda store: change(store, "UPDATE windows SET vector = zeroblob(12) WHERE row = 2"), ["windows", "looks"]),
    "no vector": (lambda store: change(store, "UPDATE windows SET vector = 'text' WHERE row = 2"), ["windows"]),
    "length": (longer, ["windows"]),
    "mean": (other_mean, ["looks"]),
    "times": (lambda store: change(store, "UPDATE windows SET start = start + 0.25 WHERE row = 2"), ["windows"]),
    "looks": (lambda store: change(store, "UPDATE looks SET vectors = zeroblob(LENGTH(vectors))"), ["looks"]),
    "caption": (lambda store: change(store, "UPDATE caption_vectors SET vector = zeroblob(12) WHERE caption LIKE '% red %'"), ["captions"]),
    "words": (lambda store: change(store, "UPDATE file_words_content SET c1 = 'a blue field'"), ["words"]),
    "columns": (lambda store: change(store, "UPDATE files SET caption = 'another field' WHERE caption NOT NULL"), ["words"]),
    "no words": (lambda store: change(store, "DELETE FROM file_words WHERE rowid = 1"), ["words"]),
    "vector file": (bit_of_the_vector_file, ["vectors"]),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_is_found_and_mended(kind: str, store: Store, update: Update, encoder: Encoder) -> None:
    harm, where = DAMAGE[kind]
    expected = store.ask("SELECT id, start, end, vector FROM windows ORDER BY id")
    words = store.ask("SELECT names, said FROM file_words ORDER BY names")
    assert damaged(store) == []
    harm(store)
    update_vectors(store)
    assert [name for name in damaged(store) if kind == "vector file" or name != "vectors"] == where
    store.close()
    with closing(Store.open(store.folder)) as again:
        upkeep.rebuild(again)
        assert damaged(again) == []
        update(again.folder)
        assert damaged(again) == [] and again.ask("SELECT id, start, end, vector FROM windows ORDER BY id") == expected
        assert again.ask("SELECT names, said FROM file_words ORDER BY names") == words


def update_vectors(store: Store) -> None:
    """As if the damage had come after the file of vectors was written."""
    with sqlite3.connect(store.folder / DATABASE) as db:
        db.execute("UPDATE meta SET value = (SELECT value FROM meta WHERE key = 'faiss_generation') WHERE key = 'generation'")
    db.close()


def test_rebuild_says_which_files_must_be_read_again(store: Store, videos: Path) -> None:
    change(store, "UPDATE windows SET vector = zeroblob(12) WHERE row = 2")
    done = upkeep.rebuild(store)
    assert (done.windows, done.dropped, done.files) == (5, 1, 3) and done.again == (str(videos / "blue.mp4"),)
    assert [Path(one.path).name for one in listing.files(store) if not one.current] == ["blue.mp4"]


def test_a_damaged_window_is_refused_by_searches(folder: Path, encoder: Encoder) -> None:
    for statement in ("UPDATE windows SET start = start + 0.25", "UPDATE looks SET vectors = zeroblob(LENGTH(vectors))"):
        shutil.copytree(folder, folder.with_name("copy"), dirs_exist_ok=True)
        with closing(sqlite3.connect(folder.with_name("copy") / DATABASE, isolation_level=None)) as db:
            db.execute(statement)
        with closing(Library.open(folder.with_name("copy"))) as library, pytest.raises(LibraryError, match="is damaged"):
            library.search("red", k=1, encoder=encoder)


def test_what_is_wrong_with_videos_is_told_and_is_no_damage(store: Store, videos: Path) -> None:
    (videos / "blue.mp4").unlink()
    with (videos / "red.mp4").open("ab") as file:
        file.write(b"more")
    checks = list(verify(store))
    assert "blue.mp4: is not there" in said(checks) and "red.mp4: has changed" in said(checks)
    assert not any(check.damaged for check in checks)


def test_deep_finds_other_bytes_under_the_same_size_and_time(store: Store, videos: Path) -> None:
    stat = (videos / "red.mp4").stat()
    data = bytearray((videos / "red.mp4").read_bytes())
    data[-1] ^= 1
    (videos / "red.mp4").write_bytes(data)
    os.utime(videos / "red.mp4", ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert damaged(store) == [] and damaged(store, deep=True) == ["files"]


def test_a_vector_file_that_is_behind_is_no_damage(store: Store, videos: Path) -> None:
    (store.folder / VECTORS).unlink()
    assert damaged(store) == [] and "is not there yet" in said(list(verify(store)))
    store.remove_files([str(videos / "red.mp4")])
    store.sweep()
    (store.folder / VECTORS).write_bytes(b"old")
    assert damaged(store) == [] and "is behind the database" in said(list(verify(store)))


def test_another_form_of_vectors_is_verified_and_made_again(store: Store) -> None:
    store.use_vectors("ivf")
    store.write_vectors()
    checks = {check.name: check for check in verify(store)}
    assert checks["vectors"].checked == 6 and checks["vectors"].findings == () and listing.summary(store).vectors_form == "ivf"
    bit_of_the_vector_file(store)
    assert damaged(store) == ["vectors"]
    store.close()
    with closing(Store.open(store.folder)) as again:
        upkeep.rebuild(again)
        assert damaged(again) == [] and listing.summary(again).recall == 1.0


def test_a_second_writer_is_refused(store: Store, videos: Path, tmp_path: Path) -> None:
    shutil.copytree(store.folder, tmp_path / "source")
    with closing(Store.open(store.folder)) as second, store.writing():
        for change_it in (
            lambda: upkeep.remove(second, [videos / "red.mp4"]),
            lambda: upkeep.unban(second, [videos / "red.mp4"]),
            lambda: upkeep.rebuild(second),
            lambda: merge(second, tmp_path / "source"),
        ):
            with pytest.raises(LibraryError, match=f"by another process .id {os.getpid()}"):
                change_it()
        assert upkeep.remove(second, [videos / "red.mp4"], dry_run=True).windows == 2 and damaged(second) == []


# Merging.


@pytest.fixture
def other(tmp_path: Path, videos: Path, make_video: MakeVideo, update: Update) -> Path:
    """A library of a copy of one of the films, of another film, and of a file that is none."""
    elsewhere = tmp_path / "elsewhere"
    make_video(elsewhere / "grey.mp4", colour=(90, 90, 90))
    shutil.copy(videos / "red.mp4", elsewhere / "crimson.mp4")
    (elsewhere / "grey.srt").write_text("1\n00:00:00,000 --> 00:00:01,500\nsaid in grey\n")
    (elsewhere / "crimson.txt").write_text("a crimson field")
    (elsewhere / "worse.mp4").write_bytes(b"no film either")
    update(tmp_path / "other", elsewhere)
    return tmp_path / "other"


def merge(store: Store, *others: Path, dry_run: bool = False) -> list[merging.Merged]:
    return merging.merge(store, [merging.source(one) for one in others], dry_run=dry_run)


def test_merging_takes_contents_once_with_words_and_failures(store: Store, other: Path, tmp_path: Path, encoder: Encoder) -> None:
    untouched = {path.name: path.read_bytes() for path in other.iterdir()}
    before = listing.summary(store)
    assert merge(store, other, dry_run=True) == [merging.Merged(str(other), 2, 2, 1, 0, 0, 0)] and listing.summary(store) == before
    assert merge(store, other) == [merging.Merged(str(other), 2, 2, 1, 0, 0, 0)]
    assert names(store) == ["crimson.mp4", "grey.mp4", "blue.mp4", "green.mp4", "red.mp4"]
    assert (store.count(), len(store.failures()), len(store.roots())) == (8, 2, 2) and damaged(store) == []
    grey = listing.windows(store, path=str(tmp_path / "elsewhere" / "grey.mp4"))
    assert [one.said for one in grey] == ["said in grey"] * 2  # until 1.5 s, and the second window starts at 1 s
    library = Library(store)
    assert Path(library.search("a crimson field", k=1, encoder=encoder)[0].clip.path).name == "crimson.mp4"
    assert store.ask("SELECT COUNT(*) FROM cue_words WHERE cue_words MATCH 'grey'") == [(1,)]
    assert merge(store, other) == [merging.Merged(str(other), 0, 0, 0, 2, 0, 0)] and store.count() == 8
    assert {path.name: path.read_bytes() for path in other.iterdir() if path.name in untouched} == untouched


def test_this_library_is_believed_about_paths_that_both_know(store: Store, videos: Path, tmp_path: Path, update: Update) -> None:
    shutil.copy(videos / "green.mp4", videos / "red.mp4")
    update(tmp_path / "later", videos)
    assert merge(store, tmp_path / "later") == [merging.Merged(str(tmp_path / "later"), 0, 0, 0, 3, 1, 0)]
    upkeep.remove(store, [videos], ban=True)
    merged = merge(store, tmp_path / "later")[0]
    assert (merged.files, merged.left_out, store.count(), store.failures()) == (0, 3, 0, {})


def test_a_failure_gives_way_to_a_file_that_was_read_elsewhere(store: Store, other: Path, tmp_path: Path) -> None:
    film = tmp_path / "elsewhere" / "grey.mp4"
    ((size, mtime),) = [(row.stamp.size, row.stamp.mtime_ns) for row in _rows(other) if row.path == str(film)]
    change(store, "INSERT INTO failures VALUES (?, ?, ?, 'could not')", os.fsencode(film), size, mtime)
    merge(store, other)
    assert str(film) not in store.failures() and "grey.mp4" in names(store)


def _rows(folder: Path) -> list[Any]:
    with closing(Store.open(folder)) as store:
        return store.files()


def test_what_does_not_fit_is_refused_and_nothing_changes(
    store: Store, other: Path, tmp_path: Path, other_encoder: Encoder, update: Update
) -> None:
    Library.create_or_open(tmp_path / "foreign", other_encoder).close()
    update(tmp_path / "short", tmp_path / "elsewhere", cut=WindowSettings(length=1.0, stride=0.5))
    shutil.copytree(other, tmp_path / "broken")
    with closing(sqlite3.connect(tmp_path / "broken" / DATABASE, isolation_level=None)) as db:
        db.execute("UPDATE windows SET vector = zeroblob(12)")
    before = listing.summary(store)
    for folder, error, words in (
        (tmp_path / "foreign", EncoderMismatch, "made by encoder other"),
        (tmp_path / "short", UsageError, "was cut otherwise: length=1 .* not length=2"),
        (tmp_path / "broken", LibraryError, "is damaged: 4 of its windows"),
        (store.folder, UsageError, "is the library itself"),
        (tmp_path / "none", LibraryError, "there is no library"),
    ):
        with pytest.raises(error, match=words):
            merge(store, folder)
    with pytest.raises(LibraryError, match="is damaged: 4 of its windows"):
        merge(store, other, tmp_path / "broken")
    assert listing.summary(store) == before  # nor was the one before it taken


def test_what_was_taken_before_a_failure_stays_and_is_found(store: Store, other: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = merging._take_files
    calls: list[int] = []

    def full(db: sqlite3.Connection) -> None:
        calls.append(1)
        if len(calls) == 2:
            raise sqlite3.OperationalError("database or disk is full")
        honest(db)

    monkeypatch.setattr(merging, "_take_files", full)
    with pytest.raises(LibraryError, match="is full"):
        merge(store, other, other)
    summary = listing.summary(store)
    assert (summary.files, summary.windows, summary.vectors_current, damaged(store)) == (5, 8, True, [])


# Listing.


def test_a_relative_pattern_finds_what_it_names(store: Store, videos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(videos.parent)
    for under, wanted in (("videos/re*.mp4", ["red.mp4"]), ("videos", ["blue.mp4", "green.mp4", "red.mp4"]), ("*/gre*", ["green.mp4"])):
        assert [Path(one.path).name for one in listing.files(store, [under])] == wanted
    assert [Path(one.path).name for one in listing.failures(store, ["./videos/b*.mp4"])] == ["bad.mp4"]
    assert listing.files(store, ["re*.mp4"]) == []


def test_a_window_whose_times_are_damaged_is_not_listed(store: Store, videos: Path) -> None:
    change(store, "UPDATE windows SET start = start + 0.25")
    with pytest.raises(LibraryError, match="the times of window"):
        listing.windows(store, path=str(videos / "red.mp4"))


# Exporting.


def test_exported_vectors_belong_to_the_lines_and_need_no_pickle(store: Store, videos: Path, tmp_path: Path, update: Update) -> None:
    shutil.copy(videos / "red.mp4", videos / "copy.mp4")
    update(store.folder)
    lines = list(exported(store))
    assert export_vectors(store, tmp_path / "all.npz") == len(lines) == 8
    with np.load(tmp_path / "all.npz", allow_pickle=False) as arrays:
        assert arrays["ids"].tolist() == [one.clip.id for one in lines] and str(arrays["encoder"]) == "colours"
        vectors = arrays["vectors"]
    assert vectors.shape == (8, 6) and vectors.dtype == np.float16
    for one, vector in zip(lines, vectors, strict=True):
        assert store.ask("SELECT vector FROM windows WHERE id = ?", (one.clip.id,)) == [(vector.tobytes(),)]
    assert export_vectors(store, tmp_path / "some.npz", [str(videos / "red.mp4")]) == 2
    with pytest.raises(LibraryError, match="cannot write"):
        export_vectors(store, tmp_path / "nowhere" / "all.npz")
    assert sorted(path.name for path in tmp_path.glob("*.npz*")) == ["all.npz", "some.npz"]


def test_a_file_comes_whole_under_its_name_and_two_that_write_it_do_not_meet(tmp_path: Path) -> None:
    target = tmp_path / "lines.jsonl"
    (tmp_path / "lines.jsonl.part").write_text("somebody's own")
    with replaced(target) as one, replaced(target) as two:
        assert one != two and not target.exists()
        one.write_text("one")
        two.write_text("two")
    assert target.read_text() == "one"
    with pytest.raises(ZeroDivisionError), replaced(target) as part:
        part.write_text("half")
        raise ZeroDivisionError
    assert target.read_text() == "one" and (tmp_path / "lines.jsonl.part").read_text() == "somebody's own"
    assert sorted(os.listdir(tmp_path)) == ["lines.jsonl", "lines.jsonl.part"]


def test_rows_of_a_lancedb_table_are_compared_with_the_database(store: Store) -> None:
    import lancedb

    store.use_vectors("lance")
    store.write_vectors()
    (check,) = [one for one in verify(store) if one.name == "vectors"]
    assert (check.checked, check.findings) == (6, ())
    place = next(store.folder.rglob("windows.lance")).parent
    lancedb.connect(str(place)).open_table("windows").delete("row = 2")
    (check,) = [one for one in verify(store) if one.name == "vectors"]
    assert check.damaged and "holds 5 vectors, the database 6: 1 are missing" in said([check])


# A full disk.


@contextmanager
def files_no_larger_than(size: int) -> Iterator[None]:
    """What a full disk does: a write fails (the system's signal for it is ignored by Python)."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("room", [0, 20_000, 60_000])
def test_a_full_disk_is_said_and_what_was_finished_is_kept(
    room: int, folder: Path, videos: Path, make_video: MakeVideo, encoder: Encoder, decoder: Decoder, tmp_path: Path, update: Update
) -> None:
    for place in range(8):
        make_video(videos / f"more{place}.mp4", colour=(200, 25 * place, 9), seconds=8)
    decoder.probe(str(videos / "red.mp4"))  # the worker was started before the disk became full
    with closing(Library.create_or_open(folder, encoder)) as library:
        with files_no_larger_than(room), pytest.raises(LibraryError, match="full|fails|cannot write"):
            library.update([videos], settings=SETTINGS, decoder=decoder)
        assert Path(library.search("green", k=1, encoder=encoder)[0].clip.path).name == "green.mp4"
    with closing(Store.open(folder)) as store:
        assert damaged(store) == [] and {"red.mp4", "green.mp4", "blue.mp4"} <= set(names(store))
    update(folder, videos)
    update(tmp_path / "undisturbed", videos)
    query = "SELECT sha256, id, start, end, vector, motion FROM windows ORDER BY id"
    with closing(Store.open(folder)) as store, closing(Store.open(tmp_path / "undisturbed")) as undisturbed:
        assert store.ask(query) == undisturbed.ask(query) and names(store) == names(undisturbed) and damaged(store) == []


def test_a_database_that_may_not_grow_is_said(
    folder: Path, videos: Path, make_video: MakeVideo, encoder: Encoder, decoder: Decoder
) -> None:
    make_video(videos / "more.mp4", seconds=30, colour=(1, 2, 3))
    with closing(Library.create_or_open(folder, encoder)) as library:
        library._store.ask("PRAGMA max_page_count = 1")  # SQLite takes the present number of pages
        with pytest.raises(LibraryError, match="is full"):
            library.update([videos], settings=WindowSettings(length=1, stride=0.1), decoder=decoder)
        assert library.search("green", k=1, encoder=encoder)


def test_a_folder_that_cannot_be_written_is_said(folder: Path, videos: Path, encoder: Encoder) -> None:
    (folder / "lock").unlink()
    (folder / "lock").mkdir()
    with closing(Library.create_or_open(folder, encoder)) as library:
        with pytest.raises(LibraryError, match="cannot be written"):
            library.update([videos], settings=SETTINGS)
        assert library.search("green", k=1, encoder=encoder)


def test_a_library_on_a_disk_that_cannot_be_written_is_searched_and_verified(
    folder: Path, videos: Path, encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK or Path(path) != folder)
    with closing(Library.create_or_open(folder, encoder)) as library:
        assert library.search("green", k=1, encoder=encoder) and damaged(library._store) == []
        with pytest.raises(LibraryError, match="cannot be written"):
            library.update([videos], settings=SETTINGS)
    with closing(Store.create(tmp_path / "all", encoder.card)) as store:
        assert merge(store, folder)[0].windows == 6
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before | {"lock": (folder / "lock").read_bytes()}


# A reader while another writes.


def test_a_reader_sees_whole_files_at_every_moment_of_a_write(
    folder: Path, videos: Path, make_video: MakeVideo, encoder: Encoder, decoder: Decoder
) -> None:
    for word, colour in (("red", (210, 20, 20)), ("new", (20, 200, 20))):
        make_video(videos / f"{word}.mp4", colour=colour, seconds=6)
    seen: list[set[str]] = []
    with closing(Library.open(folder)) as reader, closing(Library.create_or_open(folder, encoder)) as writer:

        def look(event: object) -> None:
            seen.append({Path(hit.clip.path).name for hit in reader.ranked("green", encoder=encoder)})
            assert damaged(reader._store) == []

        writer.update([videos], settings=SETTINGS, progress=look, decoder=decoder)
        last = {Path(hit.clip.path).name for hit in reader.ranked("green", encoder=encoder)}
    assert all({"green.mp4", "blue.mp4"} <= names for names in seen) and last == {"red.mp4", "green.mp4", "blue.mp4", "new.mp4"}


def test_what_is_read_together_is_of_one_state(folder: Path, videos: Path, encoder: Encoder) -> None:
    query = encoder.embed_texts(["green"])[0]
    with closing(Store.open(folder)) as reader, closing(Store.open(folder)) as writer:
        with reader.reading():
            rows = [row for row, _ in reader.nearest(query, 9)]
            before = reader.looks_of(rows)
            writer.remove_files([row.path for row in writer.files()])
            writer.sweep()
            there, vectors = reader.vectors_of(np.array(rows))
            assert sorted(there) == sorted(rows) and len(vectors) == 6
            for one, other in zip(before, reader.looks_of(rows), strict=True):
                np.testing.assert_array_equal(one, other)
        assert reader.nearest(query, 9) == [] and reader.looks_of(rows[:1])[0].shape == (0, 6)


def test_two_processes_that_make_one_library_for_two_encoders_do_not_mix(
    tmp_path: Path, encoder: Encoder, other_encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    Library.create_or_open(tmp_path / "library", encoder).close()
    monkeypatch.setattr(Store, "exists", classmethod(lambda cls, folder: False))  # the other one looked a moment earlier
    with pytest.raises(EncoderMismatch):
        Library.create_or_open(tmp_path / "library", other_encoder)
