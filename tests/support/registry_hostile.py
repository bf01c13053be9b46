"""What the registry of the tests serves besides true models: manifests that must be refused, bodies that unpack to
more than anybody has room for, certificates."""

from __future__ import annotations

import datetime
import gzip
import ipaddress
import json
from functools import cache
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from registry_data import MODEL

__all__ = ["gzip_bomb", "hostile_manifests", "self_signed"]

_HEX = "0123456789abcdef" * 4
_PIECE = 64 * 1024 * 1024


def hostile_manifests() -> dict[str, bytes]:
    """By what is wrong with each."""
    digests = {
        "empty digest": "",
        "digest without hex": "sha256:",
        "short digest": f"sha256:{_HEX[:63]}",
        "long digest": f"sha256:{_HEX}0",
        "digest of another kind": f"md5:{_HEX}",
        "upper-case algorithm": f"SHA256:{_HEX}",
        "traversal": "sha256:../../../../../../tmp/canary",
        "traversal of the right length": f"sha256:{'../' * 21}x",
        "traversal after a digest": f"sha256:{_HEX}/../../canary",
        "encoded traversal": "sha256:%2e%2e%2fcanary",
        "absolute path": "/etc/passwd",
        "backslashes": "sha256:..\\..\\canary",
        "zero byte": f"sha256:{_HEX[:63]}\0",
        "line feed": f"sha256:{_HEX}\n",
    }
    found = {what: _manifest(_layer(digest=digest)) for what, digest in digests.items()}
    found |= {f"config: {what}": _manifest(config=_layer(digest=digest)) for what, digest in digests.items()}
    sizes = {
        "negative size": -1,
        "huge size": 2**62,
        "size beyond integers": 2**70,
        "size as text": "1",
        "no size": None,
    }
    found |= {what: _manifest(_layer(size=size)) for what, size in sizes.items()}
    found |= {
        "null": b"null",
        "nothing": b"",
        "list": b"[]",
        "not JSON": b"<html>",
        "half": _manifest(_layer())[:-20],
        "no layers": json.dumps({"schemaVersion": 2, "config": _layer()}).encode(),
        "layers null": json.dumps({"schemaVersion": 2, "config": _layer(), "layers": None}).encode(),
        "layers of null": _manifest(None),
        "no config": json.dumps({"schemaVersion": 2, "layers": [_layer()]}).encode(),
        "config null": json.dumps({"schemaVersion": 2, "layers": [_layer()], "config": None}).encode(),
        "deep": b"[" * 200_000,
        "million layers": _manifest(0).replace(b"0]", b"{}," * 999_999 + b"{}]"),
        "many valid layers": _manifest(*[{"mediaType": "", "digest": f"sha256:{_HEX}", "size": 0}] * 30_000),
    }
    return found


def _layer(*, digest: str = f"sha256:{_HEX}", size: int | str | None = 3) -> dict[str, object]:
    return {"mediaType": MODEL, "digest": digest, "size": size}


def _manifest(*layers: object, config: object = None) -> bytes:
    layers = layers or (_layer(),)
    return json.dumps({"schemaVersion": 2, "config": config or _layer(), "layers": layers}).encode()


@cache
def gzip_bomb(size: int = 10 * 2**30) -> bytes:
    """`size` zeros (rounded up to 64 MiB), a thousandth of that as gzip."""
    return gzip.compress(bytes(_PIECE)) * -(-size // _PIECE)


def self_signed(host: str, folder: Path) -> tuple[Path, Path]:
    """The files, in `folder`, of a certificate for that address and for `localhost`, and of its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(host)), x509.DNSName("localhost")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(names, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    certificate_file, key_file = folder / "certificate.pem", folder / "key.pem"
    certificate_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return certificate_file, key_file
