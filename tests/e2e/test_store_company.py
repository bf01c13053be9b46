"""Eight clients make, copy, remove, pull, push and use the same models at once: nobody fails but for what somebody
else removed, and the folder is right whenever nobody does anything.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from company_clients import Company, stock
from company_reader import await_store, check_store
from company_serving import Serving
from registry import Registry

from remuda.config import Config, LimitsConfig, RegistryConfig, StoreConfig
from remuda.plugins import load_plugins
from remuda.testing import LiveServer, ScriptedPlugin

ROUNDS, STEPS = 3, 8
OLD = 2 * 3600.0


@pytest.fixture
def registry() -> Iterator[Registry]:
    with Registry() as registry:
        stock(registry)
        yield registry


@pytest.fixture
def serve(tmp_path: Path, registry: Registry) -> Iterator[Callable[[], LiveServer]]:
    """Servers in this process on `tmp_path / "models"`, which reach no other registry."""
    with ExitStack() as stack:

        def make() -> LiveServer:
            config = Config(
                store=StoreConfig(path=str(tmp_path / "models")),
                registry=RegistryConfig(allow=(registry.host,), key=str(tmp_path / "key"), retries=1),
                limits=LimitsConfig(context=256),
            )
            return stack.enter_context(LiveServer(config, load_plugins(extra=[("scripted", ScriptedPlugin())])))

        yield make


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_eight_clients_of_one_server(
    serve: Callable[[], LiveServer], registry: Registry, tmp_path: Path, seed: int
) -> None:
    root = tmp_path / "models"
    with Company([serve().url], registry, seed) as company:

        def check() -> None:
            models = await_store(root, spare=company.uploaded)
            assert company.names() == [set(models)]
            assert not company.faults

        company.mingle(ROUNDS, STEPS, check)
        company.delete_all()
        assert await_store(root, spare=company.uploaded) == {}


def test_eight_clients_of_two_servers(serve: Callable[[], LiveServer], registry: Registry, tmp_path: Path) -> None:
    """The two are processes that know nothing of each other but the folder. What one could not remove because the other
    held it is removed by the next start."""
    root = tmp_path / "models"
    config = tmp_path / "remuda.toml"
    config.write_text(f'[registry]\nallow = ["{registry.host}"]\nretries = 1\n')
    with (
        Serving(root, tmp_path / "home", REMUDA_CONFIG=str(config)) as other,
        Company([serve().url, other.url], registry, 4) as company,
    ):

        def check() -> None:
            models = check_store(root, unfinished=True)
            assert company.names() == [set(models)] * 2
            assert not company.faults

        company.mingle(ROUNDS, STEPS, check)
        company.delete_all()
        assert check_store(root, unfinished=True) == {}
        assert other.terminate() == 0
        assert "Traceback" not in "".join(other.log)
    for path in (root / "blobs").iterdir():
        os.utime(path, (path.stat().st_atime, path.stat().st_mtime - OLD))
    serve()
    assert await_store(root) == {}
