"""Facts about fetching a release, by a real web server on loopback, and about what goes wrong there."""

import base64
import contextlib
import datetime as dates
import http.server
import json
import os
import shutil
import socket
import ssl
import threading
import time
from datetime import timedelta

import pytest
from tests.runtime.release_repositories import make_repository, serve_folder
from tests.runtime.sink_servers import authority

from ecovision_edge.errors import FetchError, OptionError, StoreError, UntrustedError, UpdateError
from ecovision_edge.updates.asking import Found, Limits, Question
from ecovision_edge.updates.clock import EARLIEST
from ecovision_edge.updates.fetching import fetch
from ecovision_edge.updates.store import BundleStore


@pytest.fixture(scope="session")
def releases(forge, pristine, tmp_path_factory):
    """Two bundles of which one file is the same."""
    folder = tmp_path_factory.mktemp("releases")
    for name in ("one", "two"):
        shutil.copytree(pristine, folder / name)
        forge.edit(folder / name, lambda manifest, name=name: manifest.update(name=name))
    forge.put(folder / "two", "golden.npz", (folder / "two" / "golden.npz").read_bytes() + b"\0" * 100_000)
    return folder


class World:
    """A repository, its server, and a device with an empty store."""

    def __init__(self, tmp_path, releases, server, repository):
        self.releases, self.server, self.repository = releases, server, repository
        self.store = BundleStore(tmp_path / "device" / "store")
        self.pauses = []
        self.root = tmp_path / "root.json"
        shutil.copy(repository.root_file, self.root)

    def fetch(self, *, running="f" * 64, root=True, clock=time.time, **changes):
        limits = {"seconds": 60.0, "stall": 5.0, **changes.pop("limits", {})}
        question = Question(
            url=self.server.url,
            store=str(self.store.root),
            channel="stable",
            device="bin-1",
            running=running,
            base=str(self.releases / "base"),
            root=str(self.root) if root else None,
            limits=Limits(**limits),
        )
        question = Question.of(json.loads(json.dumps({**question.to_json(), **changes})))
        found = fetch(question, clock=clock, sleep=self.pauses.append)
        return Found.of(json.loads(json.dumps(found.to_json())))

    def asked(self):
        asked = list(self.server.asked)
        self.server.asked.clear()
        return asked


@pytest.fixture
def world(tmp_path, releases):
    repository = make_repository(tmp_path / "repository", releases / "one")
    with serve_folder(tmp_path / "repository") as server:
        yield World(tmp_path, releases, server, repository)


def test_a_release_arrives_whole_and_is_not_activated(world):
    found = world.fetch()
    assert (found.outcome, found.name, found.version) == ("fetched", "one", "1")
    assert world.store.installed() == (found.bundle,)
    assert world.store.current() is None
    for path in (world.releases / "one").iterdir():
        assert (world.store.folder(found.bundle) / path.name).read_bytes() == path.read_bytes()
    assert list((world.store.root / "incoming").iterdir()) == []


def test_what_is_here_is_not_fetched_again(world):
    """Neither the bundle, nor a file that another one has, nor metadata that has not changed."""
    first = world.fetch()
    assert len([path for path in world.asked() if "/files/" in path]) == 3  # two models are the same file
    again = world.fetch(root=False)
    assert (again.outcome, again.bundle) == ("fetched", first.bundle)
    assert world.asked() == ["/metadata/2.root.json", "/metadata/timestamp.json"]
    assert world.fetch(running=first.bundle, root=False).outcome == "current"
    world.asked()
    world.repository.add(world.releases / "two", version="2")
    world.repository.publish()
    second = world.fetch(root=False)
    fetched = [path for path in world.asked() if "/files/" in path]
    assert len(fetched) == 2  # bundle.json and golden.npz
    assert second.name == "two"
    ours, theirs = (world.store.folder(f.bundle) / "model.fp32.onnx" for f in (first, second))
    assert ours.samefile(theirs)


