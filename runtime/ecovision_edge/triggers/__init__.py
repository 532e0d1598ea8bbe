"""What tells a bin that an item came, where the picture does not: a pin, a message, a key."""

from ecovision_edge.triggers.addresses import open_trigger
from ecovision_edge.triggers.base import Trigger

__all__ = ["Trigger", "open_trigger"]
