"""A model folder and an encoder folder of real classes at tiny size, for tests that go from files to files."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from echoreel_cli.models.folder import Card, Defaults, ModelInfo, ReferenceShape
from echoreel_cli.models.save import save_model_folder
from tests.published import tiny

DEFAULTS = Defaults(frames=4, height=16, width=16, fps=4.0, steps=2, guidance=5.0)


def write_tiny_model(folder: Path, *, seed: int = 5, with_adapter: bool = True) -> Path:
    """The published kind of network, random; 4 frames of 16x16 pixels in 2 steps."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = tiny(seed)
    # Random maps of random maps fade away; make the references count.
    for name, parameter in net.adapter.named_parameters():
        if parameter.dim() > 1:
            parameter.mul_(6 if "to_out" in name else 3)
    info = ModelInfo(
        name=folder.name,
        backbone="lvdm",
        defaults=DEFAULTS,
        reference=ReferenceShape(frames=4, fps=4.0) if with_adapter else None,
        encoder="mini",
        score_floor=-1.0,
    )
    save_model_folder(
        folder,
        info=info,
        card=Card(source="a test", licence="none"),
        unet=net.unet,
        adapter=net.adapter if with_adapter else None,
        vae=net.vae,
        text_encoder=net.text,
    )
    return folder


def write_tiny_encoder(folder: Path) -> Path:
    """A random CLIP in open_clip's local form."""
    import open_clip
    from safetensors.torch import save_file

    config = {
        "embed_dim": 16,
        "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16},
        "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 1, "layers": 1},
    }
    folder.mkdir(parents=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        model = open_clip.CLIP(**config)
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": {}}))
    return folder
