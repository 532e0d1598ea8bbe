"""Facts about triggers: pins of gpiozero's mock factory, messages of a real broker, lines of a terminal."""

import os
import pty
import re
import socket
import subprocess
import sys
import threading

import pytest
from tests.runtime.sink_servers import PROMPT, mosquitto, scripted

from ecovision_edge.base.installation import extra_fix
from ecovision_edge.camera import FakeCamera
from ecovision_edge.classifier import Classifier
from ecovision_edge.decision import DeciderOptions, DecisionSettings
from ecovision_edge.errors import MissingDependencyError, OptionError, TriggerError
from ecovision_edge.events import BinState
from ecovision_edge.rules import Rules
from ecovision_edge.sinks import Sink
from ecovision_edge.sinks._mqtt_client import PacketGuard, UnaskedError
from ecovision_edge.sinks.gpio import GpioOptions, GpioSink
from ecovision_edge.sinks.mqtt import MqttOptions
from ecovision_edge.smart_bin import SmartBin
from ecovision_edge.triggers import Trigger, open_trigger
from ecovision_edge.triggers.gpio import GpioTriggerOptions
from ecovision_edge.triggers.keyboard import KeyboardTrigger
from ecovision_edge.triggers.mqtt import MqttTrigger

QUICK = DeciderOptions(settle=0, min_frames=2, decide_within=0.5, settle_within=0.5, error=0.5, cooldown=0)
SOON = {"first_delay": 0.001, "most_delay": 0.01}


class Heard:
    """Counts what a trigger fires, and waits for that and for what hinders it."""

    def __init__(self, trigger):
        self.trigger, self.fired, self.told = trigger, 0, []
        self._changed = threading.Condition()

    def fire(self):
        with self._changed:
            self.fired += 1
            self._changed.notify_all()

    def changed(self):
        with self._changed:
            self.told.append(self.trigger.hindrance)
            self._changed.notify_all()

    def wait(self, condition):
        with self._changed:
            assert self._changed.wait_for(condition, PROMPT), (self.fired, self.told)

    def wait_ready(self):
        self.wait(lambda: self.trigger.hindrance is None)

    def wait_fault(self, reason):
        def is_so():
            found = self.trigger.hindrance
            return found is not None and found.state is BinState.FAULT and re.search(reason, found.reason)

        self.wait(is_so)

    def __enter__(self):
        self.trigger.start(self.fire, self.changed)
        return self

    def __exit__(self, *_):
        self.trigger.close()


# Addresses.


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("gpoi:17", r"kind of a trigger: expected picture, gpio:PIN, .*found gpoi:17; did you mean gpio\?"),
        ("", "kind of a trigger: .*found nothing"),
        ("gpio:", "trigger gpio:: expected gpio:PIN, the pin from 0 to 27, found gpio:"),
        ("gpio:-1", "expected gpio:PIN"),
        ("gpio:28", "pin of a trigger: expected 0 to 27, found 28"),
        ("gpio:4?pul=up", r"unknown option of gpio:4: .* did you mean pull\?"),
        ("gpio:4?pull=left", "option pull of gpio:4: expected up or down or none, found left"),
        ("gpio:4?edge=both", "option edge of gpio:4: expected rising or falling, found both"),
        ("gpio:4?bounce=11s", "bounce of a trigger: expected seconds, 0 to 10, found 11"),
        ("gpio:4?bounce=often", "bounce: expected seconds, or like 200ms"),
        ("mqtt://h", "trigger mqtt://h: expected a topic: mqtt://HOST/TOPIC, found none"),
        ("mqtt:h/x", "address of a broker: expected SCHEME://HOST"),
        ("mqtt://u:geheim@h/x", "expected no password in it"),
        ("mqtt://h/a/%23", r"topics of a broker: expected a topic without \+ and #"),
        ("mqtt://h/x?spool=/y", "unknown option of mqtt://h: .*found spool"),
        ("mqtt://h/x?keepalive=1", "keepalive of mqtt://h: expected a whole number from 5 to 3600, found 1"),
        ("keyboard:space", "trigger keyboard: expected nothing after it, found keyboard:space"),
        ("picture:x", "trigger picture: expected nothing after it"),
    ],
)
def test_an_address_that_is_none_is_refused(address, says):
    """With what was expected and found; no password is shown."""
    with pytest.raises(OptionError, match=says) as caught:
        open_trigger(address)
    assert "geheim" not in caught.value.message


