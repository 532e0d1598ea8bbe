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
from ecovision_edge_export.ecovision import LABELS, REFERENCE_WEIGHTS
from ecovision_edge_export.weights import hub, hub_receive
from ecovision_edge_export.weights.checkpoint import load_checkpoint

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
def test_other_bytes_than_the_published_ones_are_refused_with_both_hashes(here, tmp_path, form):
    other = b"not the published bytes"
    here.add(ECOVISION, hub.ECOVISION.file, other, hub.ECOVISION.revision)
    with pytest.raises(DownloadError) as e:
        load_checkpoint(f"hf://{ECOVISION}{form}")
    assert "0d60ec3944396b9e989a5e082ad848d6820a92e461230d620d7a53e39ccd52a1" in str(e.value)
    assert hashlib.sha256(other).hexdigest() in str(e.value)
    assert written(tmp_path) == [], "it never was where anybody finds it"
    place = (
        tmp_path / "cache" / "models--AmadFR--ecovision_mobilenetv3" / "snapshots" / hub.ECOVISION.revision
    )
    place.mkdir(parents=True)
    (place / hub.ECOVISION.file).write_bytes(other)
    with pytest.raises(DownloadError, match=r"delete .*, do not use the file"):
        load_checkpoint(f"hf://{ECOVISION}{form}")
    assert (place / hub.ECOVISION.file).read_bytes() == other, "what is in the user's cache stays"


def written(folder: Path) -> list[str]:
    """Every file below."""
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if not p.is_dir())


@pytest.mark.parametrize(
    "lies",
    [
        {"X-Repo-Commit": "../../../../outside"},
        {"X-Repo-Commit": "main"},
        {"X-Repo-Commit": "C0FFEE" * 6 + "C0FF"},
        {"ETag": '"../../../outside"'},
        {"ETag": '"0123"'},
        {"ETag": ""},
    ],
)
@pytest.mark.parametrize("revision", ["", "@main", f"@{COMMIT}"])
def test_an_answer_that_is_no_commit_and_no_hash_writes_nothing(here, tmp_path, lies, revision):
    """Both become names of files: hf_hub_download takes them as they come."""
    here.add(MINE, "f.pth", b"weights", COMMIT)
    here.lies = lies
    with pytest.raises(
        DownloadError, match="does not answer as a hub does: expected a commit and a hash, found"
    ):
        hub.fetch(hub.parse(f"hf://{MINE}{revision}/f.pth"))
    assert written(tmp_path) == []


def test_another_commit_than_the_pinned_one_is_refused(here, tmp_path):
    """A hash names one content."""
    here.add(MINE, "f.pth", b"weights", COMMIT)
    here.lies = {"X-Repo-Commit": "b" * 40}
    with pytest.raises(DownloadError, match="does not answer as a hub does"):
        hub.fetch(hub.parse(f"hf://{MINE}@{COMMIT}/f.pth"))
    assert written(tmp_path) == []


@pytest.mark.parametrize("cdn", [False, True])
def test_other_bytes_than_the_hub_announced_are_never_moved_into_place(here, tmp_path, cdn):
    """Nor is anything else left."""
    here.add(MINE, "f.pth", b"weights", COMMIT)
    here.cdn, here.sends = cdn, b"strange"
    with pytest.raises(DownloadError, match=r"f\.pth came with other bytes than the hub announced"):
        hub.fetch(hub.parse(f"hf://{MINE}/f.pth"))
    assert written(tmp_path) == []
    here.sends = None
    assert hub.fetch(hub.parse(f"hf://{MINE}/f.pth")).path.read_bytes() == b"weights"


