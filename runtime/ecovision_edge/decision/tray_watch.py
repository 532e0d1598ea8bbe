"""What the looks at a tray say of it: it is hidden, empty, or something lies on it."""

from __future__ import annotations

from ecovision_edge.decision.gate import Gate
from ecovision_edge.decision.states import BinStates
from ecovision_edge.events import BinState
from ecovision_edge.observation import Look, View

__all__ = ["TrayWatch"]


class TrayWatch:
    """Follows the tray by the gate's looks, and has it learnt again where the learnt picture is doubted.

    Args:
        states: Told what becomes of the tray.
        gate: Knows the empty tray.
        rearm: Seconds that the tray has to be empty before another item can come.
    """

    def __init__(self, states: BinStates, gate: Gate, rearm: float) -> None:
        self._states, self._gate, self._rearm = states, gate, rearm
        self._empty_since: float | None = None
        self._returned = False  # an item went, and the tray was empty again
        self._doubted = False  # the tray was learnt again because an item stayed

    def relearn(self) -> None:
        """Learn the empty tray again, and forget what was seen of it."""
        self._gate.relearn()
        self._empty_since = None
        self._returned = self._doubted = False

    def see(self, look: Look) -> bool:
        """Take in a look; whether its frame may show an item that counts."""
        self._states.blockers.look(look, self._states.state, self._states.now)
        self._doubt()
        if look.view is View.EMPTY:
            return self._see_empty(look)
        self._empty_since = None
        if look.view is not View.ITEM:
            self._see_nothing(look)
            return False
        if not self._states.state.ready:  # it was there before, or came meanwhile: an item nonetheless
            self._states.enter(BinState.EMPTY, "the view is back")
        return True

    def _see_nothing(self, look: Look) -> None:
        state = self._states.state
        if state in (BinState.STARTING, BinState.EMPTY, BinState.FAULT):
            blind = BinState.STARTING if look.view is View.UNKNOWN else BinState.FAULT
            self._states.say(blind, look.reason)
        elif self._states.in_hand and look.view is View.COVERED:
            self._states.say(state, look.reason)

    def _see_empty(self, look: Look) -> bool:
        states, state = self._states, self._states.state
        if self._empty_since is None:
            self._empty_since = states.now
        if not state.ready:
            states.enter(BinState.EMPTY, look.reason)
        elif state is BinState.EMPTY:
            states.say(state, look.reason)
        elif states.now - self._empty_since < self._rearm:
            return state is BinState.DECIDED  # perhaps it went: the frames of one in hand do not count
        else:
            self._returned = self._returned or not self._doubted
            self._doubted = False
            gone = f"item {states.number} went before it was decided"
            states.leave(look.reason if state is BinState.DECIDED else gone)
        return False

    def _doubt(self) -> None:
        """Learn the tray again if an item stays, and nothing has shown yet that the learnt one is right."""
        if self._states.blockers.stayed and not self._returned and not self._doubted:
            self._doubted = True
            self._states.blockers.clear(self._states.now)
            self._gate.relearn()