def test_addresses_name_triggers():
    """`picture` is none; a password is nowhere."""
    assert open_trigger("picture") is None
    assert open_trigger("keyboard").name == open_trigger("keyboard:").name == "keyboard"
    assert open_trigger("GPIO:4").claims() == {"pin 4"}
    secret = {"ECOVISION_EDGE_MQTT_USERNAME": "me", "ECOVISION_EDGE_MQTT_PASSWORD": "geheim"}
    trigger = open_trigger("mqtts://h/a/b", device="bin7", environment=secret)
    assert trigger.name == "mqtts://h:8883/a/b"
    assert trigger._session._broker.password == "geheim"
    assert "geheim" not in repr(trigger)
    sink = MqttOptions(host="h", tls=True, prefix="a/b", device="bin7").broker()
    assert trigger._session._broker.client_id != sink.client_id  # or one of them would put the other out
    assert len(trigger._session._broker.client_id) == 23


@pytest.mark.parametrize(
    ("address", "library", "extra"),
    [("gpio:4", "gpiozero", "gpio"), ("mqtt://h/x", "paho.mqtt", "mqtt")],
)
def test_a_missing_library_is_named_before_anything_runs(monkeypatch, address, library, extra):
    """With what installs it."""
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(MissingDependencyError, match=re.escape(extra_fix(extra))):
        open_trigger(address)


def test_a_trigger_is_started_once_and_closed_as_often_as_you_like():
    """Also one that was never started; closed it fires no more."""
    trigger = open_trigger("gpio:4")
    trigger.close()
    heard = Heard(KeyboardTrigger(os.open(os.devnull, os.O_RDONLY)))
    with heard, pytest.raises(OptionError, match="started once"):
        heard.trigger.start(heard.fire, heard.changed)
    heard.trigger.close()
    heard.trigger._fired()
    assert heard.fired == 0
    os.close(heard.trigger._descriptor)


# A pin.


@pytest.fixture
def pins():
    """gpiozero's mock factory."""
    gpiozero = pytest.importorskip("gpiozero", reason="needs gpiozero: pip install 'ecovision-edge[gpio]'")
    from gpiozero.pins.mock import MockFactory

    before = gpiozero.Device.pin_factory
    factory = gpiozero.Device.pin_factory = MockFactory()
    yield factory
    factory.reset()
    gpiozero.Device.pin_factory = before


@pytest.mark.parametrize(
    ("options", "pull", "levels", "fired"),
    [
        ("", "down", "1", 1),
        ("", "down", "1010", 2),
        ("?edge=falling", "down", "1010", 2),
        ("?edge=falling", "down", "1", 0),
        ("?pull=up", "up", "0", 1),
        ("?pull=up", "up", "01", 1),
        ("?pull=up&edge=rising", "up", "0", 0),
        ("?pull=up&edge=rising", "up", "01", 1),
        ("?pull=none", "floating", "01", 1),
        ("?pull=none&edge=falling", "floating", "10", 1),
        ("?bounce=0", "down", "11", 1),
    ],
)
def test_it_fires_at_an_edge(pins, options, pull, levels, fired):
    """The rising one, or that of a button to ground; and not at the level that it finds."""
    with Heard(open_trigger(f"gpio:17{options}")) as heard:
        assert heard.trigger.hindrance is None
        pin = pins.pin(17)
        assert pin.pull == pull
        assert heard.fired == 0
        for level in levels:
            (pin.drive_high if level == "1" else pin.drive_low)()
        assert heard.fired == fired
    assert pins.pin(17)._when_changed is None  # given back


def test_a_pin_in_use_is_a_typed_error(pins):
    """At the start, and not a trigger that never fires."""
    import gpiozero

    with (
        gpiozero.LED(17),
        pytest.raises(TriggerError, match=r"pin 17 of the trigger .*in use"),
    ):
        open_trigger("gpio:17").start(lambda: None, lambda: None)


def test_without_pins_it_is_a_typed_error(monkeypatch):
    """gpiozero's is an ImportError, as if nothing were installed; here it is."""
    gpiozero = pytest.importorskip("gpiozero", reason="needs gpiozero: pip install 'ecovision-edge[gpio]'")

    def refuse(*_, **__):
        raise gpiozero.exc.BadPinFactory("Unable to load any default pin factory!")

    monkeypatch.setattr(gpiozero, "DigitalInputDevice", refuse)
    monkeypatch.setenv("GPIOZERO_PIN_FACTORY", "own")
    with pytest.raises(TriggerError, match="Unable to load any default pin factory!; is this a Raspberry Pi"):
        open_trigger("gpio:17").start(lambda: None, lambda: None)


