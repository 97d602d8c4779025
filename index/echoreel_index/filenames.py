"""Names for files whose titles strangers chose: safe on every system, in every script, never outside a folder."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Callable
from pathlib import Path

LONGEST_STEM = 200
"""Bytes in UTF-8; file systems take 255 for a name, and suffixes such as ` (2).info.json` come on top."""
LONGEST_PART = 140
"""Bytes of one value in a name, so that a long title leaves room for the identifier."""
RESERVED = frozenset(("con", "prn", "aux", "nul", *(f"{name}{digit}" for name in ("com", "lpt") for digit in "0123456789¹²³")))
"""Names that mean a device on Windows, whatever their suffix."""
JOINERS = "\u200c\u200d"
"""Invisible, but words in Persian and Hindi, and many emoji, are spelled with them."""


def safe_part(text: str, longest: int = LONGEST_PART) -> str:
    """One value of a name: no separators, no control or direction signs, nothing that a shell or Windows takes badly."""
    kept = []
    for letter in unicodedata.normalize("NFC", text):
        kind = unicodedata.category(letter)
        if letter in '/\\:*?"<>|' or kind in ("Zl", "Zp") or letter in "\t\r\n":
            kept.append("_" if letter in '/\\:*?"<>|' else " ")
        elif kind in ("Cc", "Cs", "Cn") or (kind == "Cf" and letter not in JOINERS):
            continue
        else:
            kept.append(letter)
    return shortened(" ".join("".join(kept).split()), longest)


def safe_stem(text: str) -> str:
    """A whole name without its suffix: not empty, not hidden, no device, no option, not too long."""
    stem = safe_part(text, LONGEST_STEM).strip(" .").lstrip("-~ .")
    if not stem:
        return "video"
    return f"_{stem}" if stem.partition(".")[0].strip().lower() in RESERVED else stem


def shortened(text: str, longest: int) -> str:
    """The text, cut to `longest` bytes of UTF-8 between two letters, never between a letter and its accent."""
    if len(text.encode()) <= longest:
        return text
    cut = text.encode()[:longest].decode("utf-8", "ignore")
    while cut and unicodedata.combining(text[len(cut)]):
        cut = cut[:-1]
    return cut.rstrip()


def safe_path(name: str) -> Path:
    """A relative path of a rendered name template in which `/` makes folders; `..` and roots lose their meaning."""
    parts = [part for part in name.split("/") if part.strip(" .")]
    return Path(*(safe_stem(part) for part in parts)) if parts else Path("video")


def free_path(folder: Path, relative: Path, suffix: str, beside: Callable[[Path], Path], mine: Callable[[Path], bool]) -> Path:
    """`folder/relative.suffix`, or with ` (2)` and so on: the first that does not exist yet or is `mine` to replace.

    `beside` names the file that is written with it: files that differ in their suffix share one, so it must be free as well.
    Raises ValueError when the path leads out of the folder, for example over a link that lies in it.
    """
    parent = folder / relative.parent
    if not parent.resolve().is_relative_to(folder.resolve()):
        raise ValueError(f"{parent} leads out of {folder}")
    number = 1
    while True:
        path = parent / f"{relative.name}{f' ({number})' if number > 1 else ''}{suffix}"
        if not any(os.path.lexists(one) for one in (path, beside(path))) or mine(path):
            return path
        number += 1


def video_suffix(head: bytes, told: str) -> str:
    """The suffix that fits the first bytes of a file; `told`, what the server or the address said, where it fits as well."""
    kin, usual = _kind(head)
    given = f".{told.lower().lstrip('.')}"
    return given if given in kin else usual


def is_text(head: bytes) -> bool:
    """Whether the first bytes of a file are of a text, such as a page: no video container is without control bytes."""
    return not re.search(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]", head)


def _kind(head: bytes) -> tuple[tuple[str, ...], str]:
    """(suffixes that such a file may have, the usual one)."""
    if head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"styp", b"sidx", b"moof"):
        quick = head[8:10] == b"qt" or head[4:8] != b"ftyp"
        return (".mp4", ".m4v", ".mov", ".qt", ".3gp", ".3g2", ".f4v"), ".mov" if quick and head[4:8] in (b"ftyp", b"wide") else ".mp4"
    if head.startswith(b"\x1aE\xdf\xa3"):
        return ((".webm", ".mkv"), ".webm") if b"webm" in head[:64] else ((".mkv",), ".mkv")
    if head.startswith(b"RIFF") and head[8:12] == b"AVI ":
        return (".avi", ".divx"), ".avi"
    if head.startswith(b"FLV"):
        return (".flv",), ".flv"
    if head.startswith(b"OggS"):
        return (".ogv", ".ogm"), ".ogv"
    if head.startswith(b"GIF8"):
        return (".gif",), ".gif"
    if head.startswith(b"\x89PNG"):
        return (".apng",), ".apng"
    if head.startswith(b"\x30\x26\xb2\x75"):
        return (".wmv", ".asf"), ".wmv"
    if head[:4] in (b"\x00\x00\x01\xba", b"\x00\x00\x01\xb3"):
        return (".mpg", ".mpeg", ".vob", ".mpe", ".m1v", ".m2v"), ".mpg"
    if head[:1] == b"G" and head[188:189] in (b"G", b""):
        return (".ts", ".mts", ".m2ts"), ".ts"
    return (".mp4", ".mkv", ".mov", ".avi", ".mxf", ".rm", ".rmvb", ".y4m", ".mjpeg", ".m2ts", ".ts"), ".mp4"
