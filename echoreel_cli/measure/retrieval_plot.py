"""The ablation as a picture: a bar for each ranking, with its interval, on one axis from 0 to 100 %."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL import Image

PAPER, INK, FAINT = (255, 255, 255), (34, 34, 34), (222, 222, 222)
BASE, ADDED, WHOLE, LESS = (160, 160, 160), (126, 168, 214), (38, 98, 165), (226, 178, 122)
"""Colours of the first row, of rows to which something was added, of the whole ranking and of the whole one without something."""
ROW, AXIS, GAP = 34, 900, 16
"""Pixels: height of a row, width of the axis, space around everything."""


def plot(result: Mapping[str, Any]) -> Image.Image:
    """A horizontal bar a row of the result, its mean average precision at the right, whiskers for the 95 % interval."""
    from PIL import Image, ImageDraw, ImageFont

    font, small = ImageFont.load_default(size=20), ImageFont.load_default(size=16)
    rows = result["rows"]
    left = GAP + max(int(font.getlength(row["name"])) for row in rows) + GAP
    top, right = 92, 210
    picture = Image.new("RGB", (left + AXIS + right, top + ROW * len(rows) + 48), PAPER)
    draw = ImageDraw.Draw(picture)
    draw.text((GAP, 12), "Mean average precision of finding files that show an action, %", fill=INK, font=ImageFont.load_default(size=24))
    draw.text((GAP, 50), _subject(result), fill=INK, font=small)
    for tick in range(0, 101, 10):
        x = left + AXIS * tick / 100
        draw.line((x, top - 6, x, top + ROW * len(rows)), fill=FAINT, width=1)
        draw.text((x, top + ROW * len(rows) + 8), str(tick), fill=INK, font=small, anchor="mt")
    for number, row in enumerate(rows):
        y = top + ROW * number + ROW // 2
        mean, (low, high) = row["map"]["mean"], row["map"]["interval"]
        draw.text((left - GAP // 2, y), row["name"], fill=INK, font=font, anchor="rm")
        draw.rectangle((left, y - 11, left + AXIS * mean, y + 11), fill=_colour(number, row["name"], str(result.get("whole"))))
        _whisker(draw, left + AXIS * low, left + AXIS * high, y)
        draw.text((left + AXIS + GAP, y), f"{100 * mean:.1f}  ({100 * low:.1f} to {100 * high:.1f})", fill=INK, font=small, anchor="lm")
    return picture


def _whisker(draw: Any, low: float, high: float, y: int) -> None:
    draw.line((low, y, high, y), fill=INK, width=2)
    for x in (low, high):
        draw.line((x, y - 6, x, y + 6), fill=INK, width=2)


def _colour(number: int, name: str, whole: str) -> tuple[int, int, int]:
    if name == whole:
        return WHOLE
    if number == 0:
        return BASE
    return ADDED if name.startswith("+") else LESS


def _subject(result: Mapping[str, Any]) -> str:
    return (
        f"{result['files']} files, {result['windows']} windows, {result['labels']} actions, {result['queries']} queries,"
        f" encoder {result['encoder']}; 95 % bootstrap intervals over actions"
    )
