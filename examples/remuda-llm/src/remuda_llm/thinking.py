"""The switch for thinking: `llm` has none, but many models have an option for it, under one of a few names."""

from __future__ import annotations

from typing import Any, Final

__all__ = ["can_think", "thinking_options"]

_SWITCH: Final = "thinking"
"""True or false; llm-anthropic and llm-echo have it."""
_EFFORT: Final = "reasoning_effort"
"""A level; the models of OpenAI have it, and those of servers that are like theirs."""


def can_think(model: Any) -> bool:
    """Whether the model has one of these options."""
    return bool({_SWITCH, _EFFORT} & set(model.Options.model_fields))


def thinking_options(model: Any, think: bool | str | None) -> dict[str, Any]:
    """The model's own options for `think`. To think at a level is to think where there are no levels.

    False leaves a level alone: not all models know one that means no thinking at all.
    """
    fields = model.Options.model_fields
    if think is None:
        return {}
    if _SWITCH in fields:
        return {_SWITCH: think is not False}
    if _EFFORT in fields and think is not False:
        return {_EFFORT: think if isinstance(think, str) else "medium"}
    return {}
