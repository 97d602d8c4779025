"""Contact sheets: rows of frames with a label above each, as one picture.

frames: (t h w c)   uint8, RGB; rows may differ in every size
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from PIL import Image, ImageFont

Row = tuple[str, "np.ndarray[Any, Any]"]
"""What a row shows, in words, and its frames (t h w c) uint8."""

PAPER = (255, 255, 255)
INK = (34, 34, 34)
STAMP_HEIGHT = 10
FONTS = (
    "DejaVuSans.ttf", "NotoSans-Regular.ttf", "NotoSansCJK-Regular.ttc", "NotoSansCJKsc-Regular.otf", "wqy-zenhei.ttc",
    "DroidSansFallback.ttf", "Arial Unicode.ttf", "PingFang.ttc", "msyh.ttc", "meiryo.ttc", "malgun.ttf",
)  # fmt: skip
"""Looked for, in this order, when names have letters that Pillow's own font lacks."""


def contact_sheet(
    rows: Sequence[Row],
    *,
    title: str | None = None,
    moments: Sequence[Sequence[float]] | None = None,
    cell_height: int = 128,
    columns: int = 8,
    gap: int = 6,
    text_height: int = 14,
) -> Image.Image:
    """One row of at most `columns` evenly chosen frames for each (label, frames), each `cell_height` pixels high.

    Aspect ratios are kept; labels and the title are cut with an ellipsis where the sheet ends. With `moments`, the seconds of each
    row's frames, every frame says in its corner when it is.
    """
    from PIL import Image, ImageDraw

    if not rows:
        raise ValueError("a contact sheet needs at least one row")
    clocks = moments if moments is not None else [()] * len(rows)
    strips = [_strip(frames, cell_height, columns, gap, clock) for (_, frames), clock in zip(rows, clocks, strict=True)]
    font = _font(text_height, "".join(label for label, _ in rows) + (title or ""))
    line = text_height + gap
    width = max(240, *(strip.width for strip in strips)) + 2 * gap
    height = gap + (line + gap if title else 0) + sum(line + cell_height + gap for _ in rows)
    sheet = Image.new("RGB", (width, height), PAPER)
    draw = ImageDraw.Draw(sheet)
    top = gap
    if title:
        draw.text((gap, top), _fitted(title, font, width - 2 * gap), fill=INK, font=font, stroke_width=0.4, stroke_fill=INK)
        top += line + gap
    for (label, _), strip in zip(rows, strips, strict=True):
        draw.text((gap, top), _fitted(label, font, width - 2 * gap), fill=INK, font=font)
        sheet.paste(strip, (gap, top + line))
        top += line + cell_height + gap
    return sheet


def _strip(frames: np.ndarray[Any, Any], cell_height: int, columns: int, gap: int, clock: Sequence[float]) -> Image.Image:
    from PIL import Image

    if frames.ndim != 4 or len(frames) == 0:
        raise ValueError(f"a row's frames must be (t h w c) with t > 0, got {frames.shape}")
    numbers = chosen_frames(len(frames), columns)
    chosen = frames[numbers]
    h, w = chosen.shape[1:3]
    cell_width = max(1, round(w * cell_height / h))
    # Small generated pictures are enlarged: nearest keeps their pixels honest when the factor is whole.
    method = Image.Resampling.NEAREST if cell_height % h == 0 else Image.Resampling.LANCZOS
    strip = Image.new("RGB", (len(chosen) * (cell_width + gap) - gap, cell_height), PAPER)
    for column, frame in enumerate(chosen):
        picture = Image.fromarray(np.ascontiguousarray(frame)).resize((cell_width, cell_height), method)
        if clock:
            _stamp(picture, f"{clock[numbers[column]]:.2f}")
        strip.paste(picture, (column * (cell_width + gap), 0))
    return strip


def _stamp(picture: Image.Image, words: str) -> None:
    """Small light figures on a dark patch in the lower left corner; left out where the picture is too narrow for them."""
    from PIL import ImageDraw

    font = _font(STAMP_HEIGHT, words)
    width = round(font.getlength(words)) + 6
    if width <= picture.width:
        draw = ImageDraw.Draw(picture)
        draw.rectangle((0, picture.height - STAMP_HEIGHT - 5, width, picture.height), fill=INK)
        draw.text((3, picture.height - 4), words, fill=PAPER, font=font, anchor="ls")


def _font(height: int, words: str) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Pillow's own font, or the first one of this machine that has every letter of `words` where that has not."""
    from PIL import ImageFont

    own = ImageFont.load_default(size=height)
    if words.isascii() or not (lacking := _lacking(own, words)):
        return own
    known = [own]
    for name in FONTS:
        try:
            known.append(font := ImageFont.truetype(name, height))
        except OSError:
            continue
        if not _lacking(font, lacking):
            return font
    return min(known, key=lambda font: len(_lacking(font, words)))


def _lacking(font: ImageFont.FreeTypeFont | ImageFont.ImageFont, words: str) -> str:
    """Letters that the font draws as it draws one that nobody has."""
    nothing = bytes(font.getmask("\U0010fffe"))
    return "".join(letter for letter in sorted(set(words)) if not letter.isspace() and bytes(font.getmask(letter)) == nothing)


def chosen_frames(count: int, columns: int) -> list[int]:
    """Evenly spread frame numbers, first and last included."""
    if count <= columns:
        return list(range(count))
    if columns == 1:
        return [0]
    return [round(column * (count - 1) / (columns - 1)) for column in range(columns)]


def _fitted(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    text = " ".join(text.split())
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "…") > width:
        text = text[:-1]
    return text.rstrip() + "…"
