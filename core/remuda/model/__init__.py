"""Models: their names, what is known of them, and where their weights lie."""

from __future__ import annotations

from .catalog import Catalog
from .entry import ModelEntry
from .facts import ModelFacts
from .gguf import GGUFError
from .name import ModelName, parse_name

__all__ = ["Catalog", "GGUFError", "ModelEntry", "ModelFacts", "ModelName", "parse_name"]
