"""What stands in for a camera: synthetic frames, and a tray that follows a script, with the truth of it.

Things come, lie and go, hands pass, the light changes. `demo:?script=FILE` is a source of its frames, and
`ecovision_edge_bench.score` scores what a bin makes of them. Nothing here opens a camera.
"""

__all__: list[str] = []
