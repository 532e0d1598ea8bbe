"""Facts about the servo and the LEDs, on gpiozero's mock pins."""

import re
import sys
import threading

import pytest
from tests.runtime.paces import Unhurried

from ecovision_edge.base.installation import extra_fix
from ecovision_edge.errors import MissingDependencyError, OptionError, SinkError
from ecovision_edge.events import BinEvent, BinState
from ecovision_edge.sinks.gpio import GpioOptions, GpioSink, gpio_sink

WAIT = 30.0  # a safety net
BINS = ("paper", "residual", "glass")
ADDRESS = "gpio:?servo=18&angles=paper:-60,residual:60,glass:0&failsafe=residual&leds=paper:5&fault_led=13"


def event(number=0, bin="paper"):
    return BinEvent(
        id=f"run-{number}",
        sequence=number,
        item=number,
        time=None,
        monotonic=float(number),
        label="x",
        bin=bin,
        probability=0.9,
        margin=0.5,
        frames=5,
        seconds=1.0,
        reason="",
    )


class Bench:
    """Mock pins, and a time that passes only while the sink waits; `log` has the pins at each wait."""

    def __init__(self, factory):
        self.factory, self.now, self.log = factory, 0.0, []
        self.hold_on = None  # called at each wait of `hold` seconds
        self.passed = threading.Semaphore(0)

    def sink(self, address=ADDRESS, bins=BINS):
        options = gpio_sink(address, bins)._delivery._options
        self.options = options
        return GpioSink(options, wait=self.wait)

    def pins(self):
        """What drives the pins alone, without a thread."""
        return self.sink()._delivery

    def angle(self):
        """Of the pulses at the servo's pin, degrees; None without pulses, or without a servo."""
        duty = self.factory.pin(18).state if self.options.servo is not None else 0
        o = self.options
        if not duty:
            return None
        share = (duty * 20 - o.min_pulse) / (o.max_pulse - o.min_pulse)
        return round(o.min_angle + share * (o.max_angle - o.min_angle))

    def lit(self, pin):
        return bool(self.factory.pin(pin).state)

    def wait(self, seconds, condition):
        if not condition():
            self.log.append((seconds, self.angle(), self.lit(5)))
            if seconds == self.options.hold and self.hold_on is not None:
                self.hold_on()
            if not condition():
                self.now += seconds
        self.passed.release()


@pytest.fixture
def bench():
    """gpiozero on mock pins."""
    gpiozero = pytest.importorskip("gpiozero", reason="needs gpiozero: pip install 'ecovision-edge[gpio]'")
    from gpiozero.pins.mock import MockFactory, MockPWMPin

    before = gpiozero.Device.pin_factory
    factory = gpiozero.Device.pin_factory = MockFactory(pin_class=MockPWMPin)
    yield Bench(factory)
    factory.reset()
    gpiozero.Device.pin_factory = before


def test_the_servo_is_at_its_fail_safe_angle_from_the_start(bench):
    """Before any event."""
    with bench.sink():
        assert bench.passed.acquire(timeout=WAIT)
        assert bench.log == [(0.6, 60, False)]


def test_an_event_turns_the_servo_holds_it_and_turns_it_back(bench):
    """With the bin's light on meanwhile."""
    with bench.sink() as sink:
        sink.put(event())
        assert sink.flush(WAIT)
        assert sink.stats.delivered == 1
        assert bench.log[1:] == [(0.6, -60, True), (2.0, -60, True), (0.6, 60, False)]


def test_an_event_that_comes_meanwhile_waits_its_turn(bench):
    """The servo goes back in between."""
    sink = bench.sink()
    later = [event(1, "glass")]
    bench.hold_on = lambda: [sink.put(later.pop()) for _ in later[:]]
    with sink:
        sink.put(event())
        assert sink.flush(WAIT)
    assert [angle for _, angle, _ in bench.log] == [60, -60, -60, 60, 0, 0, 60]


def test_a_fault_ends_what_is_served_and_nothing_is_served_in_it(bench, caplog):
    """The servo stands at its fail-safe angle, and a light says why; then all goes on."""
    sink = bench.sink()
    bench.hold_on = lambda: sink.show(BinState.FAULT, "no frames")
    with sink:
        sink.put(event())
        sink.put(event(1))
        assert sink.flush(WAIT)
        assert (sink.stats.delivered, sink.stats.dropped) == (1, 1)
        assert bench.now == pytest.approx(3 * 0.6)
        assert [angle for _, angle, _ in bench.log] == [60, -60, -60, 60]
        assert bench.lit(13)
        assert "expected no fault" in caplog.text
        bench.hold_on = None
        sink.show(BinState.EMPTY)
        sink.put(event(2))
        assert sink.flush(WAIT)
        assert not bench.lit(13)
        assert sink.stats.delivered == 2


