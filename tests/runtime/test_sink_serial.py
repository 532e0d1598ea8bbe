"""Facts about the serial line: its codec, its guarantee, and the sketch that keeps its other end."""

import re
import shutil
import subprocess
import sys
import threading
from dataclasses import replace
from importlib import resources
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.runtime.paces import Unhurried

from ecovision_edge.base.installation import extra_fix
from ecovision_edge.errors import MissingDependencyError, OptionError, SinkError
from ecovision_edge.events import BinEvent, BinState
from ecovision_edge.sinks._line import (
    MAX_LINE,
    Line,
    LineReader,
    crc16,
    decode_line,
    encode_line,
    encode_word,
    event_words,
)
from ecovision_edge.sinks.serial import SerialOptions, SerialSink, serial_sink
from ecovision_edge_bench.power_cut.receiver import Board, Twin

SKETCH = Path(str(resources.files("ecovision_edge"))) / "data" / "arduino" / "ecovision_bin"
BINS = ("paper", "glass", "metal%20cans")
WAIT = 30.0  # a safety net


def event(number=0, bin="paper", label="cardboard", probability=0.873):
    return BinEvent(
        id=f"run-{number}",
        sequence=number,
        item=number,
        time=None,
        monotonic=float(number),
        label=label,
        bin=bin,
        probability=probability,
        margin=0.5,
        frames=5,
        seconds=1.0,
        reason="",
    )


@pytest.fixture
def board(tmp_path):
    """Makes a board that is there until the test ends."""
    boards = []

    def make(twin, **options):
        boards.append(Board(tmp_path / "ttyACM0", twin, **options))
        boards[-1].start()
        return boards[-1]

    yield make
    for made in boards:
        made.stop()


QUICK = SerialOptions(timeout=0.03, attempts=20, hello_within=3.0, heartbeat=0.02)


def sink_of(board, options=QUICK):
    return SerialSink(str(board.path), options)


def until(condition):
    """Wait for a condition that a thread brings about."""
    deadline = threading.Event()
    timer = threading.Timer(WAIT, deadline.set)
    timer.start()
    try:
        while not condition():
            assert not deadline.wait(0.005)
    finally:
        timer.cancel()


# The codec.

WORDS = st.lists(st.text(max_size=12).map(encode_word), max_size=4).map(tuple)
LINES = st.builds(
    Line,
    st.sampled_from("><"),
    st.integers(0, 65535),
    st.sampled_from(["HELLO", "EVENT", "STATE", "ACK", "NAK"]),
    WORDS,
).filter(lambda line: len(" ".join(line.words)) < 100)


def test_the_crc_is_the_catalogues():
    """CRC-16/CCITT-FALSE has the check value 0x29B1."""
    assert crc16(b"123456789") == 0x29B1


@given(LINES)
def test_a_line_comes_back_as_it_was(line):
    """Whatever text its words were made of; with the newline of Windows too."""
    data = encode_line(line)
    assert decode_line(data) == line
    assert decode_line(data[:-1] + b"\r\n") == line
    assert data.isascii()


@given(LINES, st.data())
def test_each_wrong_byte_is_found(line, data):
    """No byte of a line can be another one: then the reader finds no line."""
    sent = bytearray(encode_line(line))
    at = data.draw(st.integers(0, len(sent) - 1))
    sent[at] = data.draw(st.integers(0, 255).filter(lambda b: b != sent[at]))
    assert LineReader(line.mark).feed(bytes(sent)) == []
    assert LineReader("<").feed(bytes(sent)) + LineReader(">").feed(bytes(sent)) == []


@given(LINES, st.binary(max_size=300), st.lists(st.integers(1, 50), max_size=5))
def test_noise_before_a_line_is_passed_over(line, noise, cuts):
    """However long, and in whatever pieces it comes."""
    stream = noise + encode_line(line)
    reader, found = LineReader(line.mark), []
    for cut in cuts:
        found += reader.feed(stream[:cut])
        stream = stream[cut:]
    found += reader.feed(stream)
    assert found[-1:] == [line]


