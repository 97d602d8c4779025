"""Where the parts of a demo lie, and whether they may be written there.

    FOLDER/index.html   demo.png   demo.json     what one looks at, and the same for programs
    FOLDER/videos/                               the drawn library, in files whose names tell nothing
    FOLDER/library/                              its index
    FOLDER/results/                              what was generated, each MP4 with its record
    FOLDER/truth.jsonl                           what each drawn file shows; nothing but the page reads it
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from echoreel_cli.generate.naming import refuse_overwrite, slug
from echoreel_cli.mini.footage import read_truth
from echoreel_index.errors import UsageError


@dataclass(frozen=True, slots=True)
class DemoFolder:
    """The places inside one demo's folder; nothing is made until something is written."""

    root: Path

    @property
    def page(self) -> Path:
        """The page, with everything in it."""
        return self.root / "index.html"

    @property
    def picture(self) -> Path:
        """The contact sheet."""
        return self.root / "demo.png"

    @property
    def record(self) -> Path:
        """What `--json` prints."""
        return self.root / "demo.json"

    @property
    def videos(self) -> Path:
        """The only folder that is indexed."""
        return self.root / "videos"

    @property
    def library(self) -> Path:
        """The index."""
        return self.root / "library"

    @property
    def truth(self) -> Path:
        """What each drawn file shows."""
        return self.root / "truth.jsonl"

    def result(self, number: int, prompt: str, k: int) -> Path:
        """The video of the number-th prompt with k references."""
        return self.root / "results" / f"{number}-{slug(prompt)}-k{k}.mp4"

    def refuse(self, *, force: bool) -> None:
        """Before any work: a demo gets a folder of its own, and a finished one is only replaced with `force`.

        Raises:
            UsageError: the folder holds something else; `force` does not change that.
            OutputExists: it holds a finished demo.
        """
        if self.root.exists() and not self.root.is_dir():
            raise UsageError(f"{self.root} is a file", hint="name a folder for the demo")
        if self.truth.exists():
            read_truth(self.truth)
        elif self.root.is_dir() and any(self.root.iterdir()):
            raise UsageError(f"{self.root} is not empty and holds no demo", hint="a demo makes many files: give it a folder of its own")
        # The page is written last: without it, an earlier run was broken off and this one goes on.
        refuse_overwrite([self.page] if self.page.exists() else [], force=force)
        refuse_overwrite([self.page, self.picture, self.record], force=True)
