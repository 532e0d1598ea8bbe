"""Facts about publishing releases, as a device sees them: python-tuf's client, over HTTP."""

import dataclasses
import json
import os
import shutil
from datetime import datetime, timedelta, timezone

import pytest
from tests.runtime.publishers import Publisher, cheap_passphrases, published
from tests.runtime.release_repositories import make_repository
from tuf.api.exceptions import BadVersionNumberError, ExpiredMetadataError, RepositoryError
from tuf.ngclient import UpdaterConfig

from ecovision_edge.bundle.folder import Bundle
from ecovision_edge.bundle.sizes import SizeEntry
from ecovision_edge.errors import IntegrityError, OptionError, ReleaseError, SigningKeyError
from ecovision_edge.releases.keys import KeyStore, Passphrases
from ecovision_edge.releases.publisher import refuse_several_sizes
from ecovision_edge.releases.repository import Repository
from ecovision_edge.releases.roots import Quorum, rotate
from ecovision_edge.releases.session import Session
from ecovision_edge.releases.staging import discard, waiting
from ecovision_edge.releases.status import read_status

pytestmark = pytest.mark.usefixtures(cheap_passphrases.__name__)
ROLES = ("root", "targets", "snapshot", "timestamp")


class Killed(BaseException):
    """The process ends here."""


@pytest.fixture
def publisher(tmp_path):
    """A repository without a release, and its keys."""
    made = Publisher(tmp_path)
    made.start()
    return made


@pytest.fixture(scope="module")
def bundles(forge, tmp_path_factory):
    """Two bundles that share a model, the older one first."""
    folder = tmp_path_factory.mktemp("bundles")
    return [
        forge.bundle(folder / name, precisions=precisions)
        for name, precisions in (("old", ("fp32",)), ("new", ("fp32", "int8")))
    ]


def id_of(bundle):
    return Bundle.open(bundle).identity.id


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def tree(folder):
    """Every file below a folder, and its bytes."""
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_released_bundle_arrives_whole(publisher, bundles):
    """Byte by byte, under its id."""
    assert publisher.add(bundles[0]).published
    with published(publisher) as (_, device):
        bin = device()
        release = bin.channel().choose("bin-1")
        assert release.bundle == id_of(bundles[0])
        assert bin.take(release) == contents(bundles[0])


def test_what_two_bundles_share_is_stored_and_fetched_once(publisher, bundles):
    """Here the fp32 model."""
    publisher.add(bundles[0])
    with published(publisher) as (server, device):
        bin = device()
        bin.take(before := bin.channel().choose("bin-1"))
        publisher.add(bundles[1])
        server.asked.clear()
        assert bin.take(after := bin.channel().choose("bin-1")) == contents(bundles[1])
    fetched = [path.rpartition(".")[2] for path in server.asked if path.startswith("/targets/files/")]
    assert sorted(fetched) == sorted({f.sha256 for f in after.files} - {f.sha256 for f in before.files})
    assert len(fetched) == 2


def test_the_card_of_a_bundle_goes_with_it(publisher, forge, tmp_path):
    """It is in no manifest; whatever else lies in the folder stays there."""
    bundle = forge.bundle(tmp_path / "mine")
    (bundle / "MODEL_CARD.md").write_text("# Mine\n")
    (bundle / "notes.txt").write_text("not for bins\n")
    publisher.add(bundle)
    with published(publisher) as (_, device):
        names = {file.file for file in device().channel().choose("bin-1").files}
    assert names == {*contents(bundle)} - {"notes.txt"}


def test_a_rollout_grows_to_a_superset_and_never_shrinks(publisher, bundles):
    """The others run the release before."""
    old, new = map(id_of, bundles)
    publisher.add(bundles[0])
    publisher.add(bundles[1], 0.1)
    with published(publisher) as (_, device):
        bin = device()

        def fleet():
            channel = bin.channel()
            chosen = {number: channel.choose(f"bin-{number}").bundle for number in range(300)}
            assert {*chosen.values()} <= {old, new}
            return {number for number, bundle in chosen.items() if bundle == new}

        tenth = fleet()
        assert 10 <= len(tenth) <= 50
        assert fleet() == tenth
        publisher.promote(new[:8], 0.5)
        assert fleet() > tenth
        with pytest.raises(ReleaseError, match="expected a larger part"):
            publisher.promote(new[:8], 0.5)
        publisher.promote(new[:8], 1.0)
        assert len(fleet()) == 300


