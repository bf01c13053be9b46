"""Models on disk."""

from __future__ import annotations

from .errors import BlobMissing, DigestMismatch, disk_error, disk_errors, incomplete
from .incoming import Incoming
from .manifests import StoredManifest
from .pins import Pins
from .store import Store

__all__ = [
    "BlobMissing",
    "DigestMismatch",
    "Incoming",
    "Pins",
    "Store",
    "StoredManifest",
    "disk_error",
    "disk_errors",
    "incomplete",
]
