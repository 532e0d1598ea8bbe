"""From a file, a repository of the hub or the package itself to a network with its labels.

Nothing here knows a graph, photographs to measure by, or an option of an export.
"""

__all__: list[str] = []
