"""Facts about the words: turns that readers had to translate do not come back.

Looked at are the docstrings, comments and texts of the three packages, the docstrings of the tests, and every
page in Markdown. CONTRIBUTING.md has the same list for people. A turn belongs here when a pattern finds it
without hitting good English; what takes judgement is left to a reader.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

REPOSITORY = Path(__file__).parents[2]
PACKAGES = ("runtime", "export", "benchmarks")

ONE_EACH = "bar|entry|event|file|folder|histogram|label|line|number|output|probability|row|scale|threshold"
BANNED = {
    r"\banew\b": "again",
    r"\btwice is once\b": "Idempotent.",
    r"\bin vain\b": "without success, or what ran out",
    r"\bso often in\b": "how many times",
    r"\b(?:that|it|they|which) (?:is|are) none\b(?! of\b)": "what it is instead",
    r"\b(?:is|are) none (?:to|that)\b": "is not, cannot",
    rf"\b(?:a|one)(?: [\w-]+)? (?:{ONE_EACH}) an? (?!time\b)[a-z]+": "one folder per class",
    r"\bone a (?:class|label|line|row|view)\b": "one per label",
    r"\bdrawn (?:frame|item|picture|photograph|thing|tray)s?\b": "synthetic",
    r"\b(?:is|are) to be no\b": "no other try is made",
    r"\bnone of space\b": "no leading or trailing spaces",
    r"\bfrom when on\b": "the time after which",
}
ANY = re.compile("|".join(BANNED))
FRAGMENTS = re.compile(r"(?:As|Nor|Of|So|Than|Those|Twice)\b")
"""What no docstring of a package begins with: the verb, or the thing, is missing."""


class Text(NamedTuple):
    """A piece of prose, and where it begins."""

    file: str
    line: int
    text: str


def test_each_banned_turn_is_found_and_good_english_is_not():
    """One example of each, as it stood, and its neighbours that are right."""
    bad = ["made anew", "Twice is once.", "waited in vain", "So often in vain, and", "a link that is none"]
    bad += ["it is none to write to", "photographs in a folder a class", "one a label", "drawn frames"]
    bad += ["there is to be no other", "none of space around", "From when on"]
    assert [turn for turn in bad if not complaints(turn)] == []
    assert {p for turn in bad for p in complaints(turn)} == set(BANNED)
    good = ["None if there is none", "15 frames a second", "one at a time, a line at a time"]
    good += ["1 if a check fails", "drawn at random", "there is none of that name", "it is none of these"]
    assert [turn for turn in good if complaints(turn)] == []


@pytest.mark.parametrize("root", [*PACKAGES, "tests"])
def test_no_banned_turn_is_in_the_sources(root):
    """In a text of more than two words: what is stored in a file, or names an option, keeps its name."""
    files = [f for f in sorted((REPOSITORY / root).rglob("*.py")) if f != Path(__file__)]
    assert files
    suspicious = [f for f in files if ANY.search(letters(f))]
    texts = [t for f in suspicious for t in (prose(f) if root in PACKAGES else docstrings(f))]
    assert [told(t) for t in texts if complaints(t.text)] == []


def test_no_docstring_of_a_package_begins_with_a_fragment():
    """`As JSON values.` is a phrase without its verb; `Return JSON values.` is a sentence."""
    files = [f for root in PACKAGES for f in sorted((REPOSITORY / root).rglob("*.py"))]
    suspicious = [f for f in files if re.search(rf'"""{FRAGMENTS.pattern}', f.read_text("utf-8"))]
    assert [told(t) for f in suspicious for t in docstrings(f) if FRAGMENTS.match(t.text)] == []


def test_no_banned_turn_is_in_a_page():
    """Code blocks left out; in CONTRIBUTING.md the table that names them."""
    pages = [page for folder in ("", "docs/**/", ".github/**/") for page in REPOSITORY.glob(f"{folder}*.md")]
    assert pages
    assert [told(t) for page in sorted(pages) for t in paragraphs(page) if complaints(t.text)] == []


def test_contributing_lists_each_banned_turn():
    """People are told what the check knows: each pattern finds something in the table."""
    contributing = (REPOSITORY / "CONTRIBUTING.md").read_text("utf-8")
    rows = [line for line in contributing.splitlines() if line.startswith("| ")]
    table = "\n".join(row.split("|")[1] for row in rows)
    assert [p for p in BANNED if p not in complaints(table)] == []


def complaints(text: str) -> list[str]:
    """The patterns that find something in a text, whose line breaks count as spaces."""
    flat = " ".join(text.split()).lower()
    return [pattern for pattern in BANNED if re.search(pattern, flat)] if ANY.search(flat) else []


def told(found: Text) -> str:
    """Where it is, what it says, and what to say instead."""
    better = "; ".join(f"say {BANNED[p]!r}" for p in complaints(found.text)) or "begin with a verb"
    return f"{found.file}:{found.line}: {' '.join(found.text.split())[:100]!r}: {better}"


def letters(file: Path) -> str:
    """What a source says across the ends of texts and lines; quick, to parse only what may hold a turn."""
    return re.sub(r"""[\s"'#]+(?:[fr]["'])?""", " ", file.read_text("utf-8").lower())


def docstrings(file: Path) -> Iterator[Text]:
    """Each docstring of a module, its classes and its functions."""
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node)
            if text:
                yield Text(name(file), node.body[0].lineno, text)


def prose(file: Path) -> Iterator[Text]:
    """Docstrings, comments, and all texts of more than two words; a value in a text is written `{}`."""
    parts: set[int] = set()
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.JoinedStr):
            parts.update(id(value) for value in node.values)
            text = "".join(v.value if isinstance(v, ast.Constant) else "{}" for v in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in parts:
            text = node.value
        else:
            continue
        if len(text.split()) > 2:
            yield Text(name(file), node.lineno, text)
    for line, source in enumerate(file.read_text("utf-8").splitlines(), 1):
        _, found, comment = source.partition("# ")
        if found:
            yield Text(name(file), line, comment)


def paragraphs(page: Path) -> Iterator[Text]:
    """The paragraphs of a page, without code and without a table that names turns to avoid."""
    text = page.read_text("utf-8")
    for pattern in (r"^```.*?^```", r"^\| Instead of .*?\n\n"):
        text = re.sub(pattern, lambda m: "\n" * m[0].count("\n"), text, flags=re.MULTILINE | re.DOTALL)
    line = 1
    for paragraph in text.split("\n\n"):
        yield Text(name(page), line, re.sub(r"`[^`]*`", "", paragraph))
        line += paragraph.count("\n") + 2


def name(file: Path) -> str:
    """The path as a person would type it."""
    return file.relative_to(REPOSITORY).as_posix()
