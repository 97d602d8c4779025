"""A plain English sentence taken apart: who, does what, where and in which clothes. Rules only, no model.

    a person in a red shirt  doing a backflip  on a beach
    ------------ subject --  ---- action ----  --- rest --

`scene_of` is the sentence without its action, `action_of` the action without the scene; their difference is what the verb
says. Where the grammar finds no English action, both are None, and whoever needs them goes without.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from echoreel_index import english as en
from echoreel_index.content_words import ANYONE, stems_of, words_of

SOMEONE = "a person"
"""Who acts where the sentence does not say."""

TEMPLATES = (
    "{}",
    "a video of {}",
    "footage of {}",
    "a photo of {}",
    "a clip that shows {}",
    "a video frame of {}",
)
"""Sentences around an action; the mean of their unit vectors leans less on any one wording."""

_WORD = re.compile(r"\w+(?:['\u2019-]\w+)*", re.UNICODE)
_FRAMING = re.compile(
    r"^(?:(?:a|an|the|some)\s+)?(?:short\s+)?(?:video|clip|footage|film|shot|photo|picture|slow[ -]motion|close[ -]?up)s?"
    r"\s+(?:of|with|showing|that shows|in which)\s+",
    re.IGNORECASE,
)
_PRONOUN = {"he": "a man", "she": "a woman", "it": "it", "i": SOMEONE, "you": SOMEONE, "we": "people", "they": "people"}
"""Subjects that say nothing outside of a sentence with a finite verb."""
_VOICE = frozenset("a e i o u".split())


@dataclass(frozen=True, slots=True)
class Phrase:
    """The parts of a sentence, each in the sentence's own words but for the verb, which is put into its -ing form."""

    subject: str
    """Who acts, without clothes and place: `a person`."""
    action: str
    """`doing a backflip`."""
    clothes: str = ""
    """`in a red shirt and blue trousers`."""
    place: str = ""
    """Where, and whatever else is said: `on a beach`."""

    @property
    def scene(self) -> str:
        """The sentence without its action."""
        return _joined(self.subject, self.clothes, self.place)

    @property
    def alone(self) -> str:
        """The action without its scene."""
        return _joined(self.subject, self.action)


def scene_of(text: str) -> str | None:
    """The sentence without its action: `a person in a red shirt on a beach`; None where no action was found."""
    phrase = parse(text)
    return phrase.scene if phrase else None


def action_of(text: str) -> str | None:
    """The action without its scene: `a person doing a backflip`; None where no action was found."""
    phrase = parse(text)
    return phrase.alone if phrase else None


def templates_of(text: str) -> list[str]:
    """Sentences around the action of `text`, or around `text` itself where there is none."""
    said = action_of(text) or _FRAMING.sub("", " ".join(text.split()))
    return [template.format(said) for template in TEMPLATES]


def deed_words(text: str) -> list[str]:
    """The words that say what is done, for the word index: those of the action where there is one, and none that fit anybody.

    Captions name people and places all the time; a clip of another action at the same place is not what was asked for.
    """
    said = words_of(action_of(text) or text)
    return [word for word in said if not stems_of(word) <= ANYONE] or said


def parse(text: str) -> Phrase | None:
    """The parts of an English sentence; None where it has no action, or is not English."""
    words = _words(_FRAMING.sub("", text.strip()))
    if not words or not _english(words):
        return None
    found = _verb(words)
    if found is None:
        return _noun(words)
    at, verb = found
    # `front flipping`: the first half of a compound stands before its verb.
    first = at - 1 if at and f"{words[at - 1]}-{en.base_of(verb)}".lower() in en.DONE else at
    verb = _joined(" ".join(words[first:at]), verb)
    subject, clothes, place = _who(words[:first])
    action, late_clothes, late_place = _what(_participles(words[at + 1 :]), verb)
    return Phrase(subject or SOMEONE, _joined(verb, action), _joined(clothes, late_clothes), _joined(place, late_place))


def _words(text: str) -> list[str]:
    return [word.replace("\u2019", "'") for word in _WORD.findall(unicodedata.normalize("NFKC", text))]


def _joined(*parts: str) -> str:
    return " ".join(part for part in parts if part)


def _english(words: Sequence[str]) -> bool:
    """Latin letters, and no more foreign than English little words."""
    lower = [word.lower() for word in words]
    if any(ord(letter) > 0x24F for word in words for letter in word):
        return False
    foreign = sum(word in en.FOREIGN for word in lower)
    known = sum(word in en.STOP_WORDS or word in en.PLURAL for word in lower)
    return foreign == 0 or foreign < known


def _verb(words: Sequence[str]) -> tuple[int, str] | None:
    """(place of the action's verb, its -ing form): the first verb that is more than a posture, else the first."""
    found = [(at, verb) for at in range(len(words)) if (verb := _verb_at(words, at)) is not None]
    if _names_a_deed(words):
        return None
    return next((one for one in found if one[1] not in en.POSTURES), found[0] if found else None)


