"""How `gen` runs: look for references, refuse early, load the model once, show each video as it is finished."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from echoreel_cli.console import Console
from echoreel_index.errors import Interrupted, NoMatch, PartialFailure, UsageError

if TYPE_CHECKING:
    from echoreel_cli.generate.jobs import Failure, Job, Wanted
    from echoreel_cli.generate.pipeline import Pipeline, Progress
    from echoreel_cli.generate.plan import Shape
    from echoreel_cli.generate.provenance import Record
    from echoreel_cli.generate.retrieve import Choice, Retriever
    from echoreel_cli.generate.run import Made
    from echoreel_cli.models.folder import ModelInfo
    from echoreel_index.decode import Decoder
    from echoreel_index.nouns import EncoderCard

STDIO = "-"


@dataclass(frozen=True, slots=True)
class Run:
    """The options that do not change a video's record of settings."""

    console: Console
    model: str
    device: str
    dtype: str
    offload: str
    library: Path
    choice: Choice
    allow_no_match: bool
    sheet: bool
    force: bool
    dry_run: bool


def read_model(name: str) -> tuple[ModelInfo, Path, Shape]:
    from echoreel_cli.generate.plan import read_shape
    from echoreel_cli.models.folder import read_info
    from echoreel_cli.models.names import find_model

    folder = find_model(name)
    return read_info(folder), folder, read_shape(folder)


def generate(run: Run, wanted: Sequence[Wanted], info: ModelInfo, folder: Path, shape: Shape) -> None:
    from echoreel_cli.generate.jobs import Job, find_references
    from echoreel_cli.generate.naming import refuse_overwrite
    from echoreel_cli.generate.plan import check, check_steps
    from echoreel_cli.generate.run import output_files
    from echoreel_index.decode import Decoder

    for video in wanted:
        check(video.sampling, shape)
        if info.reference is None and (video.refs or (video.refs is None and video.k > 0)):
            raise UsageError(f"the model {info.name} takes no references", hint="--k 0 generates without")
    check_steps(folder, [video.sampling.steps for video in wanted])
    refuse_overwrite(output_files([video.output for video in wanted], sheet=run.sheet), force=run.force)
    with Decoder() as decoder:
        with _library(run, info) as retriever:
            jobs = find_references(wanted, retriever, decoder, allow_no_match=run.allow_no_match, warn=run.console.warn)
        ready = [job for job in jobs if isinstance(job, Job)]
        failed = [job for job in jobs if not isinstance(job, Job)]
        if not ready:
            _finish(0, failed, len(jobs))
        device, dtype = _preflight(run, ready, info, folder, shape)
        if run.dry_run:
            _show_plan(run, ready, failed, info, folder, shape, device, dtype)
        else:
            for failure in failed:
                run.console.warn(f"{failure.prompt}: {failure.error.message}")
            with _pipeline(run, folder, device, dtype) as pipeline:
                made, new = _work(run, ready, pipeline, decoder, _show_made)
            _finish(made, failed + new, len(jobs))
    if run.dry_run:
        _finish(len(ready), failed, len(jobs))


@contextmanager
def _library(run: Run, info: ModelInfo) -> Iterator[Callable[[], Retriever]]:
    """The library, opened when it is first asked for."""
    from echoreel_cli.generate.retrieve import Retriever, known_score
    from echoreel_cli.models.encoders import open_encoder

    opened: list[Retriever] = []

    def known(card: EncoderCard) -> float | None:
        return known_score(card, info.encoder, info.score_floor)

    def retriever() -> Retriever:
        if not opened:
            opened.append(Retriever(run.library, open_encoder, known, run.choice))
        return opened[0]

    try:
        yield retriever
    finally:
        for one in opened:
            one.close()


def _preflight(run: Run, jobs: Sequence[Job], info: ModelInfo, folder: Path, shape: Shape) -> tuple[str, str]:
    """Device and number type, after refusing what the device cannot hold and the disk cannot take."""
    from echoreel_cli.devices import pick_device, pick_dtype
    from echoreel_cli.generate.plan import estimate, refuse_if_disk_full, refuse_if_too_big

    device = pick_device(run.device)
    dtype = pick_dtype(run.dtype, device)
    free = _free_memory(device)
    for job in jobs:
        offload = run.offload in ("model", "auto")
        need = estimate(folder, info, shape, job.sampling, references=len(job.references), dtype=dtype, offload=offload, device=device)
        refuse_if_too_big(need, free, device, job.sampling)
    folders = {job.output.video.parent for job in jobs if job.output.video is not None}
    for place in folders:
        refuse_if_disk_full(place, len(jobs), jobs[0].sampling)
    return device, dtype


