"""What runs on the nodes of a Ray cluster: the stages of reading a file, and the desk at which they ask the driver.

Rows go from stage to stage as {"file": number of the file, "part": pickled}: a part is one of `Looks`, `Seen`, `Whole`, `Broken`
and `Raised`. The driver's side is `ray_engine`.
"""

from __future__ import annotations

import asyncio
import os
import pickle
import platform
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from echoreel_index.clips import WindowSettings
from echoreel_index.cutting import PART, Look, embedded, looks_of_file
from echoreel_index.decoder import Decoder
from echoreel_index.encode import Encoder
from echoreel_index.engine import BATCH
from echoreel_index.errors import EchoreelError, EncoderMismatch, VideoError
from echoreel_index.files import content_hash, stamp
from echoreel_index.readers import Scan

ROWS = 4 * BATCH // PART
"""Parts that an embedding actor is given at once: some batches of frames, or the messages would cost more than the network."""
TRIES = 3
"""How often work is begun that kills the process which does it."""
LOST = f"the process that read it was lost {TRIES} times"


@dataclass(frozen=True, slots=True)
class EncoderRecipe:
    """How a process on another machine opens the encoder that is open here."""

    open: Callable[[], Encoder]
    """Pickled by name: a function of an installed module, or a `functools.partial` of one."""
    fingerprint: str
    """Of the weights that it must find."""
    frame_size: int
    gpu: bool = False
    """Whether it needs a GPU for itself."""


@dataclass(frozen=True, slots=True)
class Looks:
    """Some looks at a file."""

    looks: list[Look]


@dataclass(frozen=True, slots=True)
class Seen:
    """The same, embedded."""

    first: tuple[int, ...]
    count: tuple[int, ...]
    vectors: NDArray[np.float32]
    """(n d) unit rows."""


@dataclass(frozen=True, slots=True)
class Whole:
    """What was seen of a file as a whole, and how many looks there are to it."""

    scan: Scan
    looks: int


@dataclass(frozen=True, slots=True)
class Broken:
    """The file cannot be read."""

    message: str


@dataclass(frozen=True, slots=True)
class Raised:
    """Something is wrong that is no fault of the file: the run ends with it."""

    error: EchoreelError


Part = Looks | Seen | Whole | Broken | Raised
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Question:
    """A node holds a file in its hands: is it to be read?"""

    file: int
    sha256: str
    """Empty where it could not be opened."""
    message: str
    """Why it could not be opened; else empty."""
    node: str


class Desk:
    """A Ray actor between decoders, which ask, and the driver, which knows; it keeps only what is not answered yet."""

    def __init__(self) -> None:
        self._questions: asyncio.Queue[Question] = asyncio.Queue()
        self._waiting: dict[int, asyncio.Future[bool]] = {}
        self._begun: Counter[str] = Counter()

    async def ask(self, question: Question) -> bool:
        """Whether the file is to be read. Waits until the driver has answered."""
        answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting[question.file] = answer
        await self._questions.put(question)
        return await answer

    async def questions(self, patience: float) -> list[Question]:
        """What was asked since the last call; waits `patience` seconds for a first question."""
        try:
            asked = [await asyncio.wait_for(self._questions.get(), patience)]
        except TimeoutError:
            return []
        while not self._questions.empty():
            asked.append(self._questions.get_nowait())
        return asked

    async def answer(self, answers: Mapping[int, bool]) -> None:
        """The driver's answers."""
        for file, wanted in answers.items():
            waiting = self._waiting.pop(file, None)
            if waiting is not None and not waiting.done():
                waiting.set_result(wanted)

    async def begin(self, work: str) -> int:
        """How often that work was begun, this time included, and never ended."""
        self._begun[work] += 1
        return self._begun[work]

    async def end(self, work: str) -> None:
        """That work is done."""
        del self._begun[work]


