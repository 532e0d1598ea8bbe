"""Facts about addresses of sinks: what they name, what is wrong with them, and never a word of a secret."""

import pytest

from ecovision_edge.errors import OptionError
from ecovision_edge.events import BinState
from ecovision_edge.sinks.addresses import check_sinks, open_sink
from ecovision_edge.sinks.gpio import GpioSink
from ecovision_edge.sinks.lines import FileSink, StdoutSink
from ecovision_edge.sinks.mqtt import MqttSink, default_spool
from ecovision_edge.sinks.serial import SerialSink
from ecovision_edge.sinks.webhook import WebhookSink


def sink_of(address, environment=None):
    return open_sink(address, labels=("a",), bins=("b",), device="bin7", environment=environment or {})


def test_addresses_name_their_sinks(tmp_path):
    """With their options."""
    assert isinstance(sink_of("stdout:"), StdoutSink)
    sink = sink_of(f"file:{tmp_path}/x.jsonl?max_bytes=5MB&keep=0&fsync=1")
    assert isinstance(sink, FileSink)
    file = sink._delivery._file
    assert (file._max_bytes, file._keep, file._fsync) == (5_000_000, 0, True)
    (tmp_path / "secret").write_text("s3cret\n")
    address = f"https://example.org/hook?a=b&ecovision.timeout=3&ecovision.secret_file={tmp_path}/secret"
    hook = sink_of(address)
    assert isinstance(hook, WebhookSink)
    posts = hook._delivery
    assert (posts._timeout, posts._secret, posts._target) == (3, "s3cret", "/hook?a=b")


@pytest.mark.parametrize(
    ("address", "states"),
    [
        ("stdout:", False),
        ("stdout:?states=1", True),
        ("file:x", False),
        ("file:x?states=1&keep=0", True),
        ("https://example.org/hook", False),
        ("https://example.org/hook?states=0&ecovision.states=1", True),
    ],
)
def test_states_are_asked_for(address, states):
    """By default they are not told: whoever takes each line for an event goes on to be right."""
    sink = sink_of(address)
    assert sink._delivery._states is states
    sink.show(BinState.FAULT, "why")
    assert sink._Sink__runner._state.device == "bin7"


def test_a_secret_comes_from_the_environment_and_is_never_shown():
    """Not in the name, not in the repr."""
    hook = sink_of("https://example.org/hook", {"ECOVISION_EDGE_WEBHOOK_SECRET": "s3cret"})
    assert hook._delivery._secret == "s3cret"
    assert "s3cret" not in repr(hook) + hook.name
    # Many services have the secret in the path.
    assert sink_of("https://example.org/T0/s3cret").name == "https://example.org"


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("", "expected stdout:.*found nothing"),
        ("fille:x", r"did you mean file:\?"),
        ("carrier-pigeon:x", "found carrier-pigeon"),
        ("stdout:x", "nothing after it"),
        ("file:", "a path after it"),
        ("file:x?keeep=3", "unknown option.*did you mean keep"),
        ("file:x?FSYNC=1", "unknown option.*did you mean fsync"),
        ("file:x?max_bytes=lots", "max_bytes.*500MB"),
        ("https://user:pw@example.org/", "no password.*ECOVISION_EDGE_WEBHOOK_SECRET"),
        ("https://user@example.org/", "no user.*ECOVISION_EDGE_WEBHOOK_SECRET"),
        ("https://user:p/pw@example.org/", "no password"),
        ("https://user:12/pw@example.org/", "no password"),
        ("https://[::1/", "HOST"),
        ("https://", "HOST"),
        ("https://exämple.org/", "HOST"),
        ("https://example.org/ä", "as %XX"),
        ("https://example.org/?ecovision.ca=missing", "certificates"),
        ("mqtt://bin:pw@broker/b", "no password.*ECOVISION_EDGE_MQTT_PASSWORD"),
        ("mqtt://bin:p/pw@broker/b", "no password"),
        ("mqtt://bin:12?pw@broker/b", "no password"),
        ("mqtt://bin:12#pw@broker/b", "no password"),
        ("https://user:12?pw@example.org/", "no password"),
        ("mqtt:///b", "HOST"),
        ("mqtt:broker", "HOST"),
        ("mqtt://broker:99999/b", "port"),
        ("mqtt://broker:0/b", "port"),
        ("mqtt://broker/b/%23", r"without \+ and #"),
        ("mqtt://broker/b?qos=2", "unknown option of mqtt://broker.*found qos"),
        ("mqtt://broker/b?spol=/x", "did you mean spool"),
        ("mqtt://broker/b?spool=/x&spool=/y", "once, found twice"),
        ("mqtt://broker/b?discovery=openhab", "homeassistant"),
        ("mqtt://broker/b?expire_after=1", "from 3 to 86400"),
        ("mqtt://broker/b?max_bytes=1KB", "10,000 or more"),
        ("mqtt://broker/b?ca=x", "mqtts://"),
        ("mqtts://broker/b?ca=missing", "certificates"),
        ("mqtt://bin@broker/b?password_file=missing", "password_file missing"),
        ("http://example.org/", "use https://"),
        ("https://example.org:99999/", "port"),
        ("https://example.org/?ecovision.timeout=0", "timeout"),
        ("https://example.org/?ecovision.secret_file=missing", "secret_file missing"),
    ],
)
def test_wrong_addresses_are_one_line(address, says):
    """What was expected and found, and never a password."""
    with pytest.raises(OptionError, match=says) as caught:
        sink_of(address)
    assert "pw" not in str(caught.value)


