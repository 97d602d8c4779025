"""`echoreel models`: the models that are here, and those that can be fetched."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from echoreel_cli.commands import model_lines
from echoreel_cli.config import load
from echoreel_cli.console import Bar, Console, JsonOption, QuietOption
from echoreel_index.errors import Interrupted, UsageError, WeightsError

if TYPE_CHECKING:
    from echoreel_cli.models.folder import Card
    from echoreel_cli.models.pull import Plan, Step

Name = Annotated[str, typer.Argument(metavar="NAME", help="A model's name, as `echoreel models list` prints it.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


def register(app: typer.Typer) -> None:
    """Add the group `models`."""
    group = typer.Typer(help="List, fetch, check and remove video models.", no_args_is_help=True, rich_markup_mode="rich")
    group.command("list")(list_models)
    group.command("show")(show)
    group.command("pull")(pull)
    group.command("verify")(verify)
    group.command("rm")(rm)
    app.add_typer(group, name="models")


def list_models(as_json: JsonOption = False, quiet: QuietOption = False) -> None:
    """List the models that are here and the public ones that can be fetched.

    With -q only the names of those that are here are printed.

    Examples:
      echoreel models list
      echoreel models list --json | jq -r 'select(.state == "available") | .name'
    """
    from echoreel_cli.models.catalogue import CATALOGUE
    from echoreel_cli.models.names import installed

    console = Console(json=as_json, quiet=quiet)
    here = installed()
    names = {model.name for model in here}
    rows = [model_lines.row(model) for model in here] + [
        model_lines.offer(entry) for entry in CATALOGUE.values() if entry.name not in names
    ]
    if as_json:
        for row in rows:
            console.json({"schema": "echoreel.model-row/1", **row})
    elif quiet:
        for model in here:
            console.result(model.name)
    else:
        cells = [
            [str(row["name"]), str(row["state"]), model_lines.in_bytes(row["size"]), str(row["folder"] or row["title"])] for row in rows
        ]
        console.table(cells, header=["NAME", "STATE", "SIZE", "WHERE"])


def show(name: Name, as_json: JsonOption = False, quiet: QuietOption = False) -> None:
    """Show one model: where it comes from, on what terms, its defaults and the hash of each file.

    A public model that is not here yet is shown as the catalogue knows it. With -q only its folder is printed.

    Examples:
      echoreel models show echoreel-mini
      echoreel models show echoreel-lvdm --json | jq -r .licence
    """
    from echoreel_cli.models.catalogue import CATALOGUE
    from echoreel_cli.models.names import describe, find_model
    from echoreel_index.strict_json import to_json

    console = Console(json=as_json, quiet=quiet)
    try:
        model = describe(find_model(name))
    except WeightsError:
        if name not in CATALOGUE or quiet:
            raise
        entry = CATALOGUE[name]
        row = {**model_lines.offer(entry), "paper": entry.paper, "note": entry.note, "info": to_json(entry.info), "card": None}
    else:
        card = model.card
        row = {**model_lines.row(model), "paper": card.paper, "note": card.note, "info": to_json(model.info), "card": to_json(card)}
        if quiet:
            console.result(str(model.folder))
            return
    if as_json:
        console.json({"schema": "echoreel.model-show/1", **row})
        return
    for line in model_lines.described(row):
        console.result(line)


def pull(
    name: Name,
    source: Annotated[str | None, typer.Option("--from", metavar="URL|FILE", help="Take the checkpoint from here instead.")] = None,
    base: Annotated[str | None, typer.Option("--base-from", metavar="URL|FILE", help="Compare with the base network in this file.")] = None,
    with_base: Annotated[bool, typer.Option("--with-base", help="Fetch the base network's own file too and compare.")] = False,
    sha256: Annotated[str | None, typer.Option("--sha256", metavar="HEX", help="Refuse a checkpoint with another hash.")] = None,
    dtype: Annotated[str | None, typer.Option("--dtype", help="Store float32, bfloat16 or float16; as published if not given.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the model if it is here already.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be fetched, from where and on what terms.")] = False,
    yes: Yes = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Fetch a public model, check every weight and store it as safetensors.

    Nothing that is in the file is ever run. A download that broke off goes on from where it was. Size and licence are
    printed before anything is fetched. ECHOREEL_HUB names a mirror of the hub.

    Examples:
      echoreel models pull echoreel-lvdm --dry-run
      echoreel models pull echoreel-lvdm -y
      echoreel models pull echoreel-lvdm --from ~/Downloads/checkpoint.pt
    """
    from echoreel_cli.devices import pick_dtype
    from echoreel_cli.models import pull as work
    from echoreel_cli.models.catalogue import entry

    console = Console(json=as_json, quiet=quiet)
    settings = load()
    stored = None if dtype is None else pick_dtype(dtype, "cpu") if dtype != "auto" else None
    plan = work.plan(entry(name), source=source, base=base, with_base=with_base, dtype=stored, sha256=sha256)
    if dry_run:
        _show_plan(plan, console)
        return
    for line in model_lines.terms(plan):
        console.note(line)
    if not plan.checkpoint.local:
        _ask(f"Fetch {name}?", yes)
    offline = settings.offline or os.environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "on", "yes", "true")
    try:
        with _watching(plan, console) as watch:
            card = work.pull(plan, force=force, offline=offline, watch=watch)
    except KeyboardInterrupt as error:
        raise Interrupted("stopped; what has arrived is kept", hint="run the same command again to go on from there") from error
    _show_result(plan, card, console)


