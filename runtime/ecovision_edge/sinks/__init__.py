"""Where events go: a file, a broker, a serial line, pins, a web address; none of them holds up the camera."""

from ecovision_edge.sinks.base import Sink, SinkStats
from ecovision_edge.sinks.delivery import Delivery, Pace

__all__ = ["Delivery", "Pace", "Sink", "SinkStats"]
