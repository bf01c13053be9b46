"""The site that mkdocs builds of the pages: nothing is wrong, nothing is fetched, and it shows what GitHub shows."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType

import pytest
from markdown_it import MarkdownIt

from .conftest import ROOT

DOCS = ROOT / "docs"
PAGES = [str(page.relative_to(DOCS).with_suffix("")) for page in sorted(DOCS.rglob("*.md"))]
SHOWN = {"h1", "h2", "h3", "li", "ol", "pre", "table", "tr", "ul"}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    environ = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    ran = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, check=False, timeout=120)
    assert (ran.returncode, ran.stdout + ran.stderr) == (0, ""), ran.stderr
    return folder


class Shown(HTMLParser):
    """The text of a document, white space left out, with the elements of `SHOWN` that it stands in."""

    def __init__(self) -> None:
        super().__init__()
        self.parts: list[str] = []
        self.anchors: set[str] = set()
        self._quiet = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.anchors.add(given.get("id") or "")
        if (tag == "a" and given.get("class") == "headerlink") or (tag == "span" and given.get("class") == "filename"):
            self._quiet = True
        if tag in SHOWN:
            self.parts.append(f"<{tag}>")

    def handle_endtag(self, tag: str) -> None:
        if tag in {"a", "span"}:
            self._quiet = False

    def handle_data(self, data: str) -> None:
        if not self._quiet:
            self.parts.append("".join(data.split()))


def _shown(html: str) -> Shown:
    shown = Shown()
    shown.feed(html)
    return shown


def _article(site: Path, page: str) -> Shown:
    found = re.search(r"<article[^>]*>(.*?)</article>", (site / f"{page}.html").read_text("utf-8"), re.DOTALL)
    assert found is not None
    return _shown(found[1])


@pytest.mark.parametrize("page", PAGES)
def test_a_page_shows_what_it_shows_on_github(site: Path, page: str, generate: ModuleType) -> None:
    import site_hooks  # found since `generate` was

    text = (DOCS / f"{page}.md").read_text("utf-8")
    article = _article(site, page)
    github = MarkdownIt("commonmark").enable("table").render(site_hooks.plain(text))
    assert "".join(article.parts) == "".join(_shown(github).parts)
    headings = re.findall(r"^#+ (.*)$", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL), re.MULTILINE)
    assert {site_hooks.anchor(heading) for heading in headings} <= article.anchors


def test_nothing_is_fetched_from_elsewhere(site: Path) -> None:
    pages = [page.read_text("utf-8") for page in site.rglob("*.html")]
    assert len(pages) > len(PAGES)
    for page in pages:
        assert re.findall(r"<(?:link|script|img|iframe)[^>]*(?:src|href)=\"?(?:https?:)?//[^>]*>", page) == []


def test_the_site_holds_pages_and_no_scripts_of_ours(site: Path) -> None:
    assert list(site.rglob("*.py")) == []
    assert list(site.rglob("__pycache__")) == []


def test_the_list_for_language_models_is_complete(site: Path, generate: ModuleType) -> None:
    text = generate.LLMS.read_text("utf-8")
    assert text == generate.llms(), "run `python docs/generate.py`"
    assert (site / "llms.txt").read_text("utf-8") == text
    listed = re.findall(r"\]\(([^)]+)\)", text)
    assert sorted([*listed, "index.md"]) == [f"{page}.md" for page in PAGES]
    for page in listed:
        shown = (site / page).read_text("utf-8")
        assert shown.startswith("# ")
        assert "<!-- generated" not in shown


def test_each_fence_is_shown_as_code(generate: ModuleType) -> None:
    import site_hooks

    text = "```python file=a/b.py\nx = 1\n```\n\n```sh run\nls\n```\n\n<!-- front: the attic is off -->\n"
    assert site_hooks.plain(text) == '```python title="a/b.py"\nx = 1\n```\n\n```sh\nls\n```\n\n\n'
    row = "| `a \\| b` | a \\| b |\n"
    assert site_hooks.on_page_markdown(markdown=row) == "| `a | b` | a \\| b |\n"
