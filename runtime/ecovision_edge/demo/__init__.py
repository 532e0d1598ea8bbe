"""The demo page: try a bundle in a browser on this machine, with a picture, a webcam or a synthetic example.

    session = DemoSession.load("build/mine")
    with DemoServer(session) as server:
        print(server.url)
        server.wait()  # until somebody calls server.stop()

It is served on a loopback address alone, asks no other machine for anything, and keeps nothing: uploads are
in a folder that goes with the server. Only `DemoServer` needs Gradio, which
`pip install 'ecovision-edge[demo]'` brings.
"""

from __future__ import annotations

from ecovision_edge.demo.server import DemoServer
from ecovision_edge.demo.session import DemoSession

__all__ = ["DemoServer", "DemoSession"]
