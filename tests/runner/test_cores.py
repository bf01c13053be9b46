"""The cores that a process may really use."""

from __future__ import annotations

import pytest

from remuda.runner import cores


@pytest.mark.parametrize(
    ("content", "count"),
    [("max 100000", 6), ("250000 100000", 2), ("50000 100000", 1), ("800000 100000", 6), ("nonsense", 6), ("1 0", 6)],
)
def test_the_quota_and_the_mask_both_bound(monkeypatch, tmp_path, content, count):
    quota = tmp_path / "cpu.max"
    quota.write_text(content)
    monkeypatch.setattr(cores, "_V2", quota)
    monkeypatch.setattr(cores, "usable_cores", lambda: list(range(6)))
    assert cores.available_cores() == count


@pytest.mark.parametrize(("quota", "count"), [("-1", 6), ("300000", 3)])
def test_the_older_control_groups_count_too(monkeypatch, tmp_path, quota, count):
    (tmp_path / "quota").write_text(quota)
    (tmp_path / "period").write_text("100000")
    monkeypatch.setattr(cores, "_V2", tmp_path / "none")
    monkeypatch.setattr(cores, "_V1_QUOTA", tmp_path / "quota")
    monkeypatch.setattr(cores, "_V1_PERIOD", tmp_path / "period")
    monkeypatch.setattr(cores, "usable_cores", lambda: list(range(6)))
    assert cores.available_cores() == count


def test_there_is_always_one():
    assert cores.available_cores() >= 1
