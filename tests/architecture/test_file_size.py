"""Files stay small enough to be read in one go."""

from __future__ import annotations

from pathlib import Path
from statistics import median

FOLDERS = ("core", "plugins", "backends", "tests", "benchmarks")
LONGEST = 400


def test_no_source_file_is_longer_than_the_limit(project: Path, carried: list[str], summary: list[str]) -> None:
    lines = {
        name: len((project / name).read_text("utf-8").splitlines())
        for name in carried
        if name.endswith(".py") and name.partition("/")[0] in FOLDERS
    }
    written = {name: count for name, count in lines.items() if count}
    longest = max(written, key=written.__getitem__)
    summary.append(
        f"source files: {len(written)}, median {median(written.values()):g} lines, "
        f"longest {written[longest]} ({longest})"
    )
    too_long = {name: count for name, count in written.items() if count > LONGEST}
    assert not too_long, f"split these by concept; the limit is {LONGEST} lines: {too_long}"