def test_a_changed_byte_makes_no_line_of_a_lines_end():
    """Even where an argument looks like the head of a line."""
    line = Line(">", 1, "EVENT", ("x0001", "ACK", "1"))
    for at in range(len(encode_line(line))):
        sent = bytearray(encode_line(line))
        sent[at] = ord(">")
        assert LineReader(">").feed(bytes(sent)) == ([line] if at == 0 else [])


@given(st.text(max_size=40), st.text(max_size=40))
def test_two_texts_are_never_one_word(a, b):
    """Percent-encoding loses nothing; unknown is a word of its own."""
    assert (encode_word(a) == encode_word(b)) == (a == b)
    assert encode_word(a) != encode_word(None)


@given(st.text(max_size=200), st.one_of(st.none(), st.text(max_size=500)), st.floats(0, 1))
def test_each_event_fits_a_line(name, label, probability):
    """A long label is cut; the long name of a bin is refused, since two might become one."""
    try:
        words = event_words(event(0, name, label, probability))
    except OptionError:
        assert len(encode_word(name)) > 63
        return
    assert len(encode_line(Line(">", 65535, "EVENT", words))) <= MAX_LINE
    assert words[0] == encode_word(name)
    assert encode_word(label).startswith(words[1])
    assert abs(int(words[2]) - 1000 * probability) <= 0.5


@pytest.mark.parametrize("words", [("a b",), ("",), ("*",), ("é",), ("x" * 130,), ("a",) * 5])
def test_what_is_no_line_is_not_sent(words):
    """A word with a space would be two."""
    with pytest.raises(OptionError, match="line"):
        encode_line(Line(">", 0, "EVENT", words))


# The sink, over a pseudo-terminal.


@pytest.mark.slow
def test_five_hundred_events_are_each_acted_on_once_and_in_order(board):
    """Over a line that spoils and loses bytes, with a receiver that is busy, dies and comes back."""
    made = board(Twin(), seed=5, spoil=0.002, die=0.004, busy=0.02, deadly=(1, 90, 91, 250, 499))
    sink = sink_of(made)
    with sink:
        for i in range(500):
            sink.put(event(i, BINS[i % 2], label=f"item {i}"))
        assert sink.flush(120)
        stats = sink.stats
    assert [act[1] for act in made.twin.acts] == [f"item%20{i}" for i in range(500)]
    assert made.deaths >= 5
    assert (stats.delivered, stats.dropped, stats.waiting) == (500, 0, 0)


@pytest.mark.parametrize(("remembers", "acts"), [(True, 1), (False, 2)])
def test_a_receiver_that_died_before_it_answered_acts_again_only_if_it_forgot(board, remembers, acts):
    """What it recorded comes back with its hello."""
    made = board(Twin(remembers=remembers), deadly=[1])
    with sink_of(made) as sink:
        sink.put(event())
        assert sink.flush(WAIT)
        assert sink.stats.delivered == 1
    assert made.deaths == 1
    assert len(made.twin.acts) == acts


def test_a_receiver_that_forgets_never_repeats_what_it_acknowledged(board):
    """The sender's hello brings the last number."""
    twin = Twin(remembers=False)
    made = board(twin)
    with sink_of(made) as sink:
        sink.put(event(0))
        assert sink.flush(WAIT)
        with made.lock:
            last = sink._delivery._number
            twin.start()
        until(lambda: twin.greeted)
        assert twin.record == (f"{sink._delivery._session:08X}", last)
        made.heard.clear()
        sink.put(event(1))
        assert sink.flush(WAIT)
    assert len(twin.acts) == 2


def test_a_new_senders_first_event_is_no_repetition(board):
    """It has the number that the sender before it used, and another session."""
    made = board(Twin())
    for i in range(3):
        with sink_of(made) as sink:
            sink.put(event(i))
            assert sink.flush(WAIT)
    assert len(made.twin.acts) == 3
    assert made.twin.record[1] == 1


def test_the_number_goes_round(board):
    """After 65535 comes 0, which is no repetition."""
    made = board(Twin())
    sink = sink_of(made)
    sink._delivery._number = 65534
    with sink:
        for i in range(3):
            sink.put(event(i))
        assert sink.flush(WAIT)
    assert len(made.twin.acts) == 3
    assert made.twin.record[1] == 1


