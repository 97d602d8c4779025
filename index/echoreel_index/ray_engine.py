"""The engine of many machines: the stages of one file's way as a Ray Data pipeline, streamed to the driver, which stores.

    nodes                                                                     driver
    file -> hash -> "is it to be read?"  <------- desk ------->  known, or the same bytes are being read already
         -> looks in parts (decode actors) -> vectors (embedding actors)  ->  windows -> outcome

A dataset is made of rows that are parts of files, so neither a long video nor a long list of files is anywhere as a whole: Ray
Data holds decoders back while `BLOCK` bytes here and there wait to be embedded, and the driver, which waits until an outcome is
stored, holds back the rest. What was stored stays: a run that was killed is taken up by the next. The work of a process or a
node that dies is done again by another, `TRIES` times at most: then the file has failed, or, where nobody is left, the run.

Every node must reach the files under the same path as the driver (a network file system), and needs echoreel and the encoder's
weights. A file that a node cannot reach fails with that hint.
Needs `pip install 'echoreel[ray]'`.
"""

from __future__ import annotations

import os
import pickle
import queue
import threading
import warnings
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Any

from echoreel_index.clips import WindowSettings
from echoreel_index.cutting import Parts
from echoreel_index.engine import CHANGED, PATIENCE, Begun, Failed, Outcome, Taken, finished
from echoreel_index.errors import EchoreelError, VideoError
from echoreel_index.files import FoundFile, stamp
from echoreel_index.ray_cluster import Crew, connected, crew, quiet
from echoreel_index.ray_stages import (
    LOST,
    ROWS,
    TRIES,
    Broken,
    DecodeStage,
    Desk,
    EmbedStage,
    EncoderRecipe,
    Part,
    Question,
    Raised,
    Seen,
    Whole,
)

__all__ = ["EncoderRecipe", "RayEngine"]

BLOCK = 4 * 2**20
"""Bytes of parts that travel together."""
CHAPTER = 10_000
"""Files of one pipeline; a longer list is many, one after another, for Ray keeps account of every task of a pipeline."""
ASKERS = 10_000
"""Actors that may wait for an answer at the same time."""
ENDING = 30.0
"""Seconds that a pipeline may take to come to rest."""
WAITING = 8
"""Messages that may wait for the driver."""


class RayEngine:
    """An `Engine` on a Ray cluster: one that is there, or one on this machine for the time of a run."""

    def __init__(self, recipe: EncoderRecipe, settings: WindowSettings, *, address: str | None = None, decoders: int | None = None) -> None:
        """`address`: of a cluster (`auto`, or its host and port); None: `RAY_ADDRESS`, or a cluster of our own.
        `decoders`: decode actors, by default as many as there are CPUs for."""
        self._recipe, self._settings, self._address, self._decoders = recipe, settings, address, decoders

    def read(self, files: Sequence[FoundFile], known: Callable[[str], bool]) -> Iterator[Outcome]:
        """See `Engine`. Raises UsageError without Ray or without the cluster, what an encoder raises, and EchoreelError when the
        cluster fails."""
        with connected(self._address) as ray, quiet():
            resources = ray.cluster_resources()
            plan = crew(resources.get("CPU", 0), resources.get("GPU", 0), gpu=self._recipe.gpu, decoders=self._decoders)
            run = _Run(files, known, self._settings)
            for first in range(0, len(files), CHAPTER):
                chapter = range(first, min(first + CHAPTER, len(files)))
                desk = _desk(ray)
                with _Feeds(ray, self._rows(ray, desk, plan, run, chapter), desk) as feeds:
                    yield from run.outcomes(feeds)
                yield from run.lost(chapter)

    def _rows(self, ray: Any, desk: Any, plan: Crew, run: _Run, chapter: Sequence[int]) -> Any:
        """The pipeline over those files, not begun yet. A file is a task of its own, which Ray repeats when its process is lost."""
        files = [{"file": one, "path": os.fsencode(run.files[one].path), "bytes": run.files[one].stamp.size} for one in chapter]
        with warnings.catch_warnings(), _settings_of(ray):
            return (
                ray.data.from_items(files, override_num_blocks=len(files))
                .flat_map(
                    DecodeStage,
                    fn_constructor_args=(self._settings, self._recipe.frame_size, desk),
                    compute=ray.data.ActorPoolStrategy(size=min(plan.decoders, len(files))),
                    num_cpus=plan.cpus,
                )
                .map_batches(
                    EmbedStage,
                    fn_constructor_args=(self._recipe, desk),
                    compute=ray.data.ActorPoolStrategy(size=min(plan.embedders, len(files))),
                    num_cpus=0 if self._recipe.gpu else plan.cpus,
                    num_gpus=1 if self._recipe.gpu else 0,
                    batch_size=ROWS,
                )
            )


