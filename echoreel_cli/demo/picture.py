"""The story as one picture: for each prompt the references, the model alone, the model with them."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from echoreel_cli.demo.nouns import Found, Scene, Story
from echoreel_cli.generate.sheet import PAPER, Row, contact_sheet

if TYPE_CHECKING:
    from PIL import Image

SCALE = 2
"""Small generated pictures are shown at twice their size."""
LARGEST = 256
"""Pixels: no row is higher."""


def picture(story: Story) -> bytes:
    """The PNG file."""
    from PIL import Image

    height = min(SCALE * story.sampling.height, LARGEST)
    sheets = [contact_sheet(rows(scene), title=_title(scene), cell_height=height) for scene in story.scenes]
    whole = Image.new("RGB", (max(sheet.width for sheet in sheets), sum(sheet.height for sheet in sheets)), PAPER)
    top = 0
    for sheet in sheets:
        whole.paste(sheet, (0, top))
        top += sheet.height
    return _png(whole)


def rows(scene: Scene) -> list[Row]:
    """References as the model saw them, then what it made without and with them."""
    found = [(_label(number, one), one.frames) for number, one in enumerate(scene.found, start=1)]
    seed = scene.alone.record.seed
    return [
        *found,
        (f"the model alone (k = 0), seed {seed}", scene.alone.frames),
        (f"the same model and seed, shown the clips above (k = {len(scene.found)})", scene.led.frames),
    ]


def _title(scene: Scene) -> str:
    unseen = ", an action that the video model was never trained on" if scene.action is not None and scene.action.held_out else ""
    return f"\u201c{scene.prompt}\u201d{unseen}"


def _label(number: int, found: Found) -> str:
    reference = found.reference
    score = "" if reference.score is None else f", score {reference.score:.3f}"
    return f"reference {number}: {found.truth.file}, {reference.start:.2f}-{reference.end:.2f} s{score} (it shows: {found.truth.action})"


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "png", optimize=True)
    return buffer.getvalue()