def test_a_withdrawn_release_sends_its_devices_back(publisher, bundles):
    """In every channel; its files are signed no more."""
    for bundle in bundles:
        publisher.add(bundle)
    publisher.add(bundles[1], channel="beta")
    with published(publisher) as (_, device):
        bin = device()
        taken = bin.channel().choose("bin-1")
        assert taken.bundle == id_of(bundles[1])
        told = publisher.withdraw(taken.bundle)
        assert bin.channel().choose("bin-1").bundle == id_of(bundles[0])
        assert bin.channel("beta").choose("bin-1") is None
        assert bin.updater().get_targetinfo(taken.files[0].target) is None
    assert "beta: no release is left" in told.lines[-1]
    with pytest.raises(ReleaseError, match="was withdrawn before"):
        publisher.withdraw(taken.bundle)
    with pytest.raises(ReleaseError, match="was withdrawn; `withdraw --undo`"):
        publisher.promote(taken.bundle, 1.0)
    with pytest.raises(ReleaseError, match="withdrawn since; `withdraw --undo`"):
        publisher.add(bundles[1])


def test_a_release_that_was_withdrawn_by_mistake_comes_back(publisher, bundles):
    """With the rollout that it had, and its files."""
    publisher.add(bundles[0])
    publisher.add(bundles[1], 0.5)
    publisher.withdraw(id_of(bundles[1]))
    told = publisher.withdraw(id_of(bundles[1]), undo=True)
    assert "no longer withdrawn" in told.lines[0]
    with published(publisher) as (_, device):
        bin = device()
        release = bin.channel().releases[1]
        assert release.rollout == 0.5
        assert bin.take(release) == contents(bundles[1])
    with pytest.raises(ReleaseError, match="is not withdrawn"):
        publisher.withdraw(id_of(bundles[1]), undo=True)


def test_a_release_is_promoted_from_one_channel_to_another(publisher, bundles):
    """Without the bundle's folder at hand."""
    publisher.add(bundles[0], channel="beta")
    publisher.promote(id_of(bundles[0]), 0.2, source="beta")
    with published(publisher) as (_, device):
        assert [r.rollout for r in device().channel("stable").releases] == [0.2]
        assert [r.rollout for r in device().channel("beta").releases] == [1.0]


def test_a_bundle_of_several_sizes_is_refused(bundles):
    """Each of its sizes is a bundle that can be released."""
    opened = Bundle.open(bundles[0])
    sizes = (SizeEntry(8, 0.9, 0.0, 1.0), SizeEntry(4, 0.9, 0.1, 0.3, "0" * 64))
    several = dataclasses.replace(opened, manifest=dataclasses.replace(opened.manifest, sizes=sizes))
    with pytest.raises(ReleaseError, match=r"one size, found sizes/4; release the one.*old/sizes/4"):
        refuse_several_sizes(several)
    refuse_several_sizes(opened)


def test_the_same_bundle_twice_is_told(publisher, bundles):
    """And nothing is signed."""
    publisher.add(bundles[0], 0.1)
    before = tree(publisher.folder)
    with pytest.raises(ReleaseError, match=r"was released to stable before, on .*: rollout 10%; change that"):
        publisher.add(bundles[0])
    assert tree(publisher.folder) == before


@pytest.mark.parametrize("text", ["none", "", "abc"])
def test_a_release_that_is_not_there_is_told(publisher, bundles, text):
    """With those that are; a few digits are not enough."""
    publisher.add(bundles[0])
    with pytest.raises(ReleaseError, match=rf"no release like .*found tiny .*{id_of(bundles[0])[:12]}"):
        publisher.withdraw(text)
    with pytest.raises(ReleaseError, match="no channel 'beta'"):
        publisher.promote(id_of(bundles[0]), 1.0, source="beta")


def test_a_bundle_that_changes_while_it_is_verified_is_refused(publisher, forge, tmp_path):
    """What is released is what was looked at."""
    bundle = forge.bundle(tmp_path / "mine")
    opened = Bundle.open(bundle)
    forge.edit(bundle, lambda data: data.update(name="other"))
    from ecovision_edge.releases.publisher import add

    with publisher.session() as session, pytest.raises(IntegrityError, match="changed while it was verified"):
        add(session, opened, "stable", 1.0)


