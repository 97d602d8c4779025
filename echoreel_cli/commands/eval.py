"""`echoreel eval mini`: measure what references do, on the bundled model and its world. Retrieval has a file of its own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from echoreel_cli.commands.eval_retrieval import haystack, retrieval
from echoreel_cli.console import Console, JsonOption, QuietOption

if TYPE_CHECKING:
    from collections.abc import Mapping

    from echoreel_cli.measure.mini import Outcome


def register(app: typer.Typer) -> None:
    """Add `eval` to the command line."""
    group = typer.Typer(name="eval", help="Measure what is found, and what references do to videos that are made.", no_args_is_help=True)
    group.command("mini")(mini)
    group.command("retrieval")(retrieval)
    group.command("haystack")(haystack)
    app.add_typer(group)


def mini(
    samples: Annotated[int, typer.Option("--samples", min=2, help="Videos of each held-out action and condition.")] = 12,
    seen_samples: Annotated[int, typer.Option("--seen-samples", min=1, help="Videos of each seen action and condition.")] = 2,
    steps: Annotated[int | None, typer.Option("--steps", min=1, help="Denoising steps; the model's own by default.")] = None,
    guidance: Annotated[float | None, typer.Option("--guidance", min=0, help="Strength of the prompt; the model's own by default.")] = None,
    action_guidance: Annotated[
        float | None, typer.Option("--action-guidance", min=0, help="Strength of the references; the model's own by default.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of prompts, library and noise.")] = 20,
    model: Annotated[str, typer.Option("--model", help="A model trained on the small world: a name or a folder.")] = "echoreel-mini",
    classifier: Annotated[Path | None, typer.Option("--classifier", help="Folder of the judge; the bundled one by default.")] = None,
    sheet: Annotated[Path | None, typer.Option("--sheet", help="Also write contact sheets of all videos into this folder.")] = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Action accuracy, Frechet distance and leakage without, with random, with retrieved and with perfect references.

    A judge that was trained on rendered clips only says what each video shows; its own accuracy is part of the result.

    Examples:
      echoreel eval mini
      echoreel eval mini --samples 12 --json > eval.json
      echoreel eval mini --samples 2 --steps 10 --sheet sheets
    """
    from echoreel_cli.measure.mini import EvalSettings, evaluate
    from echoreel_cli.measure.weights import load_judge
    from echoreel_cli.mini import weights_folder
    from echoreel_cli.models.encoders import open_encoder
    from echoreel_cli.models.open import open_model

    console = Console(json=as_json, quiet=quiet)
    judge = load_judge(classifier or weights_folder() / "classifier")
    opened = open_model(model, dtype="float32")
    defaults = opened.info.defaults
    settings = EvalSettings(
        held_out_samples=samples,
        seen_samples=seen_samples,
        steps=steps or defaults.steps,
        guidance=defaults.guidance if guidance is None else guidance,
        action_guidance=defaults.action_guidance if action_guidance is None else action_guidance,
        eta=defaults.eta,
        seed=seed,
    )
    with console.progress(None, "generating") as bar:
        done_before = 0

        def progress(done: int, total: int) -> None:
            nonlocal done_before
            bar.advance(done - done_before, f"generating {done}/{total}")
            done_before = done

        def keep(outcome: Outcome) -> None:
            if sheet is not None:
                write_sheet(outcome, sheet)

        result = evaluate(opened, open_encoder(opened.info.encoder), judge, settings, progress=progress, keep=keep)
    if as_json:
        console.json(result)
    else:
        for line in table(result):
            console.result(line)


def table(result: Mapping[str, object]) -> list[str]:
    """The result as lines of text."""
    lines = [f"{'':10} {'refs':7} {'accuracy':>8} {'95 % interval':>15} {'Frechet':>8} {'leakage':>8} {'n':>4}"]
    for group in ("held_out", "seen"):
        rows = result[group]
        assert isinstance(rows, dict)
        for condition, row in rows.items():
            low, high = row["accuracy_ci"]
            lines.append(
                f"{group.replace('_', '-'):10} {condition:7} {row['accuracy']:8.3f} {f'{low:.3f} to {high:.3f}':>15} {row['frechet']:8.2f}"
                f" {row['leakage']:8.3f} {row['n']:4}"
            )
    judge = result["classifier"]
    assert isinstance(judge, dict)
    lines.append(f"the judge is right on {judge['accuracy']:.3f} of {judge['n']} rendered clips it never saw")
    return lines


def write_sheet(outcome: Outcome, folder: Path) -> None:
    """A contact sheet of one condition's videos, a row each."""
    from echoreel_cli.generate.sheet import contact_sheet

    folder.mkdir(parents=True, exist_ok=True)
    rows = [(case.action.name, clip) for case, clip in zip(outcome.cases, outcome.frames.numpy(), strict=True)]
    contact_sheet(rows[:48], title=f"{outcome.group} {outcome.condition}").save(folder / f"{outcome.group}-{outcome.condition}.png")
