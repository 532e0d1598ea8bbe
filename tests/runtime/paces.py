"""What tests give a delivery in place of its runner."""

import math


class Unhurried:
    """All the time there is, and nothing said of the bin."""

    overdue = stopping = out_of_time = False
    time_left = math.inf
    state = None

    def wait(self, seconds, until):
        """Return at once."""
