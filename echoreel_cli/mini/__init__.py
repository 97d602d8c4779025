"""The small world: articulated people who do named actions, drawn by our own code, and the weights trained on it.

Everything here is deterministic from a seed and needs no file but the bundled weights.
"""

from __future__ import annotations

from pathlib import Path


def weights_folder() -> Path:
    """The folder of the bundled weights: `echoreel-mini` (a model folder), `encoder` (open_clip) and `classifier`."""
    return Path(__file__).parent / "weights"
