"""`echoreel eval mini`: do references bring the action, and only the action?

Five conditions on the same prompts and the same noise: no reference, one random clip, the best retrieved one, the best three, and an oracle
(a clip that is known to show the action). Prompts name clothes and a place. The judge says which action a result shows, and in which
colours.

Retrieval is the library's: a clip's vector is the unit mean of its frames' unit vectors, the query is the action as a sentence.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from echoreel_cli.attention import unflatten
from echoreel_cli.generate.guidance import Branch, Needed, guided
from echoreel_cli.generate.references import to_frames
from echoreel_cli.generate.sampler import sample
from echoreel_cli.measure.frechet import bootstrap_interval, frechet
from echoreel_cli.measure.judge import Judge, Verdict, video_tensor
from echoreel_cli.mini.actions import ACTIONS, Action
from echoreel_cli.mini.people import COLOURS, SCENES
from echoreel_cli.mini.world import film, take_action
from echoreel_index.encode import unit

if TYPE_CHECKING:
    from echoreel_cli.models.open import Model
    from echoreel_index.encode import Encoder

CONDITIONS = ("k0", "random", "k1", "k3", "oracle")
_NAMES = [action.name for action in ACTIONS]
_TOPS = list(COLOURS)


@dataclass(frozen=True, slots=True)
class EvalSettings:
    """How much to measure; everything printed with the result."""

    held_out_samples: int = 12
    """Videos of each held-out action and condition."""
    seen_samples: int = 2
    """Videos of each seen action and condition."""
    library_clips: int = 6
    """Clips of each action in the library that references come from."""
    judged_clips: int = 12
    """Unseen rendered clips of each action on which the judge's own accuracy is measured."""
    steps: int = 25
    guidance: float = 3.0
    action_guidance: float = 1.0
    eta: float = 0.0
    seed: int = 20
    batch: int = 16


@dataclass(frozen=True, slots=True)
class Bank:
    """A rendered library: what references may be."""

    frames: Tensor
    """(n t h w c) uint8."""
    actions: tuple[str, ...]
    tops: tuple[str, ...]
    vectors: np.ndarray[tuple[int, ...], np.dtype[np.float32]]
    """(n d) unit vectors."""


@dataclass(frozen=True, slots=True)
class Case:
    """One video to make: the prompt, what it should show, and its seed."""

    prompt: str
    action: Action
    phrase: str
    top: str
    seed: int


def build_bank(encoder: Encoder, *, clips: int, seed: int) -> Bank:
    """Render and embed a library with `clips` clips of each action, held-out ones included."""
    rng = np.random.default_rng(seed)
    takes = [take_action(action, rng) for action in ACTIONS for _ in range(clips)]
    frames = torch.cat([film(takes[first : first + 16]) for first in range(0, len(takes), 16)])
    vectors = unit(np.stack([encoder.embed_frames(clip).mean(0) for clip in frames.numpy()]))
    return Bank(frames, tuple(str(take.action) for take in takes), tuple(take.look.top for take in takes), vectors)


def cases(actions: Sequence[Action], samples: int, seed: int) -> list[Case]:
    """`samples` prompts for each action, each with clothes and a place of its own."""
    rng = np.random.default_rng(seed)
    found = []
    for action in actions:
        for number in range(samples):
            top, bottom = (_TOPS[int(rng.integers(len(_TOPS)))] for _ in range(2))
            phrase = action.phrases[number % len(action.phrases)]
            place = SCENES[int(rng.integers(len(SCENES)))].phrase
            prompt = f"a person in a {top} shirt and {bottom} trousers {phrase} {place}"
            found.append(Case(prompt, action, phrase, top, int(rng.integers(2**31))))
    return found


def choose(condition: str, case: Case, bank: Bank, encoder: Encoder) -> list[int]:
    """Rows of the bank that serve as references of a case under a condition."""
    rng = np.random.default_rng(case.seed)
    if condition == "random":
        return [int(rng.integers(len(bank.actions)))]
    if condition == "oracle":
        right = [row for row, name in enumerate(bank.actions) if name == case.action.name]
        return [right[int(rng.integers(len(right)))]]
    if condition in ("k1", "k3"):
        query = encoder.embed_texts([f"a person {case.phrase}"])[0]
        order = np.argsort(-(bank.vectors @ query), kind="stable")
        return [int(row) for row in order[: int(condition[1:])]]
    return []


