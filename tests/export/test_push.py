"""A bundle on the hub, by the real client and a server on this machine that speaks its protocol."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.export.graphs import shorten

from ecovision_edge import Bundle, Classifier, verify_bundle
from ecovision_edge.bundle.folder import embedded_bundle_path
from ecovision_edge.cli import main
from ecovision_edge.errors import MissingDependencyError, OptionError, PushError
from ecovision_edge.simulation.synthetic import draw_frame
from ecovision_edge_export import pipeline
from ecovision_edge_export.card import known_facts, write_card
from ecovision_edge_export.ecovision import REFERENCE_WEIGHTS
from ecovision_edge_export.parity.figures import Parity, budget_for
from ecovision_edge_export.pipeline import ExportResult
from ecovision_edge_export.publish.push import (
    PushOptions,
    check_push,
    prepare_push,
    push_bundle,
    push_options,
)
from ecovision_edge_export.weights import hub

REPO = "me/bin"
TOKEN = "hf_" + "x" * 34
BUNDLE = {"bundle.json", "golden.npz", "model.int8.onnx", "MODEL_CARD.md"}


def parity() -> Parity:
    """Of the embedded bundle, made up."""
    return Parity("int8-onnx", "generated", 8, 8, 8, 0.1, 0.01, 0.5, 8, (), None, budget_for("int8"))


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """The embedded bundle with a card of today, in a folder whose name a shell would split."""
    folder = tmp_path / "my bundle"
    folder.mkdir()
    for path in embedded_bundle_path().iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    manifest = Bundle.open(folder).manifest
    card = write_card(manifest, (parity(),), known_facts(manifest.contract.weights))
    (folder / "MODEL_CARD.md").write_text(card, encoding="utf-8")
    return folder


@pytest.fixture
def ours(here, monkeypatch):
    """The fake hub as this process's hub, logged in as the owner of `me/...`, with uploads by LFS."""
    import huggingface_hub.constants

    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", True)
    here.tokens[TOKEN] = "me"
    return here


@pytest.fixture
def exported(bundle, monkeypatch):
    """`export` without its work: the folder that it writes is there."""

    def export_bundle(options, out, reporter):
        manifest = Bundle.open(bundle).manifest
        return ExportResult(bundle, manifest, (parity(),), {"stages": [], "warnings": []})

    monkeypatch.setattr(pipeline, "export_bundle", export_bundle)
    return bundle


def on_the_hub(server, repo=REPO):
    return {name: data for (r, name), data in server.files.items() if r == repo}


def waive(bundle: Path) -> None:
    manifest = json.loads((bundle / "bundle.json").read_text())
    manifest["provenance"]["parity_waived"] = True
    (bundle / "bundle.json").write_text(json.dumps(manifest))


def test_a_bundle_is_pushed_whole_in_one_commit(ours, bundle):
    """Every file, byte for byte, and the card as README.md; large ones by LFS; private."""
    pushed = push_bundle(bundle, PushOptions(REPO))
    there = on_the_hub(ours)
    assert set(there) == BUNDLE | {"README.md"}
    assert all(there[name] == (bundle / name).read_bytes() for name in BUNDLE)
    assert len(ours.messages) == 1
    assert "reference" in ours.messages[0]
    assert sum(path.startswith("/lfs/") for _, path in ours.requests) == 2
    assert ours.private == {REPO: True}
    assert pushed.to_json() == {
        "url": f"{ours.url}/{REPO}",
        "commit": ours.commits[REPO, "main"],
        "private": True,
    }


def test_what_was_pushed_is_fetched_again_with_the_same_bytes(ours, bundle):
    """By the address that `--weights` and the runtime's users write."""
    push_bundle(bundle, PushOptions(REPO))
    fetched = hub.fetch(hub.parse(f"hf://{REPO}/model.int8.onnx"))
    assert fetched.path.read_bytes() == (bundle / "model.int8.onnx").read_bytes()
    assert fetched.revision == ours.commits[REPO, "main"]