@pytest.mark.parametrize("wrong", [{"pin": 28}, {"pull": "left"}, {"edge": "both"}, {"bounce": float("nan")}])
def test_options_given_in_code_are_checked_too(wrong):
    """As those of an address."""
    with pytest.raises(OptionError, match=f"{next(iter(wrong))} of a trigger"):
        GpioTriggerOptions(**{"pin": 4, **wrong})


# A message.


@pytest.fixture
def folder(tmp_path):
    """The broker's."""
    (tmp_path / "broker").mkdir()
    return tmp_path / "broker"


def publish(port, topic, payload, *, retain=False):
    from paho.mqtt.publish import single

    single(topic, payload, qos=1, retain=retain, hostname="127.0.0.1", port=port)


def trigger_at(port, payload=None, **options):
    given = {"host": "127.0.0.1", "port": port, "prefix": "hall/lid", **options}
    return MqttTrigger(MqttOptions(**given), payload, **SOON)


def test_each_message_of_the_topic_fires(folder):
    """Of no other one; what is retained is of before."""
    with mosquitto(folder) as broker:
        publish(broker.port, "hall/lid", "old", retain=True)
        with Heard(trigger_at(broker.port)) as heard:
            heard.wait_ready()
            assert heard.told[-1] is None
            publish(broker.port, "hall/door", "open")
            publish(broker.port, "hall/lid", "open")
            publish(broker.port, "hall/lid", "")
            heard.wait(lambda: heard.fired == 2)
        publish(broker.port, "hall/lid", "open")
        assert heard.fired == 2


def test_one_payload_may_fire_alone(folder):
    """A sensor says that the lid is shut, too."""
    with mosquitto(folder) as broker, Heard(trigger_at(broker.port, "open")) as heard:
        heard.wait_ready()
        for payload in ("shut", "open", "opened", "shut"):
            publish(broker.port, "hall/lid", payload)
        publish(broker.port, "hall/lid", "open")
        heard.wait(lambda: heard.fired == 2)


def test_a_broker_that_is_away_is_a_fault_until_it_is_back(folder):
    """From the start or later; what was published meanwhile does not fire."""
    with mosquitto(folder) as broker:
        broker.kill()
        with Heard(trigger_at(broker.port)) as heard:
            heard.wait_fault("^trigger mqtt://127.0.0.1:.* cannot be reached: Connection refused")
            broker.start()
            heard.wait_ready()
            broker.kill()
            heard.wait_fault("is lost|cannot be reached")
            broker.start()
            heard.wait_ready()
            publish(broker.port, "hall/lid", "open")
            heard.wait(lambda: heard.fired == 1)


def test_a_login_that_is_refused_is_a_fault(folder):
    """With what to do about it."""
    with mosquitto(folder, users={"me": "geheim"}) as broker:
        with Heard(trigger_at(broker.port, username="me", password="falsch")) as heard:
            heard.wait_fault("refuses us: Not authorized; check ECOVISION_EDGE_MQTT_USERNAME")
        with Heard(trigger_at(broker.port, username="me", password="geheim")) as heard:
            heard.wait_ready()


SUBSCRIBED = b"\x90\x04\x00\x01\x00\x01"  # SUBACK of MQTT 5: QoS 1
REFUSED = b"\x90\x04\x00\x01\x00\x87"  # not authorized


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (b"\x20\x03\0\0\0" + REFUSED, "refuses the subscription: Not authorized"),
        (b"\x20\x03\0\0\0" + SUBSCRIBED * 2, "never asked for: packet 9|never asked for: SUBACK"),
        (b"\x20\x03\0\0\0" + SUBSCRIBED + b"\x30\xff\xff\x7f", "never asked for: PUBLISH of 2097151 bytes"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "cannot be reached: PUBACK of 84 bytes"),
        (None, "cannot be reached: it hung up"),
    ],
    ids=["refused", "twice", "huge", "web", "mute"],
)
def test_a_broker_that_refuses_or_talks_nonsense_is_a_fault(answer, says):
    """Never a trigger that waits for ever, nor one that fires by it."""
    with scripted([answer], deaf=True) as (port, _), Heard(trigger_at(port)) as heard:
        heard.wait_fault(says)
    assert heard.fired == 0


