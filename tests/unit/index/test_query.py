"""Queries: sentences, clips, pictures, weights, sums; and their vectors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from echoreel_index.errors import UsageError
from echoreel_index.query import Query, Term, parse_query, parse_term, total
from echoreel_index.question import question

Vector = NDArray[np.float32]


def test_sentences_weights_and_sums() -> None:
    assert parse_query("  a person   jumping ") == Query((Term("a person jumping"),))
    query = parse_query("a jump", plus=["0.5:a beach", "2: a park"], minus=["a gym", ".25:snow"])
    assert [(term.text, term.weight) for term in query.terms] == [
        ("a jump", 1), ("a beach", 0.5), ("a park", 2), ("a gym", -1), ("snow", -0.25),
    ]  # fmt: skip
    assert parse_query("a jump").sentences == ("a jump",)
    assert parse_query("", plus=["a jump"], minus=["a dog"]).sentences == ("a jump",)
    assert parse_query("a jump", plus=["-0.5:a gym"]).terms[1].weight == -0.5


@pytest.mark.parametrize(
    "text", ["12:30 in the morning", "https://e.org/a jump", "a jump: high", "step 2: jump", "a@b", "meet me @noon", "3-6"]
)
def test_what_only_looks_like_more_is_a_sentence(text: str) -> None:
    assert parse_term(text) == Term(text)


def test_files_pieces_and_odd_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("clip.mp4", "my clip.mp4", "clip.mp4@3-6", "pose.jpg", "0.5:odd.mp4", "video"):
        (tmp_path / name).touch()
    here = str(tmp_path)
    assert parse_term("clip.mp4") == Term(path=f"{here}/clip.mp4")
    assert parse_term("./clip.mp4@1.5-3") == Term(path=f"{here}/clip.mp4", start=1.5, end=3.0)
    assert parse_term("clip.mp4@1:02-") == Term(path=f"{here}/clip.mp4", start=62.0)
    assert parse_term("clip.mp4@3-6") == Term(path=f"{here}/clip.mp4@3-6")
    assert parse_term("0.5:clip.mp4@0-1:00:00") == Term(path=f"{here}/clip.mp4", end=3600.0, weight=0.5)
    assert parse_term("0.5:odd.mp4") == Term(path=f"{here}/0.5:odd.mp4")
    assert parse_term("my clip.mp4").path == f"{here}/my clip.mp4" and parse_term("pose.jpg").path == f"{here}/pose.jpg"
    assert parse_term("video").path == f"{here}/video"
    assert parse_query("a jump", minus=["clip.mp4"]).terms[1] == Term(path=f"{here}/clip.mp4", weight=-1.0)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "nothing to search for"),
        ("0.5:", "empty"),
        ("0:a beach", "must not be 0"),
        ("1000:a beach", "beyond 100"),
        ("nothere.mp4", "no such file: nothere.mp4"),
        ("nothere.mkv@1-2", "no such file: nothere.mkv"),
        ("some where/nothere.MP4", "no such file"),
        ("clip.mp4@6-3", "ends before it starts"),
        ("clip.mp4@x-3", "cannot read the times"),
        ("clip.mp4@3", "cannot read the times"),
        ("clip.mp4@1.2.3-4", "cannot read the times"),
    ],
)
def test_errors_say_what_and_how(text: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "clip.mp4").touch()
    with pytest.raises(UsageError, match=said):
        parse_query(text)


def test_only_what_to_avoid_is_no_query() -> None:
    for minus in ([""], ["  "]):
        with pytest.raises(UsageError, match="empty"):
            parse_query("a jump", minus=minus)
    with pytest.raises(UsageError, match="something to look for"):
        parse_query("", minus=["a gym"])
    with pytest.raises(UsageError, match="something to look for"):
        parse_query("-1:a gym")


def test_zero_bytes_and_very_long_texts_are_sentences() -> None:
    assert parse_term("a\0b").text == "a\0b"
    assert parse_term("jump " * 5000).text == ("jump " * 5000).strip()


def axis(number: int) -> Vector:
    return np.asarray(np.eye(8)[number], np.float32)


def test_a_sum_is_a_unit_vector_and_must_not_vanish() -> None:
    vector = total([(1.0, axis(0)), (0.5, axis(1))])
    np.testing.assert_allclose(vector[:2], np.array([1, 0.5]) / np.sqrt(1.25), rtol=1e-6)
    with pytest.raises(UsageError, match="cancel"):
        total([(1.0, axis(0)), (-1.0, axis(0))])


def embed(texts: list[str]) -> Vector:
    """A vector of its own for what is said, whatever stands around it."""
    known = {"flip": 0, "beach": 1, "gym": 2, "person": 3, "video": 4, "footage": 5, "photo": 6, "clip": 7}
    rows = np.array([[float(word in text) for word in known] for text in texts], np.float32)
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)


def no_example(term: Term) -> Vector:
    raise AssertionError(f"no example was asked for, got {term}")


def test_the_question_of_a_sentence() -> None:
    asked = question(parse_query("a person doing a backflip on a beach"), embed, no_example)
    assert asked.templates is not None and asked.action is not None and asked.scene is not None
    np.testing.assert_allclose(asked.whole @ embed(["flip beach person"])[0], 1, rtol=1e-6)
    np.testing.assert_allclose(asked.action @ embed(["flip person"])[0], 1, rtol=1e-6)
    np.testing.assert_allclose(asked.scene @ embed(["beach person"])[0], 1, rtol=1e-6)
    assert asked.templates[1] == 0 and asked.templates[0] > 0.5 and np.isclose(np.linalg.norm(asked.templates), 1)


def test_the_question_of_a_thing_has_no_contrast() -> None:
    asked = question(parse_query("a beach"), embed, no_example)
    assert asked.action is None and asked.scene is None and asked.templates is not None


def test_the_question_of_an_example_has_only_itself(tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").touch()
    query = parse_query(str(tmp_path / "clip.mp4"))
    asked = question(query, embed, lambda term: axis(5))
    np.testing.assert_array_equal(asked.whole, axis(5))
    assert asked.templates is None and asked.action is None and asked.scene is None and query.sentences == ()


def test_the_question_of_a_sum_subtracts_but_takes_the_contrast_from_what_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").touch()
    query = parse_query("a person doing a backflip", plus=[f"0.5:{tmp_path / 'clip.mp4'}"], minus=["a person jumping in a gym"])
    asked = question(query, embed, lambda term: axis(7))
    assert asked.whole[0] > 0 > asked.whole[2] and asked.whole[7] > 0
    assert asked.action is not None and asked.action[2] == 0 and asked.action[0] > 0
