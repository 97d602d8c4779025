"""A library of the first form becomes one of the present form when it is opened: at once, whole, and once."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.kill_points import FIRST_SCHEMA
from echoreel_index import database
from echoreel_index.clips import WindowSettings, clip_id
from echoreel_index.database import DATABASE, FIRST_FORMAT, FORMAT, connect, migrate
from echoreel_index.decoder import Decoder
from echoreel_index.files import content_hash, stamp
from echoreel_index.library import Library
from echoreel_index.store import Store
from echoreel_index.verification import verify

Encoder = Any  # the ColourEncoder of conftest
FIRST_KEY = "length=2 stride=1 frames=4 policy=exact"


@pytest.fixture
def folder(tmp_path: Path, videos: Path, encoder: Encoder) -> Path:
    """What version 0.1 left of three films: two windows each, float32 vectors; the first two rows were used once and are gone."""
    (tmp_path / "library").mkdir()
    (videos / "bad.mp4").write_bytes(b"no film")
    with closing(sqlite3.connect(tmp_path / "library" / DATABASE, isolation_level=None)) as db:
        db.execute("PRAGMA journal_mode = WAL")
        db.executescript(FIRST_SCHEMA)
        meta = {"format": FIRST_FORMAT, "card": json.dumps(asdict(encoder.card)), "generation": "7", "faiss_sha256": "0" * 64}
        db.executemany("INSERT INTO meta VALUES (?, ?)", {**meta, "settings": FIRST_KEY, "faiss_generation": "7"}.items())
        db.execute("INSERT INTO roots VALUES (?)", (os.fsencode(videos),))
        row = 2
        for name in ("red", "green", "blue"):
            path = videos / f"{name}.mp4"
            sha256, seen = content_hash(str(path)), stamp(str(path))
            db.execute("INSERT INTO contents VALUES (?, ?, 3.0, 6)", (sha256, FIRST_KEY))
            for start in (0.0, 1.0):
                row += 1
                vector = encoder.embed_texts([name])[0].astype("<f4").tobytes()
                window = (row, sha256, clip_id(sha256, start, start + 2), start, start + 2, vector)
                db.execute("INSERT INTO windows VALUES (?, ?, ?, ?, ?, ?)", window)
            values = (os.fsencode(path), seen.size, seen.mtime_ns, sha256, f"a {name} field", "https://example.org", "CC0")
            db.execute("INSERT INTO files VALUES (?, ?, ?, ?, ?, ?, ?)", values)
        bad = stamp(str(videos / "bad.mp4"))
        db.execute("INSERT INTO failures VALUES (?, ?, ?, 'no film')", (os.fsencode(videos / "bad.mp4"), bad.size, bad.mtime_ns))
    (tmp_path / "library" / "vectors.faiss").write_bytes(b"of the first form")
    return tmp_path / "library"


def form(folder: Path) -> str:
    with closing(sqlite3.connect(folder / DATABASE)) as db:
        return str(db.execute("SELECT value FROM meta WHERE key = 'format'").fetchone()[0])


def test_it_can_be_searched_at_once_with_all_that_it_knew(folder: Path, videos: Path, encoder: Encoder) -> None:
    with closing(Library.open(folder)) as library:
        assert form(folder) == FORMAT
        hit = library.search("green", k=1, encoder=encoder)[0]
        assert (hit.clip.path, hit.clip.caption, hit.clip.licence) == (str(videos / "green.mp4"), "a green field", "CC0")
        assert hit.score == pytest.approx(1.0, abs=1e-3) and hit.clip.motion is None
        assert library.count() == 6 and [Path(bad.path).name for bad in library.failures()] == ["bad.mp4"]
        assert library.settings == WindowSettings() and library.roots() == [str(videos)]
        assert library._store.ask("SELECT MIN(row), MAX(row) FROM windows") == [(3, 8)]
        assert library._store.ask("PRAGMA foreign_keys") == [(1,)]
        assert [check.name for check in verify(library._store) if check.damaged] == []


def test_the_next_update_reads_the_files_again(folder: Path, videos: Path, encoder: Encoder, decoder: Decoder, tmp_path: Path) -> None:
    with closing(Library.create_or_open(folder, encoder)) as library:
        report = library.update([], settings=WindowSettings(), decoder=decoder)
        assert (report.changed, report.known_bad, report.windows) == (3, 1, 6)
        assert [check.name for check in verify(library._store) if check.damaged] == []
        clips = [hit.clip for hit in library.search("green", k=3, encoder=encoder)]
        assert clips and all(clip.motion is not None and clip.width == 64 for clip in clips)
        (lowest,) = library._store.ask("SELECT MIN(row) FROM windows")
        assert lowest > (8,)  # no row number is used twice


PREPARE = "import os, signal, sys\nfrom pathlib import Path\nfrom echoreel_index import database\nfrom echoreel_index.store import Store\n"


def python(code: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command, pipe = [sys.executable, "-c", PREPARE + code], subprocess.PIPE
    return subprocess.Popen(command, env=environment, stdout=pipe, stdin=pipe, text=True)


def test_killed_in_the_middle_it_is_still_of_the_first_form(folder: Path) -> None:
    with closing(sqlite3.connect(folder / DATABASE)) as db:
        before = list(db.iterdump())
    dies = "seen = []\ndef half(blob):\n    seen.append(1)\n    if len(seen) == 4: os.kill(os.getpid(), signal.SIGKILL)\n    return blob\n"
    killed = python(f"{dies}database._half = half\nStore.open(Path({str(folder)!r}))")
    killed.communicate()
    assert killed.returncode == -signal.SIGKILL and form(folder) == FIRST_FORMAT
    with closing(sqlite3.connect(folder / DATABASE)) as db:
        assert list(db.iterdump()) == before
    with closing(Store.open(folder)) as store:
        assert store.count() == 6 and form(folder) == FORMAT


def test_two_processes_that_open_it_at_once_both_can_use_it(folder: Path) -> None:
    code = (
        f"sys.stdin.readline()\nstore = Store.open(Path({str(folder)!r}))\n"
        "print(store.count(), store.ask('PRAGMA foreign_keys')[0][0])\n"
    )
    both = [python(code) for _ in range(2)]
    for one in both:
        assert one.stdin is not None
        one.stdin.write("go\n")
        one.stdin.flush()
    assert [one.communicate()[0].split() for one in both] == [["6", "1"]] * 2 and form(folder) == FORMAT


def test_the_slower_of_two_finds_it_done(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(connect(folder / DATABASE)) as slow, closing(Store.open(folder)):
        seen, look = iter([FIRST_FORMAT]), database._format
        # It saw the first form, and by the time it may write somebody else is done.
        monkeypatch.setattr(database, "_format", lambda db: next(seen, None) or look(db))
        assert migrate(slow, folder) is False and slow.execute("PRAGMA foreign_keys").fetchone() == (1,)


def test_rounding_is_all_that_happens_to_vectors(folder: Path, encoder: Encoder) -> None:
    with closing(Store.open(folder)) as store:
        _, vectors = store.vectors_of(np.array([3, 5, 7]))
        np.testing.assert_allclose(vectors, encoder.embed_texts(["red", "green", "blue"]), atol=5e-4)
