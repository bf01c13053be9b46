"""`/metrics`, as Prometheus reads it from a live server."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from fronting import asking, fronted
from upstream import Upstream

from remuda.testing import Script

from .library_rig import LibraryRig

Make = Callable[..., LibraryRig]

REFERENCE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "http.md"
SLOW = Script(pieces=["a", "b"], repeat=100_000, delay=0.005)
KIND = 'endpoint="/api/generate",model="mine:latest",backend="scripted"'
_SAMPLE = re.compile(r'([a-z_]+(?:\{[a-z_]+="[^"]*"(?:,[a-z_]+="[^"]*")*\})?) (\S+)')


def read(http: httpx.Client) -> dict[str, float]:
    """All samples, each of which must belong to the family before it, and stand there once."""
    reply = http.get("/metrics", timeout=10)
    assert (reply.status_code, reply.headers["content-type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
    samples: dict[str, float] = {}
    family = ""
    for line in reply.text.splitlines():
        if line.startswith("# HELP "):
            family = line.split()[2]
        elif line.startswith("# TYPE "):
            assert line.split()[2] == family
        else:
            sample, value = _matched(line)
            assert sample.startswith(family)
            assert sample not in samples
            samples[sample] = float(value)
    return samples


def _matched(line: str) -> tuple[str, str]:
    match = _SAMPLE.fullmatch(line)
    assert match, line
    return match[1], match[2]


def _ask(rig: LibraryRig, model: str = "mine", **fields: Any) -> httpx.Response:
    return rig.post("/api/generate", {"model": model, "prompt": "hello", "stream": False, **fields})


def _play(folder: Path, script: Script) -> None:
    """What the model `mine` does from now on."""
    (folder / "script.json").write_bytes(msgspec.json.encode(script))


def _until(http: httpx.Client, sample: str, value: float) -> dict[str, float]:
    end = time.monotonic() + 10
    while (samples := read(http)).get(sample) != value:
        assert time.monotonic() < end, samples
    return samples


def test_what_requests_came_to(library: LibraryRig, tmp_path: Path) -> None:
    _play(tmp_path, Script(pieces=["a", "b"]))
    for _ in range(2):
        assert _ask(library).status_code == 200
    assert _ask(library, model="nowhere").status_code == 404
    assert library.http.head("/metrics").status_code == 200
    samples = read(library.http)
    assert samples[f'remuda_requests_total{{{KIND},status="200"}}'] == 2
    assert samples[f'remuda_prompt_tokens_total{{{KIND},source="computed"}}'] == 10
    assert samples[f'remuda_prompt_tokens_total{{{KIND},source="cached"}}'] == 0
    assert samples[f"remuda_output_tokens_total{{{KIND}}}"] == 4
    assert samples[f'remuda_request_duration_seconds_bucket{{{KIND},le="+Inf"}}'] == 2
    spent = [samples[f'remuda_phase_seconds_total{{{KIND},phase="{each}"}}'] for each in ("wait", "prompt", "output")]
    assert all(seconds > 0 for seconds in spent)
    assert sum(spent) <= samples[f"remuda_request_duration_seconds_sum{{{KIND}}}"]
    replies = {key: value for key, value in samples.items() if key.startswith("remuda_http_replies_total")}
    assert replies == {
        'remuda_http_replies_total{method="POST",route="/api/generate",status="200"}': 2,
        'remuda_http_replies_total{method="POST",route="/api/generate",status="404"}': 1,
        'remuda_http_replies_total{method="HEAD",route="/metrics",status="200"}': 1,
    }


def test_models_and_queues_while_they_work(make_library: Make, tmp_path: Path) -> None:
    rig, mine = make_library(), 'model="mine:latest"'
    _play(tmp_path, msgspec.structs.replace(SLOW, parallel=1))
    body: dict[str, Any] = {"model": "mine", "prompt": "hello", "options": {"num_predict": -1}}
    with ExitStack() as stack:
        streams: list[Any] = []  # one that nobody holds is closed
        for number in range(2):
            client = stack.enter_context(httpx.Client(base_url=rig.server.url, timeout=10))
            body["progress"] = number == 1
            reply = stack.enter_context(client.stream("POST", "/api/generate", json=body))
            streams.append(reply.iter_lines())
            next(streams[-1])
            samples = _until(rig.http, f"remuda_queue_length{{{mine}}}", number)
        assert samples[f'remuda_model_loaded{{{mine},state="ready"}}'] == 1
        assert samples[f"remuda_model_running{{{mine}}}"] == 1
        assert samples[f"remuda_model_waiting{{{mine}}}"] == 0
        assert samples[f"remuda_model_size_bytes{{{mine}}}"] == 1000
        assert samples[f"remuda_model_size_vram_bytes{{{mine}}}"] == 0
        assert samples[f'remuda_engine{{{mine},name="sequences_live"}}'] == 1
        assert samples[f'remuda_engine{{{mine},name="cells_live"}}'] > 5
        assert samples[f"remuda_model_steps_total{{{mine}}}"] > 0
        written = samples[f"remuda_engine_pieces_total{{{mine}}}"]
        assert written > 0
        while read(rig.http)[f"remuda_engine_pieces_total{{{mine}}}"] == written:
            pass
    _until(rig.http, f'remuda_requests_total{{{KIND},status="499"}}', 2)
    samples = _until(rig.http, f'remuda_engine{{{mine},name="cells_live"}}', 0)
    assert samples[f"remuda_queue_length{{{mine}}}"] == 0


def test_nobody_makes_series_by_asking(library: LibraryRig) -> None:
    _ask(library)
    for round in range(2):
        for number in range(20):
            name = f"nowhere{round}-{number}"
            _ask(library, model=name)
            library.http.get(f"/{name}")
            library.http.request(f"BREW{number}", "/api/tags", headers={"X-Request-Id": name})
            library.http.get("/api/blobs/" + name)
            library.http.get("/api/user/keys/" + name)
            _ask(library, model="MINE" if number % 2 else "Mine:Latest")
        samples = read(library.http)
        if not round:
            known = {*samples, 'remuda_http_replies_total{method="GET",route="/metrics",status="200"}'}
    assert {*samples} == known
    assert samples[f'remuda_requests_total{{{KIND},status="200"}}'] == 41
    assert samples['remuda_http_replies_total{method="GET",route="other",status="404"}'] == 40
    assert samples['remuda_http_replies_total{method="other",route="/api/tags",status="405"}'] == 40
    assert samples['remuda_http_replies_total{method="GET",route="/api/blobs/<digest>",status="400"}'] == 40
    assert samples['remuda_http_replies_total{method="GET",route="/api/user/keys/<key>",status="501"}'] == 40


def test_a_model_that_hangs_keeps_nobody_from_reading(
    make_library: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("remuda.runner.model._STATS_PATIENCE", 0.2)
    rig = make_library()
    _play(tmp_path, Script(pieces=["a", "b"], fault="hang", fault_at=1))
    with rig.http.stream("POST", "/api/generate", json={"model": "mine", "prompt": "hello"}) as reply:
        lines = reply.iter_lines()
        next(lines)
        with httpx.Client(base_url=rig.server.url) as other:
            for _ in range(2):
                assert read(other)['remuda_model_loaded{model="mine:latest",state="ready"}'] == 1


def test_it_is_guarded_as_everything_is(library: LibraryRig) -> None:
    assert library.http.get("/metrics", headers={"Host": "evil.example"}).status_code == 403
    assert library.http.get("/metrics", headers={"Origin": "https://evil.example"}).status_code == 403
    assert library.http.post("/metrics").status_code == 405


def test_requests_that_upstreams_answer() -> None:
    """Passed on unread: what is counted is what their last line says."""
    said = {"model": "tiny", "done": True, "done_reason": "stop", "prompt_eval_count": 9, "cached_tokens": 4}
    with Upstream() as upstream, asking(fronted({"attic": upstream.url})) as (_, http):
        upstream.extra["POST /api/generate"] = (200, {**said, "eval_count": 2})
        for name in ("tiny", "TINY", "Tiny:latest"):
            reply = http.post("/api/generate", json={"model": name, "prompt": "hi", "stream": False})
            assert reply.status_code == 200, reply.text
        samples = read(http)
    kind = 'endpoint="/api/generate",model="tiny:latest",backend="remote"'
    assert samples[f'remuda_requests_total{{{kind},status="200"}}'] == 3
    assert samples[f'remuda_prompt_tokens_total{{{kind},source="computed"}}'] == 15
    assert samples[f'remuda_prompt_tokens_total{{{kind},source="cached"}}'] == 12
    assert samples[f"remuda_output_tokens_total{{{kind}}}"] == 6


def test_the_reference_names_every_family(library: LibraryRig) -> None:
    _ask(library)
    families = set(re.findall(r"^# TYPE (\S+)", library.http.get("/metrics").text, re.MULTILINE))
    section = REFERENCE.read_text("utf-8").partition("\n## GET /metrics\n")[2].partition("\n## ")[0]
    told = set(re.findall(r"^\| `(\w+)", section, re.MULTILINE))
    assert families - {"remuda_engine_pieces_total"} == told - {"remuda_engine_NAME_total"}