@pytest.fixture
def now(monkeypatch):
    """Let python-tuf, and whoever asks, believe in another time: Unix seconds."""
    from tuf.ngclient._internal import trusted_metadata_set

    real = trusted_metadata_set.datetime

    def set_clock(time):
        if time is None:
            monkeypatch.setattr(trusted_metadata_set, "datetime", real)
            return None

        class Datetime(dates.datetime):
            @classmethod
            def now(cls, tz=None):
                return dates.datetime.fromtimestamp(time, tz)

        module = type("module", (), {"datetime": Datetime, "timezone": dates.timezone})
        monkeypatch.setattr(trusted_metadata_set, "datetime", module)
        return lambda: time

    return set_clock


def release_two(world):
    world.repository.add(world.releases / "two", version="2")
    world.repository.publish()


class Attacks:
    """What a server, or whoever sits between, may do; each changes the repository as it is served."""

    def expired_timestamp(self, repository, other):
        repository.expires["timestamp"] = timedelta(days=-1)
        repository.publish_timestamp()

    def expired_targets(self, repository, other):
        repository.expires["targets"] = timedelta(days=-1)
        repository.publish()

    def expired_root(self, repository, other):
        repository.expires["root"] = timedelta(days=-1)
        repository.publish_root()

    def rolled_back(self, repository, other):
        (repository.metadata / "timestamp.json").write_bytes(self.timestamp)

    def mixed(self, repository, other):
        shutil.copy(repository.metadata / "1.snapshot.json", repository.metadata / "2.snapshot.json")

    def mixed_targets(self, repository, other):
        shutil.copy(repository.metadata / "1.targets.json", repository.metadata / "2.targets.json")

    def of_another_fleet(self, repository, other):
        shutil.rmtree(repository.folder)
        shutil.copytree(other.folder, repository.folder)

    def signed_by_another_key(self, repository, other):
        repository.signers["targets"] = other.signers["targets"]
        repository.publish()

    def not_signed(self, repository, other):
        path = repository.metadata / "timestamp.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "signatures": []}))

    def root_of_another_key(self, repository, other):
        repository.signers["root"] = repository._root_signers = other.signers["root"]
        repository.publish_root()

    def no_metadata_at_all(self, repository, other):
        (repository.metadata / "timestamp.json").write_bytes(b"<html>Please log in</html>")

    def endless_metadata(self, repository, other):
        (repository.metadata / "timestamp.json").write_bytes(b" " * 100_000)

    def nested(self, repository, other):
        (repository.metadata / "timestamp.json").write_bytes(b"[" * 10_000)


ATTACKS = [name for name in vars(Attacks) if not name.startswith("_")]


@pytest.mark.parametrize("attack", ATTACKS)
def test_what_is_not_signed_as_it_has_to_be_is_refused(world, tmp_path, attack):
    """A typed error of one line; the store has what it had, and takes the release once all is well."""
    first = world.fetch()
    world.store.activate(first.bundle)
    attacks = Attacks()
    attacks.timestamp = (world.repository.metadata / "timestamp.json").read_bytes()
    release_two(world)
    good = tmp_path / "good"
    if attack == "rolled_back":
        world.fetch()
        world.store.discard(world.store.installed()[0])
    shutil.copytree(world.repository.folder, good)
    signers = {role: list(keys) for role, keys in world.repository.signers.items()}
    here = world.store.installed()
    other = make_repository(tmp_path / "other", world.releases / "two")
    getattr(attacks, attack)(world.repository, other)
    for root in (True, False):
        with pytest.raises(UntrustedError, match="not to be trusted") as raised:
            world.fetch(running=first.bundle, root=root)
        assert raised.value.exit_status == 1
        assert len(raised.value.message) < 300
    assert world.store.installed() == here
    assert world.store.current() == first.bundle
    world.repository.expires = dict.fromkeys(signers, timedelta(days=30))
    world.repository.signers, world.repository._root_signers = signers, signers["root"]
    if attack == "expired_root":
        world.repository.publish_root()
    else:
        shutil.rmtree(world.repository.folder)
        shutil.copytree(good, world.repository.folder)
    world.repository.publish()
    assert world.fetch(running=first.bundle).name == "two"


def test_a_frozen_repository_is_refused_when_its_time_is_over(world, now):
    """As whoever holds back what is new would have it: what was good is served for ever."""
    first = world.fetch()
    later = time.time() + 31 * 86_400
    with pytest.raises(UntrustedError, match="expired"):
        world.fetch(running=first.bundle, clock=now(later))