def _verb_at(words: Sequence[str], at: int) -> str | None:
    """The -ing form of the verb that stands at `at`, or None."""
    lower = [word.lower() for word in words]
    word, before = lower[at], lower[:at]
    if word.endswith("ing") and len(word) > 4 and word not in en.NO_VERB_IN_ING:
        compound = _is_compound(lower, at) and (not before or before[-1] in en.PLACE_PREPOSITIONS)
        return None if compound or _after_article(before) else word
    if not before:
        return en.gerund(word) if word in en.VERBS and word not in en.CLOTHES else None
    if before == ["to"] or (before == ["how", "to"]):
        return en.gerund(word)
    return _finite(lower, at)


def _after_article(before: Sequence[str]) -> bool:
    """Whether a noun must follow: after `a`, after `a red`, but not after `in red`."""
    if before and before[-1] in en.COLOURS:
        return _after_article(before[:-1])
    return bool(before) and (before[-1] in en.DETERMINERS or before[-1].endswith("'s"))


def _is_compound(lower: Sequence[str], at: int) -> bool:
    """Whether the word at `at` and the next one name a thing: `swimming pool`, `running shoe`."""
    pair = "-".join(lower[at : at + 2])
    return pair in en.COMPOUNDS or f"{pair}s" in en.COMPOUNDS


def _finite(lower: Sequence[str], at: int) -> str | None:
    """The -ing form of a verb in -s, -ed or its bare form after a subject that it agrees with."""
    word, before = lower[at], lower[:at]
    base = en.base_of(word)
    if word in en.AUXILIARIES or word in en.CLOTHES or word in en.STOP_WORDS - {"do", "does", "did"}:
        return None
    previous = before[-1]
    if previous in en.PLACE_PREPOSITIONS | en.OTHER_PREPOSITIONS | en.WORN | {"and", "or"} or _after_article(before):
        return None
    inside = any(one in en.PLACE_PREPOSITIONS | en.WORN | en.OTHER_PREPOSITIONS for one in before)
    singular = before[0] in en.SINGULAR | {"the"} or before[0] in en.PRONOUNS or previous in en.RELATIVES
    bare = len(before) == 1 and base is not None and not previous.endswith("s") and previous not in en.VERBS
    if word.endswith("s") and not word.endswith(("ss", "us", "is")):
        known = base is not None or word in ("does", "goes", "takes")
        object_follows = at + 1 < len(lower) and lower[at + 1] in en.DETERMINERS
        # A singular subject leaves -s to the verb; inside `in a red shirt ...` only a known verb is believed.
        believed = known or (not inside and (before[0] != "the" or object_follows))
        return en.gerund(en.third_person_base(word)) if (singular and believed) or bare else None
    if base and word != base and word.endswith("ed") or word in en.PAST:
        return f"being {word}" if previous in en.AUXILIARIES and word.endswith("ed") else en.gerund(base or word)
    many = before[0] in en.PLURAL or previous in en.PLURAL_PRONOUNS or (previous.endswith("s") and before[0] not in en.SINGULAR)
    return en.gerund(base) if base == word and many else None


def _names_a_deed(words: Sequence[str]) -> bool:
    """Whether the words are a noun for an action: `jumping jacks`, `a cartwheel on a beach`."""
    return _deed(words)[0] is not None


def _deed(words: Sequence[str]) -> tuple[str | None, int]:
    """(`doing a cartwheel`, how many words said so) where the words begin with a noun for an action, else (None, 0)."""
    lower = [word.lower() for word in words]
    skip = 1 if lower[0] in en.DETERMINERS or lower[0].isdigit() else 0
    for count in (2, 1):
        said = lower[skip : skip + count]
        rest = lower[skip + count :]
        if len(said) < count or (rest and rest[0] not in en.PLACE_PREPOSITIONS | en.WORN | en.OTHER_PREPOSITIONS):
            continue
        name = "-".join(said)
        one = name if name in en.DONE | en.PRACTISED | en.PLAYED else name.removesuffix("s")
        shown, article = " ".join(said), lower[0] if skip else ""
        if one in en.PLAYED:
            return f"playing {_joined('the' if one in en.INSTRUMENTS else '', shown)}", skip + count
        if one in en.PRACTISED:
            return f"doing {shown}", skip + count
        if one in en.DONE and (skip or one not in en.VERBS):
            usual = "" if name != one or one == "splits" else "an" if one[0] in _VOICE else "a"
            return f"doing {_joined(article or usual, shown)}", skip + count
        if skip and count == 1 and one in en.VERBS and one not in en.CLOTHES | en.NO_VERB_IN_ING and lower[0] in en.SINGULAR:
            return f"doing {article} {shown}", skip + count
    return None, 0


