from __future__ import annotations

import os
from base64 import b64decode
from pathlib import Path

import click
import pytest
from hypothesis import given, strategies as st

from remuda.cli import question as module
from remuda.cli.question import Question, begins_with_image, question_from

from .conftest import PNG

FILES = ("a.png", "b.JPG", "c d.jpeg", "e.webp", "sub/f.png", "g.png.bak", "h.gif", "è.png")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, which is also the home folder, with `FILES`; `..` has `up.png`."""
    here = tmp_path / "here"
    (here / "sub").mkdir(parents=True)
    for name in FILES:
        (here / name).write_bytes(PNG + name.encode())
    (here / "dir.png").mkdir()
    (tmp_path / "up.png").write_bytes(PNG + b"up.png")
    monkeypatch.chdir(here)
    monkeypatch.setenv("HOME", str(here))
    return here


def taken(question: Question) -> list[str]:
    """The names of the files that became images."""
    return [b64decode(image).removeprefix(PNG).decode() for image in question.images]


@pytest.mark.parametrize(
    ("text", "rest", "names"),
    [
        ("what is ./a.png", "what is", ["a.png"]),
        ("./a.png what is it?", "what is it?", ["a.png"]),
        ("look at ./a.png, please", "look at, please", ["a.png"]),
        ("look at ./a.png and then", "look at and then", ["a.png"]),
        ("compare ./a.png ./b.JPG", "compare", ["a.png", "b.JPG"]),
        ("./e.webp?", "?", ["e.webp"]),
        ("see ./sub/f.png.", "see.", ["sub/f.png"]),
        ("see ~/a.png", "see", ["a.png"]),
        ("see ../up.png", "see", ["up.png"]),
        ("see {folder}/a.png", "see", ["a.png"]),
        ("see './a.png'", "see", ["a.png"]),
        ('see "./c d.jpeg" now', "see now", ["c d.jpeg"]),
        ("see ./c d.jpeg now", "see now", ["c d.jpeg"]),
        (r"see ./c\ d.jpeg now", "see now", ["c d.jpeg"]),
        ("sieh ./è.png", "sieh", ["è.png"]),
        ("看./a.png吗", "看吗", ["a.png"]),
        ("/etc is no image, ./a.png is", "/etc is no image, is", ["a.png"]),
        ("./none.png and ./a.png", "./none.png and", ["a.png"]),
        ("one\n./a.png\ntwo", "one\n\ntwo", ["a.png"]),
    ],
)
def test_paths_of_images_are_taken_out(
    folder: Path, capsys: pytest.CaptureFixture[str], text: str, rest: str, names: list[str]
) -> None:
    question = question_from(text.replace("{folder}", str(folder)))
    assert (question.text, taken(question)) == (rest, names)
    shown = capsys.readouterr()
    assert (shown.out, shown.err.count("Added image '")) == ("", len(names))


@pytest.mark.parametrize(
    "text",
    [
        "no path at all ",
        " a.png",
        "sub/f.png",
        "./none.png",
        "./g.png.bak",
        "./h.gif",
        "./dir.png",
        "https://example.org/a.png",
        "file://./a.png",
        "x./a.png",
        "./a.pngs",
        "./a\n.png",
        "./\0.png",
        "/.png",
        "~nobody-of-that-name/a.png",
    ],
)
@pytest.mark.usefixtures("folder")
def test_everything_else_stays_text(text: str) -> None:
    assert question_from(text) == Question(text)


@pytest.mark.parametrize(
    ("data", "taken"),
    [
        (b"\xff\xd8\xff\xe0", True),
        (PNG, True),
        (b"RIFF\x00\n\x00\x00WEBPVP8 ", True),
        (b"RIFF\x00\x00\x00\x00WAVEfmt ", False),
        (b"GIF89a", False),
        (b"", False),
        (PNG[:7], False),
    ],
)
def test_the_first_bytes_decide_what_is_an_image(folder: Path, data: bytes, taken: bool) -> None:
    (folder / "x.jpg").write_bytes(data)
    if taken:
        assert b64decode(question_from("./x.jpg").images[0]) == data
    else:
        with pytest.raises(click.ClickException, match=r"'\./x\.jpg' is neither a JPEG nor a PNG nor a WebP image"):
            question_from("./x.jpg")


def test_an_image_may_not_be_too_large(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LARGEST", 2**20)
    os.truncate(folder / "a.png", 2**20)
    assert len(b64decode(question_from("./a.png").images[0])) == 2**20
    os.truncate(folder / "a.png", 2**20 + 1)
    with pytest.raises(click.ClickException, match=r"'\./a\.png' is larger than 1 MB"):
        question_from("./a.png")


def test_only_an_image_at_the_very_beginning_begins_a_question(folder: Path) -> None:
    assert begins_with_image(f"{folder}/a.png what?")
    assert not begins_with_image(f"/set system see {folder}/a.png")
    assert not begins_with_image("/none.png")
    assert not begins_with_image("")


def test_bytes_that_are_not_text_may_stand_in_a_path(folder: Path) -> None:
    (folder / os.fsdecode(b"\xff.png")).write_bytes(PNG)
    question = question_from(os.fsdecode(b"see ./\xff.png \xfe"))
    assert (question.text, len(question.images)) == ("see \ufffd", 1)


def test_a_long_text_of_beginnings_is_read_in_time() -> None:
    text = "/ " * 50_000
    assert question_from(text).text == text


@given(st.text(alphabet="./~a b\\'\"png\n:é\udcff"))
def test_no_text_is_too_strange(text: str) -> None:
    assert question_from(text).images == []
