"""Numbers on which several parts of the mini model agree; kept apart so that naming the presets loads no library."""

from __future__ import annotations

PATCH = 8
"""Pixels are folded 8x8 into channels before the autoencoder: its one level works on the latents' own grid, which a CPU likes."""
LATENTS = 32
"""Channels of a latent."""
TEXT_LENGTH = 32
"""Text tokens of a caption."""
TEXT_WIDTH = 128
TEXT_HEADS = 4
