"""Models that are not on this machine, as the catalog finds them."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec import Struct
from stored import put_model

from remuda.errors import BadRequest, ModelNotFound
from remuda.model import Catalog, ModelEntry, ModelName, Store, parse_name
from remuda.model.create.base import outside_basis
from remuda.remote import remote_entry


class Others(Struct):
    """`has` are their models, `routed_names` those that must be theirs."""

    has: set[str]
    routed_names: set[str]

    def routed(self, name: ModelName) -> bool:
        return str(name) in self.routed_names

    def find(self, name: ModelName) -> ModelEntry | None:
        return remote_entry(name) if str(name) in self.has else None


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    store = Store(tmp_path / "models")
    for name in ("both", "here", "sent"):
        put_model(store, name)
    catalog = Catalog([], store)
    catalog.elsewhere = Others({"both:latest", "there:latest", "sent:latest"}, {"sent:latest", "lost:latest"})
    return catalog


@pytest.mark.parametrize(
    ("name", "format"),
    [("here", "gguf"), ("both", "gguf"), ("there", "remote"), ("THERE:latest", "remote"), ("sent", "remote")],
)
def test_what_is_here_goes_first_unless_a_route_says_otherwise(catalog: Catalog, name: str, format: str) -> None:
    if name.lower() != name:
        catalog.elsewhere = Others({"THERE:latest"}, set())
    assert catalog.find(name).format == format


def test_a_route_that_leads_nowhere_hides_what_is_here(catalog: Catalog) -> None:
    catalog.elsewhere = Others(set(), {"here:latest"})
    with pytest.raises(ModelNotFound):
        catalog.find("here")
    assert catalog.here(parse_name("here")) is not None


def test_an_alias_may_lead_elsewhere(catalog: Catalog) -> None:
    catalog.set_aliases({"gpt-4": "there"})
    assert str(catalog.find("gpt-4").name) == "there:latest"
    assert str(catalog.named("gpt-4")) == "gpt-4:latest"


def test_what_is_elsewhere_is_not_listed_and_has_no_files(catalog: Catalog, tmp_path: Path) -> None:
    assert "there:latest" not in {str(entry.name) for entry in catalog.entries()}
    entry = catalog.find("there")
    assert catalog.facts(entry).size == 0
    assert catalog.hold(entry) is None
    store = Store(tmp_path / "more")
    with store.pin() as pins, pytest.raises(BadRequest, match="on other servers"):
        outside_basis(store, pins, entry, template=True)
