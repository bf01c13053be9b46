"""Go's `text/template`: what Modelfiles and a request's `template` are written in.

`parse` makes trees of a template, `execute` prints them for some data. Both take templates from strangers: what a
template asks for is bounded, and whatever is wrong with it is a `TemplateError`. Missing keys of maps are as under Go's
option `missingkey=zero`.
"""

from __future__ import annotations

from .errors import TemplateError
from .execute import execute
from .nodes import Parsed
from .parser import parse
from .values import Record

__all__ = ["Parsed", "Record", "TemplateError", "execute", "parse"]
