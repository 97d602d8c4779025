"""Labels of folders and of files, sentences for them, and views that do not give them away."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from echoreel_cli.measure.retrieval_labels import Question, questions, read_absent, read_labels, read_sentences, spoken
from echoreel_cli.measure.retrieval_view import view_without, view_without_names
from echoreel_index.errors import UsageError


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    """Files that nobody decodes: names are all that counts here."""
    top = tmp_path / "videos"
    for name in ("climb/a.mp4", "climb/deep/b.mp4", "HighJump/c.mkv", "d.mp4"):
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_bytes(name.encode())
    return top


def written(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_names_of_folders(videos: Path) -> None:
    found = read_labels(videos, "folders")
    assert len(found.files) == 4
    assert found.shown == {
        "HighJump": {str(videos / "HighJump/c.mkv"): ()},
        "climb": {str(videos / "climb/a.mp4"): ()},
        "deep": {str(videos / "climb/deep/b.mp4"): ()},
    }


def test_json_lines_and_csv_say_the_same(videos: Path, tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [
        {"file": "d.mp4", "label": "jump", "start": 2, "end": 3.5},
        {"file": "d.mp4", "label": "jump", "start": 0, "end": 1},
        {"file": "climb/a.mp4", "label": "jump"},
        {"file": "climb/a.mp4", "label": "fall", "start": 1, "end": 2},
        {"file": "climb/a.mp4", "label": "fall"},
    ]
    lines = written(tmp_path, "x.jsonl", "\n".join(json.dumps(row) for row in rows) + "\n\n")
    table = "\ufefffile,label,start,end\n" + "".join(f"{r['file']},{r['label']},{r.get('start', '')},{r.get('end', '')}\n" for r in rows)
    found = read_labels(videos, str(lines))
    assert found == read_labels(videos, str(written(tmp_path, "x.CSV", table)))
    d, a = str(videos / "d.mp4"), str(videos / "climb/a.mp4")
    assert found.shown == {"fall": {a: ()}, "jump": {a: (), d: ((0, 1), (2, 3.5))}}
    assert read_labels(videos, str(written(tmp_path, "y.csv", "label,file\njump,d.mp4\n"))).shown == {"jump": {d: ()}}


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("x.jsonl", '{"file": "d.mp4", "label": "jump"}\nnothing\n', "line 2 is no JSON"),
        ("x.jsonl", "[1]\n", "line 1 is no JSON object"),
        ("x.jsonl", '{"file": "d.mp4"}\n', "line 1 needs a file and a label"),
        ("x.jsonl", '{"file": "e.mp4", "label": "jump"}\n', "line 1: there is no video e.mp4"),
        ("x.jsonl", '{"file": "d.mp4", "label": "jump", "ends": 2}\n', "'ends' is not one of file, label, start, end"),
        ("x.csv", "file,label,start,end\nd.mp4,jump,1,\n", "line 2: start and end must both be seconds"),
        ("x.csv", "file,label,start,end\nd.mp4,jump,3,2\n", "line 2: it must start at 0 s or later and end after that, got 3 to 2"),
        ("x.csv", "file,label\nd.mp4,jump,1\n", "line 2 has more fields"),
        ("x.csv", "video,label\nd.mp4,jump\n", "'video' is not one of"),
        ("x.csv", "file,label\n", "no video in .* has a label"),
        ("x.txt", "d.mp4 jump\n", "takes folders, or a .jsonl or .csv file"),
    ],
)
def test_bad_labels_are_said_with_their_line(videos: Path, tmp_path: Path, name: str, text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        read_labels(videos, str(written(tmp_path, name, text)))


def test_nothing_to_label(videos: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        read_labels(videos, str(tmp_path / "nothing.csv"))
    with pytest.raises(UsageError, match="no such folder"):
        read_labels(tmp_path / "nowhere", "folders")
    with pytest.raises(UsageError, match="no videos in"):
        read_labels(_empty(tmp_path), "folders")


def _empty(folder: Path) -> Path:
    (folder / "empty").mkdir()
    return folder / "empty"


@pytest.mark.parametrize(
    ("label", "words"),
    [
        ("push_ups", "push ups"), ("PushUps", "push ups"), ("ApplyEyeMakeup", "apply eye makeup"), ("backflip", "backflip"),
        ("high jump", "high jump"), ("TaiChi", "tai chi"), ("sit-up", "sit-up"), ("HTMLEditing", "html editing"), ("Übung", "übung"),
    ],
)  # fmt: skip
def test_labels_as_people_say_them(label: str, words: str) -> None:
    assert spoken(label) == words


def test_sentences_stand_for_labels_and_the_template_for_the_rest(tmp_path: Path) -> None:
    path = written(tmp_path, "q.json", json.dumps({"jump": ["a person jumps", "a jump"], "fall": "somebody falls"}))
    sentences = read_sentences(path)
    assert questions(["fall", "jump", "push_ups"], sentences) == [
        Question("fall", "somebody falls"), Question("jump", "a person jumps"), Question("jump", "a jump"),
        Question("push_ups", "a person push ups"),
    ]  # fmt: skip
    assert questions(["a"], {}, "a video of {label}") == [Question("a", "a video of a")] and read_sentences(None) == {}
    with pytest.raises(UsageError, match="must have {label} in it"):
        questions(["a"], {}, "a video of {lable}")


@pytest.mark.parametrize("text", ["[]", "no json", '{"a": 1}', '{"a": []}', '{"a": [" "]}'])
def test_bad_sentences(tmp_path: Path, text: str) -> None:
    with pytest.raises(UsageError, match="q.json"):
        read_sentences(written(tmp_path, "q.json", text))


def test_absent_labels_are_absent(videos: Path, tmp_path: Path) -> None:
    labels = read_labels(videos, "folders")
    assert read_absent(written(tmp_path, "a.txt", "fly\n\n swim \nfly\n"), labels) == ["fly", "swim"] and read_absent(None, labels) == []
    with pytest.raises(UsageError, match="calls 'climb' absent, but 1 of the videos show it"):
        read_absent(written(tmp_path, "a.txt", "climb\n"), labels)
    with pytest.raises(UsageError, match="cannot be read"):
        read_absent(tmp_path / "nothing.txt", labels)


def test_a_view_without_names_keeps_sidecars_and_tells_nothing(videos: Path, tmp_path: Path) -> None:
    written(videos / "climb", "a.txt", "a rock")
    written(videos / "climb", "a.mp4.json", "{}")
    written(videos / "climb", "metadata.csv", "file_name,label\na.mp4,climb\n")
    files = read_labels(videos, "folders").files
    view = view_without_names(videos, files, tmp_path / "view")
    names = sorted(path.name for path in view.folder.iterdir())
    assert set(view.real.values()) == set(files) and len(names) == 6
    assert all(name.partition(".")[0].isdigit() for name in names)
    [seen] = [Path(path) for path, real in view.real.items() if real.endswith("climb/a.mp4")]
    assert seen.with_suffix(".txt").read_text() == "a rock" and Path(f"{seen}.json").exists() and seen.read_bytes() == b"climb/a.mp4"
    assert view_without_names(videos, files, tmp_path / "view") == view, "made again, it is the same"
    (videos / "climb/a.txt").unlink()
    assert view_without_names(videos, files, tmp_path / "view") == view and not seen.with_suffix(".txt").is_symlink()


def test_a_view_hides_the_labels_and_nothing_else(videos: Path, tmp_path: Path) -> None:
    secret = written(videos, "labels.csv", "file,label\nd.mp4,jump\n")
    written(videos, "captions.csv", "file,caption\nd.mp4,outside\n")
    outside = _empty(tmp_path) / "e.mp4"
    outside.write_bytes(b"e")
    os.symlink(outside.parent, videos / "linked")
    files = read_labels(videos, str(secret)).files
    view = view_without(videos, files, tmp_path / "view", [secret])
    seen = {str(path.relative_to(view.folder)) for path in view.folder.rglob("*") if path.is_file()}
    assert seen == {"climb/a.mp4", "climb/deep/b.mp4", "HighJump/c.mkv", "d.mp4", "captions.csv", "linked/e.mp4"}
    assert set(view.real.values()) == set(files)