def test_a_broker_that_never_answers_a_subscription_is_a_fault():
    """After `timeout`."""
    connected = b"\x20\x03\0\0\0"
    with scripted([connected], deaf=True) as (port, _), Heard(trigger_at(port, timeout=0.05)) as heard:
        heard.wait_fault(r"does not take a subscription: no answer within 0\.05 s")


def test_a_broker_of_mqtt_3_1_1_will_do():
    """One that refuses MQTT 5 is asked again without."""
    refused, taken = b"\x20\x03\0\x84\0", b"\x20\x02\0\0\x90\x03\0\x01\x01"
    with scripted([refused, taken]) as (port, got), Heard(trigger_at(port)) as heard:
        heard.wait_ready()
        assert [connect[7] for connect in got] == [5, 4]  # the protocol's level


def test_a_broker_that_never_answers_holds_up_nobody():
    """Neither the start nor the end; until it answers the bin starts."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        trigger = trigger_at(listener.getsockname()[1], timeout=0.2)
        trigger.start(lambda: None, lambda: None)
        found = trigger.hindrance
        assert (found.state, found.reason.rpartition(": ")[2]) == (BinState.STARTING, "it connects")
        trigger.close(0)
        assert trigger._session._worker.join(PROMPT)
        assert [end.fileno() for end in trigger._session._pair] == [-1, -1]


def test_a_sink_s_connection_takes_no_messages_still():
    """Only who subscribed is sent some."""
    guard = PacketGuard()
    guard.feed(b"\x20\x02\0\0")
    with pytest.raises(UnaskedError, match="PUBLISH of 9 bytes"):
        guard.feed(b"\x30\x09")
    guard = PacketGuard()
    guard.feed(b"\x20\x02\0\0")
    guard.subscribed()
    guard.feed(b"\x90\x03\0\1\1" + b"\x30\x09" + bytes(9))
    with pytest.raises(UnaskedError, match="PUBLISH of 65537 bytes"):
        guard.feed(b"\x30\x81\x80\x04")


# The keyboard.


@pytest.fixture
def terminal():
    """Both ends of a pseudo-terminal: a person's, and ours."""
    ours, theirs = pty.openpty()
    yield ours, theirs
    os.close(theirs)
    os.close(ours)


def test_enter_fires(terminal):
    """Each time, whatever was typed before it; the terminal stays as it is."""
    import termios

    person, descriptor = terminal
    before = termios.tcgetattr(descriptor)
    with Heard(KeyboardTrigger(descriptor)) as heard:
        assert heard.trigger.hindrance is None
        os.write(person, b"\n")
        heard.wait(lambda: heard.fired == 1)
        os.write(person, b"abc")
        os.write(person, b"\n")
        heard.wait(lambda: heard.fired == 2)
        assert termios.tcgetattr(descriptor) == before
    assert not heard.trigger._worker.alive


def test_standard_input_that_ends_is_a_fault():
    """A service has none to begin with."""
    reader, writer = os.pipe()
    with Heard(KeyboardTrigger(reader)) as heard:
        os.write(writer, b"\n")
        heard.wait(lambda: heard.fired == 1)
        os.close(writer)
        heard.wait_fault("^trigger keyboard: standard input has ended$")
    os.close(reader)


def test_without_standard_input_it_is_a_typed_error(monkeypatch):
    """Of a process that has closed it."""
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(TriggerError, match="keyboard cannot be used: expected standard input, found none"):
        open_trigger("keyboard:").start(lambda: None, lambda: None)


