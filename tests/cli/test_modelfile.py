from __future__ import annotations

from pathlib import Path

import click
import msgspec
import pytest

from remuda.cli.model_files import files_at, named
from remuda.cli.modelfile import Recipe, recipe_from
from remuda.errors import BadRequest
from remuda.model.modelfile import parse_modelfile
from remuda.wire import CreateRequest, ShowMessage


def recipe(folder: Path, text: str) -> Recipe:
    return recipe_from(parse_modelfile(text), folder)


def write(folder: Path, *names: str) -> list[Path]:
    paths = [folder / name for name in names]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(path.name)
    return paths


def test_everything_but_files(tmp_path: Path) -> None:
    text = """
FROM first
FROM smollm2:135m
PARAMETER temperature 0.5
PARAMETER temperature 1
PARAMETER num_ctx 4096
PARAMETER use_mmap F
PARAMETER stop a
PARAMETER stop "b c"
TEMPLATE t1
TEMPLATE t2
SYSTEM s
RENDERER r
PARSER p
LICENSE one
LICENSE two
MESSAGE user hi
MESSAGE assistant ""
REQUIRES v0.14.0-rc.1
"""
    assert recipe(tmp_path, text) == Recipe(
        CreateRequest(
            base="smollm2:135m",
            parameters={"temperature": 1.0, "num_ctx": 4096, "use_mmap": False, "stop": ["a", "b c"]},
            template="t2",
            system="s",
            renderer="r",
            parser="p",
            license=["one", "two"],
            messages=[ShowMessage("user", "hi"), ShowMessage("assistant", "")],
            requires="0.14.0-rc.1",
        )
    )


def test_a_request_says_nothing_that_the_modelfile_does_not(tmp_path: Path) -> None:
    assert recipe(tmp_path, "FROM m").request == CreateRequest(base="m")


def test_paths_are_seen_from_the_modelfile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home, work = tmp_path / "home", tmp_path / "work"
    model, projector, adapter, draft = write(home, "m.gguf", "p.gguf", "a.gguf", "d.gguf")
    beside, below = write(work, "m.gguf", "parts/p.gguf")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(home)
    made = recipe(work, "FROM m.gguf\nFROM ./parts/p.gguf\nADAPTER m.gguf\nADAPTER ~/a.gguf\nDRAFT ~/d.gguf")
    assert made.files == {"m.gguf": beside, "parts/p.gguf": below}
    assert (made.adapters, made.drafts) == ({"a.gguf": adapter}, {"d.gguf": draft})
    assert made.request == CreateRequest()
    assert recipe(work, f"FROM {model}\nFROM {projector}\nFROM ../home/m.gguf").files == {
        "m.gguf": model,
        "p.gguf": projector,
    }


def test_what_is_not_there_may_be_a_name(tmp_path: Path) -> None:
    assert recipe(tmp_path, "FROM hf.co/me/some.gguf:q4").request.base == "hf.co/me/some.gguf:q4"


@pytest.mark.parametrize(
    ("there", "taken"),
    [
        (["b.gguf", "a.gguf", "x.bin", "config.json"], ["a.gguf", "b.gguf"]),
        (["x.bin", "y.txt"], ["x.bin"]),
        (
            ["model-1.safetensors", "sub/model-2.safetensors", "sub/deep/model-3.safetensors", "a.gguf", "readme.md"],
            ["model-1.safetensors", "sub/model-2.safetensors"],
        ),
        (
            ["model.safetensors", "consolidated.safetensors", "config.json", "sub/config.json", "tokenizer.model"],
            ["model.safetensors", "config.json", "sub/config.json", "tokenizer.model"],
        ),
        (["consolidated.safetensors", "pytorch_model.bin"], ["consolidated.safetensors"]),
        (["adapter_model.safetensors", "adapter_config.json"], ["adapter_model.safetensors", "adapter_config.json"]),
        (
            ["pytorch_model-1.bin", "consolidated.00.pth", "chat_template.jinja"],
            ["pytorch_model-1.bin", "chat_template.jinja"],
        ),
        (["consolidated.00.pth", "x.gguf"], ["consolidated.00.pth"]),
    ],
)
def test_of_a_folder_the_first_kind_of_weights_is_taken(tmp_path: Path, there: list[str], taken: list[str]) -> None:
    write(tmp_path, *there)
    assert [path.relative_to(tmp_path).as_posix() for path in files_at(tmp_path)] == taken
    assert list(recipe(tmp_path, "FROM .").files) == taken


def test_a_folder_without_weights(tmp_path: Path) -> None:
    write(tmp_path, "config.json")
    with pytest.raises(click.ClickException, match=r"^no Modelfile or safetensors files found$"):
        recipe(tmp_path, "FROM .")


