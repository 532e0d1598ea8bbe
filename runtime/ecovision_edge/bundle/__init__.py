"""A bundle and what is in it: contract, manifest, golden vectors, names of engines; read and written.

Nothing here loads an engine or opens a camera: `backends` and `camera` do.
"""

__all__: list[str] = []
