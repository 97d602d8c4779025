from __future__ import annotations

import hashlib
import multiprocessing
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from echoreel_cli.models.download import Transfer, download
from echoreel_index.errors import DownloadError, UsageError, WeightsError
from tests.loopback import Loopback, serving

BODY = hashlib.shake_256(b"weights").digest(300_000)
SHA = hashlib.sha256(BODY).hexdigest()


@pytest.fixture
def server() -> Iterator[Loopback]:
    with serving() as loopback:
        loopback.files["repo/file.pt"] = BODY
        yield loopback


def test_a_file_arrives_with_its_hash_and_leaves_nothing_beside_it(server: Loopback, tmp_path: Path) -> None:
    seen: list[Transfer] = []
    origin = download(server.url("repo/file.pt"), tmp_path / "new" / "file.pt", progress=seen.append)
    assert (tmp_path / "new" / "file.pt").read_bytes() == BODY
    assert (origin.sha256, origin.size, origin.url) == (SHA, len(BODY), server.url("repo/file.pt"))
    assert seen[-1].done == seen[-1].total == len(BODY)
    assert sorted(path.name for path in (tmp_path / "new").iterdir() if path.suffix != ".lock") == ["file.pt"]


def test_a_broken_transfer_goes_on_from_where_it_broke(server: Loopback, tmp_path: Path) -> None:
    server.cuts = [100_000, 50_000]
    waits: list[float] = []
    notes: list[Transfer] = []
    download(server.url("repo/file.pt"), tmp_path / "file.pt", sha256=SHA, pause=waits.append, progress=notes.append)
    assert [wanted for _, wanted in server.seen] == [None, "bytes=100000-", "bytes=150000-"]
    assert (tmp_path / "file.pt").read_bytes() == BODY
    assert waits == [1.0, 1.0], "each attempt brought something, so the wait stays short"
    assert any(transfer.note and "trying again" in transfer.note for transfer in notes)


def test_a_later_run_goes_on_with_the_part_of_an_earlier_one(server: Loopback, tmp_path: Path) -> None:
    server.cuts = [100_000]
    with pytest.raises(DownloadError) as caught:
        download(server.url("repo/file.pt"), tmp_path / "file.pt", tries=1, pause=lambda seconds: None)
    assert caught.value.hint is not None and "run the same command again" in caught.value.hint
    assert (tmp_path / "file.pt.part").stat().st_size == 100_000 and not (tmp_path / "file.pt").exists()
    download(server.url("repo/file.pt"), tmp_path / "file.pt")
    assert server.seen[-1][1] == "bytes=100000-" and (tmp_path / "file.pt").read_bytes() == BODY


def test_a_server_without_ranges_starts_again_and_the_file_is_right(server: Loopback, tmp_path: Path) -> None:
    server.ranges, server.cuts = False, [100_000]
    download(server.url("repo/file.pt"), tmp_path / "file.pt", sha256=SHA, pause=lambda seconds: None)
    assert (tmp_path / "file.pt").read_bytes() == BODY


def test_a_file_that_changed_meanwhile_is_fetched_anew(server: Loopback, tmp_path: Path) -> None:
    server.cuts = [100_000]
    with pytest.raises(DownloadError):
        download(server.url("repo/file.pt"), tmp_path / "file.pt", tries=1, pause=lambda seconds: None)
    server.files["repo/file.pt"] = other = BODY[::-1]
    download(server.url("repo/file.pt"), tmp_path / "file.pt")
    assert (tmp_path / "file.pt").read_bytes() == other


def test_a_part_of_another_address_is_not_mixed_in(server: Loopback, tmp_path: Path) -> None:
    server.cuts = [100_000]
    with pytest.raises(DownloadError):
        download(server.url("repo/file.pt"), tmp_path / "file.pt", tries=1, pause=lambda seconds: None)
    server.files["mirror/file.pt"] = BODY
    download(server.url("mirror/file.pt"), tmp_path / "file.pt")
    assert server.seen[-1] == ("mirror/file.pt", None)


