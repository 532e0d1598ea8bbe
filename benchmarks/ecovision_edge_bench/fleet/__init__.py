"""What a whole fleet asks of its web server: measured for one device, simulated for all; a developers' tool.

    python -m ecovision_edge_bench.fleet.updates [--devices 10000] [--every 6h] [--bundle DIR]

A signed repository is made by the publisher's own code, and served by a real nginx on loopback with Debian's
settings. Then:

- `asking`: one device asks, by the code that asks on a device: a first time, where nothing is new, and where
  a release has a new `bundle.json` alone. nginx's log says which requests that takes, and how many bytes.
- `arrivals`: 10,000 devices start in the same second, when the power is back in a whole town. When each of
  them asks is what `ecovision_edge.updates.timetable` says; no time passes meanwhile.
- `load`: these very requests again, as fast as this machine can ask, in rounds. The requests a second are of
  nginx and load together; nginx's own CPU time for a device depends less on what else runs on the machine,
  but it does, so the range over the rounds is printed, and what follows is by the slowest.

What follows from the three, how long the last device waits, is one queue before one server: `queue`.
"""
