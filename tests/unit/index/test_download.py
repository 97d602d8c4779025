"""Videos from a real server with the faults that servers have, by the real yt-dlp."""

from __future__ import annotations

import gc
import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from echoreel_cli.generate.write import excerpt_bytes
from echoreel_index.addresses import Reach
from echoreel_index.captions import words
from echoreel_index.decode import Decoder, probe
from echoreel_index.download import ARCHIVE, PARTS, Fetched, FetchSettings, Transfer, fetch
from echoreel_index.downloader import Access
from echoreel_index.errors import UsageError
from echoreel_index.files import walk
from echoreel_index.sections import Section
from tests.conftest import DrawVideo
from tests.loopback import Loopback, serving

HERE = Reach(hosts=("127.0.0.1",))
ALL = 1 << 30
"""More bytes than any file here has: an answer that is not cut."""


@pytest.fixture(scope="module")
def film(draw_video: DrawVideo, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return draw_video(tmp_path_factory.mktemp("film") / "film.mp4").read_bytes()


@pytest.fixture
def server(film: bytes) -> Iterator[Loopback]:
    with serving() as loopback:
        loopback.files["clip.mp4"] = film
        loopback.types["clip.mp4"] = "video/mp4"
        yield loopback


@pytest.fixture(scope="module")
def decoder() -> Iterator[Decoder]:
    with Decoder() as worker:
        yield worker


@pytest.fixture
def get(tmp_path: Path, decoder: Decoder) -> Callable[..., list[Fetched]]:
    def run(*urls: str, access: Access | None = None, **settings: object) -> list[Fetched]:
        made = FetchSettings(tmp_path / "to", access or Access(HERE, retries=2), **settings)  # type: ignore[arg-type]
        return list(fetch(urls, made, write=excerpt_bytes, decoder=decoder))

    return run


def page(server: Loopback, path: str, **said: object) -> str:
    """A page that says what it shows as schema.org has it; its address."""
    data = {"@context": "https://schema.org", "@type": "VideoObject", "contentUrl": server.url("clip.mp4"), **said}
    server.files[path] = f'<html><head><script type="application/ld+json">{json.dumps(data)}</script></head></html>'.encode()
    server.types[path] = "text/html; charset=utf-8"
    return server.url(path)


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


Get = Callable[..., list[Fetched]]


def test_a_plain_file_comes_with_its_origin(server: Loopback, film: bytes, get: Get, tmp_path: Path) -> None:
    (one,) = get(server.url("clip.mp4"))
    assert one.path == tmp_path / "to" / "clip [clip].mp4" and one.path.read_bytes() == film
    assert (one.status, one.url, one.asked, one.title) == ("fetched", server.url("clip.mp4"), server.url("clip.mp4"), "clip")
    assert (one.seconds, one.bytes, one.licence, one.reason) == (2.0, len(film), None, None)
    assert names(tmp_path / "to") == [ARCHIVE, "clip [clip].info.json", "clip [clip].mp4"]
    assert not (tmp_path / "to" / PARTS).exists()
    assert [Path(found.path) for found in walk([tmp_path / "to"])] == [one.path]


def test_what_a_page_says_becomes_words(server: Loopback, film: bytes, get: Get) -> None:
    url = page(
        server, "watch", name="A backflip", description="Off a wall.\nSlow.", keywords="flip,parkour", author={"name": "Ana"},
        uploadDate="2024-02-29T00:00:00Z", duration="PT2S",
    )  # fmt: skip
    (one,) = get(url.replace("http://", "http://me:secret@"))
    assert one.path is not None
    origin = json.loads(one.path.with_suffix(".info.json").read_text())
    assert origin["schema"] == "echoreel.origin/1" and origin["sha256"] == hashlib.sha256(film).hexdigest()
    assert (origin["webpage_url"], origin["width"], origin["height"], origin["duration"]) == (url, 64, 64, 2.0)
    assert origin["fetch_date"].endswith("+00:00") and "fetch_date" in origin
    assert not {"formats", "url", "http_headers", "requested_formats", "cookies", "filename", "_filename"} & set(origin)
    assert "secret" not in json.dumps(origin) and "secret" not in repr(one)
    assert server.received[0]["authorization"].startswith("Basic ")
    said = words(str(one.path))
    assert (said.caption, said.source, said.uploader, said.tags, said.date) == ("A backflip", url, "Ana", ("flip", "parkour"), 1709164800)
    assert "Off a wall." in said.text


def test_a_cut_transfer_goes_on_where_it_broke(server: Loopback, film: bytes, get: Get, tmp_path: Path) -> None:
    server.cuts = [ALL, 1000, 500]
    (one,) = get(server.url("clip.mp4"))
    assert one.path is not None and one.path.read_bytes() == film
    assert [wanted for _, wanted in server.seen] == [None, None, "bytes=1000-", "bytes=1500-"]


def test_a_later_run_goes_on_with_the_part_of_an_earlier_one(server: Loopback, film: bytes, get: Get, tmp_path: Path) -> None:
    server.cuts = [ALL, 1000]
    (one,) = get(server.url("clip.mp4"), access=Access(HERE, retries=0))
    assert (one.status, one.path) == ("failed", None) and one.reason and "1000" in one.reason
    assert list(walk([tmp_path / "to"])) == [] and not (tmp_path / "to" / ARCHIVE).exists()
    (part,) = (tmp_path / "to" / PARTS).glob("*.part")
    assert part.read_bytes() == film[:1000]
    (one,) = get(server.url("clip.mp4"))
    assert one.path is not None and one.path.read_bytes() == film
    assert server.seen[-1] == ("clip.mp4", "bytes=1000-") and not (tmp_path / "to" / PARTS).exists()


def test_a_file_that_changed_meanwhile_starts_anew(server: Loopback, draw_video: DrawVideo, get: Get, tmp_path: Path) -> None:
    server.cuts = [ALL, 1000]
    assert get(server.url("clip.mp4"), access=Access(HERE, retries=0))[0].status == "failed"
    other = draw_video(tmp_path / "other.mp4", colour=(60, 60, 220), motion="down").read_bytes()
    server.files["clip.mp4"] = other
    (one,) = get(server.url("clip.mp4"))
    assert one.path is not None and one.path.read_bytes() == other
    assert server.seen[-1] == ("clip.mp4", "bytes=1000-") and "if-range" in server.received[-1]


def test_a_server_without_ranges_and_one_that_stalls(server: Loopback, film: bytes, get: Get) -> None:
    server.ranges, server.cuts = False, [ALL, 1000]
    (one,) = get(server.url("clip.mp4"))
    assert one.path is not None and one.path.read_bytes() == film
    server.files["stalls.mp4"], server.ranges, server.stalls = film, True, [ALL, 1500]
    (one,) = get(server.url("stalls.mp4"), access=Access(HERE, timeout=0.5))
    assert one.path is not None and one.path.read_bytes() == film and server.seen[-1][1] == "bytes=1024-"


def test_redirects_are_followed_but_not_to_private_addresses(server: Loopback, film: bytes, get: Get) -> None:
    with serving("127.0.0.2") as other:
        other.files["clip.mp4"] = film
        server.redirects |= {"near": server.url("clip.mp4"), "far": other.url("clip.mp4"), "loop": server.url("loop")}
        server.redirects |= {"ftp": "ftp://127.0.0.1/clip.mp4", "file": "file:///etc/hostname"}
        server.files["page"] = f'<html><body><video src="{other.url("clip.mp4")}"></video></body></html>'.encode()
        server.types["page"] = "text/html"
        paths = ("near", "far", "page", "loop", "ftp", "file")
        found = dict(zip(paths, get(*map(server.url, paths)), strict=True))
        assert found["near"].status == "fetched" and found["near"].url == server.url("clip.mp4")
        for path in ("far", "page"):
            assert found[path].status == "failed" and (found[path].reason or "").startswith("127.0.0.2 is no public address; --allow")
        assert "neither http nor https" in (found["ftp"].reason or "")
        assert found["file"].status == found["loop"].status == "failed"
        assert other.seen == []
        (far,) = get(server.url("far"), access=Access(Reach(private=True)))
        assert far.status == "fetched" and other.seen


# yt-dlp leaves the file of a stream open when a segment fails.
@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
def test_segments_do_not_come_from_private_addresses(server: Loopback, get: Get) -> None:
    with serving("127.0.0.2") as other:
        server.files["list.m3u8"] = f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{other.url('one.ts')}\n#EXT-X-ENDLIST\n".encode()
        server.types["list.m3u8"] = "application/vnd.apple.mpegurl"
        (one,) = get(server.url("list.m3u8"))
        assert (one.reason or "").startswith("127.0.0.2 is no public address") and other.seen == []
    gc.collect()


def test_private_addresses_are_refused_however_they_are_written(server: Loopback, get: Get) -> None:
    hosts = ("127.0.0.1", "localhost", "2130706433", "0x7f.1", "127.1", "[::ffff:127.0.0.1]", "[::1]", "0.0.0.0")
    found = get(*(f"http://{host}:{server.port}/clip.mp4" for host in hosts), "http://169.254.169.254/x", access=Access(retries=0))
    assert [one.status for one in found] == ["failed"] * 9
    assert all("is no public address" in (one.reason or "") for one in found), [one.reason for one in found]
    assert server.seen == []


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl here to make a certificate")
def test_certificates_and_private_addresses_over_tls(film: bytes, get: Get, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import certifi

    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    name = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"]
    make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", str(key), "-out", str(certificate), *name]
    subprocess.run(make, check=True, capture_output=True)
    with serving(tls=(certificate, key)) as secure:
        secure.files["clip.mp4"] = film
        (private,) = get(secure.url("clip.mp4"), access=Access(retries=0))
        (unknown,) = get(secure.url("clip.mp4"))
        assert "is no public address" in (private.reason or "") and "CERTIFICATE_VERIFY_FAILED" in (unknown.reason or "")
        assert secure.seen == []
        monkeypatch.setattr(certifi, "where", lambda: str(certificate))
        assert get(secure.url("clip.mp4"))[0].status == "fetched"


def test_addresses_behind_a_proxy_are_looked_at_too(server: Loopback, film: bytes, get: Get, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", server.url())
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    server.files["http://93.184.216.34/clip.mp4"] = film
    server.redirects["http://93.184.216.34/away"] = "http://10.0.0.1/clip.mp4"
    urls = ("http://93.184.216.34/clip.mp4", "http://93.184.216.34/away", "http://10.0.0.1/clip.mp4")
    good, away, private = get(*urls, access=Access(retries=0))
    assert good.status == "fetched"
    assert "10.0.0.1 is no public address" in (away.reason or "") and "10.0.0.1 is no public address" in (private.reason or "")
    assert {path for path, _ in server.seen} == set(urls[:2])


def test_only_web_addresses_are_fetched(server: Loopback, get: Get, tmp_path: Path) -> None:
    secret = tmp_path / "secret.mp4"
    secret.write_bytes(server.files["clip.mp4"])
    found = get(secret.as_uri(), str(secret), "ftp://127.0.0.1/x", "", access=Access(Reach(private=True)))
    assert [one.status for one in found] == ["failed"] * 4
    assert found[0].reason == "file: addresses are not fetched, only http and https"
    assert names(tmp_path / "to") == []


def test_a_lying_content_type_leaves_no_file(server: Loopback, film: bytes, get: Get, tmp_path: Path) -> None:
    from PIL import Image

    Image.new("RGB", (64, 64), "red").save(tmp_path / "still.jpg")
    lies = {
        "page.mp4": b"<html><body>log in first</body></html>" * 40,
        "list.mp4": b"#EXTM3U\n#EXTINF:1,\nfile:///etc/hostname\n",
        "noise.mp4": hashlib.shake_256(b"noise").digest(5000),
        "still.mp4": (tmp_path / "still.jpg").read_bytes(),
        "half.mp4": film[: len(film) // 2],
        "empty.mp4": b"",
    }
    for path, body in lies.items():
        server.files[path], server.types[path] = body, "video/mp4"
    found = dict(zip(lies, get(*map(server.url, lies), access=Access(HERE, retries=0)), strict=True))
    assert {one.status for one in found.values()} == {"failed"}
    assert all((found[path].reason or "").startswith("what came is no video that can be read: ") for path in lies if path != "empty.mp4")
    assert (found["page.mp4"].reason or "").endswith("it is a text or a page")
    assert names(tmp_path / "to") == [] and not (tmp_path / "to" / PARTS).exists()


def test_a_video_under_another_name_and_type_is_taken_for_what_it_is(server: Loopback, film: bytes, get: Get) -> None:
    for path in ("clip.html", "clip.php", "bare", "clip.exe"):
        server.files[path], server.types[path] = film, "text/html"
        server.headers[path] = {"Content-Disposition": 'attachment; filename="../../../evil.sh"'}
    found = get(*map(server.url, ("clip.html", "clip.php", "bare", "clip.exe")))
    assert [one.path and one.path.name for one in found] == [
        "clip [clip].mp4", "clip [clip] (2).mp4", "bare [bare].mp4", "clip [clip] (3).mp4",
    ]  # fmt: skip


def test_titles_of_strangers_stay_in_the_folder(server: Loopback, get: Get, tmp_path: Path) -> None:
    titles = {
        "a": "../../../../etc/evil", "b": "/abs\\lute", "c": "跳ぶ हिन्दी قفز", "d": "con", "e": "x" * 5000, "f": "\u202e\x1b" + "é" * 500,
        "g": ".", "h": "-rf",
    }  # fmt: skip
    found = get(*(page(server, path, name=title) for path, title in titles.items()))
    made = [one.path.name for one in found if one.path]
    assert made[:4] == ["_.._.._.._etc_evil [a].mp4", "_abs_lute [b].mp4", "跳ぶ हिन्दी قفز [c].mp4", "con [d].mp4"]
    assert made[4] == "x" * 140 + " [e].mp4" and made[5] == "é" * 70 + " [f].mp4"
    assert made[6:] == ["[g].mp4", "rf [h].mp4"]
    assert "\x1b" not in (found[5].title or "") and "\u202e" not in (found[5].title or "")
    assert {path.parent for path in tmp_path.rglob("*.mp4")} == {tmp_path / "to"}


def test_names_by_template_make_folders_inside_only(server: Loopback, get: Get, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (tmp_path / "to").mkdir()
    (tmp_path / "to" / "link").symlink_to(outside)
    urls = [page(server, str(place), name="a/b", author={"name": who}) for place, who in enumerate(("Ana", "../x", "link"))]
    found = get(*urls, name="%(uploader)s/%(title)s")
    assert [one.path and str(one.path.relative_to(tmp_path / "to")) for one in found] == ["Ana/a_b.mp4", "_x/a_b.mp4", None]
    assert "leads out of" in (found[2].reason or "") and names(outside) == []


def feed(server: Loopback, *paths: str) -> str:
    items = "".join(f"<item><title>The {path}</title><enclosure url='{server.url(path)}'/><guid>{path}</guid></item>" for path in paths)
    server.files["feed"] = f"<?xml version='1.0'?><rss version='2.0'><channel><title>Feed</title>{items}</channel></rss>".encode()
    server.types["feed"] = "application/rss+xml"
    return server.url("feed")


def test_the_members_of_a_list_come_one_by_one(server: Loopback, film: bytes, get: Get) -> None:
    server.files["two.mp4"] = film
    url = feed(server, "clip.mp4", "none.mp4", "two.mp4")
    first, second, third = get(url)
    assert [one.status for one in (first, second, third)] == ["fetched", "failed", "fetched"]
    assert (first.title, third.title, first.asked) == ("The clip.mp4", "The two.mp4", url)
    assert "404" in (second.reason or "") and second.url == server.url("none.mp4")
    assert first.path is not None and "Feed" in first.path.with_suffix(".info.json").read_text()
    assert len(get(url, limit=2, archive=False)) == 2


def test_a_page_with_several_videos(server: Loopback, film: bytes, get: Get) -> None:
    server.files["two.mp4"] = film
    videos = "<video src='clip.mp4'></video><video><source src='two.mp4' type='video/mp4'></video>"
    server.files["page"] = f"<html><title>Jumps</title>{videos}</html>".encode()
    server.types["page"] = "text/html"
    assert [one.path and one.path.name for one in get(server.url("page"))] == ["Jumps (1) [page-1].mp4", "Jumps (2) [page-2].mp4"]
    assert [one.status for one in get(server.url("page"))] == ["known", "known"]


def test_segments_of_a_stream_are_put_together(server: Loopback, draw_video: DrawVideo, get: Get, tmp_path: Path) -> None:
    server.files["one.ts"] = draw_video(tmp_path / "one.ts").read_bytes()
    server.files["list.m3u8"] = b"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\none.ts\n#EXT-X-ENDLIST\n"
    server.types["list.m3u8"] = "application/vnd.apple.mpegurl"
    (one,) = get(server.url("list.m3u8"))
    assert one.path is not None and one.path.name == "list [list].ts" and probe(one.path).width == 64


def test_no_other_program_is_started(server: Loopback, get: Get, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bin").mkdir()
    for name in ("ffmpeg", "ffprobe", "aria2c", "curl", "wget", "rtmpdump", "mplayer"):
        program = tmp_path / "bin" / name
        program.write_text(f"#!/bin/sh\ntouch {tmp_path}/started-$(basename $0)\n")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    key = '#EXT-X-KEY:METHOD=SAMPLE-AES,URI="key"'
    server.files["list.m3u8"] = f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n{key}\n#EXTINF:2,\none.ts\n#EXT-X-ENDLIST\n".encode()
    server.types["list.m3u8"] = "application/vnd.apple.mpegurl"
    locked, plain = get(server.url("list.m3u8"), server.url("clip.mp4"))
    assert (locked.status, locked.reason) == ("failed", "it is a live or encrypted stream, which is not fetched")
    assert plain.status == "fetched" and not list(tmp_path.glob("started-*"))


def test_what_was_fetched_before_is_left_out(server: Loopback, get: Get, tmp_path: Path) -> None:
    url = server.url("clip.mp4")
    (first,) = get(url, url)
    (second,) = get(url)
    assert (first.status, second.status, len(server.seen)) == ("fetched", "known", 3)
    assert first.path is not None
    first.path.unlink()
    assert get(url)[0].status == "known"
    assert (tmp_path / "to" / ARCHIVE).read_text() == f"generic clip {url}\n"
    (third,) = get(url, archive=False)
    (fourth,) = get(url, archive=False)
    assert third.path == fourth.path == first.path and names(tmp_path / "to") == [ARCHIVE, "clip [clip].info.json", "clip [clip].mp4"]
    assert (tmp_path / "to" / ARCHIVE).read_text() == f"generic clip {url}\n"


def test_a_file_of_the_user_is_never_replaced(server: Loopback, get: Get, tmp_path: Path) -> None:
    (tmp_path / "to").mkdir()
    (tmp_path / "to" / "clip [clip].mp4").write_text("mine")
    (one,) = get(server.url("clip.mp4"))
    assert one.path is not None and one.path.name == "clip [clip] (2).mp4"
    assert (tmp_path / "to" / "clip [clip].mp4").read_text() == "mine"


def test_what_stands_beside_another_video_is_never_replaced(server: Loopback, film: bytes, get: Get, tmp_path: Path) -> None:
    (tmp_path / "to").mkdir()
    (tmp_path / "to" / "clip [clip].webm").write_bytes(film)
    (tmp_path / "to" / "clip [clip].info.json").write_text('{"title": "mine"}')
    (one,) = get(server.url("clip.mp4"))
    assert one.path == tmp_path / "to" / "clip [clip] (2).mp4"
    assert (tmp_path / "to" / "clip [clip].info.json").read_text() == '{"title": "mine"}'
    (again,) = get(server.url("clip.mp4"), archive=False)
    assert again.path == one.path


@pytest.mark.parametrize("tells_length", [True, False])
def test_too_large_a_file_is_left(tells_length: bool, server: Loopback, get: Get, tmp_path: Path) -> None:
    server.tells_length = tells_length
    (one,) = get(server.url("clip.mp4"), largest=1500)
    assert one.status == "skipped" and "MB, more than 0.0015 MB" in (one.reason or "")
    assert names(tmp_path / "to") == []
    assert get(server.url("clip.mp4"), largest=5000)[0].status == "fetched"


def test_too_tall_a_picture_is_left(server: Loopback, get: Get) -> None:
    (one,) = get(server.url("clip.mp4"), tallest=32)
    assert (one.status, one.reason) == ("skipped", "it is 64x64, more than 32 lines")


def test_filters(server: Loopback, get: Get) -> None:
    urls = [page(server, "a", name="A flip", duration="PT2S"), page(server, "b", name="A jump", duration="PT90S")]
    assert [one.status for one in get(*urls, filters=("duration < 60 & title *= flip",))] == ["fetched", "skipped"]
    (one,) = get(urls[1], filters=("duration < 60", "title ~= (?i)FLIP"))
    assert one.reason == "it does not meet the filter duration < 60 or title ~= (?i)FLIP"
    with pytest.raises(UsageError, match="cannot be understood"):
        get(urls[1], filters=("duration <",))


def test_an_unknown_licence_is_no_creative_commons_one(server: Loopback, get: Get) -> None:
    (one,) = get(server.url("clip.mp4"), licence="cc")
    assert (one.status, one.reason) == ("skipped", "its licence is unknown")
    assert [path for path, _ in server.seen] == ["clip.mp4"], "looked at, not downloaded"


def test_sections_are_cut_to_the_frame(server: Loopback, get: Get, tmp_path: Path) -> None:
    import av

    parts = (Section(0.5, 1.0), Section(1.75, 99), Section(5, 9))
    first, second, third = get(server.url("clip.mp4"), sections=parts)
    assert first.path is not None and second.path is not None
    assert (first.path.name, first.seconds, second.seconds) == ("clip [clip] 0.5-1s.mp4", 0.5, 0.25)
    assert (third.status, third.reason) == ("skipped", "it ends at 2.0 s, before section 5-9")
    with av.open(str(first.path)) as container:
        assert [round(float(frame.time or 0), 3) for frame in container.decode(video=0)] == [0.0, 0.125, 0.25, 0.375]
    assert json.loads(first.path.with_suffix(".info.json").read_text())["section"] == {"start": 0.5, "end": 1.0}
    assert len([path for path, _ in server.seen]) == 2, "one download serves all sections"
    assert names(tmp_path / "to")[0] == ARCHIVE and not (tmp_path / "to" / PARTS).exists()
    assert [one.status for one in get(server.url("clip.mp4"), sections=parts[:1])] == ["known"]
    assert get(server.url("clip.mp4"))[0].status == "fetched", "the whole is another thing than a part"


def test_a_dry_run_changes_nothing(server: Loopback, film: bytes, get: Get, tmp_path: Path) -> None:
    good, bad = get(server.url("clip.mp4"), server.url("none"), dry_run=True)
    assert (good.status, good.bytes, good.path, bad.status) == ("planned", len(film), None, "failed")
    assert not (tmp_path / "to").exists()


def test_cookies_are_sent_and_their_file_is_left_alone(server: Loopback, get: Get, tmp_path: Path) -> None:
    jar = tmp_path / "cookies.txt"
    jar.write_text("# Netscape HTTP Cookie File\n127.0.0.1\tFALSE\t/\tFALSE\t0\tsession\tabc\n")
    before = jar.read_bytes()
    server.headers["clip.mp4"] = {"Set-Cookie": "session=new"}
    (one,) = get(server.url("clip.mp4"), access=Access(HERE, cookies=jar))
    assert one.status == "fetched" and server.received[0]["cookie"] == "session=abc"
    assert jar.read_bytes() == before
    jar.write_text("no cookies")
    for bad in (jar, tmp_path / "none.txt"):
        with pytest.raises(UsageError, match="cannot read the cookies"):
            get(server.url("clip.mp4"), access=Access(HERE, cookies=bad))


def test_progress_and_a_rate_that_is_kept_to(server: Loopback, film: bytes, tmp_path: Path) -> None:
    seen: list[Transfer] = []
    settings = FetchSettings(tmp_path / "to", Access(HERE, rate=1e9))
    assert [one.status for one in fetch([server.url("clip.mp4")], settings, progress=seen.append)] == ["fetched"]
    assert seen[-1] == Transfer(server.url("clip.mp4"), "clip", len(film), len(film))
    assert [one.done for one in seen] == sorted(one.done for one in seen)


def test_two_runs_do_not_share_a_folder(server: Loopback, tmp_path: Path) -> None:
    settings = FetchSettings(tmp_path / "to", Access(HERE))
    with ExitStack() as stack:
        first = fetch([server.url("clip.mp4"), server.url("none")], settings)
        stack.callback(first.close)
        assert next(first).status == "fetched"
        with pytest.raises(UsageError, match="another echoreel fetch"):
            next(fetch([server.url("clip.mp4")], settings))
    assert [one.status for one in fetch([server.url("clip.mp4")], settings)] == ["known"]


def test_settings_that_make_no_sense(server: Loopback, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    parts = (Section(0, 1),)  # and nobody to write them
    for settings in (FetchSettings(tmp_path / "file"), FetchSettings(tmp_path, limit=0), FetchSettings(tmp_path, sections=parts)):
        with pytest.raises(UsageError):
            next(fetch([server.url("clip.mp4")], settings))
    assert server.seen == []


def test_nothing_is_printed(server: Loopback, get: Get, capfd: pytest.CaptureFixture[str]) -> None:
    get(server.url("clip.mp4"), server.url("none"), "http://nosuch.invalid/")
    assert capfd.readouterr() == ("", "")
