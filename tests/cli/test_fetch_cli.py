"""`echoreel fetch` as a user meets it, against a real server on this machine."""

from __future__ import annotations

import io
import json
import os
import pty
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from echoreel_cli.commands.fetch import parse_size
from echoreel_cli.config import data_dir
from echoreel_index.errors import UsageError
from tests.conftest import DrawVideo
from tests.loopback import Loopback, serving

ROOT = Path(__file__).parents[2]
HOST = ("--allow-host", "127.0.0.1")
Cli = Callable[..., Any]

# A site of our own, as yt-dlp's plugins are written: what it says about a video is in a JSON file.
PLUGIN = '''
from yt_dlp.extractor.common import InfoExtractor

class LedgerIE(InfoExtractor):
    _VALID_URL = r"http://127\\.0\\.0\\.1:\\d+/watch/(?P<id>\\w+)"

    def _real_extract(self, url):
        name = self._match_id(url)
        return {**self._download_json(url + ".json", name), "id": name}
'''


@pytest.fixture(scope="module")
def film(draw_video: DrawVideo, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return draw_video(tmp_path_factory.mktemp("film") / "film.mp4").read_bytes()


@pytest.fixture
def server(film: bytes) -> Iterator[Loopback]:
    with serving() as loopback:
        loopback.files |= {"clip.mp4": film, "two.mp4": film}
        yield loopback


def test_a_video_is_fetched_and_then_known(server: Loopback, film: bytes, tmp_path: Path, cli: Cli) -> None:
    url, to = server.url("clip.mp4"), tmp_path / "to"
    done = cli("fetch", url, "--to", to, *HOST)
    path = to / "clip [clip].mp4"
    assert (done.code, done.err) == (0, "") and path.read_bytes() == film
    assert done.out.split() == ["fetched", "0.0", "MB", *str(path).split()]
    done = cli("fetch", url, "--to", to, *HOST)
    assert (done.code, done.out) == (0, "") and done.err == "known: clip\n1 of 1 were fetched before; --again fetches them anew\n"
    done = cli("fetch", url, "--to", to, *HOST, "--again", "--quiet")
    assert (done.code, done.out, done.err) == (0, f"{path}\n", "")


def test_json_lines_and_a_part_that_failed(server: Loopback, film: bytes, tmp_path: Path, cli: Cli) -> None:
    urls = [server.url(path) for path in ("clip.mp4", "none.mp4", "two.mp4")]
    done = cli("fetch", *urls, "--to", tmp_path, *HOST, "--json", "--max-size", "1M", "--rate", "1G", "--retries", "1")
    assert done.code == 4
    first, second, third = map(json.loads, done.out.splitlines())
    assert first == {
        "schema": "echoreel.fetched/1", "status": "fetched", "path": str(tmp_path / "clip [clip].mp4"), "url": urls[0], "asked": urls[0],
        "title": "clip", "licence": None, "seconds": 2.0, "bytes": len(film), "reason": None,
    }  # fmt: skip
    assert (second["status"], second["path"], second["url"]) == ("failed", None, urls[1]) and "404" in second["reason"]
    assert third["status"] == "fetched"
    (line,) = done.err.splitlines()
    assert json.loads(line)["error"]["message"] == "1 of 3 videos could not be fetched"


def test_each_failure_is_one_line(server: Loopback, tmp_path: Path, cli: Cli) -> None:
    alone = cli("fetch", server.url("none"), "--to", tmp_path, *HOST)
    assert (alone.code, alone.out) == (1, "")
    error, hint = alone.err.splitlines()
    assert error == f"error: {server.url('none')}: Unable to download webpage: HTTP Error 404: Not Found" and hint.startswith("hint: ")
    private = cli("fetch", server.url("clip.mp4"), "file:///etc/passwd", "--to", tmp_path)
    assert (private.code, private.out) == (1, "")
    first, second, error, hint = private.err.splitlines()
    assert first.startswith(f"warning: {server.url('clip.mp4')}: 127.0.0.1 is no public address; --allow-host or --allow-private")
    assert second == "warning: file:///etc/passwd: file: addresses are not fetched, only http and https"
    assert error == "error: 2 of 2 videos could not be fetched"
    assert list(tmp_path.iterdir()) == []


def test_addresses_come_from_stdin(server: Loopback, tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = f"# mine\n\n{server.url('clip.mp4')}\n" + json.dumps({"url": server.url("two.mp4")}) + f"\n{server.url('clip.mp4')}\n"
    monkeypatch.setattr("sys.stdin", io.StringIO(lines))
    done = cli("fetch", "-", "--to", tmp_path, "--allow-private", "-q")
    assert (done.code, done.out) == (0, f"{tmp_path}/clip [clip].mp4\n{tmp_path}/two [two].mp4\n")
    for bad in ("{", '{"address": 1}'):
        monkeypatch.setattr("sys.stdin", io.StringIO(bad))
        assert cli("fetch", "-", "--to", tmp_path).code == 2
    monkeypatch.setattr("sys.stdin", io.StringIO("\n"))
    nothing = cli("fetch", "-", "--to", tmp_path)
    assert (nothing.code, nothing.out, nothing.err) == (0, "", "nothing to fetch\n")


def test_a_dry_run_says_sizes_and_leaves_no_trace(server: Loopback, film: bytes, cli: Cli) -> None:
    url = server.url("clip.mp4")
    done = cli("fetch", url, "-n", *HOST, "--index")
    assert done.code == 0 and done.out.split() == ["would", "fetch", "0.0", "MB", "clip", url]
    assert done.err == f"would fetch 1 videos (0.0 MB) to {data_dir() / 'videos'}\n"
    plan = json.loads(cli("fetch", url, "-n", *HOST, "--json").out)
    assert (plan["schema"], plan["status"], plan["bytes"]) == ("echoreel.fetch-plan/1", "planned", len(film))
    assert not (data_dir() / "videos").exists()


def test_sections_become_files(server: Loopback, tmp_path: Path, cli: Cli) -> None:
    done = cli("fetch", server.url("clip.mp4"), "--to", tmp_path, *HOST, "--section", "0.5-1", "--section", "0:01.5-", "--json")
    assert [json.loads(line)["seconds"] for line in done.out.splitlines()] == [0.5, 0.5]
    assert sorted(path.name for path in tmp_path.glob("*.mp4")) == ["clip [clip] 0.5-1s.mp4", "clip [clip] 1.5-s.mp4"]


def test_bars_show_titles_as_they_are(server: Loopback, tmp_path: Path) -> None:
    said = {"@context": "https://schema.org", "@type": "VideoObject", "name": "[/b] [red]x", "contentUrl": server.url("clip.mp4")}
    server.files["page"] = f'<html><head><script type="application/ld+json">{json.dumps(said)}</script></head></html>'.encode()
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "echoreel_cli", "fetch", server.url("page"), server.url("none"), "--to", str(tmp_path), *HOST]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "index")]), "TERM": "xterm", "COLUMNS": "120"}
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment, cwd=ROOT)
    os.close(theirs)
    heard = b""
    with suppress(OSError):  # Linux says EIO when the other side has gone
        while part := os.read(ours, 65536):
            heard += part
    os.close(ours)
    assert process.wait(timeout=60) == 4
    text = heard.decode()
    assert "[/b] [red]x (MB)" in text and "Traceback" not in text
    assert text.index("[/b] [red]x (MB)") < text.index("fetched ") < text.index("404") < text.index("1 of 2 videos could not be fetched")


