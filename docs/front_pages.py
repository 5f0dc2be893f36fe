"""Adds the files of the repository's top folder to the site (a hook of mkdocs).

Links are written for a forge. In the site these files are pages beside the others, so links between
the top folder and docs/ are rewritten.
"""

from __future__ import annotations

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

PAGES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "LICENSE": "licence.md",
}
"""A file of the top folder, and the name of its page."""

_LINK = re.compile(r"\]\(([^)#\s]+)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    top = Path(config.config_file_path).parent
    for source, name in PAGES.items():
        text = (top / source).read_text(encoding="utf-8")
        if source == "LICENSE":
            text = f"# Licence\n\n```text\n{text}```\n"
        page = _LINK.sub(lambda link: f"]({_from_top(link[1])}", text)
        files.append(File.generated(config, name, content=page))
    return files


def on_page_markdown(markdown: str, **_: object) -> str:
    """Rewrite links to the top folder, and show the file name of a code block as its title."""
    text = _LINK.sub(lambda link: f"]({_from_docs(link[1])}", markdown)
    return re.sub(r"^```(\w+) file=(\S+)$", r'```\1 title="\2"', text, flags=re.MULTILINE)


def _from_top(link: str) -> str:
    return PAGES.get(link, link.removeprefix("docs/"))


def _from_docs(link: str) -> str:
    return PAGES.get(link.removeprefix("../"), link) if link.startswith("../") else link