def verify(name: Name, as_json: JsonOption = False, quiet: QuietOption = False) -> None:
    """Compare every file of a model with the hashes on its card.

    Exits with 5 if a file is missing or not what it was. With -q only such files are printed.

    Examples:
      echoreel models verify echoreel-mini
    """
    from echoreel_cli.models.catalogue import CATALOGUE
    from echoreel_cli.models.folder import Verdict, files_of
    from echoreel_cli.models.folder import verify as compare
    from echoreel_cli.models.names import find_model

    console = Console(json=as_json, quiet=quiet)
    folder = find_model(name)
    with console.progress(len(files_of(folder)), "reading") as bar:

        def seen(verdict: Verdict) -> None:
            bar.advance(1)
            if not as_json and (verdict.state != "ok" or not quiet):
                console.result(verdict.file if quiet else f"{verdict.state:<8} {verdict.file}")

        verdicts = compare(folder, seen)
    if as_json:
        files = [{"file": verdict.file, "state": verdict.state} for verdict in verdicts]
        console.json({"schema": "echoreel.model-verify/1", "name": name, "folder": str(folder), "files": files})
    wrong = sum(verdict.state in ("changed", "missing") for verdict in verdicts)
    if wrong:
        hint = f"echoreel models pull {name} --force" if name in CATALOGUE else "fetch or train it again"
        raise WeightsError(f"{wrong} of {len(verdicts)} files of {name} are not what its card says", hint=hint)


def rm(name: Name, yes: Yes = False, as_json: JsonOption = False, quiet: QuietOption = False) -> None:
    """Delete a model that was fetched or trained; the bundled one stays.

    Asks on a terminal. Only folders in echoreel's own models folder are ever deleted.

    Examples:
      echoreel models rm echoreel-lvdm -y
    """
    from echoreel_cli.models.names import remove, user_folder

    console = Console(json=as_json, quiet=quiet)
    folder = user_folder(name)
    if folder.exists():
        _ask(f"Delete {folder}?", yes)
    freed = remove(name)
    if as_json:
        console.json({"schema": "echoreel.model-rm/1", "name": name, "folder": str(folder), "freed": freed})
    else:
        console.result(str(folder) if quiet else f"{name} is gone, {model_lines.in_bytes(freed)} are free again")


def _show_plan(plan: Plan, console: Console) -> None:
    sources = [source for source in (plan.checkpoint, plan.base) if source is not None]
    if console.as_json:
        files = [{"from": source.address, "size_about": source.size, "sha256": source.sha256} for source in sources]
        about = {"name": plan.entry.name, "folder": str(plan.target), "files": files, "to_download_about": plan.to_download}
        console.json({"schema": "echoreel.model-pull/1", "dry_run": True, **about, "licence": plan.entry.licence, "note": plan.entry.note})
        return
    for line in [source.address for source in sources] if console.quiet else model_lines.terms(plan):
        console.result(line)


def _show_result(plan: Plan, card: Card, console: Console) -> None:
    if console.as_json:
        from echoreel_index.strict_json import to_json

        about = {"name": plan.entry.name, "folder": str(plan.target)}
        console.json({"schema": "echoreel.model-pull/1", "dry_run": False, **about, "card": to_json(card)})
        return
    for origin in card.origins:
        console.note(f"sha256 {origin.sha256}  {origin.url}")
    for check in card.checks:
        console.note(check)
    console.result(str(plan.target) if console.quiet else f"{plan.entry.name} is ready in {plan.target}")


@contextmanager
def _watching(plan: Plan, console: Console) -> Iterator[Callable[[Step], None]]:
    """Draws the steps of a pull: a bar of megabytes if something is fetched, a line for everything else."""
    if plan.to_download == 0:
        yield _Watcher(console, Bar())
        return
    with console.progress(None, "connecting") as bar:
        yield _Watcher(console, bar)


class _Watcher:
    def __init__(self, console: Console, bar: Bar) -> None:
        self._console, self._bar = console, bar
        self._shown = 0.0
        self._file, self._said = "", 0.0

    def __call__(self, step: Step) -> None:
        if step.transfer is None:
            self._console.note(step.what)
            return
        if step.transfer.note:
            self._console.note(f"{step.what}: {step.transfer.note}")
        if step.what != self._file:
            self._bar.advance(-self._shown)
            self._file, self._shown = step.what, 0.0
        if step.transfer.total:
            self._bar.total(step.transfer.total / 1e6)
        done = step.transfer.done / 1e6
        self._bar.advance(done - self._shown, f"{step.what} (MB)")
        self._shown = done
        self._line(step.what, done, step.transfer.total)

    def _line(self, what: str, done: float, total: int | None) -> None:
        """Off a terminal there is no bar: a line now and then tells a log that something happens."""
        if sys.stderr.isatty() or time.monotonic() - self._said < 30:
            return
        self._said = time.monotonic()
        self._console.note(f"{what}: {done:.0f} of {total / 1e6:.0f} MB" if total else f"{what}: {done:.0f} MB")


def _ask(question: str, yes: bool) -> None:
    """A question, only where someone can answer it: on a terminal, without -y."""
    if yes or not (sys.stdin.isatty() and sys.stderr.isatty()):
        return
    if not typer.confirm(question, default=True, err=True):
        raise UsageError("nothing was done")
