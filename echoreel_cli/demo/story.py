"""The demo itself: draw a library, index it, search it, generate without and with what was found.

Every stage calls what the commands `index`, `search` and `gen` call; nothing is made easier here than it is there.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from echoreel_cli.demo.nouns import Found, Frames, Plan, Result, Scene, Stage, Step, Story
from echoreel_cli.generate.jobs import Failure, Job, Wanted, find_references
from echoreel_cli.generate.naming import Output
from echoreel_cli.generate.pipeline import Pipeline, Progress
from echoreel_cli.generate.plan import Sampling, check, check_steps, read_shape
from echoreel_cli.generate.provenance import Record
from echoreel_cli.generate.references import show
from echoreel_cli.generate.retrieve import Retriever, known_score
from echoreel_cli.generate.run import run_job
from echoreel_cli.generate.write import video_bytes, write_atomically
from echoreel_cli.mini.footage import Footage, action_of, render_library
from echoreel_cli.models.encoders import MINI, open_encoder
from echoreel_cli.models.folder import ModelInfo, read_info
from echoreel_cli.models.names import find_model
from echoreel_cli.models.open import open_model
from echoreel_index.clips import WindowSettings
from echoreel_index.decode import Decoder, frames_at
from echoreel_index.errors import EncoderMismatch
from echoreel_index.library import Library
from echoreel_index.nouns import EncoderCard

if TYPE_CHECKING:
    from echoreel_index.encode import Encoder

MODEL = "echoreel-mini"
PROMPTS = ("a person doing a backflip", "a person doing a cartwheel")
THUMBNAIL = 64
"""Height and width in pixels of the pictures of the library's wall."""

Watch = Callable[[Step], None]
Pair = tuple[Job, Job]
"""The job without references and the one with them."""


def tell(plan: Plan, *, watch: Watch, warn: Callable[[str], None]) -> Story:
    """The whole demo but the page and the picture.

    Raises:
        UsageError: the folder cannot take a demo, or the settings do not fit the model.
        WeightsError: the bundled weights are not in this installation.
        NoMatch: nothing in the library passes the model's score floor.
    """
    seconds: dict[str, float] = {}
    with timed(seconds, "load"):
        folder = find_model(MODEL)
        info = read_info(folder)
        sampling = _sampling(plan, info, folder)
        eye = open_encoder(MINI, device=plan.device)
        pipeline = Pipeline(open_model(str(folder), device=plan.device, dtype=plan.dtype), device=plan.device)
        watch(Step("load", 1, 1, f"{info.name} and its encoder on {plan.device}"))
    with timed(seconds, "draw"):
        footage = _draw(plan, watch)
    with Decoder() as decoder:
        with timed(seconds, "index"):
            _index(plan, eye, decoder, watch)
        with timed(seconds, "search"):
            pairs = _search(plan, sampling, info, eye, decoder, warn)
            watch(Step("search", 1, 1, _found_in_words(pairs, footage)))
        with timed(seconds, "generate"):
            records = _generate(pairs, pipeline, decoder, watch)
        with timed(seconds, "write"):
            scenes = tuple(_scene(plan, *one, info, footage, decoder) for one in zip(plan.prompts, pairs, records, strict=True))
            wall = np.stack([_glimpse(plan.folder.videos / shot.file, decoder) for shot in footage])
    return Story(plan, info, sampling, tuple(footage), wall, scenes, seconds)


def _sampling(plan: Plan, info: ModelInfo, folder: Path) -> Sampling:
    own = Sampling.of(info, plan.seed)
    sampling = own if plan.steps is None else replace(own, steps=plan.steps)
    check(sampling, read_shape(folder))
    check_steps(folder, [sampling.steps])
    return sampling


def _draw(plan: Plan, watch: Watch) -> list[Footage]:
    def save(path: Path, frames: Frames, fps: float) -> None:
        write_atomically(path, video_bytes(frames, fps), force=True)

    def draw(done: int, total: int) -> None:
        watch(Step("draw", done, total))

    shots = render_library(plan.folder.videos, plan.folder.truth, seed=plan.seed, clips=plan.clips, save=save, progress=draw)
    actions = len({shot.action for shot in shots})
    watch(Step("draw", plan.clips, plan.clips, f"{len(shots)} videos of {actions} actions in {plan.folder.videos}"))
    return shots


