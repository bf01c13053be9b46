"""New plugins: a name is checked (`names`), a kind's files are filled in (`project`) and written all at once (`write`).

What is written are the files under `files/`: those of `common/` and those of the kind. Each is a text with the
placeholders of `string.Template`; `package` in a path stands for the name of the Python package.
"""

from __future__ import annotations

from .kinds import KINDS, Kind
from .names import PluginName, check_free, parse_plugin_name
from .project import project_files
from .write import write_project

__all__ = ["KINDS", "Kind", "PluginName", "check_free", "parse_plugin_name", "project_files", "write_project"]
