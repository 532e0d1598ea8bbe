"""Weights from the hub, by a server on this machine that speaks its protocol."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecovision_edge.errors import CheckpointError, DownloadError
from ecovision_edge_export import hub
from ecovision_edge_export.checkpoint import load_checkpoint
from ecovision_edge_export.reference import LABELS, REFERENCE_WEIGHTS

COMMIT = "c0ffee" * 6 + "c0ff"
MINE = "someone/sorter"
ECOVISION = "AmadFR/ecovision_mobilenetv3"


def pth_bytes(tmp_path: Path) -> bytes:
    """The reference weights as torch.save writes them, without labels."""
    import torch

    path = tmp_path / "w.pth"
    torch.save(dict(load_checkpoint("reference").state), path)
    return path.read_bytes()


def test_an_address_is_read_into_its_parts():
    assert hub.parse("hf://o/r/f.pth") == hub.HubFile("o/r", "f.pth", None)
    assert hub.parse("hf://o/r@v1.0/a/f.pth") == hub.HubFile("o/r", "a/f.pth", "v1.0")
    assert hub.parse("hf://o/r@refs%2Fpr%2F1/f.pth") == hub.HubFile("o/r", "f.pth", "refs/pr/1")


def test_the_bare_name_is_the_published_model_at_its_pinned_commit():
    for spec in (f"hf://{ECOVISION}", f"hf://{ECOVISION}/"):
        assert hub.parse(spec) == hub.HubFile(
            ECOVISION, "ecovision_mobilenetv3_ST.pth", "7c2daeea3f684058ae8a1c9656c50fc7309fc36c"
        )
    assert hub.parse(f"hf://{ECOVISION}@main") == hub.HubFile(
        ECOVISION, "ecovision_mobilenetv3_ST.pth", "main"
    )
    assert hub.ECOVISION.sha256 == "0d60ec3944396b9e989a5e082ad848d6820a92e461230d620d7a53e39ccd52a1"
    assert hub.ECOVISION.labels == tuple(sorted(hub.ECOVISION.labels)) == LABELS


@pytest.mark.parametrize(
    "spec",
    [
        "hf:",
        "hf://",
        "hf:/o/r/f",
        "hf://o",
        "hf://o/r",
        "hf://o/r/",
        "hf://o/r@/f",
        "hf://o/@v/f",
        "hf:///r/f",
        "hf://o/r/../../etc/passwd",
        "hf://o/r/a//f",
        "hf://o/r/./f",
        "hf://o/r@../f",
        "hf://o/r@%2e%2e/f",
        "hf://o/r@a%0a/f",
        "hf://o/..@v/f",
        "hf://o/r/f\nx",
        "hf://o/r/a\\b",
        "hf://o/r/f?download=true",
        "hf://o o/r/f",
        f"hf://{ECOVISION}@",
    ],
)
def test_a_malformed_address_is_refused_with_the_form(spec):
    with pytest.raises(CheckpointError, match=r"hf://OWNER/REPO\[@REVISION\]/FILE") as e:
        load_checkpoint(spec)
    assert "\n" not in str(e.value)


@given(st.text(max_size=60))
def test_any_text_is_an_address_or_a_checkpoint_error(rest):
    try:
        found = hub.parse(f"hf://{rest}")
    except CheckpointError:
        return
    assert ".." not in found.file.split("/")
    assert found.repo.count("/") == 1


def test_a_file_is_downloaded_and_its_commit_recorded(here):
    here.add(MINE, "sub/best.safetensors", REFERENCE_WEIGHTS.read_bytes(), COMMIT)
    c = load_checkpoint(f"hf://{MINE}@main/sub/best.safetensors", num_classes=10)
    assert c.source.source == f"hf://{MINE}/sub/best.safetensors"
    assert c.source.revision == COMMIT
    assert c.source.sha256 == hashlib.sha256(REFERENCE_WEIGHTS.read_bytes()).hexdigest()
    assert c.labels == LABELS


def test_a_file_behind_a_redirect_is_followed(here):
    here.cdn = True
    here.add(MINE, "w.bin", b"large", COMMIT)
    fetched = hub.fetch(hub.parse(f"hf://{MINE}/w.bin"))
    assert fetched.path.read_bytes() == b"large"
    assert fetched.revision == COMMIT
    assert any(path.startswith("/cdn/") for _, path in here.requests)


def test_the_published_model_gets_its_labels_and_pinned_revision(here, tmp_path, monkeypatch):
    data = pth_bytes(tmp_path)
    known = dataclasses.replace(hub.ECOVISION, sha256=hashlib.sha256(data).hexdigest())
    monkeypatch.setattr(hub, "ECOVISION", known)
    here.add(known.repo, known.file, data, known.revision)
    c = load_checkpoint(f"hf://{ECOVISION}")
    assert c.labels == LABELS
    assert c.source.revision == known.revision
    assert c.source.source == f"hf://{ECOVISION}/ecovision_mobilenetv3_ST.pth"
    assert all(known.revision in path for _, path in here.requests)


@pytest.mark.parametrize("form", ["", "@main", "/ecovision_mobilenetv3_ST.pth"])
def test_other_bytes_than_the_published_ones_are_refused_with_both_hashes(here, form):
    other = b"not the published bytes"
    here.add(ECOVISION, hub.ECOVISION.file, other, hub.ECOVISION.revision)
    with pytest.raises(DownloadError) as e:
        load_checkpoint(f"hf://{ECOVISION}{form}")
    assert "0d60ec3944396b9e989a5e082ad848d6820a92e461230d620d7a53e39ccd52a1" in str(e.value)
    assert hashlib.sha256(other).hexdigest() in str(e.value)
    assert "delete" in str(e.value)
    kept = hub.fetch(hub.parse(f"hf://{ECOVISION}{form}"))
    assert kept.path.read_bytes() == other, "what is in the user's cache stays"


def test_another_commit_of_the_published_repository_is_not_the_known_model(here, tmp_path):
    here.add(ECOVISION, hub.ECOVISION.file, pth_bytes(tmp_path), COMMIT)
    c = load_checkpoint(f"hf://{ECOVISION}@main")
    assert (c.labels, c.source.revision) == (None, COMMIT)


def gate(server):
    server.gated.add(MINE)


def forbid(server):
    server.forbidden.add(MINE)


def break_(server):
    server.broken.add(MINE)


def be_foreign(server):
    server.foreign = True


def kill(server):
    server.stop()


def nothing(server):
    pass


@pytest.mark.parametrize(
    ("spec", "prepare", "says"),
    [
        ("hf://no/such/f.pth", nothing, "no repository no/such"),
        (f"hf://{MINE}/missing.pth", nothing, "no file missing.pth"),
        (f"hf://{MINE}@v9/f.pth", nothing, "no revision v9"),
        (f"hf://{MINE}/f.pth", gate, "is gated"),
        (f"hf://{MINE}/f.pth", forbid, "denies access .*HTTP 403"),
        (f"hf://{MINE}/f.pth", break_, "HTTP 500"),
        (f"hf://{MINE}/f.pth", be_foreign, "does not answer as a hub"),
        (f"hf://{MINE}/f.pth", kill, "cannot be reached"),
    ],
)
def test_each_failure_of_the_hub_is_one_line_that_says_which(here, spec, prepare, says):
    here.add(MINE, "f.pth", b"x")
    prepare(here)
    with pytest.raises(DownloadError, match=says) as e:
        load_checkpoint(spec)
    assert "\n" not in str(e.value)


@pytest.mark.parametrize("endpoint", ["localhost", "ftp://localhost", "http://["])
def test_an_endpoint_that_is_no_hub_is_a_download_error(here, monkeypatch, endpoint):
    monkeypatch.setenv("HF_ENDPOINT", endpoint)
    with pytest.raises(DownloadError) as e:
        hub.fetch(hub.parse(f"hf://{MINE}/f.pth"))
    assert "\n" not in str(e.value)


@pytest.mark.parametrize("kind", ["connect", "read"])
def test_a_hub_that_does_not_answer_in_time_is_a_download_error(here, monkeypatch, kind):
    """Stands in for the wait itself, which huggingface_hub makes minutes long."""
    from huggingface_hub import file_download

    errors = {
        "connect": file_download.httpx2.ConnectTimeout("timed out"),
        "read": file_download.httpx2.ReadTimeout("timed out"),
    }

    def time_out(**_: object) -> None:
        raise errors[kind]

    monkeypatch.setattr(file_download, "get_hf_file_metadata", time_out)
    with pytest.raises(DownloadError, match=r"cannot be reached \(\w+Timeout: timed out\)"):
        hub.fetch(hub.parse(f"hf://{MINE}/f.pth"))


def test_a_name_that_the_hub_forbids_is_a_checkpoint_error(here):
    with pytest.raises(CheckpointError, match="not a name that the hub allows"):
        hub.fetch(hub.HubFile("a--b/c..d", "f.pth"))


CHILD = """
import json, sys
from ecovision_edge.errors import EcovisionError
from ecovision_edge_export import hub
try:
    f = hub.fetch(hub.parse(sys.argv[1]))
    print(json.dumps([f.revision, f.path.read_text(), "torch" in sys.modules]))
