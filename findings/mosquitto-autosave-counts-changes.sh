#!/usr/bin/env bash
# mosquitto: autosave_on_changes does not save after each change. It turns autosave_interval, 1800 by default, from
# seconds into a number of changes: a quiet broker then saves later than without the line.
#
# Ground: a subscriber with a session that persists goes away, 21 messages of QoS 1 are published, each is acknowledged
# by the broker, the broker is killed and started again, the subscriber comes back.
# Guess before running: `persistence true` keeps what was acknowledged, or what is older than the interval;
# `autosave_on_changes true` keeps all.
# Seen (mosquitto 2.0.11 of Debian 12, paho-mqtt 2.2.0):
#   no persistence; persistence true; and autosave_on_changes true: all 21 are gone, and the session with them
#   and autosave_interval 1: none is gone
#   autosave_on_changes true: nothing is saved before the 1,798th message to the absent subscriber, and that only with
#     max_queued_messages 0; by default its queue is full at 1,000, what comes then changes nothing, and after 3,000
#     messages there is no file yet
#   autosave_interval 1 without autosave_on_changes, killed three seconds later: none is gone
# The manual says it, under autosave_interval. So the line that reads like "durable" makes a broker of a few devices
# forget days: 1,800 changes, where it was half an hour.
# What to do: set both, autosave_on_changes true and autosave_interval 1 (the whole file is written each time), or the
# interval alone, in seconds; and never take a PUBACK for a promise about the broker's disk.
#
# Wants mosquitto: apt-get install mosquitto (the service itself need not run).
# usage: bash findings/mosquitto-autosave-counts-changes.sh   (exit 0: still so; 1: it has changed)
set -euo pipefail
PATH=$PATH:/usr/sbin
command -v mosquitto >/dev/null || { echo "mosquitto is not installed: apt-get install mosquitto" >&2; exit 2; }
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT; cd "$work"; chmod 755 .
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check paho-mqtt==2.2.0
venv/bin/python - <<'PYTHON'
import os
import pathlib
import queue
import socket
import subprocess
import sys
import threading
import time
from importlib.metadata import version

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

said = subprocess.run(["mosquitto", "-h"], capture_output=True, text=True).stdout
print(said.splitlines()[0], "paho-mqtt", version("paho-mqtt"))


class Broker:
    """A broker of its own, with a folder of its own for what it saves."""

    def __init__(self, folder, settings):
        self.folder = pathlib.Path(folder).absolute()
        self.folder.mkdir()
        with socket.create_server(("127.0.0.1", 0)) as unused:
            self.port = unused.getsockname()[1]
        user = "root" if os.geteuid() == 0 else "mosquitto"  # it gives up root's rights otherwise
        lines = [f"listener {self.port} 127.0.0.1", "allow_anonymous true", f"user {user}",
                 f"persistence_location {self.folder}/", *settings]
        self.configuration = self.folder / "mosquitto.conf"
        self.configuration.write_text("\n".join(lines) + "\n")
        self.start()

    def start(self):
        self.process = subprocess.Popen(["mosquitto", "-c", self.configuration], stderr=subprocess.DEVNULL)
        for _ in range(200):
            try:
                return socket.create_connection(("127.0.0.1", self.port)).close()
            except OSError:
                time.sleep(0.05)
        raise SystemExit("mosquitto does not start")

    def kill(self):
        self.process.kill()
        self.process.wait()

    def saved(self):
        return (self.folder / "mosquitto.db").exists()


class Client(mqtt.Client):
    """A connected client whose session persists."""

    def __init__(self, broker, name):
        super().__init__(mqtt.CallbackAPIVersion.VERSION2, client_id=name, protocol=mqtt.MQTTv5)
        self.got, self.told = queue.Queue(), queue.Queue()
        self.on_connect = lambda client, userdata, flags, *_: self.told.put(flags.session_present)
        self.on_message = lambda client, userdata, message: self.got.put(message.payload.decode())
        self.on_subscribe = lambda *_: self.told.put("subscribed")
        expires = Properties(PacketTypes.CONNECT)
        expires.SessionExpiryInterval = 3600
        self.connect("127.0.0.1", broker.port, clean_start=False, properties=expires)
        self.loop_start()
        self.remembered = self.told.get(timeout=10)

    def listen(self):
        self.subscribe("events", qos=1)
        assert self.told.get(timeout=10) == "subscribed"

    def say(self, text):
        self.publish("events", text, qos=1).wait_for_publish(10)

    def leave(self):
        self.disconnect()
        self.loop_stop()


def away(broker):
    """Let a subscriber come and go."""
    subscriber = Client(broker, "subscriber")
    subscriber.listen()
    subscriber.leave()


def forgotten(name, settings, wait=0.0):
    """Count of 21 acknowledged messages those that the subscriber never gets."""
    broker = Broker(name, settings)
    try:
        away(broker)
        bin = Client(broker, "bin")
        for number in range(21):
            bin.say(str(number))
        time.sleep(wait)
        broker.kill()
        bin.loop_stop()
        broker.start()
        subscriber = Client(broker, "subscriber")
        if not subscriber.remembered:
            subscriber.listen()
        subscriber.say("end")  # comes after all that was kept
        kept = list(iter(lambda: subscriber.got.get(timeout=10), "end"))
        subscriber.leave()
    finally:
        broker.kill()
    print(f"{', '.join(settings) or 'no persistence'}{f'; killed {wait:.0f} s later' if wait else ''}: "
          f"{21 - len(kept)} of 21 forgotten, session {'kept' if subscriber.remembered else 'forgotten'}", flush=True)
    return 21 - len(kept)


def messages_until_saved(name, settings):
    """Count the messages to a subscriber who is away until the broker has saved."""
    broker = Broker(name, settings)
    try:
        away(broker)
        bin = Client(broker, "bin")
        count = 0
        while not broker.saved() and count < 3000:
            bin.say(str(count))
            count += 1
        bin.leave()
    finally:
        broker.kill()
    print(f"{', '.join(settings)}: after {count} messages it has {'' if broker.saved() else 'not '}saved", flush=True)
    return count


SAVE, CHANGES, ONE = "persistence true", "autosave_on_changes true", "autosave_interval 1"
losses = [forgotten("none", []), forgotten("saves", [SAVE]), forgotten("changes", [SAVE, CHANGES]),
          forgotten("both", [SAVE, CHANGES, ONE]), forgotten("seconds", [SAVE, ONE], wait=3)]
counts = [messages_until_saved("default", [SAVE, CHANGES]),
          messages_until_saved("unlimited", [SAVE, CHANGES, "max_queued_messages 0"]),
          messages_until_saved("hundred", [SAVE, CHANGES, "autosave_interval 100"])]
so = losses == [21, 21, 21, 0, 0] and counts[0] == 3000 and 1500 < counts[1] < 2000 and 50 < counts[2] < 150
print("still so: autosave_on_changes counts changes" if so else "changed")
sys.exit(not so)
PYTHON
