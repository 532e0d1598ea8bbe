"""Folders of labelled photographs: listed, chosen, digested, decoded as PyTorch's side sees them.

Nothing here knows a network.
"""

__all__: list[str] = []