except EcovisionError as e:
    print(json.dumps([type(e).__name__, str(e), "torch" in sys.modules]))
"""


def child(spec: str, **env: str) -> list[object]:
    """Fetch in a fresh process, as a user's shell would set it up."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith("HF_")}
    ran = subprocess.run(
        [sys.executable, "-c", CHILD, spec],
        env={**clean, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p), **env},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    return json.loads(ran.stdout)


def test_the_second_load_works_offline_from_the_cache(fake_hub, tmp_path):
    fake_hub.add(MINE, "f.txt", b"weights", COMMIT)
    env = {"HF_ENDPOINT": fake_hub.url, "HF_HOME": str(tmp_path / "home")}
    assert child(f"hf://{MINE}/f.txt", **env) == [COMMIT, "weights", False]
    fake_hub.stop()
    assert child(f"hf://{MINE}/f.txt", HF_HUB_OFFLINE="1", **env) == [COMMIT, "weights", False]
    kind, message, _ = child(f"hf://{MINE}/other.txt", HF_HUB_OFFLINE="1", **env)
    assert kind == "DownloadError"
    assert "HF_HUB_OFFLINE" in str(message)


def test_the_hubs_own_words_about_its_attempts_are_not_printed(monkeypatch, capfd):
    """Five retries are ten lines of the library; its verbosity is as before afterwards."""
    import huggingface_hub
    from huggingface_hub.utils import logging

    def fails(*_: object, **__: object) -> str:
        logging.get_logger("huggingface_hub.utils._http").warning("Retrying in 1s [Retry 1/5].")
        raise OSError("unreachable")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fails)
    before = logging.get_verbosity()
    with pytest.raises(DownloadError, match="unreachable"):
        hub.fetch(hub.parse(f"hf://{MINE}/f.txt"))
    assert capfd.readouterr().err == ""
    assert logging.get_verbosity() == before
