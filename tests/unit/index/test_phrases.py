"""The grammar: sentences come apart into who, what and where, and what is no English action is left alone."""

from __future__ import annotations

from random import Random

import pytest

from echoreel_cli.mini.actions import ACTIONS, Action
from echoreel_index import english
from echoreel_index.content_words import stems_of, words_of
from echoreel_index.phrases import TEMPLATES, action_of, parse, scene_of, templates_of


@pytest.mark.parametrize(
    ("text", "action", "scene"),
    [
        ("a person in a red shirt doing a backflip on a beach", "a person doing a backflip", "a person in a red shirt on a beach"),
        ("a man jumps over a fence", "a man jumping over a fence", "a man"),
        ("a man jumping over a fence in a park", "a man jumping over a fence", "a man in a park"),
        ("A woman wearing a red dress is dancing on a stage", "A woman dancing", "A woman wearing a red dress on a stage"),
        ("a person who does a backflip", "a person doing a backflip", "a person"),
        ("two dogs run on grass", "two dogs running", "two dogs on grass"),
        ("people dance in the street", "people dancing", "people in the street"),
        ("a person in jeans and sneakers jumps over a wall", "a person jumping over a wall", "a person in jeans and sneakers"),
        ("the man jumped over the wall", "the man jumping over the wall", "the man"),
        ("a boy kicks a ball", "a boy kicking a ball", "a boy"),
        ("a person standing on their hands", "a person standing on their hands", "a person"),
        ("a person crawling on hands and knees at night", "a person crawling on hands and knees", "a person at night"),
        ("a man standing in a room juggling three balls", "a man juggling three balls", "a man in a room"),
        ("an old man dances and sings on a stage", "an old man dancing and singing", "an old man on a stage"),
        ("a dog catching a frisbee", "a dog catching a frisbee", "a dog"),
        ("a running dog", "a dog running", "a dog"),
        ("on a beach, a person doing a backflip", "a person doing a backflip", "a person on a beach"),
        ("in the park two dogs are running", "two dogs running", "two dogs in the park"),
        ("dog jumps through hoop", "dog jumping through hoop", "dog"),
        ("the goalkeeper saves a penalty", "the goalkeeper saving a penalty", "the goalkeeper"),
        ("a person in red jumping", "a person jumping", "a person in red"),
        ("A man (in blue) JUMPS!", "A man jumping", "A man in blue"),
        ("a person putting on a jacket", "a person putting on a jacket", "a person"),
        ("slow motion of a man diving into water", "a man diving into water", "a man"),
        ("a man is being chased by a dog", "a man being chased by a dog", "a man"),
        ("a person's hands clapping", "a person's hands clapping", "a person's hands"),
        ("a person in a swimming pool doing a handstand", "a person doing a handstand", "a person in a swimming pool"),
        ("a man riding a bike wearing a helmet", "a man riding a bike", "a man wearing a helmet"),
        ("girl with long hair spinning", "girl with long hair spinning", "girl with long hair"),
        ("a person pointing at the sky in a park", "a person pointing at the sky", "a person in a park"),
        ("a person pointing at night", "a person pointing", "a person at night"),
        ("a girl skipping along in a park", "a girl skipping along", "a girl in a park"),
        ("a person front flipping in a gym", "a person front flipping", "a person in a gym"),
        ("he juggles", "a man juggling", "a man"),
        ("a video of a man who is jumping up and down", "a man jumping up and down", "a man"),
        ("dancing in a red dress while smiling on a stage", "a person dancing smiling", "a person in a red dress on a stage"),
    ],
)
def test_sentences_come_apart(text: str, action: str, scene: str) -> None:
    assert (action_of(text), scene_of(text)) == (action, scene)


@pytest.mark.parametrize(
    ("text", "action", "scene"),
    [
        ("backflip", "a person doing a backflip", "a person"),
        ("a cartwheel", "a person doing a cartwheel", "a person"),
        ("a cartwheel on a beach", "a person doing a cartwheel", "a person on a beach"),
        ("jumping jacks", "a person doing jumping jacks", "a person"),
        ("three push-ups in a gym", "a person doing three push-ups", "a person in a gym"),
        ("a kick", "a person doing a kick", "a person"),
        ("tennis", "a person playing tennis", "a person"),
        ("guitar", "a person playing the guitar", "a person"),
        ("yoga", "a person doing yoga", "a person"),
        ("to juggle", "a person juggling", "a person"),
        ("how to juggle", "a person juggling", "a person"),
        ("squat", "a person squatting", "a person"),
        ("riding a horse", "a person riding a horse", "a person"),
        ("do a backflip on a beach", "a person doing a backflip", "a person on a beach"),
    ],
)
def test_actions_without_a_subject_get_one(text: str, action: str, scene: str) -> None:
    assert (action_of(text), scene_of(text)) == (action, scene)


