"""Encoders: a real open_clip model at tiny size, saved in open_clip's own folder form."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from echoreel_index.encode import DEFAULT_ENCODER, canonical_name, open_encoder, unit
from echoreel_index.errors import UsageError, WeightsError
from echoreel_index.preprocess import Preprocessing

CONFIG = {
    "model_cfg": {
        "embed_dim": 16,
        "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16},
        "text_cfg": {"context_length": 12, "vocab_size": 600, "width": 16, "heads": 2, "layers": 1},
    },
    "preprocess_cfg": {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.4], "interpolation": "bicubic", "resize_mode": "shortest"},
}
MERGES = "#version: 0.2\n" + "\n".join(["r u", "ru n", "run s</w>", "j u"])


def make_encoder(folder: Path, seed: int = 0, vocabulary: bool = True) -> Path:
    import open_clip
    from safetensors.torch import save_file

    folder.mkdir(parents=True)
    (folder / "open_clip_config.json").write_text(json.dumps(CONFIG))
    if vocabulary:
        (folder / "bpe.txt.gz").write_bytes(gzip.compress(MERGES.encode()))
    model = open_clip.create_model(f"local-dir:{folder}", load_weights=False)
    random = torch.Generator().manual_seed(seed)
    weights = {name: torch.randn(value.shape, generator=random) * 0.3 for name, value in model.state_dict().items()}
    save_file(weights, str(folder / "open_clip_model.safetensors"))
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_encoder(tmp_path_factory.mktemp("encoder") / "tiny")


def noise(count: int, height: int, width: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.random.default_rng(0).integers(0, 256, (count, height, width, 3), dtype=np.uint8)


def test_vectors_are_unit_rows_whatever_the_batch(folder: Path) -> None:
    encoder = open_encoder(str(folder))
    frames = noise(35, 40, 60)
    rows = encoder.embed_frames(frames)
    assert rows.shape == (35, 16) and rows.dtype == np.float32 and encoder.card.width == 16 and encoder.frame_size == 32
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(encoder.embed_frames(frames[33:34]), rows[33:34], atol=1e-5)
    assert encoder.embed_frames(frames[:0]).shape == (0, 16)
    with pytest.raises(ValueError, match="frames must be"):
        encoder.embed_frames(frames.astype(np.float32))


def test_the_folders_own_vocabulary_and_context_are_used(folder: Path) -> None:
    texts = open_encoder(str(folder)).embed_texts(["a man runs", "a man jumps", "a man runs " + "on and on " * 50])
    np.testing.assert_allclose(np.linalg.norm(texts, axis=1), 1, atol=1e-5)
    assert np.abs(texts[0] - texts[1]).max() > 1e-3


def test_same_vectors_as_open_clip_itself(folder: Path) -> None:
    import open_clip
    from PIL import Image

    model, _, transform = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    model.eval()
    frames = noise(2, 32, 32)
    with torch.no_grad():
        expected = model.encode_image(torch.stack([transform(Image.fromarray(frame)) for frame in frames]), normalize=True).numpy()
    np.testing.assert_allclose(open_encoder(str(folder)).embed_frames(frames), expected, atol=1e-5)


@pytest.mark.parametrize("mode", ["shortest", "longest", "squash"])
def test_preprocessing_is_that_of_open_clip(mode: str) -> None:
    from open_clip.transform import PreprocessCfg, image_transform_v2
    from PIL import Image

    config = PreprocessCfg(size=32, resize_mode=mode)
    y, x = np.mgrid[:60, :90]
    frame = np.stack([x * 2, y * 4, (x + y)], -1).clip(0, 255).astype(np.uint8)
    expected = image_transform_v2(config, is_train=False)(Image.fromarray(frame))
    ours = Preprocessing.of(config.__dict__)(frame[None], "cpu")[0]
    assert ours.shape == (3, 32, 32)
    inside = np.s_[:, 7:-7, 2:-2] if mode == "longest" else np.s_[:, 2:-2, 2:-2]
    assert (ours - expected)[inside].abs().max() < 0.06  # PIL rounds to whole grey values in between


def test_bfloat16_keeps_fingerprint_and_nearly_the_vectors(folder: Path) -> None:
    exact, quick = open_encoder(str(folder)), open_encoder(str(folder), dtype="bfloat16")
    assert exact.card == quick.card
    frames = noise(3, 32, 32)
    assert (exact.embed_frames(frames) * quick.embed_frames(frames)).sum(1).min() > 0.99
    assert quick.embed_texts(["a"]).dtype == np.float32


def test_fingerprints_tell_weights_apart_and_names_do_not_count(folder: Path, tmp_path: Path) -> None:
    other, same = make_encoder(tmp_path / "other", seed=1), make_encoder(tmp_path / "same")
    mine = open_encoder(str(folder), called="mini").card
    assert mine.name == "mini" and open_encoder(str(same)).card.name == str(same)
    assert open_encoder(str(same)).card.fingerprint == mine.fingerprint != open_encoder(str(other)).card.fingerprint


def test_missing_damaged_and_foreign_weights_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"holds no open_clip_config\.json"):
        open_encoder(str(tmp_path))
    folder = make_encoder(tmp_path / "damaged")
    (folder / "open_clip_model.safetensors").write_bytes(b"nothing")
    with pytest.raises(WeightsError, match="cannot be loaded"):
        open_encoder(str(folder))
    (folder / "open_clip_model.safetensors").unlink()
    with pytest.raises(WeightsError, match="cannot be loaded"):
        open_encoder(str(folder))


def test_weights_that_cannot_be_fetched_say_what_to_do() -> None:
    with pytest.raises(WeightsError, match=f"encoder {DEFAULT_ENCODER} are not on this machine") as error:
        open_encoder(DEFAULT_ENCODER)  # the tests are offline
    assert error.value.exit_code == 5 and "--encoder mini" in (error.value.hint or "")


def test_unknown_names_are_usage_errors_with_neighbours() -> None:
    with pytest.raises(UsageError) as error:
        open_encoder("PE-Core-B16")
    assert "PE-Core-B-16" in (error.value.hint or "")
    with pytest.raises(UsageError, match="no weights called 'moon'"):
        open_encoder("ViT-B-32/moon")


def test_names_have_one_spelling(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "enc").mkdir()
    monkeypatch.chdir(tmp_path)
    assert canonical_name("enc") == canonical_name("./enc/") == canonical_name("local-dir:enc") == str(tmp_path / "enc")
    assert canonical_name("ViT-B-32") == "ViT-B-32" and canonical_name("hf-hub:a/b") == "hf-hub:a/b"


def test_unit_leaves_zero_rows() -> None:
    np.testing.assert_allclose(unit(np.array([[3.0, 4.0], [0.0, 0.0]], np.float32)), np.array([[0.6, 0.8], [0.0, 0.0]]), atol=1e-6)
