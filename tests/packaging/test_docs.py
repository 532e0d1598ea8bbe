"""Facts about the documentation: what it shows, works."""

import doctest
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import cv2
import jsonschema
import pytest
from tests.packaging.pages import DOCS, ENVIRONMENT, GENERATED, PAGES, README, REPOSITORY, all_blocks, blocks

import ecovision_edge
from ecovision_edge import Bundle
from ecovision_edge.bundle.folder import embedded_bundle_path
from ecovision_edge.cli.app import COMMANDS, main
from ecovision_edge.doctor.check import Check, checks_to_json
from ecovision_edge.rules import Rules
from ecovision_edge.simulation.script_file import load_script
from ecovision_edge.simulation.synthetic import draw_frame
from ecovision_edge.simulation.truth import Truth
from ecovision_edge.smart_bin import bin as bin_module


def command_lines():
    """Each `ecovision-edge ...` of the shell blocks of all pages, split as a shell would."""
    lines = []
    for block in all_blocks("sh", "bash", "shell", "console"):
        for line in block.replace("\\\n", " ").splitlines():
            for part in re.split(r"\|\|?|&&|;", line.strip().removeprefix("$ ")):
                words = shlex.split(part, comments=True)
                if words and Path(words[0]).name == "ecovision-edge":
                    own, _, of_run = " ".join(map(shlex.quote, words[1:])).partition(" -- ")
                    lines.append(shlex.split(own))
                    if of_run:  # install-service -- what `run` is to be called with
                        lines.append(["run", *shlex.split(of_run)])
    return [list(words) for words in dict.fromkeys(map(tuple, lines))]


def test_the_readme_shows_python_and_commands():
    """At least one of each, or the tests below look at nothing."""
    assert blocks(README, "python")
    assert blocks(README, "sh")
    assert list(command_lines())


def test_the_readme_is_short_and_has_its_two_commands():
    """At most 150 lines: the rest is in the pages. The main job and the tests are set up by one line each."""
    assert len(PAGES[README].splitlines()) <= 150
    assert {"bash export/quickstart.sh\n", "bash tests/run.sh\n"} <= set(blocks(README, "sh"))


@pytest.mark.slow
def test_every_python_block_runs(tmp_path):
    """In one process, those of a page in one namespace, with a `photo.jpg` in the current folder."""
    cv2.imwrite(str(tmp_path / "photo.jpg"), draw_frame(1))
    for number, page in enumerate(PAGES):
        for block, text in enumerate(blocks(page, "python")):
            (tmp_path / f"{number:03}-{page.stem}-{block:03}.py").write_text(text, encoding="utf-8")
    runner = (
        "import glob\nspaces = {}\n"
        "for name in sorted(glob.glob('*.py')):\n"
        "    space = spaces.setdefault(name[:3], {'__name__': '__main__'})\n"
        "    exec(compile(open(name, encoding='utf-8').read(), name, 'exec'), space)\n"
    )
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", runner],
        cwd=tmp_path,
        env=ENVIRONMENT,
        capture_output=True,
        check=False,
        timeout=300,
    )
    assert ran.returncode == 0, ran.stdout.decode() + ran.stderr.decode()


def doctor_report(path):
    """What the doctor says of these findings is what the file says."""
    value = json.loads(path.read_bytes())
    assert checks_to_json([Check(**check) for check in value["checks"]]) == value


def test_every_json_block_is_read(tmp_path):
    """By what its schema names: the truth of a recording, a script for the tray; or as a bin's message."""
    data = Path(ecovision_edge.__file__).parent / "data"
    messages = json.loads((data / "bin-event.schema.json").read_bytes())
    readers = {
        "ecovision-edge/bin-truth": Truth.load,
        "ecovision-edge/tray-script": lambda path: load_script(path.read_bytes(), path.name),
        "ecovision-edge/doctor": doctor_report,
        "event": lambda path: jsonschema.validate(json.loads(path.read_bytes()), messages),
    }
    schemas = set()
    for block in all_blocks("json"):
        value = json.loads(block)
        schemas.add(schema := value.get("schema", value.get("type")))
        (tmp_path / "block.json").write_text(block, encoding="utf-8")
        readers[schema](tmp_path / "block.json")
    assert schemas == set(readers)


def help_of(command, capsys):
    """What `COMMAND --help` says: all of it, and the options in it."""
    assert main([*command, "--help"]) == 0
    text = capsys.readouterr().out
    return text, set(re.findall(r"(?<![\w-])--?[a-z][\w-]*", text.partition("Options:")[2]))


