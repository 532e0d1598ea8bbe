"""How many examples a property gets whose examples take long: a part of what the others get."""

from __future__ import annotations

from hypothesis import settings

__all__ = ["one_in"]


def one_in(number: int) -> settings:
    """As many examples as the profile gives, divided by `number`; for a property of costly examples."""
    return settings(max_examples=max(2, settings.default.max_examples // number))
