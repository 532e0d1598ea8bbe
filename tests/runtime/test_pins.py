"""Facts about pins on the kernel's interface: on a double of `gpiod` that has the real one's shape."""

import collections
import dataclasses
import errno
import importlib
import inspect
import os
import sys
import threading
from datetime import timedelta
from types import ModuleType

import pytest
from tests.runtime import gpiod_double as double
from tests.runtime.test_pulses import make_chip, said
from tests.runtime.test_sink_gpio import event

from ecovision_edge.base.installation import extra_fix
from ecovision_edge.errors import MissingDependencyError, PinError
from ecovision_edge.pins import library
from ecovision_edge.pins.chips import HEADERS, find_header
from ecovision_edge.pins.library import check_library, gpio_library, has_pulses, pulses_fix
from ecovision_edge.pins.pulses import find_channel
from ecovision_edge.pins.servos import check_pulses, open_servo
from ecovision_edge.sinks.gpio import gpio_sink
from ecovision_edge.triggers.addresses import open_trigger

WAIT = 30.0  # a safety net
PI5 = 0xD04170
FACTORY = "ecovision_edge.pins.gpiod_factory"


@pytest.fixture
def board(monkeypatch):
    """A Pi 5 whose pins gpiozero reaches by the double alone; lgpio is not there."""
    gpiozero = pytest.importorskip("gpiozero", reason="needs gpiozero: pip install 'ecovision-edge[gpio]'")
    local = importlib.import_module("gpiozero.pins.local")
    line = ModuleType("gpiod.line")
    for name in ("Value", "Direction", "Bias", "Edge"):
        setattr(line, name, getattr(double, name))
    monkeypatch.setitem(sys.modules, "gpiod", double)
    monkeypatch.setitem(sys.modules, "gpiod.line", line)
    monkeypatch.delitem(sys.modules, FACTORY, raising=False)
    monkeypatch.setattr(double, "BOARD", double.Board())
    double.BOARD.chips["/dev/gpiochip0"] = "pinctrl-rp1"
    monkeypatch.setattr(gpiozero.Device, "pin_factory", None)
    monkeypatch.delenv("GPIOZERO_PIN_FACTORY", raising=False)
    monkeypatch.setattr(library, "_is_there", {"gpiod": True, "lgpio": False}.__getitem__)
    monkeypatch.setattr(local, "get_pi_revision", lambda: PI5)
    monkeypatch.setattr(local.LocalPiFactory, "pins", {})
    monkeypatch.setattr(local.LocalPiFactory, "_reservations", collections.defaultdict(list))
    monkeypatch.setattr(importlib.import_module(FACTORY), "find_header", lambda gpiod: "/dev/gpiochip0")
    yield double.BOARD
    if gpiozero.Device.pin_factory is not None:
        gpiozero.Device.pin_factory.close()
    monkeypatch.delitem(sys.modules, FACTORY, raising=False)


def devices(tmp_path, chips):
    """Device files of such names; their labels are the double's."""
    for name, label in chips.items():
        (tmp_path / name).touch()
        double.BOARD.chips[str(tmp_path / name)] = label
    return tmp_path


@pytest.mark.parametrize("label", HEADERS)
def test_the_chip_of_the_header_is_found_by_its_label(monkeypatch, tmp_path, label):
    """A Pi 5 has others beside it, which the kernel numbers as it likes."""
    monkeypatch.setattr(double, "BOARD", double.Board())
    chips = {"gpiochip0": "gpio-brcmstb@107d508500", "gpiochip10": label, "gpiochip2": "raspberrypi-exp-gpio"}
    assert find_header(double, devices(tmp_path, chips)) == tmp_path / "gpiochip10"


@pytest.mark.parametrize(
    ("chips", "says"),
    [
        ({}, r"expected /dev/gpiochip0 .*pinctrl-rp1.*, found no .*gpiochip\*; is this a Raspberry Pi"),
        ({"gpiochip0": "INT34C5:00"}, r"found .*gpiochip0 \(INT34C5:00\)"),
        (
            {"gpiochip0": PermissionError(errno.EACCES, os.strerror(errno.EACCES))},
            r"gpiochip0 may not be opened: .*Permission denied\); run: sudo usermod -aG gpio",
        ),
    ],
)
def test_a_chip_that_is_missing_is_named(monkeypatch, tmp_path, chips, says):
    """With what there is in its place, and what to do."""
    monkeypatch.setattr(double, "BOARD", double.Board())
    with pytest.raises(PinError, match=says):
        find_header(double, devices(tmp_path, chips))


def test_a_lamp_is_switched_and_falls_off_at_the_end(board):
    """Its level is there from the first request on: nothing clicks."""
    lamp = gpio_library().LED(17, initial_value=True)
    line = board.line(17)
    assert (line.holder, line.level, line.log[0].direction) == (
        "ecovision-edge",
        True,
        double.Direction.OUTPUT,
    )
    assert line.log[0].output_value is double.Value.ACTIVE
    lamp.off()
    assert line.level is False
    lamp.on()
    assert (lamp.is_lit, line.level) == (True, True)
    lamp.close()
    assert (line.holder, line.settings.direction) == (None, double.Direction.INPUT)


