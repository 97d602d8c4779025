"""The engine on Ray gives the very rows that the local one gives, also when processes die under it."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from echoreel_cli.devices import pick_encoder_dtype
from echoreel_index.clips import WindowSettings
from echoreel_index.encode import unit
from echoreel_index.engine import Begun, Failed, LocalEngine, Outcome, Taken
from echoreel_index.errors import EchoreelError, EncoderMismatch, UsageError
from echoreel_index.files import FileStamp, FoundFile, content_hash, stamp, walk
from echoreel_index.library import IndexEvent, Library
from echoreel_index.nouns import EncoderCard
from echoreel_index.ray_cluster import check_address, crew
from echoreel_index.ray_engine import RayEngine, where_it_fails
from echoreel_index.ray_stages import LOST, Desk, EncoderRecipe, Question, opened

MakeVideo = Callable[..., Path]
Cli = Callable[..., Any]
CONFIG = {
    "model_cfg": {
        "embed_dim": 8,
        "vision_cfg": {"image_size": 16, "layers": 1, "width": 16, "head_width": 16, "patch_size": 8},
        "text_cfg": {"context_length": 8, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
    },
    "preprocess_cfg": {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]},
}


class MortalEncoder:
    """Sees colours. Its process dies at the first green frame that any process sees, and at every blue one."""

    frame_size = 32
    logit_scale = 100.0
    card = EncoderCard("mortal", 3, "e" * 64)

    def __init__(self, marks: str | None) -> None:
        self._marks = marks

    def embed_frames(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        means = frames.astype(np.float32).mean((1, 2))
        if self._marks is not None:
            seen = {int(one) for one in means.argmax(1)}
            mark = os.path.join(self._marks, "green")
            if 2 in seen or (1 in seen and not os.path.exists(mark)):
                open(mark if 1 in seen else mark + "-not", "w").close()
                os.kill(os.getpid(), signal.SIGKILL)
        return unit(means)

    def embed_texts(self, texts: list[str]) -> NDArray[np.float32]:
        raise NotImplementedError


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """A cluster of two nodes with one CPU each."""
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        cluster = Cluster()
        for _ in range(2):
            cluster.add_node(num_cpus=1, object_store_memory=100 * 2**20, include_dashboard=False)
        yield cluster.address
        cluster.shutdown()


@pytest.fixture(scope="module")
def encoder_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import open_clip
    import torch
    from safetensors.torch import save_file

    folder = tmp_path_factory.mktemp("encoder")
    (folder / "open_clip_config.json").write_text(json.dumps(CONFIG))
    model = open_clip.create_model(f"local-dir:{folder}", load_weights=False)
    random = torch.Generator().manual_seed(0)
    save_file({name: torch.randn(value.shape, generator=random) * 0.2 for name, value in model.state_dict().items()},
              str(folder / "open_clip_model.safetensors"))  # fmt: skip
    return folder


def rows(library: Path, query: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(library / "library.sqlite")) as db:
        return db.execute(query).fetchall()


WINDOWS = "SELECT id, sha256, start, end, motion, brightness, one_shot FROM windows ORDER BY id, sha256"
VECTORS = "SELECT vector FROM windows ORDER BY id, sha256"
FILES = "SELECT path, sha256, size, mtime_ns, caption, source, licence, words, date FROM files ORDER BY path"
CONTENTS = "SELECT sha256, settings, duration, frames, width, height, fps, codec, step FROM contents ORDER BY sha256"
LOOKS = "SELECT vectors FROM looks ORDER BY sha256"
SAID = "SELECT names, said FROM file_words ORDER BY 1, 2"


@pytest.mark.slow
def test_library_is_that_of_the_local_engine(
    cli: Cli, address: str, encoder_folder: Path, videos: Path, make_film: MakeVideo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_film(videos / "cuts" / "film.mp4", [((200, 20, 20), 2.5), ((20, 200, 20), 0.7), ((20, 20, 200), 7.0)])
    shutil.copy(videos / "red.mp4", videos / "red again.mp4")
    (videos / "broken.mp4").write_bytes(b"no video" * 99)
    (videos / "green.json").write_text(json.dumps({"caption": "a lawn", "source": "https://example.org/g", "license": "CC0"}))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    stored = interrupted(tmp_path / "ray", videos, encoder_folder, address)
    told = {}
    for name, options in (("local", ()), ("ray", ("--engine", "ray", "--address", address))):
        done = cli("index", videos, "--encoder", encoder_folder, "--library", tmp_path / name, "--json", "--retry", *options)
        told[name] = json.loads(done.out)
        assert (done.code, [line for line in done.err.splitlines() if "broken" not in line and "could not be read" not in line]) == (4, [])
    assert told["local"]["new"] == 4 and told["local"]["copies"] == 1
    assert told["ray"]["unchanged"] == len(stored) and told["ray"]["windows"] == told["local"]["windows"]
    assert told["ray"]["frames"] + sum(stored.values()) == told["local"]["frames"]  # what was stored is not read again
    for query in (WINDOWS, FILES, CONTENTS, SAID, "SELECT path, size, mtime_ns, message FROM failures"):
        assert rows(tmp_path / "ray", query) == rows(tmp_path / "local", query) != []
    for query in (VECTORS, LOOKS):
        far, here = (b"".join(blob for (blob,) in rows(tmp_path / name, query)) for name in ("ray", "local"))
        # The last bit of a product depends on how many frames are in its batch, here as in the local engine from run to run.
        np.testing.assert_allclose(np.frombuffer(far, np.float16), np.frombuffer(here, np.float16), rtol=0, atol=2**-11)
    assert list((tmp_path / "here").iterdir()) == []
    again = cli("index", videos, "--library", tmp_path / "ray", "--engine", "ray", "--address", "127.0.0.1:1")
    assert (again.code, again.out.startswith("5 unchanged")) == (0, True)  # nothing to read: no cluster is asked


def interrupted(folder: Path, videos: Path, encoder_folder: Path, address: str) -> dict[str, int]:
    """Begin a library and be interrupted when the first file has been stored: how many looks there are of each that is in it."""
    from echoreel_index.encode import open_encoder

    def stop(event: IndexEvent) -> None:
        if event.kind == "file":
            raise KeyboardInterrupt

    recipe = partial(open_encoder, str(encoder_folder), dtype=pick_encoder_dtype("cpu"))
    encoder = recipe()
    engine = RayEngine(EncoderRecipe(recipe, encoder.card.fingerprint, encoder.frame_size), WindowSettings(), address=address)
    with closing(Library.create_or_open(folder, encoder)) as library, pytest.raises(KeyboardInterrupt):
        library.update([videos], settings=WindowSettings(), engine=engine, progress=stop)
    stored = dict(rows(folder, "SELECT path, frames FROM files JOIN contents USING (sha256)"))
    assert len(stored) == 1
    return stored


def ours(pid: int) -> bool:
    """Whether a process descends from this one (Linux)."""
    while pid > 1 and pid != os.getpid():
        try:
            pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            return False
    return pid == os.getpid()


def stage_processes(stage: str) -> list[int]:
    """Processes of this test that hold actors of a stage (Linux)."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            title = (folder / "cmdline").read_bytes()
        except OSError:
            continue
        if title.startswith(b"ray::") and stage.encode() in title and ours(int(folder.name)):
            found.append(int(folder.name))
    return found


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/proc/self/cmdline"), reason="processes are found through /proc")
def test_work_of_lost_processes_is_done_again(address: str, videos: Path, make_video: MakeVideo, tmp_path: Path) -> None:
    from ray import cloudpickle

    (tmp_path / "marks").mkdir()
    for name in ("known", "gone"):
        make_video(videos / f"{name}.mp4", colour=(90, 30, 30))
    (videos / "gone.mp4").write_bytes((videos / "gone.mp4").read_bytes()[:-1] + b"x")
    shutil.copy(videos / "red.mp4", videos / "twin.mp4")
    files = list(walk([videos]))
    (videos / "gone.mp4").unlink()
    stored = content_hash(str(videos / "known.mp4"))
    killed: list[int] = []

    def known(sha256: str) -> bool:
        if not killed:  # while its process waits for this very answer
            killed.extend(stage_processes("DecodeStage"))
            for pid in killed:
                os.kill(pid, signal.SIGKILL)
        return sha256 == stored

    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    engine = RayEngine(EncoderRecipe(partial(MortalEncoder, str(tmp_path / "marks")), "e" * 64, 32), WindowSettings(), address=address)
    outcomes = list(engine.read(files, known))
    assert len(killed) == 1 and (tmp_path / "marks" / "green").exists()
    assert sorted(one.file.path for one in outcomes if isinstance(one, Begun)) == sorted(file.path for file in files)
    told = {Path(one.file.path).stem: one for one in outcomes if not isinstance(one, Begun)}
    assert len(outcomes) == 2 * len(files) and set(told) == {"red", "green", "blue", "known", "gone", "twin"}
    assert message_of(told["blue"]) == LOST
    assert message_of(told["gone"]) == "cannot be read: No such file or directory"
    assert content_of(told["known"]) is None and {content_of(told["red"]) is None, content_of(told["twin"]) is None} == {True, False}
    alone = LocalEngine(MortalEncoder(None), WindowSettings()).read([file for file in files if "green" in file.path], lambda sha256: False)
    green = content_of(next(one for one in alone if not isinstance(one, Begun)))
    assert green is not None and (content := content_of(told["green"])) is not None
    np.testing.assert_array_equal(content.looks, green.looks)
    assert [window.id for window in content.windows] == [window.id for window in green.windows]


