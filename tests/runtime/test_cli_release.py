"""Facts about `ecovision-edge release`, from the command line."""

import json
import shutil
from datetime import timedelta

import pytest
from tests.runtime.publishers import PASSPHRASE, Publisher, cheap_passphrases, published
from tests.runtime.release_repositories import serve_folder

from ecovision_edge.cli import main
from ecovision_edge.releases import session

pytestmark = pytest.mark.usefixtures(cheap_passphrases.__name__)


@pytest.fixture
def repository(tmp_path, monkeypatch, capsys):
    """A new repository, whose keys are beside it."""
    monkeypatch.setenv("ECOVISION_EDGE_PASSPHRASE", PASSPHRASE)
    folder = tmp_path / "bins"
    assert main(["release", "init", str(folder)]) == 0
    assert "1.root.json: copy to each device, for --root-file" in capsys.readouterr().out
    return folder


@pytest.fixture
def release(repository, capsys):
    """Call a command of `release`; gives its status, standard output and error."""

    def call(command, *arguments):
        status = main(["release", command, *map(str, arguments), "--repository", str(repository)])
        told = capsys.readouterr()
        return status, told.out, told.err

    return call


@pytest.mark.slow
def test_a_release_from_the_first_command_to_the_last(release, repository, bundle):
    """Each says what it did; the status has all of it."""
    name = "tiny"
    status, out, err = release("add", bundle, "--channel", "beta", "--rollout", "10%")
    assert (status, err) == (0, "")
    assert out.startswith(f"beta: {name} ")
    assert out.endswith(" released to 10% of the fleet\n" + out.splitlines()[1] + "\npublished\n")
    status, _, err = release("add", bundle, "--channel", "beta")
    assert status == 1
    assert err.count("\n") == 1
    assert "was released to beta before" in err
    assert release("promote", bundle, "--from", "beta", "--rollout", "50%")[0] == 0
    assert "rollout 50% -> 100%" in release("promote", bundle)[1]
    for role in ("root", "targets", "snapshot", "timestamp"):
        assert release("rotate-key", role)[0] == 0
    assert release("renew")[0] == 0
    assert release("refresh")[::2] == (0, "")
    assert "withdrawn" in release("withdraw", bundle)[1]
    status, out, _ = release("status")
    assert status == 0
    assert out.count("withdrawn") == 2
    assert "no role has the key" in out
    assert json.loads(release("status", "--json", "-")[1])["ok"] is True
    publisher = Publisher(repository)
    publisher.folder = repository
    with published(publisher) as (_, device):
        assert device().channel().choose("bin-1") is None


def test_a_bundle_that_does_not_verify_is_not_released(release, repository, forge, tmp_path):
    """With the reason, and nothing changed."""
    bundle = forge.bundle(tmp_path / "bad")
    (bundle / "model.int8.onnx").write_bytes(b"no model")
    before = sorted(repository.rglob("*"))
    status, out, err = release("add", bundle)
    assert (status, out) == (1, "")
    assert "is not released, for it does not verify: model.int8.onnx: " in err
    assert sorted(repository.rglob("*")) == before


@pytest.mark.slow
def test_what_is_released_is_taken_by_a_device(release, repository, forge, bundle, tmp_path, capsys):
    """By `update`: the first time with the root that was given to it, later past new keys of every role."""
    newer = shutil.copytree(bundle, tmp_path / "newer")
    forge.edit(newer, lambda data: data["provenance"].update(bundle_version="2.0"))
    root = tmp_path / "bins.keys/online/1.root.json"
    with serve_folder(repository) as server:
        device = ["--store", str(tmp_path / "store"), "--bundle", str(bundle), "--max-slower", "10000%"]

        def update(*arguments):
            assert main(["update", "--from", server.url, *device, *arguments]) == 0
            return capsys.readouterr().out.splitlines()[-1]

        release("add", bundle)
        assert update("--root", str(root)).startswith("up to date: tiny")
        for role in ("root", "targets", "snapshot", "timestamp"):
            assert release("rotate-key", role)[0] == 0
        release("refresh")
        release("add", newer)
        assert update().startswith("updated to tiny 2.0")
        release("withdraw", "2.0")
        assert "tiny" in update()
        assert update().startswith("up to date: tiny")


