"""Signals, places, fusion, and the answer; last of all on drawn clips with the bundled encoder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray

from echoreel_cli.mini.actions import action_named
from echoreel_cli.mini.people import COLOURS, SCENES
from echoreel_cli.mini.world import film, take_action
from echoreel_cli.models.encoders import open_encoder
from echoreel_index.background import SENTENCES
from echoreel_index.encode import Encoder, unit
from echoreel_index.errors import UsageError
from echoreel_index.fit import Background, background
from echoreel_index.nouns import Clip, Hit
from echoreel_index.query import Term, parse_query
from echoreel_index.question import question
from echoreel_index.search import Ranking, Weights, answer, places, ranked
from echoreel_index.signals import ENOUGH_MOTION, SIGNALS, Candidate, Question, matrix, verb_contrast

Vector = NDArray[np.float32]
OPEN = Ranking(floor=0.0, likeness=-1.0)


def vector(*values: float) -> Vector:
    return unit(np.array([*values, *[0.0] * (6 - len(values))], np.float32))


def window(
    name: str,
    mean: Vector,
    *,
    start: float = 0.0,
    words: float | None = None,
    caption: Vector | None = None,
    motion: float | None = None,
    samples: Sequence[Vector] = (),
) -> Candidate:
    clip = Clip(f"{name}@{start}", f"/v/{name}.mp4", start, start + 2, motion=motion)
    return Candidate(clip, mean, np.stack(samples) if samples else mean[None], caption, words)


def column(values: NDArray[np.float64], name: str) -> list[float]:
    return [float(value) for value in values[:, SIGNALS.index(name)]]


def names(hits: Sequence[Hit]) -> list[str]:
    return [hit.clip.id.split("@")[0] for hit in hits]


def test_each_signal_in_its_own_unit_and_silence_where_nothing_is_known() -> None:
    x, y, z = vector(1), vector(0, 1), vector(0, 0, 1)
    asked = Question(whole=vector(1, 1), templates=x, action=vector(1, 0, 1), scene=z)
    pool = [
        window("a", x, words=3.5, caption=y, motion=0.0015, samples=[x, x, y, z]),
        window("b", z, motion=0.9),
    ]
    values = matrix(asked, pool)
    half = float(np.sqrt(0.5))
    assert column(values, "visual") == pytest.approx([half, 0])
    assert column(values, "best") == pytest.approx([half, 0]), "the two best of four samples, or the only one"
    assert column(values, "templates") == pytest.approx([1, 0])
    assert column(values, "verb") == pytest.approx([half, 0], abs=1e-6), "the scene's axis cancels, the action's stays"
    assert column(values, "words")[0] == 3.5 and np.isnan(column(values, "words")[1])
    assert column(values, "captions")[0] == pytest.approx(half) and np.isnan(column(values, "captions")[1])
    assert column(values, "motion") == pytest.approx([0.0015, ENOUGH_MOTION]), "a shaky camera gains nothing"
    silent = matrix(Question(whole=x), pool)
    assert np.isnan(silent[:, [SIGNALS.index("templates"), SIGNALS.index("verb")]]).all()
    assert matrix(asked, []).shape == (0, len(SIGNALS))


def test_best_moments_are_two_so_that_one_lucky_frame_does_not_win() -> None:
    x, y = vector(1), vector(0, 1)
    values = matrix(Question(whole=x), [window("lucky", y, samples=[x, y, y, y]), window("right", y, samples=[x, x, y, y])])
    assert column(values, "best") == pytest.approx([0.5, 1.0])


def test_the_contrast_cancels_what_both_sentences_say_and_no_more() -> None:
    common, deed, place = vector(1), vector(0, 1), vector(0, 0, 1)
    found = verb_contrast(unit(common + deed), unit(common + place))
    assert float(found @ unit(common + place)) == pytest.approx(0, abs=1e-6)
    assert float(found @ deed) > 0.5
    np.testing.assert_array_equal(verb_contrast(deed, place), deed)
    np.testing.assert_array_equal(verb_contrast(deed, -deed), deed)


def test_places_share_ties_and_leave_out_what_is_unknown() -> None:
    values = np.array([[0.5, np.nan], [0.9, 1.0], [0.5, np.nan], [0.1, np.nan]])
    np.testing.assert_array_equal(places(values), [[2, np.nan], [1, 1], [2, np.nan], [4, np.nan]])


def test_fusion_is_the_sum_of_weighted_reciprocal_places() -> None:
    weights = Weights(visual=2, best=0, templates=0, verb=0, words=1, captions=1, motion=0)
    pool = [window("a", vector(1)), window("b", vector(1, 1), words=7.0)]
    hits = ranked(Question(vector(1)), pool, ranking=replace(OPEN, weights=weights))
    most = (2 + 1) / 61  # nobody has a caption, so captions were not asked
    assert {hit.clip.id: hit.fused for hit in hits} == pytest.approx({"b@0.0": (2 / 62 + 1 / 61) / most, "a@0.0": (2 / 61) / most})
    assert names(hits) == ["b", "a"] and [hit.rank for hit in hits] == [1, 2]
    first = hits[0].signals
    assert [(signal.name, signal.rank, signal.weight) for signal in first] == [("visual", 2, 2.0), ("words", 1, 1.0)]
    assert first[0].value == pytest.approx(hits[0].score) == pytest.approx(np.sqrt(0.5))


def test_first_everywhere_is_one() -> None:
    only = window("a", vector(1), words=1.0, caption=vector(1), motion=0.2)
    asked = Question(vector(1), vector(1), vector(1), vector(0, 1))
    (hit,) = answer(asked, [only], k=3, ranking=OPEN)
    assert hit.fused == pytest.approx(1.0) and {signal.name for signal in hit.signals} == set(SIGNALS)


@pytest.mark.parametrize("name", SIGNALS)
def test_every_signal_decides_alone_and_can_be_switched_off(name: str) -> None:
    x, y = vector(1), vector(0, 1)
    asked = Question(whole=x, templates=x, action=x, scene=y)
    better = window("b", x, words=2.0, caption=x, motion=1.0)
    worse = window("a", y, words=1.0, caption=y, motion=0.002)
    alone = Weights(**{signal: float(signal == name) for signal in SIGNALS})
    assert names(answer(asked, [worse, better], k=2, ranking=replace(OPEN, weights=alone))) == ["b", "a"]
    without = replace(Weights(), **{name: 0.0})
    heard = ranked(asked, [worse, better], ranking=replace(OPEN, weights=without))
    assert name not in {signal.name for hit in heard for signal in hit.signals} and len(heard[0].signals) == len(SIGNALS) - 1


def test_wrong_settings_are_said() -> None:
    with pytest.raises(UsageError, match="not all 0"):
        Weights(0, 0, 0, 0, 0, 0, 0)
    for bad in (-1.0, float("nan"), float("inf")):
        with pytest.raises(UsageError, match="0 or more"):
            Weights(visual=bad)
    for bad_one in ({"k0": -1.0}, {"diversity": 2.0}, {"floor": 1.5}, {"likeness": -2.0}, {"duplicates": 0.0}):
        with pytest.raises(UsageError, match="must be"):
            replace(Ranking(), **cast(dict[str, Any], bad_one))


def test_the_answer_does_not_depend_on_the_order_of_candidates() -> None:
    pool = [window(name, vector(1, float(number % 3)), start=3.0 * (number % 2)) for number, name in enumerate("abcdefgh")]
    asked = Question(vector(1))
    ranking = replace(OPEN, duplicates=2.0, diversity=0.0)
    first = answer(asked, pool, k=5, ranking=ranking)
    for seed in range(5):
        Random(seed).shuffle(pool)
        assert answer(asked, pool, k=5, ranking=ranking) == first
    assert names(first)[:3] == ["a", "d", "g"], "equals stand in the order of their paths"


def test_overlapping_windows_are_represented_by_their_best() -> None:
    pool = [window("a", vector(1, 1), start=0), window("a", vector(1, 0.5), start=1), window("a", vector(1, 2), start=3)]
    hits = answer(Question(vector(1)), pool, k=5, ranking=OPEN)
    assert [(hit.clip.start, hit.rank) for hit in hits] == [(1, 1), (3, 2)]


def test_unusable_windows_stand_last_are_left_out_or_like_others() -> None:
    pool = [window("still", vector(1), motion=0.0), window("moves", vector(1, 1), motion=0.1)]
    asked, ranking = Question(vector(1)), replace(OPEN, weights=Weights(motion=0))
    last = answer(asked, pool, k=2, ranking=ranking)
    assert names(last) == ["moves", "still"] and last[0].problems == () and "hardly moves" in last[1].problems[0]
    assert last[1].fused > last[0].fused, "what is said about a hit stays true"
    assert names(answer(asked, pool, k=2, ranking=replace(ranking, gate="drop"))) == ["moves"]
    off = answer(asked, pool, k=2, ranking=replace(ranking, gate="off"))
    assert names(off) == ["still", "moves"] and off[0].problems == ()


def test_floors_by_cosine() -> None:
    pool = [window("near", vector(1, 0.2)), window("far", vector(1, 3))]
    example, said = Question(vector(1)), Question(vector(1), templates=vector(1))
    assert names(answer(example, pool, k=2, ranking=Ranking())) == ["near"]
    assert names(answer(said, pool, k=2, ranking=Ranking())) == ["near", "far"], "cosines of text and picture are small"
    assert names(answer(said, pool, k=2, ranking=Ranking(), min_score=0.5)) == ["near"]
    assert answer(example, pool, k=2, ranking=Ranking(), min_score=0.999) == []
    assert answer(example, [], k=2, ranking=Ranking()) == [] == ranked(example, [], ranking=Ranking())


def test_the_floor_of_fit_and_what_ranked_keeps() -> None:
    others = Background(vector(0, 1)[None], scale=10.0)
    asked = Question(vector(1), templates=vector(1))
    pool = [window("yes", vector(1, 0.2)), window("no", vector(0.2, 1))]
    (hit,) = answer(asked, pool, k=2, ranking=Ranking(), background=others)
    assert hit.clip.id == "yes@0.0" and hit.fit is not None and hit.fit > 0.99
    assert names(answer(asked, pool, k=2, ranking=Ranking(floor=0), background=others)) == ["yes", "no"]
    assert [(hit.fit or 0) > 0.5 for hit in ranked(asked, pool, ranking=Ranking(), background=others)] == [True, False]
    assert answer(asked, pool[1:], k=2, ranking=Ranking(), background=others) == []


def test_plain_is_the_cosine_alone() -> None:
    pool = [window("a", vector(1, 1), words=9.0), window("b", vector(1), motion=0.0), window("c", vector(1))]
    hits = answer(Question(vector(1), vector(0, 1)), pool, k=3, ranking=Ranking.plain())
    assert names(hits) == ["b", "c", "a"] and [signal.name for signal in hits[0].signals] == ["visual"]


# The rest is about drawn clips: what people search for, in the words in which they say it.

SHOWN = ("backflip", "cartwheel", "front flip", "jump", "walk", "squat", "jumping jack", "push-up", "wave", "swim")
ABSENT = (
    "a person playing tennis",
    "a cat asleep",
    "a red car",
    "a person riding a horse",
    "a person playing the guitar on a stage",
    "fireworks",
    "a handstand",
)


@dataclass(frozen=True, slots=True)
class Drawn:
    """A drawn library and the encoder that saw it."""

    encoder: Encoder
    pool: list[Candidate]
    """Three takes of each action, the action's name in the id."""
    others: Vector
    """(n d) of the background's sentences."""

    def search(self, text: str, ranking: Ranking, *, k: int = 3) -> list[Hit]:
        asked = question(parse_query(text), self.encoder.embed_texts, _no_example)
        others = background([text], asked, SENTENCES, self.others, scale=self.encoder.logit_scale)
        return answer(asked, self.pool, k=k, ranking=ranking, background=others)


