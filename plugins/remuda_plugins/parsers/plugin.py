"""Registers the output parsers that come with Remuda."""

from __future__ import annotations

from remuda import hookimpl
from remuda.hookspecs import RegisterFactory

__all__ = ["remuda_register_parsers"]


@hookimpl
def remuda_register_parsers(register: RegisterFactory) -> None:
    """The last is asked first: `json` takes whatever has tools; of kinds whose marks are in one template the later
    is the more particular one."""
    here = "remuda_plugins.parsers"
    register("thinking", f"{here}.thinking:ThinkingKind")
    register("json", f"{here}.generic:JsonKind")
    register("llama3", f"{here}.llama3:Llama3Kind")
    register("hermes", f"{here}.hermes:HermesKind")
    register("granite", f"{here}.granite:GraniteKind")
    register("mistral", f"{here}.mistral:MistralKind")
    register("command-r", f"{here}.command_r:CommandRKind")
    register("deepseek", f"{here}.deepseek:DeepSeekKind")
    register("harmony", f"{here}.harmony:HarmonyKind")
