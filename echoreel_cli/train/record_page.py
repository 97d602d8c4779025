"""RECORD.md: how the bundled weights came to be, as a page for a person."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from echoreel_cli.train.record import StageRecord

ROWS = ("k0", "random", "k1", "k3", "oracle")
"""The rows of an evaluation, in the order of what a reader compares."""
MEANING = {
    "k0": "none",
    "random": "a random clip",
    "k1": "retrieved, k = 1",
    "k3": "retrieved, k = 3",
    "oracle": "a clip of the right action",
}


def record_page(
    stages: Mapping[str, StageRecord],
    steps: Mapping[str, int],
    dates: Mapping[str, str],
    parameters: Mapping[str, int],
    classifier: Mapping[str, float],
    evaluation: Mapping[str, object] | None,
    date: str,
    machine: str,
) -> str:
    """Markdown: commands, seeds, steps, hardware, dates, sizes and figures."""
    parts = [
        "# How these weights were made",
        f"Exported on {date} ({machine}). Everything was trained by `echoreel train` on clips that the same code rendered; nothing came\n"
        "from elsewhere.",
        "## Stages",
        _stage_table(stages, steps),
        "## Sittings",
        _sittings(stages, dates),
        "## Sizes",
        _table(("part", "parameters"), [(name, f"{number:,}") for name, number in parameters.items()]),
        "## Figures",
        f"The classifier is right on {classifier['all']:.3f} of {classifier['n']:.0f} unseen rendered clips, "
        f"on {classifier['held_out']:.3f} of those that show held-out actions.",
        *_evaluation(evaluation),
    ]
    return "\n\n".join(parts) + "\n"


def _stage_table(stages: Mapping[str, StageRecord], steps: Mapping[str, int]) -> str:
    rows = []
    for name, record in stages.items():
        loop, world = record.stage.loop, record.stage.world
        samples = steps[name] * loop.batch
        rows.append(
            (f"`{name}`", f"{steps[name]} of {loop.steps}", str(loop.batch), f"{samples:,}", f"{loop.learning_rate:g}", str(loop.seed),
             f"seed {world.seed}, {world.per_action} an action, {world.wild} unnamed motions")
        )  # fmt: skip
    return _table(("stage", "steps", "batch", "samples", "learning rate", "seed", "world"), rows)


def _sittings(stages: Mapping[str, StageRecord], dates: Mapping[str, str]) -> str:
    lines = []
    for name, record in stages.items():
        for one in record.sittings:
            lines.append(f"- `{one.command}`: steps {one.first} to {one.last}, {one.began} to {one.ended}, {one.machine}")
        if not record.sittings:
            again = f"`echoreel train {name} --out RUN --steps {record.stage.loop.steps}`"
            lines.append(f"- {name}: trained by the same code without the command, checkpoint of {dates[name]}; {again} is its like")
    return "\n".join(lines)


def _evaluation(evaluation: Mapping[str, Any] | None) -> list[str]:
    if evaluation is None:
        return ["`echoreel eval mini` has not been run on these weights."]
    parts = ["`echoreel eval mini` on these weights, with 95 % intervals:"]
    for split, title in (("held_out", "Actions that the video model has never seen"), ("seen", "Actions that it was trained on")):
        figures: Mapping[str, Mapping[str, Any]] = evaluation.get(split, {})
        rows = [_evaluated(name, figures[name]) for name in ROWS if name in figures]
        if rows:
            parts += [f"### {title}", _table(("references", "accuracy", "Frechet distance", "leakage", "clips"), rows)]
    return parts


def _evaluated(name: str, row: Mapping[str, Any]) -> tuple[str, ...]:
    interval = row.get("accuracy_ci")
    shown = f" ({interval[0]:.3f} to {interval[1]:.3f})" if isinstance(interval, Sequence) and len(interval) == 2 else ""
    accuracy = f"{_number(row.get('accuracy'))}{shown}"
    return MEANING[name], accuracy, _number(row.get("frechet")), _number(row.get("leakage")), str(row.get("n", ""))


def _number(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, int | float) else "-"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
