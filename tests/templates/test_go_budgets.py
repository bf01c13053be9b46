"""Templates that ask for too much: each has to end, and soon, with an error that says what it wanted."""

from __future__ import annotations

import time
from typing import Any

import pytest

from remuda_plugins.templates.go import TemplateError, execute, parse

SECONDS = 20
"""Of the processor, for what takes two."""
STEPS = "exceeded the budget of 1000000 steps"
OUTPUT = "exceeded the longest output of 16777216 characters"


def _nested(levels: int) -> Any:
    value: Any = None
    for _ in range(levels):
        value = [value]
    return value


def _error(template: str, data: Any = None, **limits: int) -> str:
    began = time.process_time()
    with pytest.raises(TemplateError) as caught:
        execute(parse(template), data, {}, **limits)
    assert time.process_time() - began < SECONDS
    return str(caught.value)


@pytest.mark.parametrize(
    "template",
    [
        "{{range 1000000000000}}{{end}}",
        "{{range 1000000}}{{range 1000000}}{{end}}{{end}}",
        "{{range 1000000}}{{range 1000000}}{{continue}}{{end}}{{end}}",
        "{{range $i := 1000000000000}}{{$x := $i}}{{end}}",
        "{{range 1000000}}{{or" + " 0" * 1000 + "}}{{end}}",
        "{{$x := .}}{{range 1000000}}{{$x" + ".a" * 1000 + "}}{{end}}",
        '{{define "r"}}{{if .}}{{template "r" (slice . 1)}}{{template "r" (slice . 1)}}{{end}}{{end}}'
        '{{template "r" "' + "x" * 90 + '"}}',
        "{{$x := `x`}}{{range 1000000}}{{$x = print $x $x}}{{end}}",
        "{{$x := slice `é` 1}}{{range 1000000}}{{$x = print $x $x}}{{end}}",
        "{{range 1000000}}{{$x := printf `%9999999d` 1}}{{end}}",
        "{{range 1000000}}{{$x := printf `%.999999f` 1.1}}{{end}}",
    ],
)
def test_loops_and_recursion_end(template: str) -> None:
    assert STEPS in _error(template)


@pytest.mark.parametrize("work", ["print", "html", "js", "urlquery", "len", "printf `%q`", "printf `%x`", "lt $x"])
@pytest.mark.parametrize("char", ["x", "é", "<", "\u00ad"])
def test_a_long_string_is_not_gone_through_again_and_again(work: str, char: str) -> None:
    template = "{{range 1000000}}{{$x := $}}{{$y := $x | " + work + "}}{{end}}"
    error = _error(template, char * 1_000_000)
    assert STEPS in error or OUTPUT in error


@pytest.mark.parametrize(
    ("template", "data"),
    [
        ("{{range 1000000}}{{$x := print $}}{{end}}", [[1] * 1000] * 100),
        ("{{range 1000000}}{{$x := slice $ 1}}{{end}}", [1] * 100_000),
        ("{{range 1000000}}{{range $}}{{break}}{{end}}{{end}}", {str(i): i for i in range(100_000)}),
    ],
)
def test_a_large_value_is_not_gone_through_again_and_again(template: str, data: Any) -> None:
    assert "exceeded the budget of 200000 steps" in _error(template, data, max_steps=200_000)


@pytest.mark.parametrize(
    ("template", "data"),
    [
        ("{{range 1000000}}" + "x" * 1000 + "{{end}}", None),
        ("{{range 1000}}{{$}}{{end}}", "x" * 1_000_000),
        ("{{printf `%9999999d` .}}", [1] * 1000),
        ("{{printf `" + "%9999999[1]d" * 1000 + "` 1}}", None),
        ("{{js .}}", "<" * 1_800_000),
    ],
)
def test_output_ends(template: str, data: Any) -> None:
    error = _error(template, data)
    assert OUTPUT in error or STEPS in error


