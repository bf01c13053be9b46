"""A child for `remuda.runner.worker`: `python -P -m answering FD PARENT`, with this folder on its path."""

from __future__ import annotations

import os
import sys
import time

from msgspec import Struct

from remuda.runner.worker import serve

__all__ = ["MEMORY", "Answer", "Question"]

MEMORY = 256 * 1024 * 1024


class Question(Struct):
    what: str
    argument: int = 0


class Answer(Struct):
    text: str = ""
    pid: int = 0


def answer(question: Question) -> Answer:
    match question.what:
        case "loop":
            while True:
                pass
        case "sleep":
            time.sleep(question.argument)
        case "allocate":
            return Answer(str(len(bytearray(question.argument))))
        case "exit":
            os._exit(question.argument)
        case "raise":
            raise ValueError("on purpose")
        case "noise":
            sys.stderr.write("noise\n" * question.argument)
        case "nonsense":
            os.write(int(sys.argv[1]), b"\x00\x00\x00\x01\xc1")
    return Answer(question.what * max(1, question.argument), os.getpid())


if __name__ == "__main__":
    serve(Question, answer, memory=MEMORY)
