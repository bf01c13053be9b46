"""Where errors are: the text names the line (and, in execution, the column); the exception has both."""

from __future__ import annotations

from typing import Any

import pytest

from remuda_plugins.templates.go import TemplateError, execute, parse

DATA: dict[str, Any] = {"s": "text", "n": 3, "l": [1, 2], "m": {"a": {"b": 1}}, "nil": None}


def _error(template: str, name: str = "") -> TemplateError:
    with pytest.raises(TemplateError) as caught:
        execute(parse(template, (), name), DATA, {})
    return caught.value


@pytest.mark.parametrize(
    ("template", "line", "column", "text"),
    [
        ("a\n{{.s", 2, 4, "unclosed action"),
        ("{{if .s}}\n{{.s\n", 3, 0, "unclosed action started at :2"),
        ("a\n é{{.s)}}", 2, 7, "unexpected right paren"),
        ("{{(.s}}", 1, 5, "unclosed left paren"),
        ("\n{{/* a", 2, 2, "unclosed comment"),
        ("\n{{/* a */ b}}", 2, 2, "comment ends before closing delimiter"),
        ('{{"a\n"}}', 1, 2, "unterminated quoted string"),
        ("{{`a\n}}", 1, 2, "unterminated raw quoted string"),
        ("{{'a}}", 1, 2, "unterminated character constant"),
        ("\n{{  #}}", 2, 4, 'unexpected "#" in command'),
        ("{{\x01}}", 1, 2, "unrecognized character in action: U+0001"),
        ("{{.s+1}}", 1, 2, "bad character U+002B '+'"),
        ("{{1a}}", 1, 2, 'bad number syntax: "1a"'),
        ("{{08}}", 1, 2, 'integer overflow: "08"'),
        ("{{0x}}", 1, 2, 'illegal number syntax: "0x"'),
        ("{{1i}}", 1, 2, 'complex numbers are not supported: "1i"'),
        (r'{{"\q"}}', 1, 2, "invalid syntax"),
        ("{{'ab'}}", 1, 2, "malformed character constant: 'ab'"),
        ("{{.s :}}", 1, 5, "expected :="),
        ("\n\n{{ nope }}", 3, 3, 'function "nope" not defined'),
        ("\n{{$x}}", 2, 4, 'undefined variable "$x"'),
        ("{{$x, $y := .l}}", 1, 4, "too many declarations in command"),
        ("{{range $x, 1 := .l}}{{end}}", 1, 12, "range can only initialize variables"),
        ("{{if}}{{end}}", 1, 4, "missing value for if"),
        ("{{1 | 2}}", 1, 7, "non executable command in pipeline stage 2"),
        ("{{ | .s}}", 1, 3, 'unexpected "|" in command'),
        ("{{1.x}}", 1, 2, 'bad number syntax: "1.x"'),
        ("{{nil.x}}", 1, 7, 'unexpected . after term "nil"'),
        ("{{end}}", 1, 5, "unexpected {{end}}"),
        ("\n{{else}}", 2, 6, "unexpected {{else}}"),
        ("{{if 1}}{{else}}{{else}}{{end}}", 1, 22, "expected end; found {{else}}"),
        ("{{range .l}}{{else if 1}}{{end}}", 1, 19, "unexpected <if> in input"),
        ("{{if 1}}\na", 2, 1, "unexpected EOF"),
        ("{{break}}", 1, 7, "{{break}} outside {{range}}"),
        ("{{range .l}}{{else}}{{continue}}{{end}}", 1, 30, "{{continue}} outside {{range}}"),
        ("{{template .s}}", 1, 11, 'unexpected ".s" in template clause'),
        ('{{define "a"}}{{else}}{{end}}', 1, 20, "unexpected {{else}} in define clause"),
        ('{{block "a" .}}\n{{else}}{{end}}', 1, 13, "unexpected {{else}} in block clause"),
        ('{{define "a"}}x{{end}}\n{{define "a"}}y{{end}}', 2, 20, 'template: multiple definition of template "a"'),
        ("{{" + "(" * 101 + "1" + ")" * 101 + "}}", 1, 102, "max expression depth exceeded"),
        ("{{if 1}}" * 201, 1, 1606, "more than 200 control structures in one another"),
    ],
)
def test_errors_of_parsing(template: str, line: int, column: int, text: str) -> None:
    error = _error(template)
    assert str(error) == f"template: :{line}: {text}"
    assert (error.line, error.column) == (line, column)