def test_a_relay_that_is_active_low_is_off_at_high_from_the_start(board):
    """Never on for a moment."""
    sink = gpio_sink("gpio:?leds=paper:5&fault_led=6&active_low=1", ("paper",))
    sink._delivery.open(_Pace())
    assert [board.line(n).log[0].output_value for n in (5, 6)] == [double.Value.ACTIVE] * 2
    sink._delivery._leds["paper"].on()
    assert board.line(5).level is False
    sink._delivery.close()
    assert board.line(5).holder is None


class _Pace:
    """Of a bin that stands idle."""

    state = None
    time_left = float("inf")

    def wait(self, seconds, until):
        return None


@pytest.mark.parametrize(
    ("address", "bias", "levels", "fires"),
    [
        ("gpio:17?pull=up&bounce=5ms", double.Bias.PULL_UP, (False, True), 1),
        ("gpio:17", double.Bias.PULL_DOWN, (True, False), 1),
        ("gpio:17?pull=none&edge=falling", double.Bias.DISABLED, (True, False, True, False), 2),
    ],
)
def test_a_trigger_fires_at_its_edges(board, address, bias, levels, fires):
    """With its resistor, and the kernel's own debouncing."""
    fired = threading.Semaphore(0)
    board.line(17).level = not levels[0]
    trigger = open_trigger(address)
    trigger.start(fired.release, lambda: None)
    settings = board.line(17).settings
    assert settings.bias is bias
    assert settings.edge_detection is double.Edge.BOTH
    assert settings.debounce_period == timedelta(milliseconds=5 if "bounce" in address else 20)
    for number, level in enumerate(levels):
        board.line(17).drive(level, number)
    for _ in range(fires):
        assert fired.acquire(timeout=WAIT)
    trigger.close(WAIT)
    assert not fired.acquire(blocking=False)
    assert board.line(17).holder is None


def test_a_device_may_be_closed_by_what_it_calls(board):
    """The thread that reads edges ends then, and the pin can be taken again."""
    sensor = gpio_library().DigitalInputDevice(17)
    closed = threading.Event()

    def close():
        sensor.close()
        closed.set()

    sensor.when_activated = close
    board.line(17).drive(True)
    assert closed.wait(WAIT)
    gpio_library().LED(17).close()


def test_a_line_that_another_process_holds_is_one_clear_error(board):
    """Who holds it, and what to do."""
    board.line(17).holder = "gpioset"
    with pytest.raises(PinError, match=r"GPIO17 of /dev/gpiochip0 is held by another process: gpioset; end"):
        gpio_library().LED(17)


def test_misuse_is_gpiozeros_own_error(board):
    """As with its own factories."""
    from gpiozero import exc

    gpio_library()
    pin = sys.modules["gpiozero"].Device.pin_factory.pin(17)
    for setting, value, error in (
        ("function", "pwm", exc.PinInvalidFunction),
        ("pull", "left", exc.PinInvalidPull),
        ("edges", "all", exc.PinInvalidEdges),
        ("bounce", -1, exc.PinInvalidBounce),
        ("state", 1, exc.PinSetInput),
        ("frequency", 50, exc.PinPWMUnsupported),
    ):
        with pytest.raises(error):
            setattr(pin, setting, value)
    fixed = sys.modules["gpiozero"].Device.pin_factory.pin(2)  # has a resistor on the board
    with pytest.raises(exc.PinFixedPull):
        fixed.pull = "down"
    pin.function = "output"
    with pytest.raises(exc.PinFixedPull):
        pin.pull = "up"
    assert (pin.function, pin.bounce, pin.edges, pin.frequency) == ("output", None, "both", None)


def test_edges_that_can_no_longer_be_read_are_told(board, caplog):
    """The chip went away; the program goes on."""
    sensor = gpio_library().DigitalInputDevice(17)
    request = board.line(17).request

    def gone(max_events=None):
        os.read(request.fd, 1)
        raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))

    request.read_edge_events = gone
    thread = next(t for t in threading.enumerate() if t.name == "ecovision-edge GPIO17")
    board.line(17).drive(True)
    thread.join(WAIT)
    assert "GPIO17: no more edges: No such device" in caplog.text
    sensor.close()


def test_the_kernels_interface_is_taken_where_lgpio_is_not(board):
    """And what the program has chosen is left alone."""
    assert not has_pulses()
    gpiozero = gpio_library()
    assert type(gpiozero.Device.pin_factory).__name__ == "GpiodFactory"
    assert not has_pulses()
    assert gpio_library().Device.pin_factory is gpiozero.Device.pin_factory


