"""`remuda new-plugin`: what it writes can be built, installed, tested, checked and served as it is."""

from __future__ import annotations

import errno
import json
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from fresh_venv import built, made, ran

from remuda.cli import make_cli
from remuda.cli.scaffold import KINDS, parse_plugin_name, project_files
from remuda.plugins import Plugin, Plugins, load_plugins

from .conftest import Remuda

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def projects(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One of each kind, as the command writes it."""
    folder = tmp_path_factory.mktemp("projects")
    for kind in KINDS:
        done = CliRunner().invoke(
            make_cli(Plugins), ["new-plugin", f"try-{kind}", "--kind", kind, "--dir", str(folder)]
        )
        assert done.exit_code == 0, done.output
    return {kind: folder / f"remuda-try-{kind}" for kind in KINDS}


@pytest.fixture(scope="module")
def python(projects: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a fresh environment with all of them installed from their wheels, which sees the packages of this one."""
    folder = tmp_path_factory.mktemp("fresh")
    return made(folder / "venv", [built(project, folder) for project in projects.values()])


@pytest.mark.parametrize("kind", KINDS)
def test_its_tests_pass_at_once(projects: dict[str, Path], kind: str) -> None:
    """Before it is installed anywhere, and with warnings as errors: the project's own settings say so."""
    said = ran(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", cwd=projects[kind])
    assert " passed" in said
    assert 'filterwarnings = ["error"]' in (projects[kind] / "pyproject.toml").read_text()


@pytest.mark.parametrize("kind", ["engine", "filter"])
def test_its_tests_pass_once_it_is_installed(projects: dict[str, Path], python: Path, kind: str) -> None:
    """With the code of the wheel and not of the folder."""
    said = ran(python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-o", "pythonpath=", cwd=projects[kind])
    assert " passed" in said


def test_a_server_has_them_all(python: Path, tmp_path: Path) -> None:
    """Installed beside each other they are all sound."""
    said = ran(python, "-m", "remuda", "plugins", cwd=tmp_path)
    assert [f"try-{kind}" for kind in KINDS if f"\ntry-{kind} " not in said] == []
    assert "BROKEN" not in said


def test_they_are_in_good_style(projects: dict[str, Path]) -> None:
    folder = projects["backend"].parent
    for command in (("check",), ("format", "--check")):
        ran(sys.executable, "-m", "ruff", *command, "--no-cache", *projects.values(), cwd=folder)


def test_their_types_are_strict(projects: dict[str, Path], tmp_path: Path) -> None:
    """All at once: a checker takes its time to begin. Each has these settings itself."""
    settings = {
        "include": [str(project) for project in projects.values()],
        "extraPaths": [str(project / "src") for project in projects.values()],
        "pythonVersion": "3.11",
        "typeCheckingMode": "strict",
    }
    for project in projects.values():
        assert 'typeCheckingMode = "strict"' in (project / "pyproject.toml").read_text()
    config = tmp_path / "pyrightconfig.json"
    config.write_text(json.dumps(settings))
    ran(sys.executable, "-m", "basedpyright", "-p", config, "--pythonpath", sys.executable, cwd=tmp_path)


def test_it_says_what_to_do_next(remuda: Remuda, tmp_path: Path) -> None:
    done = remuda("new-plugin", "parrot", "--kind", "backend", "--dir", str(tmp_path))
    folder = tmp_path / "remuda-parrot"
    assert f"  {folder}/src/remuda_parrot/plugin.py\n" in done.stdout
    next_steps = done.stdout.partition("Next:\n")[2].splitlines()
    assert next_steps == [
        f"  cd {folder}",
        "  pip install -e '.[dev]'",
        "  pytest",
        "  remuda serve",
        "and, while it runs:",
        "  remuda run parrot 'Hello there!'",
    ]


def test_every_placeholder_is_filled() -> None:
    for kind in KINDS:
        files = project_files(parse_plugin_name("my-own"), kind)
        for path, text in files.items():
            assert "package" not in Path(path).parts
            for placeholder in ("$name", "$package", "${Class}", "$distribution", "$about"):
                assert placeholder not in text, (path, placeholder)
        assert {".gitignore", "README.md", "pyproject.toml", "src/remuda_my_own/py.typed"} <= set(files)
        assert "remuda-my-own" in files["README.md"]


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("Parrot", "is 'parrot' meant?"),
        ("my_bot", "is 'my-bot' meant?"),
        ("my--bot", "is 'my-bot' meant?"),
        ("bot-", "is 'bot' meant?"),
        ("remuda-parrot", "is 'parrot' meant?"),
        ("remuda", "'remuda-' is put before the name by itself"),
        ("../parrot", "is 'parrot' meant?"),
        ("9lives", "a letter first"),
        ("class", "no word of Python's own"),
        ("", "cannot be the name of a plugin"),
        ("päron", "cannot be the name of a plugin"),
        ("a" * 31, "at most 30 characters"),
    ],
)
def test_a_name_that_cannot_be(remuda: Remuda, tmp_path: Path, name: str, meant: str) -> None:
    done = remuda("new-plugin", "--kind", "backend", "--dir", str(tmp_path), "--", name)
    assert done.exit_code == 1
    assert meant in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "kind", "why"),
    [
        ("llamacpp", "engine", "there is a plugin 'llamacpp' already, of remuda"),
        ("keep-alive", "filter", "there is a plugin 'keep_alive' already, of remuda"),
        ("json", "format", "a plugin offers the format 'json' already"),
        ("jinja", "template", "a plugin offers the template 'jinja' already"),
        ("testing", "backend", "a class would be called TestingBackend, and pytest would take it for a test"),
        ("plugins", "filter", "remuda-plugins or remuda_plugins is installed here already"),
        ("serial", "engine", "a class would be called SerialEngine, as one of Remuda's own"),
    ],
)
def test_a_name_that_is_taken(tmp_path: Path, name: str, kind: str, why: str) -> None:
    args = ["new-plugin", name, "--kind", kind, "--dir", str(tmp_path)]
    done = CliRunner().invoke(make_cli(load_plugins), args)
    assert done.exit_code == 1
    assert why in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("there", ["a folder", "an empty folder", "a file", "a link to nowhere"])
