"""The gate, and from finished models to a bundle's folder and to a repository of the hub.

Nothing here makes or measures a model.
"""

__all__: list[str] = []
