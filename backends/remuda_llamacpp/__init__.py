"""llama.cpp through llama-cpp-python's low-level API, with continuous batching.

`plugin` announces the backend and `backend` names the engine; neither imports llama.cpp. `engine` does, and is
imported in a runner process only.
"""

from __future__ import annotations

__all__: list[str] = []
