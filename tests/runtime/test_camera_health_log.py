"""Facts about what the log says of a camera."""

import logging

import pytest

from ecovision_edge.camera.health import Health, HealthState
from ecovision_edge.camera.health_log import REPEAT, HealthLog

LOST = "cam cannot be opened: expected /dev/video0; next try in {:.1f} s"


@pytest.fixture
def told(caplog):
    """Tell states at times; gives what was logged of them from INFO on."""
    now = [0.0]
    log = HealthLog("cam", clock=lambda: now[0])
    caplog.set_level(logging.INFO, "ecovision_edge")

    def tell(at, state, reason=""):
        now[0] = at
        caplog.clear()
        log.tell(Health(HealthState[state], at, reason))
        return [record.message for record in caplog.records]

    return tell


def test_a_trouble_is_said_once_and_then_rarely(told):
    """Though it is tried again for a day; the name stands once in a line."""
    assert told(0, "RECONNECTING", LOST.format(0.3)) == [
        "cam: RECONNECTING: cannot be opened: expected /dev/video0; next try in 0.3 s"
    ]
    lines = [told(at, "RECONNECTING", LOST.format(28 + at % 2)) for at in range(15, 86400, 15)]
    said = [line for [line] in filter(None, lines)]
    assert len(said) == 86400 // REPEAT - 1
    assert said[0].endswith("next try in 28.0 s; 39 times since the last line")


def test_another_trouble_is_said_at_once(told):
    """And each of two that take turns once."""
    troubles = [
        ("STALLED", "no frame for 5.0 s"),
        ("RECONNECTING", "no frame"),
        ("RECONNECTING", "no answer"),
    ]
    assert all(told(at, *trouble) for at, trouble in enumerate(troubles))
    assert not any(told(at, *trouble) for at, trouble in enumerate(troubles * 5))


def test_after_frames_came_the_same_trouble_is_a_new_one(told):
    """Who reads the log sees each time that the camera was lost."""
    for at in range(3):
        assert told(at, "RECONNECTING", "no answer") == ["cam: RECONNECTING: no answer"]
        assert told(at, "RECONNECTING", "no answer") == []
        assert told(at, "RUNNING") == ["cam: RUNNING"]
