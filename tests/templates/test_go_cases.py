"""What Go itself prints, or complains of, for well over a thousand templates."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from remuda_plugins.templates.go import TemplateError, execute, parse

FILES = ("go_cases.json", "go_cases_printf.json", "go_cases_chats.json")


def _cases() -> list[Any]:
    cases: list[Any] = []
    for file in FILES:
        read = json.loads(Path(__file__).with_name(file).read_text("utf-8"))
        cases += [pytest.param(case, read["data"][case["data"]], id=case["name"]) for case in read["cases"]]
    return cases


@pytest.mark.parametrize(("case", "data"), _cases())
def test_a_template_gives_what_go_gives(case: dict[str, str], data: Any) -> None:
    try:
        got = {"want": execute(parse(case["template"], (), "t"), data, {})}
    except TemplateError as error:
        got = {"error": str(error)}
    assert got == {key: case[key] for key in ("want", "error") if key in case}