def _free_memory(device: str) -> int | None:
    from echoreel_cli.devices import devices

    return next((found.free for found in devices() if found.name == device), None)


@contextmanager
def _pipeline(run: Run, folder: Path, device: str, dtype: str) -> Iterator[Pipeline]:
    from echoreel_cli.generate.pipeline import Pipeline
    from echoreel_cli.models.open import open_model

    offload = run.offload == "model" or (run.offload == "auto" and device != "cpu" and _is_tight(folder, dtype, device))
    run.console.note(f"loading {folder.name} on {device} in {dtype}{', parts wait in main memory' if offload else ''}")
    model = open_model(str(folder), device="cpu" if offload else device, dtype=dtype)
    yield Pipeline(model, device=device, offload=offload)


def _is_tight(folder: Path, dtype: str, device: str) -> bool:
    """Whether the weights would take more than half of what is free."""
    from echoreel_cli.generate.plan import DTYPE_BYTES, PARTS, parameters

    free = _free_memory(device)
    return free is not None and 2 * DTYPE_BYTES[dtype] * sum(parameters(folder / part) for part in PARTS) > free


def _work(
    run: Run, jobs: Sequence[Job], pipeline: Pipeline, decoder: Decoder, show: Callable[[Run, Made], None]
) -> tuple[int, list[Failure]]:
    """Every job in turn, with a bar of all steps; what is finished is kept when the user stops."""
    from echoreel_cli.generate.jobs import Failure
    from echoreel_cli.generate.run import run_all

    made: list[Made] = []

    def done(result: Made | Failure) -> None:
        if isinstance(result, Failure):
            run.console.warn(f"{result.prompt}: {result.error.message}")
        else:
            made.append(result)
            show(run, result)

    with run.console.progress(sum(job.sampling.steps for job in jobs), "generating") as bar:

        def watch(job: Job, step: Progress) -> None:
            place = f"{jobs.index(job) + 1}/{len(jobs)} " if len(jobs) > 1 else ""
            bar.advance(1 if step.stage == "denoise" else 0, f"{place}{step.stage}")

        try:
            return run_all(jobs, pipeline, decoder, force=run.force, sheet=run.sheet, progress=watch, done=done)
        except KeyboardInterrupt:
            raise Interrupted(f"interrupted; {len(made)} of {len(jobs)} videos are finished") from None


def _finish(made: int, failed: Sequence[Failure], total: int) -> None:
    """Exit code 4 when some were made; the error itself when all failed for one reason."""
    if not failed:
        return
    first = failed[0].error
    if made == 0 and len({failure.error.exit_code for failure in failed}) == 1:
        if len(failed) == 1:
            raise first
        raise type(first)(f"none of {total} videos could be made: {first.message}", hint=first.hint)
    hint = "take what comes closest with --any, or use --allow-no-match" if all(isinstance(one.error, NoMatch) for one in failed) else None
    raise PartialFailure(f"{len(failed)} of {total} videos could not be made: {first.message}", hint=hint)


def _show_made(run: Run, made: Made) -> None:
    """The path of a finished video, or its JSON line, or the video itself."""
    video, record = made.job.output.video, made.job.output.record
    if video is None or record is None:
        sys.stdout.buffer.write(made.content)
        sys.stdout.buffer.flush()
    elif run.console.as_json:
        run.console.json(_row(made))
    else:
        run.console.result(str(video))
    sheet = f", {made.sheet}" if made.sheet else ""
    count = len(made.job.references)
    run.console.note(f"seed {made.record.seed}, {count} reference{'' if count == 1 else 's'}, {made.seconds:.1f} s{sheet}")


def _row(made: Made) -> dict[str, object]:
    from echoreel_index.strict_json import to_json

    output = made.job.output
    return {
        "schema": "echoreel.generated/1",
        "path": str(output.video),
        "json": str(output.record),
        "sheet": None if made.sheet is None else str(made.sheet),
        "prompt": made.job.prompt,
        "seed": made.record.seed,
        "references": to_json(made.job.references),
        "sha256": made.record.video.sha256,
        "seconds": round(made.seconds, 3),
    }


