"""Free memory: control groups of both versions, laid out as files, and the real machine."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from remuda.model import ModelEntry, parse_name
from remuda.residency.memory import available_memory, cgroup_room, fallback_estimate, human_size, too_large

MIB = 2**20
NO_LIMIT = 9223372036854771712  # what version 1 says where none is set


def lay(root: Path, files: dict[str, str | int]) -> Path:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{content}\n")
    return root


def mount(kind: str, point: str = "/sys/fs/cgroup", top: str = "/", options: str = "rw") -> str:
    return f"31 23 0:28 {top} {point} rw,relatime shared:9 - {kind} cgroup {options}"


def version_2(root: Path, own: str = "/", top: str = "/") -> Path:
    mounts = ["22 27 0:21 / /proc rw - proc proc rw", mount("cgroup2", top=top)]
    return lay(root, {"proc/self/cgroup": f"0::{own}", "proc/self/mountinfo": "\n".join(mounts)})


def group(root: Path, path: str, *, stat: dict[str, int] | None = None, **files: str | int) -> None:
    rows = "\n".join(f"{name} {value}" for name, value in (stat or {}).items())
    named = {f"memory.{name}": value for name, value in files.items()} | ({"memory.stat": rows} if stat else {})
    lay(root / "sys/fs/cgroup" / path, named)


def test_the_lower_of_two_limits_counts(tmp_path):
    version_2(tmp_path)
    group(tmp_path, "", max=1000 * MIB, high=900 * MIB, current=300 * MIB)
    assert cgroup_room(tmp_path) == 600 * MIB
    group(tmp_path, "", max=800 * MIB)
    assert cgroup_room(tmp_path) == 500 * MIB
    group(tmp_path, "", max="max")
    assert cgroup_room(tmp_path) == 600 * MIB


def test_cached_files_are_free(tmp_path):
    version_2(tmp_path)
    stat = {"anon": 100 * MIB, "active_file": 150 * MIB, "inactive_file": 40 * MIB, "shmem": 10 * MIB}
    group(tmp_path, "", max=1000 * MIB, current=300 * MIB, stat=stat)
    assert cgroup_room(tmp_path) == 1000 * MIB - 110 * MIB


def test_more_cached_than_used_does_not_add_to_the_limit(tmp_path):
    version_2(tmp_path)
    group(tmp_path, "", max=1000 * MIB, current=100 * MIB, stat={"inactive_file": 500 * MIB})
    assert cgroup_room(tmp_path) == 1000 * MIB


def test_a_group_that_is_over_its_limit_has_less_than_no_room(tmp_path):
    version_2(tmp_path)
    group(tmp_path, "", max="max", high=100 * MIB, current=130 * MIB)
    assert cgroup_room(tmp_path) == -30 * MIB


@pytest.mark.parametrize("tight", ["a", "a/b", "a/b/c"])
def test_every_group_up_to_the_root_counts(tmp_path, tight):
    version_2(tmp_path, "/a/b/c")
    for path in ("a", "a/b", "a/b/c"):
        group(tmp_path, path, max=500 * MIB if path == tight else "max", current=100 * MIB)
    assert cgroup_room(tmp_path) == 400 * MIB


def test_a_group_beside_the_own_one_does_not_count(tmp_path):
    version_2(tmp_path, "/a/b")
    group(tmp_path, "a/other", max=1, current=1)
    group(tmp_path, "a/b", max=500 * MIB, current=0)
    assert cgroup_room(tmp_path) == 500 * MIB


@pytest.mark.parametrize(
    ("own", "top"),
    [
        ("/", "/"),  # with a namespace of its own
        ("/kubepods/pod1", "/kubepods/pod1"),  # the mount shows what is below the container's group
        ("/../../elsewhere", "/"),  # the process was started outside of the namespace
        ("/docker/abc", "/"),  # a path of the host, of which nothing is to be seen here
    ],
)
def test_in_a_container_the_mount_is_the_group(tmp_path, own, top):
    version_2(tmp_path, own, top)
    group(tmp_path, "", max=700 * MIB, current=200 * MIB)
    assert cgroup_room(tmp_path) == 500 * MIB


def version_1(root: Path, own: str, *, top: str = "/", point: str = "/sys/fs/cgroup/memory") -> Path:
    mounts = [
        mount("cgroup", "/sys/fs/cgroup/cpu,cpuacct", options="rw,cpu,cpuacct"),
        mount("cgroup", point.replace(" ", "\\040"), top=top, options="rw,memory"),
        mount("cgroup2", "/sys/fs/cgroup/unified"),
    ]
    return lay(root, {
        "proc/self/cgroup": f"5:cpu,cpuacct:/x\n4:memory:{own}\n1:name=systemd:/y\n0::/z",
        "proc/self/mountinfo": "\n".join(mounts),
    })  # fmt: skip


def test_version_1_and_the_second_one_beside_it_without_memory(tmp_path):
    version_1(tmp_path, "/job/step")
    stat = {"inactive_file": 1, "total_inactive_file": 50 * MIB, "total_active_file": 20 * MIB}
    group(tmp_path, "memory", limit_in_bytes=NO_LIMIT, usage_in_bytes=900 * MIB)
    group(tmp_path, "memory/job", limit_in_bytes=400 * MIB, usage_in_bytes=170 * MIB, stat=stat)
    group(tmp_path, "memory/job/step", limit_in_bytes=NO_LIMIT, usage_in_bytes=170 * MIB)
    group(tmp_path, "cpu,cpuacct/x", limit_in_bytes=1, usage_in_bytes=1)
    group(tmp_path, "unified/z", pressure="some avg10=0.00")
    assert cgroup_room(tmp_path) == 300 * MIB


def test_version_1_in_a_container_and_a_mount_point_with_a_space(tmp_path):
    version_1(tmp_path, "/docker/abc", top="/docker/abc", point="/sys/fs/cgroup/the memory")
    group(tmp_path, "the memory", limit_in_bytes=400 * MIB, usage_in_bytes=100 * MIB)
    assert cgroup_room(tmp_path) == 300 * MIB


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"proc/self/cgroup": "0::/"},
        {"proc/self/cgroup": "nonsense\n::\n0", "proc/self/mountinfo": "31 23\n - cgroup2\n- - -\n31 - cgroup2 a b"},
        {"proc/self/cgroup": "0::/", "proc/self/mountinfo": mount("cgroup2"), "sys/fs/cgroup/memory.max": 5},
        {
            "proc/self/cgroup": "0::/",
            "proc/self/mountinfo": mount("cgroup2"),
            "sys/fs/cgroup/memory.max": "9" * 5000,
            "sys/fs/cgroup/memory.high": "-3",
            "sys/fs/cgroup/memory.current": "many",
        },
    ],
)
def test_what_cannot_be_read_bounds_nothing(tmp_path, files):
    assert cgroup_room(lay(tmp_path, files)) is None


def test_this_machine():
    free = available_memory()
    assert 0 < free <= psutil.virtual_memory().total
    room = cgroup_room(Path("/"))
    assert room is None or free <= max(0, room) * 1.1


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (5 * 2**30, "5.0 GiB"),
        (int(3.24 * 2**30), "3.2 GiB"),
        (2**41, "2.0 TiB"),
        (700 * MIB, "700.0 MiB"),
    ],
)
def test_sizes(size, text):
    assert human_size(size) == text


def test_the_sentence_names_both_numbers_and_a_way_out():
    sentence = too_large("system memory", 5 * 2**30, int(3.2 * 2**30))
    assert sentence.startswith("model requires more system memory (5.0 GiB) than is available (3.2 GiB); ")
    assert "num_ctx" in sentence
    assert too_large("GPU memory", 2, 1).startswith("model requires more GPU memory (2 B) than is available (1 B); ")


def test_the_files_count_where_nothing_else_is_known(tmp_path):
    sizes = {"weights": 400 * MIB, "projector": 50 * MIB, "adapter": 10 * MIB, "draft": 20 * MIB}
    for name, size in sizes.items():
        with (tmp_path / name).open("wb") as file:
            file.truncate(size)
    entry = ModelEntry(name=parse_name("x"), weights=tmp_path / "weights")
    alone = fallback_estimate(entry).memory
    whole = ModelEntry(
        name=parse_name("x"),
        weights=tmp_path / "weights",
        projector=tmp_path / "projector",
        adapters=(tmp_path / "adapter",),
        draft=tmp_path / "draft",
    )
    assert alone > 440 * MIB
    assert fallback_estimate(whole).memory - alone == 88 * MIB
    missing = ModelEntry(name=parse_name("x"), weights=tmp_path / "none")
    assert 0 < fallback_estimate(missing).memory < 128 * MIB
