"""Facts about which bundle it is: name, version, id; and who is told of it."""

import dataclasses
import datetime
import hashlib
import json
import shutil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecovision_edge import Bundle, Classifier
from ecovision_edge.bundle.folder import MANIFEST_NAME
from ecovision_edge.bundle.identity import BundleIdentity, dated_version, is_version, revised_version
from ecovision_edge.bundle.manifest import Manifest
from ecovision_edge.camera import open_source
from ecovision_edge.decision import BinDecider, DeciderOptions
from ecovision_edge.errors import ContractError
from ecovision_edge.events import BinState
from ecovision_edge.sinks import Sink
from ecovision_edge.smart_bin import SmartBin

DAY = datetime.date(2026, 11, 3)


@pytest.fixture
def versioned(forge, tmp_path):
    """A bundle that was given a version."""
    return forge.bundle(tmp_path / "versioned", provenance={"bundle_version": "2.1", "by": "test"})


def test_a_bundle_says_which_one_it_is(versioned):
    """Its id is the sha256 of its manifest, which has that of all else."""
    digest = hashlib.sha256((versioned / MANIFEST_NAME).read_bytes()).hexdigest()
    bundle = Bundle.open(versioned)
    assert bundle.identity == BundleIdentity("tiny", "2.1", digest)
    assert Classifier.from_bundle(bundle, "fp32").identity == bundle.identity
    assert str(bundle.identity) == f"tiny 2.1 ({digest[:12]})"


def test_a_bundle_without_a_version_still_opens(bundle):
    """Its version is then derived: the beginning of its id."""
    identity = Bundle.open(bundle).identity
    assert identity.version == identity.id[:12]
    assert str(identity) == f"tiny {identity.id[:12]}"
    assert Bundle.open(bundle).manifest.version is None


def test_a_lone_model_file_is_of_no_bundle(pristine):
    """Nothing is known of it."""
    assert Classifier.load(pristine / "model.fp32.onnx").identity is None


def test_the_identity_is_that_of_the_bytes_that_were_read(versioned, bundle):
    """Whatever the folder becomes while the classifier runs."""
    opened = Bundle.open(versioned)
    shutil.copytree(bundle, versioned, dirs_exist_ok=True)
    assert opened.identity != Bundle.open(versioned).identity
    assert Classifier.from_bundle(opened, "fp32").identity == opened.identity


def test_a_version_changes_nothing_that_an_older_runtime_checks(versioned):
    """It refuses each key that it does not know, but in the provenance, where it looks at none."""
    manifest = Bundle.open(versioned).manifest
    without = json.loads(dataclasses.replace(manifest, version=None).dumps())
    with_one = json.loads(manifest.dumps())
    assert with_one.pop("provenance") == {"bundle_version": "2.1", **without.pop("provenance")}
    assert with_one == without


def test_a_version_comes_back_as_it_was_written(versioned):
    """And is no part of what else the provenance says."""
    manifest = Bundle.open(versioned).manifest
    assert manifest.provenance == {"by": "test"}
    assert Manifest.loads(manifest.dumps()) == manifest
    assert manifest.dumps() == (versioned / MANIFEST_NAME).read_bytes()


@pytest.mark.parametrize("version", ["", " 1", "1 ", "a b", "-1", "a/b", "\x1b[2J", "ä", "1" * 65, 2.1, []])
def test_what_is_no_version_is_refused(forge, bundle, version):
    """Its place, what was expected, what was found; printable."""
    forge.edit(bundle, lambda d: d["provenance"].update(bundle_version=version))
    with pytest.raises(ContractError, match=r"bundle\.json\.provenance\.bundle_version.*expected") as caught:
        Bundle.open(bundle)
    assert caught.value.message.isprintable()


@pytest.mark.parametrize("version", ["1", "2.1", "2026.11.03+3f2a90bc", "v2_rc-1", "1" * 64])
def test_ordinary_versions_are_taken(version):
    """Numbers, dates, semantic versions."""
    assert is_version(version)


def test_a_version_that_nobody_gave_is_the_day_and_a_digest():
    """Two bundles of one day have two versions; the same bundle has the same."""
    digest = hashlib.sha256(b"one").hexdigest()
    assert dated_version(DAY, b"one") == f"2026.11.03+{digest[:8]}"
    assert dated_version(DAY, b"one") != dated_version(DAY, b"other")


@given(st.from_regex(r"[0-9A-Za-z][0-9A-Za-z._+-]{0,63}", fullmatch=True), st.binary(max_size=9))
def test_what_was_made_of_a_version_names_it(version, content):
    """Its ending is another, whatever stood there; it is a version, and made again the same."""
    revised = revised_version(version, content)
    assert is_version(revised)
    assert revised_version(revised, content) == revised
    assert version.startswith(revised.partition("+")[0])
    assert revised.endswith(f"+{hashlib.sha256(content).hexdigest()[:8]}")


def test_an_event_names_the_bundle():
    """Id, name and version."""
    identity = BundleIdentity("kitchen", "2.1", "0" * 64)
    options = DeciderOptions(gate="trigger", min_frames=2)
    decider = BinDecider(("paper", "glass"), options=options, bundle=identity)
    decider.trigger(0.0)
    [event] = [e for n in range(4) if (e := decider.step((0.02, 0.98), 0.5 + n / 10))]
    assert (event.bundle, event.bundle_name, event.bundle_version) == ("0" * 64, "kitchen", "2.1")


class Told(Sink):
    """Keeps the messages of states."""

    def __init__(self):
        super().__init__("told")
        self.messages = []

    def deliver(self, event):
        pass

    def tell_state(self, message):
        self.messages.append(message)


def test_a_bin_tells_its_sinks_which_bundle_decides(versioned):
    """In each message of a state, from the first on."""
    sink, classifier = Told(), Classifier.load(versioned, artifact="fp32")
    with SmartBin(classifier, open_source("demo:?frames=3"), sinks=[sink]) as smart_bin:
        smart_bin.run()
    assert sink.messages
    assert {message.bundle for message in sink.messages} == {classifier.identity}


def test_another_bundle_is_told_with_the_state_that_is_shown():
    """At once; before any state there is nothing to tell."""
    one, other = BundleIdentity("kitchen", "1", "0" * 64), BundleIdentity("kitchen", "2", "1" * 64)
    sink = Told()
    sink.announce(one)
    sink.show(BinState.EMPTY, "why")
    sink.announce(other)
    sink.start()
    sink.close()
    assert [(m.state, m.reason, m.bundle) for m in sink.messages] == [(BinState.EMPTY, "why", other)]