@pytest.mark.slow
def test_two_people_sign_on_two_machines(release, repository, bundle, tmp_path):
    """Each with a stick; the second one reads what it is."""
    assert release("rotate-key", "targets", "--count", "2", "--threshold", "2")[0] == 0
    ann, bob = tmp_path / "ann", tmp_path / "bob"
    offline = tmp_path / "bins.keys" / "offline"
    used = json.loads(release("status", "--json", "-")[1])["roles"][1]["keys"]
    for stick, key in zip((ann, bob), used, strict=True):
        stick.mkdir()
        shutil.move(key["file"], stick)
    shutil.rmtree(offline)
    status, out, _ = release("add", bundle, "--keys", ann)
    assert status == 0
    assert out.endswith("not published yet\n")
    assert "waits for 1 more signature of targets" in out
    assert "waits for signatures: stable: tiny" in release("status")[1]
    status, out, _ = release("sign", "--keys", bob)
    assert out.startswith("to be signed: stable: tiny ")
    assert out.endswith("published\n")
    assert not out.endswith("not published yet\n")
    assert release("add", bundle, "-c", "beta", "-k", ann)[0] == 0
    assert "given up" in release("sign", "--discard")[1]


def test_what_expires_is_told_by_refresh_and_fails_the_status(release, repository, monkeypatch):
    """On standard error, so that cron sends it; the refresh itself went well."""
    now = session.utc_now()
    monkeypatch.setattr(session, "utc_now", lambda: now + timedelta(days=360))
    status, out, err = release("refresh")
    assert status == 0
    assert out.startswith("snapshot: until ")
    assert err == "ecovision-edge: targets expires soon; run `ecovision-edge release renew targets`\n"
    monkeypatch.setattr(session, "utc_now", lambda: now + timedelta(days=400))
    status, out, _ = release("status")
    assert status == 1
    assert "FAILED targets: " in out


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["add", "BUNDLE", "--rollout", "10"], 2, "--rollout: expected a part of the fleet, 0% to 100%"),
        (["add", "BUNDLE", "--channel", "a/b"], 2, "--channel: expected lower-case letters"),
        (["add", "nowhere"], 2, "no bundle"),
        (["promote", "1.4"], 1, "no channel 'stable'"),
        (["rotate-key", "roots"], 2, "ROLE: expected one of root, targets"),
        (["rotate-key", "root", "--keep", "--drop", "ab"], 2, "--keep: expected it or --drop, found both"),
        (["rotate-key", "root", "--keep", "--count", "1"], 2, "at most 1 that stay, found 2"),
        (["refresh", "--keys", "nowhere"], 2, "--keys nowhere: expected a folder"),
        (["renew", "--passphrase-file", "nowhere"], 2, "--passphrase-file nowhere"),
        (["sign"], 1, "nothing waits for signatures"),
    ],
)
def test_misuse_is_one_line(release, bundle, arguments, status, message):
    """That says what was expected."""
    found, out, err = release(*(bundle if word == "BUNDLE" else word for word in arguments))
    assert (found, out) == (status, "")
    assert err.startswith("ecovision-edge: ")
    assert message in err
    assert err.count("\n") == 1


def test_without_a_repository_it_says_how_to_make_one(tmp_path, monkeypatch, capsys):
    """In whatever folder it was called."""
    monkeypatch.chdir(tmp_path)
    assert main(["release", "status"]) == 1
    assert f"found {tmp_path}; name it by --repository, or make one with" in capsys.readouterr().err


def test_a_passphrase_comes_from_a_file(tmp_path, capsys, monkeypatch):
    """Of which the environment is not asked then."""
    monkeypatch.setenv("ECOVISION_EDGE_PASSPHRASE", "short")
    file = tmp_path / "passphrase"
    file.write_text(PASSPHRASE + "\n")
    file.chmod(0o600)
    assert main(["release", "init", str(tmp_path / "bins")]) == 1
    assert "at least 10 characters" in capsys.readouterr().err
    assert main(["release", "init", str(tmp_path / "bins"), "--passphrase-file", str(file)]) == 0
