#!/usr/bin/env bash
# mosquitto: a shared subscription goes on giving its share of the messages to a member who is away, though another is
# there; once his queue is full, they are thrown away.
#
# Ground: two consumers share `$share/writers/events` with QoS 1 and sessions that persist, so that events are written
# once and one consumer may be restarted. One leaves; 20, then 2,200 more messages are published and acknowledged.
# Guess before running: as with any group of workers, the one who is there gets all 20; the other gets something only if
# nobody is there.
# Seen (mosquitto 2.0.11 of Debian 12, paho-mqtt 2.2.0):
#   the consumer who is there gets every second message; the others wait in the absent one's session
#   of 2,220 the one there gets 1,110, the absent one 1,000 when he is back (max_queued_messages), and 110 are lost,
#     each acknowledged to the publisher as any other
#   a member with a clean session gives his share back when he leaves: the one there gets all
# The standard leaves the choice to the broker. So a second consumer "for safety" halves what is written while he is
# down, and loses the rest for good if he stays down.
# What to do: where nothing may be lost, one consumer with a session that persists, and no group. In a group: sessions
# that end with the connection (MQTT 5: session expiry 0; MQTT 3.1.1: clean session), or unsubscribe before leaving.
#
# Wants mosquitto: apt-get install mosquitto (the service itself need not run).
# usage: bash findings/mosquitto-shared-feeds-the-absent.sh   (exit 0: still so; 1: it has changed)
set -euo pipefail
PATH=$PATH:/usr/sbin
command -v mosquitto >/dev/null || { echo "mosquitto is not installed: apt-get install mosquitto" >&2; exit 2; }
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT; cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check paho-mqtt==2.2.0
venv/bin/python - <<'PYTHON'
import queue
import socket
import subprocess
import sys
import time
from importlib.metadata import version

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

said = subprocess.run(["mosquitto", "-h"], capture_output=True, text=True).stdout
print(said.splitlines()[0], "paho-mqtt", version("paho-mqtt"))
with socket.create_server(("127.0.0.1", 0)) as unused:
    port = unused.getsockname()[1]
with open("mosquitto.conf", "w") as file:
    file.write(f"listener {port} 127.0.0.1\nallow_anonymous true\n")


class Client(mqtt.Client):
    """A connected client; of a consumer, subscribed, and with what it got."""

    def __init__(self, name, topics=(), persists=True):
        super().__init__(mqtt.CallbackAPIVersion.VERSION2, client_id=name, protocol=mqtt.MQTTv5)
        self.told, self.got = queue.Queue(), queue.Queue()
        self.on_connect = lambda *_: self.told.put("connected")
        self.on_subscribe = lambda *_: self.told.put("subscribed")
        self.on_message = lambda client, userdata, message: self.got.put(message.payload.decode())
        expires = Properties(PacketTypes.CONNECT)
        expires.SessionExpiryInterval = 3600 if persists else 0
        self.connect("127.0.0.1", port, clean_start=False, properties=expires)
        self.loop_start()
        assert self.told.get(timeout=10) == "connected"
        for topic in topics:
            self.subscribe(topic, qos=1)
            assert self.told.get(timeout=10) == "subscribed"

    def send(self, topic, texts):
        for text in texts:
            self.publish(topic, text, qos=1).wait_for_publish(10)

    def numbers(self):
        """Give what came until an "end" on a topic that is not shared."""
        self.send(f"end/{self._client_id.decode()}", ["end"])
        return [int(text) for text in iter(lambda: self.got.get(timeout=30), "end")]

    def leave(self):
        self.disconnect()
        self.loop_stop()


def consumer(name, **options):
    return Client(name, ("$share/writers/events", f"end/{name}"), **options)


broker = subprocess.Popen(["mosquitto", "-c", "mosquitto.conf"], stderr=subprocess.DEVNULL)
try:
    for _ in range(200):
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            break
        except OSError:
            time.sleep(0.05)
    publisher, there = Client("publisher"), consumer("there")
    consumer("passing", persists=False).leave()
    publisher.send("events", map(str, range(20)))
    passing = there.numbers()
    print(f"the other had a clean session and left: the one there got {len(passing)} of 20")
    consumer("away").leave()
    publisher.send("events", map(str, range(20)))
    first = there.numbers()
    print("the other has a session that persists and left: the one there got", first)
    publisher.send("events", map(str, range(20, 2220)))
    rest = there.numbers()
    back = consumer("away").numbers()
finally:
    broker.kill()
    broker.wait()
lost = set(range(2220)) - {*first, *rest, *back}
print(f"of 2220: {len(first + rest)} to the one there, {len(back)} to the other when he is back, {len(lost)} to nobody")
so = len(passing) == 20 and len(first) == 10 and len(first + rest) == 1110 and len(back) == 1000 and len(lost) == 110
print("still so: the absent one gets his share" if so else "changed")
sys.exit(not so)
PYTHON
