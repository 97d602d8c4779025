"""What counts as Creative Commons, and that `fetch` and `search` mean the same by it."""

from __future__ import annotations

import pytest

from echoreel_index.licences import is_creative_commons, licensed

FREE = (
    "Creative Commons Attribution license (reuse allowed)",
    "creative-commons",
    "https://creativecommons.org/licenses/by/4.0/",
    "http://creativecommons.org/publicdomain/mark/1.0/",
    "CC BY 4.0",
    "cc-by-nc-sa",
    "CC\u2011BY\u2011SA",
    "cc_by",
    "cc_by_nd_4.0",
    "CCBY",
    "CC BYNCSA",
    "CCBY4.0",
    "(CC) BY",
    "video under cc by, music is mine",
    "CC0",
    "cc-0",
    "CC Zero 1.0",
    "CC0-1.0",
    "CC-PDM",
    "Public Domain",
    "Public domain mark 1.0",
    "publicdomain",
)
OTHER = (
    None,
    "",
    "cc",
    "acc bypass",
    "acc by",
    "cc bypass",
    "cc byte",
    "cc saved",
    "cc zeroed",
    "CCTV",
    "All rights reserved",
    "Standard YouTube License",
    "noncreativecommons",
    "republic domain",
    "public domains",
    "MIT",
)


@pytest.mark.parametrize("licence", FREE)
def test_creative_commons_in_all_spellings(licence: str) -> None:
    assert is_creative_commons(licence) and licensed(licence, ("cc",)) and licensed(licence.upper(), ("CC",))


@pytest.mark.parametrize("licence", OTHER)
def test_what_is_no_creative_commons(licence: str | None) -> None:
    assert not is_creative_commons(licence) and not licensed(licence, ("cc",)) and licensed(licence, ())


def test_other_words_need_only_occur() -> None:
    assert licensed("All Rights Reserved", ("cc", "reserved")) and licensed("CC0 1.0", ("cc0",))
    assert not licensed("CC BY", ("cc0",)) and not licensed(None, ("mit",))
