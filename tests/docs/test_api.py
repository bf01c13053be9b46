"""The Python reference has every public name, and describes it by its source."""

from __future__ import annotations

from types import ModuleType

import pytest

from .conftest import ROOT

PAGES = {"remuda": "api", "remuda.testing": "api", "remuda.sampling": "sampling"}


@pytest.fixture(scope="session")
def describe(generate: ModuleType) -> ModuleType:
    """docs/describe.py, which is found since `generate` was."""
    import describe

    return describe


@pytest.mark.parametrize("module", PAGES)
def test_every_public_name_has_a_section(describe: ModuleType, module: str) -> None:
    page = ROOT / "docs" / "reference" / f"{PAGES[module]}.md"
    text = page.read_text("utf-8")
    missing = [name for name in describe.public(module) if f"\n### {name}\n" not in text]
    assert missing == [], f"{page.name} lacks names of {module}: add them to one of its `generated: api {module}` parts"


def test_a_section_says_what_the_source_says(describe: ModuleType) -> None:
    text = describe.sections("remuda", ["LoadWish", "Tokenizes", "Event"])
    wish, tokenizes, event = text.split("### ")[1:]
    assert "class LoadWish(Struct, frozen=True, kw_only=True):" in wish
    assert "| `context` | `int` | required | Tokens that each sequence may hold. |" in wish
    assert "| `options` | `Options` | `Options()` | " in wish
    assert "@abstractmethod\nasync def detokenize(self, tokens: ListOf[int]) -> str: ..." in tokenizes
    assert "bytes that are not UTF-8 become U+FFFD." in tokenizes
    assert event.startswith("Event\n\n```python\nEvent = Text | ")
    assert "core/remuda/job.py" in event


def test_a_name_that_is_not_there_is_an_error(describe: ModuleType) -> None:
    with pytest.raises(KeyError):
        describe.find("remuda", "Nothing")


def test_a_definition_can_be_shown_by_itself(generate: ModuleType) -> None:
    text = generate.source("core/remuda/backend.py:Embeds.embed")
    assert text.startswith("```python\n@abstractmethod\nasync def embed(self, job: EmbedJob) -> Embedded:\n    ")
    assert generate.source("core/remuda/backend.py:GenerationEvent") == "```python\nGenerationEvent = Text | Done\n```"
    whole = generate.source("core/remuda/__main__.py")
    assert whole == f"```python\n{(ROOT / 'core/remuda/__main__.py').read_text('utf-8').rstrip()}\n```"
