"""A project's folder appears whole or not at all, and never in the place of something else."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path

from ...errors import BadRequest, RemudaError

__all__ = ["write_project"]


def write_project(folder: Path, files: Mapping[str, str]) -> None:
    """Make `folder`, with these texts by their paths in it. What is there already is left alone.

    Raises `BadRequest` if something of that name is there, and `RemudaError` if it cannot be written.
    """
    if os.path.lexists(folder):
        raise BadRequest(f"{folder} is there already, and nothing is overwritten: move it away, or take another name")
    made = folder.with_name(f".{folder.name}-{secrets.token_hex(4)}")
    try:
        for path, text in files.items():
            file = made / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, "utf-8")
        made.rename(folder)
    except OSError as error:
        raise RemudaError(f"{folder} cannot be written: {error.strerror or error}") from None
    finally:
        shutil.rmtree(made, ignore_errors=True)
