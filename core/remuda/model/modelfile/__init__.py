"""Modelfiles: recipes for models, as text (Ollama API, "Modelfile").

A Modelfile is a list of commands. What they mean is up to others: the command line makes a request to create a model
of them, and `/api/show` shows a model as them.
"""

from __future__ import annotations

from .command import INSTRUCTIONS, ROLES, Command, ModelfileError
from .parse import parse_modelfile
from .values import parameter_commands, parameter_lines
from .write import shown_modelfile, write_modelfile

__all__ = [
    "INSTRUCTIONS",
    "ROLES",
    "Command",
    "ModelfileError",
    "parameter_commands",
    "parameter_lines",
    "parse_modelfile",
    "shown_modelfile",
    "write_modelfile",
]