def test_the_state_is_told_now_and_then(board):
    """So that the receiver knows that somebody is there; and what it is, after each hello."""
    made = board(Twin())
    with sink_of(made) as sink:
        until(lambda: made.heard.count(b"STATE -") > 3)
        sink.show(BinState.DECIDING, "an item")
        until(lambda: made.heard.count(b"STATE deciding") > 3)
        with made.lock:
            made.twin.start()
            made.heard.clear()
        until(lambda: b"HELLO" in made.heard and made.heard.endswith(b"\n"))
        assert b"fault" not in made.heard


@pytest.mark.parametrize(
    ("name", "state", "reason"), [("sand", BinState.EMPTY, "bin"), ("paper", BinState.FAULT, "fault")]
)
def test_what_the_receiver_refuses_is_dropped(board, caplog, name, state, reason):
    """An unknown bin, and anything in a fault; what comes after it is delivered."""
    made = board(Twin())
    with sink_of(made) as sink:
        sink.show(state)
        sink.put(event(0, name))
        assert sink.flush(WAIT)
        sink.show(BinState.EMPTY)
        until(lambda: not made.twin.fault)
        sink.put(event(1))
        assert sink.flush(WAIT)
        assert (sink.stats.delivered, sink.stats.dropped) == (1, 1)
    assert f"its answer: {reason}" in caplog.text
    assert len(made.twin.acts) == 1


@pytest.mark.slow
def test_an_item_long_gone_is_not_acted_on(board, caplog):
    """The receiver is busy with another one for too long; then the next is acted on."""
    made = board(Twin(), busy=1.0)
    with sink_of(made, replace(QUICK, max_age=0.3)) as sink:
        sink.put(event(0))
        assert sink.flush(WAIT)
        assert (sink.stats.expired, sink.stats.dropped) == (1, 1)
        made.busy = 0.0
        sink.put(event(1, label="next"))
        assert sink.flush(WAIT)
    assert [act[1] for act in made.twin.acts] == ["next"]
    assert "too old to act on" in caplog.text


def test_an_answer_to_another_sender_is_not_taken_for_ones_own():
    """The board was slow, and answers the hello of a process that was killed meanwhile."""
    numbers = {SerialSink("/dev/x", session=session)._delivery._hello for session in (1, 2, 3)}
    assert len(numbers) == 3


def test_a_device_that_is_not_there_is_waited_for(tmp_path, board):
    """The event is delivered once it is plugged in."""
    sink = SerialSink(str(tmp_path / "ttyACM0"), QUICK)
    with sink:
        sink.put(event())
        until(lambda: sink.stats.retries)
        assert "ttyACM0" in sink.stats.error
        made = board(Twin())
        assert sink.flush(WAIT)
    assert len(made.twin.acts) == 1


def test_closing_does_not_wait_for_a_device_that_is_silent(board):
    """The event is counted as lost, in the time that `close` was given."""
    made = board(Twin())
    made.twin.feed = lambda data: b""
    sink = sink_of(made, SerialOptions(timeout=10.0, attempts=100, hello_within=60.0))
    with sink:
        sink.put(event())
        until(lambda: made.heard)
        sink.close(0.1)
        assert not sink.running
    assert sink.stats.dropped == 1


def test_a_receiver_of_another_version_is_no_receiver(board):
    """It says so, and what to do about it cannot be done here."""
    twin = Twin()
    made = board(twin)
    twin.hello = lambda line: "NAK version"
    sink = sink_of(made)
    with sink:
        until(lambda: sink.stats.retries)
        assert "version" in sink.stats.error


# The address.