@pytest.mark.parametrize("there", ["lgpio", "GPIOZERO_PIN_FACTORY"])
def test_gpiozeros_own_way_is_left_to_it(board, monkeypatch, there):
    """Where lgpio is installed, or the user has named a factory."""
    if there == "lgpio":
        monkeypatch.setattr(library, "_is_there", {"gpiod": True, "lgpio": True}.__getitem__)
    else:
        monkeypatch.setenv(there, "mock")
    assert has_pulses()
    assert gpio_library().Device.pin_factory is None


def test_without_either_library_the_extra_is_named(board, monkeypatch):
    """Before any pin is touched."""
    monkeypatch.setattr(library, "_is_there", lambda module: False)
    for call in (check_library, gpio_library, lambda: open_trigger("gpio:17")):
        with pytest.raises(MissingDependencyError, match="neither is installed") as raised:
            call()
        assert extra_fix("gpio") in str(raised.value)


def test_a_servo_without_pulses_is_refused_at_the_start(board, monkeypatch, tmp_path):
    """With what makes them possible here."""
    monkeypatch.setattr("ecovision_edge.pins.pulses._CLASS", tmp_path)
    monkeypatch.setattr("ecovision_edge.pins.servos.find_channel", lambda pin: None)
    options = {"initial_angle": 0, "min_angle": -90, "max_angle": 90}
    options |= {"min_pulse_width": 0.001, "max_pulse_width": 0.002}
    for call in (
        lambda: check_pulses(18),
        lambda: open_servo(18, **options),
        lambda: gpio_sink("gpio:?servo=18&angles=a:0&failsafe=a", ("a",)),
    ):
        with pytest.raises(MissingDependencyError, match=r"servo's pulses at pin 18: .*dtoverlay=pwm-2chan"):
            call()


def test_a_servo_of_the_sink_gets_the_kernels_pulses(board, monkeypatch, tmp_path):
    """At its fail-safe angle from the start, at the bin's while it serves, and none at the end."""
    chip = make_chip(tmp_path, 0, "1f00098000.pwm")
    monkeypatch.setattr("ecovision_edge.pins.servos.find_channel", lambda pin: find_channel(pin, tmp_path))
    address = "gpio:?servo=18&angles=paper:-90,residual:90&failsafe=residual"
    delivery, seen = gpio_sink(address, ("paper", "residual"))._delivery, []
    delivery._waiter = lambda seconds, until: seen.append(said(chip, 2))
    delivery.open(_Pace())
    delivery.deliver(event())
    delivery.close()
    home, away = (2_000_000, 20_000_000, 1), (1_000_000, 20_000_000, 1)
    assert seen == [home, away, away, home]
    assert said(chip, 2) == (2_000_000, 20_000_000, 0)


@pytest.mark.parametrize(
    ("version", "debian", "says"),
    [
        ((3, 11), True, "pip"),
        ((3, 13), True, "apt-get install python3-lgpio, and make the .* --system-site-packages"),
        ((3, 14), False, "no wheel for Python 3.14"),
    ],
)
def test_what_makes_pulses_possible_depends_on_system_and_python(tmp_path, version, debian, says):
    """A wheel where there is one, else Debian's, else a build; the kernel's own in each case."""
    fix = pulses_fix(version, tmp_path if debian else tmp_path / "none")
    assert says.partition(" .*")[0] in fix
    assert "dtoverlay=pwm-2chan" in fix


def test_the_double_has_the_shape_of_the_real_package():
    """Every call that is made of it, with the names of its arguments; every name that is read."""
    gpiod = pytest.importorskip("gpiod", reason="needs gpiod: pip install 'ecovision-edge[gpio]'")
    line = importlib.import_module("gpiod.line")

    def names(function):
        return [*inspect.signature(function).parameters]

    assert names(double.request_lines) == names(gpiod.request_lines)
    for kind, methods in {
        "Chip": ("__init__", "__enter__", "__exit__", "get_info", "get_line_info"),
        "LineRequest": ("get_value", "set_value", "reconfigure_lines", "read_edge_events", "release"),
    }.items():
        for method in methods:
            ours, real = (getattr(getattr(module, kind), method) for module in (double, gpiod))
            assert names(ours) == names(real), (kind, method)
    assert isinstance(gpiod.LineRequest.fd, property)
    for kind in (double.LineSettings, double.ChipInfo):
        real = getattr(gpiod, kind.__name__)
        assert [f.name for f in dataclasses.fields(kind)] == [f.name for f in dataclasses.fields(real)]
    for kind in (double.EdgeEvent, double.LineInfo):
        fields = {f.name for f in dataclasses.fields(kind)}
        assert fields <= {f.name for f in dataclasses.fields(getattr(gpiod, kind.__name__))}
    for kind in (double.Value, double.Direction, double.Bias, double.Edge):
        assert {*kind.__members__} == {*getattr(line, kind.__name__).__members__}
    assert {*double.EdgeEvent.Type.__members__} == {*gpiod.EdgeEvent.Type.__members__}