def test_at_a_clock_of_1970_what_has_expired_stays_refused(world, now):
    """python-tuf asks the clock alone; nothing before this code was written can be now."""
    clock = now(60.0)
    assert world.fetch(clock=clock).clock.startswith("the clock says 1970-01-01T00:01:00")
    for role in ("timestamp", "snapshot", "targets"):
        world.repository.expires[role] = timedelta(seconds=EARLIEST - time.time() - 1)
    world.repository.publish()
    with pytest.raises(
        UntrustedError, match=r"its timestamp has expired.*set the clock first: the clock says 1970"
    ):
        world.fetch(clock=clock)


def test_the_last_time_that_was_certain_bounds_the_clock_too(world, now):
    """What had expired by then does not come back to life."""
    found = world.fetch()
    assert abs(found.seen - time.time()) < 600
    world.store.checked("all is well", seen=time.time() + 40 * 86_400)
    with pytest.raises(UntrustedError, match=r"expired.*set the clock first"):
        world.fetch(clock=now(EARLIEST + 1))


def test_a_clock_far_ahead_leaves_no_trace(world, now):
    """It finds everything expired, and is not taken for the last certain time."""
    with pytest.raises(UntrustedError, match="it has expired, or the clock is wrong"):
        world.fetch(clock=now(time.time() + 20 * 365 * 86_400))
    now(None)
    found = world.fetch()
    assert abs(found.seen - time.time()) < 600


def test_roots_beyond_what_is_read_at_once_are_all_read(world, monkeypatch):
    """A device that was off for years; meanwhile the keys of every role were exchanged, again and again."""
    from ecovision_edge.updates import trust

    monkeypatch.setattr(trust, "_ROOTS_AT_ONCE", 3)
    first = world.fetch()
    for _ in range(11):
        for role, signers in make_repository(world.root.parent / os.urandom(4).hex()).signers.items():
            world.repository.signers[role] = signers
        world.repository.publish_root()
    release_two(world)
    assert world.fetch(running=first.bundle, root=False).name == "two"
    assert (world.store.root / "metadata" / "root_history" / "12.root.json").is_file()
    world.asked()
    assert world.fetch(root=True).outcome == "fetched"
    assert world.asked() == ["/metadata/13.root.json", "/metadata/timestamp.json"]


def test_trust_needs_to_be_given_once(world):
    with pytest.raises(UntrustedError, match="give it once: --root FILE"):
        world.fetch(root=False)
    assert world.asked() == []
    world.fetch()
    assert world.fetch(root=False).outcome == "fetched"


@pytest.mark.parametrize("spoil", ["link", "newest", "empty"])
def test_trust_survives_what_a_power_cut_does_to_its_files(world, spoil):
    world.fetch()
    world.repository.publish_root()
    world.fetch()
    folder = world.store.root / "metadata"
    if spoil == "link":
        (folder / "root.json").unlink()
    else:
        (folder / "root_history" / "2.root.json").write_bytes(b"" if spoil == "empty" else b'{"signed": {')
        (folder / "timestamp.json").write_bytes(b"")
    assert world.fetch(root=False).outcome == "fetched"


def test_another_root_by_hand_is_not_taken_for_the_first(world, tmp_path):
    world.fetch()
    other = make_repository(tmp_path / "other")
    world.root.write_bytes(other.root_file.read_bytes())
    with pytest.raises(UntrustedError, match=r"found another one; remove .*metadata, to trust that one"):
        world.fetch()


@pytest.mark.parametrize("data", [b"", b"{}", b"x" * 600_000])
def test_what_is_no_root_is_told(world, data):
    world.root.write_bytes(data)
    with pytest.raises((UntrustedError, OptionError), match="root"):
        world.fetch()


def test_a_file_of_no_name_is_told(world):
    world.root.unlink()
    with pytest.raises(OptionError, match="No such file"):
        world.fetch()


def test_a_channel_that_was_not_published_is_told(world):
    with pytest.raises(OptionError, match="--channel beta"):
        world.fetch(channel="beta")


@pytest.mark.parametrize("name", ["../../etc/passwd", "Stable", "a" * 33])
def test_a_channel_of_no_possible_name_is_told(world, name):
    with pytest.raises(OptionError, match="--channel"):
        world.fetch(channel=name)


