from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from echoreel_cli.adapters.action import attached
from echoreel_cli.generate.pipeline import GenerationRequest, Kept, Pipeline, Progress
from echoreel_cli.generate.plan import Sampling
from echoreel_cli.generate.references import Shown, show, to_video
from echoreel_cli.generate.sampler import sample
from echoreel_cli.models.open import Model, open_model
from echoreel_index.errors import OutOfMemory, UsageError
from echoreel_index.nouns import Reference
from tests.conftest import DrawVideo
from tests.tiny_model import write_tiny_model

SAMPLING = Sampling(seed=3, steps=2, guidance=5.0, eta=1.0, height=16, width=16, frames=4, fps=4.0)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return open_model(str(write_tiny_model(tmp_path_factory.mktemp("models") / "tiny")))


def shown(seed: int, caption: str | None = None) -> Shown:
    pixels = np.random.default_rng(seed).integers(0, 256, (4, 16, 16, 3), dtype=np.uint8)
    return Shown(Reference(f"{seed}.mp4", 0, 1, caption=caption), pixels)


def test_each_branch_has_its_own_prism_run_with_the_same_reference(model: Model) -> None:
    """The whole video, computed a second time by hand, one call after the other and nothing kept."""
    references = (shown(1, "a square"), shown(2))
    request = GenerationRequest("a circle", replace(SAMPLING, negative="a mess"), references)
    result = Pipeline(model).generate(request)
    backbone, adapter = model.backbone, model.adapter
    assert adapter is not None
    with torch.inference_mode():
        latents = torch.stack([backbone.encode_video(to_video(one.frames)) for one in references], dim=1)
        captions = backbone.encode_text(["a square", "a circle"])[None]
        prompt, negative = backbone.encode_text(["a circle"]), backbone.encode_text(["a mess"])

        def predict(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
            parts = []
            for words in (negative, prompt):
                with attached(backbone.denoiser, adapter, adapter.encode(latents, words, captions)):
                    parts.append(backbone.denoiser(x, t, backbone.denoiser.project_text(words)))
            guided: torch.Tensor = parts[0] + 5.0 * (parts[1] - parts[0])
            return guided

        found = sample(predict, backbone.scheduler, (4, 4, 8, 8), generators=[torch.Generator().manual_seed(3)], steps=2)
        video = backbone.decode_video(found)
    expected = ((video + 1) / 2 * 255)[0].permute(1, 2, 3, 0).numpy()
    assert np.abs(result.frames - expected).max() <= 1.1, "the same but for truncation"


def test_a_video_does_not_depend_on_what_was_made_before(model: Model) -> None:
    requests = [
        GenerationRequest("a circle", replace(SAMPLING, seed=seed), references)
        for references in ((shown(1),), (shown(2),), ())
        for seed in (3, 4)
    ]
    warm = Pipeline(model)
    together = [warm.generate(request).frames for request in requests]
    alone = [Pipeline(model).generate(request).frames for request in requests]
    assert all(np.array_equal(one, other) for one, other in zip(together, alone, strict=True))
    assert len({frames.tobytes() for frames in together}) == len(requests), "seed and reference each matter"


def test_the_same_pixels_under_another_caption_are_another_reference(model: Model) -> None:
    pipeline = Pipeline(model)
    one, other = (pipeline.generate(GenerationRequest("x", SAMPLING, (shown(1, caption),))).frames for caption in ("a square", "a wave"))
    assert not np.array_equal(one, other)


def test_guidance_of_1_skips_the_second_branch(model: Model) -> None:
    stages: list[Progress] = []
    result = Pipeline(model).generate(GenerationRequest("x", replace(SAMPLING, guidance=1.0), (shown(1),)), stages.append)
    assert [(one.stage, one.done, one.total) for one in stages] == [
        ("references", 1, 1),
        ("denoise", 1, 2),
        ("denoise", 2, 2),
        ("decode", 1, 1),
    ]
    assert set(result.timings) == {"references", "denoise", "decode"} and min(result.timings.values()) > 0


def test_the_references_have_a_weight_of_their_own(model: Model) -> None:
    pipeline = Pipeline(model)
    weighted = [replace(SAMPLING, action_guidance=weight) for weight in (1.0, 3.0, 5.0)]
    one, strong, even = (pipeline.generate(GenerationRequest("x", sampling, (shown(1),))).frames for sampling in weighted)
    assert not np.array_equal(one, strong) and not np.array_equal(strong, even)
    alone, as_well = [pipeline.generate(GenerationRequest("x", replace(SAMPLING, action_guidance=weight))).frames for weight in (1.0, 3.0)]
    assert np.array_equal(alone, as_well), "without references their weight plays no role"


def test_parts_that_wait_give_the_same_video_and_go_back(model: Model) -> None:
    request = GenerationRequest("x", SAMPLING, (shown(1),))
    usual = Pipeline(model).generate(request).frames
    waiting = Pipeline(model, device="cpu", offload=True).generate(request).frames
    assert np.abs(usual.astype(int) - waiting.astype(int)).max() <= 1
    assert model.backbone.device == torch.device("cpu")


def test_other_sizes_than_the_trained_one(model: Model) -> None:
    wide = replace(SAMPLING, height=16, width=32, frames=3)
    assert Pipeline(model).generate(GenerationRequest("x", wide, (shown(1),))).frames.shape == (3, 16, 32, 3)


def test_from_files_in_python(model: Model, tmp_path: Path, draw_video: DrawVideo) -> None:
    """The lines of the README: the model's own settings, references shown as it was trained."""
    film = draw_video(tmp_path / "film.mp4", size=(32, 64))
    references = show([Reference(str(film), 0.5, 1.5)], model.info)
    assert references[0].frames.shape == (4, 16, 16, 3)
    result = Pipeline(model).generate(GenerationRequest("x", Sampling.of(model.info, seed=3), references))
    assert result.frames.shape == (4, 16, 16, 3) and result.request.sampling == SAMPLING


def test_a_plain_model_takes_no_references(tmp_path: Path) -> None:
    plain = open_model(str(write_tiny_model(tmp_path / "plain", with_adapter=False)))
    with pytest.raises(UsageError, match="takes no references"):
        Pipeline(plain).generate(GenerationRequest("x", SAMPLING, (shown(1),)))
    with pytest.raises(UsageError, match="takes no references"):
        show([Reference("film.mp4", 0, 1)], plain.info)


@pytest.mark.parametrize("error", [MemoryError(), torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("can't allocate memory: 9")])
def test_a_full_device_is_an_error_with_a_way_out(error: Exception, model: Model) -> None:
    def full(progress: Progress) -> None:
        raise error

    with pytest.raises(OutOfMemory) as caught:
        Pipeline(model).generate(GenerationRequest("x", SAMPLING), full)
    assert caught.value.hint is not None and "--size" in caught.value.hint and "--offload" in caught.value.hint


def test_only_the_last_results_are_kept() -> None:
    kept: Kept[int] = Kept(limit=2)
    made: list[Any] = []

    def make(value: int) -> int:
        made.append(value)
        return value

    for value in (1, 2, 1, 3, 1, 2):
        assert kept.get(value, lambda value=value: make(value)) == value  # type: ignore[misc]
    assert made == [1, 2, 3, 2]
