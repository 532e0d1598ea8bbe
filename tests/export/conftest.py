"""What several test files of the exporter share: a hub on this machine, and weights."""

from __future__ import annotations

import base64
import hashlib
import http.server
import json
import pickle
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

import onnx
import pytest
import yaml
from tests.export.graphs import rewritten, shorten
from tests.sharing import made_once

from ecovision_edge.bundle.contract import Contract
from ecovision_edge_export.graph.fold import fold_preprocessing
from ecovision_edge_export.graph.trace import simplify, trace
from ecovision_edge_export.options import ExportOptions, make_contract
from ecovision_edge_export.pipeline import ExportResult, export_bundle
from ecovision_edge_export.weights.checkpoint import Checkpoint, build_model, load_checkpoint


@dataclass
class FakeHub:
    """A server that speaks as much of the hub's protocol as `hf_hub_download` and `create_commit` need.

    `files` maps (repository, file) to bytes, `commits` maps (repository, revision) to a commit.
    `gated`, `forbidden` and `broken` are repositories that answer so. With `cdn`, files are behind a redirect
    as large ones are on the real hub. `lies` are headers that are not as they should be, `sends` is what
    comes in place of a file. `requests` are (method, path) as they came.

    Who writes needs a token: `tokens` maps each to the owner whose repositories it may make and write to.
    `private` says of each repository that was made whether it is, `messages` are those of the commits.
    `yaml` is its judgement of a card's front matter.
    `failing` maps a step (`whoami-v2`, `create`, `preupload`, `batch`, `lfs`, `commit`) to the status that it
    answers with.
    """

    url: str = ""
    files: dict[tuple[str, str], bytes] = field(default_factory=dict)
    commits: dict[tuple[str, str], str] = field(default_factory=dict)
    gated: set[str] = field(default_factory=set)
    forbidden: set[str] = field(default_factory=set)
    broken: set[str] = field(default_factory=set)
    foreign: bool = False
    cdn: bool = False
    lies: dict[str, str] = field(default_factory=dict)
    sends: bytes | None = None
    requests: list[tuple[str, str]] = field(default_factory=list)
    tokens: dict[str, str] = field(default_factory=dict)
    private: dict[str, bool] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)
    failing: dict[str, int] = field(default_factory=dict)
    yaml: dict[str, list[dict[str, str]]] = field(default_factory=lambda: {"errors": [], "warnings": []})
    large: dict[str, bytes] = field(default_factory=dict)
    stop: Callable[[], None] = lambda: None

    def add(self, repo: str, file: str, data: bytes, commit: str = "a" * 40) -> None:
        self.files[repo, file] = data
        for revision in ("main", commit):
            self.commits[repo, revision] = commit

    def answer(self, path: str, token: str | None = None) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body for the path of a request."""
        if self.foreign:
            return 200, {}, b"<html>a captive portal</html>"
        if path.startswith("/api/"):
            return self.tell(path, token)
        if path.startswith("/cdn/"):
            data = next(d for d in self.files.values() if _sha256(d) == path[5:])
            return 200, {}, data if self.sends is None else self.sends
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
            return 302, {**headers, **linked, "Location": f"{cdn}/cdn/{_sha256(data)}", **self.lies}, b""
        told = {**headers, "ETag": f'"{_sha256(data)}"', "Content-Length": str(len(data)), **self.lies}
        return 200, told, data if self.sends is None else self.sends

    def tell(self, path: str, token: str | None) -> Answer:
        """GET of what is known about a user or a repository."""
        word, _, rest = path.removeprefix("/api/").partition("/")
        if word in self.failing:
            return self.failing[word], {}, b"{}"
        if word == "whoami-v2":
            if token not in self.tokens:
                return 401, {"X-Error-Message": "Invalid credentials in Authorization header"}, b"{}"
            return _json({"type": "user", "name": self.tokens[token]})
        rest, asked = "/".join(rest.split("/")[:2]), rest.split("/")[2:3]
        if word != "models" or rest not in self.private:
            return 401, {"X-Error-Code": "RepoNotFound"}, b"{}"
        if asked == ["xet-write-token"]:  # not spoken here
            return 403, {}, b"{}"
        if asked == ["tree"]:
            rows = [(f, data) for (r, f), data in sorted(self.files.items()) if r == rest]
            return _json(
                [{"type": "file", "path": f, "size": len(d), "oid": _sha256(d)[:40]} for f, d in rows]
            )
        names = sorted(f for r, f in self.files if r == rest)
        known = {"private": self.private[rest], "sha": self.commits.get((rest, "main"), "0" * 40)}
        return _json({"id": rest, **known, "siblings": [{"rfilename": n} for n in names]})

    def take(self, path: str, token: str | None, body: bytes) -> Answer:
        """POST and PUT: what is needed to make a repository and to push a commit to it."""
        if self.foreign:
            return 200, {}, b"<html>a captive portal</html>"
        words = path.partition("?")[0].strip("/").split("/")
        step = next((w for w in words[::-1] if w in STEPS), "")
        if step in self.failing:
            return self.failing[step], {"X-Error-Message": f"{step} says no"}, b"{}"
        if step == "lfs":  # where an upload goes: signed, on the real hub, so it asks for no token
            if _sha256(body) != words[-1]:
                return 400, {}, b"{}"
            self.large[words[-1]] = body
            return _json({})
        if token not in self.tokens:
            return 401, {"X-Error-Message": "Invalid credentials in Authorization header"}, b"{}"
        owner = self.tokens[token]
        if step == "validate-yaml":
            head = json.loads(body)["content"].split("\n---\n")[0]
            if not isinstance(yaml.safe_load(head), dict):
                return _json({"errors": [{"message": "no YAML"}], "warnings": []}, 400)
            return _json(self.yaml, 400 if self.yaml["errors"] else 200)
        if step == "create":
            asked = json.loads(body)
            repo = f"{asked['organization'] or owner}/{asked['name']}"
            if not repo.startswith(f"{owner}/"):
                return 403, {"X-Error-Message": "You don't have the rights to create a model"}, b"{}"
            status = 409 if repo in self.private else 200
            self.private.setdefault(repo, asked.get("visibility") == "private" or bool(asked.get("private")))
            return _json({"url": f"{self.url}/{repo}"}, status)
        repo = "/".join(words[:2]).removesuffix(".git") if step == "batch" else "/".join(words[2:4])
        if repo not in self.private:
            return 404, {"X-Error-Code": "RepoNotFound"}, b"{}"
        if not repo.startswith(f"{owner}/"):
            return 403, {}, b"{}"
        return {"preupload": self.modes, "batch": self.places, "commit": self.commit}[step](repo, body)

    def modes(self, repo: str, body: bytes) -> Answer:
        """Which files are small text, and which are large or binary."""
        rows = []
        for asked in json.loads(body)["files"]:
            binary = asked["size"] > 10_000_000 or b"\0" in base64.b64decode(asked["sample"])
            mode = "lfs" if binary else "regular"
            rows.append({"path": asked["path"], "uploadMode": mode, "shouldIgnore": False})
        return _json({"files": rows})

    def places(self, repo: str, body: bytes) -> Answer:
        """Where to upload large files to; nowhere for what is there."""
        asked = json.loads(body)
        assert "basic" in asked["transfers"]
        rows = [
            {**o}
            if o["oid"] in self.large
            else {**o, "actions": {"upload": {"href": f"{self.url}/lfs/{o['oid']}"}}}
            for o in asked["objects"]
        ]
        return _json({"transfer": "basic", "objects": rows})

    def commit(self, repo: str, body: bytes) -> Answer:
        """All files of a commit at once, or none."""
        rows = [json.loads(line) for line in body.splitlines()]
        new, gone = {}, []
        for key, value in ((row["key"], row["value"]) for row in rows):
            if key == "header":
                self.messages.append(value["summary"])
            elif key == "file":
                new[value["path"]] = base64.b64decode(value["content"])
            elif key == "lfsFile":
                if len(self.large.get(value["oid"], b"")) != value["size"]:
                    return 400, {}, b"{}"
                new[value["path"]] = self.large[value["oid"]]
            else:
                assert key == "deletedFile"
                gone.append(value["path"])
        oid = hashlib.sha1(body).hexdigest()
        for name, data in new.items():
            self.add(repo, name, data, oid)
        for name in gone:
            del self.files[repo, name]
        return _json({"commitUrl": f"{self.url}/{repo}/commit/{oid}", "commitOid": oid})


Answer = tuple[int, dict[str, str], bytes]
STEPS = ("validate-yaml", "create", "preupload", "batch", "lfs", "commit")


def _json(value: object, status: int = 200) -> Answer:
    return status, {"Content-Type": "application/json"}, json.dumps(value).encode()


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
            self.reply(*hub.answer(self.path, self.token()))

        def do_POST(self) -> None:
            hub.requests.append((self.command, self.path))
            self.reply(*hub.take(self.path, self.token(), self.body()))

        def token(self) -> str | None:
            scheme, _, value = self.headers.get("Authorization", "").partition(" ")
            return value if scheme == "Bearer" else None

        def body(self) -> bytes:
            if self.headers.get("Transfer-Encoding") != "chunked":
                return self.rfile.read(int(self.headers.get("Content-Length", 0)))
            parts = []
            while size := int(self.rfile.readline(), 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(parts)

        def reply(self, status: int, headers: dict[str, str], body: bytes) -> None:
            self.send_response(status)
            for key, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(key, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_HEAD = do_GET  # noqa: N815 - the names that http.server looks for
        do_PUT = do_POST  # noqa: N815

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
def simplified(reference: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> onnx.ModelProto:
    """The reference, traced and simplified. Copy it before changing it."""

    def make(folder: Path) -> None:
        onnx.save(simplify(trace(build_model(reference), 224, 224)), folder / "model.onnx")

    return onnx.load(made_once(tmp_path_factory, "simplified", make) / "model.onnx")


@pytest.fixture(scope="session")
def graph(simplified: onnx.ModelProto, contract: Contract) -> onnx.ModelProto:
    """The fp32 graph with preprocessing folded. Copy it before changing it."""
    return rewritten(simplified, fold_preprocessing, contract)[0]


@pytest.fixture(scope="session")
def exported(simplified: onnx.ModelProto, tmp_path_factory: pytest.TempPathFactory) -> ExportResult:
    """A bundle of the reference, fp32 and int8, made without photographs."""

    def make(folder: Path) -> None:
        with pytest.MonkeyPatch.context() as patch:
            shorten(patch, simplified, frames=24)
            result = export_bundle(ExportOptions(weights="reference"), folder / "bundle")
        (folder / "result").write_bytes(pickle.dumps(result))

    return pickle.loads((made_once(tmp_path_factory, "exported", make) / "result").read_bytes())
