"""A suite that cannot fail is worthless: what is broken on purpose is found, by the tests that are there for it.

And what is left out says why.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from . import broken_answers, broken_backends, broken_engines, broken_talkers, plain_engines

HERE = Path(__file__).parent
SKIPS = "test_every_skip_is_a_test_and_has_a_reason"
FOUND = [
    f"broken_answers.py::TestLeavesOutWhatIsNoTest::{SKIPS}",
    f"broken_answers.py::TestLeavesOutWithoutAReason::{SKIPS}",
    *(
        f"{module.__name__.rpartition('.')[2]}.py::Test{broken.__name__}::{test}"
        for module in (broken_answers, broken_backends, broken_engines, broken_talkers)
        for broken, tests in module.CAUGHT.items()
        for test in tests
    ),
]
LEFT_OUT = {f"plain_engines.py::{test}": reason for test, reason in plain_engines.LEFT_OUT.items()}


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, str]]:
    """ "failure", "error", "skipped" or nothing, and the message, of each test: all are run once, in one process."""
    report = tmp_path_factory.mktemp("broken") / "report.xml"
    command = [sys.executable, "-m", "pytest", "-q", "--tb=no", f"--junit-xml={report}", "-p", "no:cacheprovider"]
    command += [str(HERE / node) for node in [*FOUND, *LEFT_OUT]]
    ran = subprocess.run(command, cwd=HERE.parents[1], capture_output=True, text=True, check=False, timeout=120)
    assert ran.returncode == pytest.ExitCode.TESTS_FAILED, ran.stdout + ran.stderr
    found: dict[str, tuple[str, str]] = {}
    for case in ET.parse(report).iter("testcase"):
        module, _, test_class = case.get("classname", "").rpartition(".")
        node = f"{module.rpartition('.')[2]}.py::{test_class}::{case.get('name')}"
        found[node] = next(((child.tag, child.get("message", "")) for child in case), ("", ""))
    return found


@pytest.mark.parametrize("node", FOUND)
def test_what_is_broken_is_found(outcomes: dict[str, tuple[str, str]], node: str) -> None:
    assert outcomes[node][0] == "failure"


@pytest.mark.parametrize("node", LEFT_OUT)
def test_what_is_not_there_is_left_out_for_a_reason(outcomes: dict[str, tuple[str, str]], node: str) -> None:
    kind, message = outcomes[node]
    assert kind == "skipped"
    assert message.startswith(LEFT_OUT[node])
