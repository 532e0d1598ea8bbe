"""From predictions to decisions: is there an item, what is it, is that sure, and where does it go."""

from ecovision_edge.decision.decider import BinDecider, BinStatus, Sorting
from ecovision_edge.decision.options import DeciderOptions
from ecovision_edge.decision.presence import Gate, Look, PresenceGate, PresenceOptions, View

__all__ = [
    "BinDecider",
    "BinStatus",
    "DeciderOptions",
    "Gate",
    "Look",
    "PresenceGate",
    "PresenceOptions",
    "Sorting",
    "View",
]