def test_nothing_is_served_while_the_bin_starts(bench):
    """Though that is no fault, and lights no light."""
    sink = bench.sink()
    sink.show(BinState.STARTING, "the empty tray is being learnt")
    sink.put(event())
    with sink:
        assert sink.flush(WAIT)
        assert (sink.stats.delivered, sink.stats.dropped) == (0, 1)
        assert not bench.lit(13)


def test_closing_leaves_the_servo_at_its_fail_safe_angle(bench):
    """It ends what is served in time for the turn, and gives the pins back."""
    from gpiozero import LED

    sink = bench.sink()
    closer = threading.Thread(target=lambda: sink.close(0.0))

    def close():
        closer.start()
        while not sink.stopping:
            pass

    bench.hold_on = close
    sink.start()
    sink.put(event())
    assert sink.flush(WAIT)
    closer.join(WAIT)
    assert not closer.is_alive()
    assert not sink.running
    assert bench.log[-1] == (0.6, 60, False)
    assert bench.now == pytest.approx(3 * 0.6)
    LED(18).close()  # the pin can be taken


def test_a_servo_may_be_detached_once_it_stands(bench):
    """No pulses, so no jitter."""
    with bench.sink(ADDRESS + "&detach=1") as sink:
        sink.put(event())
        assert sink.flush(WAIT)
        assert bench.log[1:] == [(0.6, -60, True), (2.0, None, True), (0.6, 60, False)]
        assert bench.angle() is None


def test_leds_need_no_servo(bench):
    """One a bin."""
    sink = bench.sink("gpio:?leds=paper:5,glass:6&hold=500ms", ("paper", "glass"))
    with sink:
        sink.put(event())
        sink.put(event(1, "glass"))
        assert sink.flush(WAIT)
    assert bench.log == [(0.5, None, True), (0.5, None, False)]


def test_an_event_for_an_unknown_bin_is_dropped(bench, caplog):
    """Nothing moves."""
    with bench.sink() as sink:
        sink.put(event(0, "sand"))
        assert sink.flush(WAIT)
        assert sink.stats.dropped == 1
        assert len(bench.log) == 1
    assert "sand" in caplog.text


@pytest.mark.slow
def test_a_pin_in_use_is_tried_again(bench):
    """What was taken is given back before."""
    from gpiozero import LED

    other = LED(18)
    sink = bench.sink()
    with sink:
        while not sink.stats.retries:
            pass
        assert "the pins cannot be used: pin GPIO18 is already in use" in sink.stats.error
        other.close()
        sink.put(event())
        assert sink.flush(WAIT)


class Faults:
    """A library that raises where a pin's `state` or `frequency` is set: so many times, from now on."""

    def __init__(self, monkeypatch, attribute, pin):
        from gpiozero.pins.mock import MockPWMPin

        plain = getattr(MockPWMPin, attribute)
        self.left = 0

        def failing(its_pin, value):
            if its_pin.info.name == f"GPIO{pin}" and self.left:
                self.left -= 1
                raise OSError("the library failed")
            plain.fset(its_pin, value)

        monkeypatch.setattr(MockPWMPin, attribute, property(plain.fget, failing))


def test_a_servo_that_cannot_be_turned_back_is_opened_again_at_its_place(bench, monkeypatch):
    """And every pin was given back, so that all can be taken again."""
    faults, sink = Faults(monkeypatch, "state", 18), bench.pins()
    sink.open(Unhurried())
    sink._servo.angle = -60
    faults.left = 1
    with pytest.raises(SinkError, match="did not do as they were told: the library failed"):
        sink.close()
    assert bench.log[-1] == (0.6, 60, False)
    sink.open(Unhurried())
    sink.close()


def test_a_servo_that_cannot_be_opened_again_holds_no_pin(bench, monkeypatch):
    """However often the library raises: once it works, the servo goes to its place."""
    faults, sink = Faults(monkeypatch, "state", 18), bench.pins()
    sink.open(Unhurried())
    sink._servo.angle = -60
    faults.left = 3
    with pytest.raises(SinkError, match="the library failed"):
        sink.close()
    with pytest.raises(SinkError, match="cannot be used: the library failed"):
        sink.open(Unhurried())
    sink.close()
    sink.open(Unhurried())
    assert bench.log[-1] == (0.6, 60, False)
    sink.close()


