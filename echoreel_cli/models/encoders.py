"""Names of encoders as users write them -> encoders: `mini` is the bundled one, all others are known to the index."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from echoreel_cli.mini import weights_folder
from echoreel_index.errors import WeightsError

if TYPE_CHECKING:
    from echoreel_index.encode import Encoder

MINI = "mini"


def open_encoder(name: str, *, device: str = "cpu", dtype: Literal["float32", "bfloat16"] = "float32") -> Encoder:
    """The encoder called `name`. Raises WeightsError when its weights are missing, UsageError for an unknown name."""
    from echoreel_index import encode
    from echoreel_index.fetch import CONFIG_NAME

    if name != MINI:
        return encode.open_encoder(name, device=device, dtype=dtype)
    folder = weights_folder() / "encoder"
    if not (folder / CONFIG_NAME).is_file():
        raise WeightsError("the bundled encoder is not in this installation", hint="install echoreel again, or name another with --encoder")
    return encode.open_encoder(str(folder), device=device, dtype=dtype, called=MINI)


def spelled(name: str) -> str:
    """The one spelling of an encoder's name that cards carry."""
    from echoreel_index.encode import canonical_name

    return name if name == MINI else canonical_name(name)