BACKGROUND = """
import os, pty, sys, threading
sys.path[:0] = {path!r}
from ecovision_edge.triggers.keyboard import _in_background
child, terminal = pty.fork()
if child == 0:
    worker = os.fork()
    if worker == 0:
        os.setpgid(0, 0)  # a job in the background of the terminal's shell
        os._exit(3 if _in_background(0) else 4)
    found = os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1])
    os._exit(found if not _in_background(0) else 5)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_in_the_background_it_reads_nothing():
    """A process that did would be stopped, with the bin."""
    ran = subprocess.run(
        [sys.executable, "-c", BACKGROUND.format(path=sys.path)],
        capture_output=True,
        check=True,
        timeout=PROMPT,
    )
    assert ran.stdout.split() == [b"3"]


# In a bin.


ONE_BIN = {"name": "n", "bins": ("blue",), "default": "blue"}
ONE_BIN["bin_of"] = dict.fromkeys(("red", "green", "blue"), "blue")


class ByHand(Trigger):
    """Fires when it is told to."""

    def __init__(self):
        super().__init__("by hand")
        self.begun = self.ended = False

    def begin(self):
        self.begun = True
        self._ready()

    def end(self, timeout):
        self.ended = True


class Kept(Sink):
    """Keeps the states that it is shown."""

    def __init__(self):
        super().__init__("kept")
        self.states, self._changed = [], threading.Condition()

    def show_state(self, state, reason):
        with self._changed:
            self.states.append((state, reason))
            self._changed.notify_all()

    def wait(self, state, reason):
        with self._changed:
            assert self._changed.wait_for(lambda: self.states[-1:] == [(state, reason)], PROMPT), self.states


@pytest.fixture(scope="module")
def classifier(pristine):
    """Of the tiny network."""
    return Classifier.load(pristine, threads=1)


@pytest.mark.slow
def test_a_bin_decides_nothing_before_its_trigger_fires_and_then_once(classifier):
    """Whatever the gate of its options; it is started and closed with the bin."""
    trigger, decided, looked = ByHand(), threading.Semaphore(0), threading.Semaphore(0)
    with SmartBin(
        classifier,
        FakeCamera(interval=0.002),
        options=QUICK,
        trigger=trigger,
        on_event=lambda event: decided.release(),
        on_result=lambda result: looked.release(),
    ) as smart_bin:
        smart_bin.start()
        assert trigger.begun
        for _ in range(20):
            assert looked.acquire(timeout=PROMPT)
        assert smart_bin.events == ()
        for number in range(2):
            trigger._fired()
            assert decided.acquire(timeout=PROMPT)
            assert [event.item for event in smart_bin.events] == list(range(number + 1))
    assert trigger.ended


def test_what_hinders_a_trigger_is_a_fault_of_the_bin(classifier):
    """As long as it lasts; also over a camera that starts."""
    trigger, sink = ByHand(), Kept()
    with SmartBin(
        classifier, FakeCamera(interval=0.002), options=QUICK, trigger=trigger, sinks=[sink]
    ) as smart_bin:
        smart_bin.start()
        sink.wait(BinState.EMPTY, "nothing was triggered")
        trigger._hinder(BinState.FAULT, "it is away")
        sink.wait(BinState.FAULT, "trigger by hand: it is away")
        assert smart_bin.report.problem == "fault: trigger by hand: it is away"
        trigger._ready()
        sink.wait(BinState.EMPTY, "nothing was triggered")
    assert sink.states[-1] == (BinState.FAULT, "stopped")


def test_a_trigger_that_cannot_be_used_ends_the_run_before_the_camera_is_asked(classifier):
    """With its typed error; sinks are told that it stopped."""

    class Broken(ByHand):
        def begin(self):
            raise TriggerError("pin 17 is in use")

    camera, sink = FakeCamera(), Kept()
    with SmartBin(classifier, camera, trigger=Broken(), sinks=[sink]) as smart_bin:
        with pytest.raises(TriggerError, match="pin 17"):
            smart_bin.run()
        assert smart_bin.loop.summary().frames == 0
    assert sink.states[-1] == (BinState.FAULT, "stopped")


def test_a_pin_that_a_sink_drives_is_refused(classifier):
    """Before either takes it."""
    sink = GpioSink(GpioOptions(leds={"blue": 17}))
    with pytest.raises(OptionError, match="pin 17: expected one use alone, found two, trigger gpio:17"):
        SmartBin(
            classifier,
            FakeCamera(),
            Rules(**ONE_BIN),
            sinks=[sink],
            trigger=open_trigger("gpio:17"),
        )


def test_a_bin_takes_what_the_rules_say_unless_it_is_told_otherwise(classifier):
    """Its trigger too."""
    rules = Rules(**ONE_BIN, decision=DecisionSettings(settle=1.5, trigger="gpio:4"))
    told = SmartBin(classifier, FakeCamera(), rules)
    assert (told._options.settle, told._options.gate) == (1.5, "trigger")
    assert told._trigger.name == "gpio:4"
    other = SmartBin(classifier, FakeCamera(), rules, options=QUICK)
    assert (other._options.settle, other._options.gate) == (0, "picture")
    assert other._trigger is None
