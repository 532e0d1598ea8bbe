"""A finished model file: how it was made, and how long it takes on this machine.

Nothing here knows how a recipe is found.
"""

__all__: list[str] = []
