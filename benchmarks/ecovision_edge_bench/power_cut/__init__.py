"""Kills a bin, or its broker, at random moments, and counts what became of each event; a developers' tool.

    python -m ecovision_edge_bench.power_cut [--kills 200] [--seed N]
    python -m ecovision_edge_bench.power_cut mqtt [--events 10000] [--restarts 19] [--signal TERM]
    python -m ecovision_edge_bench.power_cut forget [--events 21]

The first runs a whole `SmartBin` in a process of its own, again and again: a camera and a network that are
scripted, and four sinks at once, a file, MQTT to a real mosquitto, a serial line to a twin of the reference
sketch over a line that spoils bytes, and a servo on gpiozero's mock pins. The process is killed (SIGKILL) at
random moments, in its start too, and started again. What has to hold:

- Each event that a sink **acknowledged to its producer** is received. That is: of the file, `deliver`
  returned (with `fsync=1`: the line is on the disk), and the line is there; of MQTT, `on_safe` was called
  (the event is in the spool, on the disk), and a subscriber of the broker gets it, be it in a later run; of
  the serial line, `deliver` returned (the receiver's acknowledgement came), and the receiver acted. Events
  that were in a queue in memory are gone, as they were never acknowledged; pins acknowledge nothing.
- None is acted on twice by the receiver, and none is in the file twice. A kill may double one at most for the
  broker's subscribers, with the same id.
- The files have whole lines only.
- The first position of the servo after each start is the fail-safe one.

A SIGKILL takes the process, not the system: what the system holds in memory stays. That it is on the disk is
what `fsync` is for, and is not proved here.

The second ends the broker in the middle of a stream of events and starts it again: by SIGTERM, after which it
writes down what it holds, or by SIGKILL.

The third kills a broker that has acknowledged all for a subscriber that is away, and counts what it still
knows afterwards, by what its configuration says about saving.
"""
