"""Pictures that are searched for."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import pytest

from echoreel_index.errors import UsageError
from echoreel_index.pictures import still


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "bmp", "gif", "tiff"])
def test_the_usual_forms_are_read(tmp_path: Path, suffix: str) -> None:
    from PIL import Image

    Image.new("RGB", (24, 16), (200, 40, 40)).save(tmp_path / f"picture.{suffix}")
    picture = still(str(tmp_path / f"picture.{suffix}"))
    assert picture is not None and picture.shape == (16, 24, 3) and abs(int(picture[8, 8, 0]) - 200) < 8


def test_a_program_that_calls_itself_a_picture_is_not_run(tmp_path: Path) -> None:
    """PostScript would be handed to Ghostscript."""
    from PIL import Image

    Image.new("RGB", (24, 16)).save(tmp_path / "picture.eps")
    (tmp_path / "picture.eps").rename(tmp_path / "picture.png")
    with pytest.raises(UsageError, match="cannot identify image file"):
        still(str(tmp_path / "picture.png"))


def test_a_picture_that_claims_too_many_pixels_is_not_decoded(tmp_path: Path) -> None:
    """It has no pixels at all: only its header is read."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 8200, 8200, 8, 2, 0, 0, 0))
    (tmp_path / "huge.png").write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", b"") + chunk(b"IEND", b""))
    with pytest.raises(UsageError, match="more than 64 megapixels"):
        still(str(tmp_path / "huge.png"))
