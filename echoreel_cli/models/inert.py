"""A pickle machine without any power, for checkpoints in which objects of strange kinds lie beside the weights.

It knows no class and no function at all. A tensor becomes a record of where its bytes are, every other name becomes a blank that
swallows what is done to it. Real tensors are made afterwards, from the records in the weights alone, with every offset checked;
blanks among the weights are an error, blanks beside them are dropped.

A name of the standard library that is no plain data type (`os.system`, `builtins.eval`) is refused by name: no checkpoint needs
it. That is a courtesy to the user and not the defence: the defence is that nothing is ever called.
"""

from __future__ import annotations

import io
import mmap
import pickle
import pickletools
import sys
import zipfile
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from echoreel_index.errors import WeightsError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

UNSAFE_HINT = "it was not opened; ask its author for a safetensors file"
DATA_TYPES = frozenset(
    """
    argparse.Namespace builtins.bool builtins.bytearray builtins.bytes builtins.complex builtins.dict builtins.float builtins.frozenset
    builtins.int builtins.list builtins.object builtins.range builtins.set builtins.slice builtins.str builtins.tuple
    collections.Counter collections.OrderedDict collections.defaultdict collections.deque copyreg._reconstructor _codecs.encode
    datetime.date datetime.datetime datetime.timedelta datetime.timezone decimal.Decimal enum.Enum enum.IntEnum fractions.Fraction
    functools.partial pathlib.Path pathlib.PosixPath pathlib.PurePath pathlib.PurePosixPath pathlib.PureWindowsPath pathlib.WindowsPath
    types.SimpleNamespace uuid.UUID
    """.split()
)
"""Names of the standard library that honest checkpoints hold; they become blanks all the same."""


class Blank:
    """Stands for an object of a kind that is not known here: takes everything, does nothing."""

    def __new__(cls, *args: object, **named: object) -> Blank:
        return object.__new__(cls)

    def __init__(self, *args: object, **named: object) -> None: ...

    def __call__(self, *args: object, **named: object) -> Blank:
        return Blank()

    def __setstate__(self, state: object) -> None: ...

    def __setitem__(self, key: object, value: object) -> None: ...

    def append(self, item: object) -> None: ...

    def extend(self, items: object) -> None: ...

    def add(self, item: object) -> None: ...


class OpenDict(dict[object, object]):
    """Stands for an OrderedDict; its attributes (torch keeps `_metadata` there) are forgotten."""

    def __setstate__(self, state: object) -> None: ...


# Tuples, because a pickle can put new contents into an object that has attributes, but not into a tuple.


class StorageKind(NamedTuple):
    """A class such as `torch.HalfStorage`, by the name of its numbers."""

    dtype: str


class Storage(NamedTuple):
    """Numbers of one kind in one member of the archive."""

    member: str
    dtype: str
    numel: int


