"""Which device and number type a run gets when the user says `auto`, and what this machine has to offer.

torch is imported inside the functions: importing this module costs nothing.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from echoreel_index.errors import UsageError

DTYPES = {"float32": "float32", "fp32": "float32", "bfloat16": "bfloat16", "bf16": "bfloat16", "float16": "float16", "fp16": "float16"}
"""What `--dtype` takes besides `auto`, and torch's name of it."""


@dataclass(frozen=True, slots=True)
class Device:
    """One place where a model can run; memory in bytes, None where it cannot be asked."""

    name: str
    title: str
    memory: int | None
    free: int | None


def pick_device(wanted: str = "auto") -> str:
    """`auto` means the GPU with most free memory, then Apple's, then the CPU; any other name has to exist here (UsageError)."""
    found = devices()
    if wanted == "auto":
        gpus = [device for device in found if device.name.startswith("cuda")]
        return max(gpus, key=lambda device: device.free or 0).name if gpus else found[0].name
    known = [device.name for device in found]
    name = f"{wanted}:0" if wanted == "cuda" else wanted
    if name not in known:
        raise UsageError(f"there is no device {wanted!r} here", hint=f"this machine has {', '.join(known)}; see echoreel doctor")
    return name


def pick_dtype(wanted: str, device: str) -> str:
    """torch's name of the number type; `auto` is bfloat16 on GPUs that compute it, float16 on older ones, else float32.

    The CPU stays at float32: there a video is to come out the same on every machine, and small models are quick enough.
    """
    if wanted != "auto":
        if wanted not in DTYPES:
            raise UsageError(f"there is no number type {wanted!r}", hint=f"use auto, {', '.join(sorted(set(DTYPES.values())))}")
        return DTYPES[wanted]
    if not device.startswith("cuda"):
        return "float32"
    import torch

    return "bfloat16" if torch.cuda.get_device_capability(device)[0] >= 8 else "float16"


def pick_encoder_dtype(device: str) -> Literal["float32", "bfloat16"]:
    """The number type in which frames are embedded: bfloat16 where the device computes it faster than float32.

    On the CPU that takes AVX-512 BF16 or AMX. Cosines move by less than a hundredth, and by the same for all frames.
    """
    import torch

    if device.startswith("cuda"):
        return "bfloat16" if torch.cuda.get_device_capability(device)[0] >= 8 else "float32"
    if device != "cpu":
        return "float32"
    abilities = torch.cpu.get_capabilities()
    return "bfloat16" if abilities.get("avx512_bf16") or abilities.get("amx_bf16") else "float32"


def devices() -> list[Device]:
    """Everything a model can run on, best first; the CPU is always last."""
    import torch

    found = []
    if torch.cuda.is_available():
        for number in range(torch.cuda.device_count()):
            free, total = torch.cuda.mem_get_info(number)
            found.append(Device(f"cuda:{number}", torch.cuda.get_device_name(number), total, free))
    if torch.backends.mps.is_available():
        found.append(Device("mps", "Apple GPU", None, None))
    return [*found, cpu()]


def cpu() -> Device:
    """The processor, with the machine's memory."""
    total, free = memory()
    return Device("cpu", _cpu_title(), total, free)


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def memory() -> tuple[int | None, int | None]:
    """(total, available) main memory in bytes, as far as the system tells; a container's limit counts."""
    try:
        page = os.sysconf("SC_PAGE_SIZE")
        total, free = page * os.sysconf("SC_PHYS_PAGES"), _available() or page * os.sysconf("SC_AVPHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return None, None
    limit = _number(Path("/sys/fs/cgroup/memory.max"))
    if limit is not None and limit < total:
        used = _number(Path("/sys/fs/cgroup/memory.current")) or 0
        return limit, min(free, max(limit - used, 0))
    return total, free


def has_fast_bfloat16() -> bool | None:
    """Whether the processor multiplies bfloat16 itself; None where the system does not say."""
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    return "avx512_bf16" in flags or "amx_bf16" in flags or "bf16" in flags.split()


def _available() -> int | None:
    # MemAvailable counts caches that the kernel would give up; SC_AVPHYS_PAGES does not.
    try:
        lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable")), None)


def _cpu_title() -> str:
    import platform

    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    named = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "")
    return named if named not in ("", "unknown") else platform.processor() or platform.machine()


def _number(file: Path) -> int | None:
    try:
        return int(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