@pytest.mark.parametrize(
    "text",
    ["a red car", "a person", "a cat asleep", "a man in a swimming pool", "a man wearing a hat", "a ring", "a dress", "glasses",
     "", "  ", "the", "ing", "!?", "a glass of water", "clip-0001.mp4", "boxing gloves", "a running shoe", "gymnast on a balance beam"],
)  # fmt: skip
def test_what_says_no_action_is_left_alone(text: str) -> None:
    assert parse(text) is None and scene_of(text) is None and action_of(text) is None


@pytest.mark.parametrize(
    "text",
    ["eine Person macht einen Salto am Strand", "ein Training im Park", "un homme qui saute", "una persona haciendo una voltereta",
     "一个人在海滩上后空翻", "человек делает сальто", "人がバク転をしている"],
)  # fmt: skip
def test_other_languages_switch_the_grammar_off(text: str) -> None:
    assert parse(text) is None
    assert words_of(text) and len(templates_of(text)) == len(TEMPLATES)


def test_clothes_and_place_are_told_apart() -> None:
    phrase = parse("a person in a red shirt and blue trousers doing a backflip on a beach")
    assert phrase is not None
    assert (phrase.subject, phrase.action, phrase.clothes, phrase.place) == (
        "a person",
        "doing a backflip",
        "in a red shirt and blue trousers",
        "on a beach",
    )


@pytest.mark.parametrize("action", ACTIONS, ids=[action.name for action in ACTIONS])
def test_every_drawn_action_survives_clothes_and_place(action: Action) -> None:
    for phrase in action.phrases:
        dressed = f"a person in a red shirt and blue trousers and a white hat {phrase} on a beach"
        assert action_of(dressed) == action_of(f"a person {phrase}") == f"a person {phrase}"
        assert scene_of(dressed) == "a person in a red shirt and blue trousers and a white hat on a beach"


def test_templates_stand_around_the_action_or_the_whole() -> None:
    said = templates_of("a person in a red shirt doing a backflip on a beach")
    assert said[:2] == ["a person doing a backflip", "a video of a person doing a backflip"] and len(set(said)) == len(TEMPLATES)
    assert templates_of("a video of a red car")[:2] == ["a red car", "a video of a red car"]


def test_any_words_in_any_order_do_no_harm() -> None:
    said = "a the person man in on at wearing red shirt park does doing jumps jumping while and to is who by being put on hands -3 'x ing"
    words = said.split()
    random = Random(0)
    for _ in range(3000):
        text = " ".join(random.choices(words, k=random.randint(1, 9)))
        phrase = parse(text)
        if phrase is not None:
            assert phrase.subject and phrase.action and scene_of(text) == phrase.scene and action_of(text) == phrase.alone, text


def test_words_of_any_script() -> None:
    assert words_of("A person's push-ups in the gym, push!") == ["person", "push", "ups", "gym"]
    assert words_of("Größe ÉTÉ_2024") == ["größe", "été", "2024"]
    assert words_of("東京タワー") == ["東京", "京タ", "タワ", "ワー"] and words_of("跳") == ["跳"]
    assert words_of("점프하는 사람") == ["점프하는", "사람"]
    assert words_of("the of and") == [] == words_of("")


def test_forms_of_one_word_meet() -> None:
    for said in ("juggles juggling juggled", "cartwheel cartwheels cartwheeling", "run running ran runs", "carries carrying carried",
                 "squat squatting squats", "backflip backflips backflipping"):  # fmt: skip
        words = said.split()
        assert len({english.stem(word) for word in words}) == 1, words
    assert stems_of("he juggles") & stems_of("juggling three balls")
    assert not stems_of("kicking") & stems_of("kissing")
    assert stems_of("push-ups") == stems_of("a push-up") and not stems_of("push-ups") & stems_of("sit-ups")


@pytest.mark.parametrize(
    ("base", "form"),
    [("run", "running"), ("ride", "riding"), ("lie", "lying"), ("dance", "dancing"), ("carry", "carrying"), ("squat", "squatting"),
     ("jump", "jumping"), ("play", "playing"), ("swim", "swimming"), ("squeeze", "squeezing"), ("see", "seeing"), ("box", "boxing")],
)  # fmt: skip
def test_ing_forms(base: str, form: str) -> None:
    assert english.gerund(base) == form and english.third_person_base(base + "s") in (base, base[:-1] + "ie") or base == "carry"


def test_the_lists_are_lists_of_words() -> None:
    for name, words in vars(english).items():
        if isinstance(words, frozenset):
            assert len(words) > 2 and all(len(word) > 1 or word in "ai" for word in words), name
