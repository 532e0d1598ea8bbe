"""Servers for tests of the camera: RTSP by GStreamer's own server, MJPEG over HTTP, and bad ones.

Each is a context manager; what it yields knows its address. RTSP needs Debian's gir1.2-gst-rtsp-server-1.0,
python3-gi, gstreamer1.0-plugins-base and gstreamer1.0-plugins-good.
"""

from __future__ import annotations

import http.server
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import pytest

from ecovision_edge.errors import BadFrameError, CaptureError

PROMPT = 30.0  # seconds: a safety net, nowhere expected to pass

BARS = 16
WIDTH, HEIGHT = 320, 240

# Run by Debian's Python, which has GObject's bindings; a process of its own, so that it can be killed.
RTSP_PACKAGES = [
    "gir1.2-gst-rtsp-server-1.0",
    "python3-gi",
    "gstreamer1.0-plugins-base",
    "gstreamer1.0-plugins-good",
]
RTSP_SERVER = """
import sys, time
import gi
gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer

port, user, password, bars, width, height = sys.argv[1], *sys.argv[2:4], *map(int, sys.argv[4:])
Gst.init(None)

def picture():
    count = int(time.time() * 10)
    row = b"".join(bytes([208 if count >> i & 1 else 48]) * (width // bars) for i in range(bars))
    return row * height + b"\\x80" * (width * height // 2)

def configure(factory, media):
    source = media.get_element().get_by_name("source")
    def push():  # until the last client has gone
        return source.emit("push-buffer", Gst.Buffer.new_wrapped(picture())) == Gst.FlowReturn.OK
    push()
    GLib.timeout_add(20, push)

server = GstRtspServer.RTSPServer()
server.set_address("127.0.0.1")
server.set_service(port)
factory = GstRtspServer.RTSPMediaFactory()
factory.set_launch(
    "( appsrc name=source is-live=true do-timestamp=true format=time "
    f"caps=video/x-raw,format=I420,width={width},height={height},framerate=50/1 "
    "! jpegenc quality=90 ! rtpjpegpay name=pay0 pt=26 )"
)
factory.set_shared(True)
factory.connect("media-configure", configure)
if user:
    auth = GstRtspServer.RTSPAuth()
    token = GstRtspServer.RTSPToken()
    token.set_string("media.factory.role", "user")
    auth.add_basic(GstRtspServer.RTSPAuth.make_basic(user, password), token)
    server.set_auth(auth)
    permissions = GstRtspServer.RTSPPermissions()
    permissions.add_permission_for_role("user", "media.factory.access", True)
    permissions.add_permission_for_role("user", "media.factory.construct", True)
    factory.set_permissions(permissions)
server.get_mount_points().add_factory("/cam", factory)
if not server.attach(None):
    sys.exit("the port is taken")
print(server.get_bound_port(), flush=True)
GLib.MainLoop().run()
"""


