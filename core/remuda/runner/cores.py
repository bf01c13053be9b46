"""Which cores this process may use, and how many it really can."""

from __future__ import annotations

import math
import os
from pathlib import Path

__all__ = ["available_cores", "usable_cores"]

_V2 = Path("/sys/fs/cgroup/cpu.max")
_V1_QUOTA = Path("/sys/fs/cgroup/cpu/cpu.cfs_quota_us")
_V1_PERIOD = Path("/sys/fs/cgroup/cpu/cpu.cfs_period_us")


def available_cores() -> int:
    """The smaller of what the affinity mask and the control group's quota allow; at least 1.

    A fraction of a core counts as none: compute threads wait for each other at barriers, so one that the quota
    stops holds up all.
    """
    return max(1, min(len(usable_cores()), _quota()))


def usable_cores() -> list[int]:
    """The numbers of those that the affinity mask allows, ascending; of all where the system has none."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def _quota() -> int:
    try:
        if _V2.exists():
            quota, period = _V2.read_text().split()
        else:
            quota, period = _V1_QUOTA.read_text().strip(), _V1_PERIOD.read_text().strip()
        share = int(quota) / int(period)
    except (OSError, ValueError, ZeroDivisionError):  # no control groups, or "max"
        return 2**31
    return math.floor(share) if share > 0 else 2**31
