"""Facts about the container's file, as far as they can be seen without building an image."""

import json
import os
import re
import shutil
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

REPOSITORY = Path(__file__).parents[2]
FOLDER = REPOSITORY / "runtime" / "container"
TOKEN = "a-token-of-24-characters"


def instructions():
    """Each instruction and its words, lines put together, comments left out."""
    text = re.sub(r"^#.*\n", "", (FOLDER / "Containerfile").read_text(), flags=re.MULTILINE)
    lines = text.replace("\\\n", " ").splitlines()
    return [(line.split()[0], line.split(maxsplit=1)[1].strip()) for line in lines if line.strip()]


def last(name):
    """What the last instruction of that name says."""
    return [words for found, words in instructions() if found == name][-1]


def test_it_runs_as_a_user_that_is_not_root():
    """By number, so that an orchestrator can tell; it owns the one folder that is written."""
    assert last("USER") == "10001:10001"
    state = json.loads(last("VOLUME"))[0]
    assert ("COPY", f"--from=build --chown=10001:10001 /state {state}") in instructions()
    assert f"STATE_DIRECTORY={state}" in last("ENV").split()


def test_it_needs_no_shell():
    """Entry point, command and health check are lists of words; the last stage builds nothing."""
    health = last("HEALTHCHECK").partition(" CMD ")[2]
    assert all(isinstance(json.loads(words), list) for words in (health, last("ENTRYPOINT"), last("CMD")))
    names = [name for name, _ in instructions()]
    assert "RUN" not in names[len(names) - names[::-1].index("FROM") :]


def test_what_it_copies_is_there_and_not_ignored():
    """Each source of a COPY from the context."""
    kept = {line[1:] for line in (REPOSITORY / ".containerignore").read_text().split() if line[0] == "!"}
    sources = [
        word
        for name, words in instructions()
        if name == "COPY" and "--from" not in words
        for word in words.split()[:-1]
    ]
    assert sources
    for source in sources:
        assert (REPOSITORY / source).exists(), source
        assert source.partition("/")[0] in kept, source


@pytest.mark.packaging
@pytest.mark.slow
def test_the_files_that_it_copies_build_the_wheel(tmp_path):
    """Nothing else of the repository is needed."""
    source = tmp_path / "source"
    source.mkdir()
    for name in (
        "pyproject.toml",
        "hatch_build.py",
        "README.md",
        "LICENSE",
        "runtime",
        "export",
        "benchmarks",
    ):
        path = REPOSITORY / name
        shutil.copytree(path, source / name) if path.is_dir() else shutil.copy(path, source / name)
    pip = [sys.executable, "-m", "pip", "wheel", "--no-build-isolation", "--no-deps", "--quiet"]
    environment = {**os.environ, "ECOVISION_EDGE_WHEEL": "device"}
    subprocess.run(
        [*pip, "--wheel-dir", str(tmp_path), str(source)], check=True, env=environment, timeout=300
    )
    assert len(list(tmp_path.glob("ecovision_edge-*+device-py3-none-any.whl"))) == 1


@pytest.fixture
def page():
    """`/healthz` with this status, and the headers that it was asked with."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            server.asked.append((self.path, self.headers.get("Authorization")))
            self.send_response(server.status)
            self.end_headers()
            self.wfile.write(b'{"reason": "camera STALLED"}\n')

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        server.status, server.asked = 200, []
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join(10)


def check(port, **environment):
    """Run the health check as the container does."""
    environment["ECOVISION_EDGE_HEALTH_URL"] = f"http://127.0.0.1:{port}/healthz"
    environment["http_proxy"] = "http://127.0.0.1:9"  # nobody is there
    script = [sys.executable, "-I", str(FOLDER / "healthcheck.py")]
    return subprocess.run(script, env=environment, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize(("status", "expected"), [(200, 0), (503, 1), (401, 1)])
def test_the_health_is_what_the_page_says(page, status, expected):
    """With the token, past any proxy; the reason is told."""
    page.status = status
    done = check(page.server_port, ECOVISION_EDGE_HTTP_TOKEN=TOKEN)
    assert done.returncode == expected
    assert page.asked == [("/healthz", f"Bearer {TOKEN}")]
    assert done.stderr == ("" if expected == 0 else f'{status} {{"reason": "camera STALLED"}}\n')


def test_no_page_is_not_healthy(page):
    """The port is closed."""
    port = page.server_port
    page.server_close()
    done = check(port)
    assert done.returncode == 1
    assert "refused" in done.stderr