def served_file(world, name="golden.npz"):
    release = world.repository.channels["stable"].releases[-1]
    return world.repository.stored(next(file.target for file in release.files if file.file == name))


@pytest.mark.parametrize(
    "spoil", [lambda d: d[:-1] + b"!", lambda d: d[:100], lambda d: d + b"!", lambda d: b""]
)
def test_an_altered_file_is_refused_and_not_kept(world, spoil):
    path = served_file(world)
    data = path.read_bytes()
    path.write_bytes(spoil(data))
    with pytest.raises(UntrustedError, match="is not the file that was signed"):
        world.fetch()
    assert world.store.installed() == ()
    path.write_bytes(data)
    assert world.fetch().outcome == "fetched"


def test_an_endless_file_is_left(world):
    def endless(handler):
        if not handler.path.endswith(served_file(world).name):
            return False
        handler.send_response(200)
        handler.end_headers()
        with contextlib.suppress(OSError):
            while True:
                handler.wfile.write(b"x" * 65_536)
        handler.close_connection = True
        return True

    world.server.trouble = endless
    with pytest.raises(UntrustedError, match="found more"):
        world.fetch()


def test_a_file_that_drips_ends_with_the_time(world):
    """Each byte comes in time, all of them do not; what came is where the next one goes on."""
    ended = threading.Event()

    def drip(handler):
        if not handler.path.endswith(served_file(world).name):
            return False
        data = served_file(world).read_bytes()
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(data)))
        handler.end_headers()
        for byte in data:
            handler.wfile.write(bytes([byte]))
            if ended.wait(0.01):
                break
        return True

    world.server.trouble = drip
    with pytest.raises(FetchError, match=r"takes too long.*goes on from here") as raised:
        world.fetch(limits={"seconds": 0.5})
    ended.set()
    assert raised.value.exit_status == 75
    parts = list((world.store.root / "incoming").glob("*.part"))
    assert len(parts) == 1
    assert parts[0].stat().st_size > 0


def test_a_server_that_says_nothing_is_left(world):
    ended = threading.Event()
    world.server.trouble = lambda handler: ended.wait(30)
    try:
        with pytest.raises(FetchError, match="timed out"):
            world.fetch(limits={"stall": 0.05})
    finally:
        ended.set()
    assert len(world.pauses) == 2


def test_nobody_listens(world):
    with socket.create_server(("127.0.0.1", 0)) as unused:
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/"
    with pytest.raises(FetchError, match="Connection refused"):
        world.fetch(url=url)


@pytest.mark.parametrize("status", [404, 403, 500, 503])
def test_a_status_is_told(world, status):
    world.server.trouble = lambda handler: (
        handler.path.endswith("timestamp.json") and (handler.send_error(status) or True)
    )
    with pytest.raises(FetchError, match=f"HTTP status {status}"):
        world.fetch()


