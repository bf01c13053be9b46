"""What others build on changes only where somebody means it to."""

from __future__ import annotations

from api_record import RECORD, record

import remuda


def test_the_public_api_is_what_was_recorded() -> None:
    """After a change that is meant: `python tests/support/api_record.py`, and the difference is seen in review."""
    recorded = RECORD.read_text("utf-8").splitlines()
    found = record().splitlines()
    gone = sorted(set(recorded) - set(found))
    new = sorted(set(found) - set(recorded))
    told = [*(f"- {line}" for line in gone), *(f"+ {line}" for line in new)]
    assert not told, "the public API changed; run `python tests/support/api_record.py`\n" + "\n".join(told)
    assert recorded == found


def test_the_record_has_every_name_and_every_hook() -> None:
    text = RECORD.read_text("utf-8")
    assert [name for name in remuda.__all__ if f"\nremuda.{name}" not in f"\n{text}"] == []
    hooks = [name for name in vars(remuda.hookspecs.HookSpecs) if name.startswith("remuda_")]
    assert [name for name in hooks if f"\nremuda.hookspecs.HookSpecs.{name}(" not in text] == []
