"""What several test files of the exporter share: a hub on this machine, and weights."""

from __future__ import annotations

import hashlib
import http.server
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

import onnx
import pytest

from ecovision_edge.contract import Contract
from ecovision_edge_export.checkpoint import Checkpoint, build_model, load_checkpoint
from ecovision_edge_export.fold import fold_preprocessing
from ecovision_edge_export.options import ExportOptions, make_contract
from ecovision_edge_export.pipeline import ExportResult, export_bundle
from ecovision_edge_export.trace import simplify, trace


@dataclass
class FakeHub:
    """A server that speaks as much of the hub's protocol as `hf_hub_download` needs.

    `files` maps (repository, file) to bytes, `commits` maps (repository, revision) to a commit.
    `gated`, `forbidden` and `broken` are repositories that answer so. With `cdn`, files are behind a redirect
    as large ones are on the real hub. `requests` are (method, path) as they came.
    """

    url: str = ""
    files: dict[tuple[str, str], bytes] = field(default_factory=dict)
    commits: dict[tuple[str, str], str] = field(default_factory=dict)
    gated: set[str] = field(default_factory=set)
    forbidden: set[str] = field(default_factory=set)
    broken: set[str] = field(default_factory=set)
    foreign: bool = False
    cdn: bool = False
    requests: list[tuple[str, str]] = field(default_factory=list)
    stop: Callable[[], None] = lambda: None

    def add(self, repo: str, file: str, data: bytes, commit: str = "a" * 40) -> None:
        self.files[repo, file] = data
        for revision in ("main", commit):
            self.commits[repo, revision] = commit

    def answer(self, path: str) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body for the path of a request."""
        if self.foreign:
            return 200, {}, b"<html>a captive portal</html>"
        if path.startswith("/cdn/"):
            return 200, {}, next(d for d in self.files.values() if _sha256(d) == path[5:])
        owner, name, word, revision, file = (path.strip("/").split("/", 4) + [""] * 5)[:5]
        repo, revision, file = f"{owner}/{name}", unquote(revision), unquote(file)
        if repo in self.broken:
            return 500, {}, b""
        if repo in self.forbidden:
            return 403, {}, b""
        if repo in self.gated:
            return 403, {"X-Error-Code": "GatedRepo"}, b""
        if word != "resolve" or not any(r == repo for r, _ in self.files):
            # So the hub answers to who is not logged in: it does not tell private from missing.
            return 401, {"X-Error-Code": "RepoNotFound"}, b""
        commit = self.commits.get((repo, revision))
        if commit is None:
            return 404, {"X-Error-Code": "RevisionNotFound"}, b""
        data = self.files.get((repo, file))
        headers = {"X-Repo-Commit": commit}
        if data is None:
            return 404, {**headers, "X-Error-Code": "EntryNotFound"}, b""
        if self.cdn:
            linked = {"X-Linked-ETag": f'"{_sha256(data)}"', "X-Linked-Size": str(len(data))}
            # Another name of this machine: the client takes a redirect for one to a CDN only where it leaves
            # the host.
            cdn = self.url.replace("127.0.0.1", "localhost")
            return 302, {**headers, **linked, "Location": f"{cdn}/cdn/{_sha256(data)}"}, b""
        return 200, {**headers, "ETag": f'"{_sha256(data)}"'}, data


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def fake_hub() -> Iterator[FakeHub]:
    """A running `FakeHub` on a free port of 127.0.0.1; `fake_hub.stop()` ends it early."""
    hub = FakeHub()

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            hub.requests.append((self.command, self.path))
            status, headers, body = hub.answer(self.path)
            self.send_response(status)
            for key, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(key, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        do_HEAD = do_GET  # noqa: N815 - the name that http.server looks for

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True  # a client that keeps its connection open must not hold up the end
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()

    def stop() -> None:
        if thread.is_alive():
            server.shutdown()
            server.server_close()
            thread.join(10)
            assert not thread.is_alive()

    hub.stop = stop
    yield hub
    stop()


@pytest.fixture
def here(fake_hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeHub:
    """The fake hub as this process's hub, with an empty cache and no waiting between retries."""
    import huggingface_hub.constants
    import huggingface_hub.utils._http

    monkeypatch.setenv("HF_ENDPOINT", fake_hub.url)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.utils._http.time, "sleep", lambda _: None)
    return fake_hub


@pytest.fixture(scope="session")
def reference() -> Checkpoint:
    """The embedded reference checkpoint."""
    return load_checkpoint("reference")


@pytest.fixture(scope="session")
def contract(reference: Checkpoint) -> Contract:
    """The reference's contract with every default."""
    return make_contract(ExportOptions(weights="reference"), reference)


@pytest.fixture(scope="session")
def simplified(reference: Checkpoint) -> onnx.ModelProto:
    """The reference, traced and simplified. Copy it before changing it."""
    return simplify(trace(build_model(reference), 224, 224))


@pytest.fixture(scope="session")
def graph(simplified: onnx.ModelProto, contract: Contract) -> onnx.ModelProto:
    """The fp32 graph with preprocessing folded. Copy it before changing it."""
    return fold_preprocessing(simplified, contract)


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> ExportResult:
    """A bundle of the reference, fp32 and int8, made without photographs."""
    return export_bundle(ExportOptions(weights="reference"), tmp_path_factory.mktemp("exported") / "bundle")
