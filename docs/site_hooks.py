"""What mkdocs does for the site beyond its own: called by it while it builds (`hooks` in mkdocs.yml).

The pages are written for GitHub and for the tests that run their code. A fence may have a mark after its language
(`python run`), which says to a test what is to be done with it and would keep the site from seeing a fence; comments
hold the marks of `docs/generate.py`. Both are taken away here. All else shall look as it does on GitHub: what
Python-Markdown reads in another way than CommonMark is rewritten, and anchors are made by GitHub's rule.
"""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

__all__ = ["anchor", "on_config", "on_page_markdown", "on_post_build", "on_startup", "plain"]

_FENCE = re.compile(r"^( *)(`{3,})(\w+) ([^\n`]+)\n(.*?)^\1\2$", re.MULTILINE | re.DOTALL)
_COMMENT = re.compile(r"^<!-- [^\n]* -->$", re.MULTILINE)
_ROW = re.compile(r"^\|.*\|$", re.MULTILINE)
_CODE = re.compile(r"`[^`\n]+`")


def plain(text: str) -> str:
    """A page without marks. What a block is a file of becomes the block's title."""
    return _FENCE.sub(_unmarked, _COMMENT.sub("", text))


def anchor(heading: str) -> str:
    """What `#...` in a link to a heading is."""
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


def on_startup(*, command: str, **_: Any) -> None:
    """A build says nothing but what is wrong."""
    if command == "build":
        logging.getLogger("mkdocs").setLevel(logging.WARNING)


def on_config(config: Any) -> None:
    config.mdx_configs["toc"]["slugify"] = lambda heading, _: anchor(heading)


def on_page_markdown(markdown: str, **_: Any) -> str:
    """In the cells of a table a `|` between backticks needs no backslash here, and would show it."""
    return _ROW.sub(lambda row: _CODE.sub(lambda code: code[0].replace(r"\|", "|"), row[0]), plain(markdown))


def on_post_build(config: Any) -> None:
    """Each page as Markdown, too, beside the page: `llms.txt` links to these."""
    for page in Path(config.docs_dir).rglob("*.md"):
        target = Path(config.site_dir, page.relative_to(config.docs_dir))
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(plain(page.read_text("utf-8")), "utf-8")


def _unmarked(fence: re.Match[str]) -> str:
    indent, ticks, language, mark, code = fence.groups()
    title = f' title="{mark.removeprefix("file=")}"' if mark.startswith("file=") else ""
    return f"{indent}{ticks}{language}{title}\n{code}{indent}{ticks}"