def test_what_is_too_large_is_not_received(here, tmp_path, monkeypatch):
    """By what is announced, and by what comes where nothing is."""
    here.add(MINE, "f.pth", b"w" * 1000, COMMIT)
    monkeypatch.setattr(hub_receive, "MAX_BYTES", 999)
    with pytest.raises(
        DownloadError, match=r"f\.pth of someone/sorter is too large: expected at most 999 bytes, found 1000"
    ):
        hub.fetch(hub.parse(f"hf://{MINE}/f.pth"))
    assert [method for method, _ in here.requests] == ["HEAD"]
    here.cdn, here.lies = True, {"X-Linked-Size": "none"}
    with pytest.raises(DownloadError, match="larger than was announced: expected at most 999 bytes"):
        hub.fetch(hub.parse(f"hf://{MINE}/f.pth"))
    here.lies = {"X-Linked-Size": "10"}
    with pytest.raises(DownloadError):
        hub.fetch(hub.parse(f"hf://{MINE}/f.pth"))
    assert written(tmp_path) == []


def test_a_small_file_has_the_hash_that_git_gives_it(here):
    """Not a sha256, which large files alone have."""
    here.add(MINE, "f.pth", b"weights", COMMIT)
    git = hashlib.sha1(b"blob 7\0weights").hexdigest()
    here.lies = {"ETag": f'"{git}"'}
    assert hub.fetch(hub.parse(f"hf://{MINE}/f.pth")).path.read_bytes() == b"weights"


def test_the_hubs_own_tools_find_what_was_received(here, tmp_path):
    """And it finds what they have: the cache is one."""
    from huggingface_hub import hf_hub_download, scan_cache_dir

    here.add(MINE, "sub/f.pth", b"weights", COMMIT)
    fetched = hub.fetch(hub.parse(f"hf://{MINE}/sub/f.pth"))
    here.requests.clear()
    where = {"cache_dir": tmp_path / "cache", "endpoint": here.url}
    assert Path(hf_hub_download(MINE, "sub/f.pth", **where)) == fetched.path
    assert {method for method, _ in here.requests} == {"HEAD"}
    info = scan_cache_dir(tmp_path / "cache")
    assert [(r.repo_id, r.size_on_disk) for r in info.repos] == [(MINE, 7)]
    assert not info.warnings
    here.add(MINE, "other.pth", b"others", COMMIT)
    path = hf_hub_download(MINE, "other.pth", **where)
    here.requests.clear()
    assert hub.fetch(hub.parse(f"hf://{MINE}@{COMMIT}/other.pth")).path == Path(path)
    assert here.requests == []


def test_the_token_goes_to_the_hub_alone(here, monkeypatch):
    """Not to where it sends one for the bytes."""
    from huggingface_hub import file_download

    sent, get = [], file_download.http_get

    def http_get(url, *arguments, headers, **options):
        sent.append((url.partition("://")[2].partition(":")[0], headers.get("authorization")))
        return get(url, *arguments, headers=headers, **options)

    monkeypatch.setattr(file_download, "http_get", http_get)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    here.add(MINE, "f.pth", b"weights", COMMIT)
    here.add(MINE, "g.pth", b"others", COMMIT)
    hub.fetch(hub.parse(f"hf://{MINE}/f.pth"))
    here.cdn = True
    hub.fetch(hub.parse(f"hf://{MINE}/g.pth"))
    assert sent == [("127.0.0.1", "Bearer hf_secret"), ("localhost", None)]


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

    def time_out(*_: object, **__: object) -> None:
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
from ecovision_edge_export.weights import hub
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


@pytest.mark.slow
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
    from huggingface_hub import file_download
    from huggingface_hub.utils import logging

    def fails(*_: object, **__: object) -> str:
        logging.get_logger("huggingface_hub.utils._http").warning("Retrying in 1s [Retry 1/5].")
        raise OSError("unreachable")

    monkeypatch.setattr(file_download, "get_hf_file_metadata", fails)
    before = logging.get_verbosity()
    with pytest.raises(DownloadError, match="unreachable"):
        hub.fetch(hub.parse(f"hf://{MINE}/f.txt"))
    assert capfd.readouterr().err == ""
    assert logging.get_verbosity() == before
