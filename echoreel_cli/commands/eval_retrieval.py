"""`echoreel eval retrieval` and `echoreel eval haystack`: how well actions are found in a labelled folder, and such a folder, drawn."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from echoreel_cli.config import load
from echoreel_cli.console import Console, JsonOption, QuietOption
from echoreel_cli.devices import pick_device
from echoreel_index.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from echoreel_cli.measure.retrieval_labels import Labels, Question
    from echoreel_cli.measure.retrieval_report import Row
    from echoreel_cli.measure.retrieval_view import View
    from echoreel_index.encode import Encoder
    from echoreel_index.library import Library

FILES = ("eval.json", "rankings.csv", "queries.csv", "eval.png")
"""What --out is filled with, beside the index."""


def retrieval(
    videos: Annotated[Path, typer.Argument(metavar="VIDEOS", help="Folder of the labelled videos.")],
    labels: Annotated[
        str, typer.Option(metavar="folders|FILE", help="The name of a video's folder, or a .jsonl or .csv file: file, label, start, end.")
    ] = "folders",
    queries: Annotated[Path | None, typer.Option(help="JSON object: a sentence, or several, for each label.")] = None,
    template: Annotated[str, typer.Option(help="The sentence of a label that has none of its own.")] = "a person {label}",
    absent: Annotated[Path | None, typer.Option(help="Labels that no video shows, one a line: are they refused?")] = None,
    k: Annotated[str, typer.Option("--k", "-k", help="Places at which recall and precision are counted.")] = "1,5,10",
    min_score: Annotated[float | None, typer.Option(help="Answers that score less count as refused too (cosine).")] = None,
    encoder: Annotated[str | None, typer.Option(help="What looks at frames and sentences; as for echoreel index.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:1, mps.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the resampling behind the intervals.")] = 0,
    out: Annotated[Path | None, typer.Option(help="Also write the result, tables, a plot, and the index for another time.")] = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Mean average precision, recall and precision of finding labelled actions: the plain search, then one signal more at a time.

    The plain search is one mean-pooled vector a file. All figures have 95 % intervals. The index never sees the labels:
    with --labels folders no names at all, else all but that file.

    Examples:
      echoreel eval retrieval UCF-101 --labels folders --template "a person doing {label}"
      echoreel eval haystack hay && echoreel eval retrieval hay/videos --labels hay/truth.jsonl --queries hay/queries.json
      echoreel eval retrieval clips --labels clips.csv --absent not-there.txt --out figures --json
    """
    from echoreel_cli.measure.retrieval_ablation import WHOLE
    from echoreel_cli.measure.retrieval_labels import questions, read_absent, read_labels, read_sentences
    from echoreel_cli.models.encoders import open_encoder
    from echoreel_index.files import absolute, within

    console = Console(json=as_json, quiet=quiet)
    ks = _places(k)
    if out is not None and within(absolute(out), [absolute(videos)]):
        raise UsageError(f"{out} lies in the folder that is to be measured", hint="name a folder outside of it with --out")
    found, sentences = read_labels(videos.expanduser(), labels), read_sentences(queries)
    asked, missing = list(found.shown), read_absent(absent, found)
    there, not_there = questions(asked, sentences, template), questions(missing, sentences, template)
    if unasked := set(sentences) - {*asked, *missing}:
        console.note(
            f"{len(unasked)} labels of {queries} are of no video here and are not asked; --absent names those that are to be refused"
        )
    settings = load()
    eye = open_encoder(encoder or settings.encoder, device=pick_device(device or settings.device))
    floor = settings.min_score if min_score is None else min_score
    hidden = [path for path in (None if labels == "folders" else Path(labels).expanduser(), queries, absent) if path is not None]
    with _place(out) as folder:
        view = _view(videos.expanduser(), found, folder / "view", hidden if labels != "folders" else None)
        with closing(_indexed(console, folder / "library", view, eye, len(found.files))) as library:
            rows = _asked(console, library, eye, view, found, there, not_there, ks, floor)
            about = {
                "videos": absolute(videos), "encoder": eye.card.name, "files": len(found.files), "unreadable": len(library.failures()),
                "windows": library.count(), "labelled_files": len({file for files in found.shown.values() for file in files}),
                "min_score": floor, "whole": WHOLE,
            }  # fmt: skip
    _say(console, rows, ks, seed, about, out)


