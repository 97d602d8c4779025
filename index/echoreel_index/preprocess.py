"""Frames as files hold them -> the tensors that an open_clip image tower was trained on.

frames: (n h w c) uint8 RGB
out:    (n c s s) float32, mean and deviation of the encoder taken out
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """What open_clip's own validation transform does, as values."""

    height: int
    width: int
    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    interpolation: str
    """`bicubic` or `bilinear`, both with anti-aliasing."""
    mode: str
    """`shortest`: scale the short side, cut the middle out. `longest`: scale the long side, fill up. `squash`: scale both."""
    fill: int

    @classmethod
    def of(cls, config: dict[str, Any]) -> Preprocessing:
        """From open_clip's `preprocess_cfg`."""
        size = config["size"]
        height, width = (size, size) if isinstance(size, int) else (size[0], size[1])
        fill = config.get("fill_color", 0)
        return cls(
            height=height,
            width=width,
            mean=tuple(config["mean"]),
            deviation=tuple(config["std"]),
            interpolation="bilinear" if config.get("interpolation") == "bilinear" else "bicubic",
            mode=config.get("resize_mode", "shortest"),
            fill=fill if isinstance(fill, int) else fill[0],
        )

    def __call__(self, frames: NDArray[np.uint8], device: str) -> Tensor:
        """(n h w c) uint8 -> (n c s s) float32 on `device`."""
        pixels = torch.from_numpy(np.ascontiguousarray(frames)).to(device).permute(0, 3, 1, 2).float()
        height, width = self._scaled(pixels.shape[2], pixels.shape[3])
        if (height, width) != tuple(pixels.shape[2:]):
            pixels = F.interpolate(pixels, (height, width), mode=self.interpolation, antialias=True, align_corners=False)
            pixels = pixels.clamp(0, 255)
        pixels = self._fitted(pixels)
        mean = torch.tensor(self.mean, device=device).view(1, 3, 1, 1)
        deviation = torch.tensor(self.deviation, device=device).view(1, 3, 1, 1)
        return (pixels / 255 - mean) / deviation

    def _scaled(self, height: int, width: int) -> tuple[int, int]:
        if self.mode == "squash":
            return self.height, self.width
        ratios = self.height / height, self.width / width
        ratio = max(ratios) if self.mode == "shortest" else min(ratios)
        return max(1, round(height * ratio)), max(1, round(width * ratio))

    def _fitted(self, pixels: Tensor) -> Tensor:
        """Cut or fill symmetrically up to the encoder's size; negative padding cuts."""
        down, right = self.height - pixels.shape[2], self.width - pixels.shape[3]
        edges = (right // 2, right - right // 2, down // 2, down - down // 2)
        return F.pad(pixels, edges, value=float(self.fill)) if any(edges) else pixels