def test_two_publishers_at_once_are_one_and_a_message(publisher):
    """The other one changes nothing, and says when to try again."""
    with publisher.session():
        before = tree(publisher.folder)
        with pytest.raises(ReleaseError, match="another publisher is at work on it; run this again when"):
            publisher.refresh()
        assert tree(publisher.folder) == before
    assert publisher.refresh().published


CHANGES = {
    "add": lambda p, bundles: p.add(bundles[1]),
    "promote": lambda p, bundles: p.promote(id_of(bundles[0]), 1.0),
    "withdraw": lambda p, bundles: p.withdraw(id_of(bundles[0])),
    "refresh": lambda p, bundles: p.refresh(),
    "renew": lambda p, bundles: p.renew("root", "targets"),
    **{f"rotate-key {role}": lambda p, bundles, role=role: p.rotate(role) for role in ROLES},
    "more keys": lambda p, bundles: p.rotate("targets", [], Quorum(3, 2)),
}


@pytest.mark.slow
@pytest.mark.parametrize("change", CHANGES)
def test_at_no_moment_of_a_change_is_anything_refused(publisher, bundles, monkeypatch, change):
    """Neither by a new device, nor by one that has been there before, after any file that is written."""
    publisher.add(bundles[0], 0.5)
    write, written = Repository._write, []
    with published(publisher) as (_, device):
        regular = device()
        regular.updater()

        def write_and_look(self, path, data):
            write(self, path, data)
            written.append(path.name)
            for bin in (regular, device()):
                channel = bin.channel()
                bin.take(channel.choose("bin-3") or channel.releases[0]) if not channel.releases[
                    0
                ].withdrawn else None

        monkeypatch.setattr(Repository, "_write", write_and_look)
        assert CHANGES[change](publisher, bundles).published
    assert written


