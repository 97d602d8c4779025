"""What becomes of odd and damaged files: made here from a seed, looked through one after the other by one decoder.

    python benchmarks/odd_files.py                              a table
    python benchmarks/odd_files.py --json                       one JSON object a line
    python benchmarks/odd_files.py --also ~/odd --keep made     every file of a folder too; leave what was made in `made`

A line says what the file is, what was said of it (`ok` and what was found, or the reason why not) and the seconds that took.
After each file that was refused, a sound one is looked through again: `rest` says whether it gave what it gave at first.
The exit status is 1 if it ever did not.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import struct
import tempfile
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from echoreel_index.decoder import Decoder
from echoreel_index.errors import VideoError
from echoreel_index.readers import Sample, Scan, ScanSettings

SEED = 20
Maker = Callable[[Path], None]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was said of one file."""

    file: str
    what: str
    ok: bool
    said: str
    seconds: float
    rest: bool
    """Whether a sound file gave the same as ever afterwards."""


def picture(place: int, count: int, height: int, width: int) -> NDArray[np.uint8]:
    """A square on its way across a ground that is red in the first half of the film and blue in the second."""
    drawn = np.full((height, width, 3), (190, 50, 40) if place < count / 2 else (30, 60, 190), np.uint8)
    side = max(1, min(height, width) // 3)
    left, top = (width - side) * place // max(1, count - 1), (height - side) // 2
    drawn[top : top + side, left : left + side] = 230
    return drawn


def film(
    codec: str,
    *,
    pixels: str = "yuv420p",
    size: tuple[int, int] = (96, 128),
    frames: int = 48,
    rate: int = 24,
    form: str | None = None,
    options: dict[str, str] | None = None,
    times: list[int] | None = None,
    aspect: Fraction | None = None,
    sound: bool = False,
    muxing: dict[str, str] | None = None,
) -> Maker:
    """A maker of films; `times` are milliseconds, one for each frame, in place of an even rate; `size` is (h w)."""

    def make(path: Path) -> None:
        import av

        height, width = size
        with av.open(str(path), "w", format=form, options=muxing or {}) as container:
            stream: Any = container.add_stream(codec, rate=rate)
            stream.width, stream.height, stream.pix_fmt = width, height, pixels
            stream.options = options or {}
            if aspect is not None:
                stream.codec_context.sample_aspect_ratio = aspect
            if times is not None:
                stream.codec_context.time_base = Fraction(1, 1000)
            if sound:
                add_sound(container)
            for place in range(frames):
                frame = av.VideoFrame.from_ndarray(picture(place, frames, height, width), format="rgb24")
                frame = frame.reformat(format=pixels)
                if times is not None:
                    frame.pts, frame.time_base = times[place], Fraction(1, 1000)
                container.mux(stream.encode(frame))
            container.mux(stream.encode())

    return make


def add_sound(container: Any, seconds: float = 1.0) -> None:
    """A stream of silence."""
    import av

    stream = container.add_stream("aac", rate=16000)
    for _ in range(int(seconds * 16000 / 1024)):
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        silence.sample_rate = 16000
        container.mux(stream.encode(silence))
    container.mux(stream.encode())


def sound_only(path: Path) -> None:
    """A film without pictures."""
    import av

    with av.open(str(path), "w") as container:
        add_sound(container)


def still(form: str) -> Maker:
    """A picture under the name of a film."""

    def make(path: Path) -> None:
        from PIL import Image

        Image.fromarray(picture(0, 2, 60, 80)).save(path, format=form)

    return make


def animated_webp(*, alpha: bool = False, delays: tuple[int, ...] = (100,)) -> Maker:
    """By Pillow, losslessly."""

    def make(path: Path) -> None:
        from PIL import Image

        images = [Image.fromarray(picture(i, 20, 60, 80)).convert("RGBA" if alpha else "RGB") for i in range(20)]
        times = [delays[i % len(delays)] for i in range(20)]
        images[0].save(path, format="WEBP", save_all=True, append_images=images[1:], duration=times, lossless=True)

    return make


def turned(quarters: int) -> Maker:
    """A film whose track header says that players are to turn it, as telephones write it."""
    matrices = {1: (0, 1, -1, 0), 2: (-1, 0, 0, -1), 3: (0, -1, 1, 0)}

    def make(path: Path) -> None:
        film("libx264")(path)
        data = bytearray(path.read_bytes())
        place = data.index(b"tkhd") + 4 + 40
        a, b, c, d = (value << 16 for value in matrices[quarters])
        for number, value in zip((0, 1, 3, 4), (a, b, c, d), strict=True):
            data[place + 4 * number : place + 4 * number + 4] = value.to_bytes(4, "big", signed=True)
        path.write_bytes(data)

    return make


def cut(maker: Maker, share: float) -> Maker:
    """What `maker` makes, broken off after that share of its bytes."""

    def make(path: Path) -> None:
        maker(path)
        data = path.read_bytes()
        path.write_bytes(data[: int(len(data) * share)])

    return make


def flipped(maker: Maker, count: int, *, start: float = 0.1) -> Maker:
    """What `maker` makes, with `count` bytes changed by chance behind the first part."""

    def make(path: Path) -> None:
        maker(path)
        random = np.random.default_rng(SEED)
        data = np.frombuffer(path.read_bytes(), np.uint8).copy()
        places = random.integers(int(len(data) * start), len(data), count)
        data[places] ^= random.integers(1, 256, count, dtype=np.uint8)
        path.write_bytes(data.tobytes())

    return make


def hollow(maker: Maker, first: float, last: float) -> Maker:
    """What `maker` makes, with nothing but zeros between two shares of its length, as an unfinished download has."""

    def make(path: Path) -> None:
        maker(path)
        data = bytearray(path.read_bytes())
        begin, end = int(len(data) * first), int(len(data) * last)
        data[begin:end] = bytes(end - begin)
        path.write_bytes(data)

    return make


def joined(*makers: Maker) -> Maker:
    """Several files, one after the other in one."""

    def make(path: Path) -> None:
        parts = []
        for maker in makers:
            maker(path)
            parts.append(path.read_bytes())
        path.write_bytes(b"".join(parts))

    return make


def lying_length(path: Path) -> None:
    """A Matroska film of two seconds that claims to last for 99 hours."""
    MKV(path)
    data = bytearray(path.read_bytes())
    place = data.index(b"\x44\x89\x88") + 3  # Duration, eight bytes: milliseconds
    data[place : place + 8] = struct.pack(">d", 99 * 3600e3)
    path.write_bytes(data.replace(b"00:00:02.", b"99:00:02."))


def lying_size(path: Path) -> None:
    """An MP4 whose sample description claims 60,000 by 60,000 pixels."""
    film("mpeg4")(path)
    data = bytearray(path.read_bytes())
    place = data.index(b"mp4v") + 4 + 24
    data[place : place + 4] = struct.pack(">HH", 60000, 60000)
    path.write_bytes(data)


def gif_bomb(path: Path) -> None:
    """A hundred bytes of GIF that claim two frames of 65,535 by 65,535 pixels."""
    screen = struct.pack("<HHBBB", 65535, 65535, 0x80, 0, 0) + bytes(6)
    frame = b"\x21\xf9\x04\x00\x0a\x00\x00\x00\x2c" + struct.pack("<HHHHB", 0, 0, 65535, 65535, 0) + b"\x02\x02\x44\x01\x00"
    path.write_bytes(b"GIF89a" + screen + frame * 2 + b"\x3b")


def gif_of(count: int, side: int) -> Maker:
    """A GIF of very many frames that change next to nothing."""

    def make(path: Path) -> None:
        screen = struct.pack("<HHBBB", side, side, 0x80, 0, 0) + bytes([0, 0, 0, 255, 255, 255])
        frame = b"\x21\xf9\x04\x04\x0a\x00\x00\x00\x2c" + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\x02\x02\x44\x01\x00"
        path.write_bytes(b"GIF89a" + screen + frame * count + b"\x3b")

    return make


def large(side: int, frames: int = 2) -> Maker:
    """A film of one colour, `side` by `side` pixels, a few hundred kilobytes a frame."""

    def make(path: Path) -> None:
        import av
        from PIL import Image

        drawn = io.BytesIO()
        Image.new("RGB", (side, side), (190, 50, 40)).save(drawn, format="PNG", compress_level=1)
        with av.open(str(path), "w", format="mov") as container:
            stream: Any = container.add_stream("png", rate=24)
            stream.width, stream.height, stream.pix_fmt = side, side, "rgb24"
            for place in range(frames):
                packet = av.Packet(drawn.getvalue())
                packet.stream, packet.time_base = stream, Fraction(1, 24)
                packet.pts = packet.dts = place
                packet.is_keyframe = True
                container.mux(packet)

    return make


def written(content: bytes) -> Maker:
    """These bytes."""

    def make(path: Path) -> None:
        path.write_bytes(content)

    return make


def noise(path: Path) -> None:
    """50,000 bytes by chance."""
    path.write_bytes(np.random.default_rng(SEED).bytes(50_000))


def named_pipe(path: Path) -> None:
    """Opening one waits for a writer that never comes."""
    os.mkfifo(path)


def link_to_itself(path: Path) -> None:
    """Leads nowhere."""
    path.symlink_to(path.name)


SHORT = {"g": "12"}
H264, FAST = film("libx264", options=SHORT), film("libx264", options=SHORT, muxing={"movflags": "faststart"})
TS, MKV = film("libx264", form="mpegts", options=SHORT), film("libx264", form="matroska", options=SHORT)
MADE: tuple[tuple[str, str, Maker], ...] = (
    ("h264.mp4", "H.264", H264),
    ("h264-sound.mp4", "H.264 with sound", film("libx264", sound=True)),
    ("hevc.mp4", "HEVC", film("libx265", options={"x265-params": "log-level=none"})),
    ("hevc-10.mkv", "HEVC, 10 bits", film("libx265", pixels="yuv420p10le", options={"x265-params": "log-level=none"})),
    ("av1.mkv", "AV1", film("libsvtav1", options={"preset": "12"})),
    ("av1-10.mp4", "AV1, 10 bits", film("libsvtav1", pixels="yuv420p10le", options={"preset": "12"})),
    ("vp9.webm", "VP9", film("libvpx-vp9", options={"cpu-used": "8", "deadline": "realtime"})),
    ("vp8.webm", "VP8", film("libvpx", options={"cpu-used": "8", "deadline": "realtime"})),
    ("mpeg4.avi", "MPEG-4 in AVI", film("mpeg4")),
    ("mpeg4-b.avi", "MPEG-4 with B-frames in AVI", film("mpeg4", options={"bf": "2"})),
    ("msmpeg4.avi", "MS MPEG-4 in AVI", film("msmpeg4")),
    ("h264.avi", "H.264 in AVI", film("libx264", options={"bf": "2"})),
    ("sorenson.flv", "Sorenson Spark in FLV", film("flv")),
    ("h264.flv", "H.264 in FLV", film("libx264", form="flv")),
    ("wmv2.wmv", "WMV 8", film("wmv2", form="asf")),
    ("wmv1.asf", "WMV 7", film("wmv1", form="asf")),
    ("h264-10.mp4", "H.264, 10 bits", film("libx264", pixels="yuv420p10le")),
    ("prores.mov", "ProRes, 4:2:2 10 bits", film("prores_ks", pixels="yuv422p10le")),
    ("mjpeg.avi", "Motion JPEG in AVI", film("mjpeg", pixels="yuvj420p")),
    ("mjpeg.mjpeg", "Motion JPEG without container", film("mjpeg", pixels="yuvj420p", form="mjpeg")),
    ("ffv1.mkv", "FFV1, 4:4:4", film("ffv1", pixels="yuv444p")),
    ("mpeg1.mpg", "MPEG-1 program stream", film("mpeg1video", form="mpeg")),
    ("mpeg1.m1v", "MPEG-1 without container", film("mpeg1video", form="mpeg1video")),
    ("mpeg2.ts", "MPEG-2 transport stream", film("mpeg2video", form="mpegts")),
    ("mpeg2.vob", "MPEG-2 in VOB, interlaced", film("mpeg2video", form="vob", options={"flags": "+ildct+ilme"})),
    ("interlaced.mp4", "H.264, interlaced", film("libx264", options={"flags": "+ildct+ilme", "x264-params": "tff=1"})),
    ("h264.264", "H.264 without container", film("libx264", form="h264")),
    ("rv20.rm", "RealVideo", film("rv20", form="rm")),
    ("h263.3gp", "H.263 in 3GP", film("h263")),
    ("dv.dv", "DV", film("dvvideo", size=(576, 720), rate=25, frames=10, pixels="yuv420p")),
    ("raw.y4m", "uncompressed YUV4MPEG", film("wrapped_avframe", form="yuv4mpegpipe", frames=12)),
    ("odd-size.mp4", "63 by 47 pixels", film("libx264", size=(47, 63), pixels="yuv444p")),
    ("tiny.mp4", "2 by 2 pixels", film("libx264", size=(2, 2))),
    ("ribbon.mp4", "2000 by 16 pixels", film("libx264", size=(16, 2000))),
    ("tower.mkv", "1 by 300 pixels", film("libx264", size=(300, 1), pixels="yuv444p")),
    ("anamorphic.mp4", "pixels twice as wide as high", film("libx264", aspect=Fraction(2, 1))),
    ("turned-90.mov", "a quarter turn", turned(1)),
    ("turned-180.mov", "half a turn", turned(2)),
    ("turned-270.mov", "three quarters of a turn", turned(3)),
    ("vfr.mp4", "variable frame rate", film("libx264", frames=8, times=[0, 40, 80, 900, 940, 2000, 3500, 3540])),
    ("gap.mkv", "five hours between two frames", film("libx264", frames=4, times=[0, 40, 80, 18_000_000])),
    ("one-frame.mp4", "one frame", film("libx264", frames=1)),
    ("two-frames.webm", "two frames", film("libvpx-vp9", frames=2)),
    ("fast.mkv", "500 frames a second", film("libx264", rate=500, frames=100)),
    ("slow.mp4", "a frame in ten seconds", film("libx264", frames=4, times=[0, 10_000, 20_000, 30_000])),
    ("animated.gif", "animated GIF", film("gif", pixels="rgb8", rate=10, frames=20)),
    ("animated.apng", "animated PNG", film("apng", pixels="rgb24", rate=10, frames=20)),
    ("animated.webp", "animated WebP", animated_webp()),
    ("see-through.webp", "animated WebP, transparent, uneven", animated_webp(alpha=True, delays=(50, 400))),
    ("still.webp", "a still WebP", still("WEBP")),
    ("still.gif", "a GIF of one frame", still("GIF")),
    ("png.mp4", "a PNG called .mp4", still("PNG")),
    ("jpeg.avi", "a JPEG called .avi", still("JPEG")),
    ("wrong.avi", "Matroska called .avi", MKV),
    ("fragments.mp4", "fragmented MP4", film("libx264", options=SHORT, muxing={"movflags": "frag_keyframe+empty_moov"})),
    ("clock.ts", "two recordings joined: the clock starts anew", joined(TS, TS)),
    ("sizes.ts", "the picture's size changes half-way", joined(TS, film("libx264", form="mpegts", size=(64, 64)))),
    ("empty.mp4", "no bytes", written(b"")),
    ("text.mp4", "text", written(b"this is no video\n" * 50)),
    ("page.mp4", "a web page in place of a film", written(b"<!doctype html><html><body>404</body></html>")),
    ("playlist.mp4", "a playlist that names another file", written(b"#EXTM3U\n#EXTINF:2,\nh264.ts\n#EXT-X-ENDLIST\n")),
    ("concat.mp4", "a list of files to join", written(b"ffconcat version 1.0\nfile h264.mp4\n")),
    ("noise.mkv", "bytes by chance", noise),
    ("sound.m4v", "sound only", sound_only),
    ("cut.mp4", "MP4 cut in the middle, index lost", cut(H264, 0.5)),
    ("cut-index.mp4", "MP4 cut at 70 %, index in front", cut(FAST, 0.7)),
    ("cut-header.mp4", "MP4 cut after 40 bytes", cut(H264, 0.01)),
    ("cut.mkv", "Matroska cut at 60 %", cut(MKV, 0.6)),
    ("cut.ts", "transport stream cut at 60 %", cut(TS, 0.6)),
    ("cut.avi", "AVI cut at 60 %", cut(film("mpeg4"), 0.6)),
    ("cut.webp", "animated WebP cut at 60 %", cut(animated_webp(), 0.6)),
    ("cut.gif", "GIF cut at 60 %", cut(film("gif", pixels="rgb8", rate=10, frames=20), 0.6)),
    ("flipped.mp4", "MP4, 30 bytes changed", flipped(H264, 30)),
    ("flipped.mkv", "Matroska, 30 bytes changed", flipped(MKV, 30)),
    ("flipped.ts", "transport stream, 100 bytes changed", flipped(TS, 100)),
    ("flipped.avi", "AVI, 100 bytes changed", flipped(film("mpeg4"), 100)),
    ("flipped.webm", "VP9, 30 bytes changed", flipped(film("libvpx-vp9", options={"cpu-used": "8", "deadline": "realtime"}), 30)),
    ("flipped.webp", "animated WebP, 10 bytes changed", flipped(animated_webp(), 10)),
    ("flipped-head.mp4", "MP4, 200 bytes changed anywhere", flipped(H264, 200, start=0)),
    ("hollow.mp4", "MP4, zeros from 40 to 70 %", hollow(FAST, 0.4, 0.7)),
    ("hollow.mkv", "Matroska, zeros from 75 to 85 %", hollow(MKV, 0.75, 0.85)),
    ("hours.mkv", "claims to last for 99 hours", lying_length),
    ("huge.mp4", "claims 60,000 by 60,000 pixels", lying_size),
    ("huge.y4m", "claims 60,000 by 60,000 pixels, raw", written(b"YUV4MPEG2 W60000 H60000 F24:1 Ip A1:1 C420jpeg\nFRAME\n" + bytes(9999))),
    ("bomb.gif", "100 bytes that claim 65,535 by 65,535 pixels", gif_bomb),
    ("many.gif", "20,000 frames in half a megabyte", gif_of(20_000, 200)),
    ("large.mov", "7000 by 7000 pixels", large(7000)),
    ("pipe.mp4", "a pipe that nobody writes into", named_pipe),
    ("loop.mp4", "a link to itself", link_to_itself),
    ("folder.mp4", "a folder", lambda path: path.mkdir()),
    ("跳舞 танец नृत्य رقص 💃.mp4", "a name in several scripts", H264),
    ('it\'s "quoted" & $(odd) %03d;\n.mp4', "a name of quotes, signs and a new line", H264),
    (os.fsdecode(b"latin-\xe9t\xe9.mp4"), "a name that is no UTF-8", H264),
    ("-rf.mp4", "a name like an option", H264),
)


def make_all(folder: Path, *, leave_out: Collection[str] = ()) -> Iterator[tuple[Path, str]]:
    """Every odd file, less those of these names, with what it is."""
    import av

    av.logging.set_level(av.logging.PANIC)
    os.environ.setdefault("SVT_LOG", "1")  # the AV1 encoder would tell its whole configuration
    folder.mkdir(parents=True, exist_ok=True)
    for name, what, maker in MADE:
        if name in leave_out:
            continue
        path = folder / name
        if os.path.lexists(path):
            path.rmdir() if path.is_dir() else path.unlink()
        maker(path)
        yield path, what


def look(path: Path, decoder: Decoder, settings: ScanSettings) -> tuple[str, int, Scan]:
    """(words, samples, scan). Raises VideoError."""
    samples = 0
    for found in decoder.scan(str(path), settings):
        if isinstance(found, Sample):
            samples += 1
        else:
            words = f"{found.end:.2f} s, {samples} looks, {found.width}x{found.height} {found.codec}, {len(found.shots)} shots"
            return words + (", broken off" if found.cut_short else ""), samples, found
    raise AssertionError("a scan ends with a Scan")


def judge(files: list[tuple[Path, str]], sound: Path, decoder: Decoder) -> Iterator[Verdict]:
    """A verdict on each file, in order."""
    settings = ScanSettings()
    at_first = look(sound, decoder, settings)[0]
    for path, what in files:
        began, ok, rest = time.perf_counter(), True, True
        try:
            said = look(path, decoder, settings)[0]
        except VideoError as error:
            ok, said = False, error.message
        seconds = time.perf_counter() - began
        if not ok:
            rest = look(sound, decoder, settings)[0] == at_first
        yield Verdict(path.name, what, ok, said, round(seconds, 2), rest)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--also", type=Path, action="append", default=[], help="a folder whose files are looked through too")
    parser.add_argument("--keep", type=Path, help="make the files in this folder and leave them there")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument("--limit", type=float, default=20.0, help="seconds of silence that are allowed (default 20)")
    parser.add_argument("--memory", type=float, default=4.0, help="GiB that the decoder may take (default 4)")
    arguments = parser.parse_args()
    with nullcontext(arguments.keep) if arguments.keep else tempfile.TemporaryDirectory() as folder:
        files = list(make_all(Path(folder) / "made"))
        files += [(path, "") for also in arguments.also for path in sorted(also.iterdir()) if path.is_file()]
        sound = Path(folder) / "sound.mp4"
        H264(sound)
        verdicts = []
        with Decoder(limit=arguments.limit, memory=arguments.memory) as decoder:
            for one in judge(files, sound, decoder):
                verdicts.append(one)
                show(one, as_json=arguments.json)
    total = {"files": len(verdicts), "ok": sum(one.ok for one in verdicts), "rest_went_on": all(one.rest for one in verdicts)}
    print(json.dumps(total))
    return 0 if total["rest_went_on"] else 1


def show(one: Verdict, *, as_json: bool) -> None:
    """One line."""
    if as_json:
        print(json.dumps(asdict(one)), flush=True)
        return
    name = ascii(one.file)[1:-1] if not one.file.isprintable() else one.file
    print(f"{name:34.34}  {one.what:44.44}  {one.seconds:6.2f} s  {'ok ' if one.ok else 'no '} {one.said}", flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