CYRILLIC, CHINESE = "Биоразлагае", "可生物降解垃圾厨余类"  # 11 letters of 6 bytes each, 10 of 9


@pytest.mark.parametrize(
    ("address", "names", "says"),
    [
        ("serial:///dev/ttyACM0", {"bins": ("b", CYRILLIC)}, f"bin {CYRILLIC} .*63 bytes.*found 66"),
        ("serial:///dev/ttyACM0", {"bins": (CHINESE, "b")}, f"bin {CHINESE} .*63 bytes.*found 90"),
        ("gpio:?leds=b:4", {"bins": ("b", "c")}, "bin c"),
        ("stdout:", {"device": "bin\udcff"}, r"name of a device: expected UTF-8, found 'bin.udcff'"),
        ("file:x", {"bins": ("\ud800",)}, "name of a bin: expected UTF-8"),
        ("https://example.org/", {"labels": ("\ud800",)}, "name of a label: expected UTF-8"),
        ("mqtt://h/b?max_bytes=10KB&spool=x", {"device": "d" * 10_000}, "10000 bytes at most, found 1[01]"),
        ("mqtt://h/?spool=x", {"device": "d" * 61}, "60 characters at most, or a topic.*found 61"),
        ("mqtt://h/b?spool=x&discovery=homeassistant", {"labels": ("l" * 256,)}, "label for Home.*255"),
        ("mqtt://h/b?spool=x&discovery=homeassistant", {"bins": ("b" * 256,)}, "bin for Home.*255"),
    ],
)
def test_a_name_that_a_sink_can_never_carry_is_refused(address, names, says):
    """Before the start: each event that names it would be lost."""
    given = {"labels": ("a",), "bins": ("b",), "device": "bin7", **names}
    with pytest.raises(OptionError, match=says):
        open_sink(address, environment={}, **given)


@pytest.mark.parametrize(
    "address",
    [
        "serial:///dev/ttyACM0",
        "stdout:",
        "file:x",
        "https://example.org/",
        "mqtt://h/b?spool=x&discovery=homeassistant",
    ],
)
def test_the_longest_names_of_rules_and_contracts_are_carried(address):
    """Of a device too; but for a bin on a serial line."""
    bins = ("b" * 63, CYRILLIC[:-1], CHINESE[:7]) if address.startswith("serial") else ("д" * 200,)
    open_sink(address, labels=("л" * 200,), bins=bins, device="д" * 64, environment={})


@pytest.mark.parametrize(
    ("one", "other", "says"),
    [
        ("file:{0}/x", "file:{0}/./x", "file .*/x: expected one sink alone, found two"),
        ("file:{0}/link", "file:{0}/x", "file .*/x"),
        ("serial://{0}/tty", "serial://{0}/tty?baud=300", "serial line .*/tty"),
        ("gpio:?leds=b:4", "gpio:?leds=b:5&fault_led=4", "pin 4"),
        ("mqtt://h/b?spool={0}/s", "mqtt://other/b?spool={0}/s", "spool .*/s"),
    ],
)
def test_two_sinks_that_would_write_to_the_same_are_refused(tmp_path, one, other, says):
    """By whatever name; the second would wait for the first to end."""
    (tmp_path / "link").symlink_to("x")
    sinks = [sink_of(address.format(tmp_path)) for address in (one, other)]
    for sink in sinks:
        check_sinks([sink], labels=("a",), bins=("b",), device="bin7")
    with pytest.raises(OptionError, match=says):
        check_sinks(sinks, labels=("a",), bins=("b",), device="bin7")


@pytest.mark.parametrize(
    "address", ["serial://{0}/loop", "mqtt://h/b?spool={0}/loop", "mqtt://h/b?spool=%00"]
)
def test_a_place_that_is_none_is_compared_all_the_same(tmp_path, address):
    """A loop of links, or an impossible name, is told where it is opened."""
    (tmp_path / "loop").symlink_to("loop")
    check_sinks([sink_of(address.format(tmp_path))], labels=("a",), bins=("b",), device="bin7")


