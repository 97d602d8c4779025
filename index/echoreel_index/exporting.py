"""A library's windows for other programs: one after another, and their vectors as a file of NumPy arrays."""

from __future__ import annotations

import os
import uuid
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from echoreel_index.errors import LibraryError
from echoreel_index.listing import ListedWindow, files, windows
from echoreel_index.store import Store
from echoreel_index.stored_vectors import CHUNK


@contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """A new file beside `path`, to be written inside; then it takes its name in one step, or is gone if that failed.

    Raises OSError when the file cannot be made or moved.
    """
    part = path.with_name(f".{uuid.uuid4().hex}.part")  # two that write at once do not meet
    try:
        yield part
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def exported(store: Store, under: Sequence[str] = ()) -> Iterator[ListedWindow]:
    """Every window of the files below `under`, in the order of paths and times; a file at a time is in memory."""
    for file in files(store, under):
        yield from windows(store, path=file.path)


def export_vectors(store: Store, path: Path, under: Sequence[str] = ()) -> int:
    """Write the vectors of the windows that `exported` gives, in that order; how many there are.

    The file is an .npz without pickled objects: `ids` (n) text, `vectors` (n d) float16, `encoder` and `fingerprint`. It
    replaces what was there in one step. Raises LibraryError when it cannot be written or a vector is damaged.
    """
    rows, ids = [], []
    for one in exported(store, under):
        rows.append(one.row)
        ids.append(one.clip.id)
    try:
        with replaced(path) as part, zipfile.ZipFile(part, "w", zipfile.ZIP_STORED) as archive:
            _write_small(archive, "encoder", np.array(store.card.name))
            _write_small(archive, "fingerprint", np.array(store.card.fingerprint))
            _write_small(archive, "ids", np.array(ids, dtype="U16"))
            _write_vectors(archive, store, rows)
    except OSError as error:
        raise LibraryError(f"cannot write {path}: {error.strerror}", hint="choose another place, or make room") from error
    return len(rows)


def _write_small(archive: zipfile.ZipFile, name: str, values: np.ndarray[tuple[int, ...], np.dtype[np.str_]]) -> None:
    with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
        np.lib.format.write_array(file, values, allow_pickle=False)


def _write_vectors(archive: zipfile.ZipFile, store: Store, rows: Sequence[int]) -> None:
    """In chunks, so that memory does not grow with the library."""
    header = {"descr": "<f2", "fortran_order": False, "shape": (len(rows), store.card.width)}
    with archive.open("vectors.npy", "w", force_zip64=True) as file:
        np.lib.format.write_array_header_1_0(file, header)
        for first in range(0, len(rows), CHUNK):
            some = np.array(rows[first : first + CHUNK], dtype=np.int64)
            there, vectors = store.vectors_of(some)
            by_row = np.argsort(there)  # a window of two files with the same bytes is written twice
            file.write(vectors[by_row[np.searchsorted(there, some, sorter=by_row)]].astype("<f2").tobytes())