def message_of(outcome: Outcome) -> str:
    assert isinstance(outcome, Failed)
    return outcome.message


def content_of(outcome: Outcome) -> Any:
    assert isinstance(outcome, Taken)
    return outcome.content


@pytest.mark.slow
def test_what_an_encoder_raises_ends_the_run(address: str, videos: Path) -> None:
    import ray
    from ray import cloudpickle

    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    recipe = EncoderRecipe(partial(MortalEncoder, None), "0" * 64, 16)
    with pytest.raises(EncoderMismatch, match="other weights on node"):
        list(RayEngine(recipe, WindowSettings(), address=address).read(list(walk([videos])), lambda sha256: False))
    assert not ray.is_initialized()


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/proc/self/cmdline"), reason="processes are found through /proc")
def test_cluster_that_fails_ends_the_run(address: str, videos: Path) -> None:
    import ray
    from ray import cloudpickle

    def known(sha256: str) -> bool:
        for pid in stage_processes("Desk"):
            os.kill(pid, signal.SIGKILL)
        return False

    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    recipe = EncoderRecipe(partial(MortalEncoder, None), "e" * 64, 32)
    with pytest.raises(EchoreelError, match="the Ray cluster has failed") as caught:
        list(RayEngine(recipe, WindowSettings(), address=address).read(list(walk([videos])), known))
    assert caught.value.hint is not None and "is kept" in caught.value.hint and not ray.is_initialized()


