"""Largest differences between our network and the stored cases of the published one, as JSON on stdout.

    python -m benchmarks.parity_report            from the repository's root
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from tests.parity import golden
from tests.parity.cases import call, ddim_trace

LIMITS = {"F": 5e-3}
LIMIT = 2e-4


def largest(ours: Tensor, stored: Tensor) -> float:
    """Largest absolute difference."""
    return float((ours - stored).abs().max())


def echoreel_errors() -> dict[str, float]:
    """Cases A to F of the reduced network."""
    unet, adapter = golden.small_network()
    case = golden.echoreel()
    videos, captions, stored = case.input["ref_video"], case.input["ref_text"], case.output
    first, second, both = slice(0, 1), slice(1, 2), slice(0, 2)
    errors = {
        "T": largest(adapter.tokens(videos[first, None], case.input["context"][first], captions[first, None])[:, 0], stored["A.mid.T"]),
        "A": largest(call(unet, adapter, case, first, videos[first, None], captions[first, None]), stored["A.out"]),
        "A2": largest(call(unet, adapter, case, second, videos[second, None], captions[second, None]), stored["A2.out"]),
        "B": largest(call(unet, adapter, case, first, case.input["ref_video_long"][:, None], captions[first, None]), stored["B.out"]),
        "C": largest(call(unet, adapter, case, first, videos[None, :0], captions[None, :0]), stored["C.out"]),
    }
    pair = torch.cat([stored["A.out"], stored["A2.out"]])
    errors["D"] = largest(call(unet, adapter, case, both, videos[:, None], captions[:, None]), pair)
    errors["E2"] = largest(call(unet, adapter, case, first, videos[None], captions[None]), stored["E2.out_two_references_restarted"])
    errors["F"] = max(largest(x, stored[f"F.ddim_x.{step}"]) for step, x in enumerate(ddim_trace(unet, adapter, case)))
    adapter.config = replace(adapter.config, positions="concatenate")
    errors["E"] = largest(call(unet, adapter, case, first, videos[None], captions[None]), stored["E.out_two_references_concat"])
    return errors


def autoencoder_errors() -> dict[str, float]:
    """The reduced autoencoder, both ways."""
    vae, case = golden.small_vae(), golden.autoencoder()
    posterior = vae.encode(case.input["x"]).latent_dist
    return {
        "VAE mean": largest(posterior.mean, case.output["mean"]),
        "VAE std": largest(posterior.std, case.output["std"]),
        "VAE decoded": largest(vae.decode(case.input["z"] / 0.18215).sample, case.output["decoded"]),
    }


def main() -> int:
    """Print the report; 1 if a difference is above its limit."""
    with torch.no_grad():
        errors = dict(sorted((echoreel_errors() | autoencoder_errors()).items()))
    cases: dict[str, Any] = {name: {"max_abs_error": error, "limit": LIMITS.get(name, LIMIT)} for name, error in errors.items()}
    print(json.dumps({"schema": "echoreel.parity/1", "torch": torch.__version__, "cases": cases}, indent=2))
    return int(any(entry["max_abs_error"] > entry["limit"] for entry in cases.values()))


if __name__ == "__main__":
    sys.exit(main())