class DecodeStage:
    """Files -> the parts of each: looks, and last of all what the whole is like. Holds one decode process."""

    def __init__(self, settings: WindowSettings, frame_size: int, desk: Any) -> None:
        """`desk` is the handle of a `Desk`."""
        self._settings, self._size, self._desk = settings, frame_size, desk
        self._decoder = Decoder(threads=1)

    def __call__(self, row: Row) -> Iterator[Row]:
        """{"file", "path", "bytes"} -> rows of parts, each as soon as it is there."""
        try:
            for part in self._parts(row["file"], os.fsdecode(row["path"]), row["bytes"]):
                yield _row(row["file"], part)
        except Exception as error:  # what is no fault of the file must reach the driver in words
            yield _row(row["file"], raised(error))

    def _parts(self, file: int, path: str, size: int) -> Iterator[Part]:
        if not self._wanted(file, path, size):
            return
        looks = 0
        try:
            for part in looks_of_file(path, self._settings, self._size, self._decoder):
                if isinstance(part, Scan):
                    yield Whole(part, looks)
                elif part:
                    looks += sum(look.count for look in part)
                    yield Looks(part)
        except VideoError as error:
            yield Broken(error.message)

    def _wanted(self, file: int, path: str, size: int) -> bool:
        import ray

        try:
            if stamp(path).size != size:
                raise VideoError("cannot be read: another file lies there")
            question = Question(file, content_hash(path), "", platform.node())
        except VideoError as error:
            question = Question(file, "", error.message, platform.node())
        return bool(ray.get(self._desk.ask.remote(question)))


class EmbedStage:
    """Looks -> vectors; everything else is passed on. Opens the encoder once."""

    def __init__(self, recipe: EncoderRecipe, desk: Any) -> None:
        """`desk` is the handle of a `Desk`."""
        self._desk = desk
        self._encoder: Encoder | None = None
        self._trouble: Raised | None = None
        try:
            self._encoder = opened(recipe)
        except Exception as error:  # an actor that cannot be made would be made again and again
            self._trouble = raised(error)

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, list[Any]]:
        """Up to `ROWS` rows, column by column."""
        parts: list[Part] = [pickle.loads(part) for part in batch["part"]]
        seen = self._carefully([int(file) for file in batch["file"]], parts)
        return {"file": list(batch["file"]), "part": [pickle.dumps(part) for part in seen]}

    def _carefully(self, files: list[int], parts: list[Part]) -> list[Part]:
        """What took its process along before is done part by part, and in the end not at all."""
        import ray

        if not any(isinstance(part, Looks) for part in parts):
            return parts
        names = [f"{file}:{part.looks[0].first}" for file, part in zip(files, parts, strict=True) if isinstance(part, Looks)]
        work = f"{len(parts)} {' '.join(names)}"
        tried = ray.get(self._desk.begin.remote(work))
        seen: list[Part]
        if tried == 1 or len(parts) == 1:
            seen = self._seen(parts) if tried <= TRIES else [Broken(LOST)]
        else:
            seen = [one for file, part in zip(files, parts, strict=True) for one in self._carefully([file], [part])]
        self._desk.end.remote(work)
        return seen

    def _seen(self, parts: list[Part]) -> list[Part]:
        try:
            return self._trouble_of(parts) if self._encoder is None else self._embedded(parts, self._encoder)
        except Exception as error:
            return [raised(error) for _ in parts]

    def _trouble_of(self, parts: list[Part]) -> list[Part]:
        assert self._trouble is not None
        return [self._trouble for _ in parts]

    def _embedded(self, parts: list[Part], encoder: Encoder) -> list[Part]:
        looks = [(place, look) for place, part in enumerate(parts) if isinstance(part, Looks) for look in part.looks]
        vectors: dict[tuple[int, int], NDArray[np.float32]] = {}
        for shape in dict.fromkeys(look.frame.shape for _, look in looks):
            some = [(place, look) for place, look in looks if look.frame.shape == shape]
            rows = embedded([look for _, look in some], encoder)
            vectors |= {(place, look.first): row for (place, look), row in zip(some, rows, strict=True)}
        return [self._of(part, place, vectors) if isinstance(part, Looks) else part for place, part in enumerate(parts)]

    @staticmethod
    def _of(part: Looks, place: int, vectors: Mapping[tuple[int, int], NDArray[np.float32]]) -> Seen:
        first, count = tuple(look.first for look in part.looks), tuple(look.count for look in part.looks)
        return Seen(first, count, np.stack([vectors[place, one] for one in first]))


def opened(recipe: EncoderRecipe) -> Encoder:
    """The encoder of the recipe. Raises EncoderMismatch when other weights lie on this machine."""
    encoder = recipe.open()
    if encoder.card.fingerprint != recipe.fingerprint:
        raise EncoderMismatch(
            f"encoder {encoder.card.name} has other weights on node {platform.node()} than here",
            hint="copy the same weights to every node",
        )
    return encoder


def raised(error: Exception) -> Raised:
    """An error that can travel: our own as it is, any other in one line."""
    if isinstance(error, EchoreelError):
        return Raised(error)
    words = " ".join(f"{type(error).__name__}: {error}".split())[:300]
    return Raised(EchoreelError(f"a stage failed on node {platform.node()}: {words}"))


def _row(file: int, part: Part) -> Row:
    return {"file": file, "part": pickle.dumps(part)}
