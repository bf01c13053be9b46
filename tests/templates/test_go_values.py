"""Structs and other types of their own, functions from elsewhere, and strings that are bytes."""

from __future__ import annotations

from typing import Any

import pytest

from remuda_plugins.templates.go import Record, TemplateError, execute, parse


class Message(Record):
    type_name = "api.Message"


class Call(Record):
    type_name = "api.Call"


class Calls(list[Any]):
    type_name = "[]api.Call"


class Arguments(dict[str, Any]):
    type_name = "api.Arguments"

    def go_string(self) -> str:
        return "{args}"


class Tools(list[Any]):
    type_name = "api.Tools"

    def go_string(self) -> str:
        return "[tools]"


class Level(Record):
    type_name = "api.Level"

    def go_string(self) -> str | None:
        return self.fields["name"] or None


CALL = Call({"Name": "f", "Arguments": Arguments({"b": None, "a": 1})})
SHOWN = 'api.Call{Name:"f", Arguments:api.Arguments{"a":1, "b":interface {}(nil)}}'
DATA: dict[str, Any] = {
    "message": Message({"Role": "user", "Calls": Calls([CALL]), "Any": None}),
    "tools": Tools([CALL]),
    "level": Level({"name": "high"}),
    "nameless": Level({"name": ""}),
    "raw": "hé".encode(),
    "u": "héllo→😀",
}


def _render(template: str, data: Any = DATA, **functions: Any) -> str:
    return execute(parse(template, functions), data, functions)


def _error(template: str, data: Any = DATA, **functions: Any) -> str:
    with pytest.raises(TemplateError) as caught:
        _render(template, data, **functions)
    return str(caught.value).rpartition(">: ")[2]


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{{.message.Role}}", "user"),
        ("{{.message}}", "{user [{f {args}}] <nil>}"),
        ("{{printf `%+v` .message}}", "{Role:user Calls:[{Name:f Arguments:{args}}] Any:<nil>}"),
        (
            "{{printf `%#v` .message}}",
            'api.Message{Role:"user", Calls:[]api.Call{' + SHOWN + "}, Any:interface {}(nil)}",
        ),
        ("{{if .message}}true{{end}}{{not .nameless}}", "truefalse"),
        ("{{.message.Any}}{{(.message.Any).x}}", "<no value><no value>"),
        (
            "{{with .message}}{{range .Calls}}{{.Name}} {{.Arguments.a}} {{.Arguments.z}}{{end}}{{end}}",
            "f 1 <no value>",
        ),
        ("{{range $k, $v := (index .message.Calls 0).Arguments}}{{$k}}={{$v}};{{end}}", "a=1;b=<no value>;"),
        ("{{.tools}}{{print .tools 1 .tools}}{{println .tools}}", "[tools][tools] 1 [tools][tools]\n"),
        ("{{printf `%s %q %x %v` .tools .tools .tools .tools}}", '[tools] "[tools]" 5b746f6f6c735d [tools]'),
        ("{{printf `%d` .tools}}", "[{%!d(string=f) map[%!d(string=a):1 %!d(string=b):<nil>]}]"),
        ("{{printf `%5.3s|%-9v|%T` .tools .tools .tools}}", "  [to|[tools]  |api.Tools"),
        ("{{slice .tools 0 1}}{{len .tools}}{{html .tools}}", "[tools]1[tools]"),
        ("{{range $i, $t := .tools}}{{$i}}{{$t.Name}}{{end}}", "0f"),
        ("{{.level}} {{.nameless}}", "high {}"),
        ("{{eq .message .message}}", "true"),
        ("{{.raw}} {{printf `%s %x %q %T` .raw .raw .raw .raw}}", '[104 195 169] hé 68c3a9 "hé" []uint8'),
        ("{{printf `%#v` .raw}}{{index .raw 1}}{{len .raw}}", "[]byte{0x68, 0xc3, 0xa9}1953"),
        ("{{range .raw}}{{.}},{{end}}{{slice .raw 1 2}}", "104,195,169,[195]"),
        ("{{printf `%s` (slice .raw 1)}}", "é"),
    ],
)
def test_types_of_their_own(template: str, expected: str) -> None:
    assert _render(template) == expected


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{{with .message}}{{.Nope}}{{end}}", "can't evaluate field Nope in type api.Message"),
        ("{{.message.Role.Nope}}", "can't evaluate field Nope in type string"),
        ("{{.message.Role 1}}", "Role has arguments but cannot be invoked as function"),
        ("{{.message.Any.x}}", "nil pointer evaluating interface {}.x"),
        ("{{range .message.Calls}}{{.Nope}}{{end}}", "can't evaluate field Nope in type api.Call"),
        ("{{range .message.Calls}}{{.Arguments.a.x}}{{end}}", "can't evaluate field x in type interface {}"),
        ("{{.message.Calls.x}}", "can't evaluate field x in type []api.Call"),
        ("{{range .message}}{{end}}", "range can't iterate over {user [{f {args}}] <nil>}"),
        ("{{len .message}}", "error calling len: len of type api.Message"),
        ("{{eq .message 1}}", "error calling eq: incompatible types for comparison: api.Message and int"),
        ("{{eq .tools .tools}}", "error calling eq: non-comparable type [tools]: api.Tools"),
        ("{{printf .tools}}", "wrong type for value; expected string; got api.Tools"),
    ],
)
def test_errors_name_their_types(template: str, expected: str) -> None:
    assert _error(template) == expected


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{{len .u}} {{len `é`}}", "13 2"),
        ("{{index .u 1}} {{printf `%T` (index .u 1)}}", "195 uint8"),
        ("{{slice .u 0 2}}", "h\ufffd"),
        ("{{slice .u 1 2}}{{slice .u 2 3}}", "é"),
        ("{{$x := print (slice .u 1 2) (slice .u 2 3)}}{{eq $x `é`}}{{len $x}}", "true2"),
        ("{{printf `%q %x` (slice .u 0 2) (slice .u 0 2)}}", r'"h\xc3" 68c3'),
        (r'{{"\xc3\xa9"}}{{"\xff"}}', "é\ufffd"),
        ("{{printf `%.2s|%5s|` .u `→`}}", "hé|    →|"),
    ],
)
def test_strings_are_bytes(template: str, expected: str) -> None:
    assert _render(template) == expected


