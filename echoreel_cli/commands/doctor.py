"""`echoreel doctor`: what is there on this machine, and what would be used."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer

from echoreel_cli import __version__, devices
from echoreel_cli.config import Settings, cache_dir, data_dir, load, user_file
from echoreel_cli.console import Console, JsonOption, QuietOption, emphasised
from echoreel_index.errors import EchoreelError

PACKAGES = (
    "torch", "torchvision", "diffusers", "transformers", "accelerate", "safetensors",
    "open_clip_torch", "faiss-cpu", "decord2", "av", "numpy", "pillow", "typer", "rich", "yt-dlp",
)  # fmt: skip
CHECKS = {
    "decord": "import decord",
    "av": "import av",
    "h264": "import av; av.codec.Codec('libx264', 'w')",
}


@dataclass(frozen=True, slots=True)
class Report:
    """Everything doctor knows; `problems` is empty when all commands can work."""

    echoreel: str
    python: str
    platform: str
    packages: dict[str, str | None]
    cores: int
    fast_bfloat16: bool | None
    devices: list[dict[str, object]]
    disk_free: int
    decoders: dict[str, str]
    folders: dict[str, str]
    library: dict[str, object]
    models: list[dict[str, object]]
    downloads: list[dict[str, object]]
    would_use: dict[str, object]
    problems: list[str]


def register(app: typer.Typer) -> None:
    """Add the command `doctor`."""
    app.command("doctor")(doctor)


def doctor(
    fast: Annotated[bool, typer.Option("--fast", help="Do not load torch or the decoders: at once, but devices stay unknown.")] = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Say what is there (versions, devices, memory, decoders, models) and what would be used.

    Exits with 1 when something is missing that commands need. With -q only problems are printed.

    Examples:
      echoreel doctor
      echoreel doctor --fast --json
    """
    console = Console(json=as_json, quiet=quiet)
    report = examined(load(), fast=fast)
    if as_json:
        console.json({"schema": "echoreel.doctor/1", **asdict(report)})
    else:
        for line in report.problems if quiet else drawn(report):
            console.result(line)
    if report.problems:
        raise typer.Exit(1)


def examined(settings: Settings, *, fast: bool) -> Report:
    """Look at everything; `fast` leaves out what has to load torch or a decoder."""
    problems: list[str] = []
    packages = {name: _version(name) for name in PACKAGES}
    problems += [f"the package {name} is not installed; pip install echoreel again" for name, version in packages.items() if not version]
    found = [devices.cpu()] if fast else _devices(problems)
    library = _library(settings.library)
    return Report(
        echoreel=__version__,
        python=platform.python_version(),
        platform=platform.platform(terse=True),
        packages=packages,
        cores=devices.cores(),
        fast_bfloat16=devices.has_fast_bfloat16(),
        devices=[asdict(device) for device in found],
        disk_free=shutil.disk_usage(_existing(data_dir())).free,
        decoders={} if fast else _decoders(problems),
        folders={"data": str(data_dir()), "cache": str(cache_dir()), "settings": str(user_file())},
        library=library,
        models=list(_models(settings.model, problems)),
        downloads=list(_downloads()),
        would_use={**_would_use(settings, problems, fast=fast), "encoder": library["encoder"] or settings.encoder},
        problems=problems,
    )


def drawn(report: Report) -> Iterator[str]:
    """The report for a person."""
    yield f"echoreel {report.echoreel}  Python {report.python}  {report.platform}"
    yield from textwrap.wrap(", ".join(f"{name} {version or 'MISSING'}" for name, version in report.packages.items()), 100)
    yield ""
    yield emphasised("machine")
    quick = {True: "fast bfloat16", False: "no fast bfloat16", None: "bfloat16 unknown"}[report.fast_bfloat16]
    for device in report.devices:
        extra = f"  {report.cores} cores, {quick}" if device["name"] == "cpu" else ""
        yield f"  {device['name']:<10}{device['title']}{extra}  {_size(device['free'])} free of {_size(device['memory'])}"
    yield f"  {'disk':<10}{_size(report.disk_free)} free for {report.folders['data']}"
    for name, state in report.decoders.items():
        yield f"  {name:<10}{state}"
    yield ""
    yield emphasised("here already")
    library = report.library
    what = f"{library['files']} files, encoder {library['encoder']}" if library["state"] == "ok" else str(library["state"])
    yield f"  library   {library['path']}  ({what})"
    for model in report.models:
        yield f"  model     {model['name']}  {_size(model['bytes'])}  {model['path']}"
    for download in report.downloads:
        yield f"  download  {download['name']}  {_size(download['bytes'])}  {download['path']}"
    yield ""
    yield emphasised("would be used")
    for name, value in report.would_use.items():
        yield f"  {name:<10}{value}"
    yield ""
    yield "no problems found" if not report.problems else emphasised("problems")
    for problem in report.problems:
        yield f"  {problem}"


