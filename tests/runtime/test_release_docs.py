"""Facts about the page on releases: its commands work as they stand, one after the other."""

import json
import shlex
import shutil
import subprocess

import pytest
from tests.packaging.pages import DOCS, blocks
from tests.runtime.publishers import PASSPHRASE, Publisher, cheap_passphrases, published

from ecovision_edge.cli import main

SAMPLE_KEY = "root-1f0c2a9b7d3e"
LINES = [line for block in blocks(DOCS / "release.md", "sh") for line in block.splitlines()]


@pytest.mark.slow
@pytest.mark.usefixtures(cheap_passphrases.__name__)
def test_the_page_is_a_story_that_happens(tmp_path, forge, monkeypatch, capsys):
    """With `/srv` and `/media` elsewhere; a device that was there at the start takes the last release."""
    monkeypatch.setenv("ECOVISION_EDGE_PASSPHRASE", PASSPHRASE)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "srv").mkdir()
    forge.bundle(tmp_path / "build/mine", precisions=("fp32",))
    last = forge.bundle(tmp_path / "build/next")
    publisher = Publisher(tmp_path)
    publisher.folder = tmp_path / "srv/bins"

    def roles():
        capsys.readouterr()
        arguments = ["--repository", str(publisher.folder), "--keys", str(tmp_path / "media/stick")]
        assert main(["release", "status", *arguments, "--json", "-"]) == 0
        return {role["role"]: role["keys"] for role in json.loads(capsys.readouterr().out)["roles"]}

    def run(line):
        for folder in ("srv", "media"):
            line = line.replace(f" /{folder}/", f" {tmp_path}/{folder}/")
        if SAMPLE_KEY in line:
            line = line.replace(SAMPLE_KEY, f"root-{roles()['root'][0]['id'][:12]}")
        words = shlex.split(line)
        if words[0] == "ecovision-edge":
            assert main(words[1:]) == 0, capsys.readouterr().err
        else:
            subprocess.run(["/bin/sh", "-c", line], check=True)

    run(LINES[0])
    with published(publisher) as (_, device):
        bin = device()
        for line in LINES[1:]:
            run(line)
            bin.updater()
            if " /media/ann " in line:
                for role in ("root", "targets"):
                    for key, name in zip(roles()[role], ("ann", "bob", "eve"), strict=True):
                        shutil.move(key["file"], tmp_path / "media" / name)
        assert bin.channel().choose("bin-1").files[0].sha256
        assert set(bin.take(bin.channel().choose("bin-1"))) == {path.name for path in last.iterdir()}
    assert json.loads((tmp_path / "srv/for-each-bin.json").read_bytes())["signed"]["version"] == 1
