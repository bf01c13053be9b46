"""What tests have other processes do to a store: `python -m store_actions FOLDER ACTION [ARGUMENT...]`.

`REMUDA_FAILPOINTS` says where the process shall die or find the disk full.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from stored import blobs_in, put_model, tree

from remuda.errors import RemudaError
from remuda.model import Digest, Store, parse_digest, parse_name

__all__ = ["act", "command", "run"]


def command(store: Store | Path, *action: str) -> list[str]:
    """What starts such a process."""
    root = store.root if isinstance(store, Store) else store
    return [sys.executable, __file__, str(root), *action]


def run(store: Store | Path, *action: str, failpoints: str = "") -> subprocess.CompletedProcess[str]:
    """Do it and wait; the output says how it went."""
    environment = {**os.environ, "REMUDA_FAILPOINTS": failpoints}
    return subprocess.run(
        command(store, *action), capture_output=True, text=True, env=environment, check=False, timeout=60
    )


def act(store: Store, action: str, *arguments: str) -> None:
    """Do it in this process."""
    if action == "model":  # NAME TEXT: a model with these weights and a template of the same text
        name, text = arguments
        put_model(store, name, [("model", text.encode() * 1000), ("template", text.encode())])
    elif action == "copy":
        store.copy(parse_name(arguments[0]), parse_name(arguments[1]))
    elif action == "delete":
        store.delete(parse_name(arguments[0]))
    elif action == "download":  # TEXT: a whole download becomes a blob
        data = arguments[0].encode()
        digest = Digest.of(data)
        store.partial(digest).parent.mkdir(parents=True, exist_ok=True)
        store.partial(digest).write_bytes(data)
        store.publish_partial(digest, len(data))
    elif action == "pin":  # DIGEST: until a line comes
        with store.pin([parse_digest(arguments[0])]):
            print("pinned", flush=True)
            sys.stdin.readline()
    elif action == "churn":  # NAMES ROUNDS: models that share their blobs come and go
        for number in range(int(arguments[1])):
            name = arguments[0].split(",")[number % len(arguments[0].split(","))]
            put_model(store, name, [("model", b"shared"), ("template", str(number % 3).encode())])
            if number % 2:
                store.delete(parse_name(name))
    elif action == "fill":  # a small disk with nothing on it, until it is full
        _fill(store)
    else:
        raise ValueError(action)


def _fill(store: Store) -> None:
    put_model(store, "m", [("model", b"weights")])
    before = tree(store.root)
    _refused(lambda: store.put(os.urandom(2**21)))
    assert tree(store.root).keys() == before.keys()
    with (store.root / "filler").open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))
    _refused(lambda: put_model(store, "m", [("model", b"newer")]))
    _refused(lambda: store.copy(parse_name("m"), parse_name("n")))
    assert {path: data for path, data in tree(store.root).items() if path != "filler"} == before
    store.delete(parse_name("m"))
    assert blobs_in(store) == set()


def _refused(change: Callable[[], object]) -> None:
    try:
        change()
    except RemudaError as error:
        print(error)
    else:
        print("it was not refused")


def _main() -> None:
    try:
        act(Store(Path(sys.argv[1])), *sys.argv[2:])
    except RemudaError as error:
        print(f"{type(error).__name__}: {error}")
        sys.exit(3)
    print("done")


if __name__ == "__main__":
    _main()
