from __future__ import annotations

import io
import os
import pickle
import struct
import sys
import types
import zipfile
from collections import OrderedDict, defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from echoreel_cli.models.deepspeed import read_checkpoint
from echoreel_index.errors import WeightsError


@pytest.fixture
def weights() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(7)
    base = torch.randn(6, 8, generator=generator)
    return {
        "half": torch.randn(3, 4, generator=generator).half(),
        "brain": torch.randn(5, generator=generator).bfloat16(),
        "ids": torch.arange(7)[None],
        "transposed": base.t(),
        "slice": base[2:4, 1::2],
        "empty": torch.empty(0, 3),
        "single": torch.tensor(2.5),
    }


@pytest.fixture
def foreign() -> Iterator[types.ModuleType]:
    """A training library that is there when the file is written and gone when it is read."""
    module = types.ModuleType("trainer_of_others")
    exec(
        "class Scaler:\n    def __init__(self): self.scale, self.history = 2.0, [1, 2]\n"
        "class Steps(dict): pass\nclass Ranks(list): pass\n"
        "class Odd:\n    def __reduce__(self): return (run, ('called',))\n"
        "ran = []\ndef run(word): ran.append(word)\n",
        module.__dict__,
    )
    for name in ("Scaler", "Steps", "Ranks", "Odd", "run"):
        getattr(module, name).__module__ = module.__name__
    sys.modules[module.__name__] = module
    yield module
    sys.modules.pop(module.__name__, None)


