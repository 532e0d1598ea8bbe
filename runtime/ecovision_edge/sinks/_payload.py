"""Events and states as bytes."""

from __future__ import annotations

from ecovision_edge.errors import OptionError
from ecovision_edge.events import BinEvent, StateMessage

__all__ = ["event_bytes"]


def event_bytes(event: BinEvent | StateMessage) -> bytes:
    """Return the JSON of an event, or of a state, on one line, in UTF-8, without a newline.

    Raises:
        OptionError: it holds NaN, infinity or a lone surrogate: it can never be delivered.
    """
    try:
        return event.dumps().encode()
    except ValueError as e:  # UnicodeEncodeError too
        raise OptionError(f"message {event.id}", expected="what JSON can say", found=str(e)) from e
