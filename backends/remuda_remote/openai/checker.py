"""The process in which answers are checked: `python -P -m remuda_remote.openai.checker FD PARENT`.

It knows nothing, holds no file but its socket, and may be killed at any time.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
from msgspec import Struct

from remuda.runner.worker import serve

__all__ = ["Check", "Checked", "check", "main"]

_MEMORY: Final = 512 * 1024 * 1024
_LONGEST: Final = 500


class Check(Struct, frozen=True):
    """Down to the child: a JSON Schema and a text, both as they came. No schema: only answer."""

    schema: str
    text: str


class Checked(Struct, frozen=True):
    """Up from the child: what does not match, or what is wrong with the schema."""

    fault: str = ""
    bad_schema: str = ""


def check(question: Check) -> Checked:
    """Compares, and turns whatever is wrong into a sentence."""
    from jsonschema import Draft202012Validator as Validator, SchemaError
    from referencing import Registry
    from referencing.exceptions import Unresolvable

    if not question.schema:
        return Checked()
    schema: Any = msgspec.json.decode(question.schema)
    try:
        Validator.check_schema(schema)
        value: Any = msgspec.json.decode(question.text)
        # An empty registry: nothing is fetched from anywhere.
        validator: Any = Validator(schema, registry=Registry(), format_checker=Validator.FORMAT_CHECKER)
        found: Any = next(validator.iter_errors(value), None)
    except msgspec.DecodeError as error:
        return Checked(fault=f"it is no JSON ({error})")
    except SchemaError as error:
        return Checked(bad_schema=error.message[:_LONGEST])
    except Unresolvable as error:
        return Checked(bad_schema=f'"$ref" points to nothing: {error.ref}'[:_LONGEST])
    except RecursionError:
        return Checked(bad_schema="it is nested too deep")
    return Checked(fault=f"{found.message} (at {found.json_path})"[:_LONGEST] if found is not None else "")


def main() -> None:
    serve(Check, check, memory=_MEMORY)


if __name__ == "__main__":
    main()
