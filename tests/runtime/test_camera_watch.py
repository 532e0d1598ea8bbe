"""Facts about the watchdog, which knows no clock: every time here is made up."""

import math
import random

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecovision_edge.base.backoff import Backoff
from ecovision_edge.camera.watch import SamePicture, Watchdog, WatchOptions
from ecovision_edge.errors import CaptureError, OptionError, SourceOpenError
from ecovision_edge.photographs.jpeg_picture import JpegPicture

OPTIONS = WatchOptions(
    open_timeout=20, stall_after=5, frozen_after=10, first_delay=1, most_delay=8, steady_after=30
)


def picture(number):
    """Another picture for each number, which differs everywhere."""
    return np.full((48, 64, 3), number % 256, np.uint8)


@pytest.fixture
def dog():
    return Watchdog(OPTIONS, live=True)


def test_a_connection_has_until_its_first_frame(dog):
    """`open_timeout`, and then the error says how long was waited."""
    dog.connecting(100.0)
    assert dog.deadline == 120.0
    assert dog.overdue(119.9) is None
    error = dog.overdue(120.0)
    assert isinstance(error, SourceOpenError)
    assert "20.0 s" in error.message


def test_after_a_frame_the_next_one_has_its_own_time(dog):
    """`stall_after`, from each frame."""
    dog.connecting(0.0)
    for now in (1.0, 5.5, 10.0):
        assert dog.overdue(now) is None
        assert dog.frame(picture(int(now * 2)), now)
        assert dog.deadline == now + 5
    assert dog.overdue(14.9) is None
    error = dog.overdue(15.0)
    assert isinstance(error, CaptureError)
    assert error.message.startswith("no frame for 5.0 s; ")
    assert "--stall-after" in error.message  # of a source that is only slow


def test_the_same_picture_for_long_is_a_fault(dog):
    """Frames that equal each other are given for `frozen_after`, then refused, and the connection is over."""
    dog.connecting(0.0)
    taken = [dog.frame(picture(7), now) for now in np.arange(0, 14, 0.5).tolist()]
    assert taken == [True] * 21 + [False] * 7  # dated from the second one, at 0.5 s
    error = dog.overdue(13.5)
    assert isinstance(error, CaptureError)
    assert "frozen" in error.message


def test_a_frozen_picture_is_still_frozen_after_a_reconnect(dog):
    """A new connection that gives the old picture is not well; another picture is."""
    dog.connecting(0.0)
    for now in range(13):
        dog.frame(picture(7), float(now))
    dog.failed()
    dog.connecting(20.0)
    assert not dog.frame(picture(7), 20.5)
    assert dog.overdue(39.9) is None
    assert isinstance(dog.overdue(40.0), CaptureError)
    assert dog.frame(picture(8), 41.0)
    assert dog.overdue(41.1) is None


def test_one_pixel_of_noise_is_no_frozen_picture(dog):
    """Even one that the sampled checksum does not see."""
    dog.connecting(0.0)
    for now in range(60):
        image = picture(7)
        image[5, 5] = now  # neither row nor column is a sampled one
        assert dog.frame(image, float(now))


def test_pictures_are_compared_in_size_too():
    """All black, but of another shape: another picture."""
    same = SamePicture()
    for now, shape in enumerate([(48, 64, 3), (64, 48, 3), (48, 64, 3)]):
        assert same.look(np.zeros(shape, np.uint8), float(now)) == 0


def test_part_of_a_picture_is_compared_as_any():
    """A source of one's own may cut its frames, rows with gaps between them."""
    same, part = SamePicture(), picture(7)[2:40, 3:50]
    assert [same.look(part, float(now)) for now in range(4)] == [0, 0, 1, 2]


def test_what_stands_behind_a_jpeg_makes_no_other_picture():
    """A camera that appends the time is frozen all the same."""
    jpeg, same = cv2.imencode(".jpg", picture(7))[1].tobytes(), SamePicture()
    given = [JpegPicture(jpeg + b"%06d" % now, "a frame") for now in range(4)]
    assert given[0].data == jpeg
    assert [same.look(each, float(now)) for now, each in enumerate(given)] == [0, 0, 1, 2]


def test_files_may_be_still(dog):
    """Neither a still picture nor a slow consumer is a fault of a source that is not live."""
    dog = Watchdog(OPTIONS, live=False)
    dog.connecting(0.0)
    for now in range(100):
        assert dog.frame(picture(7), float(now))
    dog.pause()
    assert dog.deadline is None
    assert dog.overdue(1e6) is None
    assert dog.resume(1e6)
    assert not dog.resume(1e6 + 1)
    assert dog.overdue(1e6 + 5) is not None


