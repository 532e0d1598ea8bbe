"""The README and the pages of `docs/`, and the blocks of code in them."""

import os
import re
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
README = REPOSITORY / "README.md"
DOCS = REPOSITORY / "docs"
GENERATED = {DOCS / "commands.md", DOCS / "api.md"}  # by a build, from help texts and docstrings
WRITTEN = (README, *sorted(set(DOCS.rglob("*.md")) - GENERATED))
PAGES = {path: path.read_text(encoding="utf-8") for path in WRITTEN}
ENVIRONMENT = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}


def blocks(page, *languages):
    """The fenced code blocks of a page in one of the languages."""
    found = re.findall(r"^```([\w+-]*)[^\n]*\n(.*?)^```\s*$", PAGES[page], re.MULTILINE | re.DOTALL)
    return [text for language, text in found if language in languages]


def all_blocks(*languages):
    """Those of all pages."""
    return [text for page in PAGES for text in blocks(page, *languages)]
