"""`eval mini` at tiny size: what is asked for, what is shown, what is counted, and the form of the result."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from echoreel_cli.measure.judge import Judge
from echoreel_cli.measure.mini import (
    CONDITIONS,
    Bank,
    Case,
    EvalSettings,
    Outcome,
    build_bank,
    cases,
    choose,
    evaluate,
    figures,
    judged,
    make,
)
from echoreel_cli.mini.actions import ACTIONS, HELD_OUT, SEEN, action_named
from echoreel_cli.mini.people import COLOURS
from echoreel_cli.mini.world import film, take_action
from echoreel_cli.models.encoders import open_encoder
from echoreel_cli.models.open import Model, open_model
from echoreel_index.encode import Encoder
from tests.mini_model import write_mini_shaped_model
from tests.tiny_model import write_tiny_encoder

SETTINGS = EvalSettings(held_out_samples=1, seen_samples=1, library_clips=1, judged_clips=1, steps=1, guidance=1.0, batch=50)
ROW = {"accuracy", "accuracy_ci", "frechet", "leakage", "n"}
"""What every row must have; programs read these by name."""


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    return open_encoder(str(write_tiny_encoder(tmp_path_factory.mktemp("encoders") / "tiny")))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return open_model(str(write_mini_shaped_model(tmp_path_factory.mktemp("models") / "tiny")), dtype="float32")


@pytest.fixture(scope="module")
def judge() -> Judge:
    torch.manual_seed(0)
    return Judge()


@pytest.fixture(scope="module")
def bank(encoder: Encoder) -> Bank:
    return build_bank(encoder, clips=1, seed=0)


@pytest.fixture(scope="module")
def kept() -> list[Outcome]:
    """Filled by `result`."""
    return []


@pytest.fixture(scope="module")
def result(model: Model, encoder: Encoder, judge: Judge, kept: list[Outcome]) -> Mapping[str, Any]:
    steps: list[tuple[int, int]] = []
    found = evaluate(model, encoder, judge, SETTINGS, progress=lambda done, total: steps.append((done, total)), keep=kept.append)
    assert steps[-1] == (len(ACTIONS) * len(CONDITIONS),) * 2
    return found


def test_the_result_has_the_documented_form(result: Mapping[str, Any]) -> None:
    assert result["schema"] == "echoreel.eval-mini/1"
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    for group, number in (("held_out", len(HELD_OUT)), ("seen", len(SEEN))):
        assert list(result[group]) == ["k0", "random", "k1", "k3", "oracle"]
        for row in result[group].values():
            assert row.keys() >= ROW and row["n"] == number
            low, high = row["accuracy_ci"]
            assert 0 <= low <= row["accuracy"] + 1e-4 and row["accuracy"] - 1e-4 <= high <= 1
            assert row["frechet"] >= 0 and 0 <= row["leakage"] <= 1
    assert result["classifier"].keys() >= {"accuracy"} and result["classifier"]["n"] == len(ACTIONS)
    assert result["settings"]["seed"] == SETTINGS.seed and result["settings"]["steps"] == 1, "what it takes to repeat it"
    assert result["held_out"]["oracle"]["references_right"] == 1 and result["held_out"]["k0"]["references_right"] is None
    assert result["held_out"]["k0"]["leakage_n"] == 0


def test_all_conditions_meet_the_same_prompts_and_noise(result: Mapping[str, Any], kept: list[Outcome]) -> None:
    assert len(kept) == 2 * len(CONDITIONS)
    for group in ("held_out", "seen"):
        outcomes = {one.condition: one for one in kept if one.group == group}
        assert all(one.cases == outcomes["k0"].cases for one in outcomes.values())
        assert [len(outcomes[name].references[0]) for name in CONDITIONS] == [0, 1, 1, 3, 1]
        assert all(one.frames.shape == (len(one.cases), 8, 64, 64, 3) and one.frames.dtype == torch.uint8 for one in outcomes.values())
        assert [rows[:1] for rows in outcomes["k3"].references] == list(outcomes["k1"].references)
        assert not torch.equal(outcomes["k0"].frames, outcomes["oracle"].frames), "references act"
    held = {case.action.name for one in kept if one.group == "held_out" for case in one.cases}
    assert held == set(HELD_OUT)


def test_it_is_repeatable(model: Model, encoder: Encoder, judge: Judge, result: Mapping[str, Any]) -> None:
    again = evaluate(model, encoder, judge, SETTINGS, conditions=("k1",))
    assert again["held_out"] == {"k1": result["held_out"]["k1"]} and again["classifier"] == result["classifier"]


def test_cases_name_clothes_a_place_and_the_action() -> None:
    made = cases([action_named("backflip"), action_named("cartwheel")], 3, seed=1)
    assert made == cases([action_named("backflip"), action_named("cartwheel")], 3, seed=1) != cases([action_named("backflip")], 6, seed=2)
    assert [case.action.name for case in made] == ["backflip"] * 3 + ["cartwheel"] * 3
    assert len({case.seed for case in made}) == 6
    for case in made:
        assert case.phrase in case.action.phrases and f" {case.phrase} " in case.prompt
        assert case.top in COLOURS and case.prompt.startswith(f"a person in a {case.top} shirt and ")


def test_references_are_what_the_condition_says(bank: Bank, encoder: Encoder) -> None:
    [case] = cases([action_named("cartwheel")], 1, seed=3)
    assert choose("k0", case, bank, encoder) == []
    [oracle] = choose("oracle", case, bank, encoder)
    assert bank.actions[oracle] == "cartwheel"
    query = encoder.embed_texts([f"a person {case.phrase}"])[0]
    best = sorted(range(len(bank.actions)), key=lambda row: -float(bank.vectors[row] @ query))[:3]
    assert choose("k3", case, bank, encoder) == best and choose("k1", case, bank, encoder) == best[:1]
    many = {choose("random", one, bank, encoder)[0] for one in cases([action_named("cartwheel")], 40, seed=4)}
    assert len(many) > 20


def test_the_bank_is_pooled_as_the_library_pools(bank: Bank, encoder: Encoder) -> None:
    mean = encoder.embed_frames(bank.frames[7].numpy()).mean(0)
    assert np.allclose(bank.vectors[7], mean / np.linalg.norm(mean), atol=1e-6)
    assert bank.actions == tuple(action.name for action in ACTIONS) and set(bank.tops) <= set(COLOURS)


def test_a_video_depends_on_its_own_case_alone(model: Model, bank: Bank) -> None:
    many = cases([action_named("backflip")], 3, seed=5)
    together = make(model, many, [[0], [1], [2]], bank, SETTINGS)
    alone = make(model, many[1:2], [[1]], bank, SETTINGS)
    assert (together[1].int() - alone[0].int()).abs().float().mean() < 1
    assert not torch.equal(together[0], together[1])


def test_guidance_is_away_from_no_words(model: Model, bank: Bank) -> None:
    [case] = cases([action_named("backflip")], 1, seed=5)
    one, strong = (make(model, [case], [[0]], bank, EvalSettings(steps=1, guidance=scale)) for scale in (1.0, 4.0))
    assert not torch.equal(one, strong)


def test_leakage_counts_only_where_reference_and_prompt_differ() -> None:
    """A judge that sees one colour everywhere: every chance to leak that colour is counted, and no other one."""
    torch.manual_seed(0)
    judge, seen = Judge(), list(COLOURS)[3]
    nn.init.zeros_(judge.to_top.weight)
    judge.to_top.bias.data = torch.eye(len(COLOURS))[3]
    rng = np.random.default_rng(0)
    action = action_named("backflip")
    clips = film([take_action(action, rng) for _ in range(4)])
    rendered = judged(judge, clips).features
    other, third = [name for name in COLOURS if name != seen][:2]
    bank = Bank(clips[:2], ("backflip", "walk"), (seen, third), np.zeros((2, 4), np.float32))
    outcome = _outcome(clips, [other, other, seen, third], [(0,), (1,), (0,), (1,)])
    row = figures(outcome, judge, bank, rendered)
    assert row["leakage"] == 0.5 and row["leakage_n"] == 2, "in two cases the reference wears what the prompt says anyway"
    assert row["prompt_colour"] == 0.25 and row["references_right"] == 0.5 and row["n"] == 4
    assert row["frechet"] == pytest.approx(0, abs=1e-3)


def _outcome(clips: Tensor, tops: list[str], references: list[tuple[int, ...]]) -> Outcome:
    action = action_named("backflip")
    made = tuple(Case("a person", action, action.phrases[0], top, number) for number, top in enumerate(tops))
    return Outcome("k1", "held_out", made, tuple(references), clips)