def same(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> bool:
    return list(found) == list(wanted) and all(
        found[key].dtype == wanted[key].dtype and torch.equal(found[key], wanted[key]) for key in wanted
    )


@pytest.mark.parametrize("container", ["module", "state_dict", None])
def test_plain_weights_in_every_wrapping(container: str | None, weights: dict[str, Tensor], tmp_path: Path) -> None:
    content: object = OrderedDict(weights) if container is None else {container: OrderedDict(weights), "global_steps": 3, "lr": None}
    torch.save(content, tmp_path / "file.pt")
    checkpoint = read_checkpoint(tmp_path / "file.pt")
    assert checkpoint.container == container and checkpoint.ignored == ()
    assert same(dict(checkpoint.tensors), weights)


def test_safetensors(weights: dict[str, Tensor], tmp_path: Path) -> None:
    save_file({key: value.contiguous().clone() for key, value in weights.items()}, tmp_path / "file.safetensors")
    found = read_checkpoint(tmp_path / "file.safetensors").tensors
    assert set(found) == set(weights) and torch.equal(found["slice"], weights["slice"])


def test_the_file_format_of_old_torch(weights: dict[str, Tensor], tmp_path: Path) -> None:
    torch.save({"state_dict": weights}, tmp_path / "old.ckpt", _use_new_zipfile_serialization=False)
    assert same(dict(read_checkpoint(tmp_path / "old.ckpt").tensors), weights)


def test_objects_of_an_absent_library_beside_the_weights_are_left_alone(
    foreign: types.ModuleType, weights: dict[str, Tensor], tmp_path: Path
) -> None:
    steps, ranks = foreign.Steps(a=1), foreign.Ranks([4, 5])
    beside = {"scaler": foreign.Scaler(), "steps": steps, "ranks": ranks, "odd": foreign.Odd(), "counts": defaultdict(int, a=1)}
    parameters = {f"p.{key}": torch.nn.Parameter(value) for key, value in weights.items() if value.is_floating_point()}
    torch.save({**beside, "module": OrderedDict({**weights, **parameters}), "optimizer": None, "version": "0.14"}, tmp_path / "file.pt")
    before = (tmp_path / "file.pt").read_bytes()
    foreign.ran.clear()

    for present in (True, False):  # even where the library is installed nothing of it runs
        if not present:
            del sys.modules[foreign.__name__]
        checkpoint = read_checkpoint(tmp_path / "file.pt")
        assert checkpoint.container == "module"
        assert same(dict(checkpoint.tensors), {**weights, **{key: value.data for key, value in parameters.items()}})
        assert {name.rpartition(".")[2] for name in checkpoint.ignored} == {"Scaler", "Steps", "Ranks", "run"}
    assert foreign.ran == []

    found = read_checkpoint(tmp_path / "file.pt").tensors["half"]
    found.zero_()
    assert (tmp_path / "file.pt").read_bytes() == before, "writing to a tensor must never reach the file"


class Hostile:
    def __init__(self, function: object, *args: object) -> None:
        self.call = (function, args)

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return self.call


@pytest.mark.parametrize("place", ["beside", "among", "instead"])
@pytest.mark.parametrize("name", ["system", "eval", "exec", "popen", "getattr"])
def test_a_hostile_file_is_refused_by_name_and_does_nothing(name: str, place: str, tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    code = f"open({str(marker)!r}, 'w')"
    hostile = {
        "system": Hostile(os.system, f"touch {marker}"),
        "popen": Hostile(os.popen, f"touch {marker}"),
        "eval": Hostile(eval, code),
        "exec": Hostile(exec, code),
        "getattr": Hostile(getattr, "text", "upper"),
    }[name]
    good = {"weight": torch.ones(2)}
    content = {"beside": {"module": good, "x": hostile}, "among": {"module": {**good, "x": hostile}}, "instead": hostile}[place]
    torch.save(content, tmp_path / "file.pt")
    with pytest.raises(WeightsError, match=f"wants to run .*{name}") as caught:
        read_checkpoint(tmp_path / "file.pt")
    assert caught.value.hint is not None and not marker.exists() and caught.value.exit_code == 5

    torch.save(content, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    with pytest.raises(WeightsError, match="not safe to read"):
        read_checkpoint(tmp_path / "old.pt")
    assert not marker.exists()


def test_an_object_among_the_weights_is_refused(foreign: types.ModuleType, tmp_path: Path) -> None:
    torch.save({"module": {"weight": torch.ones(2), "scaler": foreign.Scaler()}}, tmp_path / "file.pt")
    with pytest.raises(WeightsError, match="'scaler' is no tensor"):
        read_checkpoint(tmp_path / "file.pt")


def archive(tmp_path: Path, program: bytes, numbers: bytes = b"\0" * 64) -> Path:
    file = tmp_path / "made.pt"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as out:
        out.writestr("made/data.pkl", program)
        out.writestr("made/byteorder", sys.byteorder)
        out.writestr("made/version", "3\n")
        out.writestr("made/data/0", numbers)
    return file


def storage(numel: int) -> bytes:
    out = b"(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpu"
    return out + b"J" + struct.pack("<i", numel) + b"tQ"


def numbers_program(values: tuple[int, ...]) -> bytes:
    return b"(" + b"".join(b"J" + struct.pack("<i", value) for value in values) + b"t"


def tensor_program(offset: int, shape: tuple[int, ...], strides: tuple[int, ...], numel: int, *, built: bytes = b"") -> bytes:
    """A hand-made pickle of {"module": {"w": tensor}} and an object of an unknown kind, which forces the second reader."""
    tensor = b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage(numel) + b"J" + struct.pack("<i", offset)
    tensor += numbers_program(shape) + numbers_program(strides) + b"\x89}tR" + built
    weights = b"}X\x01\0\0\0w" + tensor + b"s"
    return b"\x80\x02}X\x06\0\0\0module" + weights + b"sX\x01\0\0\0xcnowhere\nThing\n)\x81s."


def test_a_hand_made_file_reads_as_written(tmp_path: Path) -> None:
    numbers = torch.arange(16, dtype=torch.float32).numpy().tobytes()
    checkpoint = read_checkpoint(archive(tmp_path, tensor_program(1, (2, 3), (4, 1), 16), numbers))
    assert checkpoint.tensors["w"].tolist() == [[1.0, 2.0, 3.0], [5.0, 6.0, 7.0]] and checkpoint.ignored == ("nowhere.Thing",)


@pytest.mark.parametrize(
    ("offset", "shape", "strides", "numel"),
    [
        (11, (2, 3), (4, 1), 16),
        (0, (17,), (1,), 16),
        (0, (2,), (1 << 30,), 16),
        (0, (4,), (1,), 17),
        (-1, (2,), (1,), 16),
        (0, (2,), (-1,), 16),
    ],
)
def test_no_tensor_reaches_outside_its_storage(
    offset: int, shape: tuple[int, ...], strides: tuple[int, ...], numel: int, tmp_path: Path
) -> None:
    with pytest.raises(WeightsError):
        read_checkpoint(archive(tmp_path, tensor_program(offset, shape, strides, numel)))


@pytest.mark.parametrize(
    "built",
    [
        b"}X\x06\0\0\0offsetJ\xff\xff\xff\x7fsb",  # new contents for the finished record by name
        b"(N}X\x06\0\0\0offsetJ\xff\xff\xff\x7fstb",  # by slot
        b"]J\xff\xff\xff\x7fab",  # by position
    ],
)
def test_a_finished_record_cannot_be_rewritten(built: bytes, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="damaged"):
        read_checkpoint(archive(tmp_path, tensor_program(0, (2,), (1,), 16, built=built)))


def test_the_extension_registry_is_no_way_in(tmp_path: Path) -> None:
    program = b"\x80\x02}X\x06\0\0\0module}X\x01\0\0\0w\x82\x01)Rss."
    with pytest.raises(WeightsError, match="extension registry"):
        read_checkpoint(archive(tmp_path, program))


@pytest.mark.parametrize("kind", ["text", "html", "cut", "empty", "zip", "list", "nothing"])
def test_what_is_no_checkpoint_is_said_to_be_none(kind: str, weights: dict[str, Tensor], tmp_path: Path) -> None:
    file = tmp_path / "file.pt"
    whole = io.BytesIO()
    torch.save(weights, whole)
    if kind in ("list", "nothing"):
        torch.save([torch.ones(2)] if kind == "list" else {}, file)
    elif kind == "zip":
        with zipfile.ZipFile(file, "w") as out:
            out.writestr("a.txt", "text")
    else:
        texts = {
            "text": b"hello",
            "html": b"<!doctype html><html></html>",
            "cut": whole.getvalue()[: len(whole.getvalue()) // 2],
            "empty": b"",
        }
        file.write_bytes(texts[kind])
    with pytest.raises(WeightsError):
        read_checkpoint(file)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="cannot be read"):
        read_checkpoint(tmp_path / "absent.pt")


def test_a_plain_pickle_is_no_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "file.pkl").write_bytes(pickle.dumps({"module": {"a": 1}}, protocol=2))
    with pytest.raises(WeightsError):
        read_checkpoint(tmp_path / "file.pkl")