def _desk(ray: Any) -> Any:
    """The handle of a `Desk`, on the driver's own machine if it is a node of the cluster."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
    return ray.remote(num_cpus=0, max_concurrency=ASKERS, scheduling_strategy=here)(Desk).remote()


@contextmanager
def _settings_of(ray: Any) -> Iterator[None]:
    """Ray Data's settings while a pipeline is made: small blocks, and no bars."""
    warnings.simplefilter("ignore")  # Ray warns itself of its own old settings when it copies them
    context = ray.data.DataContext.get_current().copy()
    context.target_max_block_size = BLOCK
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    with ray.data.DataContext.current(context):
        yield


@dataclass(slots=True)
class _Gathered:
    """What has come of a file so far."""

    sha256: str
    parts: Parts = field(default_factory=dict)
    whole: Whole | None = None
    tries: int = 0

    def add(self, part: Seen | Whole) -> None:
        if isinstance(part, Whole):
            self.whole = part
        else:
            for first, count, vector in zip(part.first, part.count, part.vectors, strict=True):
                self.parts[first] = (count, vector)

    @property
    def complete(self) -> bool:
        return self.whole is not None and sum(count for count, _ in self.parts.values()) == self.whole.looks


class _Run:
    """The driver's part: answers what the nodes ask, puts files together, and knows which of them are still to come."""

    def __init__(self, files: Sequence[FoundFile], known: Callable[[str], bool], settings: WindowSettings) -> None:
        self.files, self._known, self._settings = files, known, settings
        self._settled, self._begun = bytearray(len(files)), bytearray(len(files))
        self._gathered: dict[int, _Gathered] = {}
        self._reading: dict[str, list[int]] = {}

    def lost(self, chapter: Sequence[int]) -> Iterator[Outcome]:
        """Nothing may be left when the pipeline has ended; what is all the same has failed."""
        waiting = {one for files in self._reading.values() for one in files[1:]}  # for others, whose fate they share
        for one in sorted(chapter, key=waiting.__contains__):
            if not self._settled[one]:
                yield from self._begin(one)
                yield from self._settle(one, Failed(self.files[one], "parts of it were lost on their way through the cluster"))

    def outcomes(self, feeds: _Feeds) -> Iterator[Outcome]:
        """What comes of one pipeline until its end. Raises what went wrong in it."""
        for message in feeds:
            if isinstance(message, Question):
                wanted = yield from self._wanted(message)
                feeds.answer(message, wanted)
            else:
                yield from self._take(*message)

    def _begin(self, one: int) -> Iterator[Outcome]:
        if not self._begun[one]:
            self._begun[one] = 1
            yield Begun(self.files[one])

    def _wanted(self, asked: Question) -> Generator[Outcome, None, bool]:
        """Whether the file is to be read; if not, its outcome unless it must wait for that of another."""
        one, file = asked.file, self.files[asked.file]
        yield from self._begin(one)
        if self._settled[one]:
            return False
        if asked.message:
            yield from self._settle(one, Failed(file, where_it_fails(file, asked)))
            return False
        same = self._reading.setdefault(asked.sha256, [])
        if same and same[0] != one:
            same.extend({one}.difference(same))
            return False
        if not same and self._known(asked.sha256):
            del self._reading[asked.sha256]
            yield from self._settle(one, Taken(file, asked.sha256, None))
            return False
        if not same:
            same.append(one)
            self._gathered[one] = _Gathered(asked.sha256)
        self._gathered[one].tries += 1
        if self._gathered[one].tries > TRIES:
            yield from self._settle(one, Failed(file, LOST))
            return False
        return True

    def _take(self, one: int, part: Part) -> Iterator[Outcome]:
        if isinstance(part, Raised):
            raise part.error
        gathered = self._gathered.get(one)
        if gathered is None:
            return  # of a file that has failed meanwhile
        if isinstance(part, Broken):
            yield from self._settle(one, Failed(self.files[one], part.message))
        elif isinstance(part, Seen | Whole):
            gathered.add(part)
            if gathered.complete:
                yield from self._settle(one, self._done(one, gathered))

    def _done(self, one: int, gathered: _Gathered) -> Taken | Failed:
        assert gathered.whole is not None
        return finished(self.files[one], gathered.sha256, gathered.whole.scan, gathered.parts, self._settings)

    def _settle(self, one: int, outcome: Taken | Failed) -> Iterator[Outcome]:
        """The outcome, and then, when it has been stored, that of the files which have the same bytes."""
        self._settled[one] = 1
        gathered = self._gathered.pop(one, None)
        yield outcome
        sha256 = gathered.sha256 if gathered else next((key for key, files in self._reading.items() if files[0] == one), None)
        twins = self._reading.pop(sha256)[1:] if sha256 is not None else []
        for twin in twins:
            self._settled[twin] = 1
            yield replace(outcome, file=self.files[twin]) if isinstance(outcome, Failed) else Taken(self.files[twin], outcome.sha256, None)


