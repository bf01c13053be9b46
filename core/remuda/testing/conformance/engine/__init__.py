"""The suite of an `Engine`: one file for each of the things that it promises."""

from __future__ import annotations

from .cancel import CancelTests
from .company import CompanyTests
from .constraints import ConstraintTests
from .embeds import EmbedTests
from .life import LifeTests
from .limits import LimitTests
from .logprobs import LogprobTests
from .options import OptionTests
from .refusals import RefusalTests
from .texts import TextTests
from .tokens import TokenTests

__all__ = ["EngineConformance"]


class EngineConformance(
    TokenTests,
    TextTests,
    LimitTests,
    CancelTests,
    RefusalTests,
    OptionTests,
    LogprobTests,
    ConstraintTests,
    EmbedTests,
    CompanyTests,
    LifeTests,
):
    """What `remuda.engine` promises. Subclass it, name the engine, and give it weights:

        class TestSteamEngine(EngineConformance):
            engine = SteamEngine

            @pytest.fixture(scope="session")
            @classmethod
            def weights(cls) -> Path:
                return Path(__file__).with_name("tiny.steam")

    Small weights will do, and should: the tests write a few thousand tokens. What is not promised to all is found out
    (log probabilities, constraints, embeddings) and left out where it is not there. `batches`, `skips`, `options` and
    what else may be set are in `EngineFixtures`.
    """
