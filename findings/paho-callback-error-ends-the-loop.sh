#!/usr/bin/env bash
# paho-mqtt: an exception in a callback ends the network thread, and the client goes on as if it were connected: QoS 0
# "is published", twenty messages of QoS 1 leave, the rest never, and no acknowledgement is read.
#
# Ground: loop_start(), a subscription whose on_message raises once (a command with a field missing), and the
# application publishing its events on. The broker is a few lines of this script that acknowledge what they get.
# Guess before running: the exception is logged and the loop goes on, as in a web server; or the client is disconnected,
# on_disconnect is called, and is_connected() and the next publish() tell.
# Seen (paho-mqtt 2.2.0, Python 3.11):
#   the traceback goes to stderr by threading.excepthook; nothing else tells
#   is_connected() stays True, on_disconnect is not called
#   25 publishes of QoS 1: all have rc 0; the broker gets and acknowledges the first 20 (max_inflight_messages), none is
#     ever is_published(), and on_publish is not called for any; 21 to 25 are not sent
#   a publish of QoS 0 has rc 0, is_published() True and its on_publish, and does arrive
#   no ping leaves though keepalive is 1 s: a real broker drops the client after 1.5 of it, which nobody reads either
#   loop_start() again says 0, success, hands the same message to on_message again (it is still in the client, though
#     it was QoS 0), and ends by the same exception
# So a counter of rc is green, and the events of the day are in memory and lost with the process.
# What to do: catch everything in each callback (client.suppress_exceptions = True does, and logs only where
# enable_logger() was called), and watch for acknowledgements that do not come, not for is_connected().
#
# usage: bash findings/paho-callback-error-ends-the-loop.sh   (exit 0: still so; 1: it has changed)
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT; cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check paho-mqtt==2.2.0
venv/bin/python - <<'PYTHON'
import socket
import sys
import threading
import time
from importlib.metadata import version

import paho.mqtt.client as mqtt

print("paho-mqtt", version("paho-mqtt"), "Python", sys.version.split()[0])
CONNECT, PUBLISH, SUBSCRIBE, PING = 1, 3, 8, 12
COMMAND = b"\x30\x09\x00\x07command"  # a publish of QoS 0 with an empty payload


class Broker:
    """Speak MQTT 3.1.1 to one client: short packets only."""

    def __init__(self):
        self.server = socket.create_server(("127.0.0.1", 0))
        self.got, self.pings, self.subscribed = [], 0, threading.Event()
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        self.link, _ = self.server.accept()
        stream = self.link.makefile("rb")
        while len(head := stream.read(2)) == 2:
            kind, size = head
            body = stream.read(size)
            if kind >> 4 == CONNECT:
                self.link.sendall(b"\x20\x02\x00\x00")
            elif kind >> 4 == SUBSCRIBE:
                self.link.sendall(b"\x90\x03" + body[:2] + b"\x00")
                self.subscribed.set()
            elif kind >> 4 == PING:
                self.pings += 1
                self.link.sendall(b"\xd0\x00")
            elif kind >> 4 == PUBLISH:
                end = 2 + int.from_bytes(body[:2], "big")
                quality = kind >> 1 & 3
                self.got.append(body[end + 2 * (quality > 0):].decode())
                if quality:
                    self.link.sendall(b"\x40\x02" + body[end:end + 2])


def ends(wanted, seconds=10):
    """Wait until something is so; tell whether it came to be."""
    deadline = time.monotonic() + seconds
    while not wanted() and time.monotonic() < deadline:
        time.sleep(0.05)
    return wanted()


died = threading.Event()
threading.excepthook = lambda dead: (print("excepthook:", dead.thread.name, repr(dead.exc_value)), died.set())
broker, acknowledged, dropped = Broker(), [], []
client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id="bin")
client.on_connect = lambda client, *rest: client.subscribe("command")
client.on_publish = lambda client, userdata, mid, *rest: acknowledged.append(mid)
client.on_disconnect = lambda *arguments: dropped.append(arguments)
client.on_message = lambda client, userdata, message: {}["field"]
client.connect("127.0.0.1", broker.server.getsockname()[1], keepalive=1)
client.loop_start()
assert broker.subscribed.wait(10)
broker.link.sendall(COMMAND)
assert died.wait(10)
pings = broker.pings
events = [client.publish("events", f"event {number}", qos=1) for number in range(1, 26)]
state = client.publish("state", "state", qos=0)
assert ends(lambda: "state" in broker.got)
time.sleep(3)  # three times keepalive
arrived = [text for text in broker.got if text != "state"]
published = sum(event.is_published() for event in events)
codes = {int(event.rc) for event in events}
print(f"is_connected {client.is_connected()}, on_disconnect {len(dropped)}, rc {codes}; "
      f"the broker got {len(arrived)} of 25 events, is_published {published}, on_publish {len(acknowledged)}; "
      f"QoS 0 is_published {state.is_published()}; pings {broker.pings - pings}")
so = (client.is_connected() and not dropped and codes == {0} and len(arrived) == 20
      and published == 0 and acknowledged == [state.mid] and state.is_published() and broker.pings == pings)
died.clear()
again = int(client.loop_start())
print(f"loop_start() again: {again}; ended again by the same message: {died.wait(10)}")
so &= again == 0 and died.is_set()
print("still so: nobody tells that the loop has ended" if so else "changed")
sys.exit(not so)
PYTHON
