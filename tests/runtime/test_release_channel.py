"""Facts about channels: what is read, and which device runs which release."""

import dataclasses
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.runtime.release_repositories import make_repository, release_of, serve_folder
from tuf.ngclient import Updater

from ecovision_edge.errors import ContractError, EcovisionError, OptionError, SchemaVersionError
from ecovision_edge.releases.channel import (
    Channel,
    Release,
    ReleaseFile,
    channel_target,
    check_channel_name,
    parse_rollout,
)

FLEET = [f"bin-{number}" for number in range(1000)]


def release(number=1, rollout=1.0, *, withdrawn=False):
    """A release of a bundle that is not there."""
    bundle = f"{number:064x}"
    files = (ReleaseFile("bundle.json", bundle, 10), ReleaseFile("model.int8.onnx", "f" * 64, 20))
    return Release(bundle, "tiny", str(number), rollout, withdrawn, "2026-11-30", files)


def channel(*releases):
    return Channel("stable", releases)


def test_what_is_written_is_read_again():
    """Byte by byte, and as the format says."""
    written = channel(release(1, 0.1), release(2, withdrawn=True)).dumps()
    assert Channel.loads(written).dumps() == written
    value = json.loads(written)
    assert {key: value[key] for key in ("schema_version", "kind", "channel")} == {
        "schema_version": 1,
        "kind": "ecovision-edge channel",
        "channel": "stable",
    }
    assert value["releases"][0]["files"][1] == {
        "file": "model.int8.onnx",
        "sha256": "f" * 64,
        "bytes": 20,
        "target": "files/" + "f" * 64,
    }


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (["kind"], "ecovision-edge bundle", "channel.kind"),
        (["channel"], "../stable", "channel.channel"),
        (["releases"], {}, "channel.releases"),
        (["more"], 1, "only the keys"),
        (["releases", 0, "bundle"], "0" * 63, r"releases\[0\].bundle"),
        (["releases", 0, "bundle"], "1" * 64, "bundle's id"),
        (["releases", 0, "rollout"], 1.5, "from 0 to 1"),
        (["releases", 0, "withdrawn"], "no", "true or false"),
        (["releases", 0, "added"], "yesterday", "YYYY-MM-DD"),
        (["releases", 0, "files"], [], "bundle's id"),
        (["releases", 0, "files", 1, "file"], "../model.onnx", "plain file name"),
        (["releases", 0, "files", 1, "file"], "bundle.json", "each name once"),
        (["releases", 0, "files", 1, "target"], "files/other", r"files\[1\].target"),
        (["releases", 0, "files", 1, "bytes"], 0, r"files\[1\].bytes"),
    ],
)
def test_what_is_malformed_is_refused(place, value, message):
    """By an error that names the place."""
    data = json.loads(channel(release()).dumps())
    inner = data
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    with pytest.raises(EcovisionError, match=message):
        Channel.loads(json.dumps(data).encode())


def test_a_channel_of_a_newer_format_is_refused_as_such():
    """The words say what to do."""
    data = json.loads(channel().dumps())
    with pytest.raises(SchemaVersionError):
        Channel.loads(json.dumps({**data, "schema_version": 2}).encode())


def test_a_bundle_is_released_once():
    """To one channel."""
    with pytest.raises(ContractError, match="each bundle once"):
        channel(release(1), release(1))


def test_the_newest_release_is_chosen_that_is_allowed():
    """Neither one that was withdrawn, nor one that the device refused, nor one for other devices."""
    old, new = release(1), release(2)
    assert channel(old, new).choose("bin") == new
    assert channel(old, release(2, withdrawn=True)).choose("bin") == old
    assert channel(old, release(2, 0.0)).choose("bin") == old
    assert channel(old, new).choose("bin", {new.bundle}) == old
    assert channel(old, new).choose("bin", {new.bundle, old.bundle}) is None
    assert channel().choose("bin") is None


def test_a_tenth_of_the_fleet_is_a_tenth_and_stays_in():
    """It is the same each time, grows to a superset, and is another one for another bundle."""
    included = {r: {d for d in FLEET if release(1, r).includes(d)} for r in (0.0, 0.1, 0.3, 1.0)}
    assert (included[0.0], included[1.0]) == (set(), set(FLEET))
    assert 70 <= len(included[0.1]) <= 130  # 3.2 standard deviations of a binomial of 1000 and 0.1
    assert included[0.1] < included[0.3]
    other = {d for d in FLEET if release(2, 0.1).includes(d)}
    assert len(other & included[0.1]) <= 30


def test_which_devices_come_first_never_changes():
    """A fleet has devices of many versions of this program, and they have to agree."""
    assert [d for d in FLEET[:30] if release(7, 0.1).includes(d)] == ["bin-6", "bin-7", "bin-17"]


@given(st.text(max_size=40), st.floats(0, 1), st.floats(0, 1))
def test_a_rollout_that_grows_leaves_nobody_behind(device, one, other):
    """Whatever the device is called."""
    less, more = sorted([one, other])
    assert release(1, more).includes(device) or not release(1, less).includes(device)
    assert release(1, 1.0).includes(device)


def test_rollouts_are_percentages():
    """A bare number could be meant in two ways."""
    assert [parse_rollout(t) for t in ("10%", "0%", "100%", "2.5 %")] == [0.1, 0.0, 1.0, 0.025]
    for text in ("10", "0.1", "101%", "-1%", "", "nan%"):
        with pytest.raises(OptionError, match="0% to 100%"):
            parse_rollout(text)


def test_names_of_channels_are_plain():
    """They become a part of an address, and of a file's name."""
    check_channel_name("stable")
    for name in ("", "Stable", "a/b", ".", "-a", "a" * 33):
        with pytest.raises(OptionError, match="--channel"):
            check_channel_name(name)


def test_a_client_of_tuf_reads_a_repository_for_tests(pristine, tmp_path):
    """The channel, and each file of its bundle, by HTTP."""
    repository = make_repository(tmp_path / "repository", pristine)
    (tmp_path / "targets").mkdir()
    with serve_folder(repository.folder) as server:
        client = Updater(
            str(tmp_path / "metadata"),
            f"{server.url}metadata/",
            str(tmp_path / "targets"),
            f"{server.url}targets/",
            bootstrap=repository.root_file.read_bytes(),
        )

        def fetch(target):
            found = client.get_targetinfo(target)
            assert found is not None
            return Path(client.download_target(found)).read_bytes()

        chosen = Channel.loads(fetch(channel_target("stable"))).choose("bin-1")
        assert chosen == release_of(pristine)
        assert {f.file: fetch(f.target) for f in chosen.files} == {
            path.name: path.read_bytes() for path in pristine.iterdir()
        }
    assert "/metadata/timestamp.json" in server.asked
    assert dataclasses.replace(chosen, rollout=0.5).bytes == sum(f.stat().st_size for f in pristine.iterdir())