@pytest.mark.parametrize(
    ("address", "device", "baud"),
    [
        ("serial:///dev/ttyACM0", "/dev/ttyACM0", 115200),
        ("serial:///dev/ttyUSB0?baud=9600", "/dev/ttyUSB0", 9600),
        (
            "serial:///dev/serial/by-id/usb-Arduino%20Uno-if00?timeout=1.5",
            "/dev/serial/by-id/usb-Arduino Uno-if00",
            115200,
        ),
        ("serial://COM3?baud=57600", "COM3", 57600),
    ],
)
def test_an_address_names_a_device(address, device, baud):
    """And its options."""
    sink = serial_sink(address)
    assert sink.name == f"serial {device}"
    assert sink._delivery._device == device
    assert sink._delivery._options.baud == baud


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("serial://", "address of a serial line"),
        ("serial://?baud=9600", "address of a serial line"),
        ("/dev/ttyACM0", "address of a serial line"),
        ("serial:///dev/ttyACM0?baud=12", "baud.*300 to 4000000"),
        ("serial:///dev/ttyACM0?baud=fast", "baud"),
        ("serial:///dev/ttyACM0?baud=9600&baud=9600", "twice"),
        ("serial:///dev/ttyACM0?bauds=9600", "did you mean baud"),
        ("serial:///dev/ttyACM0?timeout=0", "timeout"),
        ("serial:///dev/ttyACM0?baud", "address of a serial line"),
    ],
)
def test_a_wrong_address_is_refused(address, message):
    """With what would be right."""
    with pytest.raises(OptionError, match=message):
        serial_sink(address)


@pytest.mark.parametrize(
    "options",
    [{"baud": 1}, {"baud": 9600.0}, {"timeout": 0}, {"attempts": 0}, {"heartbeat": 5}, {"hello_within": -1}],
)
def test_options_out_of_range_are_refused(options):
    """By name."""
    with pytest.raises(OptionError, match=next(iter(options))):
        SerialOptions(**options)


def test_without_pyserial_the_message_says_what_to_install(monkeypatch):
    """Before anything runs."""
    monkeypatch.setitem(sys.modules, "serial", None)
    with pytest.raises(MissingDependencyError, match=re.escape(extra_fix("serial"))):
        serial_sink("serial:///dev/ttyACM0")


def test_an_unplugged_device_is_an_error_of_the_sink(board):
    """Whatever pyserial makes of it."""
    made = board(Twin())
    sink = sink_of(made)._delivery
    sink.open(Unhurried())
    made.pull()
    with pytest.raises(SinkError, match="ttyACM0"):
        sink.deliver(event())
    sink.close()
    made.plug()


# The sketch.

HARNESS = r"""
#include <stdio.h>
#include <string>
#include "ecovision_line.h"
using namespace ecovision;
struct Bytes : Store {
  uint8_t bytes[200]; uint16_t limit; int left;
  Bytes() : limit(sizeof bytes), left(-1) { memset(bytes, 0xFF, sizeof bytes); }
  uint16_t size() const { return limit; }
  uint8_t read(uint16_t at) const { return bytes[at]; }
  void write(uint16_t at, uint8_t value) { if (left) { bytes[at] = value; if (left > 0) left--; } }
};
struct Log : Bin, Output {
  bool is_busy; Log() : is_busy(false) {}
  bool knows(const char *n) const {
    return !strcmp(n, "paper") || !strcmp(n, "glass") || !strcmp(n, "metal%20cans");
  }
  bool busy() const { return is_busy; }
  void act(const char *n, const char *l, uint16_t p) { printf("act %s %s %u\n", n, l, p); }
  void rest() { puts("rest"); }
  void write(const char *t, uint8_t n) { fwrite(t, 1, n, stdout); }
};
static int journal() {  // a loss of power at each byte of each write, all around the ring
  for (int saves = 0; saves < 40; saves++) for (int cut = 0; cut <= 13; cut++) {
    Bytes store; Journal writer(store); writer.load();
    Record r = {0xDEADBEEF, 0, true, true};
    for (int i = 0; i < saves; i++) { r.last = i + 1; writer.save(r); }
    store.left = cut; r.last = saves + 1; writer.save(r); store.left = -1;
    Journal reader(store); const Record found = reader.load();
    const int expected = cut == 13 ? saves + 1 : saves;
    if (found.known != (expected > 0) || found.last != expected)
      return printf("%d %d: %d\n", saves, cut, found.last), 1;
    if (found.known && (found.session != 0xDEADBEEF || !found.has_last)) return puts("record"), 1;
    r.last = 777; reader.save(r);
    Journal again(store); again.load(); if (again.load().last != 777) return puts("after a cut"), 1;
  }
  return 0;
}
int main(int argc, char **argv) {
  if (argc > 1 && !strcmp(argv[1], "crc")) return printf("%04X", crc16((const uint8_t *)"123456789", 9)), 0;
  if (argc > 1) return journal();
  Bytes store; Log log; uint32_t now = 0;
  Receiver *receiver = new Receiver(log, store, log);
  receiver->begin();
  for (int c; (c = getchar()) != EOF;) {
    const int value = getchar();
    if (c == 'f') receiver->feed((char)value, now);
    if (c == 'b') log.is_busy = value;
    if (c == 't') { now += value * 100; receiver->tick(now); }
    if (c == 'm') store.limit = value ? sizeof store.bytes : 0;
    if (c == 'r') { delete receiver; receiver = new Receiver(log, store, log); receiver->begin(); }
  }
  delete receiver;
}
"""


