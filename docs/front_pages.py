"""Makes the pages of the site that are files of the repository's top folder (a hook of mkdocs).

Their links are written for a forge, from the top folder; here they are made relative to docs/.
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
"""A file of the top folder, and its name in the site."""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    top = Path(config.config_file_path).parent
    for source, name in PAGES.items():
        text = (top / source).read_text(encoding="utf-8")
        if source == "LICENSE":
            text = f"# Licence\n\n```text\n{text}```\n"
        files.append(File.generated(config, name, content=_for_the_site(text)))
    return files


def on_page_markdown(markdown: str, **_: object) -> str:
    """Show the file name of a code block as its title."""
    return re.sub(r"^```(\w+) file=(\S+)$", r'```\1 title="\2"', markdown, flags=re.MULTILINE)


def _for_the_site(text: str) -> str:
    return re.sub(r"\]\(([^)#\s]+)", lambda link: f"]({_target(link[1])}", text)


def _target(link: str) -> str:
    return PAGES.get(link, link.removeprefix("docs/"))