@pytest.mark.parametrize(("name", "says"), [("loop", "Too many levels"), ("x" * 300, "File name too long")])
def test_a_path_that_can_never_be_one_is_refused(tmp_path, name, says):
    """Before the start: to try again is of no use."""
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(OptionError, match=f"expected a file to write to, found {says}"):
        sink_of(f"file:{tmp_path}/{name}")


def test_a_device_file_is_anyone_s():
    """Two sinks may write to it."""
    check_sinks([sink_of("file:/dev/null")] * 2, labels=("a",), bins=("b",), device="bin7")


def test_a_broker_has_its_options():
    """Those of the address, and the rest from the environment."""
    environment = {"ECOVISION_EDGE_MQTT_USERNAME": "bin", "ECOVISION_EDGE_MQTT_PASSWORD": "s3cret"}
    sink = sink_of(
        "mqtts://broker.local/home/bin%207?spool=/nowhere/x&max_events=5&max_bytes=1MB&client_id=c&timeout=3"
        "&keepalive=9&expire_after=30&discovery=homeassistant&discovery_prefix=ha/",
        environment,
    )
    assert isinstance(sink, MqttSink)
    broker, sender = sink._sender._broker, sink._sender
    assert (broker.host, broker.port, broker.client_id) == ("broker.local", 8883, "c")
    assert (broker.timeout, broker.keepalive, sender._heartbeat) == (3, 9, 10)
    assert (broker.username, broker.password) == ("bin", "s3cret")
    assert broker.tls.check_hostname
    assert sum(topic.startswith("ha/") for topic in sender._board) == 7
    assert (str(sink._spool._folder), sink._spool._max_events, sink._spool._max_bytes) == (
        "/nowhere/x",
        5,
        10**6,
    )
    assert sink.name == "mqtts://broker.local:8883/home/bin 7"
    assert "s3cret" not in repr(sink) + repr(broker) + repr(sender)


def test_a_user_in_the_address_counts_more(tmp_path):
    """Its password comes from a file, or from the environment."""
    (tmp_path / "pw").write_text("fromfile\nmore\n")
    (tmp_path / "pw").chmod(0o600)
    environment = {"ECOVISION_EDGE_MQTT_USERNAME": "bin", "ECOVISION_EDGE_MQTT_PASSWORD": "s3cret"}
    one = sink_of("mqtt://%C3%BC%40x@[::1]:99", environment)._sender
    two = sink_of(f"mqtt://h?password_file={tmp_path}/pw", environment)._sender
    assert (one._broker.username, one._broker.password) == ("ü@x", "s3cret")
    assert (one._broker.host, one._broker.port) == ("::1", 99)
    assert one._availability == "ecovision-edge/bin7/availability"
    assert (two._broker.username, two._broker.password) == ("bin", "fromfile")


def test_a_secret_that_everyone_can_read_is_warned_of(tmp_path, caplog):
    """And used all the same: some systems have it so."""
    path = tmp_path / "secret"
    path.write_text("s3cret\n")
    for mode, warns in ((0o600, False), (0o640, False), (0o644, True)):
        path.chmod(mode)
        caplog.clear()
        hook = sink_of(f"https://example.org/?ecovision.secret_file={path}")
        assert hook._delivery._secret == "s3cret"
        assert ("chmod 600" in caplog.text) == warns
    assert "s3cret" not in caplog.text
    path.write_text("\n")
    with pytest.raises(OptionError, match="an empty line"):
        sink_of(f"https://example.org/?ecovision.secret_file={path}")


def test_a_spool_has_its_place(tmp_path, monkeypatch):
    """With the service's state, or the user's; of each broker and topic another one."""
    from ecovision_edge.sinks.mqtt import MqttOptions

    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    one, other = MqttOptions(host="h", prefix="a"), MqttOptions(host="h", prefix="b")
    assert default_spool(one, {}).parent == tmp_path / "ecovision-edge" / "spool"
    assert default_spool(one, {}) != default_spool(other, {})
    service = default_spool(one, {"STATE_DIRECTORY": "/var/lib/ecovision-edge:/var/lib/x"})
    assert str(service) == f"/var/lib/ecovision-edge/spool/{one.identity}"


def test_serial_lines_and_pins_have_their_own_modules():
    """With their own options."""
    assert isinstance(sink_of("serial:///dev/ttyACM0?baud=9600"), SerialSink)
    assert isinstance(sink_of("gpio:?leds=b:17"), GpioSink)