def cut_in_the_middle(world, cuts):
    """Answer with half of what is asked of the file, then hang up, so many times; then serve ranges."""
    ranges = []

    def serve(handler):
        if not handler.path.endswith(served_file(world).name):
            return False
        data, asked = served_file(world).read_bytes(), handler.headers.get("Range")
        ranges.append(asked)
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked else 0
        handler.send_response(206 if asked else 200)
        if asked:
            handler.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        handler.send_header("Content-Length", str(len(data) - start))
        handler.end_headers()
        rest = data[start:]
        if len(ranges) <= cuts:
            handler.wfile.write(rest[: len(rest) // 2])
            handler.wfile.flush()
            handler.connection.shutdown(socket.SHUT_RDWR)
            handler.close_connection = True
        else:
            handler.wfile.write(rest)
        return True

    world.server.trouble = serve
    return ranges


def test_what_breaks_off_goes_on_from_there(world):
    """urllib3's ProtocolError, which is neither an OSError nor python-tuf's DownloadError."""
    ranges = cut_in_the_middle(world, cuts=6)
    size = served_file(world).stat().st_size
    found = world.fetch()
    assert found.outcome == "fetched"
    starts = [int(r.removeprefix("bytes=").removesuffix("-")) if r else 0 for r in ranges]
    assert starts[:3] == [0, size // 2, size // 2 + (size - size // 2) // 2]
    assert len(starts) == 7


def test_metadata_that_breaks_off_is_asked_for_again(world):
    cut = []

    def serve(handler):
        if handler.path.endswith("timestamp.json") and len(cut) < 2:
            cut.append(1)
            handler.send_response(200)
            handler.send_header("Content-Length", "1000")
            handler.end_headers()
            handler.wfile.write(b"{")
            handler.close_connection = True
            return True
        return False

    world.server.trouble = serve
    assert world.fetch().outcome == "fetched"
    assert len(cut) == 2


def leave_part(world, data):
    """What an earlier try has left of the file."""
    release = world.repository.channels["stable"].releases[-1]
    file = next(file for file in release.files if file.file == "golden.npz")
    (world.store.root / "incoming").mkdir(parents=True)
    (world.store.root / "incoming" / f"{file.sha256}.part").write_bytes(data)


@pytest.mark.parametrize("ranged", [True, False])
@pytest.mark.parametrize(
    "part", [lambda d: d[:50], lambda d: b"\0" * 50, lambda d: d, lambda d: d + b"x", lambda d: b"!" * len(d)]
)
def test_an_earlier_part_is_used_if_it_is_good(world, ranged, part):
    """A server may give the whole file where a range was asked for; a part may be spoilt by a power cut."""
    if ranged:
        cut_in_the_middle(world, cuts=0)
    leave_part(world, part(served_file(world).read_bytes()))
    assert world.fetch().outcome == "fetched"


def test_a_range_that_begins_elsewhere_is_no_answer(world):
    def elsewhere(handler):
        if "Range" not in handler.headers:
            return False
        handler.send_response(206)
        handler.send_header("Content-Range", "bytes 0-9/1000")
        handler.send_header("Content-Length", "10")
        handler.end_headers()
        handler.wfile.write(b"x" * 10)
        return True

    world.server.trouble = elsewhere
    leave_part(world, b"PK")
    with pytest.raises(FetchError, match="bytes from 2, found another part"):
        world.fetch()


def test_a_rate_is_kept(world):
    """By pauses, so that the bytes so far never come sooner than the rate allows."""
    found = world.fetch(limits={"rate": 2000.0, "seconds": 1e6})
    assert found.fetched > 4000
    assert sum(world.pauses) > 1  # nobody really waited here, so each pause was for all that had come


def test_a_file_that_the_program_came_with_is_copied(world):
    """The bundle of the installation is not the store's: a link would let one change with the other."""
    shutil.copytree(world.releases / "one", world.releases / "base", dirs_exist_ok=True)
    try:
        found = world.fetch()
    finally:
        shutil.rmtree(world.releases / "base")
    assert not [path for path in world.asked() if "/files/" in path]
    assert all(path.stat().st_nlink == 1 for path in world.store.folder(found.bundle).glob("golden*"))


def test_a_bundle_that_is_damaged_in_the_store_is_fetched_again(world):
    found = world.fetch()
    path = world.store.folder(found.bundle) / "golden.npz"
    path.write_bytes(b"\0" * path.stat().st_size)
    assert world.fetch().bundle == found.bundle
    assert path.read_bytes() == served_file(world).read_bytes()


def test_damaged_files_of_what_runs_are_mended(world):
    """A memory card forgets; the release has not changed, so nothing else would ever fetch them."""
    found = world.fetch()
    world.store.activate(found.bundle)
    path = world.store.folder(found.bundle) / "model.fp32.onnx"
    good, model = path.read_bytes(), path.stat().st_size
    for other in path.parent.glob("model.*"):  # they are one file
        other.write_bytes(b"\0" * model)
    world.asked()
    again = world.fetch(running=found.bundle)
    assert (again.outcome, again.mended) == ("current", True)
    assert len([path for path in world.asked() if "/files/" in path]) == 1
    assert path.read_bytes() == good
    assert world.store.current() == found.bundle
    assert not world.fetch(running=found.bundle).mended


def test_a_full_disk_is_found_before_the_fetch(world, monkeypatch):
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(
        "ecovision_edge.updates.download.shutil.disk_usage", lambda _: usage._replace(free=2**20)
    )
    with pytest.raises(StoreError, match=r"no room in .*found 1 MB"):
        world.fetch()
    assert not [path for path in world.asked() if "/files/" in path]


def test_a_disk_that_fills_up_meanwhile_is_one_error(world):
    import resource

    release_two(world)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, before[1]))
    try:
        with pytest.raises(StoreError, match="File too large") as raised:
            world.fetch()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert raised.value.exit_status == 75
    assert world.fetch().name == "two"


def test_a_store_that_cannot_be_made_is_told_before_anything_is_asked(world):
    world.root.with_name("file").write_bytes(b"")
    with pytest.raises(StoreError, match="cannot change"):
        world.fetch(store=str(world.root.with_name("file") / "store"))
    assert world.asked() == []


def test_a_release_that_is_too_large_is_not_fetched(world):
    with pytest.raises(UpdateError, match="is too large: expected at most 0 MB"):
        world.fetch(limits={"bytes": 1000})
    assert not [path for path in world.asked() if "/files/" in path]


def test_a_redirect_is_followed_a_few_times(world):
    def redirect(handler):
        if not handler.path.startswith("/moved/"):
            return False
        handler.send_response(302)
        handler.send_header("Location", handler.path.removeprefix("/moved"))
        handler.end_headers()
        return True

    world.server.trouble = redirect
    assert world.fetch(url=world.server.url + "moved/").outcome == "fetched"
    world.server.trouble = lambda handler: (
        handler.send_response(302) or handler.send_header("Location", "/x") or handler.end_headers() or True
    )
    with pytest.raises(FetchError, match="too many redirects"):
        world.fetch(root=False)


@pytest.mark.parametrize(
    "url", ["ftp://x/", "http://", "https://me:secret@x/", "http://x/?a=1", "http://x y/"]
)
def test_an_address_that_is_none_is_refused_without_its_password(world, url):
    with pytest.raises(OptionError, match="--from") as raised:
        world.fetch(url=url)
    assert "secret" not in raised.value.message


def test_a_proxy_of_the_environment_is_used(world, monkeypatch):
    host = world.server.url.removeprefix("http://").rstrip("/")

    def forward(handler):
        if handler.path.startswith("http://updates.invalid"):
            handler.path = handler.path.removeprefix("http://updates.invalid")
            return False
        handler.send_error(400)
        return True

    world.server.trouble = forward
    monkeypatch.setenv("http_proxy", f"http://{host}")
    assert world.fetch(url="http://updates.invalid").outcome == "fetched"
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with pytest.raises(FetchError, match="HTTP status 400"):
        world.fetch()


@pytest.mark.parametrize(
    ("user", "sent"), [("bin:caf%C3%A9%40home@", "bin:caf\u00e9@home"), ("bin@", "bin:"), ("", None)]
)
def test_a_proxy_is_told_the_password_of_its_address(world, monkeypatch, user, sent):
    host, told = world.server.url.removeprefix("http://").rstrip("/"), set()

    def forward(handler):
        told.add(handler.headers.get("Proxy-Authorization"))
        handler.path = handler.path.removeprefix("http://updates.invalid")
        return False

    world.server.trouble = forward
    monkeypatch.setenv("http_proxy", f"http://{user}{host}")
    assert world.fetch(url="http://updates.invalid").outcome == "fetched"
    assert told == {sent and f"Basic {base64.b64encode(sent.encode()).decode()}"}


def test_over_https_the_server_is_verified(world, tmp_path, monkeypatch):
    """By the system's authorities, or those of `SSL_CERT_FILE`."""
    (tmp_path / "tls").mkdir()
    made = authority(tmp_path / "tls")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(made.cert, made.key)
    folder = str(world.repository.folder)

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments):
            super().__init__(*arguments, directory=folder)

        def log_message(self, *_):
            pass

    class Server(http.server.ThreadingHTTPServer):
        def handle_error(self, *_):
            """A client that does not trust us."""

    with Server(("127.0.0.1", 0), Handler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            url = f"https://127.0.0.1:{server.server_address[1]}/"
            with pytest.raises(FetchError, match="certificate"):
                world.fetch(url=url)
            monkeypatch.setenv("SSL_CERT_FILE", str(made.ca))
            assert world.fetch(url=url).outcome == "fetched"
        finally:
            server.shutdown()
            thread.join()
