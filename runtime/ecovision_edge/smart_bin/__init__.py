"""A whole bin: camera, classifier, decider, trigger and sinks together, in ten lines of a controller's code.

What makes one of them work alone lives in its own room; here they meet.
"""

from ecovision_edge.smart_bin.bin import SmartBin
from ecovision_edge.smart_bin.defaults import fit_options

__all__ = ["SmartBin", "fit_options"]
