#!/usr/bin/env bash
# paho-mqtt: a process holds 339 clients. Of those beyond, connect() and publish() return 0, they are never connected,
# and no callback says so.
#
# Ground: a load generator or a gateway that speaks for 400 devices, one client and one loop_start() each, with a limit
# of 4,096 open files. The broker is a few lines of this script, in a process of its own.
# Guess before running: all 400 connect; or connect() raises once something is used up, or on_connect_fail is called.
# Seen (paho-mqtt 2.2.0, Python 3.11, Linux):
#   connect() gives 0 for all 400; on_connect is called for 339; neither on_connect_fail nor on_disconnect for the rest
#   their thread is alive, the socket is there, publish() of QoS 1 gives 0, is_connected() is False
# Each client has three descriptors (its socket and a pair to wake the loop), and select() cannot take one above 1,023:
# its ValueError is taken for a lost connection inside the loop, which tells nobody. So it is not the limit of open
# files, and raising it does not help.
# What to do: wait for on_connect of each client with a time limit; above 300 devices use several processes, one client
# that publishes for many, or a client on poll or asyncio's sockets.
#
# usage: bash findings/paho-340th-client-never-connects.sh   (exit 0: still so; 1: it has changed)
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT; cd "$work"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check paho-mqtt==2.2.0
ulimit -S -n 4096
cat >broker.py <<'PYTHON'
import socketserver


class Link(socketserver.StreamRequestHandler):
    """Speak MQTT 3.1.1: short packets only, and say yes to CONNECT."""

    def handle(self):
        try:
            while head := self.rfile.read(2):
                self.rfile.read(head[1])
                if head[0] >> 4 == 1:
                    self.wfile.write(bytes([0x20, 2, 0, 0]))
        except ConnectionError:
            pass


class Broker(socketserver.ThreadingTCPServer):
    daemon_threads = True
    request_queue_size = 500


broker = Broker(("127.0.0.1", 0), Link)
print(broker.server_address[1], flush=True)
broker.serve_forever()
PYTHON
venv/bin/python - <<'PYTHON'
import collections
import os
import subprocess
import sys
import threading
from importlib.metadata import version

import paho.mqtt.client as mqtt

print("paho-mqtt", version("paho-mqtt"))
broker = subprocess.Popen([sys.executable, "broker.py"], stdout=subprocess.PIPE, text=True)
port = int(broker.stdout.readline())
told = collections.Counter()
connected = threading.Event()


def tell(name):
    def callback(*arguments):
        told[name] += 1
        connected.set()
    return callback


clients, codes = [], collections.Counter()
for number in range(400):
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=f"device{number}")
    client.on_connect = tell("on_connect")
    client.on_connect_fail = tell("on_connect_fail")
    client.on_disconnect = tell("on_disconnect")
    codes[int(client.connect("127.0.0.1", port))] += 1
    client.loop_start()
    clients.append(client)
while connected.wait(10):  # until nothing has come for so long
    connected.clear()
alone = [client for client in clients if not client.is_connected()]
highest = min((client.socket().fileno() for client in alone), default=0)
sent = collections.Counter(int(client.publish("events", "a", qos=1).rc) for client in alone)
print(f"connect() gave {dict(codes)}; callbacks {dict(told)}")
print(f"not connected: {len(alone)}; lowest descriptor of their sockets {highest}; publish() gave {dict(sent)}; "
      f"threads alive: {sum(thread.is_alive() for thread in threading.enumerate()) - 1}", flush=True)
so = (codes == {0: 400} and set(told) == {"on_connect"} and 300 < told["on_connect"] < 342
      and len(alone) == 400 - told["on_connect"] and sent == {0: len(alone)})
print("still so: clients beyond select()'s reach are told nothing" if so else "changed", flush=True)
broker.kill()
broker.wait()
os._exit(not so)  # 400 threads need not be waited for
PYTHON
