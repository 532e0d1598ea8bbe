"""Camera and classifier together: the loop, what it gives, and what it says at its end."""

from ecovision_edge.loop.result import LoopResult

__all__ = ["LoopResult"]
