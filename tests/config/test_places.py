"""Where the configuration file is looked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from remuda.config import find_file


@pytest.fixture
def xdg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to be in; the file below XDG_CONFIG_HOME is there."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    path = tmp_path / "xdg" / "remuda" / "remuda.toml"
    path.parent.mkdir(parents=True)
    path.touch()
    return path


def test_each_place_comes_before_the_next(xdg: Path) -> None:
    environ = {"XDG_CONFIG_HOME": str(xdg.parent.parent)}
    assert find_file(None, environ) == xdg
    Path("remuda.toml").touch()
    assert find_file(None, environ) == Path("remuda.toml")
    environ["REMUDA_CONFIG"] = "named.toml"
    assert find_file(None, environ) == Path("named.toml")
    assert find_file(Path("given.toml"), environ) == Path("given.toml")


def test_what_is_not_there_is_passed_over(xdg: Path) -> None:
    xdg.unlink()
    xdg.mkdir()
    Path("remuda.toml").mkdir()
    assert find_file(None, {"XDG_CONFIG_HOME": str(xdg.parent.parent), "REMUDA_CONFIG": ""}) is None


@pytest.mark.parametrize("environ", [{}, {"XDG_CONFIG_HOME": ""}, {"XDG_CONFIG_HOME": "relative"}])
def test_without_a_good_xdg_folder_it_is_dot_config(
    xdg: Path, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    xdg.parent.parent.rename(xdg.parents[2] / ".config")
    monkeypatch.setenv("HOME", str(xdg.parents[2]))
    assert find_file(None, environ) == xdg.parents[2] / ".config" / "remuda" / "remuda.toml"
