"""The trees: their shape, where their nodes are, and how they are written in errors."""

from __future__ import annotations

import pytest

from remuda_plugins.templates.go import TemplateError, parse
from remuda_plugins.templates.go.nodes import (
    Action,
    Bool,
    Break,
    Chain,
    Command,
    Dot,
    Field,
    Identifier,
    If,
    List,
    Nil,
    Node,
    Number,
    Operand,
    Pipe,
    Range,
    String,
    TemplateCall,
    Text,
    Variable,
    With,
    source,
)


def _nodes(template: str) -> tuple[Node, ...]:
    return parse(template).trees[""].nodes


def _operand(text: str) -> Operand:
    (node,) = _nodes("{{" + text + "}}")
    assert isinstance(node, Action)
    return node.pipe.commands[0].args[0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (".", Dot(2)),
        (".a", Field(2, ("a",))),
        (".a.b.c", Field(4, ("a", "b", "c"))),
        ("$", Variable(2, ("$",))),
        ("$.a.b", Variable(3, ("$", "a", "b"))),
        ("nil", Nil(2)),
        ("true", Bool(2, True)),
        ("0x1F", Number(2, 31, "0x1F")),
        ("1e3", Number(2, 1000.0, "1e3")),
        ("'a'", Number(2, 97, "'a'")),
        (r'"a\n"', String(2, "a\n", r'"a\n"')),
        ("`a`", String(2, "a", "`a`")),
        ("len.x", Chain(5, Identifier(2, "len"), ("x",))),
        ("(.a).b.c", Chain(6, Pipe(3, (Command(3, (Field(3, ("a",)),)),)), ("b", "c"))),
    ],
)
def test_operands(text: str, expected: Operand) -> None:
    assert _operand(text) == expected


def test_numbers_have_the_types_that_go_gives_them() -> None:
    assert [type(_operand(text).value) for text in ("1", "1.", "1e0", "'1'", "0x1", "-0x1e")] == [
        int,
        float,
        float,
        int,
        int,
        float,
    ]


def test_a_pipeline_with_its_variables() -> None:
    (node,) = _nodes("{{ $x := .a | printf `%d` 1 }}")
    pipe = Pipe(
        3,
        (
            Command(9, (Field(9, ("a",)),)),
            Command(14, (Identifier(14, "printf"), String(21, "%d", "`%d`"), Number(26, 1, "1"))),
        ),
        (Variable(3, ("$x",)),),
    )
    assert node == Action(3, pipe)


def test_control_structures() -> None:
    text, choice, last = _nodes("a {{if .x}}b{{else if .y}}c{{end}}{{range $i, $e := .z}}{{break}}{{else}}d{{end}}")
    assert text == Text(0, "a ")
    assert isinstance(choice, If)
    assert choice.body.nodes == (Text(11, "b"),)
    assert choice.otherwise is not None
    (chained,) = choice.otherwise.nodes
    assert isinstance(chained, If)
    assert chained.otherwise is None
    assert isinstance(last, Range)
    assert [variable.idents for variable in last.pipe.declare] == [("$i",), ("$e",)]
    assert isinstance(last.body.nodes[0], Break)
    assert last.otherwise is not None
    assert last.otherwise.nodes[0] == Text(73, "d")


def test_else_with_is_a_with_of_its_own() -> None:
    (node,) = _nodes("{{with .a}}{{else with .b}}{{end}}")
    assert isinstance(node, With)
    assert node.otherwise is not None
    assert [type(each) for each in node.otherwise.nodes] == [With]


def test_define_and_block_have_trees_of_their_own() -> None:
    parsed = parse('x{{define "a"}}A{{end}}{{block "b" .c}}B{{end}}', name="root")
    assert parsed.trees.keys() == {"root", "a", "b"}
    assert parsed.trees["a"].nodes == (Text(15, "A"),)
    text, call = parsed.trees["root"].nodes
    assert text == Text(0, "x")
    assert isinstance(call, TemplateCall)
    assert call.name == "b"


def test_a_blank_tree_gives_way_to_another() -> None:
    for template in ('{{define "a"}} {{end}}{{define "a"}}x{{end}}', '{{define "a"}}x{{end}}{{define "a"}}\n{{end}}'):
        (text,) = parse(template).trees["a"].nodes
        assert isinstance(text, Text)
        assert text.text == "x"


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{{ $x  :=  (print 1|len).a }}", "{{$x := (print 1 | len).a}}"),
        ("{{$x = $.a.b}}", "{{$x = $.a.b}}"),
        ("{{if  not .a -}} b {{- end}}", "{{if not .a}}"),
        ("{{range $i,$e:=.l}}{{end}}", "{{range $i, $e := .l}}"),
        ("{{with nil}}{{end}}", "{{with nil}}"),
        ("{{ template `a` . }}", '{{template "a" .}}'),
        ('{{template "a"}}', '{{template "a"}}'),
        ("{{print 'a' 0x1 true .}}", "{{print 'a' 0x1 true .}}"),
        ("text", "text"),
    ],
)
def test_a_node_is_written_as_errors_quote_it(template: str, expected: str) -> None:
    variables = "{{$x := 1}}" if "$x =" in template else ""
    assert source(_nodes(variables + template)[-1]) == expected


def test_a_list_is_written_node_by_node() -> None:
    (loop,) = _nodes("{{range .}}a{{.}}{{continue}}{{break}}{{end}}")
    assert isinstance(loop, Range)
    assert source(loop.body) == "a{{.}}{{continue}}{{break}}"


def test_places_are_lines_and_bytes() -> None:
    parsed = parse("é\nö {{.a}}")
    assert [parsed.place(pos) for pos in (0, 1, 2, 3, 6)] == [(1, 0), (1, 2), (2, 0), (2, 2), (2, 5)]


def test_functions_have_to_be_known() -> None:
    assert parse("{{json . | upper}}", {"json", "upper"}).name == ""
    with pytest.raises(TemplateError, match='function "upper" not defined'):
        parse("{{json . | upper}}", ["json"])


def test_a_tree_may_be_empty() -> None:
    assert parse("").trees == {"": List(0)}
    assert parse("{{- /* c */ -}}  ").trees == {"": List(0)}
