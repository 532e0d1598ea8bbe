"""Facts about the page on updates: its commands work as they stand, one after the other."""

import shlex
import shutil

import pytest
from tests.packaging.pages import DOCS, blocks
from tests.runtime.release_repositories import make_repository, serve_folder

from ecovision_edge.cli import main
from ecovision_edge.updates.store import BundleStore

LINES = [line for block in blocks(DOCS / "update.md", "sh") for line in block.splitlines()]
STORE = "~/.local/state/ecovision-edge/updates"
SAMPLE_ID = "9153e3"
RULES = """
schema = 1
name = "kitchen"
default = "rest"
[bins]
sea = ["blue"]
rest = ["green", "red"]
"""


@pytest.mark.slow
def test_the_page_is_a_story_that_happens(tmp_path, forge, pristine, monkeypatch, capsys):
    """With another address and another home; the second release comes with the second update."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    monkeypatch.chdir(tmp_path)
    store = BundleStore(tmp_path / "state/ecovision-edge/updates")
    shutil.copytree(pristine, tmp_path / "newer")
    forge.edit(tmp_path / "newer", lambda manifest: manifest.update(name="newer"))
    (tmp_path / "rules.toml").write_text(RULES)
    repository = make_repository(tmp_path / "repository", pristine)
    shutil.copy(repository.root_file, tmp_path / "root.json")

    def run(line):
        line = line.replace("https://updates.local/bins", server.url).replace(STORE, str(store.root))
        words = [word.replace(SAMPLE_ID, ids[-1][:8]) for word in shlex.split(line)]
        assert words[0] == "ecovision-edge"
        assert main(words[1:]) == 0, capsys.readouterr().err

    with serve_folder(repository.folder) as server:
        ids = [""]
        for line in LINES:
            if "--bin" in line:
                repository.add(tmp_path / "newer", version="2")
                repository.publish()
            run(line)
            if " update " in line:
                ids.append(store.current())
    first, second = ids[1:]
    assert first != second == store.current()
    assert store.previous() == first
    assert store.state().pinned is None