def compile_cpp(folder, source, *options):
    """The path of a program; skips where there is no compiler."""
    if shutil.which("g++") is None:
        pytest.skip("needs a C++ compiler: apt-get install g++")
    program = folder / "program"
    ran = subprocess.run(
        [
            "g++",
            "-std=c++11",
            "-Wall",
            "-Wextra",
            "-Werror",
            f"-I{SKETCH}",
            *options,
            "-xc++",
            "-",
            f"-o{program}",
        ],
        input=source.encode(),
        capture_output=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr.decode()
    return program


@pytest.fixture(scope="module")
def receiver(tmp_path_factory):
    """The sketch's receiver as a program that takes commands of two bytes."""
    folder = tmp_path_factory.mktemp("receiver")
    return compile_cpp(folder, HARNESS, "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover")


def test_the_sketchs_crc_is_the_catalogues(receiver):
    """The same check value."""
    assert subprocess.check_output([receiver, "crc"]) == b"29B1"


def test_the_sketchs_record_outlives_a_loss_of_power(receiver):
    """Cut at any byte, the record is the one before or the new one, all around the ring."""
    ran = subprocess.run([receiver, "journal"], capture_output=True, check=False)
    assert (ran.returncode, ran.stdout) == (0, b"")


FED = st.one_of(
    LINES.map(encode_line),
    st.builds(
        Line,
        st.just(">"),
        st.integers(0, 3),
        st.just("EVENT"),
        st.tuples(
            st.sampled_from([*BINS, "sand"]),
            st.just("x"),
            st.sampled_from(["0", "1000", "1001", "x", "00007"]),
        ),
    ).map(encode_line),
    st.builds(
        Line,
        st.just(">"),
        st.integers(0, 3),
        st.just("HELLO"),
        st.tuples(
            st.sampled_from(["1", "1", "1", "2"]),
            st.sampled_from(["0000000A", "FFFFFFFF", "f"]),
            st.sampled_from(["-", "0001", "1"]),
        ),
    ).map(encode_line),
    st.builds(
        Line,
        st.just(">"),
        st.integers(0, 3),
        st.just("STATE"),
        st.sampled_from([("fault",), ("empty",), ("a", "b")]),
    ).map(encode_line),
    st.binary(max_size=200),
    st.sampled_from([b">0001:EVENT paper x 1", b">0001:HELLO\0", b"*", b"\r\n", b">" + b"A" * 125 + b"\n"]),
)
COMMANDS = st.one_of(
    st.tuples(st.just("f"), FED),
    st.tuples(st.just("f"), FED),
    st.tuples(st.just("f"), FED),
    st.tuples(st.sampled_from("br"), st.booleans()),
    st.tuples(st.just("t"), st.sampled_from([1, 20, 50, 51])),
)


@pytest.mark.slow
@given(st.booleans(), st.lists(COMMANDS, max_size=40))
def test_the_sketch_does_what_its_twin_does(receiver, remembers, commands):
    """To whatever bytes, pauses and starts: the same answers and the same actions, in the same order."""
    twin, now, script, expected = Twin(remembers=remembers), 0, [b"m", bytes([remembers]), b"r\0"], b""
    twin.start()
    for kind, value in commands:
        if kind == "f":
            script.append(b"".join(b"f" + bytes([byte]) for byte in value))
            for byte in value:
                done = len(twin.log)
                answer = twin.feed(bytes([byte]), now)
                expected += "".join(f"{entry}\n" for entry in twin.log[done:]).encode() + answer
            continue
        script.append(kind.encode() + bytes([value]))
        done = len(twin.log)
        if kind == "b":
            twin.busy = value
        elif kind == "r":
            twin.start()
        else:
            now += 100 * value
            twin.tick(now)
        expected += "".join(f"{entry}\n" for entry in twin.log[done:]).encode()
    ran = subprocess.run([receiver], input=b"".join(script), capture_output=True, check=False)
    assert ran.stderr == b""
    assert ran.stdout == b"rest\nrest\n" + expected


ARDUINO = r"""
#include <stdint.h>
#include <stdio.h>
#include <string.h>
static unsigned long now_ms;
unsigned long millis() { return now_ms; }
struct Port {
  char in[200]; int size, at;
  void begin(unsigned long) {}
  int available() { return size - at; }
  int read() { return (unsigned char)in[at++]; }
  void write(const uint8_t *text, int n) { fwrite(text, 1, n, stdout); }
} Serial;
"""

SERVO = r"""
struct Servo {
  int pin;
  Servo() : pin(-1) {}
  void attach(int p) { pin = p; }
  void write(int angle) { printf("%lu: %d\n", now_ms, angle); }
};
"""

EEPROM = r"""
struct { uint8_t bytes[1024]; int length() { return 1024; } uint8_t read(int i) { return bytes[i]; }
         void update(int i, uint8_t v) { bytes[i] = v; } } EEPROM;
"""

BOARD = r"""
int main() {
  setup();
  char text[200];
  while (fgets(text, sizeof text, stdin)) {
    unsigned long until = now_ms;
    if (text[0] == '+') until += strtoul(text + 1, 0, 10);
    else { strcpy(Serial.in, text); Serial.size = strlen(text); Serial.at = 0; }
    do loop(); while (now_ms < until && ++now_ms);
  }
}
"""


@pytest.mark.parametrize("eeprom", [(), ("-DECOVISION_EEPROM",)])
def test_the_sketch_turns_its_servo_and_goes_back(tmp_path, eeprom):
    """Busy until it is back; at rest after a fault, and after five seconds of silence."""
    for name, text in {"Servo.h": SERVO, "EEPROM.h": EEPROM}.items():
        (tmp_path / name).write_text(text)
    source = f'#include <stdlib.h>\n{ARDUINO}\n#include "ecovision_bin.ino"\n{BOARD}'
    program = compile_cpp(tmp_path, source, f"-I{tmp_path}", *eeprom)

    def say(number, kind, *words):
        return encode_line(Line(">", number, kind, words)).decode()

    script = [
        *["+1000\n", say(1, "HELLO", "1", "0000000A", "-"), say(1, "EVENT", "paper", "-", "900")],
        *["+1000\n", say(2, "EVENT", "glass", "-", "900"), "+2500\n", say(2, "EVENT", "glass", "-", "900")],
        *["+100\n", say(1, "STATE", "fault"), "+6000\n"],
    ]
    out = subprocess.check_output([program], input="".join(script), text=True).splitlines()
    answers = [line.partition("*")[0] for line in out if line.startswith("<")]
    assert answers == [
        *[
            "<0001:ACK HELLO 1 -",
            "<0001:ACK EVENT",
            "<0002:NAK EVENT busy",
            "<0002:ACK EVENT",
            "<0001:ACK STATE",
        ],
    ]
    moves = [line for line in out if not line.startswith("<")]
    assert moves == ["0: 90", "0: 90", "1000: 20", "3600: 90", "4500: 55", "4600: 90", "9600: 90"]
