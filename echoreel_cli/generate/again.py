"""`gen --from out.json`: a record -> the job that makes the same bytes, and what has changed since."""

from __future__ import annotations

from pathlib import Path

from echoreel_cli.generate.jobs import Job
from echoreel_cli.generate.naming import STDOUT, Output, name_outputs
from echoreel_cli.generate.plan import Sampling
from echoreel_cli.generate.provenance import Record
from echoreel_cli.models.folder import files_of, sha256_of
from echoreel_index.errors import UsageError, WeightsError


def sampling_of(record: Record) -> Sampling:
    """The settings of a recorded video."""
    return Sampling(
        seed=record.seed,
        steps=record.steps,
        guidance=record.guidance,
        eta=record.eta,
        height=record.height,
        width=record.width,
        frames=record.frames,
        fps=record.fps,
        negative=record.negative,
        action_guidance=record.action_guidance,
    )


def job_of(record: Record, output: str | None) -> Job:
    """The job of a record; without an output the name is the recorded one with `-again`, in the current folder."""
    if output is None:
        recorded = "video.mp4" if record.video.file == STDOUT else Path(record.video.file).name
        target = Output(Path(recorded).with_stem(f"{Path(recorded).stem}-again"))
    else:
        (target,) = name_outputs(output, [(record.prompt, record.seed, None)])
    return Job(record.prompt, sampling_of(record), target, record.references, record.retrieval)


def changed_references(record: Record) -> list[str]:
    """What is no longer as recorded, one sentence a file; UsageError for a file that is gone."""
    changed = []
    for path, sha256 in sorted({(reference.path, reference.sha256) for reference in record.references}, key=str):
        if not Path(path).is_file():
            raise UsageError(f"reference {path} is gone, and without it the video cannot be made again")
        if sha256 is not None and sha256_of(Path(path)) != sha256:
            changed.append(f"reference {path} has other content than it had")
    return changed


def changed_weights(record: Record, folder: Path) -> list[str]:
    """Files of the model that are not as recorded, one sentence each; their content is read, not the card believed."""
    then = record.model.hashes
    now = {name: sha256_of(folder / name) for name in files_of(folder)}
    return [f"{record.model.name}: {name} is not what it was" for name in sorted({*then, *now}) if then.get(name) != now.get(name)]


def refuse(changes: list[str], *, weights: bool) -> None:
    """The error for changes that were not accepted."""
    if changes:
        more = f" (and {len(changes) - 1} more)" if len(changes) > 1 else ""
        hint = "--accept-changes makes it anyway; the result will differ"
        raise (WeightsError if weights else UsageError)(changes[0] + more, hint=hint)