def test_what_is_there_is_left_alone(remuda: Remuda, tmp_path: Path, there: str) -> None:
    folder = tmp_path / "remuda-parrot"
    match there:
        case "a file":
            folder.write_text("mine")
        case "a link to nowhere":
            folder.symlink_to(tmp_path / "nowhere")
        case _:
            folder.mkdir()
    if there == "a folder":
        (folder / "README.md").write_text("mine")
    before = sorted(tmp_path.rglob("*"))
    done = remuda("new-plugin", "parrot", "--kind", "backend", "--dir", str(tmp_path))
    assert done.exit_code == 1
    assert "nothing is overwritten" in done.stderr
    assert sorted(tmp_path.rglob("*")) == before
    assert there != "a folder" or (folder / "README.md").read_text() == "mine"


def test_a_disk_that_is_full_leaves_nothing(remuda: Remuda, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write, written = Path.write_text, list[Path]()

    def full(path: Path, *args: str) -> int:
        written.append(path)
        if len(written) == 4:
            raise OSError(errno.EDQUOT, "Disk quota exceeded")
        return write(path, *args)

    monkeypatch.setattr(Path, "write_text", full)
    done = remuda("new-plugin", "parrot", "--kind", "backend", "--dir", str(tmp_path))
    assert done.exit_code == 1
    assert "remuda-parrot cannot be written: Disk quota exceeded" in done.stderr
    assert len(written) == 4
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("args", [(), ("--kind", "hat"), ("--kind", "backend", "--dir", "nowhere")])
def test_a_command_line_that_makes_no_sense(remuda: Remuda, args: tuple[str, ...]) -> None:
    assert remuda("new-plugin", "parrot", *args).exit_code == 2


def test_help_says_what_each_kind_is(remuda: Remuda) -> None:
    page = remuda("new-plugin", "--help").stdout
    for name, kind in KINDS.items():
        assert f"{name:<10}{kind.line}\n" in page


def test_a_broken_plugin_is_in_nobodys_way(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    plugins = Plugins()
    plugins.fault("broken", "it is broken")
    assert isinstance(plugins.describe()[0], Plugin)
    capfd.readouterr()
    args = ["new-plugin", "parrot", "--kind", "filter", "--dir", str(tmp_path)]
    assert CliRunner().invoke(make_cli(lambda: plugins), args).exit_code == 0
    assert "broken" not in capfd.readouterr().err


def test_a_configuration_may_speak_of_the_plugin_already(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "remuda.toml").write_text('[plugins.settings.parrot]\nwords = ["cracker"]\n')
    monkeypatch.chdir(tmp_path)
    assert CliRunner().invoke(make_cli(), ["new-plugin", "parrot", "--kind", "filter"]).exit_code == 0
    assert (tmp_path / "remuda-parrot" / "pyproject.toml").is_file()