@pytest.mark.slow
@pytest.mark.parametrize("change", CHANGES)
def test_a_change_killed_at_any_write_leaves_what_works_and_can_be_made_again(
    publisher, bundles, monkeypatch, tmp_path, change
):
    """Before each file that it writes; what it left is cleared away."""
    publisher.add(bundles[0], 0.5)
    shutil.copytree(tmp_path, whole := tmp_path / "whole", symlinks=True)
    write, kill_at, killed = Repository._write, 0, 0

    def die_in_the_middle(self, path, data):
        nonlocal left
        left -= 1
        if left < 0:
            path.parent.mkdir(parents=True, exist_ok=True)
            (path.parent / ".ecovision-dead.tmp").write_bytes(data[: len(data) // 2])
            raise Killed
        write(self, path, data)

    while True:
        again = Publisher(tmp_path / f"kill{kill_at}")
        shutil.copytree(whole, tmp_path / f"kill{kill_at}")
        left = kill_at
        with monkeypatch.context() as patched, published(again) as (_, device):
            patched.setattr(Repository, "_write", die_in_the_middle)
            try:
                CHANGES[change](again, bundles)
            except Killed:
                killed += 1
                assert device().channel().releases[0].bundle == id_of(bundles[0])
            else:
                break
        with published(again) as (_, device):
            assert CHANGES[change](again, bundles).published
            device().channel()
        assert list(again.folder.rglob(".ecovision-*")) == []
        kill_at += 1
    assert killed >= 1


@pytest.mark.slow
def test_a_start_killed_at_any_moment_is_begun_again(tmp_path, monkeypatch):
    """Whatever it had made: half of the keys, all of them, the repository too."""
    for kill_at in range(7):
        made = Publisher(tmp_path / str(kill_at))
        with monkeypatch.context() as patched:
            _die_at(patched, kill_at)
            with pytest.raises(Killed):
                made.start()
        made.start()
        assert not list(made.keys.glob("init-*"))
        with published(made) as (_, device):
            assert device().channel().releases == ()
        with pytest.raises(OptionError, match="expected a new or empty folder"):
            made.start()


def _die_at(patched, moment):
    """End at the first, second, ... of the moments at which something of a start is on the disk."""
    from ecovision_edge.releases import roots
    from ecovision_edge.releases.keys import KeyStore

    moments = [
        (KeyStore, "create"),
        (roots, "_write"),
        (roots, "replace_file"),
        (roots.Path, "rename"),
        (roots, "sync_folder"),
        (roots.Path, "rmdir"),
        (roots.Path, "unlink"),
    ]
    owner, name = moments[moment]

    def die(*_, **__):
        raise Killed

    patched.setattr(owner, name, die)


@pytest.mark.parametrize("role", ROLES)
def test_a_role_gets_new_keys_and_devices_follow(publisher, bundles, role):
    """The old key is no longer enough."""
    publisher.add(bundles[0])
    (*old,) = publisher.key_files(role)
    with published(publisher) as (_, device):
        bin = device()
        bin.updater()
        assert publisher.rotate(role).published
        assert bin.channel().releases
        for path in old:
            path.unlink()
        assert publisher.add(bundles[1]).published
        assert publisher.refresh().published
        assert publisher.renew("root").published
        assert len(bin.channel().releases) == len(device().channel().releases) == 2
        for path in set(publisher.key_files(role)):
            path.unlink()
        told = publisher.renew("root" if role == "root" else "targets")
        assert not told.published
        assert f"1 more signature of {role}" in told.lines[-1]


def test_a_lost_targets_key_is_replaced_by_root(publisher, bundles):
    """What waited for the lost key is signed with the new one."""
    publisher.add(bundles[0])
    (lost,) = publisher.key_files("targets")
    lost.unlink()
    told = publisher.add(bundles[1])
    assert not told.published
    assert told.lines[-1] == f"waits for 1 more signature of targets, by {lost.stem}"
    with pytest.raises(ReleaseError, match="waits for signatures already"):
        publisher.withdraw(id_of(bundles[0]))
    with published(publisher) as (_, device):
        bin = device()
        assert len(bin.channel().releases) == 1
        assert publisher.rotate("targets").published
        assert len(bin.channel().releases) == 1
        assert publisher.sign().published
        assert len(bin.channel().releases) == 2


def stick(publisher, folder, *keys):
    """Move keys to a stick of their own."""
    for key in keys:
        (folder / "offline").mkdir(parents=True, exist_ok=True)
        key.rename(folder / "offline" / key.name)
    return folder


def test_two_of_three_have_to_sign(tmp_path, bundles):
    """The first signature changes nothing that devices see; who signs second is told what."""
    publisher = Publisher(tmp_path)
    publisher.start({"targets": Quorum(3, 2), "root": Quorum(3, 2)})
    sticks = [
        stick(publisher, tmp_path / name, *keys)
        for name, keys in zip(
            ("ann", "bob", "cem"),
            zip(publisher.key_files("root"), publisher.key_files("targets"), strict=True),
            strict=True,
        )
    ]
    ann, bob, _ = (Publisher(tmp_path, each, publisher.keys) for each in sticks)
    with published(publisher) as (_, device):
        bin = device()
        told = ann.add(bundles[0])
        assert not told.published
        assert "waits for 1 more signature of targets, by " in told.lines[-1]
        assert not ann.sign().published  # one key counts once
        assert bin.channel().releases == ()
        assert not ann.refresh().lines[0].startswith("stable")
        with bob.session() as session:
            assert waiting(session)[0].endswith("released to 100% of the fleet")
        assert bob.sign().published
        assert len(bin.channel().releases) == 1
        assert not ann.rotate("root", [ann.sticks[0].glob("*/root-*").__next__().name]).published
        assert bob.sign().published
        assert bin.channel().releases
        assert json.loads((bin.folder / "metadata/root.json").read_text())["signed"]["version"] == 2


def test_a_wrong_passphrase_makes_no_keys(publisher):
    """A rotation asks for that of root first."""
    before = tree(publisher.keys)
    store = KeyStore([publisher.keys], Passphrases(["another one that is long enough"]))
    with (
        Session.open(Repository(publisher.folder), store) as session,
        pytest.raises(SigningKeyError, match="no passphrase fits root-"),
    ):
        rotate(session, "timestamp")
    assert tree(publisher.keys) == before


def test_one_lost_root_key_of_two_is_replaced_by_the_other(publisher, bundles):
    """Named by its file; the other stays."""
    lost, other = publisher.key_files("root")
    lost.unlink()
    assert publisher.rotate("root", [lost.name]).published
    other.unlink()
    assert publisher.renew("root").published
    with published(publisher) as (_, device):
        device().updater()
    with pytest.raises(OptionError, match="--drop abc"):
        publisher.rotate("root", ["abc"])


def test_a_folder_from_an_old_copy_is_taken_again_after_new_online_keys(publisher, bundles):
    """Devices were further, and refuse to go back, until they are told to forget how far."""
    publisher.add(bundles[0])
    old = tree(publisher.folder)
    with published(publisher) as (_, device):
        bin = device()
        for _ in range(3):
            publisher.refresh()
        publisher.withdraw(id_of(bundles[0]))
        bin.updater()
        shutil.rmtree(publisher.folder / "metadata")
        for path, data in old.items():
            (publisher.folder / path).parent.mkdir(exist_ok=True)
            (publisher.folder / path).write_bytes(data)
        with pytest.raises(BadVersionNumberError):
            bin.updater()
        publisher.rotate("snapshot")
        publisher.rotate("timestamp")
        assert bin.channel().choose("bin-1")


def test_a_stolen_online_key_that_signed_far_ahead_is_forgotten(publisher, bundles):
    """A thief's huge version numbers would lock devices out, but for the new keys."""
    publisher.add(bundles[0])
    thief = Publisher(publisher.folder.parent / "thief")
    shutil.copytree(publisher.folder, thief.folder)
    shutil.copytree(publisher.keys / "online", thief.keys / "online")
    with thief.session() as session:
        for payload in (session.state.snapshot.signed, session.state.timestamp.signed):
            payload.version = 10**6
        session._put_snapshot()
    with published(thief) as (_, device):
        bin = device()
        bin.channel()
    publisher.rotate("snapshot")
    publisher.rotate("timestamp")
    with published(publisher) as (server, _):
        bin._url = server.url
        assert bin.channel().releases


def test_a_device_that_missed_many_roots_catches_up(publisher, bundles):
    """256 of them at once, by python-tuf's default; more in several tries, if it starts from its newest.

    One that is given its first root each time is never told of the last.
    """
    for _ in range(6):
        publisher.rotate("timestamp")
    publisher.add(bundles[0])
    assert UpdaterConfig().max_root_rotations == 256
    with published(publisher) as (_, device):
        assert device().channel().releases
        bin = device(UpdaterConfig(max_root_rotations=4))
        stubborn = device(UpdaterConfig(max_root_rotations=4))
        with pytest.raises(RepositoryError):
            bin.channel()
        assert bin.channel().releases
        for _ in range(3):
            with pytest.raises(RepositoryError):
                stubborn.updater(stubborn.root)


def test_what_expired_is_refused_until_it_is_refreshed(tmp_path, bundles):
    """By the machine of the online keys alone."""
    publisher = Publisher(tmp_path, now=lambda: datetime.now(timezone.utc) - timedelta(days=8))
    publisher.start()
    publisher.add(bundles[0])
    publisher.now = lambda: datetime.now(timezone.utc)
    shutil.move(publisher.keys / "offline", tmp_path / "drawer")
    with published(publisher) as (_, device):
        with pytest.raises(ExpiredMetadataError):
            device().channel()
        assert [line.split(":")[0] for line in publisher.refresh().lines] == ["timestamp"]
        assert device().channel().releases
    publisher.now = lambda: datetime.now(timezone.utc) + timedelta(days=20)
    assert [line.split(":")[0] for line in publisher.refresh().lines] == ["snapshot", "timestamp"]


def test_a_refresh_publishes_what_was_signed_where_there_are_no_online_keys(publisher, bundles, tmp_path):
    """A laptop has the stick, the server has the online keys, and the folder goes to and fro."""
    laptop = Publisher(tmp_path, tmp_path / "stick")
    shutil.move(publisher.keys / "offline", tmp_path / "stick")
    told = laptop.add(bundles[0])
    assert not told.published
    assert "snapshot" in told.lines[-2]
    with published(publisher) as (_, device):
        assert device().channel().releases == ()
        assert "released to 100%" in publisher.refresh().lines[0]
        assert device().channel().releases


def test_what_a_web_server_was_made_to_hold_is_not_signed(publisher, bundles, tmp_path):
    """Somebody who may write there has put another list of targets, root or channel into the folder."""
    publisher.add(bundles[0])
    good = tree(publisher.folder)
    strange = tree(make_repository(tmp_path / "strange", bundles[1]).folder)

    def put(name, data):
        path = publisher.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    channel = next(str(path) for path in good if path.name.endswith(".stable.json"))
    for changes in (
        {"metadata/2.targets.json": strange[type(next(iter(strange)))("metadata/1.targets.json")]},
        {"metadata/1.root.json": strange[type(next(iter(strange)))("metadata/1.root.json")]},
        {str(path): data for path, data in strange.items()},
        {"metadata/2.root.json": strange[type(next(iter(strange)))("metadata/1.root.json")]},
        {"metadata/timestamp.json": b"{}"},
        {channel: good[type(next(iter(good)))(channel)].replace(b'"rollout": 1.0', b'"rollout": 0.0')},
    ):
        for name, data in changes.items():
            put(name, data)
        with pytest.raises(ReleaseError, match="not what a publisher of this repository wrote"):
            publisher.add(bundles[1])
        shutil.rmtree(publisher.folder)
        for path, data in good.items():
            put(path, data)
    assert publisher.add(bundles[1]).published


def test_what_waits_for_signatures_may_hold_releases_alone(publisher, bundles):
    """A second signature must not be got for what no publisher would have made."""
    (publisher.key_files("targets")[0]).unlink()
    publisher.add(bundles[0])
    path = publisher.folder / "staged/targets.json"
    data = json.loads(path.read_bytes())
    data["signed"]["targets"]["files/firmware"] = {"length": 1, "hashes": {"sha256": "0" * 64}}
    path.write_text(json.dumps(data))
    publisher.rotate("targets")
    with pytest.raises(ReleaseError, match="found 'files/firmware'; find out who wrote it"):
        publisher.sign()
    with publisher.session() as session:
        assert discard(session).lines == ("targets: given up",)
    with pytest.raises(ReleaseError, match="nothing waits for signatures"):
        publisher.sign()


def test_a_web_server_may_read_all_of_it(publisher, bundles):
    """Whatever a publisher's umask is; the keys it may not."""
    before = os.umask(0o077)
    try:
        publisher.add(bundles[0])
    finally:
        os.umask(before)
    paths = [publisher.folder, *publisher.folder.rglob("*")]
    assert {path.stat().st_mode & 0o777 for path in paths if path.is_dir()} == {0o755}
    assert {path.stat().st_mode & 0o777 for path in paths if path.is_file()} == {0o644}


def test_a_clock_that_is_behind_signs_nothing(publisher, bundles):
    """Of a board without a battery, say: all of it would have expired."""
    publisher.add(bundles[0])
    before = tree(publisher.folder)
    publisher.now = lambda: datetime(1970, 1, 1, tzinfo=timezone.utc)
    with pytest.raises(ReleaseError, match=r"clock of this machine: expected .* found 1970-01-01; set"):
        publisher.refresh()
    assert tree(publisher.folder) == before


def test_an_empty_folder_is_filled_and_stays_itself(tmp_path, monkeypatch):
    """One in which a shell is, or where a disk is mounted."""
    publisher = Publisher(tmp_path)
    publisher.folder.mkdir()
    publisher.keys.mkdir()
    before = [(path, path.stat().st_ino) for path in (publisher.folder, publisher.keys)]
    publisher.start()
    assert [(path, path.stat().st_ino) for path, _ in before] == before
    assert [path.name for path in publisher.folder.iterdir()] == ["metadata"]


def test_a_key_is_not_exchanged_under_its_id(tmp_path):
    """Who signs second is shown ids, and python-tuf takes any id for any key."""
    publisher = Publisher(tmp_path)
    publisher.start({"root": Quorum(2, 2)})
    stick(publisher, tmp_path / "elsewhere", publisher.key_files("root")[0])
    assert not publisher.renew("root").published
    path = publisher.folder / "staged/root.json"
    data = json.loads(path.read_bytes())
    keys, roles = data["signed"]["keys"], data["signed"]["roles"]
    first, other = roles["targets"]["keyids"][0], roles["timestamp"]["keyids"][0]
    keys[first]["keyval"] = keys[other]["keyval"]
    path.write_text(json.dumps(data))
    with pytest.raises(ReleaseError, match=f"found another key with the id {first[:12]}; find out who"):
        publisher.sign()


def test_the_keys_are_not_served(tmp_path):
    """A folder of them inside the repository is refused, and they are of nobody else to read."""
    publisher = Publisher(tmp_path)
    publisher.keys = publisher.folder / "keys"
    with pytest.raises(OptionError, match="outside of the repository"):
        publisher.start()
    publisher.keys = tmp_path / "keys"
    publisher.start()
    modes = {path.stat().st_mode & 0o077 for path in publisher.keys.rglob("*.pem")}
    assert modes == {0}
    secrets = [path.read_bytes() for path in publisher.keys.rglob("*.pem")]
    assert all(secret not in data for data in tree(publisher.folder).values() for secret in secrets)


def test_the_status_says_what_expires_and_where_the_keys_are(publisher, bundles):
    """Soon is a warning, gone is a failure; both say which command helps."""
    publisher.add(bundles[0], 0.25)
    (old,) = publisher.key_files("timestamp")
    publisher.rotate("timestamp")

    def status(days):
        publisher.now = lambda: datetime.now(timezone.utc) + timedelta(days=days)
        with publisher.session(offline=False) as session:
            return read_status(session)

    now, later, late = status(0), status(320), status(800)
    assert (now.ok, list(now.advice()), now.unused) == (True, [], (old,))
    assert [role.level for role in later.roles] == ["ok", "warn", "fail", "fail"]
    assert [role.level for role in late.roles] == ["fail"] * 4
    assert "targets expires soon; run `ecovision-edge release renew targets`" in list(later.advice())
    assert "timestamp has expired: devices refuse it; run `ecovision-edge release refresh`" in list(
        late.advice()
    )
    assert not late.ok
    value = json.loads(json.dumps(now.to_json()))
    assert value["roles"][1]["keys"][0]["file"] == str(publisher.key_files("targets")[0])
    assert value["channels"]["stable"][0]["rollout"] == 0.25
    file = next(publisher.folder.glob("targets/files/*"))
    file.write_bytes(file.read_bytes()[1:])
    assert not status(0).ok
    publisher.key_files("root")[0].unlink()
    assert [path for _, path in status(0).roles[0].keys].count(None) == 1


def test_a_damaged_file_is_written_again_with_the_next_bundle_that_has_it(publisher, bundles):
    """Its name says what it should hold."""
    publisher.add(bundles[0])
    for file in publisher.folder.glob("targets/files/*"):
        file.write_bytes(bytes(file.stat().st_size))
    publisher.add(bundles[0], channel="beta")
    with published(publisher) as (_, device):
        bin = device()
        assert bin.take(bin.channel().choose("bin-1")) == contents(bundles[0])


def test_a_disk_that_is_full_changes_nothing_that_devices_see(publisher, bundles, monkeypatch):
    """The message says so."""
    from ecovision_edge.releases import repository

    def full(*_, **__):
        raise OSError(28, os.strerror(28))

    with published(publisher) as (_, device):
        with monkeypatch.context() as patched:
            patched.setattr(repository, "replace_file", full)
            with pytest.raises(ReleaseError, match="No space left on device; what devices see has not"):
                publisher.add(bundles[0])
        assert device().channel().releases == ()
    assert publisher.add(bundles[0]).published


def test_days_are_settings_that_the_root_holds(publisher):
    """Changed by `renew`, and heeded by whoever signs next."""
    publisher.renew("root", days={"timestamp": 2, "root": None})
    publisher.refresh()
    with publisher.session() as session:
        assert session.days_left("timestamp") < 2
        assert session.days_left("root") > 700
    with pytest.raises(OptionError, match=r"--timestamp-days: expected 1 to 3650"):
        publisher.renew("root", days={"timestamp": 0})
    with pytest.raises(OptionError, match="`ecovision-edge release refresh` signs the others"):
        publisher.renew("timestamp")
    with pytest.raises(OptionError, match="threshold"):
        publisher.rotate("targets", quorum=Quorum(1, 2))


def test_a_key_that_is_damaged_or_another_is_told(publisher, bundles):
    """By its file."""
    path, other = publisher.key_files("targets")[0], publisher.key_files("root")[0]
    good = path.read_bytes()
    path.write_bytes(b"-----BEGIN PRIVATE KEY-----\n")
    with pytest.raises(SigningKeyError, match=rf"{path.name} is no private key"):
        publisher.add(bundles[0])
    path.write_bytes(other.read_bytes())
    with pytest.raises(SigningKeyError, match=rf"{path.name}: expected the one with the id"):
        publisher.add(bundles[0])
    path.write_bytes(good)
    assert publisher.add(bundles[0]).published
