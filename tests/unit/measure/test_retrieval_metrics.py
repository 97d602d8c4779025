"""Measures of a ranking against what one counts by hand."""

from __future__ import annotations

import numpy as np
import pytest

from echoreel_cli.measure.retrieval import (
    Found,
    average_precision,
    by_file,
    interval,
    judge,
    per_label,
    precision_at,
    recall_at,
    resampled_means,
    shows,
)


def test_average_precision_by_hand() -> None:
    assert average_precision([True, False, True, False, True], 3) == pytest.approx((1 / 1 + 2 / 3 + 3 / 5) / 3)
    assert average_precision([True, True], 2) == 1
    assert average_precision([False, True], 1) == 0.5
    assert average_precision([True], 4) == 0.25, "three were never found"
    assert average_precision([], 2) == average_precision([False] * 9, 2) == 0
    with pytest.raises(ValueError, match="at least one"):
        average_precision([False], 0)


def test_a_random_order_of_many_comes_near_the_share_of_right_ones() -> None:
    rng = np.random.default_rng(0)
    right = np.arange(1000) < 100
    found = [average_precision([bool(one) for one in rng.permutation(right)], 100) for _ in range(50)]
    assert np.mean(found) == pytest.approx(0.1, abs=0.01)


def test_recall_and_precision_by_hand() -> None:
    right = [True, False, True, True]
    assert [recall_at(right, 5, k) for k in (1, 2, 3, 10)] == [0.2, 0.2, 0.4, 0.6]
    assert [precision_at(right, k) for k in (1, 2, 3, 10)] == [1, 0.5, 2 / 3, 0.3]


def test_half_of_the_shorter_one_must_overlap() -> None:
    assert shows(Found("a", 0, 2), [(1, 5)]) and not shows(Found("a", 0, 2), [(1.1, 5)])
    assert shows(Found("a", 0, 10), [(9.5, 10.5)]), "half of the labelled second"
    assert not shows(Found("a", 0, 10), [(9.6, 10.6)])
    assert shows(Found("a", 0, 2), [(8, 9), (0, 1)]) and shows(Found("a", 0, 2), [])


def test_a_file_stands_where_its_best_window_stands() -> None:
    ranking = [Found("b", 0, 2), Found("a", 4, 6), Found("b", 4, 6), Found("a", 0, 2)]
    assert by_file(ranking) == [Found("b", 0, 2), Found("a", 4, 6)]


def test_a_file_with_the_wrong_moment_is_wrong_but_counts_as_a_file() -> None:
    ranking = [Found("a", 4, 6), Found("a", 0, 2), Found("b", 0, 2), Found("c", 0, 2)]
    truth = {"a": ((0.0, 2.0),), "c": ()}
    score = judge("jump", "a person jumping", ranking, truth, (1, 3))
    assert score.precision == pytest.approx((1 / 3) / 2) and score.precision_of_files == pytest.approx((1 + 2 / 3) / 2)
    assert score.recall_at == (0, 0.5) and score.precision_at == (0, 1 / 3)
    assert not score.right and score.answered and score.files == 2
    pooled = judge("jump", "a person jumping", ranking, truth, (1, 3), whole_files=True)
    assert pooled.precision == pooled.precision_of_files == score.precision_of_files and pooled.right


def test_an_answer_below_the_floor_is_none_and_nothing_is_right_where_nothing_is_shown() -> None:
    score = judge("fly", "a person flying", [Found("a", 0, 2, accepted=False)], {}, (1,))
    assert not score.answered and not score.right and score.precision == 0 and score.recall_at == (0,)
    assert not judge("fly", "a person flying", [], {}, (1,)).answered


def test_sentences_of_one_label_count_once() -> None:
    scores = [judge(label, "x", [], {"a": ()}, (1,)) for label in ("jump", "run", "jump")]
    assert per_label(scores, [1.0, 0.2, 0.0]).tolist() == [0.5, 0.2]


def test_resamples_repeat_are_paired_and_cover() -> None:
    rng = np.random.default_rng(0)
    values = rng.random(40)
    assert np.array_equal(resampled_means(values, seed=3), resampled_means(values, seed=3))
    assert not np.array_equal(resampled_means(values, seed=3), resampled_means(values, seed=4))
    assert np.allclose(resampled_means(values + 0.25, seed=3) - resampled_means(values, seed=3), 0.25), "the same places are drawn"
    low, high = interval(resampled_means(values, seed=3))
    assert low < values.mean() < high
    narrow = interval(resampled_means(values, seed=3), level=0.5)
    assert low < narrow[0] < narrow[1] < high
    covered = 0
    for seed in range(100):
        sample = (np.random.default_rng(seed).random(60) < 0.4).astype(np.float64)
        low, high = interval(resampled_means(sample, seed=seed, draws=400))
        covered += low <= 0.4 <= high
    assert 88 <= covered <= 100
    with pytest.raises(ValueError, match="at least one"):
        resampled_means(np.zeros(0), seed=0)
