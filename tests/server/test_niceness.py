"""Which programs a server goes before."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

CHILD = Path(__file__).with_name("child.py")
OWN = os.getpriority(os.PRIO_PROCESS, 0)


def niceness_of_a_server(started_with: int) -> int:
    command = ["nice", "-n", str(started_with), sys.executable, str(CHILD), "words", "1"]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert child.stdout is not None
        assert child.stdout.readline().startswith("http")
        return os.getpriority(os.PRIO_PROCESS, child.pid)
    finally:
        child.kill()
        child.communicate()


def test_it_goes_first_where_it_may() -> None:
    asking = [sys.executable, "-c", "import os; os.nice(-10)"]
    may = subprocess.run(asking, check=False, stderr=subprocess.DEVNULL).returncode == 0
    assert niceness_of_a_server(0) == (-10 if may and OWN == 0 else OWN)


def test_a_niceness_that_somebody_chose_stays() -> None:
    assert niceness_of_a_server(5) == min(OWN + 5, 19)
