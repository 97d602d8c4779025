"""From what the user typed to a list of jobs: one video each, with everything decided.

Nothing is loaded here but references' file headers and, if a library is asked, its encoder.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from echoreel_cli.generate.naming import Output, name_outputs
from echoreel_cli.generate.plan import Sampling
from echoreel_cli.generate.prompts import Prompt
from echoreel_cli.generate.provenance import RetrievalRecord
from echoreel_cli.generate.references import resolve
from echoreel_cli.generate.retrieve import Retriever
from echoreel_index.errors import EchoreelError, NoMatch, UsageError, VideoError
from echoreel_index.nouns import Reference

if TYPE_CHECKING:
    from echoreel_index.decode import Decoder

Warn = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Wanted:
    """One prompt with its options filled in, before its references are looked for."""

    prompt: str
    sampling: Sampling
    output: Output
    k: int
    refs: tuple[Reference, ...] | None


@dataclass(frozen=True, slots=True)
class Job:
    """One video to make."""

    prompt: str
    sampling: Sampling
    output: Output
    references: tuple[Reference, ...]
    retrieval: RetrievalRecord | None


@dataclass(frozen=True, slots=True)
class Failure:
    """A job that cannot be done, and why; the others go on."""

    prompt: str
    output: Output
    error: EchoreelError


def wanted_videos(
    prompts: Sequence[Prompt],
    sampling: Sampling,
    *,
    count: int,
    k: int,
    refs: tuple[Reference, ...] | None,
    output: str | None,
    new_seed: Callable[[], int] | None,
) -> list[Wanted]:
    """Every video of a run. A prompt's own values win over the options; `count` seeds follow each other.

    `new_seed` is given when the user named no seed: each prompt then gets its own.
    """
    rows: list[tuple[Prompt, Sampling, int]] = []
    for prompt in prompts:
        own_refs = refs if prompt.refs is None else prompt.refs
        own_k = k if prompt.k is None else prompt.k
        if own_k < 0:
            raise UsageError(f"k must be 0 or more, got {own_k}")
        if own_refs and prompt.k == 0:
            raise UsageError(f"{prompt.text!r} has references and k = 0", hint="k = 0 is the model without references")
        seed = prompt.seed if prompt.seed is not None else new_seed() if new_seed else sampling.seed
        negative = sampling.negative if prompt.negative is None else prompt.negative
        rows += [(prompt, replace(sampling, seed=seed + number, negative=negative), own_k) for number in range(count)]
    own = [(prompt.text, row.seed, _own_output(prompt, count)) for prompt, row, _ in rows]
    outputs = name_outputs(output, own)
    return [
        Wanted(prompt.text, row, where, own_k, refs if prompt.refs is None else prompt.refs)
        for (prompt, row, own_k), where in zip(rows, outputs, strict=True)
    ]


def _own_output(prompt: Prompt, count: int) -> str | None:
    if prompt.output is not None and count > 1 and not prompt.output.endswith("/"):
        raise UsageError(f"{prompt.output!r} names one file for {count} videos", hint="end it with / to make it a folder")
    return prompt.output


def find_references(
    wanted: Sequence[Wanted],
    retriever: Callable[[], Retriever],
    decoder: Decoder,
    *,
    allow_no_match: bool,
    warn: Warn,
) -> list[Job | Failure]:
    """Jobs in the order of `wanted`; the library is asked once for each prompt, and only if a prompt needs it.

    Raises what makes the whole run impossible (no library, another encoder); what concerns one prompt is a Failure.
    """
    asked: dict[tuple[str, int], tuple[Reference, ...] | NoMatch] = {}
    files: dict[Reference, Reference] = {}
    found: list[Job | Failure] = []
    for video in wanted:
        references, retrieval = video.refs or (), None
        if video.refs is None and video.k > 0:
            answer = _ask(asked, retriever(), video, warn)
            if isinstance(answer, NoMatch) and not allow_no_match:
                found.append(Failure(video.prompt, video.output, answer))
                continue
            if isinstance(answer, NoMatch):
                warn(f"{answer.message}; going on without references")
            references = () if isinstance(answer, NoMatch) else answer
            retrieval = retriever().record(video.prompt, video.k)
        try:
            known = tuple(_known(reference, files, decoder, warn) for reference in references)
        except (UsageError, VideoError) as error:
            found.append(Failure(video.prompt, video.output, error))
            continue
        found.append(Job(video.prompt, video.sampling, video.output, known, retrieval))
    return found


def _known(reference: Reference, files: dict[Reference, Reference], decoder: Decoder, warn: Warn) -> Reference:
    """The reference with its true end and hash; each file is read once."""
    if reference not in files:
        seen = resolve(reference, decoder)
        if seen.changed:
            warn(f"{reference.path} has changed since it was indexed")
        files[reference] = seen.reference
    return files[reference]


def _ask(
    asked: dict[tuple[str, int], tuple[Reference, ...] | NoMatch], retriever: Retriever, video: Wanted, warn: Warn
) -> tuple[Reference, ...] | NoMatch:
    """One question a prompt, however many videos it gets."""
    key = (video.prompt, video.k)
    if key not in asked:
        try:
            asked[key] = retriever.references(video.prompt, video.k, warn)
        except NoMatch as error:
            asked[key] = error
    return asked[key]
