from __future__ import annotations

import math
import re
from typing import Any

import pytest

from remuda.errors import BadRequest
from remuda.wire import local_time, parse_keep_alive, utc_now


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("5m", 300),
        ("1h", 3600),
        ("2h45m", 9900),
        ("5m0s", 300),
        ("300ms", 0.3),
        ("1.5h", 5400),
        (3600, 3600),
        (0.5, 0.5),
        (0, 0),
        ("0", 0),
        ("300", 300),
        (-1, math.inf),
        ("-1", math.inf),
        ("-1m", math.inf),
        (1e300, math.inf),
    ],
)
def test_every_form(value: Any, seconds: float | None) -> None:
    assert parse_keep_alive(value) == pytest.approx(seconds) if seconds else parse_keep_alive(value) == seconds


@pytest.mark.parametrize("value", ["x", "", "5x", "1m5", "1.2.3", "m", "5 m", "--1", True, [], {}])
def test_anything_else_is_refused(value: Any) -> None:
    with pytest.raises(BadRequest, match=r"duration|Unsupported type"):
        parse_keep_alive(value)


def test_times_are_rfc3339() -> None:
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{0,8}[1-9])?Z", utc_now())
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+[+-]\d\d:\d\d", local_time(1_700_000_000.5))