def test_lone_surrogates_become_the_replacement_character() -> None:
    assert _render("{{.}}\udfff", "\ud800a\ud83d") == "\ufffda\ufffd\ufffd"
    assert _render("{{len .}}", "\ud800") == "3"


def test_an_integer_that_go_does_not_have_is_a_float() -> None:
    assert _render("{{.}} {{printf `%T` .}}", 1 << 70) == "1.1805916207174113e+21 float64"
    assert _render("{{.}} {{printf `%T` .}}", 1 << 63) == "9223372036854775808 uint64"
    assert _render("{{.}}", -(10**400)) == "-Inf"
    assert _render("{{eq . .}}{{lt . 1.0}}", 10**5000) == "truefalse"


def test_a_function_gets_plain_values_and_none_for_nil() -> None:
    seen: list[Any] = []

    def look(*args: Any) -> None:
        seen.extend(args)

    text = _render("{{look .m.k nil .m.missing 1 `x`}}{{.l | look}}", {"m": {"k": True}, "l": [1]}, look=look)
    assert text == "<no value><no value>"
    assert seen == [True, None, None, 1, "x", [1]]


def test_a_function_is_called_with_as_many_arguments_as_it_has() -> None:
    def two(first: Any, second: Any) -> str:
        return f"{first}{second}"

    def some(first: Any, *rest: Any) -> int:
        return len(rest)

    assert _render("{{two 1 2}}{{2 | two 1}}{{some 1}}{{some 1 2 3}}", two=two, some=some) == "121202"
    assert _error("{{two 1}}", two=two) == "wrong number of args for two: want 2 got 1"
    assert _error("{{some}}", some=some) == "wrong number of args for some: want at least 1 got 0"
    assert _error("{{print two}}", two=two) == "wrong number of args for two: want 2 got 0"


def test_what_a_function_raises_is_an_error_of_the_template() -> None:
    def fails() -> None:
        raise ZeroDivisionError("no")

    assert _error("{{fails}}", fails=fails) == "error calling fails: no"


def test_a_function_may_take_the_place_of_a_builtin_and_of_a_keyword() -> None:
    functions = {"len": lambda _: "mine", "break": lambda: "broken", "and": lambda *args: len(args)}
    assert _render("{{len 1}}{{range .raw}}{{break}} {{end}}{{and 0 0}}", **functions) == "minebroken broken broken 2"


def test_values_that_go_does_not_have_can_be_printed() -> None:
    assert _render("{{.}}{{if .}}!{{end}}", {1j}) == "?set?!"


def test_data_is_left_as_it_is() -> None:
    data = {"l": [3, 1], "m": {"b": 1, "a": 2}}
    assert _render("{{range .l}}{{.}}{{end}}{{slice .l 0 1}}{{.m}}", data) == "31[3]map[a:2 b:1]"
    assert data == {"l": [3, 1], "m": {"b": 1, "a": 2}}
    assert list(data["m"]) == ["b", "a"]