@torch.no_grad()
def make(model: Model, batch: Sequence[Case], references: Sequence[Sequence[int]], bank: Bank, settings: EvalSettings) -> Tensor:
    """Videos (b t h w c) uint8 of cases that have equally many references."""
    backbone, adapter = model.backbone, model.adapter
    count = len(references[0])
    texts = [case.prompt for case in batch]
    words = {text: backbone.encode_text(texts if text else [""] * len(texts)) for text in ("prompt", "")}
    latents = None
    if count:
        shown = torch.stack([bank.frames[list(rows)] for rows in references])  # (b r t h w c)
        latents = unflatten(backbone.encode_video(video_tensor(shown.flatten(0, 1))), 0, (len(batch), count))

    def branch(name: str, *, shown: bool = True) -> Branch:
        action = None
        if shown and latents is not None and adapter is not None:
            described = words["prompt"][:, None].expand(-1, count, -1, -1)
            action = adapter.encode(latents, words[name], described)
        return Branch(backbone.denoiser.project_text(words[name]), action)

    needed = Needed.of(settings.guidance, settings.action_guidance, references=bool(count))
    predict = guided(
        backbone.denoiser,
        adapter,
        branch("prompt"),
        branch("") if needed.negative else None,
        branch("", shown=False) if needed.plain else None,
        scale=settings.guidance,
        action_scale=settings.action_guidance,
        dtype=backbone.dtype,
    )
    defaults = model.info.defaults
    shape = backbone.latent_shape(defaults.frames, defaults.height, defaults.width)
    generators = [torch.Generator().manual_seed(case.seed) for case in batch]
    with torch.autocast(backbone.device.type, torch.bfloat16):
        found = sample(
            predict, backbone.scheduler, shape, generators=generators, steps=settings.steps, eta=settings.eta, device=backbone.device
        )
    video = backbone.decode_video(found)
    return torch.from_numpy(np.stack(to_frames(video)))


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came out of one condition."""

    condition: str
    group: str
    cases: tuple[Case, ...]
    references: tuple[tuple[int, ...], ...]
    frames: Tensor
    """(n t h w c) uint8."""


def outcomes(
    model: Model,
    encoder: Encoder,
    bank: Bank,
    settings: EvalSettings,
    *,
    conditions: Sequence[str] = CONDITIONS,
    progress: Callable[[int, int], None],
) -> Iterator[Outcome]:
    """Generate everything, one condition after the other, the same prompts and noise in each."""
    groups = {
        "held_out": cases([a for a in ACTIONS if a.held_out], settings.held_out_samples, settings.seed),
        "seen": cases([a for a in ACTIONS if not a.held_out], settings.seen_samples, settings.seed + 1),
    }
    total, done = sum(map(len, groups.values())) * len(conditions), 0
    for group, wanted in groups.items():
        for condition in conditions:
            chosen = [choose(condition, case, bank, encoder) for case in wanted]
            parts = []
            for first in range(0, len(wanted), settings.batch):
                parts.append(make(model, wanted[first : first + settings.batch], chosen[first : first + settings.batch], bank, settings))
                done += len(parts[-1])
                progress(done, total)
            if parts:
                yield Outcome(condition, group, tuple(wanted), tuple(tuple(rows) for rows in chosen), torch.cat(parts))


@torch.no_grad()
def judged(judge: Judge, frames: Tensor, *, batch: int = 64) -> Verdict:
    """The judge's verdict on clips (n t h w c) uint8."""
    parts = [judge(video_tensor(part)) for part in torch.split(frames, batch)]
    return Verdict(*(torch.cat([getattr(part, name) for part in parts]) for name in ("action", "top", "bottom", "features")))


def figures(outcome: Outcome, judge: Judge, bank: Bank, rendered: Tensor) -> dict[str, object]:
    """Accuracy with its interval, Frechet distance to features of rendered clips (n d), leakage, and how many."""
    verdict = judged(judge, outcome.frames)
    wanted = torch.tensor([_NAMES.index(case.action.name) for case in outcome.cases])
    right = (verdict.action.argmax(-1) == wanted).float()
    worn = [_TOPS[i] for i in verdict.top.argmax(-1).tolist()]
    leaks = [
        float(colour in {bank.tops[row] for row in rows} - {case.top})
        for colour, rows, case in zip(worn, outcome.references, outcome.cases, strict=True)
        if {bank.tops[row] for row in rows} - {case.top}
    ]
    obeyed = [float(colour == case.top) for colour, case in zip(worn, outcome.cases, strict=True)]
    found = [
        float(bank.actions[row] == case.action.name) for rows, case in zip(outcome.references, outcome.cases, strict=True) for row in rows
    ]
    interval = bootstrap_interval(right, generator=torch.Generator().manual_seed(0))
    return {
        "accuracy": float(right.mean()),
        "accuracy_ci": [round(value, 4) for value in interval],
        "frechet": frechet(verdict.features, rendered),
        "leakage": float(np.mean(leaks)) if leaks else 0.0,
        "leakage_n": len(leaks),
        "prompt_colour": float(np.mean(obeyed)),
        "references_right": float(np.mean(found)) if found else None,
        "n": len(right),
    }


def evaluate(
    model: Model,
    encoder: Encoder,
    judge: Judge,
    settings: EvalSettings,
    *,
    conditions: Sequence[str] = CONDITIONS,
    progress: Callable[[int, int], None] = lambda done, total: None,
    keep: Callable[[Outcome], None] = lambda outcome: None,
) -> Mapping[str, object]:
    """Everything that `eval mini` prints, as one object of schema `echoreel.eval-mini/1`; `keep` is handed all videos."""
    judge.eval()
    bank = build_bank(encoder, clips=settings.library_clips, seed=settings.seed + 2)
    rng = np.random.default_rng(settings.seed + 3)
    unseen = {action.name: film([take_action(action, rng) for _ in range(settings.judged_clips)]) for action in ACTIONS}
    verdicts = {name: judged(judge, frames) for name, frames in unseen.items()}
    right = torch.cat([verdicts[name].action.argmax(-1) == i for i, name in enumerate(_NAMES)]).float()
    held = torch.cat([verdicts[a.name].action.argmax(-1) == i for i, a in enumerate(ACTIONS) if a.held_out]).float()
    rendered = {
        group: torch.cat([verdicts[a.name].features for a in ACTIONS if a.held_out == (group == "held_out")])
        for group in ("held_out", "seen")
    }
    result: dict[str, dict[str, object]] = {"held_out": {}, "seen": {}}
    for outcome in outcomes(model, encoder, bank, settings, conditions=conditions, progress=progress):
        result[outcome.group][outcome.condition] = figures(outcome, judge, bank, rendered[outcome.group])
        keep(outcome)
    return {
        "schema": "echoreel.eval-mini/1",
        "model": model.info.name,
        **result,
        "classifier": {"accuracy": float(right.mean()), "held_out": float(held.mean()), "n": len(right)},
        "settings": {name: getattr(settings, name) for name in EvalSettings.__slots__},
    }
