"""What an update counts."""

from __future__ import annotations

from echoreel_index.files import Changes, FileStamp, FoundFile
from echoreel_index.progress import Tally


def test_a_file_that_is_back_under_two_names_does_not_make_less_than_nothing_removed() -> None:
    back = tuple(FoundFile(f"/v/{name}.mp4", FileStamp(1, 1)) for name in "ab")
    tally = Tally(Changes(back, (), (), (), ("/v/gone.mp4",), ("/v/locked",)), lambda event: None, [])
    for file in back:
        tally.done(file, "moved", 0)
    report = tally.report(2)
    assert (report.moved, report.removed, report.unread) == (2, 0, ("/v/locked",))
