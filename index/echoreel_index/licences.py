"""What the licence of a video says, in the words of whoever published it: one meaning for `fetch` and for `search`.

Sites write `Creative Commons Attribution license (reuse allowed)`, `https://creativecommons.org/licenses/by/4.0/`, `CC BY-SA 4.0`,
`cc_by`, `CC0 1.0`, `Public Domain Mark 1.0` or just `Public domain`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

_GAP = r"[\s_)\u2010-\u2015-]*"
"""What stands between the parts of a licence's name: a blank, `_`, any hyphen, the bracket of `(CC) BY`, or nothing."""
_CREATIVE_COMMONS = re.compile(
    r"(?<![^\W_])(?:"  # not within a word; `_` is a gap here, not a letter
    rf"creative{_GAP}commons"
    rf"|cc{_GAP}(?:(?:by|sa|nc|nd){_GAP})+(?![^\W\d_])"
    rf"|cc{_GAP}(?:0|zero|pdm?)(?![^\W\d_])"
    rf"|public{_GAP}domain(?:mark)?(?![^\W\d_])"
    r")",
    re.IGNORECASE,
)


def is_creative_commons(licence: str | None) -> bool:
    """Whether a licence names itself a Creative Commons one, CC0 and the public domain (mark) among them."""
    return bool(licence and _CREATIVE_COMMONS.search(licence))


def licensed(licence: str | None, wanted: Sequence[str]) -> bool:
    """Whether one of the words `wanted` occurs in the licence; `cc` stands for all Creative Commons licences. No words: always."""
    if not wanted:
        return True
    said = (licence or "").lower()
    return any(is_creative_commons(licence) if word == "cc" else word in said for word in (one.lower() for one in wanted))
