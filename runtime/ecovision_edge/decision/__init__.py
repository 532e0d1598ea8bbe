"""From predictions to decisions: is there an item, what is it, is that sure, and where does it go."""

from ecovision_edge.decision.decider import BinDecider
from ecovision_edge.decision.gate import Gate
from ecovision_edge.decision.options import DeciderOptions
from ecovision_edge.decision.presence import PresenceGate
from ecovision_edge.decision.presence_options import PresenceOptions
from ecovision_edge.decision.settings import DecisionSettings
from ecovision_edge.decision.status import BinStatus
from ecovision_edge.decision.verdict import Sorting
from ecovision_edge.observation import Box, Content, Look, Observation, View

__all__ = [
    "BinDecider",
    "BinStatus",
    "Box",
    "Content",
    "DeciderOptions",
    "DecisionSettings",
    "Gate",
    "Look",
    "Observation",
    "PresenceGate",
    "PresenceOptions",
    "Sorting",
    "View",
]
