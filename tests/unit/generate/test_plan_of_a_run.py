from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from echoreel_cli.generate.plan import (
    Estimate,
    Sampling,
    Shape,
    check,
    estimate,
    parameters,
    read_shape,
    refuse_if_disk_full,
    refuse_if_too_big,
    size_in_words,
)
from echoreel_cli.generate.provenance import differences, dumps, load
from echoreel_cli.generate.retrieve import known_score
from echoreel_cli.models.folder import read_info
from echoreel_index.errors import EchoreelError, OutOfMemory, UsageError, WeightsError
from echoreel_index.nouns import EncoderCard
from tests.tiny_model import write_tiny_model

SAMPLING = Sampling(seed=3, steps=50, guidance=12.0, eta=1.0, height=256, width=256, frames=16, fps=4.0)
PUBLIC = Shape(width=320, levels=4, vae_factor=8, vae_width=128)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("models") / "tiny")


def test_sizes_that_fit_the_network(folder: Path) -> None:
    assert read_shape(folder) == Shape(width=32, levels=2, vae_factor=2, vae_width=32)
    assert PUBLIC.multiple == 64
    check(SAMPLING, PUBLIC)
    with pytest.raises(UsageError) as caught:
        check(replace(SAMPLING, width=300), PUBLIC)
    assert caught.value.hint == "try 320"


def test_memory_grows_with_what_is_asked(folder: Path) -> None:
    info, shape = read_info(folder), read_shape(folder)

    def need(sampling: Sampling, references: int = 2, dtype: str = "float32", offload: bool = False, device: str = "cuda:0") -> int:
        return estimate(folder, info, shape, sampling, references=references, dtype=dtype, offload=offload, device=device).memory

    assert need(replace(SAMPLING, frames=32)) > need(SAMPLING) > need(SAMPLING, dtype="float16")
    assert need(SAMPLING) > need(SAMPLING, references=0), "without references the adapter's weights are not counted"
    assert need(SAMPLING, offload=True) < need(SAMPLING)
    assert need(SAMPLING) == need(SAMPLING, offload=True, device="cpu")
    from safetensors.torch import load_file

    weights = load_file(folder / "unet" / "model.safetensors")
    assert parameters(folder / "unet") == sum(tensor.numel() for tensor in weights.values())


def test_what_cannot_work_is_refused_with_a_way_out(tmp_path: Path) -> None:
    refuse_if_too_big(Estimate(10**9, 10**9), 3 * 10**9, "cuda:0", SAMPLING)
    refuse_if_too_big(Estimate(10**9, 10**9), None, "mps", SAMPLING)
    with pytest.raises(OutOfMemory, match=r"need about 2 GB on cuda:0, 1 GB are free") as caught:
        refuse_if_too_big(Estimate(10**9, 10**9), 10**9, "cuda:0", SAMPLING)
    assert caught.value.hint is not None and "--offload model" in caught.value.hint
    refuse_if_disk_full(tmp_path / "not" / "there", 1, SAMPLING)
    with pytest.raises(EchoreelError, match="videos need about"):
        refuse_if_disk_full(tmp_path, 10**12, SAMPLING)
    assert [size_in_words(number) for number in (12, 1500, 2 * 10**9, 10**16)] == ["12 bytes", "1.5 kB", "2 GB", "1e+04 TB"]


def test_damaged_weights_are_found_early(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"\xff" * 64)
    with pytest.raises(WeightsError, match="is damaged"):
        parameters(tmp_path)


RECORD = {
    "schema": "echoreel.generation/1", "prompt": "x", "negative": "", "seed": 1, "steps": 2, "guidance": 5, "eta": 1.0,
    "width": 16, "height": 16, "frames": 4, "fps": 4.0, "device": "cpu", "dtype": "float32", "threads": 1, "offload": "none",
    "created": "2026-01-01T00:00:00+00:00", "video": {"file": "x.mp4", "sha256": "00", "bytes": 1},
    "model": {"name": "m", "backbone": "lvdm", "adapter": None, "hashes": {"a": "b"}}, "retrieval": None,
    "references": [{"path": "/a.mp4", "start": 0, "end": 1.5}], "versions": {}, "timings": {"denoise": 1.0},
}  # fmt: skip


def test_a_record_comes_back_as_it_was_written(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(json.dumps(RECORD))
    record = load(tmp_path / "x.mp4")
    assert record.guidance == 5.0 and record.references[0].end == 1.5
    (tmp_path / "y.json").write_bytes(dumps(record))
    assert load(tmp_path / "y.json") == record


@pytest.mark.parametrize(
    ("change", "says"),
    [({"schema": "echoreel.hit/1"}, "no record of a generation"), ({"sede": 3}, "unknown key 'sede'"), ({"seed": "3"}, "seed")],
)
def test_a_record_that_is_not_understood_is_refused(change: dict[str, object], says: str, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(json.dumps({**RECORD, **change}))
    with pytest.raises(UsageError, match=says):
        load(tmp_path / "x.json")


def test_versions_are_compared_in_words() -> None:
    assert differences({"torch": "2.11", "av": "18"}, {"torch": "2.15", "av": "18", "numpy": "2"}) == ["numpy - -> 2", "torch 2.11 -> 2.15"]


@pytest.mark.parametrize(("library", "known"), [("PE-Core-B-16", 0.2), ("PE-Core-B-16/meta", 0.2), ("mini", None)])
def test_a_score_is_known_for_the_encoder_it_was_set_for(library: str, known: float | None) -> None:
    assert known_score(EncoderCard(library, 8, "f"), "PE-Core-B-16", 0.2) == known
