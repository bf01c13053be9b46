from __future__ import annotations

import pytest

from remuda.errors import without_paths


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("cannot open '/data/my models/a.gguf'", "cannot open the file"),
        ("cannot open /etc/x: no such file", "cannot open the file: no such file"),
        ("in models/private/a.gguf (again)", "in the file (again)"),
        (r"no C:\Users\me\a.gguf here", "no the file here"),
        ("5.3 tokens/s and 1/2", "5.3 tokens/s and 1/2"),
    ],
)
def test_what_looks_like_a_path_is_taken_out(text: str, clean: str) -> None:
    assert without_paths(text) == clean