def test_a_wrong_checksum_throws_the_file_away(server: Loopback, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match=f"wrong checksum: expected {'0' * 64}, got {SHA}"):
        download(server.url("repo/file.pt"), tmp_path / "file.pt", sha256="0" * 64)
    assert [path.name for path in tmp_path.iterdir()] == ["file.pt.part.lock"]


def test_a_wrong_size_is_noticed_before_anything_is_fetched(server: Loopback, tmp_path: Path) -> None:
    seen: list[Transfer] = []
    with pytest.raises(DownloadError, match="has 300000 bytes, expected 299999"):
        download(server.url("repo/file.pt"), tmp_path / "file.pt", size=299_999, progress=seen.append)
    assert seen == []


def test_the_hub_s_own_hash_is_checked_through_its_redirect(server: Loopback, tmp_path: Path) -> None:
    server.redirects["hub/file.pt"] = server.url("repo/file.pt")
    server.linked_etags["hub/file.pt"] = SHA
    assert download(server.url("hub/file.pt"), tmp_path / "file.pt").sha256 == SHA
    server.linked_etags["hub/file.pt"] = "f" * 64
    with pytest.raises(DownloadError, match="wrong checksum"):
        download(server.url("hub/file.pt"), tmp_path / "other.pt")


def test_a_busy_server_is_asked_again_with_growing_waits_and_an_absent_file_is_not(server: Loopback, tmp_path: Path) -> None:
    server.states = [503, 429, 500]
    waits: list[float] = []
    download(server.url("repo/file.pt"), tmp_path / "file.pt", pause=waits.append)
    assert waits == [1.0, 2.0, 4.0]
    with pytest.raises(DownloadError, match="answers 404") as caught:
        download(server.url("repo/absent.pt"), tmp_path / "absent.pt", pause=waits.append)
    assert caught.value.hint is not None and "--from" in caught.value.hint and len(waits) == 3


def test_a_server_that_tells_no_length(server: Loopback, tmp_path: Path) -> None:
    server.tells_length = False
    assert download(server.url("repo/file.pt"), tmp_path / "file.pt", sha256=SHA).size == len(BODY)


def test_too_little_room_is_said_before_the_first_byte(server: Loopback, tmp_path: Path) -> None:
    server.tells_length = False
    with pytest.raises(DownloadError, match="GB free") as caught:
        download(server.url("repo/file.pt"), tmp_path / "file.pt", size=10**18)
    assert caught.value.hint is not None and "XDG_CACHE_HOME" in caught.value.hint
    assert not (tmp_path / "file.pt.part").exists()


def test_offline_means_no_request_at_all(server: Loopback, tmp_path: Path) -> None:
    with pytest.raises(WeightsError) as caught:
        download(server.url("repo/file.pt"), tmp_path / "file.pt", offline=True)
    assert caught.value.hint is not None and "HF_HUB_OFFLINE" in caught.value.hint and server.seen == []


def test_only_http_is_spoken(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        download("file:///etc/hostname", tmp_path / "file")


def _hold_lock(path: str, ready: object, done: object) -> None:
    import fcntl

    with open(path, "wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        ready.set()  # type: ignore[attr-defined]
        done.wait(30)  # type: ignore[attr-defined]


@pytest.mark.skipif(os.name == "nt", reason="no such locks there")
def test_two_downloads_of_one_file_do_not_spoil_each_other(server: Loopback, tmp_path: Path) -> None:
    start = multiprocessing.get_context("spawn")
    ready, done = start.Event(), start.Event()
    other = start.Process(target=_hold_lock, args=(str(tmp_path / "file.pt.part.lock"), ready, done))
    other.start()
    try:
        assert ready.wait(30)
        with pytest.raises(DownloadError, match="by another process"):
            download(server.url("repo/file.pt"), tmp_path / "file.pt")
    finally:
        done.set()
        other.join()
    assert download(server.url("repo/file.pt"), tmp_path / "file.pt").sha256 == SHA
