"""A picture from a file, as a frame."""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import NDArray

from echoreel_index.errors import UsageError


def still(path: str) -> NDArray[np.uint8] | None:
    """(h w c) the picture at `path`, upright, over white where it is transparent; None for an animation, which is a video.

    Raises UsageError when it is no picture or too large to be one.
    """
    from PIL import Image, ImageOps

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                if getattr(image, "n_frames", 1) > 1:
                    return None
                upright = ImageOps.exif_transpose(image).convert("RGBA")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise UsageError(f"{path} cannot be read as a picture: {error}", hint="use a JPEG, PNG or WebP file, or a video") from error
    ground = Image.new("RGBA", upright.size, "white")
    return np.asarray(Image.alpha_composite(ground, upright).convert("RGB"))
