"""Hits as files: right frames, right names, and nobody forgets whom the pictures belong to."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from echoreel_cli.generate.clippings import Clipping, clippings, refuse_clippings, write_clipping
from echoreel_cli.generate.hit_sheet import hit_label, hit_row, hit_sheet
from echoreel_cli.generate.references import resolve
from echoreel_cli.generate.write import video_bytes
from echoreel_index.captions import words
from echoreel_index.decode import Decoder, frames_at
from echoreel_index.errors import OutputExists, VideoError
from echoreel_index.files import content_hash
from echoreel_index.nouns import Clip, Hit, Reference

LICENCE = "Creative Commons Attribution"


@pytest.fixture(scope="module")
def decoder() -> Iterator[Decoder]:
    with Decoder() as one:
        yield one


@pytest.fixture
def film(tmp_path: Path) -> Path:
    """Three seconds at 8 frames a second, each frame of its own grey, with what a downloader writes beside it."""
    path = tmp_path / "films" / "a ramp.mp4"
    path.parent.mkdir()
    path.write_bytes(video_bytes(np.stack([np.full((48, 64, 3), 16 + 9 * n, np.uint8) for n in range(24)]), 8))
    said = {"title": "A ramp", "webpage_url": "https://example.org/ramp", "license": LICENCE, "uploader": "Ann", "upload_date": "20260102"}
    path.with_suffix(".info.json").write_text(json.dumps({**said, "tags": ["grey", "ramp"]}))
    return path


def hit(path: Path, start: float = 1.0, end: float = 1.5, rank: int = 1) -> Hit:
    clip = Clip("id1", str(path), start, end, sha256=content_hash(str(path)) if path.is_file() else None)
    return Hit(clip, 0.31234567, rank, fused=0.9, fit=0.75)


def test_a_clipping_has_its_frames_and_says_where_it_comes_from(film: Path, tmp_path: Path, decoder: Decoder) -> None:
    (one,) = clippings([hit(film)], "a grey ramp", tmp_path / "out")
    cut = write_clipping(one, decoder, library="/lib", encoder="mini", force=False)
    assert one.video == tmp_path / "out" / "01-a ramp-1.00-1.50.mp4" and (cut.frames, cut.troubles) == (4, ())
    line = decoder.timeline(str(one.video))
    assert [*line.times.tolist(), line.end] == pytest.approx([0, 0.125, 0.25, 0.375, 0.5])
    shown = frames_at(one.video, line.times.tolist(), decoder=decoder).mean(axis=(1, 2, 3))
    assert shown == pytest.approx([16 + 9 * n for n in (8, 9, 10, 11)], abs=2)
    record = json.loads(one.record.read_text())
    assert record["schema"] == "echoreel.clipping/1" and record["query"] == "a grey ramp" and record["score"] == 0.312346
    assert record["cut_from"] == {"path": str(film), "sha256": content_hash(str(film)), "start": 1.0, "end": 1.5, "id": "id1"}
    assert record["video"]["sha256"] == content_hash(str(one.video)) and record["sound"] is False


TIMES = [0.0, 0.1, 0.14, 0.4, 0.9, 1.0, 1.06, 1.7, 1.74, 2.4]


def staircase(path: Path, codec: str, *, gop: int, bframes: int) -> None:
    """Ten frames at `TIMES`; frame n has the grey value 20 + 22 n."""
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.options = {"g": str(gop), "bf": str(bframes), "threads": "1"}
        stream.codec_context.time_base = Fraction(1, 1000)
        for number, second in enumerate(TIMES):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 20 + 22 * number, np.uint8), format="rgb24")
            frame.pts, frame.time_base = round(second * 1000), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


@pytest.mark.parametrize(
    ("name", "codec", "gop", "bframes"),
    [
        ("a.mp4", "libx264", 30, 3),
        ("b.mkv", "libx264", 4, 2),
        ("c.ts", "libx264", 3, 0),
        ("d.mov", "mpeg4", 5, 0),
        ("e.webm", "libvpx-vp9", 5, 0),
    ],
)
@pytest.mark.parametrize(("start", "end", "numbers"), [(0.14, 1.06, [2, 3, 4, 5]), (0.6, 1.72, [3, 4, 5, 6, 7])])
def test_every_frame_at_its_time_whatever_the_container(
    name: str, codec: str, gop: int, bframes: int, start: float, end: float, numbers: list[int], tmp_path: Path, decoder: Decoder
) -> None:
    """Read back by PyAV alone: none of our own readers has a say."""
    import av

    staircase(tmp_path / name, codec, gop=gop, bframes=bframes)
    (one,) = clippings([hit(tmp_path / name, start, end)], "x", tmp_path / "out")
    write_clipping(one, decoder, library="/lib", encoder="mini", force=False)
    with av.open(str(one.video)) as container:
        seen = [(frame.time, float(frame.to_ndarray(format="rgb24").mean())) for frame in container.decode(video=0)]
        length = float(container.streams.video[0].duration * container.streams.video[0].time_base)
    assert [round((grey - 20) / 22) for _, grey in seen] == numbers
    assert [time for time, _ in seen] == pytest.approx([0.0, *(TIMES[number] - start for number in numbers[1:])], abs=2e-3)
    assert length == pytest.approx(end - start, abs=2e-3)


def test_index_and_gen_read_what_stands_beside_a_clipping(film: Path, tmp_path: Path, decoder: Decoder) -> None:
    (one,) = clippings([hit(film)], "x", tmp_path / "out")
    write_clipping(one, decoder, library="/lib", encoder="mini", force=False)
    said, film_said = words(str(one.video)), words(str(film))
    assert (said.source, said.licence, said.title, said.uploader) == ("https://example.org/ramp", LICENCE, "A ramp", "Ann")
    assert said.tags == ("grey", "ramp") and said.date == film_said.date
    resolved = resolve(Reference(str(one.video), 0.0, float("inf")), decoder).reference
    assert (resolved.source, resolved.licence, resolved.end) == ("https://example.org/ramp", LICENCE, 0.5)


def test_same_hit_same_bytes(film: Path, tmp_path: Path, decoder: Decoder) -> None:
    contents = []
    for folder in ("one", "two"):
        (one,) = clippings([hit(film)], "x", tmp_path / folder)
        write_clipping(one, decoder, library="/lib", encoder="mini", force=False)
        contents.append((one.video.read_bytes(), one.record.read_bytes()))
    assert contents[0] == contents[1]


def test_a_film_that_changed_is_told(film: Path, tmp_path: Path, decoder: Decoder) -> None:
    found = hit(film)
    stale = replace(found, clip=replace(found.clip, sha256="0" * 64))
    (one,) = clippings([stale], "x", tmp_path / "out")
    cut = write_clipping(one, decoder, library="/lib", encoder="mini", force=False)
    assert cut.troubles == ("the file has changed since it was indexed",)


def test_nothing_is_overwritten_and_nothing_is_half_written(film: Path, tmp_path: Path, decoder: Decoder) -> None:
    planned = clippings([hit(film), hit(film, 2.0, 2.5, 2)], "x", tmp_path / "out")
    refuse_clippings(planned, force=False)
    write_clipping(planned[1], decoder, library="/lib", encoder="mini", force=False)
    with pytest.raises(OutputExists, match="02-a ramp"):
        refuse_clippings(planned, force=False)
    refuse_clippings(planned, force=True)
    behind = Clipping(hit(film, 7.0, 8.0), "x", tmp_path / "out" / "03.mp4")
    with pytest.raises(VideoError, match="only 3.00 s long"):
        write_clipping(behind, decoder, library="/lib", encoder="mini", force=False)
    assert sorted(path.suffix for path in (tmp_path / "out").iterdir()) == [".json", ".mp4"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("蓝 色.mp4", "07-蓝 色-0.00-1.00.mp4"),
        ('a:b"c?.mp4', "07-a_b_c_-0.00-1.00.mp4"),
        ("\udcff.mp4", "07-video-0.00-1.00.mp4"),
        ("CON.mp4", "07-_CON-0.00-1.00.mp4"),
        ("cafe\u0301.mp4", "07-café-0.00-1.00.mp4"),
        ("exe\u202egpj.mp4", "07-exegpj-0.00-1.00.mp4"),
        ("x" * 119 + "q\u0323\u0308.mp4", f"07-{'x' * 119}-0.00-1.00.mp4"),
        ("...mp4", "07-video-0.00-1.00.mp4"),
        ("é" * 90 + ".mp4", f"07-{'é' * 60}-0.00-1.00.mp4"),
    ],
)
def test_names_that_every_file_system_takes(name: str, expected: str, tmp_path: Path) -> None:
    (one,) = clippings([hit(tmp_path / name, 0.0, 1.0)], "x", tmp_path, first=7)
    assert one.video.name == expected


def test_a_name_that_is_no_text_is_written_as_json(film: Path, tmp_path: Path, decoder: Decoder) -> None:
    strange = film.with_name("\udcff.mp4")
    film.rename(strange)
    (one,) = clippings([hit(strange)], "x", tmp_path / "out")
    write_clipping(one, decoder, library="/lib", encoder="mini", force=False)
    assert json.loads(one.record.read_bytes())["cut_from"]["path"] == str(strange)


def test_a_row_of_the_sheet_shows_the_window_at_its_moments(film: Path, decoder: Decoder) -> None:
    row = hit_row(hit(film, 0.0, 3.0), decoder)
    assert row.moments == (0.25, 0.75, 1.25, 1.75, 2.25, 2.75)
    assert row.frames.mean(axis=(1, 2, 3)) == pytest.approx([16 + 9 * n for n in (2, 6, 10, 14, 18, 22)], abs=2)
    assert row.label == "1, a ramp.mp4, 0.00-3.00 s, score 0.312, fit 0.75"
    long = hit_label(hit(film.with_name("a" * 100 + "b.mp4")))
    assert long == f"1, {'a' * 24}\u2026{'a' * 18}b.mp4, 1.00-1.50 s, score 0.312, fit 0.75"
    bad = replace(hit(film), fit=None, problems=("too dark",))
    assert hit_label(bad, query="a  grey\nramp") == "\u201ca grey ramp\u201d, 1, a ramp.mp4, 1.00-1.50 s, score 0.312 (too dark)"


def test_the_sheet_is_a_picture_with_a_time_on_each_frame(film: Path, decoder: Decoder) -> None:
    import io

    from PIL import Image

    rows = [hit_row(hit(film, 0.0, 3.0), decoder), hit_row(hit(film, 1.0, 1.5, 2), decoder)]
    sheet = np.asarray(Image.open(io.BytesIO(hit_sheet(rows, "a grey ramp"))))
    width = round(128 * 64 / 48)
    assert sheet.shape[1] == 6 * (width + 6) - 6 + 12 and sheet.shape[0] > 2 * 128
    first = sheet[6 + 26 + 20 : 6 + 26 + 20 + 128, 6 : 6 + width]  # below the title's line and the label's
    assert first[:100].std() < 2, "one grey"
    assert first[-10:, :28].max() > 200 and first[-10:, :28].min() < 60, "light figures on a dark patch"
