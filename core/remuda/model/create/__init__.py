"""Making models: a request is checked (`recipe`), its files (`uploads`) and its base (`base`) are looked at and brought
together (`begin`), and its texts become layers (`assemble`).

Everything here blocks. `remuda.pipeline.create` calls it in threads, and does what takes longer: pulling, quantising.
"""

from __future__ import annotations

from .assemble import Family, assemble, manifest_of
from .begin import begin, chat_template
from .parts import Basis, Part, adopt, stored
from .recipe import QUANTIZATIONS, Recipe, parse_recipe
from .split import group, join
from .uploads import Upload, Uploads, arrange, check_types, examine

__all__ = [
    "QUANTIZATIONS",
    "Basis",
    "Family",
    "Part",
    "Recipe",
    "Upload",
    "Uploads",
    "adopt",
    "arrange",
    "assemble",
    "begin",
    "chat_template",
    "check_types",
    "examine",
    "group",
    "join",
    "manifest_of",
    "parse_recipe",
    "stored",
]