def where_it_fails(file: FoundFile, asked: Question) -> str:
    """Why a node cannot read what lies here."""
    try:
        if stamp(file.path) != file.stamp:
            return CHANGED
    except VideoError as error:
        return error.message
    return f"on node {asked.node}: {asked.message}; here it can: every node must reach it under the same path"


class _Stopped(Exception):
    """Nobody waits for more."""


_Message = Question | tuple[int, Part]


class _Feeds:
    """What comes from the cluster, one by one, until the pipeline has ended: parts of files, and questions."""

    def __init__(self, ray: Any, data: Any, desk: Any) -> None:
        self._ray, self._data, self._desk = ray, data, desk
        self._queue: queue.Queue[Sequence[_Message] | BaseException | None] = queue.Queue(WAITING)
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._carry, args=(feed,), daemon=True) for feed in (self._parts, self._questions)]

    def __enter__(self) -> _Feeds:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stop.set()
        self._ray.kill(self._desk)  # who waits for an answer wakes up, and the pipeline with him
        for thread in self._threads:
            thread.join(ENDING)

    def __iter__(self) -> Iterator[_Message]:
        while (some := self._queue.get()) is not None:
            if isinstance(some, Exception):
                words = " ".join(str(some).split())[:300]
                raise EchoreelError(f"the Ray cluster has failed: {words}", hint="what was stored is kept; run it again") from some
            if isinstance(some, BaseException):
                raise some
            yield from some

    def answer(self, question: Question, wanted: bool) -> None:
        """Tell the node."""
        self._desk.answer.remote({question.file: wanted})

    def _carry(self, feed: Callable[[], Iterator[Sequence[_Message]]]) -> None:
        try:
            for some in feed():
                self._send(some)
            self._send(None)
        except _Stopped:
            pass
        except BaseException as error:
            try:
                self._send(error)
            except _Stopped:
                pass

    def _parts(self) -> Iterator[Sequence[_Message]]:
        for table in self._data.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
            yield [(file.as_py(), pickle.loads(part.as_py())) for file, part in zip(table["file"], table["part"], strict=True)]

    def _questions(self) -> Iterator[Sequence[_Message]]:
        while True:
            yield self._ray.get(self._desk.questions.remote(PATIENCE))

    def _send(self, some: Sequence[_Message] | BaseException | None) -> None:
        while not self._stop.is_set():
            try:
                self._queue.put(some, timeout=PATIENCE)
                return
            except queue.Full:
                continue
        raise _Stopped