def _show_plan(
    run: Run, jobs: Sequence[Job], failed: Sequence[Failure], info: ModelInfo, folder: Path, shape: Shape, device: str, dtype: str
) -> None:
    """What would be done: one line or JSON object a video."""
    from echoreel_cli.generate.plan import estimate, size_in_words
    from echoreel_index.strict_json import to_json

    offload = run.offload in ("model", "auto")
    run.console.note(f"{info.name} on {device} in {dtype}")
    for job in jobs:
        need = estimate(folder, info, shape, job.sampling, references=len(job.references), dtype=dtype, offload=offload, device=device)
        output = STDIO if job.output.video is None else str(job.output.video)
        if run.console.as_json:
            row = {"prompt": job.prompt, "output": output, "settings": to_json(job.sampling), "references": to_json(job.references)}
            run.console.json(
                {"schema": "echoreel.plan/1", **row, "model": info.name, "device": device, "dtype": dtype, "memory": need.memory}
            )
            continue
        own = job.sampling
        run.console.result(output)
        if not run.console.quiet:
            run.console.result(f"  {job.prompt}")
            run.console.result(
                f"  seed {own.seed}, {own.steps} steps, guidance {own.guidance:g}, action guidance {own.action_guidance:g},"
                f" {own.frames} frames of {own.width}x{own.height} at {own.fps:g} fps, about {size_in_words(need.memory)} of memory"
            )
            for reference in job.references:
                score = "" if reference.score is None else f"  {reference.score:.3f}"
                run.console.result(f"  {reference.path}  {reference.start:.2f}-{reference.end:.2f}{score}")
    for failure in failed:
        run.console.warn(f"{failure.prompt}: {failure.error.message}")


# Doing it again.


def make_again(run: Run, file: Path, output: str | None, accept_changes: bool, device: str | None, dtype: str | None) -> None:
    from echoreel_cli.generate.again import changed_references, changed_weights, job_of, refuse
    from echoreel_cli.generate.naming import refuse_overwrite
    from echoreel_cli.generate.plan import check
    from echoreel_cli.generate.provenance import load as load_record
    from echoreel_cli.generate.run import output_files
    from echoreel_index.decode import Decoder

    record = load_record(file)
    run = replace(run, device=device or record.device, dtype=dtype or record.dtype, offload=record.offload)
    job = job_of(record, output)
    refuse_overwrite(output_files([job.output], sheet=run.sheet), force=run.force)
    there = record.model.folder and Path(record.model.folder).is_dir()
    info, folder, shape = read_model(record.model.folder if there else record.model.name)
    check(job.sampling, shape)
    for changes, weights in ((changed_references(record), False), (changed_weights(record, folder), True)):
        if not accept_changes:
            refuse(changes, weights=weights)
        for change in changes:
            run.console.warn(change)
    _warn_of_versions(run, record)
    chosen, kind = _preflight(run, [job], info, folder, shape)
    if run.dry_run:
        _show_plan(run, [job], [], info, folder, shape, chosen, kind)
        return

    def show(run: Run, made: Made) -> None:
        _show_again(run, made, record)

    with Decoder() as decoder, _threads(record, chosen), _pipeline(run, folder, chosen, kind) as pipeline:
        made, failed = _work(run, [job], pipeline, decoder, show)
    _finish(made, failed, 1)


def _warn_of_versions(run: Run, record: Record) -> None:
    from echoreel_cli import __version__
    from echoreel_cli.generate.provenance import differences, versions

    changed = differences(record.versions, versions(__version__))
    if changed:
        run.console.warn(f"made with other versions, the bytes may differ: {', '.join(changed)}")


@contextmanager
def _threads(record: Record, device: str) -> Iterator[None]:
    """On a CPU the number of threads decides how sums are split, and with that the last bits."""
    import torch

    before = torch.get_num_threads()
    if device == "cpu":
        torch.set_num_threads(record.threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _show_again(run: Run, made: Made, record: Record) -> None:
    same = made.record.video.sha256 == record.video.sha256
    if run.console.as_json:
        run.console.json({**_row(made), "identical": same})
    else:
        _show_made(run, made)
    if same:
        run.console.note("the bytes are the same as before")
    else:
        run.console.warn("the bytes are not the same as before")
