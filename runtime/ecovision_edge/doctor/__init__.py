"""Looks a device over: what is there, what is wrong with it, and what to do about it.

One module per subject. Each looks at a `System`, which tests replace, and yields findings, `Check`. Nothing
is changed and no event is sent. `checkup` runs the subjects, each in a thread of its own within a limit of
time, so that none can hang the others or end them.
"""

from ecovision_edge.doctor.check import Check, State, fail, ok, warn
from ecovision_edge.doctor.checkup import Subject, checkup
from ecovision_edge.doctor.subjects import Wishes, subjects_of
from ecovision_edge.doctor.system import Commands, Output, System

__all__ = [
    "Check",
    "Commands",
    "Output",
    "State",
    "Subject",
    "System",
    "Wishes",
    "checkup",
    "fail",
    "ok",
    "subjects_of",
    "warn",
]
