"""Captions say what there is to see, and every word of theirs is one token."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from open_clip.tokenizer import SimpleTokenizer

from echoreel_cli.mini import vocabulary
from echoreel_cli.mini.actions import ACTIONS
from echoreel_cli.mini.people import describe, random_look
from echoreel_cli.mini.world import take_action


def test_captions_name_clothes_hat_and_place() -> None:
    look = replace(random_look(np.random.default_rng(2)), top="red", bottom="black", hat="white")
    said = describe(look, "doing a cartwheel")
    assert said == f"a person in a red shirt and black trousers and a white hat doing a cartwheel {look.scene.phrase}"
    assert describe(replace(look, hat=None), "waving").count("hat") == 0


def test_captions_leave_things_out_as_people_do_but_never_the_action() -> None:
    rng = np.random.default_rng(5)
    takes = [take_action(action, rng) for action in ACTIONS for _ in range(4)]
    for one, action in zip(takes, (action for action in ACTIONS for _ in range(4)), strict=True):
        assert any(phrase in one.caption for phrase in action.phrases)
        assert one.caption.startswith("a person")
        for worn in ("shirt", "trousers"):
            if worn in one.caption:
                assert f"{one.look.top if worn == 'shirt' else one.look.bottom} {worn}" in one.caption
    shares = [sum(word in one.caption for one in takes) / len(takes) for word in ("shirt", "trousers", one.look.scene.phrase)]
    assert 0.6 < shares[0] < 0.9 and 0.45 < shares[1] < 0.75


def test_every_word_is_one_token(tmp_path: Path) -> None:
    size = vocabulary.write(tmp_path / "bpe.txt.gz")
    tokenizer = SimpleTokenizer(bpe_path=str(tmp_path / "bpe.txt.gz"), context_length=32)
    assert tokenizer.vocab_size == size
    for word in vocabulary.words():
        assert len(tokenizer.encode(word)) == 1, word
    assert len(tokenizer.encode("zebra")) > 1
    assert tokenizer.decode(tokenizer.encode("zebra")).strip() == "zebra"


def test_the_vocabulary_is_the_same_each_time(tmp_path: Path) -> None:
    for name in ("one", "two"):
        vocabulary.write(tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_the_longest_caption_fits(tmp_path: Path) -> None:
    vocabulary.write(tmp_path / "bpe.txt.gz")
    tokenizer = SimpleTokenizer(bpe_path=str(tmp_path / "bpe.txt.gz"), context_length=32)
    look = replace(random_look(np.random.default_rng(2)), hat="white")
    longest = max((phrase for action in ACTIONS for phrase in action.phrases), key=lambda phrase: len(phrase.split()))
    ids = tokenizer([describe(look, longest)])[0]
    assert int(ids[-1]) == 0 and int(ids.max()) == tokenizer.eot_token_id
