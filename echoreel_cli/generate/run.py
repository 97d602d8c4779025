"""Jobs -> files: the loop of a run, with the model loaded once. Each video is whole on disk before the next begins."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from echoreel_cli import __version__
from echoreel_cli.generate.jobs import Failure, Job
from echoreel_cli.generate.naming import STDOUT, Output
from echoreel_cli.generate.pipeline import GenerationRequest, GenerationResult, Pipeline, Progress
from echoreel_cli.generate.provenance import SCHEMA, ModelRecord, Record, VideoFile, dumps, summary, versions
from echoreel_cli.generate.references import show
from echoreel_cli.generate.sheet import Row, contact_sheet
from echoreel_cli.generate.write import video_bytes, write_atomically
from echoreel_index.errors import EchoreelError, OutOfMemory

if TYPE_CHECKING:
    from echoreel_cli.models.open import Model
    from echoreel_index.decode import Decoder


@dataclass(frozen=True, slots=True)
class Made:
    """One video is on disk, or in `content` if it was meant for standard output."""

    job: Job
    record: Record
    content: bytes
    sheet: Path | None
    seconds: float


def run_job(job: Job, pipeline: Pipeline, decoder: Decoder, *, force: bool, sheet: bool, progress: Callable[[Progress], None]) -> Made:
    """Read the references, generate, write MP4, JSON and contact sheet. Raises from the error tree."""
    began = time.perf_counter()
    request = GenerationRequest(job.prompt, job.sampling, show(job.references, pipeline.model.info, decoder))
    reading = time.perf_counter() - began
    result = pipeline.generate(request, progress)
    encoding = time.perf_counter()
    tags = {"title": job.prompt, "comment": summary(pipeline.model.info.name, job.sampling.seed, len(job.references), __version__)}
    content = video_bytes(result.frames, job.sampling.fps, tags=tags, streamable=job.output.video is None)
    timings = {"read": reading, **result.timings, "encode": time.perf_counter() - encoding}
    record = record_of(job, pipeline, content, timings)
    if job.output.video is not None and job.output.record is not None:
        write_atomically(job.output.video, content, force=force)
        write_atomically(job.output.record, dumps(record), force=force)
    path = _write_sheet(job, result, force=force) if sheet else None
    return Made(job, record, content, path, time.perf_counter() - began)


def record_of(job: Job, pipeline: Pipeline, content: bytes, timings: dict[str, float]) -> Record:
    """How this video was made."""
    import torch

    sampling = job.sampling
    name = STDOUT if job.output.video is None else job.output.video.name
    return Record(
        schema=SCHEMA,
        prompt=job.prompt,
        negative=sampling.negative,
        seed=sampling.seed,
        steps=sampling.steps,
        guidance=sampling.guidance,
        eta=sampling.eta,
        width=sampling.width,
        height=sampling.height,
        frames=sampling.frames,
        fps=sampling.fps,
        device=pipeline.device,
        dtype=str(pipeline.model.backbone.dtype).removeprefix("torch."),
        threads=torch.get_num_threads(),
        offload="model" if pipeline.offload else "none",
        created=datetime.now().astimezone().isoformat(timespec="seconds"),
        video=VideoFile(name, hashlib.sha256(content).hexdigest(), len(content)),
        model=model_record(pipeline.model, with_adapter=bool(job.references)),
        retrieval=job.retrieval,
        references=job.references,
        versions=versions(__version__),
        timings={stage: round(seconds, 4) for stage, seconds in timings.items()},
        action_guidance=sampling.action_guidance,
    )


def model_record(model: Model, *, with_adapter: bool) -> ModelRecord:
    """Which weights made a video; the adapter's only if it had something to add."""
    config: Any = model.adapter.config if model.adapter is not None and with_adapter else None
    adapter = None if config is None else str(config.kind)
    info = model.info
    return ModelRecord(info.name, info.backbone, adapter, dict(sorted(model.hashes.items())), str(model.folder))


def sheet_path(output: Output) -> Path | None:
    """The contact sheet lies beside the video."""
    return None if output.video is None else output.video.with_suffix(".png")


def sheet_rows(result: GenerationResult) -> list[Row]:
    """References first, then what was made of them."""
    rows: list[Row] = []
    for number, shown in enumerate(result.request.references, start=1):
        reference = shown.reference
        score = "" if reference.score is None else f", score {reference.score:.3f}"
        caption = f": {reference.caption}" if reference.caption else ""
        times = f"{reference.start:.2f}-{reference.end:.2f} s"
        rows.append((f"reference {number}, {Path(reference.path).name}, {times}{score}{caption}", shown.frames))
    rows.append((f"result, seed {result.request.sampling.seed}", result.frames))
    return rows


def _write_sheet(job: Job, result: GenerationResult, *, force: bool) -> Path | None:
    import io

    path = sheet_path(job.output)
    if path is not None:
        buffer = io.BytesIO()
        contact_sheet(sheet_rows(result), title=job.prompt).save(buffer, "png")
        write_atomically(path, buffer.getvalue(), force=force)
    return path


def output_files(outputs: Sequence[Output], *, sheet: bool) -> list[Path]:
    """Every file that a run would write."""
    files = [file for output in outputs for file in output.files]
    return files + [path for output in outputs if sheet and (path := sheet_path(output)) is not None]


def run_all(
    jobs: Sequence[Job],
    pipeline: Pipeline,
    decoder: Decoder,
    *,
    force: bool,
    sheet: bool,
    progress: Callable[[Job, Progress], None],
    done: Callable[[Made | Failure], None],
) -> tuple[int, list[Failure]]:
    """Every job in turn; `done` hears of each at once. Out of memory ends the run, other errors end only their job."""
    made, failures = 0, list[Failure]()
    for job in jobs:

        def watch(step: Progress, job: Job = job) -> None:
            progress(job, step)

        try:
            result = run_job(job, pipeline, decoder, force=force, sheet=sheet, progress=watch)
        except OutOfMemory:
            raise
        except EchoreelError as error:
            failures.append(Failure(job.prompt, job.output, error))
            done(failures[-1])
            continue
        made += 1
        done(result)
    return made, failures