def _no_example(term: Term) -> Vector:
    raise AssertionError(f"a sentence needs no example, got {term}")


@pytest.fixture(scope="module")
def drawn() -> Drawn:
    encoder, random = open_encoder("mini"), np.random.default_rng(1)
    takes = [take_action(action_named(name), random) for name in SHOWN for _ in range(3)]
    pool = []
    for number, frames in enumerate(film(takes).numpy()):
        samples = encoder.embed_frames(frames[::2])
        clip = Clip(f"{takes[number].action}@{number}", f"/v/{random.integers(10**6)}.mp4", 0, 1)
        pool.append(Candidate(clip, unit(samples.mean(0)), samples))
    return Drawn(encoder, pool, encoder.embed_texts(list(SENTENCES)))


def dressed() -> list[tuple[str, str]]:
    """(action, prompt) with clothes and a place, two for each action."""
    random = np.random.default_rng(2)
    colours = list(COLOURS)
    found = []
    for name in SHOWN:
        for _ in range(2):
            top, bottom = (colours[int(random.integers(len(colours)))] for _ in range(2))
            place = SCENES[int(random.integers(len(SCENES)))].phrase
            found.append((name, f"a person in a {top} shirt and {bottom} trousers {action_named(name).phrases[0]} {place}"))
    return found