def test_links_stay_in_their_folder(tmp_path: Path) -> None:
    [outside] = write(tmp_path, "outside.gguf")
    [inside] = write(tmp_path / "folder", "sub/inside.dat")
    (tmp_path / "folder/a.gguf").symlink_to(inside)
    assert [path.name for path in files_at(tmp_path / "folder")] == ["a.gguf"]
    (tmp_path / "folder/b.gguf").symlink_to(outside)
    with pytest.raises(click.ClickException, match=r"^insecure path: b\.gguf is a link out of the folder$"):
        recipe(tmp_path, "FROM folder")
    assert list(recipe(tmp_path, "FROM folder/b.gguf").files) == ["b.gguf"]


def test_names_are_relative_to_what_all_files_are_in(tmp_path: Path) -> None:
    one, two = write(tmp_path, "a/x.gguf", "b/x.gguf")
    assert named([one]) == {"x.gguf": one}
    assert named([one, two, tmp_path / "b" / ".." / "a" / "x.gguf"]) == {"a/x.gguf": one, "b/x.gguf": two}
    assert named([]) == {}


def test_deprecated_parameters_are_left_out(tmp_path: Path) -> None:
    made = recipe(tmp_path, "FROM m\nPARAMETER mirostat 1\nPARAMETER low_vram true\nPARAMETER top_k 5")
    assert made.request.parameters == {"top_k": 5}
    assert made.warnings == ("warning: parameter mirostat is deprecated", "warning: parameter low_vram is deprecated")


def test_parameters_that_are_no_options(tmp_path: Path) -> None:
    made = recipe(tmp_path, "FROM m\nPARAMETER model_type GPT-J\nPARAMETER keep_alive 5m")
    assert made.request.parameters == {"model_type": "GPT-J", "keep_alive": "5m"}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("PARAMETER num_gqa 1", "unknown parameter 'num_gqa'; there are: draft_num_predict, "),
        ("PARAMETER Temperature 1", "unknown parameter 'Temperature'"),
        ("PARAMETER num_ctx abc", "invalid int value [abc]"),
        ("PARAMETER num_ctx 1.5", "invalid int value [1.5]"),
        ("PARAMETER num_ctx 1_000", "invalid int value [1_000]"),
        ("PARAMETER temperature hot", "invalid float value [hot]"),
        ("PARAMETER temperature nan", "invalid float value [nan]"),
        ("PARAMETER use_mmap yes", "invalid bool value [yes]"),
        ("PARAMETER top_p 7", 'option "top_p" is 7.0, out of range: it must be from 0 to 1'),
        ("PARAMETER model_type bert", "parameter \"model_type\" is 'bert'; it must be one of dolly-v2, falcon, gpt2"),
        ("REQUIRES new", "requires must be a valid semver (e.g. 0.14.0)"),
        ("REQUIRES 1.2.3.4", "requires must be a valid semver (e.g. 0.14.0)"),
        ("FROM ./none.gguf", "the file './none.gguf' does not exist"),
        ("FROM ~nobody-at-all/x", "the file '~nobody-at-all/x' does not exist"),
        ('FROM ""', "a path is missing"),
        ("ADAPTER none.gguf", "the file 'none.gguf' of ADAPTER does not exist"),
        ("FROM there.gguf\nDRAFT ./there.gguf", "DRAFT must not reference the same local path as FROM: ./there.gguf"),
        (f"FROM {'x' * 5000}", f"'{'x' * 80}' is no path"),
    ],
)
def test_what_cannot_be_made(tmp_path: Path, line: str, message: str) -> None:
    write(tmp_path, "there.gguf")
    with pytest.raises((click.ClickException, BadRequest)) as caught:
        recipe(tmp_path, f"FROM m\n{line}")
    assert caught.value.message.startswith(message)


@pytest.mark.parametrize(
    ("line", "value"),
    [("seed -1", -1), ("num_ctx +8", 8), ("top_p .5", 0.5), ("top_p 1.", 1.0), ("temperature 1e-2", 0.01)],
)
def test_numbers(tmp_path: Path, line: str, value: float) -> None:
    parameters = recipe(tmp_path, f"FROM m\nPARAMETER {line}").request.parameters
    assert msgspec.json.encode(parameters).endswith(f":{value}}}".encode())


@pytest.mark.parametrize("version", ["1", "1.2", "0.14.0", "v0.14.0", "1.0.0+build.5", "1.0.0-a.b"])
def test_versions(tmp_path: Path, version: str) -> None:
    assert recipe(tmp_path, f"FROM m\nREQUIRES {version}").request.requires == version.removeprefix("v")