def _noun(words: Sequence[str]) -> Phrase | None:
    """A sentence that only names an action (`a cartwheel on a beach`), or has a participle before its noun (`a running dog`)."""
    deed, used = _deed(words)
    if deed is not None:
        more, clothes, place = _what(words[used:])
        return Phrase(SOMEONE, _joined(deed, more), clothes, place)
    lower = [word.lower() for word in words]
    for at in range(1, len(words) - 1):
        if lower[at].endswith("ing") and en.base_of(lower[at]) and not _is_compound(lower, at) and at <= 2:
            subject, clothes, place = _who([*words[:at], *words[at + 1 :]])
            return Phrase(subject or SOMEONE, lower[at], clothes, place)
    return None


def _who(words: Sequence[str]) -> tuple[str, str, str]:
    """Words before the verb -> subject, clothes, place."""
    trimmed = list(words)
    while trimmed and trimmed[-1].lower() in en.AUXILIARIES | en.RELATIVES | {"to", "while", "how", "and"}:
        trimmed.pop()
    chunks = _chunks(trimmed)
    subject = [word for kind, chunk in chunks if kind == "head" for word in chunk]
    while len(subject) > 1 and subject[-1].lower() in en.AUXILIARIES | en.RELATIVES | en.POSTURES:
        subject.pop()
    who = " ".join(subject)
    return _PRONOUN.get(who.lower(), who), _of(chunks, "clothes"), _of(chunks, "place")


def _what(words: Sequence[str], verb: str = "") -> tuple[str, str, str]:
    """Words after the verb -> what belongs to the action, clothes, place."""
    chunks = _chunks(words)
    if chunks and chunks[0][0] != "head":
        first, *_, last = (word.lower() for word in chunks[0][1])
        agent = first == "by" and verb.startswith("being ")
        if agent or (verb in en.BOUND.get(first, ()) and last not in en.TIMES_OF_DAY):
            chunks[0] = ("head", chunks[0][1])
    return _of(chunks, "head"), _of(chunks, "clothes"), _of(chunks, "place")


def _participles(words: Sequence[str]) -> list[str]:
    """`and sings` becomes `and singing`, so that it reads on after a participle."""
    found = list(words)
    for at in range(1, len(found)):
        word = found[at].lower()
        if found[at - 1].lower() == "and" and word.endswith("s") and en.base_of(word) and word not in en.CLOTHES:
            found[at] = en.gerund(en.third_person_base(word)) if found[at + 1 : at + 2] == [] or found[at + 1].islower() else found[at]
    return found


def _of(chunks: Sequence[tuple[str, list[str]]], kind: str) -> str:
    return " ".join(word for found, chunk in chunks if found == kind for word in chunk)


def _chunks(words: Sequence[str]) -> list[tuple[str, list[str]]]:
    """Words cut before each place preposition and each further verb; each piece is `head`, `clothes` or `place`."""
    chunks: list[list[str]] = [[]]
    for at, word in enumerate(words):
        lower = word.lower()
        starts = _begins_place(words, at) and not (chunks[-1] and chunks[-1][-1].lower() in en.WORN)
        resumes = _is_ing_verb(words, at) and _kind(chunks[-1]) != "head"
        joined = lower == "and" and at + 1 < len(words) and _is_ing_verb(words, at + 1) and _kind(chunks[-1]) != "head"
        if starts or resumes or joined or lower == "while" or _begins_subject(chunks[-1], lower):
            chunks.append([])
        if lower != "while":
            chunks[-1].append(word)
    return [(_kind(chunk), chunk) for chunk in chunks if chunk]


def _begins_place(words: Sequence[str], at: int) -> bool:
    """Whether a place or clothes begin at `at`; a preposition without a noun (`skipping along`) goes with the verb."""
    if words[at].lower() not in en.PLACE_PREPOSITIONS | en.WORN:
        return False
    after = words[at + 1].lower() if at + 1 < len(words) else "and"
    return words[at].lower() in en.WORN or after not in en.PLACE_PREPOSITIONS | {"and", "while"}


def _begins_subject(chunk: Sequence[str], word: str) -> bool:
    """Whether somebody new begins after a place or clothes: `on a beach, a person ...`."""
    linked = en.PLACE_PREPOSITIONS | en.OTHER_PREPOSITIONS | en.WORN | en.DETERMINERS | {"and", "or"}
    return _kind(chunk) != "head" and word in en.SINGULAR | en.PLURAL | en.PRONOUNS | {"the"} and chunk[-1].lower() not in linked


def _is_ing_verb(words: Sequence[str], at: int) -> bool:
    return words[at].lower().endswith("ing") and at > 0 and _verb_at(words, at) is not None


def _kind(chunk: Sequence[str]) -> str:
    """What a piece that begins with `chunk` is."""
    lower = [word.lower() for word in chunk]
    if len(lower) < 2 or lower[0] not in en.PLACE_PREPOSITIONS | en.WORN:
        return "head"
    if lower[0] in en.WORN or lower[-1] in en.COLOURS or any(word in en.CLOTHES for word in lower[1:]):
        return "clothes"
    bound = any(word in en.POSSESSIVE for word in lower[1:2]) or (len(lower) > 1 and lower[-1] in en.OF_THE_ACTION)
    return "head" if bound else "place"
