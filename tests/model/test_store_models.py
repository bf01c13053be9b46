from __future__ import annotations

import hashlib
import itertools
from pathlib import Path

import pytest
from stored import blobs_in, config_of, manifest_path, put_model, tree

from remuda.errors import ModelNotFound
from remuda.model import BadManifest, BlobMissing, Digest, ModelName, Store, parse_name
from remuda.model.manifest import Layer, Manifest, decode_manifest, encode_manifest


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "models")


def _find(store: Store, name: str) -> str:
    found = store.find(parse_name(name))
    assert found is not None
    return str(found.name)


def test_a_model_lies_where_ollama_looks_for_it(store: Store) -> None:
    put_model(store, "localhost:5000/me/M.x:1b")
    path = store.root / "manifests" / "localhost:5000" / "me" / "M.x" / "1b"
    data = path.read_bytes()
    found = store.find(parse_name("localhost:5000/me/M.x:1b"))
    assert found is not None
    assert (found.data, found.manifest) == (data, decode_manifest(data))
    assert found.digest == hashlib.sha256(data).hexdigest()
    assert found.modified == path.stat().st_mtime
    assert {path.name for path in store.root.iterdir()} == {
        "blobs",
        "manifests",
        "remuda.lock",
        "remuda-verified.json",
    }


def test_manifests_are_kept_byte_for_byte(store: Store) -> None:
    put_model(store, "m")
    found = store.find(parse_name("m"))
    assert found is not None
    data = b" " + found.data.replace(b'":', b'" :\t') + b"\n\n"
    store.write(parse_name("n"), data)
    store.copy(parse_name("n"), parse_name("o"))
    assert manifest_path(store, "o").read_bytes() == data


def test_names_are_found_in_any_case_and_keep_theirs(store: Store) -> None:
    put_model(store, "Me/SmolLM2:135M")
    for spelling in ("me/smollm2:135m", "ME/SMOLLM2:135M", "Me/SmolLM2:135M"):
        assert _find(store, spelling) == "Me/SmolLM2:135M"
    put_model(store, "me/smollm2:135m", [("model", b"newer")])
    assert [str(name) for name in store.names()] == ["Me/SmolLM2:135M"]
    store.delete(parse_name("ME/smollm2:135M"))
    assert store.names() == []


def test_each_part_of_a_new_name_takes_the_case_that_is_there(store: Store) -> None:
    put_model(store, "Example.org/Me/Foo:Latest")
    assert store.cased(parse_name("example.org/me/bar:latest")).full == "Example.org/Me/bar:Latest"
    assert store.cased(parse_name("me/foo:1")).full == "registry.ollama.ai/Me/Foo:1"
    put_model(store, "foo:x")
    assert [str(name) for name in store.names()] == ["Example.org/Me/Foo:Latest", "Foo:x"]


def test_names_that_differ_by_case_alone_are_both_there(store: Store) -> None:
    put_model(store, "m", [("model", b"lower")])
    upper = manifest_path(store, "M:LATEST")
    upper.parent.mkdir()
    upper.write_bytes(manifest_path(store, "m").read_bytes())
    assert [str(name) for name in store.names()] == ["M:LATEST", "m:latest"]
    assert _find(store, "m") == "m:latest"
    assert _find(store, "M:LATEST") == "M:LATEST"
    assert _find(store, "M:latest") == "M:LATEST"
    store.delete(parse_name("m"))
    assert _find(store, "m") == "M:LATEST"


def test_what_is_no_name_is_no_model(store: Store) -> None:
    put_model(store, "m")
    good = manifest_path(store, "m")
    for bad in ("manifests/x/y/z/.hidden", "manifests/.x/y/z/t", "manifests/a b/y/z/t", "manifests/x/n.s/z/t"):
        path = store.root / bad
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(good.read_bytes())
    (store.root / "manifests" / "x" / "y" / "z" / "folder").mkdir()
    (store.root / "manifests" / "file").write_text("")
    (store.root / "manifests" / "x" / "file").write_text("")
    assert [str(name) for name in store.names()] == ["m:latest"]
    assert store.find(parse_name("file/b/c")) is None
    assert store.find(parse_name("x/y/z:folder")) is None
    assert store.find(parse_name("x/file/c")) is None


def test_a_name_too_long_for_the_file_system_is_no_model(store: Store) -> None:
    put_model(store, "m")
    name = ModelName(host="h" * 350, model="m")
    assert store.find(name) is None
    with pytest.raises(Exception, match="invalid model name: the file system here cannot keep one this long"):
        put_model(store, name.full)
    assert [str(name) for name in store.names()] == ["m:latest"]