def test_a_killed_run_leaves_nothing_half(server: Loopback, film: bytes, tmp_path: Path, cli: Cli) -> None:
    server.stalls = [1 << 30, 1500]
    command = [sys.executable, "-m", "echoreel_cli", "fetch", server.url("clip.mp4"), "--to", str(tmp_path), *HOST]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "index")])}
    process = subprocess.Popen(command, env=environment, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while len(server.seen) < 2 and process.poll() is None:
        time.sleep(0.02)
    process.kill()
    assert process.wait(timeout=60) == -9
    assert [path.name for path in tmp_path.rglob("*.mp4")] == [] and not list(tmp_path.rglob("*.info.json"))
    done = cli("fetch", server.url("clip.mp4"), "--to", tmp_path, *HOST, "-q")
    assert done.code == 0 and Path(done.out.strip()).read_bytes() == film


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (("--section", "x"), "section"),
        (("--section", "5-2"), "ends before"),
        (("--max-size", "big"), "--max-size"),
        (("--rate", "0"), "--rate"),
        (("--licence", "mit"), "licence"),
        (("--match-filter", "duration <"), "filter"),
        (("--cookies", "/nowhere/cookies.txt"), "cookies"),
        (("--cookies-from-browser", "netscape"), "cookies"),
        (("--limit", "0"), "limit"),
        (("--name", "%(title"), "template"),
        (("--to", __file__), "folder"),
    ],
)
def test_what_makes_no_sense_is_code_2(options: tuple[str, str], word: str, server: Loopback, tmp_path: Path, cli: Cli) -> None:
    to = () if "--to" in options else ("--to", tmp_path)
    done = cli("fetch", server.url("clip.mp4"), *HOST, *to, *options)
    assert done.code == 2 and done.out == "" and word in done.err.splitlines()[0], done.err
    assert server.seen == [] and list(tmp_path.iterdir()) == []


