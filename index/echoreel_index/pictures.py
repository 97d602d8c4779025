"""A picture from a file, as a frame."""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import NDArray

from echoreel_index.containers import MOST_PIXELS
from echoreel_index.errors import UsageError

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "AVIF")
"""What is read. Pillow knows more; of these some are programs, for which it starts others (PostScript)."""


def still(path: str) -> NDArray[np.uint8] | None:
    """(h w c) the picture at `path`, upright, over white where it is transparent; None for an animation, which is a video.

    Raises UsageError when it is no picture or too large to be one.
    """
    from PIL import Image, ImageOps

    Image.init()
    known = [form for form in FORMATS if form in Image.OPEN]  # AVIF is not in every build
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=known) as image:
                if image.width * image.height > MOST_PIXELS:
                    raise ValueError(f"its {image.width} by {image.height} pixels are more than {MOST_PIXELS // 2**20} megapixels")
                if getattr(image, "n_frames", 1) > 1:
                    return None
                upright = ImageOps.exif_transpose(image).convert("RGBA")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise UsageError(f"{path} cannot be read as a picture: {error}", hint="use a JPEG, PNG or WebP file, or a video") from error
    ground = Image.new("RGBA", upright.size, "white")
    return np.asarray(Image.alpha_composite(ground, upright).convert("RGB"))
