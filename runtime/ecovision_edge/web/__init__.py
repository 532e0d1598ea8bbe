"""The live page of the camera loop: what the camera sees and what the network says, for a browser.

    board = Board(classifier.labels)
    with PageServer(board, "127.0.0.1:8080") as page:
        print(page.url)
        ...  # the loop calls board.publish(result) and board.set_health(health)

Publishing costs microseconds and waits for nobody: pictures are encoded, and figures written, by the page's
own threads and only while somebody looks. Only `PageServer` needs aiohttp and prometheus_client, which
`pip install 'ecovision-edge[web]'` brings.
"""

from __future__ import annotations

from ecovision_edge.web.board import Board
from ecovision_edge.web.limits import Limits
from ecovision_edge.web.server import PageServer

__all__ = ["Board", "Limits", "PageServer"]
