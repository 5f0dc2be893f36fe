"""The tutorial page and its code blocks."""

from __future__ import annotations

import re
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "write-a-service.md"


def blocks(page: str) -> list[tuple[str, str]]:
    return re.findall(r"^```(\S+(?: file=\S+)?)\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
