from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st
from stored import config_of

from remuda.model import BadManifest, Digest
from remuda.model.manifest import (
    LICENSE,
    MANIFEST,
    MAX_MANIFEST,
    MODEL,
    TEMPLATES,
    Layer,
    Manifest,
    ModelConfigFile,
    decode_config,
    decode_manifest,
    encode_manifest,
)

A, B, C = (Digest.of(data) for data in (b"a", b"b", b"c"))
MODEL_LAYER = {"mediaType": MODEL, "digest": str(A), "size": 1}
CONFIG_LAYER = {"mediaType": "application/vnd.docker.container.image.v1+json", "digest": str(C), "size": 2}


def _manifest(**changes: Any) -> bytes:
    whole = {"schemaVersion": 2, "mediaType": MANIFEST, "config": CONFIG_LAYER, "layers": [MODEL_LAYER], **changes}
    return json.dumps({key: value for key, value in whole.items() if value is not ...}).encode()


def test_a_manifest_is_written_as_the_protocol_orders_it() -> None:
    layers = [Layer(media_type=MODEL, digest=A, size=7, parent="base:latest"), Layer(media_type="t", digest=B, size=0)]
    written = encode_manifest(Manifest(config=config_of(C, 2), layers=layers))
    assert written.decode() == (
        f'{{"schemaVersion":2,"mediaType":"{MANIFEST}",'
        f'"config":{{"mediaType":"{CONFIG_LAYER["mediaType"]}","digest":"{C}","size":2}},'
        f'"layers":[{{"mediaType":"{MODEL}","digest":"{A}","size":7,"from":"base:latest"}},'
        f'{{"mediaType":"t","digest":"{B}","size":0}}]}}\n'
    )


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.builds(
            Layer,
            media_type=st.text(max_size=40),
            digest=st.sampled_from([A, B, C]),
            size=st.integers(0, 2**50),
            parent=st.text(max_size=10),
            name=st.text(max_size=10),
        ),
        max_size=5,
    )
)
def test_what_is_written_reads_the_same(layers: list[Layer]) -> None:
    manifest = Manifest(config=config_of(C, 2), layers=layers)
    assert decode_manifest(encode_manifest(manifest)) == manifest


def test_size_digests_and_layers_by_type() -> None:
    old = Layer(media_type=TEMPLATES[1], digest=B, size=3)
    layers = [Layer(media_type=MODEL, digest=A, size=10), old, Layer(media_type=LICENSE, digest=A, size=10)]
    manifest = Manifest(config=config_of(C, 2), layers=layers)
    assert manifest.size == 25
    assert manifest.digests == [A, B, C]
    assert list(manifest.of(*TEMPLATES)) == [old]


def test_a_manifest_of_old_reads() -> None:
    layer = {"digest": f"sha256-{A.hex}", "mediaType": MODEL, "urls": None}
    read = decode_manifest(_manifest(schemaVersion=..., mediaType=..., layers=[layer], annotations={"x": 1}))
    assert read.layers == [Layer(media_type=MODEL, digest=A, size=0)]


def test_no_layers_may_be_null_in_a_store_only() -> None:
    assert decode_manifest(_manifest(layers=None), stored=True).layers == []
    with pytest.raises(BadManifest, match="no layers"):
        decode_manifest(_manifest(layers=None))
    with pytest.raises(BadManifest, match="no layers"):
        decode_manifest(_manifest(layers=...), stored=True)


BAD = {
    "nothing": (b"", "cannot be read"),
    "half": (_manifest()[:-20], "cannot be read"),
    "no JSON": (b"<html>", "cannot be read"),
    "not UTF-8": (b'{"config":"\xff"}', "cannot be read"),
    "a list": (b"[]", "cannot be read"),
    "null": (b"null", "cannot be read"),
    "deep": (b'{"config":' + b"[" * 100_000, "cannot be read"),
    "deep and unknown": (b'{"x":' + b"[" * 100_000, "cannot be read"),
    "no config": (_manifest(config=...), "no config"),
    "null config": (_manifest(config=None), "no config"),
    "no layers": (_manifest(layers=...), "no layers"),
    "layers of text": (_manifest(layers="x"), "layers"),
    "layer of text": (_manifest(layers=["x"]), "layers"),
    "empty layer": (_manifest(layers=[{}]), "digest"),
    "empty digest": (_manifest(layers=[{**MODEL_LAYER, "digest": ""}]), "invalid digest"),
    "short digest": (_manifest(layers=[{**MODEL_LAYER, "digest": "sha256:"}]), "invalid digest"),
    "digest with a path": (_manifest(layers=[{**MODEL_LAYER, "digest": "sha256:../../x"}]), "invalid digest"),
    "null digest": (_manifest(layers=[{**MODEL_LAYER, "digest": None}]), "digest"),
    "digest of the config": (_manifest(config={**CONFIG_LAYER, "digest": "sha256:00"}), "invalid digest"),
    "negative size": (_manifest(layers=[{**MODEL_LAYER, "size": -1}]), "size -1"),
    "huge size": (_manifest(layers=[{**MODEL_LAYER, "size": 2**62}]), "impossible size"),
    "size beyond 64 bits": (_manifest(layers=[{**MODEL_LAYER, "size": 2**80}]), "size"),
    "size of text": (_manifest(layers=[{**MODEL_LAYER, "size": "1"}]), "size"),
    "long media type": (_manifest(layers=[{**MODEL_LAYER, "mediaType": "x" * 300}]), "media type"),
    "many layers": (_manifest(layers=[{"mediaType": "", "digest": "", "size": 0}] * 5000), "5000 layers"),
    "a million layers": (_manifest(layers=[MODEL_LAYER] * 1_000_000), f"at most {MAX_MANIFEST}"),
}


@pytest.mark.parametrize("case", BAD.values(), ids=BAD.keys())
@pytest.mark.parametrize("stored", [False, True])
def test_a_bad_manifest_is_refused_and_the_field_named(case: tuple[bytes, str], stored: bool) -> None:
    data, fragment = case
    with pytest.raises(BadManifest) as caught:
        decode_manifest(data, stored=stored)
    assert fragment in str(caught.value)
    assert len(str(caught.value)) < 300


def test_the_same_layer_twice_is_fine() -> None:
    assert decode_manifest(_manifest(layers=[MODEL_LAYER, MODEL_LAYER])).digests == [A, C]


def test_a_configuration_is_read_as_far_as_it_makes_sense() -> None:
    data = {"model_format": "gguf", "model_families": None, "model_type": 8, "rootfs": {"type": "layers"}}
    assert decode_config(json.dumps({**data, "capabilities": ["vision"]}).encode()) == ModelConfigFile(
        model_format="gguf", capabilities=["vision"]
    )


@pytest.mark.parametrize("data", [b"", b"[]", b'"x"', b'{"a":', b"\xff", b'{"a":' * 50_000], ids=lambda data: data[:8])
def test_a_configuration_that_is_no_object_is_refused(data: bytes) -> None:
    with pytest.raises(BadManifest, match="configuration"):
        decode_config(data)
