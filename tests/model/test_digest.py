from __future__ import annotations

import hashlib

import pytest
from hypothesis import given, settings, strategies as st

from remuda.errors import BadRequest
from remuda.model import Digest, parse_digest

HEX = "0123456789abcdef" * 4


@pytest.mark.parametrize("text", [f"sha256:{HEX}", f"sha256-{HEX}", f"sha256:{HEX.upper()}"])
def test_a_digest_is_written_in_one_way(text: str) -> None:
    digest = parse_digest(text)
    assert str(digest) == f"sha256:{HEX}"
    assert (digest.hex, digest.short) == (HEX, HEX[:12])


BAD = {
    "empty": "",
    "no digits": "sha256:",
    "63 digits": "sha256:" + HEX[:-1],
    "65 digits": "sha256:" + HEX + "0",
    "upper-case algorithm": "SHA256:" + HEX,
    "another algorithm": "sha512:" + HEX,
    "no algorithm": HEX,
    "traversal": "sha256:../../x",
    "traversal of the right length": "sha256:" + "../" * 21 + "x",
    "escaped traversal": "sha256:%2e%2e" + HEX[6:],
    "NUL": "sha256:" + HEX[:-1] + "\0",
    "NUL at the end": f"sha256:{HEX}\0",
    "line break at the end": f"sha256:{HEX}\n",
    "space before": f" sha256:{HEX}",
    "not hexadecimal": "sha256:" + "g" * 64,
    "digits of another script": "sha256:" + "٠" * 64,
    "slash": f"sha256/{HEX}",
    "partial": f"sha256-{HEX}-partial",
    "long": "sha256:" + "0" * 5_000_000,
}


@pytest.mark.parametrize("text", BAD.values(), ids=BAD.keys())
def test_everything_else_is_refused(text: str) -> None:
    with pytest.raises(BadRequest, match=r"^invalid digest format$"):
        parse_digest(text)


def test_a_digest_cannot_be_made_of_anything_but_32_bytes() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        Digest(b"../../../etc/passwd")


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=100))
def test_the_digest_of_data_is_its_sha256(data: bytes) -> None:
    digest = Digest.of(data)
    assert digest.hex == hashlib.sha256(data).hexdigest()
    assert parse_digest(str(digest)) == digest


@settings(max_examples=50, deadline=None)
@given(st.text(max_size=80))
def test_only_hexadecimal_digits_come_through(text: str) -> None:
    try:
        written = str(parse_digest(text))
    except BadRequest:
        return
    assert set(written.removeprefix("sha256:")) <= set("0123456789abcdef")
