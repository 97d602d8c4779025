"""What is committed survives: kills, a lost or damaged FAISS file, two writers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from echoreel_index.clips import WindowSettings
from echoreel_index.database import DATABASE
from echoreel_index.errors import LibraryError
from echoreel_index.library import Library
from echoreel_index.search import Ranking
from echoreel_index.store import VECTORS, Store

HERE = Path(__file__).parent
PLAIN = Ranking.plain()
Encoder = Any


def run_indexing(folder: Path, videos: Path, before: str = "", on_event: str = "pass") -> subprocess.Popen[bytes]:
    """An update in a process of its own; `before` and `on_event` are Python that may kill it."""
    code = (
        "import os, signal, sys\nfrom pathlib import Path\nfrom conftest import ColourEncoder\n"
        "from echoreel_index.clips import WindowSettings\nfrom echoreel_index.library import Library\n"
        "import echoreel_index.vectors\n"
        "def die(): os.kill(os.getpid(), signal.SIGKILL)\n"
        f"{before}\n"
        f"def watch(event):\n    {on_event}\n"
        f"library = Library.create_or_open(Path({str(folder)!r}), ColourEncoder())\n"
        f"library.update([Path({str(videos)!r})], settings=WindowSettings(), progress=watch)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), *sys.path])}
    return subprocess.Popen([sys.executable, "-c", code], env=environment)


def contents(folder: Path) -> tuple[list[Any], list[Any]]:
    """All rows but their numbers, and all vectors as FAISS and as SQLite hold them."""
    store = Store.open(folder)
    try:
        files = [(row.path, row.sha256, row.settings, row.windows, row.duration) for row in store.files()]
        rows = store.ask("SELECT sha256, id, start, end, vector, row FROM windows ORDER BY sha256, start")
        for *_, blob, row in rows:
            vector = np.frombuffer(blob, "<f2")
            near = dict(store.nearest(vector.astype(np.float32), 1000))
            assert near[row] == pytest.approx(1.0, abs=1e-3) and len(near) == len(rows)
        return files, [row[:5] for row in rows]
    finally:
        store.close()


@pytest.fixture
def undisturbed(tmp_path: Path, videos: Path, encoder: Encoder) -> Iterator[tuple[list[Any], list[Any]]]:
    """What the library looks like when nothing goes wrong."""
    library = Library.create_or_open(tmp_path / "undisturbed", encoder)
    library.update([videos], settings=WindowSettings())
    library.close()
    yield contents(tmp_path / "undisturbed")


KILLS = {
    "first file begun": ("", "die()"),
    "first file done": ("", "event.files_done == 1 and die()"),
    "all files done": ("", "event.files_done == 3 and die()"),
    "inside a file's transaction": (
        "from echoreel_index import store\n"
        "def put(self, *args):\n    with self._changing() as db:\n        db.execute('DELETE FROM windows'); die()\n"
        "store.Store.put_file = put",
        "pass",
    ),
    "vectors written, not yet noted": (
        "real = echoreel_index.vectors.VectorFile.write\nechoreel_index.vectors.VectorFile.write = lambda self: (real(self), die())",
        "pass",
    ),
    "half of the vectors written": (
        "def half(self):\n    self.path.with_suffix('.new').write_bytes(b'half'); die()\nechoreel_index.vectors.VectorFile.write = half",
        "pass",
    ),
}


@pytest.mark.parametrize("moment", KILLS)
def test_killed_at_any_moment_then_run_again_is_as_without_the_kill(
    moment: str, tmp_path: Path, videos: Path, undisturbed: tuple[list[Any], list[Any]]
) -> None:
    before, on_event = KILLS[moment]
    folder = tmp_path / "library"
    assert run_indexing(folder, videos, before, on_event).wait(60) == -signal.SIGKILL
    assert run_indexing(folder, videos).wait(60) == 0
    assert contents(folder) == undisturbed


def test_killed_from_outside_while_it_works(tmp_path: Path, videos: Path, undisturbed: tuple[list[Any], list[Any]]) -> None:
    folder = tmp_path / "library"
    running = run_indexing(folder, videos)
    until = time.monotonic() + 60
    while not (folder / DATABASE).exists() and time.monotonic() < until:
        time.sleep(0.02)
    time.sleep(0.15)
    running.kill()
    running.wait()
    assert run_indexing(folder, videos).wait(60) == 0
    assert contents(folder) == undisturbed


def damage_nothing_left(path: Path) -> None:
    path.unlink()


def damage_one_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def damage_cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:40])


@pytest.mark.parametrize("damage", [damage_nothing_left, damage_one_bit, damage_cut_short])
def test_a_lost_or_damaged_vector_file_is_made_again(
    damage: Callable[[Path], None], library: Library, videos: Path, encoder: Encoder
) -> None:
    library.update([videos], settings=WindowSettings())
    expected = library.search("green", k=3, encoder=encoder, ranking=PLAIN)
    good = (library.folder / VECTORS).read_bytes()
    damage(library.folder / VECTORS)
    again = Library.create_or_open(library.folder, encoder)
    assert again.search("green", k=3, encoder=encoder, ranking=PLAIN) == expected
    again.update([], settings=WindowSettings())
    again.close()
    assert (library.folder / VECTORS).read_bytes() == good


def test_a_vector_file_that_is_behind_is_caught_up(library: Library, videos: Path, encoder: Encoder) -> None:
    library.update([videos], settings=WindowSettings())
    old = (library.folder / VECTORS).read_bytes()
    reader = Library.open(library.folder)
    assert len(reader.search("red", k=9, encoder=encoder, ranking=PLAIN)) == 3
    (videos / "red.mp4").unlink()
    library.update([videos], settings=WindowSettings())
    assert (library.folder / VECTORS).read_bytes() != old
    assert len(reader.search("red", k=9, encoder=encoder, ranking=PLAIN)) == 2  # a reader that was open all the time
    reader.close()


def test_a_second_writer_is_refused_and_a_dead_one_is_forgotten(library: Library, videos: Path, encoder: Encoder) -> None:
    other = Library.create_or_open(library.folder, encoder)
    with library._store.writing():
        with pytest.raises(LibraryError, match=f"by another process .id {os.getpid()}"):
            other.update([videos], settings=WindowSettings())
        assert other.search("red", k=1, encoder=encoder, ranking=PLAIN) == []  # reading is always allowed
    assert other.update([videos], settings=WindowSettings()).new == 3
    other.close()
    (videos / "red.mp4").write_bytes(b"no video any more")
    assert run_indexing(library.folder, videos, on_event="die()").wait(60) == -signal.SIGKILL
    assert len(library.update([videos], settings=WindowSettings()).bad) == 1


def test_no_library_and_a_damaged_one_say_so(tmp_path: Path, encoder: Encoder) -> None:
    with pytest.raises(LibraryError, match="there is no library"):
        Library.open(tmp_path / "none")
    with pytest.raises(LibraryError, match="there is no library"):
        Library.create_or_open(tmp_path / "none", None)
    assert not (tmp_path / "none").exists()
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / DATABASE).write_bytes(b"SQLite format 3\0" + b"\xff" * 5000)
    with pytest.raises(LibraryError, match="cannot be read"):
        Library.create_or_open(tmp_path / "bad", encoder)
    (tmp_path / "file").write_text("x")
    with pytest.raises(LibraryError, match="cannot make a library"):
        Library.create_or_open(tmp_path / "file", encoder)


def test_a_library_that_was_killed_while_it_was_made_is_made_again(tmp_path: Path, encoder: Encoder) -> None:
    (tmp_path / "library").mkdir()
    (tmp_path / "library" / DATABASE).touch()
    library = Library.create_or_open(tmp_path / "library", encoder)
    assert (library.card, library.count()) == (encoder.card, 0)
    library.close()