def test_a_pace_moves_the_deadline(dog):
    """While the reader leaves the source alone nobody waits for it; afterwards the watch goes on."""
    dog.connecting(0.0)
    dog.frame(picture(1), 1.0)
    dog.pause(60.0)
    assert dog.overdue(64.9) is None
    assert dog.overdue(65.0) is not None


def test_still_pictures_can_be_allowed():
    """`frozen_after=None`."""
    dog = Watchdog(WatchOptions(frozen_after=None), live=True)
    dog.connecting(0.0)
    assert all(dog.frame(picture(7), float(now)) for now in range(1000))


def test_it_gives_up_after_as_many_tries_as_allowed():
    """`max_reconnects` one after the other, each with its delay."""
    dog = Watchdog(WatchOptions(max_reconnects=2), live=True)
    dog.connecting(0.0)
    assert dog.failed() is not None
    assert dog.failed() is not None
    assert dog.failed() is None
    assert dog.tries == 2


def test_one_frame_does_not_make_a_source_well():
    """Tries are counted on until frames came for `steady_after`: else a loose cable is tried for ever."""
    dog = Watchdog(WatchOptions(max_reconnects=3, steady_after=30), live=True)
    for start in (0.0, 100.0, 200.0):
        dog.connecting(start)
        for second in range(29):
            dog.frame(picture(second), start + second)
        assert dog.failed() is not None
    assert dog.failed() is None


def test_a_connection_that_gave_a_frame_lets_the_next_one_come_soon():
    """The delay begins again with the first frame; the tries are counted on."""
    dog = Watchdog(OPTIONS, live=True, backoff=Backoff(1, 8, rng=Most()))
    assert [dog.failed() for _ in range(3)] == [1, 2, 4]
    for start in (0.0, 10.0):
        dog.connecting(start)
        dog.frame(picture(int(start)), start)
        assert dog.failed() == 1
    assert dog.failed() == 2
    assert dog.tries == 6


def test_bad_frames_are_not_what_is_waited_for_but_are_told(dog):
    """They are passed over until the deadline; then the error says what came, and what was wrong with it."""
    dog.connecting(0.0)
    dog.bad_frame("an empty part")
    assert dog.overdue(20.0).message == (
        "no first frame within 20.0 s: 1 that came were of no use, the last: an empty part"
    )
    dog.frame(picture(1), 21.0)
    dog.bad_frame("an empty part")
    dog.bad_frame("half a JPEG")
    assert dog.deadline == 26.0
    assert "2 that came were of no use, the last: half a JPEG" in dog.overdue(26.0).message
    dog.frame(picture(2), 26.5)
    assert "of no use" not in dog.overdue(40.0).message


def test_steady_frames_begin_anew():
    """After `steady_after` of frames the count and the delay are as at first."""
    dog = Watchdog(OPTIONS, live=True, backoff=Backoff(1, 8, rng=Most()))
    assert [dog.failed() for _ in range(3)] == [1, 2, 4]
    dog.connecting(0.0)
    for second in range(31):
        dog.frame(picture(second), float(second))
    assert dog.tries == 0
    assert dog.failed() == 1


class Most(random.Random):
    """Chance that always says the most."""

    def uniform(self, a, b):
        return b


def test_delays_double_up_to_the_cap():
    """1, 2, 4, 8, 8, ... for a cap of 8."""
    backoff = Backoff(1, 8, rng=Most())
    assert [backoff.next() for _ in range(6)] == [1, 2, 4, 8, 8, 8]
    backoff.reset()
    assert backoff.next() == 1


@given(first=st.floats(0.01, 10), factor=st.floats(1, 100), seed=st.integers(0, 2**32))
def test_jitter_takes_off_half_at_most(first, factor, seed):
    """From half of the exponential to the whole, however often it is asked."""
    backoff = Backoff(first, first * factor, rng=random.Random(seed))
    for n in range(1100):
        whole = min(first * factor, first * 2 ** min(n, 64))
        assert whole / 2 <= backoff.next() <= whole


def test_two_devices_do_not_wait_alike():
    """Jitter is real: delays of two backoffs differ."""
    assert [Backoff(1, 8).next() for _ in range(2)] != [Backoff(1, 8).next() for _ in range(2)]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[("open_timeout", 0), ("stall_after", -1), ("frozen_after", 0), ("first_delay", math.nan)],
        *[("most_delay", math.inf), ("steady_after", 0), ("max_reconnects", -1), ("max_reconnects", 1.5)],
        ("most_delay", 0.1),
    ],
)
def test_options_out_of_range_are_named(name, value):
    """The error says which option, what is right, and what was found."""
    with pytest.raises(OptionError, match=rf"{name}.*expected.*found"):
        WatchOptions(**{name: value})