def test_a_pin_that_cannot_be_closed_is_closed_the_next_time(bench, monkeypatch):
    """The others are closed at once."""
    from gpiozero import LED

    faults, sink = Faults(monkeypatch, "frequency", 18), bench.pins()
    sink.open(Unhurried())
    faults.left = 1
    with pytest.raises(SinkError, match="the library failed"):
        sink.close()
    for pin in (5, 13):
        LED(pin).close()
    with pytest.raises(SinkError, match="already in use"):
        sink.open(Unhurried())
    sink.close()
    sink.open(Unhurried())
    sink.close()


def test_names_and_numbers_come_from_the_address(bench):
    """A name may hold anything, percent-encoded."""
    options = bench.sink(
        "gpio:?servo=12&angles=a%2Cb%3A:-10.5,c:d:90&failsafe=c:d&hold=1s&travel=300ms"
        "&min_angle=-120&max_angle=120&min_pulse=0.5&max_pulse=2.5",
        ("a,b:", "c:d"),
    )._delivery._options
    assert options.angles == {"a,b:": -10.5, "c:d": 90}
    assert (options.servo, options.failsafe, options.hold, options.travel) == (12, "c:d", 1.0, 0.3)
    assert (options.min_angle, options.max_angle, options.min_pulse, options.max_pulse) == (
        -120,
        120,
        0.5,
        2.5,
    )


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("gpio:?servo=18&angles=paper:0,glass:1&failsafe=paper", "bin residual"),
        ("gpio:?servo=18&angles=paper:0,glass:1,residual:2,sand:3&failsafe=paper", "sand"),
        ("gpio:?servo=18&angles=paper:0,glass:1,residual:91&failsafe=paper", "angle of residual.*-90 to 90"),
        ("gpio:?servo=18&angles=paper:0,glass:1,residual:2", "failsafe"),
        ("gpio:?servo=18&angles=paper:0,glass:1,residual:2&failsafe=sand", "failsafe"),
        ("gpio:?servo=18&angles=paper:0,paper:1", "each bin once"),
        ("gpio:?servo=18&angles=paper:nan", "angles"),
        ("gpio:?servo=18&angles=paper", "angles"),
        ("gpio:?servo=28", "servo.*0 to 27"),
        ("gpio:?servo=18", "servo and angles"),
        ("gpio:", "neither"),
        ("gpio:?leds=paper:5,glass:5,residual:6", "pin of led of glass.*5"),
        ("gpio:?leds=paper:5,glass:28,residual:6", "pin of led of glass.*0 to 27"),
        ("gpio:?leds=paper:x", "leds"),
        ("gpio:?leds=paper:5&hold=soon", "hold"),
        ("gpio:?leds=paper:5&hold=2m", "hold"),
        ("gpio:?leds=paper:5&travel=2s", "travel"),
        ("gpio:?leds=paper:5&min_pulse=2&max_pulse=1", "max_pulse"),
        ("gpio:?leds=paper:5&max_angle=-90", "max_angle"),
        ("gpio:?leds=paper:5&led=1", "did you mean leds"),
        ("gpio:?leds=paper:5&leds=glass:6", "once"),
        ("gpio://host?leds=paper:5", "address of pins"),
    ],
)
def test_a_wrong_address_is_refused(address, message):
    """By the name of the bin or the option."""
    with pytest.raises(OptionError, match=message):
        gpio_sink(address, BINS)


def test_an_item_long_gone_is_not_acted_on(bench):
    """The pins were not to be had for too long."""
    from gpiozero import LED

    other = LED(18)
    with bench.sink(ADDRESS + "&max_age=50ms") as sink:
        sink.put(event())
        assert sink.flush(WAIT)
        other.close()
        assert (sink.stats.expired, sink.stats.delivered) == (1, 0)
    assert [angle for _, angle, _ in bench.log if angle != 60] == []
    assert bench.sink(ADDRESS + "&max_age=0")._delivery._options.max_age is None


def test_options_given_in_code_are_checked_too():
    """As those of an address."""
    with pytest.raises(OptionError, match="hold"):
        GpioOptions(leds={"paper": 5}, hold=float("nan"))


def test_without_gpiozero_the_message_says_what_to_install(monkeypatch):
    """Before anything runs."""
    monkeypatch.setitem(sys.modules, "gpiozero", None)
    with pytest.raises(MissingDependencyError, match=re.escape(extra_fix("gpio"))):
        gpio_sink(ADDRESS, BINS)


def test_a_wait_ends_with_its_condition_or_its_time(bench):
    """The real one, which the other tests replace."""
    sink = GpioSink(GpioOptions(leds={"paper": 5}))
    pins, runner = sink._delivery, sink._Sink__runner
    pins._pace = runner
    pins._wait(0.0, lambda: False)
    pins._wait(1e9, lambda: True)
    threading.Timer(0.01, sink.show, (BinState.FAULT,)).start()
    pins._wait(1e9, lambda: pins._blind)
