"""The published network's stored cases against ours, in float32: 2e-4 at most."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from echoreel_cli.adapters.inject import PrismAdapter
from echoreel_cli.backbones.lvdm.unet import VideoUNet
from tests.parity import golden
from tests.parity.cases import call, ddim_trace

A, A2, BOTH = slice(0, 1), slice(1, 2), slice(0, 2)
Network = tuple[VideoUNet, PrismAdapter]


@pytest.fixture(scope="module")
def network() -> Network:
    return golden.small_network()


@pytest.fixture(scope="module")
def case() -> golden.Stored:
    return golden.echoreel()


@pytest.fixture(autouse=True)
def _without_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


def close(ours: Tensor, stored: Tensor, atol: float = 2e-4) -> None:
    torch.testing.assert_close(ours, stored, atol=atol, rtol=0)


def test_inputs_follow_the_formula_too(case: golden.Stored) -> None:
    x = case.input["x"]
    assert torch.equal(x, torch.from_numpy(golden.uniform("in.x", tuple(x.shape))) * 3**0.5)


def test_prism_tokens(network: Network, case: golden.Stored) -> None:
    tokens = network[1].tokens(case.input["ref_video"][A, None], case.input["context"][A], case.input["ref_text"][A, None])
    close(tokens[:, 0], case.output["A.mid.T"])


@pytest.mark.parametrize(("sample", "name"), [(A, "A.out"), (A2, "A2.out")])
def test_one_reference(network: Network, case: golden.Stored, sample: slice, name: str) -> None:
    ours = call(*network, case, sample, case.input["ref_video"][sample, None], case.input["ref_text"][sample, None])
    close(ours, case.output[name])


def test_more_reference_frames_than_target_frames(network: Network, case: golden.Stored) -> None:
    close(call(*network, case, A, case.input["ref_video_long"][:, None], case.input["ref_text"][A, None]), case.output["B.out"])


def test_no_reference_is_the_plain_backbone(network: Network, case: golden.Stored) -> None:
    nothing = call(*network, case, A, case.input["ref_video"][None, :0], case.input["ref_text"][None, :0])
    close(nothing, case.output["C.out"])


def test_batch_of_two_is_two_singles(network: Network, case: golden.Stored) -> None:
    """The published code mixes the samples' references here (stored as case D); the right answer is A and A2."""
    ours = call(*network, case, BOTH, case.input["ref_video"][:, None], case.input["ref_text"][:, None])
    close(ours, torch.cat([case.output["A.out"], case.output["A2.out"]]))
    assert (ours - case.output["D.out_reference_b2_misaligned"]).abs().max() > 0.5


@pytest.mark.parametrize(
    ("positions", "name"), [("concatenate", "E.out_two_references_concat"), ("restart", "E2.out_two_references_restarted")]
)
def test_two_references(network: Network, case: golden.Stored, positions: str, name: str) -> None:
    unet, adapter = network
    kept = adapter.config
    adapter.config = replace(kept, positions=positions)  # type: ignore[arg-type]
    try:
        close(call(unet, adapter, case, A, case.input["ref_video"][None], case.input["ref_text"][None]), case.output[name])
    finally:
        adapter.config = kept


@pytest.mark.parametrize("together", [True, False])
def test_ddim_trace_with_guidance(network: Network, case: golden.Stored, together: bool) -> None:
    trace = ddim_trace(*network, case, together=together)
    for step, x in enumerate(trace):
        close(x, case.output[f"F.ddim_x.{step}"], atol=5e-3)
    close(trace[-1], case.output["F.ddim_out"], atol=5e-3)
