"""Public models that `echoreel models pull` knows by name: where their files lie and on what terms."""

from __future__ import annotations

import difflib
import os
from dataclasses import dataclass

from echoreel_cli.models.folder import Defaults, ModelInfo, ReferenceShape
from echoreel_index.errors import UsageError

HUB = "https://huggingface.co"


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """One file on the hub."""

    path: str
    """Below the hub's address."""
    sha256: str | None = None
    """None where nobody has published it: the hub's own statement is checked if it makes one, and the hash is recorded."""
    size: int | None = None
    """Bytes, where known for certain."""
    about: int | None = None
    """Bytes, where only an estimate is possible; for what is printed before the download."""

    @property
    def url(self) -> str:
        """The address, on the hub or on the mirror that ECHOREEL_HUB or HF_ENDPOINT names."""
        hub = os.environ.get("ECHOREEL_HUB") or os.environ.get("HF_ENDPOINT") or HUB
        return f"{hub.rstrip('/')}/{self.path}"


@dataclass(frozen=True, slots=True)
class Entry:
    """A public model."""

    info: ModelInfo
    title: str
    licence: str
    paper: str
    source: str
    note: str
    checkpoint: RemoteFile
    base: RemoteFile | None = None
    """The frozen network alone as its own authors published it; only to compare with, the checkpoint holds it too."""

    @property
    def name(self) -> str:
        """The name that `pull` takes."""
        return self.info.name


# t2v.ckpt holds network, autoencoder and text encoder: 1.166e9 numbers, 4 bytes each if they are float32.
LVDM_FILE = RemoteFile("Yingqing/LVDM/resolve/main/lvdm_short/t2v.ckpt", about=4_700_000_000)
LVDM_LICENCE = (
    "LVDM: MIT, Copyright (c) 2022 Cassie (github.com/YingqingHe/LVDM). "
    "Its autoencoder is Stable Diffusion's (CreativeML Open RAIL-M), its text encoder OpenAI's CLIP ViT-L/14 (MIT)."
)
LVDM_PAPER = "He et al. 2022, Latent Video Diffusion Models for High-Fidelity Long Video Generation, arXiv:2211.13221"
LVDM_DEFAULTS = Defaults(frames=16, height=256, width=256, fps=4.0, steps=50, guidance=12.0, eta=1.0)

ECHOREEL = Entry(
    info=ModelInfo(
        name="echoreel-lvdm",
        backbone="lvdm",
        defaults=LVDM_DEFAULTS,
        reference=ReferenceShape(frames=16, stride=4),
        encoder="PE-Core-B-16",
        score_floor=0.2,
    ),
    title="EchoReel on LVDM, as its authors published it",
    licence=(
        "EchoReel: its authors published neither a licence for their code nor one for these weights; you need their permission "
        "for anything beyond what the law allows you anyway. " + LVDM_LICENCE
    ),
    paper="Liu et al. 2024, EchoReel: Enhancing Action Generation of Existing Video Diffusion Models, arXiv:2403.11535",
    source="https://huggingface.co/cscrisp/EchoReel",
    note=(
        "The addresses are those of the authors' README (github.com/liujianzhi/EchoReel, commit 2d4f4aa); neither file could be fetched "
        "when this entry was written, so size and hash are not known: the size is inferred from the number of weights (1.81e9, two bytes "
        "each). The checkpoint holds LVDM, the autoencoder and the text encoder as well."
    ),
    checkpoint=RemoteFile("cscrisp/EchoReel/resolve/main/checkpoint/checkpoint.pt", about=3_630_000_000),
    base=LVDM_FILE,
)
LVDM = Entry(
    info=ModelInfo(name="lvdm", backbone="lvdm", defaults=LVDM_DEFAULTS, reference=None, encoder="PE-Core-B-16", score_floor=0.2),
    title="LVDM text-to-video alone, without references",
    licence=LVDM_LICENCE,
    paper=LVDM_PAPER,
    source="https://huggingface.co/Yingqing/LVDM",
    note=(
        "The address is the one that EchoReel's README gives; the file could not be fetched when this entry was written, so hash and size "
        "are not known."
    ),
    checkpoint=LVDM_FILE,
)
CATALOGUE = {entry.name: entry for entry in (ECHOREEL, LVDM)}


def entry(name: str) -> Entry:
    """The entry of that name; UsageError names the nearest one."""
    if name in CATALOGUE:
        return CATALOGUE[name]
    near = difflib.get_close_matches(name, CATALOGUE, n=1)
    hint = f"did you mean {near[0]}?" if near else f"known names: {', '.join(CATALOGUE)}"
    raise UsageError(f"there is no public model {name!r}", hint=hint)
