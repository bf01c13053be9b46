"""Which template renders a prompt, and what the model can do with it (Ollama API, "Which engine renders chat",
"Capabilities"). Pure.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from msgspec import Struct

from ..errors import BadRequest
from ..hookspecs import TemplateTraits
from ..job import Job
from ..model import ModelEntry, ModelFacts

__all__ = ["CHATML", "Chosen", "capabilities", "check_abilities", "choose", "thinks_in_tags"]

_HARMONY: Final = frozenset({"gptoss", "gpt-oss"})
CHATML: Final = (
    "{{ range .Messages }}<|im_start|>{{ .Role }}\n{{ .Content }}<|im_end|>\n{{ end }}<|im_start|>assistant\n"
)
"""For a conversation with a model that brings no template of any kind."""


class Chosen(Struct, frozen=True):
    """A template and the engine that renders it."""

    engine: str
    template: str
    traits: TemplateTraits


def choose(go: Chosen | None, jinja: Chosen | None, *, prefer_go: bool | None, has_parser: bool) -> Chosen | None:
    """Between the template of a Modelfile and the one in the weights. `prefer_go` is the configuration's word."""
    if go is None or jinja is None:
        return go or jinja
    if prefer_go is None:
        prefer_go = not _says_more(jinja.traits, go.traits)
    return go if prefer_go or has_parser else jinja


def _says_more(jinja: TemplateTraits, go: TemplateTraits) -> bool:
    """Whether the template in the weights can say more than the Modelfile's."""
    there = {"tools": jinja.tools, "thinking": jinja.thinking}
    here = {"tools": go.tools, "insert": go.insert, "thinking": go.thinking}
    if sum(there.values()) > sum(here.values()):
        return not (go.tool_results and not jinja.tool_results)
    same = {name for name, given in there.items() if given} == {name for name, given in here.items() if given}
    return same and jinja.tools and jinja.tool_results and not go.tool_results


def capabilities(facts: ModelFacts, chosen: Chosen | None) -> list[str]:
    """In the protocol's order, without repeats."""
    found = list(facts.capabilities)
    traits = chosen.traits if chosen else TemplateTraits()
    if traits.tools:
        found.append("tools")
    if traits.insert or facts.infill is not None:
        found.append("insert")
    if traits.thinking or facts.details.family in _HARMONY:
        found.append("thinking")
    return list(dict.fromkeys(found))


def check_abilities(job: Job, able: Collection[str], family: str) -> None:
    """Raises `BadRequest` for what a job needs and its model cannot do, in the protocol's words."""
    if job.think and "thinking" not in able:
        again = ". Pull the model again to get the latest version with full thinking support"
        old = thinks_in_tags(job.entry, family)
        raise BadRequest(f'"{job.name}" does not support thinking{again if old else ""}')
    if "completion" not in able:
        raise BadRequest(f'"{job.name}" does not support {job.endpoint.rpartition("/")[2]}')
    needed = {
        "tools": bool(job.tools) and job.tool_choice is None,
        "insert": bool(job.suffix),
        "vision": bool(job.images),
    }
    missing = [name for name, wanted in needed.items() if wanted and name not in able]
    if missing:
        raise BadRequest("\n".join(f"{job.entry.name.full} does not support {name}" for name in missing))


def thinks_in_tags(entry: ModelEntry, family: str) -> bool:
    """Whether it is one of the models whose older packages think inside their answers."""
    return family.startswith("qwen3") or entry.name.model.lower() == "deepseek-r1"
