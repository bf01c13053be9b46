"""`fmt.Sprintf`: reads the format; `printing` writes the arguments."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from .budget import Budget
from .printing import Printer
from .values import Kind, kind, type_name
from .verbs import Flags

__all__ = ["sprintf"]

_LARGEST = 1_000_000
"""Of a width or precision, roughly: Go takes what is larger for a mistake."""
_FLAGS = {"#": "sharp", "0": "zero", "+": "plus", "-": "minus", " ": "space"}
_DIGITS = re.compile("[0-9]*")
_LITERAL = re.compile("[^%]+")


def sprintf(budget: Budget, form: str, values: Sequence[Any]) -> str:
    """The text of `form` with each verb replaced by an argument. Mistakes are shown in the text as Go shows them."""
    budget.read(form, 4)
    return _Format(Printer(budget), form, values).run()


class _Format:
    def __init__(self, printer: Printer, form: str, values: Sequence[Any]) -> None:
        self._printer = printer
        self._form = form
        self._values = values
        self._at = 0
        self._next = 0
        """The argument that comes next."""
        self._numbered = False
        """An argument was asked for by number."""
        self._good_number = True

    def run(self) -> str:
        while self._at < len(self._form):
            if literal := _LITERAL.match(self._form, self._at):
                self._printer.write(literal[0])
                self._at = literal.end()
            else:
                self._at += 1
                self._directive()
        self._surplus()
        return self._printer.text()

    def _char(self) -> str:
        """The character that comes next, empty at the end."""
        return self._form[self._at : self._at + 1]

    def _directive(self) -> None:
        """One verb with what stands before it."""
        self._printer.flags = flags = Flags()
        self._good_number = True
        while (name := _FLAGS.get(self._char())) is not None:
            setattr(flags, name, True)
            self._at += 1
        numbered = self._number()
        numbered = self._width(flags, numbered)
        numbered = self._precision(flags, numbered)
        if not numbered:
            self._number()
        verb = self._char()
        self._at += 1
        if not verb:
            self._printer.write("%!(NOVERB)")
        elif verb == "%":
            self._printer.write("%")
        elif not self._good_number:
            self._printer.write(f"%!{verb}(BADINDEX)")
        elif self._next >= len(self._values):
            self._printer.write(f"%!{verb}(MISSING)")
        else:
            self._argument(flags, verb)

    def _argument(self, flags: Flags, verb: str) -> None:
        if verb in "vw":
            flags.sharp_v, flags.sharp = flags.sharp, False
            flags.plus_v, flags.plus = flags.plus, False
        self._next += 1
        self._printer.argument(self._values[self._next - 1], verb)

    def _width(self, flags: Flags, numbered: bool) -> bool:
        if self._char() == "*":
            self._at += 1
            flags.width = self._star()
            if flags.width is None:
                self._printer.write("%!(BADWIDTH)")
            elif flags.width < 0:
                flags.width, flags.minus, flags.zero = -flags.width, True, False
            return False
        flags.width = self._digits()
        if numbered and flags.width is not None:
            self._good_number = False
        return numbered

    def _precision(self, flags: Flags, numbered: bool) -> bool:
        if self._char() != "." or self._at + 1 >= len(self._form):
            return numbered
        self._at += 1
        if numbered:
            self._good_number = False
        numbered = self._number()
        if self._char() == "*":
            self._at += 1
            flags.precision = self._star()
            if flags.precision is not None and flags.precision < 0:
                flags.precision = None
            if flags.precision is None:
                self._printer.write("%!(BADPREC)")
            return False
        flags.precision = self._digits() or 0
        return numbered

    def _digits(self) -> int | None:
        """A decimal number, None if there is none. One that is too large takes the rest of the format with it."""
        found = _DIGITS.match(self._form, self._at)
        text = found[0] if found else ""
        if len(text.lstrip("0")) > 9 or int(text or "0") // 10 > _LARGEST:
            self._at = len(self._form)
            return None
        self._at += len(text)
        return int(text) if text else None

    def _star(self) -> int | None:
        """The next argument as a number; None if it is none, or too large."""
        if self._next >= len(self._values):
            return None
        value = self._values[self._next]
        self._next += 1
        good = kind(value) in {Kind.INT, Kind.UINT} and abs(value) <= _LARGEST
        return int(value) if good else None

    def _number(self) -> bool:
        """`[3]`: whether it is there; if so the third argument comes next."""
        if self._char() != "[":
            return False
        self._numbered = True
        end = self._form.find("]", self._at)
        if end < 0 or len(self._form) - self._at < 3:
            self._good_number = False
            self._at += 1
            return False
        text = self._form[self._at + 1 : end]
        self._at = end + 1
        well_formed = _DIGITS.fullmatch(text) is not None and 0 < len(text) < 9
        if well_formed and 0 < int(text) <= len(self._values):
            self._next = int(text) - 1
        else:
            self._good_number = False
        return well_formed

    def _surplus(self) -> None:
        if self._numbered or self._next >= len(self._values):
            return
        printer = self._printer
        printer.flags = Flags()
        printer.write("%!(EXTRA ")
        for number, value in enumerate(self._values[self._next :]):
            printer.write(", " if number else "")
            if value is None:
                printer.write("<nil>")
            else:
                printer.write(f"{type_name(value)}=")
                printer.argument(value, "v")
        printer.write(")")