def test_nothing_is_fetched_offline(server: Loopback, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ECHOREEL_OFFLINE", "1")
    assert cli("fetch", server.url("clip.mp4"), *HOST).code == 2 and server.seen == []


def test_what_was_fetched_is_indexed(server: Loopback, tmp_path: Path, cli: Cli) -> None:
    library = tmp_path / "library"
    arguments = (server.url("clip.mp4"), "--to", tmp_path / "to", *HOST, "--index", "--library", library, "--encoder", "mini", "--json")
    fetched, indexed = map(json.loads, cli("fetch", *arguments).out.splitlines())
    assert fetched["status"] == "fetched" and indexed["new"] == 1
    known, indexed = map(json.loads, cli("fetch", *arguments).out.splitlines())
    assert known["status"] == "known" and indexed["unchanged"] == 1
    missing = cli("fetch", server.url("none"), *arguments[1:-1])
    assert missing.code == 1 and missing.out == ""


def test_a_site_says_licence_length_and_versions(server: Loopback, tmp_path: Path) -> None:
    clip = server.url("clip.mp4")
    free = {"title": "Free", "license": "Creative Commons Attribution license (reuse allowed)", "duration": 2, "url": clip}
    server.files["tall.mp4"] = server.files["clip.mp4"]
    low, high = {"format_id": "low", "url": clip, "height": 480}, {"format_id": "high", "url": server.url("tall.mp4"), "height": 1080}
    told: dict[str, dict[str, Any]] = {
        "free": free,
        "mine": {**free, "title": "Mine", "license": "All rights reserved"},
        "long": {**free, "title": "Long", "duration": 900},
        "live": {**free, "title": "Live", "is_live": True},
        "song": {**free, "title": "Song", "vcodec": "none"},
        "rtmp": {**free, "title": "Rtmp", "url": "rtmp://127.0.0.1/x"},
        "many": {**free, "title": "Many", "license": "CC BY-NC 4.0", "url": None, "formats": [low, high]},
        "tall": {**free, "title": "Tall", "url": None, "formats": [high]},
    }
    for name, info in told.items():
        server.files[f"watch/{name}.json"] = json.dumps({key: value for key, value in info.items() if value is not None}).encode()
    plugins = tmp_path / "plugins" / "yt_dlp_plugins" / "extractor"
    plugins.mkdir(parents=True)
    (plugins / "ledger.py").write_text(PLUGIN)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path / "plugins"), str(ROOT), str(ROOT / "index")])}

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        line = [server.url(f"watch/{word}") if word in told else word for word in words]
        command = [sys.executable, "-m", "echoreel_cli", "fetch", *line, "--to", str(tmp_path / "to"), *HOST, "--json"]
        return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment)

    done = run(*told, "--licence", "cc", "--match-filter", "duration < 60")
    found = dict(zip(told, map(json.loads, done.stdout.splitlines()), strict=True))
    assert {name: one["status"] for name, one in found.items()} == {
        "free": "fetched", "mine": "skipped", "long": "skipped", "live": "skipped", "song": "skipped", "rtmp": "failed",
        "many": "fetched", "tall": "fetched",
    }  # fmt: skip
    assert found["mine"]["reason"] == "its licence is no Creative Commons one: All rights reserved"
    assert found["long"]["reason"] == "it does not meet the filter duration < 60"
    assert found["many"]["licence"] == "CC BY-NC 4.0"
    assert found["song"]["reason"] == "it has sound but no picture"
    assert found["rtmp"]["reason"] == "no version of it can be fetched over http"
    assert done.returncode == 4 and (tmp_path / "to" / ".echoreel-archive.txt").read_text() == "ledger free\nledger many\nledger tall\n"
    assert [path for path, _ in server.seen if not path.startswith("watch/")] == ["clip.mp4", "clip.mp4", "tall.mp4"]
    strict = run("many", "tall", "--again", "--max-height", "480")
    assert [json.loads(line)["status"] for line in strict.stdout.splitlines()] == ["fetched", "skipped"] and strict.returncode == 0
    assert "no version of it can be fetched over http and has at most 480 lines" in strict.stdout


def test_sizes() -> None:
    sizes = {"7": 7, "500k": 500_000, "200M": 200_000_000, "1.5G": 1_500_000_000, "64KiB": 65536, "2 MB": 2_000_000}
    assert {text: parse_size(text, "--x") for text in sizes} == sizes
    assert parse_size(None, "--x") is None
    for bad in ("", "M", "-1", "1T", "0.1"):
        with pytest.raises(UsageError):
            parse_size(bad, "--x")
