"""The Ray cluster that an engine works on: how it is reached, or started here; how many actors it holds; and how it keeps quiet."""

from __future__ import annotations

import logging
import os
import socket
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from echoreel_index.errors import UsageError

STORE = 512 * 2**20
"""Bytes of shared memory for parts under way, where we start Ray ourselves."""
ANSWER = 10.0
"""Seconds that the head of a cluster may take to answer."""
QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_BACKEND_LOG_LEVEL": "fatal", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
"""Variables that Ray reads: nothing is reported to its makers, its native part says nothing on stderr, GPUs are left as they are."""


@dataclass(frozen=True, slots=True)
class Crew:
    """How many actors of each kind there are, and what each takes of the cluster."""

    decoders: int
    embedders: int
    cpus: float
    """Of each decoder, and of each embedder that has no GPU."""


def crew(cpus: float, gpus: float, *, gpu: bool, decoders: int | None = None) -> Crew:
    """Actors for a cluster of that size: an embedder for each GPU and a decoder for each CPU; without GPUs the CPUs are shared
    by halves, or as the number of `decoders` leaves them.

    Raises UsageError when a GPU is wanted and the cluster has none.
    """
    if gpu and gpus < 1:
        raise UsageError("the encoder is to run on a GPU, and the cluster has none", hint="say --device cpu, or add a node with a GPU")
    cores = max(1, int(cpus))
    if gpu:
        return Crew(min(decoders or cores, cores), int(gpus), min(1.0, cpus))
    decoders = max(1, min(decoders or cores // 2, cores - 1))
    embedders = max(1, cores - decoders)
    return Crew(decoders, embedders, min(1.0, cpus / (decoders + embedders)))


@contextmanager
def connected(address: str | None) -> Iterator[Any]:
    """The module `ray`, connected; what was started here ends with the block, what the caller had connected stays.

    Raises UsageError when Ray is not installed or there is no cluster at `address`.
    """
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise UsageError("the engine ray needs the package ray, which is not installed", hint="pip install 'echoreel[ray]'") from error
    if ray.is_initialized():
        yield ray
        return
    where = address or os.environ.get("RAY_ADDRESS") or "local"
    check_address(where)
    own = {"object_store_memory": STORE, "include_dashboard": False, "num_cpus": max(2, os.cpu_count() or 1)} if where == "local" else {}
    with _environment(QUIET):
        try:
            with _muted():
                ray.init(where, log_to_driver=False, logging_level=logging.CRITICAL, **own)
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise _no_cluster(where, str(error)) from error
        try:
            yield ray
        finally:
            ray.shutdown()


def check_address(address: str) -> None:
    """Raises UsageError for what cannot be a cluster's address, and where nobody answers: Ray itself would wait for minutes."""
    if address.startswith("ray://"):
        raise UsageError("Ray Data does not run through a Ray client", hint="run this on a node of the cluster with --address auto")
    host, colon, port = address.rpartition(":")
    if colon and port.isdecimal():
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWER).close()
        except (OSError, OverflowError) as error:
            raise _no_cluster(address, str(error)) from error
    elif address not in ("auto", "local"):
        raise _no_cluster(address, "that is no address")


def _no_cluster(address: str, why: str) -> UsageError:
    hint = "say --address HOST:PORT of its head node, or auto on a node of it; without --address one is started here"
    return UsageError(f"there is no Ray cluster at {address}: {' '.join(why.split())[:200]}", hint=hint)


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    """Variables that Ray reads while it starts, for those that the user has not set."""
    missing = {name: value for name, value in values.items() if name not in os.environ}
    os.environ.update(missing)
    try:
        yield
    finally:
        for name in missing:
            os.environ.pop(name, None)


@contextmanager
def _muted() -> Iterator[None]:
    """Ray's native part says on stderr that it has been asked to be quiet."""
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


@contextmanager
def quiet() -> Iterator[None]:
    """Ray Data writes into Ray's own log files only."""
    loud = [handler for handler in logging.getLogger("ray.data").handlers if isinstance(handler, logging.StreamHandler)]
    levels = [handler.level for handler in loud]
    for handler in loud:
        handler.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for handler, level in zip(loud, levels, strict=True):
            handler.setLevel(level)
