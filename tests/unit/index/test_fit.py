"""How sure the encoder is: a probability against sentences that say something else."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from echoreel_index.background import SENTENCES
from echoreel_index.fit import Background, background, fits
from echoreel_index.nouns import Clip
from echoreel_index.signals import Candidate, Question

Vector = NDArray[np.float32]


def axis(number: int, width: int = 8) -> Vector:
    return np.asarray(np.eye(width)[number], np.float32)


def window(mean: Vector) -> Candidate:
    return Candidate(Clip("i", "/v/a.mp4", 0, 1), mean, mean[None])


def kept(text: str, vector: Vector | None = None) -> set[str]:
    """The sentences that compete with `text`, each of which has an axis of its own."""
    axes = np.asarray(np.eye(len(SENTENCES) + 1), np.float32)
    asked = Question(axes[-1] if vector is None else vector)
    left = background([text], asked, SENTENCES, axes[:-1], scale=100.0).vectors
    return {SENTENCES[int(row.argmax())] for row in left}


def test_the_background_is_a_hundred_different_sentences_of_all_kinds() -> None:
    assert 90 <= len(SENTENCES) <= 130 and len(set(SENTENCES)) == len(SENTENCES)
    for word in ("dog", "car", "beach", "screen", "guitar", "walking", "cooking"):
        assert any(word in sentence for sentence in SENTENCES), word


def test_fit_is_the_softmax_at_the_scale_of_the_encoder() -> None:
    others = Background(np.stack([axis(1), axis(2)]), scale=2.0)
    found = fits(Question(axis(0)), [window(axis(0)), window(axis(1)), window(axis(3))], others)
    e2 = np.exp(2.0)
    np.testing.assert_allclose(found, [e2 / (e2 + 2), 1 / (1 + e2 + 1), 1 / 3], rtol=1e-6)
    sharper = fits(Question(axis(0)), [window(axis(0))], Background(others.vectors, 5000.0))
    assert sharper[0] == 1.0
    assert fits(Question(axis(0)), [window(axis(1))], Background(others.vectors, 5000.0))[0] < 1e-100


def test_the_action_is_asked_for_where_there_is_one() -> None:
    others = Background(axis(5)[None], scale=10.0)
    both = Question(whole=axis(1), action=axis(0), scene=axis(1))
    assert fits(both, [window(axis(0))], others)[0] > 0.99 > 0.6 > fits(Question(axis(1)), [window(axis(0))], others)[0]


def test_without_competitors_everything_fits() -> None:
    assert fits(Question(axis(0)), [window(axis(1))], Background(np.zeros((0, 8), np.float32), 100.0)).tolist() == [1.0]


@pytest.mark.parametrize(
    ("text", "out", "still"),
    [
        ("a person kicks a football", "people playing football", "a person punching"),
        ("a woman in a red dress dancing in a kitchen", "a person dancing", "a person cooking in a kitchen"),
        ("three push-ups", "a person doing push-ups", "a person doing sit-ups"),
        ("a red car", "a car driving on a road", "a train passing by"),
        ("a person running", "a dog running", "a person walking"),
    ],
)
def test_sentences_that_share_the_deed_do_not_compete(text: str, out: str, still: str) -> None:
    left = kept(text)
    assert out not in left and still in left


def test_a_person_is_no_content() -> None:
    assert len(kept("a person doing a moonwalk")) >= len(SENTENCES) - 1


def test_sentences_with_the_same_meaning_do_not_compete() -> None:
    axes = np.asarray(np.eye(len(SENTENCES) + 1), np.float32)
    said = SENTENCES.index("a person walking")
    assert "a person walking" not in kept("ein Spaziergang", axes[said])
    assert "a person walking" in kept("ein Spaziergang", np.asarray(0.8 * axes[said] + 0.6 * axes[-1], np.float32))


def test_wrong_input_is_refused() -> None:
    with pytest.raises(ValueError, match="1 sentences have 2 vectors"):
        background(["a jump"], Question(axis(0)), ["a jump"], np.zeros((2, 8), np.float32), scale=100.0)
    with pytest.raises(ValueError, match="positive"):
        background(["a jump"], Question(axis(0)), ["a jump"], np.zeros((1, 8), np.float32), scale=0.0)