def _devices(problems: list[str]) -> list[devices.Device]:
    try:
        return devices.devices()
    except (ImportError, OSError) as error:  # OSError: a shared library of torch is not there
        problems.append(f"torch cannot be loaded: {error}")
        return [devices.cpu()]


def _decoders(problems: list[str]) -> dict[str, str]:
    """Each in a process of its own, as a broken shared library may end the process that loads it."""
    states = {}
    for name, code in CHECKS.items():
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL)
        last = done.stderr.strip().splitlines()[-1:] or [f"ended with {done.returncode}"]
        states[name] = "ok" if done.returncode == 0 else last[0]
        if done.returncode:
            problems.append(f"{name} does not work: {last[0]}")
    return states


def _library(folder: Path) -> dict[str, object]:
    state: dict[str, object] = {"path": str(folder), "state": "not there yet: echoreel index makes it", "files": 0, "encoder": None}
    if not folder.is_dir():
        return state
    from echoreel_index.library import Library

    try:
        library = Library.open(folder)
    except EchoreelError as error:
        return {**state, "state": error.message}
    try:
        return {**state, "state": "ok", "files": len(library.files()), "encoder": library.card.name}
    finally:
        library.close()


def _models(wanted: str, problems: list[str]) -> Iterator[dict[str, object]]:
    """Every model on this machine, the bundled ones first; a problem if the wanted one is not among them."""
    from echoreel_cli.models.names import find_model, installed

    for model in installed():
        place = "bundled" if model.bundled else "pulled"
        yield {"name": model.name, "place": place, "path": str(model.folder), "bytes": model.size}
    try:
        find_model(wanted)
    except EchoreelError as error:
        problems.append(error.message + (f"; {error.hint}" if error.hint else ""))


def _downloads() -> Iterator[dict[str, object]]:
    """What Hugging Face's cache holds: encoders come from there. Its place follows the same variables as the hub's own code."""
    home = Path(os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "huggingface")
    hub = Path(os.environ.get("HF_HUB_CACHE") or home / "hub")
    for folder in sorted(hub.glob("models--*")):
        size = sum(file.stat().st_size for file in (folder / "blobs").glob("*") if file.is_file())
        yield {"name": folder.name.removeprefix("models--").replace("--", "/"), "path": str(folder), "bytes": size}


def _would_use(settings: Settings, problems: list[str], *, fast: bool) -> dict[str, object]:
    used: dict[str, object] = {"model": settings.model, "encoder": settings.encoder, "library": str(settings.library)}
    if fast:
        return {**used, "device": settings.device, "dtype": settings.dtype}
    try:
        device = devices.pick_device(settings.device)
        return {**used, "device": device, "dtype": devices.pick_dtype(settings.dtype, device)}
    except EchoreelError as error:
        problems.append(error.message)
    except (ImportError, OSError):  # said already
        pass
    return {**used, "device": None, "dtype": None}


def _version(package: str) -> str | None:
    from importlib import metadata  # 30 ms that no other command has to wait for

    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _existing(folder: Path) -> Path:
    return next(part for part in (folder, *folder.parents) if part.exists())


def _size(count: object) -> str:
    """Bytes for a person, in powers of 1024."""
    if not isinstance(count, int):
        return "unknown"
    number, unit = float(count), "B"
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if number < 1024 or unit == "TiB":
            break
        number /= 1024
    return f"{number:.0f} {unit}" if unit in ("B", "KiB") else f"{number:.1f} {unit}"