def _index(plan: Plan, eye: Encoder, decoder: Decoder, watch: Watch) -> None:
    with closing(_library(plan.folder.library, eye)) as library:
        report = library.update(
            [plan.folder.videos],
            settings=library.settings or WindowSettings(),
            progress=lambda event: watch(Step("index", event.files_done, event.files_total)),
            decoder=decoder,
        )
    watch(Step("index", 1, 1, f"{report.taken} files read, {report.unchanged} known; {report.windows} windows in {plan.folder.library}"))


def _library(folder: Path, eye: Encoder) -> Library:
    try:
        return Library.create_or_open(folder, eye)
    except EncoderMismatch:
        # The demo's own library, made by weights of an earlier version: it holds nothing that cannot be made again.
        shutil.rmtree(folder)
        return Library.create_or_open(folder, eye)


def _search(
    plan: Plan, sampling: Sampling, info: ModelInfo, eye: Encoder, decoder: Decoder, warn: Callable[[str], None]
) -> list[Pair]:
    wanted = [
        Wanted(prompt, sampling, Output(plan.folder.result(number, prompt, k)), k, None)
        for number, prompt in enumerate(plan.prompts, start=1)
        for k in (0, plan.k)
    ]

    def known(card: EncoderCard) -> float | None:
        return known_score(card, info.encoder, info.score_floor)

    with closing(Retriever(plan.folder.library, lambda name: eye, known)) as retriever:
        found = find_references(wanted, lambda: retriever, decoder, allow_no_match=False, warn=warn)
    jobs: list[Job] = []
    for job in found:
        if isinstance(job, Failure):
            raise job.error
        jobs.append(job)
    return list(zip(jobs[::2], jobs[1::2], strict=True))


def _found_in_words(pairs: Sequence[Pair], footage: Sequence[Footage]) -> str:
    lines = ["clips for each prompt, and what they truly show"]
    for _, led in pairs:
        lines.append(led.prompt)
        for reference in led.references:
            shot = _truth_of(reference.path, footage)
            lines.append(f"  {shot.file}  {reference.start:.2f}-{reference.end:.2f} s  score {reference.score:.3f}  {shot.action}")
    return "\n".join(lines)


def _generate(pairs: Sequence[Pair], pipeline: Pipeline, decoder: Decoder, watch: Watch) -> list[tuple[Record, Record]]:
    jobs = [job for pair in pairs for job in pair]
    total = sum(job.sampling.steps for job in jobs)
    records: list[Record] = []
    for job in jobs:
        before = len(records) * job.sampling.steps

        def step(progress: Progress, before: int = before) -> None:
            if progress.stage == "denoise":
                watch(Step("generate", before + progress.done, total))

        records.append(run_job(job, pipeline, decoder, force=True, sheet=False, progress=step).record)
    watch(Step("generate", total, total, f"{len(jobs)} videos in {jobs[0].sampling.steps} steps each"))
    return list(zip(records[::2], records[1::2], strict=True))


def _scene(
    plan: Plan, prompt: str, pair: Pair, records: tuple[Record, Record], info: ModelInfo, footage: Sequence[Footage], decoder: Decoder
) -> Scene:
    shown = show(pair[1].references, info, decoder)
    found = tuple(Found(one.reference, _truth_of(one.reference.path, footage), one.frames) for one in shown)
    alone, led = (_result(job, record, decoder) for job, record in zip(pair, records, strict=True))
    return Scene(prompt, action_of(prompt), found, alone, led)


def _truth_of(path: str, footage: Sequence[Footage]) -> Footage:
    """What a file shows; a file that someone added to the folder is found too, but nobody told us what it shows."""
    name = Path(path).name
    return next((shot for shot in footage if shot.file == name), Footage(name, "unknown", False, ""))


def _result(job: Job, record: Record, decoder: Decoder) -> Result:
    """Its frames are read back from the file: the page shows what a player shows."""
    path = job.output.files[0]
    times = [float(second) for second in decoder.timeline(str(path.absolute())).times]
    return Result(path, record, frames_at(path, times, decoder=decoder))


def _glimpse(path: Path, decoder: Decoder) -> Frames:
    """One small picture (h w c) from the first half of a file, where acts happen."""
    end = decoder.timeline(str(path.absolute())).end
    picture: Frames = frames_at(path, [end / 4], size=(THUMBNAIL, THUMBNAIL), decoder=decoder)[0]
    return picture


@contextmanager
def timed(seconds: dict[str, float], stage: Stage) -> Iterator[None]:
    """Adds the time that the block took."""
    began = time.perf_counter()
    yield
    seconds[stage] = seconds.get(stage, 0.0) + time.perf_counter() - began
