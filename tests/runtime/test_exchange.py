"""Facts about a loop and a bin that change to another classifier while they run."""

import pytest
from tests.runtime.test_smart_bin import TRIGGER, Kept, Tray

from ecovision_edge import Classifier
from ecovision_edge.camera import FakeCamera
from ecovision_edge.camera.fake import Frames
from ecovision_edge.decision import BinDecider, DeciderOptions
from ecovision_edge.errors import OptionError
from ecovision_edge.loop import CameraLoop
from ecovision_edge.smart_bin import SmartBin


class Noted:
    """A classifier that notes each answer in a list that it shares with others."""

    def __init__(self, classifier, notes):
        self._classifier, self._notes = classifier, notes

    def __getattr__(self, name):
        return getattr(self._classifier, name)

    def classify(self, frame):
        self._notes.append(self._classifier.identity.id)
        return self._classifier.classify(frame)


@pytest.fixture
def second(forge, tmp_path):
    """A bundle like the first one, with an id of its own."""
    folder = forge.bundle(tmp_path / "second")
    forge.edit(folder, lambda manifest: manifest.update(name="second"))
    return Classifier.load(folder, threads=1)


@pytest.fixture
def first(pristine):
    return Classifier.load(pristine, threads=1)


def test_a_loop_changes_between_two_frames_and_loses_none(first, second):
    notes, changes = [], []
    one, two = Noted(first, notes), Noted(second, notes)
    camera = FakeCamera(Frames(6), then="end", live=False)

    def see(result):
        if result.index == 2:
            loop.exchange(two, lambda: changes.append(result.index))

    loop = CameraLoop(one, camera, on_result=see)
    summary = loop.run()
    assert (summary.classified, camera.connections, changes) == (6, 1, [2])
    assert notes == [first.identity.id] * 3 + [second.identity.id] * 3


def test_of_two_that_are_asked_for_the_last_one_is_taken(first, second):
    notes = []
    loop = CameraLoop(Noted(first, notes), FakeCamera(Frames(1), then="end", live=False))
    loop.exchange(Noted(second, notes), lambda: pytest.fail("it was not wanted any more"))
    loop.exchange(Noted(first, notes))
    loop.run()
    assert notes == [first.identity.id]


def test_a_bin_changes_when_the_tray_is_empty_and_each_item_is_judged_by_one(first, second):
    """Asked for at the first frame of the first item that is classified."""
    answers, results, sink, changes = [], [], Kept(), []
    one, two = Noted(first, answers), Noted(second, answers)

    def see(result):
        results.append((result.observation.look.view, len(answers)))
        if result.prediction is not None and not changes:
            changes.append(len(answers))
            smart_bin.exchange(two, lambda: changes.append(len(answers)))

    tray = Tray(15 * 14)
    with SmartBin(one, tray, sinks=[sink], on_result=see) as smart_bin:
        summary = smart_bin.run()
    old, new = first.identity.id, second.identity.id
    assert summary.looked_at == 15 * 14
    assert [event.bundle for event in smart_bin.events] == [old, new]
    assert [event.item for event in smart_bin.events] == [0, 1]  # numbers go on, in one run
    assert len({event.id.partition("-")[0] for event in smart_bin.events}) == 1
    asked_at, changed_at = changes
    assert asked_at == 1 < changed_at  # the rest of the item's frames were the old one's
    assert answers == [old] * changed_at + [new] * (len(answers) - changed_at)
    assert smart_bin.events[0].frames > 1


def test_sinks_are_told_which_bundle_decides_from_now_on(first, second):
    told = []
    sink = Kept()
    sink.announce = told.append
    with SmartBin(first, Tray(15 * 2), sinks=[sink]) as smart_bin:
        smart_bin.exchange(second)
        smart_bin.run()
    assert told == [first.identity, second.identity]


def test_other_labels_are_refused(first, forge, tmp_path):
    """Sinks and rules were checked for those of before."""
    other = Classifier.load(forge.bundle(tmp_path / "b", forge.contract(labels=("a", "b", "c"))), threads=1)
    with (
        SmartBin(first, Tray(1)) as smart_bin,
        pytest.raises(OptionError, match=r"expected blue.*found a, b, c"),
    ):
        smart_bin.exchange(other)


def test_a_decider_refuses_another_model_while_an_item_is_in_hand():
    decider = BinDecider(("a", "b"), options=TRIGGER, run="run")
    assert decider.between_items
    decider.trigger(0.0)
    assert not decider.between_items
    with pytest.raises(OptionError, match="an empty tray"):
        decider.exchange(("a", "b"))
    events = [decider.step((0.99, 0.01), n / 10) for n in range(8)]
    assert [event.id for event in events if event] == ["run-0"]
    assert decider.between_items  # with a trigger nothing more is looked at
    decider.exchange(("c", "d"), DeciderOptions(gate="trigger", settle=0, min_frames=2, error=0.5))
    decider.trigger(9.0)
    events = [decider.step((0.99, 0.01), 9 + n / 10) for n in range(8)]
    assert [(event.id, event.label) for event in events if event] == [("run-1", "c")]
