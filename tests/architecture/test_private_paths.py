"""No file of the project tells whose machine it was written on."""

from __future__ import annotations

import re
from pathlib import Path

# Put together here so that this file does not match itself.
FOLDERS = "|".join(("home", "root", "opt", "work", "Users"))
INVENTED = "|".join(("me", "you", "user"))
NETWORKS = "|".join(("internal", "intranet", "corp", "lan"))
PRIVATE = re.compile(
    rf"(?<![\w.~$)}}-])/(?:{FOLDERS})/(?!(?:{INVENTED})/)\w"  # an absolute path, not the middle of one
    rf"|://[\w.-]+\.(?:{NETWORKS})\b"  # a host of a private network
    r"|(?:index-url|find-links)[ =]+\S*/",  # a package index other than the default one
)


def test_no_file_names_a_private_path_or_host(project: Path, carried: list[str]) -> None:
    found = [
        f"{name}:{number}: {line.strip()[:120]}"
        for name in carried
        for number, line in enumerate((project / name).read_text("utf-8", errors="replace").splitlines(), 1)
        if PRIVATE.search(line)
    ]
    assert not found, "\n" + "\n".join(found)
