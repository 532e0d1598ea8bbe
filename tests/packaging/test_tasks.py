"""Facts about the tasks of `poe`: those that people are told of exist, and they check what CI checks."""

import re
import sys
from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

REPOSITORY = Path(__file__).parents[2]
TASKS = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))["tool"]["poe"]["tasks"]


def test_every_task_that_a_page_names_exists_and_is_explained():
    """As `poe NAME` in the pages of the root and in the templates; each has a help."""
    pages = [*REPOSITORY.glob("*.md"), *REPOSITORY.glob(".github/*.md")]
    named = {name for page in pages for name in re.findall(r"`poe (\w+)", page.read_text("utf-8"))}
    assert named == TASKS.keys()
    assert all(task["help"] for task in TASKS.values())


def test_the_task_lint_is_what_ci_runs():
    """Command by command, before the tests; a line each, since `set -e` passes over A of `A && B`."""
    ran = (REPOSITORY / "tests" / "run.sh").read_text("utf-8").replace("$run ", "python ").splitlines()
    assert [step["cmd"] for step in TASKS["lint"]["sequence"] if step["cmd"] not in ran] == []


def test_the_hooks_run_the_tools_of_the_environment():
    """Nothing is fetched from a repository of others."""
    hooks = (REPOSITORY / ".pre-commit-config.yaml").read_text("utf-8")
    assert re.findall(r"- repo: (.*)", hooks) == ["local"]
    assert set(re.findall(r"language: (.*)", hooks)) == {"system"}
    assert all(entry.startswith("python -m ") for entry in re.findall(r"entry: (.*)", hooks))