def test_actors_for_a_cluster() -> None:
    def made(cpus: float, gpus: float = 0, gpu: bool = False, decoders: int | None = None) -> tuple[int, int, float]:
        plan = crew(cpus, gpus, gpu=gpu, decoders=decoders)
        return plan.decoders, plan.embedders, plan.cpus

    assert made(2) == made(2, decoders=8) == (1, 1, 1.0) and made(16) == (8, 8, 1.0) and made(1) == (1, 1, 0.5)
    assert made(16, 2, gpu=True) == (16, 2, 1.0) and made(16, decoders=3) == (3, 13, 1.0)
    with pytest.raises(UsageError, match="GPU"):
        crew(16, 0, gpu=True)


def test_desk_answers_each_and_counts_what_was_never_ended() -> None:
    async def day() -> None:
        desk = Desk()
        asking = [asyncio.create_task(desk.ask(Question(one, "ab", "", "node"))) for one in (7, 8)]
        await asyncio.sleep(0)
        assert [one.file for one in await desk.questions(1.0)] == [7, 8]
        assert await desk.questions(0.001) == []
        await desk.answer({8: False, 7: True, 9: True})
        assert [await one for one in asking] == [True, False]
        assert [await desk.begin("a"), await desk.begin("a"), await desk.begin("b")] == [1, 2, 1]
        await desk.end("a")
        assert await desk.begin("a") == 1

    asyncio.run(day())


def test_file_that_only_a_node_cannot_read(tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    path.write_bytes(b"film")
    asked = Question(0, "", "cannot be read: No such file or directory", "node-3")
    here = FoundFile(str(path), stamp(str(path)))
    assert where_it_fails(here, asked) == (
        "on node node-3: cannot be read: No such file or directory; here it can: every node must reach it under the same path"
    )
    assert "changed" in where_it_fails(FoundFile(str(path), FileStamp(9, 9)), asked)
    path.unlink()
    assert where_it_fails(here, asked) == "cannot be read: No such file or directory"


def test_encoder_elsewhere_must_have_the_same_weights() -> None:
    assert opened(EncoderRecipe(partial(MortalEncoder, None), "e" * 64, 32)).card.name == "mortal"
    with pytest.raises(EncoderMismatch, match="other weights"):
        opened(EncoderRecipe(partial(MortalEncoder, None), "f" * 64, 32))


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:10001", "nowhere", "127.0.0.1:99999999"])
def test_address_without_a_cluster(address: str) -> None:
    with pytest.raises(UsageError) as caught:
        check_address(address)
    assert caught.value.hint is not None and "--address" in caught.value.hint


def test_command_refuses_engines_that_are_none(cli: Cli, tmp_path: Path) -> None:
    wrong = cli("index", tmp_path, "--engine", "spark")
    lonely = cli("index", tmp_path, "--address", "auto")
    assert (wrong.code, lonely.code) == (2, 2)
    assert "there is no engine 'spark'" in wrong.err and "--engine ray" in lonely.err


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    engine = RayEngine(EncoderRecipe(partial(MortalEncoder, None), "e" * 64, 32), WindowSettings())
    with pytest.raises(UsageError, match="not installed") as caught:
        next(iter(engine.read([], lambda sha256: False)))
    assert caught.value.hint == "pip install 'echoreel[ray]'"
