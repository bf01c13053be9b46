"""What the plugins in examples/plugins do, each by itself: every clock, every split of a text, every bad setting."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import datetime, timedelta, timezone
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import anyio
import pytest
from llguidance import LLMatcher, LLTokenizer

from remuda import BadRequest, Done, Event, Finished, Job, Message, ModelEntry, Text, Thinking, ToolCall, ToolCalls
from remuda.errors import ConfigError
from remuda.hookspecs import Asking
from remuda.model import parse_name
from remuda.plugins import Plugin
from remuda.wire import Options, PsResponse

from .single_files import configured, load, load_module

BYTES = LLTokenizer("byte")
FINISHED = Finished(Done(reason="stop", context=[1, 2]), 3, 4)


def split(text: str, *sizes: int) -> list[str]:
    """`text` in pieces of these sizes, over and over."""
    pieces: list[str] = []
    while text:
        for size in sizes:
            pieces.append(text[:size])
            text = text[size:]
    return [piece for piece in pieces if piece]


class Behind:
    """What stands behind a filter: it gives these events, and keeps the job that came."""

    def __init__(self, *events: Event) -> None:
        self.events = events
        self.jobs: list[Job] = []
        self.left = False

    async def proceed(self, job: Job) -> AsyncGenerator[Event, None]:
        self.jobs.append(job)
        try:
            for event in self.events:
                yield event
        finally:
            self.left = True


def job(**fields: Any) -> Job:
    entry = ModelEntry(name=parse_name("m"), weights=SimpleNamespace())  # type: ignore[arg-type]
    return Job(request_id="r", endpoint="/api/chat", name="m", entry=entry, options=Options(), **fields)


def through(redact: ModuleType, behind: Behind, asked: Job, most: int | None = None) -> list[Event]:
    """The events that come out of the filter; it is left after so many."""

    async def run() -> list[Event]:
        found: list[Event] = []
        async with aclosing(redact.Redact().wrap(asked, behind.proceed)) as events:
            async for event in events:
                found.append(event)
                if len(found) == most:
                    break
        return found

    return anyio.run(run)


@pytest.fixture
def redact() -> ModuleType:
    module = load_module("redact")
    module.remuda_configure(lambda kind: kind(words=("Project Heron", "Lena"), longest=40))
    return module


@pytest.mark.parametrize("sizes", [(1,), (2,), (3, 1), (7,), (11, 5), (1000,)])
def test_redact_finds_the_same_however_a_text_is_cut(redact: ModuleType, sizes: tuple[int, ...]) -> None:
    text = "Lena, ask a.b+c@x-y.example.org or  Project Heron!\n\nMagdalena and project heron's Lena.\tme@there "
    text += "x" * 90 + " lena@example.org"
    clean = redact.Redact.rules.clean(text)
    assert clean.startswith("[redacted], ask [redacted] or  [redacted]!\n\nMagdalena and [redacted]'s [redacted].\tme@")
    assert clean.endswith("x [redacted]"), "an address with a name in it is one all the same"
    events = through(redact, Behind(*map(Text, split(text, *sizes)), FINISHED), job())
    assert "".join(event.text for event in events if isinstance(event, Text)) == clean
    assert sizes == (1000,) or len(events) > 3


def test_redact_lets_nothing_out_beside_the_text(redact: ModuleType) -> None:
    call = ToolCall(name="mail", arguments={"to": ["lena", 1], "from": {"name": "Lena B."}})
    behind = Behind(Thinking("Is that Le"), Thinking("na"), Text("Lena"), ToolCalls([call]), FINISHED)
    clean = {"to": ["[redacted]", 1], "from": {"name": "[redacted] B."}}
    assert through(redact, behind, job()) == [
        Thinking("Is "),
        Thinking("that [redacted]"),
        Text("[redacted]"),
        ToolCalls([ToolCall(name="mail", arguments=clean)]),
        Finished(Done(reason="stop"), 3, 4),
    ]


def test_redact_cleans_all_that_is_asked(redact: ModuleType) -> None:
    message = Message("user", "I am Lena", "Lena?", tool_calls=(ToolCall(name="f", arguments={"a": "Lena"}),))
    asked = job(messages=[message], prompt="by Lena", suffix="Lena", logprobs=3)
    behind = Behind()
    through(redact, behind, asked)
    [told] = behind.jobs
    call = ToolCall(name="f", arguments={"a": "[redacted]"})
    assert told.messages == [Message("user", "I am [redacted]", "[redacted]?", tool_calls=(call,))]
    assert (told.prompt, told.suffix, told.logprobs) == ("by [redacted]", "[redacted]", None)
    assert asked.messages == [message]


def test_redact_stops_the_work_when_the_client_leaves(redact: ModuleType) -> None:
    behind = Behind(*map(Text, split("a b c d", 1)))
    assert len(through(redact, behind, job(), most=1)) == 1
    assert behind.left


@pytest.mark.parametrize("sizes", [(1,), (2, 3), (9,), (1000,)])
def test_a_scratchpad_is_read_however_a_text_is_cut(sizes: tuple[int, ...]) -> None:
    module = load_module("scratchpad")
    parser = module.ScratchpadKind().open(None)
    text = "Well.<scratchpad> 1 < 2 </scratch, <scratchpad>? </scratchpad>\n So </scratchpad> <scr"
    outputs = [output for piece in split(text, *sizes) for output in parser.feed(piece)] + parser.finish()
    assert "".join(each.text for each in outputs if isinstance(each, Thinking)) == "1 < 2 </scratch, <scratchpad>? "
    assert "".join(each.text for each in outputs if isinstance(each, Text)) == "Well.So </scratchpad> <scr"


def test_a_choice_allows_its_texts_and_nothing_else() -> None:
    texts = ["yes", 'so "so"', "a\nb\\", "é 🐎", "{x}"]
    choice = load_module("choice").Choice()
    constraint = anyio.run(lambda: choice.constraint({"type": "choice", "of": texts}, timeout=1.0))

    def allows(text: str) -> bool:
        matcher = LLMatcher(BYTES, LLMatcher.grammar_from_lark(constraint.grammar))
        assert not matcher.get_error()
        data = list(text.encode())
        return matcher.try_consume_tokens(data) == len(data) and matcher.is_accepting()

    assert [text for text in [*texts, "no", "ye", "yes ", "so", "é", ""] if allows(text)] == texts
    many: dict[str, Any] = {"type": "choice", "of": ["a"] * 1001}
    for bad in (many, {"type": "choice", "of": ["a" * 1001]}, {"type": "choice", "of": ["a"], "or": 1}):
        with pytest.raises(BadRequest, match="up to 1000 texts"):
            anyio.run(lambda bad=bad: choice.constraint(bad, timeout=1.0))


@pytest.mark.parametrize(
    ("weekday", "clock", "seconds"),
    [
        (0, "07:59", 60.0),
        (0, "08:00", 36000.0),
        (4, "17:30", 1800.0),
        (4, "17:59", 300.0),
        (4, "18:00", 60.0),
        (5, "12:00", 60.0),
    ],
)
def test_office_hours(weekday: int, clock: str, seconds: float) -> None:
    module = load_module("office_hours")
    monday = datetime.fromisoformat(f"2026-03-02T{clock}").replace(tzinfo=timezone(timedelta(hours=2)))
    hours = module.OfficeHours(module.Settings(), now=lambda: monday + timedelta(days=weekday))
    assert hours.seconds(default=300.0) == seconds


def test_lanes_go_by_address_and_key() -> None:
    module = load_module("fast_lane")
    lanes = (
        module.Lane(priority=5, key="0123456789abcdef", address="192.0.2.0/24"),
        module.Lane(priority=-5, address="192.0.2.7"),
        module.Lane(priority=1, address="2001:db8::/32"),
    )
    module.remuda_configure(lambda kind: kind(lanes=lanes))

    def priority(address: str, key: str = "") -> int | None:
        asking = Asking(request_id="r", endpoint="/api/chat", model="m", address=address, key=key)
        return module.remuda_priority(asking)

    assert priority("192.0.2.7", "0123456789abcdef") == 5
    assert priority("192.0.2.7", "fedcba9876543210") == -5
    assert priority("2001:db8::1") == 1
    assert priority("") is priority("192.0.2.8") is priority("198.51.100.1", "0123456789abcdef") is None


def test_the_dashboard_escapes_what_others_named() -> None:
    async def ps() -> PsResponse:
        return PsResponse([])

    evil = Plugin(name="<script>alert(1)</script>", provides=["model <b>"])
    broken = Plugin(name="{waiting}", faults=["/home/me/secret.py: no"])
    plugins = SimpleNamespace(describe=lambda: [evil, broken, Plugin(name="off", disabled=True)])
    shown: str = anyio.run(load_module("dashboard").page, SimpleNamespace(ps=ps, plugins=plugins))
    assert "<script" not in shown
    assert "<b>" not in shown
    assert "&lt;script&gt;" in shown
    assert "broken: see remuda plugins {waiting}" in shown
    assert "secret" not in shown
    assert "<td>off</td><td></td><td>disabled</td>" in shown


BAD: list[tuple[str, str, str]] = [
    ("redact", 'wrods = ["a"]', ".wrods is not a setting: is plugins.settings.redact.words meant?"),
    ("redact", "span = 0", "plugins.settings.redact.span: "),
    ("redact", 'patterns = ["(a"]', "plugins.settings.redact: '(a' in patterns is no regular expression: "),
    ("receipts", "path = 1", "plugins.settings.receipts.path: "),
    ("fast_lane", "lanes = [{}]", "plugins.settings.fast_lane.lanes[0].priority is missing"),
    ("fast_lane", 'lanes = [{ priority = 1, key = "x" }]', "plugins.settings.fast_lane.lanes[0].key: "),
    ("fast_lane", 'lanes = [{ priority = 1, address = "x" }]', ".fast_lane.lanes[0]: 'x' does not appear"),
    ("placement", 'rules = [{ model = "x" }]', "plugins.settings.placement.rules[0].backend is missing"),
    ("office_hours", 'opens = "8:00"', "plugins.settings.office_hours.opens: "),
    ("office_hours", 'opens = "19:00"', "plugins.settings.office_hours: closes is 18:00, and must be later than opens"),
    ("office_hours", 'days = ["fry"]', "plugins.settings.office_hours.days[0]: "),
    ("scratchpad", 'close = ""', "plugins.settings.scratchpad.close: "),
    ("dashboard", "refresh = 1", "takes no settings"),
]


@pytest.mark.parametrize(("name", "table", "message"), BAD)
def test_a_bad_setting_is_named(name: str, table: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(configured(f"[plugins.settings.{name}]\n{table}\n", tmp_path))
    assert str(caught.value).startswith(f"plugins.settings.{name}")
    assert message in str(caught.value)
