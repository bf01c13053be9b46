"""What a Jinja chat template can say, read from its text (Ollama API, "Which engine renders chat").

Nobody declares what a chat template can do, and it is a program; so these are marks that published templates carry.
"""

from __future__ import annotations

import re
from typing import Final

from remuda.hookspecs import TemplateTraits

from .known import match_known

__all__ = ["inspect", "says_tools", "think_tags"]

_THINK: Final = (
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("[THINK]", "[/THINK]"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
    ("<seed:think>", "</seed:think>"),
)
_SPLIT: Final = "content.split('</think>')"
_CHANNELS: Final = ("<|channel|>", "analysis")

_TOOL_TAGS: Final = (
    "<tool_call>",
    "[TOOL_CALLS]",
    "<|tool_call|>",
    "<|START_ACTION|>",
    "<｜tool▁calls▁begin｜>",
    "<|tool_calls_section_begin|>",
    "<|tool_call_start|>",
    "<seed:tool_call>",
    "<|python_tag|>",
)

_CALLS: Final = re.compile(r"tool_calls|assistant_tool_call")
_RESULTS: Final = re.compile(
    r"tool_response|tool_results|ipython|role\w*(?:['\"]\])?(?:\s*\|\s*lower)?\s*==\s*['\"]tool['\"]"
)


def inspect(template: str) -> TemplateTraits:
    open_, close = think_tags(template)
    tools = says_tools(template)
    known = match_known(template)
    return TemplateTraits(
        tools=tools,
        tool_results=bool(_CALLS.search(template) and _RESULTS.search(template)),
        tool_tag=next((tag for tag in _TOOL_TAGS if tag in template), "") if tools else "",
        thinking=bool(open_) or all(mark in template for mark in _CHANNELS),
        think_open=open_,
        think_close=close,
        stops=known.stops if known else (),
        known=known.name if known else "",
        known_template=known.template if known else "",
    )


def says_tools(template: str) -> bool:
    """Whether it has any notion of tools."""
    return "tools" in template or "tool_call" in template


def think_tags(template: str) -> tuple[str, str]:
    """The tags round thinking, both empty if there are none."""
    for open_, close in _THINK:
        if open_ in template and close in template:
            return open_, close
    return _THINK[0] if _SPLIT in template and "reasoning_content" not in template else ("", "")