def count_in(frame: np.ndarray) -> int:
    """The number that the bars of a frame are: tenths of a second of the server's `time.time()`, 16 bits."""
    width = frame.shape[1] // BARS
    middle = frame[frame.shape[0] // 2, width // 2 :: width, 1][:BARS]
    return sum(1 << i for i, level in enumerate(middle.tolist()) if level > 128)


def age_of(frame: np.ndarray) -> float:
    """Seconds since the server drew it, to a tenth."""
    return ((int(time.time() * 10) - count_in(frame)) % (1 << BARS)) / 10


def bars(count: int) -> np.ndarray:
    """The frame that `count_in` reads."""
    levels = [208 if count >> i & 1 else 48 for i in range(BARS)]
    row = np.repeat(np.array(levels, np.uint8), WIDTH // BARS)
    return np.repeat(np.broadcast_to(row, (HEIGHT, WIDTH))[..., None], 3, 2).copy()


def jpeg(frame: np.ndarray) -> bytes:
    """As a camera sends it."""
    ok, data = cv2.imencode(".jpg", frame)
    assert ok
    return data.tobytes()


def free_port() -> int:
    """A port that nothing listens at now."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@dataclass
class RtspServer:
    """A running RTSP server: `/cam` is 320 x 240, 50 frames a second."""

    port: int
    process: subprocess.Popen[str]

    def url(self, path: str = "cam", user: str = "") -> str:
        """Of the stream; `user` is `user:password`."""
        return f"rtsp://{user}{'@' if user else ''}127.0.0.1:{self.port}/{path}"

    def kill(self) -> None:
        """As if its plug were pulled."""
        self.process.kill()
        self.process.wait(PROMPT)


@contextmanager
def rtsp_server(port: int = 0, *, user: str = "", password: str = "") -> Iterator[RtspServer]:
    """Start GStreamer's RTSP server, and wait until it answers; port 0 is any that is free."""
    arguments = [port, user, password, BARS, WIDTH, HEIGHT]
    process = subprocess.Popen(
        ["/usr/bin/python3", "-c", RTSP_SERVER, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stderr is not None
        line = process.stdout.readline()
        if not line:
            why = process.stderr.read().strip().rpartition("\n")[2]
            pytest.skip(f"no RTSP server ({why}): run apt-get install {' '.join(RTSP_PACKAGES)}")
        server = RtspServer(int(line), process)
        # It listens; it answers once its loop runs.
        with socket.create_connection(("127.0.0.1", server.port), PROMPT) as s:
            s.sendall(b"OPTIONS * RTSP/1.0\r\nCSeq: 1\r\n\r\n")
            assert s.recv(100).startswith(b"RTSP/1.0 ")
        yield server
    finally:
        process.kill()
        process.communicate(timeout=PROMPT)


@dataclass
class HttpServer:
    """A running HTTP server with these paths; `requests` are the targets that were asked for.

    With `pause` set `/cam` sends nothing more, though the connection stays.

    `/cam`: MJPEG of frames that count from 0, until `stop`. `/short`: three of them, then the end in the
    middle of the fourth. `/damaged`: of four the second is empty, the third half, the last no picture.
    `/chunked`: as `/cam`, each part a chunk of its own. `/still`: one frame for each request, the next number
    each time; `/untold`: without saying that it is a picture. `/basic`, `/digest`: the same as `/still` for
    `user` and `password`. `/moved`: to `/still`, then `/away`: to another port, `/round`: to itself.
    `/video`: the file in `video`. `/text`: a page. `/private`: 401. `/silent`: never an answer. Others: 404.
    """

    port: int
    requests: list[str] = field(default_factory=list)
    authorizations: list[str] = field(default_factory=list)
    stills: int = 0
    video: bytes = b""
    stop: threading.Event = field(default_factory=threading.Event)
    pause: threading.Event = field(default_factory=threading.Event)
    sent: int = 0
    more: threading.Condition = field(default_factory=threading.Condition)

    def wait_for(self, sent: int) -> None:
        """Until so many frames of `/cam` were sent, to any client."""
        with self.more:
            assert self.more.wait_for(lambda: self.sent >= sent, PROMPT)

    def url(self, path: str = "cam", user: str = "") -> str:
        """Of a path; `user` is `user:password`."""
        return f"http://{user}{'@' if user else ''}127.0.0.1:{self.port}/{path}"


@contextmanager
def mjpeg_server(port: int = 0, *, fps: float = 50.0) -> Iterator[HttpServer]:
    """Serve over HTTP in threads of this process; port 0 is any that is free."""
    state = HttpServer(port)
    boundary = b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n"

    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, *_):
            pass

        def do_GET(self):
            state.requests.append(self.path)
            path = self.path.partition("?")[0]
            state.authorizations.append(self.headers.get("Authorization", ""))
            answer = {
                "/cam": self.stream,
                "/short": self.stream,
                "/damaged": self.stream,
                "/chunked": self.stream,
                "/text": self.page,
                "/video": self.file,
                "/still": self.still,
                "/untold": self.still,
                "/basic": self.locked,
                "/digest": self.locked,
                "/moved": self.moved,
                "/away": self.moved,
                "/round": self.moved,
            }.get(path)
            if path == "/silent":
                state.stop.wait(PROMPT)
            elif answer is None:
                self.send_error(401 if path == "/private" else 404)
            else:
                with suppress(OSError):  # the client has gone
                    answer(path)

        def page(self, _):
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.end_headers()
            self.wfile.write(b"<p>A camera's menu.</p>")

        def still(self, path):
            data = jpeg(bars(state.stills))
            state.stills += 1
            self.send_response(200)
            self.send_header(
                "Content-Type", "application/octet-stream" if path == "/untold" else "image/jpeg"
            )
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def file(self, _):
            self.send_response(200)
            self.send_header("Content-Type", "application/octet-stream")
            self.send_header("Content-Length", str(len(state.video)))
            self.end_headers()
            self.wfile.write(state.video)

        def locked(self, path):
            given = self.headers.get("Authorization", "")
            if given.lower().startswith(path[1:]):
                self.still(path)
                return
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="cam"')
            if path == "/digest":
                self.send_header("WWW-Authenticate", 'Digest realm="cam", nonce="n0nce", qop="auth"')
            self.end_headers()

        def moved(self, path):
            to = {"/moved": "still", "/away": f"http://127.0.0.1:{free_port()}/still", "/round": "/round"}
            self.send_response(302)
            self.send_header("Location", to[path])
            self.end_headers()

        def stream(self, path):
            self.send_response(200)
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
            if path == "/chunked":
                self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            count = 0
            while not state.stop.is_set():
                if state.pause.is_set():
                    state.stop.wait(PROMPT)
                    return
                data = jpeg(bars(count))
                if path == "/damaged":
                    data = (data, b"", data[: len(data) // 2], b"no picture")[count % 4]
                part = boundary % len(data) + data + b"\r\n"
                if path == "/short" and count == 3:
                    self.wfile.write(part[: len(part) // 2])
                    return
                self.wfile.write(b"%x\r\n%b\r\n" % (len(part), part) if path == "/chunked" else part)
                count += 1
                with state.more:
                    state.sent += 1
                    state.more.notify_all()
                state.stop.wait(1 / fps)

    class Server(http.server.ThreadingHTTPServer):
        daemon_threads = True
        block_on_close = False

    server = Server(("127.0.0.1", port), Handler)
    state.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        state.stop.set()
        server.shutdown()
        server.server_close()
        thread.join(PROMPT)


@contextmanager
def silent_server(port: int = 0) -> Iterator[int]:
    """Accepts connections and says nothing; yields its port."""
    held: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", port)) as listener:

        def accept():
            with suppress(OSError):
                while True:
                    held.append(listener.accept()[0])

        threading.Thread(target=accept, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
    for connection in held:
        connection.close()


def read_until_error(stream):
    """The good frames up to the error that ends the stream, and its text; the stream is closed."""
    frames = []
    for _ in range(1000):
        try:
            frames.append(stream.read())
        except BadFrameError:
            continue
        except CaptureError as e:
            stream.close()
            return frames, str(e)
    raise AssertionError("there was no error")


def make_turned_video(path: Path, turn: int) -> Path:
    """An MP4 as a phone makes it: a player has to turn its frames by `turn` degrees, clockwise.

    Upright it is red above and blue below, 48 x 64 for a quarter turn.
    """
    upright = np.zeros((64, 48, 3) if turn % 180 else (48, 64, 3), np.uint8)
    upright[: len(upright) // 2] = 0, 0, 255
    upright[len(upright) // 2 :] = 255, 0, 0
    stored = np.ascontiguousarray(np.rot90(upright, turn // 90))
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 10, stored.shape[1::-1])
    assert writer.isOpened()
    for _ in range(3):
        writer.write(stored)
    writer.release()
    # The matrix of the track's header (ISO/IEC 14496-12, 8.3.2): a, b, u, c, d, v, x, y, w.
    data = bytearray(path.read_bytes())
    one = 1 << 16
    a, b = {0: (one, 0), 90: (0, one), 180: (-one, 0), 270: (0, -one)}[turn]
    matrix = struct.pack(">9i", a, b, 0, -b, a, 0, 0, 0, 1 << 30)
    at = data.index(b"tkhd") + 4 + 4 + (32 if data[data.index(b"tkhd") + 4] else 20) + 16
    assert data[at : at + 4] == struct.pack(">i", one)
    data[at : at + len(matrix)] = matrix
    path.write_bytes(data)
    return path


def make_video(path: Path, frames: int = 20, fps: float = 25.0) -> Path:
    """A Motion JPEG file of frames that count from 0."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), fps, (WIDTH, HEIGHT))
    assert writer.isOpened()
    for count in range(frames):
        writer.write(bars(count))
    writer.release()
    return path
