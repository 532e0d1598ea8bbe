"""Facts about the documentation: what it shows, works."""

import doctest
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import cv2
import pytest

import ecovision_edge
from ecovision_edge import Bundle, smart_bin
from ecovision_edge.bundle import embedded_bundle_path
from ecovision_edge.cli.app import COMMANDS, main
from ecovision_edge.drawn import draw_frame
from ecovision_edge.rules import Rules
from ecovision_edge.tray.script_file import load_script
from ecovision_edge.tray.truth import Truth

REPOSITORY = Path(__file__).parents[2]
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
ENVIRONMENT = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}


def blocks(*languages):
    """The fenced code blocks of the README in one of the languages."""
    found = re.findall(r"^```([\w+-]*)[^\n]*\n(.*?)^```\s*$", README, re.MULTILINE | re.DOTALL)
    return [text for language, text in found if language in languages]


def command_lines():
    """Each `ecovision-edge ...` of the README's shell blocks, split as a shell would."""
    for block in blocks("sh", "bash", "shell", "console"):
        for line in block.replace("\\\n", " ").splitlines():
            for part in re.split(r"\|\|?|&&|;", line.strip().removeprefix("$ ")):
                words = shlex.split(part, comments=True)
                if words and words[0] == "ecovision-edge":
                    yield words[1:]


def test_the_readme_shows_python_and_commands():
    """At least one of each, or the tests below look at nothing."""
    assert blocks("python")
    assert list(command_lines())


def test_every_python_block_of_the_readme_runs(tmp_path):
    """One after the other in one process, with a `photo.jpg` in the current folder."""
    cv2.imwrite(str(tmp_path / "photo.jpg"), draw_frame(1))
    assert blocks("python")
    for number, block in enumerate(blocks("python")):
        (tmp_path / f"block{number}.py").write_text(block, encoding="utf-8")
    runner = (
        "import glob, sys\nspace = {'__name__': '__main__'}\n"
        f"for i in range({len(blocks('python'))}):\n"
        "    name = f'block{i}.py'\n"
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


def test_every_json_block_of_the_readme_is_read(tmp_path):
    """By whatever its schema names: the truth of a recording, a script for the tray."""
    readers = {
        "ecovision-edge/bin-truth": Truth.load,
        "ecovision-edge/tray-script": lambda path: load_script(path.read_bytes(), path.name),
    }
    schemas = []
    for block in blocks("json"):
        schemas.append(json.loads(block)["schema"])
        (tmp_path / "block.json").write_text(block, encoding="utf-8")
        readers[schemas[-1]](tmp_path / "block.json")
    assert sorted(schemas) == sorted(readers)


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


def test_every_command_of_the_readme_exists(capsys):
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
    """As the README: what is shown, exists."""
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


def test_the_rules_of_the_readme_are_rules():
    """And have a bin for each label of the embedded model."""
    [text] = blocks("toml")
    Rules.loads(text).check(Bundle.open(embedded_bundle_path()).contract.labels)


def test_the_example_of_a_bin_gives_an_event():
    """The doctest in `ecovision_edge/smart_bin.py`."""
    result = doctest.testmod(smart_bin)
    assert result.attempted >= 5
    assert result.failed == 0


def test_links_of_the_readme_into_the_repository_lead_somewhere():
    """Relative links name files that are there."""
    for target in re.findall(r"\]\((?!https?://|#|mailto:)([^)\s#]+)", README):
        assert (REPOSITORY / target).exists(), target
