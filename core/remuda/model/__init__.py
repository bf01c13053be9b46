"""Models: their names, what is known of them, and where their weights lie."""

from __future__ import annotations

from .catalog import Catalog
from .digest import Digest, parse_digest
from .entry import ModelEntry, Stored
from .facts import ModelFacts
from .gguf import GGUFError
from .manifest import BadManifest
from .name import ModelName, parse_name
from .store import BlobMissing, DigestMismatch, Store
from .weights import WeightsError

__all__ = [
    "BadManifest",
    "BlobMissing",
    "Catalog",
    "Digest",
    "DigestMismatch",
    "GGUFError",
    "ModelEntry",
    "ModelFacts",
    "ModelName",
    "Store",
    "Stored",
    "WeightsError",
    "parse_digest",
    "parse_name",
]