def test_a_width_that_no_number_has_is_shown_as_go_shows_it() -> None:
    assert execute(parse("{{printf `%1000000000d` 1}}"), None, {}) == "%!(NOVERB)%!(EXTRA int=1)"


def test_templates_call_each_other_only_so_deep() -> None:
    endless = parse('{{define "r"}}{{template "r" .}}{{end}}{{template "r" .}}')
    with pytest.raises(TemplateError, match=r"exceeded maximum template depth \(100\)"):
        execute(endless, None, {})
    deep = '{{define "r"}}{{if .}}{{with .}}x{{template "r" (slice . 1)}}{{end}}{{end}}{{end}}{{template "r" .}}'
    assert execute(parse(deep), "y" * 99, {}) == "x" * 99
    with pytest.raises(TemplateError, match=r"exceeded maximum template depth \(5\)"):
        execute(parse(deep), "y" * 5, {}, max_depth=5)


def test_limits_are_the_callers() -> None:
    template = "{{range 10}}abc{{end}}"
    assert execute(parse(template), None, {}, max_steps=30, max_output=30) == "abc" * 10
    assert "exceeded the budget of 15 steps" in _error(template, max_steps=15)
    assert "exceeded the longest output of 29 characters" in _error(template, max_output=29)


def test_a_deep_value_is_not_printed() -> None:
    assert execute(parse("{{.}}"), _nested(50), {}) == "[" * 50 + "<nil>" + "]" * 50
    assert "a value is more than 100 levels deep" in _error("{{.}}", _nested(5000))


@pytest.mark.parametrize(
    "template",
    [
        "x" * 1_048_577,
        "{{" + "(" * 500_000,
        "{{if 1}}" * 100_000,
        "{{if 0}}" + "{{else if 0}}" * 80_000 + "{{end}}",
        '{{block "a" .}}' * 60_000,
        "{{/*" * 250_000,
        '{{"' + "\\\\" * 500_000,
        "{{" + '"' * 1_000_001,
        "{{" + " " * 1_000_000,
        "{{" + "9" * 1_000_000 + "}}",
        "{{0x" + "f" * 1_000_000 + "}}",
        "{{" + "1_" * 500_000 + "}}",
        "{{" + "é" * 1_000_000 + "}}",
        "{{$" + "x" * 1_000_000 + "}}",
    ],
    ids=lambda template: template[:12],
)
def test_a_template_that_makes_no_sense_is_refused_soon(template: str) -> None:
    _error(template)


@pytest.mark.parametrize(
    "template",
    [
        " {{- 1}}" * 20_000,
        "{{1 -}}\n\n" * 20_000,
        "".join("{{$a" + str(i) + " := $}}" for i in range(20_000)),
        "".join('{{define "a' + str(i) + '"}}x{{end}}' for i in range(10_000)),
        "{{1" + "|print" * 50_000 + "}}",
        "{{print" + " 1" * 100_000 + "}}",
        "{{printf `" + "%[1" * 100_000 + "`}}",
        "{{" + "(" * 100 + "1" + ")" * 100 + "}}",
        "{{if 1}}" * 200 + "{{end}}" * 200,
    ],
    ids=lambda template: template[:12],
)
def test_time_grows_with_the_template_and_no_faster(template: str) -> None:
    began = time.process_time()
    execute(parse(template), None, {})
    assert time.process_time() - began < SECONDS


def test_a_caller_who_is_deep_himself_gets_an_error_of_the_template() -> None:
    def descend(levels: int) -> str:
        return descend(levels - 1) if levels else execute(parse("{{" + "(" * 90 + "1" + ")" * 90 + "}}"), None, {})

    outcomes: set[str] = set()
    for levels in range(10, 1000, 10):
        try:
            outcomes.add(descend(levels))
        except TemplateError as error:
            outcomes.add(str(error))
        except RecursionError:
            break  # the caller's own
    assert outcomes == {"1", "template: : nested too deeply"}