def split_command(words, capsys):
    """The words that name a command, and the rest; a command may have commands of its own."""
    command = [words[0]] if words and words[0] in COMMANDS else []
    if command and len(words) > 1:
        text, _ = help_of(command, capsys)
        if re.search(rf"^  {re.escape(words[1])}  ", text.partition("\nCommands:\n")[2], re.MULTILINE):
            command.append(words[1])
    return command, words[len(command) :]


@pytest.mark.slow
def test_every_command_exists(capsys):
    """Its name, and every option as the command's own help lists it."""
    for words in command_lines():
        command, rest = split_command(words, capsys)
        if not command:
            assert not rest or rest[0].startswith("-") or rest[0] == "COMMAND", words
        _, known = help_of(command, capsys)
        for word in rest:
            if word.startswith("-") and word != "-":
                assert word.partition("=")[0] in known, (words, sorted(known))


@pytest.mark.parametrize("name", COMMANDS)
def test_the_examples_of_the_help_use_known_options(name, capsys):
    """As the pages: what is shown, exists."""
    text, _ = help_of([name], capsys)
    shown = text.partition("Examples:")[2].partition("Options:")[0]
    examples = re.findall(rf"ecovision-edge ({name}\b.*)", shown)
    assert examples
    for example in examples:
        command, rest = split_command(shlex.split(example), capsys)
        _, known = help_of(command, capsys)
        rest = rest[: rest.index("--")] if "--" in rest else rest  # what follows is another command's
        assert {word for word in rest if re.match(r"--?[a-z]", word)} <= known, example


def test_the_example_of_the_package_is_true():
    """The doctest in `ecovision_edge/__init__.py`."""
    result = doctest.testmod(ecovision_edge)
    assert result.attempted >= 5
    assert result.failed == 0


def test_every_toml_block_is_rules():
    """And has a bin for each label of the embedded model."""
    labels = Bundle.open(embedded_bundle_path()).contract.labels
    texts = all_blocks("toml")
    assert texts
    for text in texts:
        Rules.loads(text).check(labels)


@pytest.mark.slow
def test_the_example_of_a_bin_gives_an_event():
    """The doctest in `ecovision_edge/smart_bin/bin.py`."""
    result = doctest.testmod(bin_module)
    assert result.attempted >= 5
    assert result.failed == 0


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_links_into_the_repository_lead_somewhere(page):
    """Relative links name files that are there, also before a build."""
    for target in re.findall(r"\]\((?!https?://|#|mailto:)([^)\s#]+)", PAGES[page]):
        there = (page.parent / target).resolve()
        assert there.exists(), target
        assert there not in GENERATED, target


def test_every_finding_is_on_the_list_of_findings():
    """A script that nobody finds helps nobody."""
    scripts = {script.name for script in (REPOSITORY / "findings").glob("*.sh")}
    assert scripts == set(re.findall(r"\]\(\.\./findings/([^)]+)\)", PAGES[DOCS / "findings.md"]))


@pytest.mark.parametrize("page", sorted((DOCS / "figures").glob("[!i]*.md")), ids=lambda page: page.stem)
def test_figures_begin_with_their_origin(page):
    """Command, date, commit, machine and model, before anything else."""
    _title, head, *_ = PAGES[page].split("\n\n")
    head = re.findall(r"^- \*\*(\w+):\*\* \S", head, re.MULTILINE)
    assert head == ["Command", "Date", "Commit", "Machine", "Model"]


@pytest.mark.slow
def test_the_pages_build_without_a_warning(tmp_path):
    """By Sphinx, strictly; and what is built loads nothing from another machine."""
    for library in ("sphinx", "myst_parser", "furo"):
        pytest.importorskip(library, reason="needs Sphinx, MyST and Furo: pip install '.[docs]'")
    built = subprocess.run(
        [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html", str(DOCS), str(tmp_path)],
        capture_output=True,
        check=False,
        text=True,
        timeout=300,
    )
    assert built.returncode == 0, built.stdout + built.stderr
    commands, api = ((tmp_path / page).read_text(encoding="utf-8") for page in ("commands.html", "api.html"))
    assert [name for name in COMMANDS if f'<section id="{name}">' not in commands] == []
    assert [name for name in ecovision_edge.__all__ if f">{name}<" not in api] == ["__version__"]
    foreign = re.compile(r"<(?:script|img|link|iframe)[^>]*(?:src|href)=.(?:https?:)?//[^>]*>")
    for page in PAGES.keys() - {README}:
        html = (tmp_path / page.relative_to(DOCS).with_suffix(".html")).read_text(encoding="utf-8")
        assert not foreign.findall(html), page
