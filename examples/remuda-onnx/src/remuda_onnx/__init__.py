"""ONNX models behind the Ollama API: decoders as the Hugging Face ecosystem exports them, through ONNX Runtime.

From the bottom up: `graph` reads what an ONNX file says of itself, `ports` whether that is a decoder that can be
served, `folder` the files beside it, `words` and `vocabulary` its tokens. `native` is the only module that names ONNX
Runtime; `decoder` computes with it, `slot` holds a text and what was computed of it, `engine` keeps the promise of
`remuda.Engine`. `backend` and `plugin` are what the server sees: importing them imports none of the above that is
heavy.
"""

from __future__ import annotations

__all__: list[str] = []
