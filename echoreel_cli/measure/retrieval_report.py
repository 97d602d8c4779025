"""Judged answers -> one object of schema `echoreel.eval-retrieval/1`, a table in text, and rows for a spreadsheet.

Every figure has its 95 % interval, by resampling labels (2000 draws, seeded). `gain` is the difference to the first row on the same
resamples.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from echoreel_cli.measure.retrieval import Floats, Score, interval, per_label, resampled_means

SCHEMA = "echoreel.eval-retrieval/1"


@dataclass(frozen=True, slots=True)
class Row:
    """One way to rank, and how it did on every sentence."""

    name: str
    scores: tuple[Score, ...]
    """About actions that are there."""
    absent: tuple[Score, ...] = ()
    """About actions that are not."""
    floor: bool = True
    """Whether this way to rank can refuse an answer."""


def report(rows: Sequence[Row], *, ks: Sequence[int], seed: int, about: Mapping[str, object]) -> dict[str, Any]:
    """The whole result as one object; `about` says on what: files, windows, encoder. ValueError: no rows, or nothing was asked."""
    if not rows or not rows[0].scores:
        raise ValueError("there is nothing to report: no row, or no sentence about an action that is there")
    first = _precision(rows[0])
    return {
        "schema": SCHEMA,
        **about,
        "labels": len(first),
        "queries": len(rows[0].scores),
        "absent_queries": len(rows[0].absent),
        "k": list(ks),
        "seed": seed,
        "rows": [_summary(row, first, ks, seed) for row in rows],
    }


def _precision(row: Row) -> Floats:
    return per_label(row.scores, [score.precision for score in row.scores])


def _summary(row: Row, first: Floats, ks: Sequence[int], seed: int) -> dict[str, Any]:
    def figure(values: Sequence[float]) -> dict[str, object]:
        return _figure(per_label(row.scores, values), seed)

    own = _precision(row)
    answered = [score for score in row.scores if score.answered]
    found: dict[str, Any] = {
        "name": row.name,
        "map": figure([score.precision for score in row.scores]),
        "gain": _figure(own - first, seed),
        "map_of_files": figure([score.precision_of_files for score in row.scores]),
        "recall": {str(k): figure([score.recall_at[i] for score in row.scores]) for i, k in enumerate(ks)},
        "precision": {str(k): figure([score.precision_at[i] for score in row.scores]) for i, k in enumerate(ks)},
    }
    if row.floor:
        found["floor"] = {
            "refused": figure([float(not score.answered) for score in row.scores]),
            "right_of_answered": _figure(per_label(answered, [float(score.right) for score in answered]), seed) if answered else None,
            "refused_of_absent": _figure(per_label(row.absent, [float(not score.answered) for score in row.absent]), seed)
            if row.absent
            else None,
        }
    return found


def _figure(values: Floats, seed: int) -> dict[str, object]:
    low, high = interval(resampled_means(values, seed=seed))
    return {"mean": round(float(np.mean(values)), 4), "interval": [round(low, 4), round(high, 4)]}


def table(result: Mapping[str, Any]) -> list[str]:
    """The result as lines of text: a row each, percentages."""
    ks = [str(k) for k in result["k"]]
    wide = max(len("ranking"), *(len(row["name"]) for row in result["rows"]))
    head = f"{'ranking':{wide}}  {'mAP':>5} {'95 % interval':>14}  {'gain':>5} {'95 % interval':>14}  {'files':>5}"
    lines = [head + "".join(f" {f'R@{k}':>5}" for k in ks) + "".join(f" {f'P@{k}':>5}" for k in ks)]
    for row in result["rows"]:
        line = f"{row['name']:{wide}}  {_percent(row['map'])} {_between(row['map'])}"
        line += f"  {_percent(row['gain'], '+')} {_between(row['gain'], '+')}"
        line += f"  {_percent(row['map_of_files'])}"
        line += "".join(f" {_percent(row[name][k])}" for name in ("recall", "precision") for k in ks)
        lines.append(line)
    return lines + [*_floor_lines(result)]


def _floor_lines(result: Mapping[str, Any]) -> list[str]:
    """What the floor does, by the row that stands for the whole ranking."""
    row = next((row for row in result["rows"] if row["name"] == result.get("whole") and "floor" in row), None)
    if row is None:
        return []
    floor = row["floor"]
    lines = [f"above the floor: {_said(floor['right_of_answered'])} of the first answers are right; refused: {_said(floor['refused'])}"]
    if floor["refused_of_absent"] is not None:
        lines.append(f"of {result['absent_queries']} queries for actions that are not there, refused: {_said(floor['refused_of_absent'])}")
    return lines


def _percent(figure: Mapping[str, Any], sign: str = "") -> str:
    return f"{100 * figure['mean']:{sign}5.1f}"


def _between(figure: Mapping[str, Any], sign: str = "") -> str:
    low, high = figure["interval"]
    return f"{f'{100 * low:{sign}.1f} to {100 * high:{sign}.1f}':>14}"


def _said(figure: Mapping[str, Any] | None) -> str:
    return "none" if figure is None else f"{_percent(figure).strip()} % ({_between(figure).strip()})"


def as_csv(result: Mapping[str, Any]) -> str:
    """The rows for a spreadsheet, one a line; shares, not percentages."""
    names = ["ranking"]
    figures: list[list[tuple[str, Mapping[str, Any]]]] = []
    for row in result["rows"]:
        own = [("map", row["map"]), ("gain", row["gain"]), ("map_of_files", row["map_of_files"])]
        own += [(f"{name}_at_{k}", row[name][str(k)]) for name in ("recall", "precision") for k in result["k"]]
        figures.append(own)
    for name, _ in figures[0]:
        names += [name, f"{name}_low", f"{name}_high"]
    return _csv(names, [[row["name"], *_flat(own)] for row, own in zip(result["rows"], figures, strict=True)])


def _flat(figures: Sequence[tuple[str, Mapping[str, Any]]]) -> list[object]:
    return [value for _, figure in figures for value in (figure["mean"], *figure["interval"])]


def queries_as_csv(rows: Sequence[Row]) -> str:
    """Every sentence under every ranking, one a line, so that one can see where a ranking fails."""
    names = ["ranking", "label", "sentence", "files", "average_precision", "first_is_right", "answered"]
    return _csv(
        names,
        [
            [row.name, score.label, score.sentence, score.files, round(score.precision, 4), int(score.right), int(score.answered)]
            for row in rows
            for score in (*row.scores, *row.absent)
        ],
    )


def _csv(names: Sequence[str], lines: Sequence[Sequence[object]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names)
    writer.writerows(lines)
    return text.getvalue()
