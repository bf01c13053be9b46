"""The process in which prompt templates run: `python -P -m remuda_plugins.templates.worker FD PARENT`.

It knows nothing, holds no file but its socket, and may be killed at any time. It keeps the templates that it compiled.
"""

from __future__ import annotations

import msgspec

from remuda.hookspecs import TemplateTraits
from remuda.runner.worker import serve

from . import jinja_render, jinja_traits
from .engines import Answer, Question
from .go import ollama, traits
from .go.errors import TemplateError
from .go.utf8 import final

__all__ = ["answer", "main"]

_MEMORY = 512 * 1024 * 1024
_LONGEST_ERROR = 500


def answer(question: Question) -> Answer:
    """Do what is asked, and turn whatever happens into an answer."""
    try:
        if question.variables is None:
            return Answer(traits=_inspect(question))
        return Answer(prompt=final(_render(question)))
    except (TemplateError, jinja_render.Refused) as error:
        text = str(error)
    except MemoryError:
        jinja_render.forget()
        ollama.forget()
        text = "MemoryError: it needs more memory than a template may have"
    except Exception as error:  # a template may raise anything: it is a program
        text = f"{type(error).__name__}: {error}"
    return Answer(error=final(text[:_LONGEST_ERROR]) or "it raised an error without words")


def _inspect(question: Question) -> TemplateTraits:
    inspect = traits.inspect if question.engine == "go" else jinja_traits.inspect
    return inspect(question.template)


def _render(question: Question) -> str:
    render = ollama.render if question.engine == "go" else jinja_render.render
    return render(question.template, msgspec.json.decode(question.variables or b"{}"))


def main() -> None:
    serve(Question, answer, memory=_MEMORY)


if __name__ == "__main__":
    main()
