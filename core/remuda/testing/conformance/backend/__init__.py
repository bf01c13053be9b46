"""The suite of a `Backend`: one file for each of the things that it promises."""

from __future__ import annotations

from .formats import EmbedTests, FormatTests
from .leaving import LeavingTests
from .life import LifeTests
from .talks import ConverseTests
from .texts import CharacterTests, TextTests

__all__ = ["BackendConformance"]


class BackendConformance(TextTests, CharacterTests, FormatTests, ConverseTests, EmbedTests, LeavingTests, LifeTests):
    """What `remuda.backend` promises. Subclass it, and give it a backend and a model:

        class TestSteamBackend(BackendConformance):
            @pytest.fixture(scope="session")
            @classmethod
            def backend(cls) -> SteamBackend:
                return SteamBackend()

            @pytest.fixture(scope="session")
            @classmethod
            def entry(cls) -> ModelEntry:
                return ModelEntry(name=parse_name("tiny"), weights=Path("tiny.steam"), format="steam")

    What a model does not have (embeddings, constraints, a process of its own) is found out and left out. One that takes
    conversations (`remuda.Converses`) is asked with what a user would say, and left out is what is about prompts and
    their tokens. `skips` and what else may be set are in `BackendFixtures`.
    """
