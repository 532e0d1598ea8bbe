"""Whether the exported network is still the same one, measured against PyTorch.

Nothing here changes a model, or refuses one: `publish` has the gate.
"""

__all__: list[str] = []