@pytest.mark.slow
def test_the_readme_is_the_card_and_says_how_to_fetch_it(ours, bundle):
    """But for that part it is the card; its commands fetch a bundle that verifies and classifies."""
    push_bundle(bundle, PushOptions(REPO))
    readme, card = (on_the_hub(ours)[name].decode() for name in ("README.md", "MODEL_CARD.md"))
    added = [line for line in readme.splitlines() if line not in card.splitlines()]
    assert added == [
        "Fetch it, with the hub's own command (`pip install huggingface_hub`):",
        f"hf download {REPO} --local-dir bin",
        "cd bin",
    ]
    shell = re.findall(r"^```sh\n(.*?)^```$", readme, re.MULTILINE | re.DOTALL)[0]
    home = bundle.parent / "home"
    home.mkdir()
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    env = {**os.environ, "PATH": path, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1"}
    done = subprocess.run(
        ["sh", "-ec", shell], check=False, cwd=home, env=env, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert verify_bundle(home / "bin").ok
    assert Classifier.load(home / "bin").classify(draw_frame(0)).label


def test_a_second_push_replaces_the_first(ours, bundle):
    """Models of ours that the new bundle has not go, what others put there stays; nothing is sent twice."""
    push_bundle(bundle, PushOptions(REPO))
    ours.add(REPO, "model.fp32.tflite", b"old")
    ours.add(REPO, "NOTES.txt", b"mine")
    ours.requests.clear()
    push_bundle(bundle, PushOptions(REPO))
    assert set(on_the_hub(ours)) == BUNDLE | {"README.md", "NOTES.txt"}
    assert len(ours.messages) == 2
    assert not any(path.startswith("/lfs/") for _, path in ours.requests)


def test_nothing_is_asked_of_the_hub_but_who_we_are(ours):
    """Before the export; it makes nothing."""
    check_push(PushOptions(REPO))
    assert ours.requests == [("GET", "/api/whoami-v2")]


def test_a_token_that_may_not_say_who_it_is_may_still_push(ours, bundle):
    """One that is for a single repository, for instance."""
    ours.failing["whoami-v2"] = 403
    check_push(PushOptions(REPO))
    push_bundle(bundle, PushOptions(REPO))


@pytest.mark.parametrize(
    "repo",
    [
        *["", "bin", "me/", "/bin", "a/b/c", "me/a--b", "me/a..b", "me/.a", "me/a.git", "me/a b", "me/ä"],
        *["hf://me/b", "me/b\n", "me/\x1b[2Jb", "me/" + "x" * 97, "../b", "http://x/y"],
    ],
)
def test_a_name_that_is_none_is_refused_before_anything_is_done(ours, capsys, tmp_path, repo):
    """Exit status 2, one line, no request, no export."""
    status = main(["export", "-o", str(tmp_path / "b"), "--push-to-hub", repo])
    said = capsys.readouterr().err
    assert status == 2
    assert "--push-to-hub: expected OWNER/NAME" in said
    assert said.count("\n") == 1
    assert said[:-1].isprintable()
    assert (ours.requests, list(tmp_path.glob("b*"))) == ([], [])


@given(st.text(max_size=40))
def test_any_text_is_a_repository_or_misuse(text):
    try:
        options = PushOptions(text)
    except OptionError:
        return
    assert re.fullmatch(r"[\w.-]+/[\w.-]+", options.repo, re.ASCII)


@pytest.mark.parametrize("option", ["--public", "--push-parity-failure"])
def test_options_of_a_push_without_one_are_misuse(capsys, tmp_path, option):
    assert main(["export", "-o", str(tmp_path / "b"), option]) == 2
    assert f"{option}: expected --push-to-hub OWNER/NAME with it" in capsys.readouterr().err
    assert push_options(None) is None


def test_offline_is_refused_early(ours, monkeypatch, capsys, tmp_path):
    """With HF_HUB_OFFLINE nothing is exported and nothing asked."""
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert main(["export", "-o", str(tmp_path / "b"), "--push-to-hub", REPO]) == 2
    assert "HF_HUB_OFFLINE, which forbids it; unset it" in capsys.readouterr().err
    assert ours.requests == []


def test_without_a_token_nothing_is_begun(ours, monkeypatch, tmp_path):
    """Neither in the environment nor of a login."""
    import huggingface_hub.constants

    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr(huggingface_hub.constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    with pytest.raises(
        PushError, match=r"no token to push to me/bin with; log in with `hf auth login` or set"
    ):
        check_push(PushOptions(REPO))
    assert ours.requests == []


def test_the_token_of_a_login_is_taken(ours, monkeypatch, bundle, tmp_path):
    import huggingface_hub.constants

    monkeypatch.delenv("HF_TOKEN")
    (tmp_path / "token").write_text(TOKEN)
    monkeypatch.setattr(huggingface_hub.constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    check_push(PushOptions(REPO))
    assert push_bundle(bundle, PushOptions(REPO)).private


def test_a_waived_parity_failure_is_pushed_only_when_that_is_said_too(ours, bundle):
    waive(bundle)
    with pytest.raises(PushError, match=r"the parity gate was closed.*say --push-parity-failure"):
        push_bundle(bundle, PushOptions(REPO))
    assert ours.requests == []
    push_bundle(bundle, PushOptions(REPO, waived=True))
    assert "bundle.json" in on_the_hub(ours)


def test_what_everybody_may_see_is_asked_for(ours, bundle):
    """A new repository is public only with --public; one that is public already takes nothing private."""
    assert push_bundle(bundle, PushOptions("me/open", public=True)).private is False
    ours.messages.clear()
    with pytest.raises(PushError, match=r"me/open is there already, and everybody may see it; say --public"):
        push_bundle(bundle, PushOptions("me/open"))
    assert ours.messages == []
    push_bundle(bundle, PushOptions(REPO))
    warnings: list[str] = []
    assert push_bundle(bundle, PushOptions(REPO, public=True), warnings.append).private
    assert warnings == [f"{REPO} is there already, and stays private; its settings on the hub change that"]


def test_the_hub_s_word_on_the_card_is_passed_on(ours, bundle):
    """Its warnings, and that it does not like it."""
    ours.yaml = {"warnings": [{"message": "no such licence"}], "errors": []}
    told: list[str] = []
    push_bundle(bundle, PushOptions(REPO), told.append)
    assert len(told) == 1
    assert "no such licence" in told[0]
    ours.yaml = {"warnings": [], "errors": [{"message": "license must be one"}]}
    with pytest.raises(PushError, match=r"HTTP 400.*license must be one"):
        push_bundle(bundle, PushOptions(REPO))


@pytest.mark.parametrize(
    ("step", "status", "says"),
    [
        ("create", 401, "the hub does not know the token .HTTP 401.*log in"),
        ("create", 403, "may not push to me/bin .HTTP 403.*the right to write to me's repositories"),
        ("create", 400, "did not take me/bin .HTTP 400"),
        ("create", 429, "HTTP 429 for me/bin; try again later"),
        ("create", 500, "HTTP 500 for me/bin; try again later"),
        ("models", 503, "HTTP 503 for me/bin; try again later"),
        ("preupload", 403, "HTTP 403"),
        ("batch", 503, "HTTP 503"),
        ("lfs", 403, "HTTP 403"),
        ("lfs", 500, "HTTP 500"),
        ("commit", 412, "did not take me/bin .HTTP 412"),
        ("commit", 502, "HTTP 502"),
    ],
)
def test_each_refusal_of_the_hub_is_one_line_and_the_bundle_stays(ours, bundle, step, status, says):
    """With the command that pushes it by hand, as a shell takes it; nothing is there by halves."""
    ours.failing[step] = status
    before = {p.name: p.read_bytes() for p in bundle.iterdir()}
    with pytest.raises(PushError, match=says) as e:
        push_bundle(bundle, PushOptions(REPO))
    assert "\n" not in str(e.value)
    assert f"by hand: hf upload {REPO} '{bundle}' --private" in str(e.value)
    assert TOKEN not in str(e.value)
    assert on_the_hub(ours) == {}
    assert {p.name: p.read_bytes() for p in bundle.iterdir()} == before


def test_another_s_name_is_refused(ours, bundle):
    """The hub says 403 to making it."""
    with pytest.raises(PushError, match=r"may not push to other/bin .HTTP 403"):
        push_bundle(bundle, PushOptions("other/bin"))


def test_a_bad_token_is_found_before_the_export(ours, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(PushError, match=r"does not know the token .HTTP 401") as e:
        check_push(PushOptions(REPO))
    assert "hf_wrong" not in str(e.value)


def test_a_hub_that_is_none_is_said_to_be(ours, bundle):
    """A captive portal answers everything with a page."""
    ours.foreign = True
    for push in (lambda: check_push(PushOptions(REPO)), lambda: push_bundle(bundle, PushOptions(REPO))):
        with pytest.raises(PushError, match=r"127\.0\.0\.1 does not answer as a hub does"):
            push()


@pytest.mark.parametrize("endpoint", [None, "http://127.0.0.1:1", "ftp://localhost", "http://["])
def test_no_connection_is_one_line(ours, bundle, monkeypatch, endpoint):
    """The server is gone, or the endpoint is none; a password in it is not repeated."""
    ours.stop()
    if endpoint is not None:
        monkeypatch.setenv("HF_ENDPOINT", endpoint.replace("//", "//user:secret@"))
    for push in (lambda: check_push(PushOptions(REPO)), lambda: push_bundle(bundle, PushOptions(REPO))):
        with pytest.raises(PushError) as e:
            push()
        assert "\n" not in str(e.value)
        assert "secret" not in str(e.value)


def test_uploads_by_xet_fail_in_one_line_too(ours, bundle, monkeypatch):
    """Where the hub's own storage client is installed it is asked first; ours here does not speak that."""
    pytest.importorskip("hf_xet", reason="needs hf_xet: comes with huggingface_hub where it has a wheel")
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", False)
    with pytest.raises(PushError) as e:
        push_bundle(bundle, PushOptions(REPO))
    assert "\n" not in str(e.value)
    assert "by hand: hf upload" in str(e.value)
    assert on_the_hub(ours) == {}


def test_a_damaged_bundle_is_not_pushed(ours, bundle):
    (bundle / "model.int8.onnx").write_bytes(b"x")
    with pytest.raises(Exception, match=r"model\.int8\.onnx"):
        prepare_push(bundle, REPO)
    with pytest.raises(Exception, match=r"model\.int8\.onnx"):
        push_bundle(bundle, PushOptions(REPO))
    assert ours.requests == []


def test_an_old_client_is_said_to_be(monkeypatch):
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub, "__version__", "0.20.0")
    with pytest.raises(MissingDependencyError, match="huggingface_hub is too old"):
        PushOptions(REPO)


def test_the_command_exports_pushes_and_says_where(ours, exported, tmp_path, capsys):
    """The address on the terminal, and in the JSON with the commit."""
    out = tmp_path / "o.json"
    status = main(["export", "-o", str(exported), "--push-to-hub", REPO, "--json", str(out)])
    assert status == 0
    assert f"{ours.url}/{REPO}, private, commit" in capsys.readouterr().err
    assert json.loads(out.read_text())["pushed"]["url"] == f"{ours.url}/{REPO}"
    assert set(on_the_hub(ours)) == BUNDLE | {"README.md"}


def test_the_command_pushes_nothing_unless_it_is_asked(ours, exported):
    """Not a single request."""
    assert main(["export", "-o", str(exported)]) == 0
    assert ours.requests == []


def test_a_push_that_fails_leaves_bundle_and_figures(ours, exported, tmp_path, capsys):
    """Exit status 1, one line of error; --json has what was exported."""
    ours.failing["commit"] = 500
    out = tmp_path / "o.json"
    status = main(["export", "-o", str(exported), "--push-to-hub", REPO, "--json", str(out)])
    assert status == 1
    assert (
        capsys.readouterr()
        .err.splitlines()[-1]
        .startswith(f"ecovision-edge: the hub answered HTTP 500 for {REPO}")
    )
    assert verify_bundle(exported).ok
    document = json.loads(out.read_text())
    assert document["name"] == "reference"
    assert "pushed" not in document


@pytest.mark.slow
def test_a_real_export_is_pushed(ours, simplified, tmp_path, monkeypatch):
    """All of it, fp32 from the reference's own weights."""
    shorten(monkeypatch, simplified, frames=8)
    out = tmp_path / "b"
    arguments = [
        "--weights",
        str(REFERENCE_WEIGHTS),
        "--precision",
        "fp32",
        "--push-to-hub",
        REPO,
        "--public",
    ]
    assert main(["export", "-o", str(out), *arguments]) == 0
    there = on_the_hub(ours)
    assert {n: d for n, d in there.items() if n != "README.md"} == {
        p.name: p.read_bytes() for p in out.iterdir()
    }
    assert ours.private == {REPO: False}
