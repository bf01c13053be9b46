"""The cores that a process may really use."""

from __future__ import annotations

import pytest

from remuda_llamacpp import threads


@pytest.mark.parametrize(
    ("content", "cores"),
    [("max 100000", 6), ("250000 100000", 2), ("50000 100000", 1), ("800000 100000", 6), ("nonsense", 6), ("1 0", 6)],
)
def test_the_quota_and_the_mask_both_bound(monkeypatch, tmp_path, content, cores):
    quota = tmp_path / "cpu.max"
    quota.write_text(content)
    monkeypatch.setattr(threads, "_V2", quota)
    monkeypatch.setattr(threads, "_affinity", lambda: 6)
    assert threads.available_cores() == cores


@pytest.mark.parametrize(("quota", "cores"), [("-1", 6), ("300000", 3)])
def test_the_older_control_groups_count_too(monkeypatch, tmp_path, quota, cores):
    (tmp_path / "quota").write_text(quota)
    (tmp_path / "period").write_text("100000")
    monkeypatch.setattr(threads, "_V2", tmp_path / "none")
    monkeypatch.setattr(threads, "_V1_QUOTA", tmp_path / "quota")
    monkeypatch.setattr(threads, "_V1_PERIOD", tmp_path / "period")
    monkeypatch.setattr(threads, "_affinity", lambda: 6)
    assert threads.available_cores() == cores


def test_there_is_always_one():
    assert threads.available_cores() >= 1
