from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from echoreel_cli.generate.prompts import Prompt, parse_hits, parse_prompts, parse_reference
from echoreel_index.errors import UsageError

HIT = {
    "schema": "echoreel.hit/1", "rank": 1, "id": "c1", "path": "/v/a.mp4", "start": 1, "end": 3.0, "score": 0.31, "caption": None,
    "source": "https://example.org/a", "licence": "CC0", "sha256": "ab", "library": "/lib", "encoder": "mini",
}  # fmt: skip


def test_plain_lines_and_json_lines() -> None:
    lines = ["\ufeffa cat", "", "# not this", '{"prompt": "a dog", "seed": 3, "refs": ["a.mp4@1-2"], "output": "d.mp4", "k": 1}']
    cat, dog = parse_prompts(lines, "p.txt")
    assert cat == Prompt("a cat")
    assert (dog.text, dog.seed, dog.output, dog.k) == ("a dog", 3, "d.mp4", 1)
    assert dog.refs is not None and (dog.refs[0].start, dog.refs[0].end) == (1.0, 2.0)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"promt": "x"}', "line 1: unknown key 'promt', did you mean 'prompt'"),
        ('{"seed": 1}', "`prompt` is missing"),
        ('{"prompt": "x", "seed": "1"}', "`seed` must be int"),
        ('{"prompt": "x", "seed": true}', "`seed` must be int"),
        ('{"prompt": "x", "refs": [3]}', "a reference is FILE@START-END"),
        ('{"prompt": ', "not JSON"),
        ("# only a remark", "holds no prompt"),
    ],
)
def test_bad_lines_say_what_is_wrong(line: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_prompts([line], "p.txt")
    assert message in caught.value.message


@pytest.mark.parametrize(
    ("text", "start", "end"),
    [
        ("clip.mp4", 0, math.inf),
        ("clip.mp4@1.5-3", 1.5, 3),
        ("clip.mp4@2-", 2, math.inf),
        ("me@home.mp4@1:02.5-1:03:00", 62.5, 3780),
    ],
)
def test_reference_times(text: str, start: float, end: float) -> None:
    reference = parse_reference(text)
    assert (reference.start, reference.end) == (start, end)
    assert Path(reference.path).is_absolute() and reference.path.endswith(".mp4")


def test_a_file_with_an_at_sign_is_a_file(tmp_path: Path) -> None:
    file = tmp_path / "take@1-2"
    file.write_bytes(b"")
    assert parse_reference(str(file)).path == str(file)


@pytest.mark.parametrize("text", ["clip.mp4@", "clip.mp4@x-y", "clip.mp4@3", "clip.mp4@3-1", "@1-2", "c.mp4@1..2-3"])
def test_bad_reference_times(text: str) -> None:
    with pytest.raises(UsageError):
        parse_reference(text)


def test_hits_of_search_are_references() -> None:
    (reference,) = parse_hits([json.dumps(HIT), "\n"], "standard input")
    assert (reference.clip_id, reference.score, reference.start, reference.licence, reference.sha256) == ("c1", 0.31, 1.0, "CC0", "ab")


@pytest.mark.parametrize("change", [{"schema": "echoreel.error/1"}, {"end": 0.5}, {"path": None}, {"start": -1}])
def test_bad_hits(change: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="line 1"):
        parse_hits([json.dumps({**HIT, **change})], "standard input")
    with pytest.raises(UsageError, match="holds no reference"):
        parse_hits([], "standard input")