@pytest.mark.parametrize("data", [b"", b"{", b"null", b'{"layers":[]}', b"\0" * 5_000_000], ids=lambda data: data[:8])
def test_a_corrupt_manifest_can_be_replaced_and_deleted(store: Store, data: bytes) -> None:
    put_model(store, "m")
    manifest_path(store, "m").write_bytes(data)
    with pytest.raises(
        BadManifest, match=r"^model 'm:latest' cannot be used, pull it or create it again: the manifest"
    ):
        store.find(parse_name("M"))
    put_model(store, "m")
    assert _find(store, "m") == "m:latest"
    manifest_path(store, "m").write_bytes(data)
    store.delete(parse_name("m"))
    assert store.names() == []


def test_a_manifest_needs_its_blobs(store: Store) -> None:
    there, _ = store.put(b"there")
    missing = Digest.of(b"missing")
    for digests in itertools.permutations((there, missing)):
        manifest = Manifest(config=config_of(digests[0], 1), layers=[Layer(media_type="t", digest=digests[1], size=1)])
        with pytest.raises(BlobMissing, match=str(missing)):
            store.write(parse_name("m"), encode_manifest(manifest))
    with pytest.raises(BadManifest):
        store.write(parse_name("m"), b"{}")
    assert store.names() == []
    assert not (store.root / "manifests").exists()


def test_blobs_go_with_the_last_model_that_names_them(store: Store) -> None:
    assert put_model(store, "a", [("model", b"weights"), ("template", b"a")]) == []
    assert put_model(store, "b", [("model", b"weights"), ("template", b"b")]) == []
    store.put(b"uploaded for a model to come")
    assert len(blobs_in(store)) == 5
    assert put_model(store, "a", [("model", b"weights"), ("template", b"new")]) == [Digest.of(b"a")]
    store.delete(parse_name("a"))
    assert not store.has(Digest.of(b"new"))
    assert store.has(Digest.of(b"weights"))
    store.delete(parse_name("b"))
    assert blobs_in(store) == {store.blob(Digest.of(b"uploaded for a model to come")).name}
    assert list((store.root / "manifests").iterdir()) == []


def test_folders_stay_while_something_is_in_them(store: Store) -> None:
    put_model(store, "me/m:1")
    put_model(store, "me/m:2")
    put_model(store, "me/n")
    store.delete(parse_name("me/m:1"))
    store.delete(parse_name("me/m:2"))
    assert not manifest_path(store, "me/m:1").parent.exists()
    assert [str(name) for name in store.names()] == ["me/n:latest"]


def test_nothing_is_removed_without_prune(tmp_path: Path) -> None:
    store = Store(tmp_path, prune=False)
    put_model(store, "m", [("model", b"one")])
    assert put_model(store, "m", [("model", b"two")]) == []
    store.delete(parse_name("m"))
    assert store.has(Digest.of(b"one"))
    assert store.has(Digest.of(b"two"))


def test_a_corrupt_manifest_elsewhere_does_not_keep_a_model_from_going(store: Store) -> None:
    put_model(store, "m")
    put_model(store, "corrupt", [("model", b"other")])
    manifest_path(store, "corrupt").write_bytes(b"{")
    store.delete(parse_name("m"))
    assert not store.has(Digest.of(b"weights"))
    assert store.has(Digest.of(b"other"))


def test_a_copy_is_the_same_model(store: Store) -> None:
    put_model(store, "Me/Source:1")
    put_model(store, "other", [("model", b"other")])
    store.copy(parse_name("me/source:1"), parse_name("OTHER"))
    copy, source = store.find(parse_name("other")), store.find(parse_name("me/source:1"))
    assert copy is not None
    assert source is not None
    assert (str(copy.name), copy.digest) == ("other:latest", source.digest)
    assert not store.has(Digest.of(b"other"))
    with pytest.raises(ModelNotFound, match="'nothing:latest' not found"):
        store.copy(parse_name("nothing"), parse_name("other"))


def test_a_copy_to_itself_changes_nothing(store: Store) -> None:
    put_model(store, "M")
    before, inode = tree(store.root), manifest_path(store, "M").stat().st_ino
    store.copy(parse_name("m"), parse_name("M"))
    store.copy(parse_name("M"), parse_name("m"))
    assert tree(store.root) == before
    assert manifest_path(store, "M").stat().st_ino == inode


def test_deleting_what_is_not_there(store: Store) -> None:
    put_model(store, "m")
    before = tree(store.root)
    for name in ("n", "m:other", "me/m"):
        with pytest.raises(ModelNotFound):
            store.delete(parse_name(name))
    assert tree(store.root) == before