def first_right(drawn: Drawn, ranking: Ranking) -> float:
    """Share of dressed-up prompts whose first hit shows the action."""
    return float(np.mean([names(drawn.search(text, ranking, k=1)) == [name] for name, text in dressed()]))


def test_a_backflip_is_found_whatever_the_prompt_says_of_clothes_and_place(drawn: Drawn) -> None:
    hits = drawn.search("a person in a red shirt and blue trousers doing a backflip on a beach", Ranking())
    assert names(hits) and set(names(hits)) == {"backflip"}


def test_dressed_up_prompts_are_answered_much_better_than_by_the_cosine(drawn: Drawn) -> None:
    plain, full = first_right(drawn, Ranking.plain()), first_right(drawn, replace(Ranking(), floor=0.0))
    assert full >= 0.85 and full >= plain + 0.15, (plain, full)


def test_nothing_fits_is_an_answer(drawn: Drawn) -> None:
    assert {text: names(drawn.search(text, Ranking())) for text in ABSENT} == {text: [] for text in ABSENT}


def test_what_is_there_is_answered_in_plain_words(drawn: Drawn) -> None:
    for text, name in (("a backflip", "backflip"), ("a person doing a cartwheel", "cartwheel"), ("push-ups", "push-up")):
        assert names(drawn.search(text, Ranking()))[:1] == [name], text