def haystack(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where to draw it; must not be there yet.")],
    files: Annotated[int, typer.Option(min=1, help="Videos of 4 to 8 seconds.")] = 200,
    actions: Annotated[int, typer.Option(min=2, help="Actions to find in them.")] = 40,
    seed: Annotated[int, typer.Option(min=0, help="The same seed draws the same folder.")] = 0,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Draw a labelled folder in which actions are hard to find: cuts, other people, the same clothes and places, photographs.

    Prints what `echoreel eval retrieval` needs: the videos, who does what when in them, sentences, and actions that are not there.

    Examples:
      echoreel eval haystack hay
      echoreel eval haystack small --files 60 --actions 12 --seed 3
    """
    from echoreel_cli.generate.write import video_bytes
    from echoreel_cli.mini.haystack import draw_haystack

    console = Console(json=as_json, quiet=quiet)
    place = folder.expanduser()

    def save(path: Path, frames: NDArray[np.uint8], fps: float) -> None:
        path.write_bytes(video_bytes(frames, fps))

    with console.progress(files, "drawing") as bar:
        plan = draw_haystack(place, save=save, files=files, actions=actions, seed=seed, progress=lambda done, total: bar.advance(1))
    names = {"videos": "videos", "labels": "truth.jsonl", "queries": "queries.json", "absent": "absent.txt"}
    paths = {name: str(place / file) for name, file in names.items()}
    if as_json:
        console.json({"schema": "echoreel.haystack/1", **paths, "files": files, "actions": actions, "seed": seed})
        return
    for path in paths.values():
        console.result(path)
    shots = sum(len(scenario.shots) for scenario in plan)
    console.note(f"{files} files of {shots} shots; {actions} actions, {sum(len(scenario.labels()) for scenario in plan)} labelled shots")
    words = " ".join(f"--{name} {path}" for name, path in paths.items() if name != "videos")
    console.note(f"next: echoreel eval retrieval {paths['videos']} {words}")


def _places(text: str) -> tuple[int, ...]:
    try:
        ks = tuple(sorted({int(part) for part in text.split(",")}))
    except ValueError as error:
        raise UsageError(f"--k takes whole numbers with commas between them, got {text!r}") from error
    if ks[0] < 1:
        raise UsageError(f"--k must be at least 1, got {ks[0]}")
    return ks


@contextmanager
def _place(out: Path | None) -> Iterator[Path]:
    """Where the index goes: into `out`, to be used again, or somewhere for this run."""
    import tempfile

    if out is not None:
        out.expanduser().mkdir(parents=True, exist_ok=True)
        yield out.expanduser()
        return
    with tempfile.TemporaryDirectory(prefix="echoreel-") as folder:
        yield Path(folder)


def _view(videos: Path, labels: Labels, folder: Path, hidden: list[Path] | None) -> View:
    from echoreel_cli.measure.retrieval_view import view_without, view_without_names

    if hidden is None:
        return view_without_names(videos, labels.files, folder)
    return view_without(videos, labels.files, folder, hidden)


def _indexed(console: Console, folder: Path, view: View, encoder: Encoder, files: int) -> Library:
    """The library of the view; files that cannot be read are named and can never be found."""
    from echoreel_index.clips import WindowSettings
    from echoreel_index.library import Library
    from echoreel_index.progress import IndexEvent

    library = Library.create_or_open(folder, encoder)
    with console.progress(files, "indexing") as bar:

        def draw(event: IndexEvent) -> None:
            if event.kind == "bad":
                console.warn(f"{view.real.get(event.path, event.path)}: {event.message}")
            if event.kind != "start":
                bar.advance(1)

        library.update([view.folder], settings=WindowSettings(), progress=draw)
    return library


def _asked(
    console: Console,
    library: Library,
    encoder: Encoder,
    view: View,
    labels: Labels,
    questions: list[Question],
    absent: list[Question],
    ks: tuple[int, ...],
    floor: float | None,
) -> list[Row]:
    from echoreel_cli.measure.retrieval_ablation import answers
    from echoreel_cli.measure.retrieval_baseline import pooled_files
    from echoreel_index.decode import Decoder
    from echoreel_index.search import Ranking

    with console.progress(len(labels.files), "pooling") as bar, Decoder() as decoder:
        pooled = pooled_files(labels.files, encoder, decoder, progress=lambda: bar.advance(1))
    with console.progress(len(questions) + len(absent), "asking") as bar:
        return answers(
            questions,
            absent,
            labels.shown,
            ks,
            library=library,
            view=view,
            encoder=encoder,
            pooled=pooled,
            ranking=Ranking(),
            min_score=floor,
            progress=lambda: bar.advance(1),
        )


def _say(console: Console, rows: list[Row], ks: tuple[int, ...], seed: int, about: dict[str, Any], out: Path | None) -> None:
    from echoreel_cli.measure.retrieval_report import as_csv, queries_as_csv, report, table

    result = report(rows, ks=ks, seed=seed, about=about)
    if out is not None:
        from echoreel_cli.measure.retrieval_plot import plot

        folder = out.expanduser()
        (folder / "eval.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        (folder / "rankings.csv").write_text(as_csv(result), encoding="utf-8")
        (folder / "queries.csv").write_text(queries_as_csv(rows), encoding="utf-8")
        plot(result).save(folder / "eval.png")
    if console.as_json:
        console.json(result)
        return
    if console.quiet and out is not None:
        for name in FILES:
            console.result(str(out.expanduser() / name))
        return
    for line in table(result):
        console.result(line)
    console.result(
        f"{result['queries']} queries about {result['labels']} actions, {about['files']} files ({about['labelled_files']} labelled,"
        f" {about['unreadable']} unreadable), {about['windows']} windows, encoder {about['encoder']}"
    )