class TensorRecord(NamedTuple):
    """Where the numbers of a tensor are; offset and strides count numbers, not bytes."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    archive: Archive

    def made(self, key: str) -> Tensor:
        """The tensor itself, its numbers still in the file; WeightsError if it would reach outside its storage."""
        import torch

        numbers = self.archive.numbers(self.storage)
        reach = self.offset + sum((n - 1) * stride for n, stride in zip(self.shape, self.strides, strict=False))
        empty = 0 in self.shape
        if len(self.shape) != len(self.strides) or (not empty and reach >= self.storage.numel):
            raise WeightsError(f"{self.archive.file} is damaged: {key!r} reaches past its storage")
        return numbers.new_empty(self.shape) if empty else torch.as_strided(numbers, self.shape, self.strides, self.offset)


class Archive:
    """The zip file of `torch.save`, mapped into memory; its members are stored, not compressed."""

    def __init__(self, file: Path) -> None:
        self.file = file
        try:
            with zipfile.ZipFile(file) as listing:
                self._members = {info.filename: info for info in listing.infolist()}
                pickles = [name for name in self._members if name.endswith("/data.pkl")]
                if len(pickles) != 1:
                    raise WeightsError(f"{file} is a zip file, but no checkpoint of torch")
                self.root = pickles[0].removesuffix("data.pkl")
                self.program = listing.read(pickles[0])
                order = listing.read(f"{self.root}byteorder") if f"{self.root}byteorder" in self._members else b"little"
        except (zipfile.BadZipFile, EOFError, NotImplementedError) as error:
            raise WeightsError(f"{file} is damaged: {error}") from error
        if order.decode("latin-1") != sys.byteorder:
            raise WeightsError(f"{file} was written on a machine with another byte order")
        with file.open("rb") as stream:
            # Copy-on-write: torch wants memory that may be written, the file must never be.
            self._bytes = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_COPY)

    def numbers(self, storage: Storage) -> Tensor:
        """All numbers of one storage (n), straight from the file."""
        import torch

        dtype: torch.dtype = getattr(torch, storage.dtype)
        info = self._members.get(f"{self.root}data/{storage.member}")
        size = storage.numel * dtype.itemsize
        if info is None or info.compress_type != zipfile.ZIP_STORED or info.file_size < size:
            raise WeightsError(f"{self.file} is damaged: member {storage.member!r} is missing or too short")
        if not storage.numel:
            return torch.empty(0, dtype=dtype)
        # The local header repeats the name and may have an extra field of another length than the central one.
        header = self._bytes[info.header_offset : info.header_offset + 30]
        if header[:4] != b"PK\x03\x04":
            raise WeightsError(f"{self.file} is damaged: member {storage.member!r} has no header")
        start = info.header_offset + 30 + int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")
        if start + size > len(self._bytes):
            raise WeightsError(f"{self.file} is damaged: member {storage.member!r} reaches past its end")
        return torch.frombuffer(self._bytes, dtype=dtype, count=storage.numel, offset=start)


STORAGES = {
    "HalfStorage": "float16", "BFloat16Storage": "bfloat16", "FloatStorage": "float32", "DoubleStorage": "float64", "CharStorage": "int8",
    "ByteStorage": "uint8", "ShortStorage": "int16", "IntStorage": "int32", "LongStorage": "int64", "BoolStorage": "bool",
}  # fmt: skip


class InertUnpickler(pickle.Unpickler):
    """A pickle machine in which every name is one of ours: it can neither import nor call anything else."""

    def __init__(self, archive: Archive) -> None:
        super().__init__(io.BytesIO(archive.program))
        self._archive = archive
        self.unknown: set[str] = set()

    def find_class(self, module: str, name: str) -> Any:
        """Our stand-in for a name; called by the machine for every name in the file."""
        # torch writes protocol 2, which names things as Python 2 did: `__builtin__.eval`.
        module, name = NAME_MAPPING.get((module, name), (IMPORT_MAPPING.get(module, module), name))
        full = f"{module}.{name}"
        if full == "collections.OrderedDict":
            return OpenDict
        if module == "torch" and name in STORAGES:
            return StorageKind(STORAGES[name])
        if full in ("torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_tensor"):
            return self._tensor
        if full in ("torch._utils._rebuild_parameter", "torch._utils._rebuild_parameter_with_state"):
            return _first
        if module.partition(".")[0] in sys.stdlib_module_names and full not in DATA_TYPES:
            raise WeightsError(f"{self._archive.file} is not safe to read: it wants to run {full}", hint=UNSAFE_HINT)
        if not full.startswith("torch.") and full not in DATA_TYPES:
            self.unknown.add(full)
        return Blank

    def persistent_load(self, pid: Any) -> object:
        """torch's way to name a storage: ("storage", kind, member, device, count)."""
        match pid:
            case ("storage", StorageKind() as kind, str() as member, _, int() as count) if count >= 0:
                return Storage(member, kind.dtype, count)
        return Blank()

    def _tensor(self, storage: object, offset: object, shape: object, strides: object, *rest: object) -> object:
        if not (isinstance(storage, Storage) and _counts((offset,)) and _counts(shape) and _counts(strides)):
            return Blank()
        return TensorRecord(storage, offset, shape, strides, self._archive)  # type: ignore[arg-type]  # _counts has looked


def _first(value: object, *rest: object) -> object:
    return value


def _counts(values: object) -> bool:
    return isinstance(values, tuple) and all(type(value) is int and value >= 0 for value in values)


def read_inert(file: Path) -> tuple[object, tuple[str, ...]]:
    """What a checkpoint holds, with records for tensors and blanks for objects, and the names of the objects' kinds."""
    archive = Archive(file)
    try:
        # The extension registry is the one way round find_class; no writer of checkpoints uses it.
        if any(opcode.name.startswith("EXT") for opcode, _, _ in pickletools.genops(archive.program)):
            raise WeightsError(f"{file} is not safe to read: it uses the extension registry of pickle", hint=UNSAFE_HINT)
        machine = InertUnpickler(archive)
        return machine.load(), tuple(sorted(machine.unknown))
    except WeightsError:
        raise
    except Exception as error:  # a broken program may fail in any way that a pickle can
        raise WeightsError(f"{file} is damaged or no checkpoint: {error}") from error
