"""Whatever a template is, it is rendered or refused, and neither takes long."""

from __future__ import annotations

import time
from typing import Any

from hypothesis import HealthCheck, given, settings, strategies as st

from remuda_plugins.templates.go import TemplateError, execute, parse

STEPS = 2_000
LONGEST = 100_000
SECONDS = 10
"""Of the processor, for what takes milliseconds."""

DATA: dict[str, Any] = {
    "s": "text <é>",
    "n": 3,
    "f": 1.5,
    "t": True,
    "nil": None,
    "l": [1, "x", None, [2.5]],
    "m": {"a": {"b": "c"}, "l": [1]},
    "big": "é" * 1000,
}
FUNCTIONS = "and or not len index slice print printf println html js urlquery call eq ne lt le gt ge".split()
LITERALS = ["0", "-1", "7", "0x1F", "1.5", "1e3", "'é'", '"a\\n"', "`%v|%5d|%q|%x`", "true", "nil", '"é"', "99999999"]
PIECES = [
    *(
        "{{",
        "}}",
        "{{- ",
        " -}}",
        "{{/*",
        "*/}}",
        "(",
        ")",
        "|",
        ".",
        "$",
        "$x",
        ":=",
        "=",
        ",",
        " ",
        "\n",
        "'",
        '"',
        "`",
    ),
    *("\\", "if ", "else ", "end", "range ", "with ", "define ", "block ", "template ", "break", "continue", "nil"),
    *(
        "{{end}}",
        "{{else}}",
        "{{if .t}}",
        "{{range .l}}",
        '{{template "a" .}}',
        '"a"',
        ".s",
        ".m.a",
        "1",
        "0x",
        "e",
        "\x00",
    ),
    *("é", "\ud800", "\udcff", "printf ", "%", "[", "*", "99999999"),
]

fields = st.lists(st.sampled_from([*DATA, "a", "b", "missing"]), min_size=1, max_size=3).map(
    lambda n: "." + ".".join(n)
)
atoms = st.one_of(fields, st.sampled_from([*LITERALS, ".", "$", "$x", "$x.a", "$i"]))


def _commands(operands: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    calls = st.tuples(st.sampled_from(FUNCTIONS), st.lists(operands, max_size=3)).map(lambda c: " ".join([c[0], *c[1]]))
    return st.lists(st.one_of(calls, calls, operands), min_size=1, max_size=3).map(" | ".join)


pipelines = _commands(st.recursive(atoms, lambda inner: _commands(inner).map(lambda text: f"({text})"), max_leaves=6))
declarations = st.sampled_from(["", "", "", "$x := ", "$x = ", "$i := "])
actions = st.tuples(declarations, pipelines).map(lambda parts: "{{" + "".join(parts) + "}}")


def _controls(body: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    heads = st.sampled_from(["if ", "with ", "range ", "range $i, $x := ", "range $x = ", 'block "b" '])
    ends = st.sampled_from(
        ["", "", "{{else}}{{.}}", "{{- else if .n -}} x", "{{break}}", "{{if .}}{{continue}}{{end}}"]
    )
    blocks = st.tuples(heads, pipelines, body, ends).map(lambda b: "{{" + b[0] + b[1] + "}}" + b[2] + b[3] + "{{end}}")
    return st.lists(st.one_of(blocks, body), max_size=4).map("".join)


texts = st.sampled_from(["a ", "\n", "{{- /* c */ -}}", '{{template "a" .}}', '{{template "b" .m}}'])
bodies = st.recursive(st.one_of(texts, actions), _controls, max_leaves=8)
templates = bodies.map(lambda body: '{{$x := .m}}{{$i := 0}}{{define "a"}}{{.s}}{{template "a" .m}}{{end}}' + body)
garbage = st.lists(st.one_of(st.sampled_from(PIECES), st.text(max_size=3)), max_size=30).map("".join)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10) | st.binary(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from("slmab"), inner, max_size=4),
    max_leaves=10,
)
fuzzed = settings(max_examples=300, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])


def _render(template: str, data: Any) -> None:
    began = time.process_time()
    try:
        text = execute(parse(template), data, {}, max_steps=STEPS, max_output=LONGEST)
    except TemplateError as error:
        assert str(error).startswith("template: ")
        str(error).encode()
    else:
        assert len(text) <= LONGEST
        text.encode()  # no bytes that are no text
    assert time.process_time() - began < SECONDS


@fuzzed
@given(templates)
def test_a_template_that_looks_right(template: str) -> None:
    _render(template, DATA)


@fuzzed
@given(templates, st.data())
def test_a_template_with_a_mistake(template: str, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(template)))
    to = data.draw(st.integers(at, min(at + 5, len(template))))
    _render(template[:at] + data.draw(st.sampled_from(["", *PIECES])) + template[to:], DATA)


@fuzzed
@given(garbage)
def test_garbage(template: str) -> None:
    _render(template, DATA)
    _render("{{" + template + "}}", DATA)


@fuzzed
@given(pipelines, values)
def test_any_data(pipeline: str, data: Any) -> None:
    _render("{{$x := .}}{{$i := 0}}{{range .l}}{{.a}}{{end}}{{" + pipeline + "}}{{.}}", data)


@fuzzed
@given(
    st.lists(st.sampled_from([*"%#0+- 159.*[]vdsqxXtfeEgGbocUOTpw!é"]), max_size=20).map("".join),
    st.lists(values, max_size=3),
)
def test_any_format(form: str, data: list[Any]) -> None:
    _render("{{printf `" + form + "`" + "".join(f" (index . {i})" for i in range(len(data))) + "}}", data)
