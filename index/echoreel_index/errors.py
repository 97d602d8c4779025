"""Every error that a user may meet, in one tree.

    EchoreelError                 1   anything that went wrong and has no better word
    +-- UsageError                2   the request itself cannot be carried out as written
    |   +-- OutputExists          2   a file is in the way and --force was not given
    |   +-- EncoderMismatch       2   the library was made by another encoder
    +-- NoMatch                   3   nothing in the library passes the score floor
    +-- PartialFailure            4   some items were done, some were not
    +-- WeightsError              5   weights are missing, damaged or of another network
    +-- OutOfMemory               6   the device or the machine has too little memory
    +-- VideoError                1   one video cannot be read
    +-- LibraryError              1   the library on disk is missing, damaged or busy
    +-- DownloadError             1   a transfer failed or its checksum is wrong
    +-- Interrupted             130   the user stopped the run

Each class carries the process exit code, a short machine-readable `code` for JSON output
and an optional `hint` that says what to do next.
"""

from __future__ import annotations

from typing import ClassVar


class EchoreelError(Exception):
    """Base of the tree: one line for a person, a code for a program, a hint for what to do."""

    exit_code: ClassVar[int] = 1
    code: ClassVar[str] = "failure"

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(EchoreelError):
    """The request cannot be carried out as written."""

    exit_code = 2
    code = "usage"


class OutputExists(UsageError):
    """A file is in the way and overwriting was not allowed."""

    code = "output_exists"


class EncoderMismatch(UsageError):
    """A library was made by another encoder than the one asked for."""

    code = "encoder_mismatch"


class NoMatch(EchoreelError):
    """No clip of the library passes the score floor."""

    exit_code = 3
    code = "no_match"


class PartialFailure(EchoreelError):
    """Some items were done and some were not; the message says how many."""

    exit_code = 4
    code = "partial"


class WeightsError(EchoreelError):
    """Weights are missing, damaged, unsafe to read or belong to another network."""

    exit_code = 5
    code = "weights"


class OutOfMemory(EchoreelError):
    """The device or the machine has too little memory for the request."""

    exit_code = 6
    code = "out_of_memory"


class VideoError(EchoreelError):
    """One video cannot be read; the rest of the run goes on."""

    code = "video"


class LibraryError(EchoreelError):
    """The library on disk is missing, damaged or in use by another writer."""

    code = "library"


class DownloadError(EchoreelError):
    """A transfer failed, or what arrived does not match its checksum."""

    code = "download"


class Interrupted(EchoreelError):
    """The user stopped the run; what was finished is kept."""

    exit_code = 130
    code = "interrupted"
