from __future__ import annotations

import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

import remuda as framework
from remuda.cli import make_cli
from remuda.errors import BadRequest
from remuda.plugins import Plugins

from .conftest import Remuda

COMMANDS = (
    "serve", "run", "pull", "create", "show", "list", "ps", "stop", "cp", "rm", "push", "upstreams", "config",
    "plugins", "new-plugin",
)  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_every_command(remuda: Remuda, command: str) -> None:
    assert f"\n  {command} " in remuda("--help").stdout
    page = remuda(command, "--help")
    assert page.exit_code == 0
    assert page.stdout.startswith(f"Usage: remuda {command}")


@pytest.mark.parametrize(("alias", "command"), [("start", "serve"), ("ls", "list")])
def test_aliases_work_and_are_not_listed(remuda: Remuda, alias: str, command: str) -> None:
    assert remuda(alias, "--help").stdout.splitlines()[2:] == remuda(command, "--help").stdout.splitlines()[2:]
    assert f"\n  {alias} " not in remuda("--help").stdout


def test_help_starts_quickly() -> None:
    """No web framework, no HTTP client, no engine is imported to show help."""
    program = (
        "import sys\n"
        "from remuda.cli import main\n"
        "sys.argv = ['remuda', '--help']\n"
        "try:\n    main()\n"
        "except SystemExit:\n    print(*sys.modules, sep='\\n')\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    modules = set(done.stdout.splitlines())
    assert "remuda.cli.run" in modules
    assert not modules & {"quart", "hypercorn", "httpx", "llama_cpp", "numpy", "rich"}


def test_version(remuda: Remuda) -> None:
    assert remuda("--version").stdout.startswith("remuda version is ")


class Greeter:
    @framework.hookimpl
    def remuda_register_commands(self, cli: click.Group) -> None:
        @cli.command()
        def greet() -> None:
            """Say hello."""
            click.echo("hello from a plugin")


class Thief:
    @framework.hookimpl
    def remuda_register_commands(self, cli: click.Group) -> None:
        cli.add_command(click.Command("list"))


def test_a_plugin_adds_a_command(remuda: Remuda, plugins: Plugins) -> None:
    plugins.add(Greeter(), "greeter")
    assert remuda("greet").stdout == "hello from a plugin\n"
    assert "Say hello." in remuda("--help").stdout


def test_a_plugin_cannot_take_a_name(remuda: Remuda, plugins: Plugins) -> None:
    thief = plugins.add(Thief(), "thief")
    plugins.add(Greeter(), "greeter")
    assert "List the models" in remuda("--help").stdout
    assert "'list' exists already" in thief.fault
    assert remuda("greet").exit_code == 0


@pytest.mark.parametrize(
    ("command", "name", "said"),
    [
        ("text", "odd", "'odd' is added as a command, and is a str"),
        (click.Command("odd"), 3, "3 is added as a command"),
    ],
)
def test_what_is_no_command_is_told_and_the_help_goes_on(
    remuda: Remuda, plugins: Plugins, command: object, name: object, said: str
) -> None:
    class Odd:
        @framework.hookimpl
        def remuda_register_commands(self, cli: click.Group) -> None:
            cli.add_command(command, name)  # type: ignore[arg-type]

    odd = plugins.add(Odd(), "odd")
    plugins.add(Greeter(), "greeter")
    assert "Say hello." in remuda("--help").stdout
    assert odd.fault.startswith(said)


@pytest.mark.parametrize(
    "left",
    [
        "import atexit; atexit.register(forever)",
        "from concurrent.futures import ThreadPoolExecutor as T; T().submit(forever)",
    ],
)
def test_what_a_plugin_leaves_running_does_not_keep_the_process(left: str) -> None:
    program = (
        "import sys, threading\n"
        "import remuda.cli\n"
        "remuda.cli._FAREWELL = 0.1\n"
        "forever = threading.Event().wait\n"
        f"{left}\n"
        "sys.argv = ['remuda', 'nosuch']\n"
        "remuda.cli.main()\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=30)
    assert (done.returncode, "No such command 'nosuch'" in done.stderr) == (2, True)


def test_built_in_commands_do_not_load_plugins(nobody: str) -> None:
    def load() -> Plugins:
        raise AssertionError("loaded")

    result = CliRunner().invoke(make_cli(load), ["list"])
    assert result.exit_code == 1
    assert nobody in result.stderr


class Failing:
    @framework.hookimpl
    def remuda_register_commands(self, cli: click.Group) -> None:
        @cli.command()
        def fail() -> None:
            raise BadRequest("the moon is not full")


def test_an_error_of_the_tree_is_one_line(remuda: Remuda, plugins: Plugins) -> None:
    plugins.add(Failing(), "failing")
    result = remuda("fail")
    assert (result.exit_code, result.stderr) == (1, "Error: the moon is not full\n")


def test_python_m_remuda() -> None:
    done = subprocess.run([sys.executable, "-m", "remuda", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("remuda version is ")