@pytest.mark.parametrize(
    ("template", "line", "column", "context", "text"),
    [
        ("{{.s.x}}", 1, 4, ".s.x", "can't evaluate field x in type interface {}"),
        ("é\né{{.m.a.b.c.d}}", 2, 6, ".m.a.b.c.d", "can't evaluate field c in type interface {}"),
        ("{{$x := .s}}\n {{$x.y}}", 2, 5, "$x.y", "can't evaluate field y in type string"),
        ("{{.nil.x}}", 1, 6, ".nil.x", "nil pointer evaluating interface {}.x"),
        ("{{.missing.x}}", 1, 10, ".missing.x", "nil pointer evaluating interface {}.x"),
        ("{{.n 1}}", 1, 2, ".n", "n is not a method but has arguments"),
        ("{{. 1}}", 1, 2, ".", "can't give argument to non-function ."),
        ("{{nil}}", 1, 2, "nil", "nil is not a command"),
        ("{{$x = 1}}", 1, 7, "1", "undefined variable: $x"),
        ("{{with 0}}{{$q := 1}}{{else}}{{$q}}{{end}}", 1, 31, "$q", "undefined variable: $q"),
        ("{{18446744073709551615}}", 1, 2, "18446744073709551615", "18446744073709551615 overflows int"),
        ("{{len}}", 1, 2, "len", "wrong number of args for len: want 1 got 0"),
        ("{{index}}", 1, 2, "index", "wrong number of args for index: want at least 1 got 0"),
        ("{{len .n}}", 1, 2, "len .n", "error calling len: len of type int"),
        ("{{len .nil}}", 1, 2, "len .nil", "error calling len: len of nil pointer"),
        ("{{index .l 5}}", 1, 2, "index .l 5", "error calling index: index out of range: 5"),
        ("{{index .l 2}}", 1, 2, "index .l 2", "error calling index: reflect: slice index out of range"),
        ("{{slice .s 9}}", 1, 2, "slice .s 9", "error calling slice: index out of range: 9"),
        ("{{lt 1 .s}}", 1, 2, "lt 1 .s", "error calling lt: incompatible types for comparison: int and string"),
        ("{{eq .m .m}}", 1, 2, "eq .m .m", "error calling eq: non-comparable type map[a:map[b:%!s(int=1)]]: map["),
        ("{{lt nil 1}}", 1, 2, "lt nil 1", "error calling lt: invalid type for comparison"),
        ("{{call .s}}", 1, 2, "call .s", "error calling call: non-function .s of type string"),
        ("{{printf 1}}", 1, 9, "1", "expected string; found 1"),
        ("{{printf nil}}", 1, 9, "nil", "cannot assign nil to string"),
        ("{{printf .n}}", 1, 9, ".n", "wrong type for value; expected string; got int"),
        ("\n{{range .s}}{{end}}", 2, 8, ".s", "range can't iterate over text"),
        ("{{range $i, $n := 3}}{{end}}", 1, 18, "3", "can't use 3 to iterate over more than one variable"),
        ('{{template "a" .}}', 1, 11, '{{template "a" .}}', 'template "a" not defined'),
        ('{{define "a"}}{{template "a"}}{{end}}{{template "a"}}', 1, 25, '{{template "a"}}', "exceeded maximum"),
    ],
)
def test_errors_of_execution(template: str, line: int, column: int, context: str, text: str) -> None:
    error = _error(template, "t")
    executing = "a" if "maximum" in text else "t"
    expected = f'template: t:{line}:{column}: executing "{executing}" at <{context}>: {text}'
    assert str(error)[: len(expected)] == expected
    assert (error.line, error.column) == (line, column)


def test_an_error_names_the_file_and_the_template_it_happened_in() -> None:
    error = _error('\n{{define "inner"}} {{.s.x}}{{end}}{{template "inner" .}}', "outer")
    assert str(error).startswith('template: outer:2:23: executing "inner" at <.s.x>: ')


def test_a_function_that_is_not_there_any_more_is_an_error_when_it_is_reached() -> None:
    parsed = parse("{{if .x}}{{json .}}{{end}}", {"json"})
    assert not execute(parsed, {}, {})
    with pytest.raises(TemplateError, match='1:11: executing "" at <json>: "json" is not a defined function'):
        execute(parsed, {"x": 1}, {})


def test_a_long_text_is_cut_in_an_error() -> None:
    with pytest.raises(TemplateError) as caught:
        execute(parse("{{range .}}{{end}}"), "x" * 100_000, {})
    assert len(str(caught.value)) < 5000


def test_bytes_that_are_no_text_do_not_get_into_an_error() -> None:
    with pytest.raises(TemplateError) as caught:
        execute(parse(r'{{range "\xff"}}{{end}}'), None, {})
    assert str(caught.value).encode().endswith(b"range can't iterate over \xef\xbf\xbd")
