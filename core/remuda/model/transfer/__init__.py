"""Models that come from registries and go there (Ollama API, "Registry protocol").

`Transfers` is what a server has one of. Below it: `pull` and `push` are what a request goes through, `upload` sends one
blob, `download` fetches one for all who wait for it, `parts` keeps what has come of it, `http` is the client, `auth`
and `key` say who this server is, `policy` and `network` which addresses it may reach.
"""

from __future__ import annotations

from .errors import NotInRegistry, RegistryError, Unauthorized
from .policy import TransferPolicy
from .transfers import Transfers

__all__ = ["NotInRegistry", "RegistryError", "TransferPolicy", "Transfers", "Unauthorized"]
