"""A tray drawn by a script: things come, lie and go, hands pass, the light changes; and the truth of it.

`demo:?script=FILE` is a source of its frames; `ecovision_edge_bench.score` scores what a bin makes of them.
"""

__all__: list[str] = []
