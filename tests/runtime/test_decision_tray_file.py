"""Facts about the file that keeps the empty tray from run to run."""

import logging
import signal

import numpy as np
import pytest

from ecovision_edge import Classifier
from ecovision_edge.camera import open_source
from ecovision_edge.cli.running import learns_by_signal
from ecovision_edge.decision import PresenceGate
from ecovision_edge.decision.kept import KeptTray
from ecovision_edge.decision.tray_file import TrayFile, default_tray_file
from ecovision_edge.events import BinState
from ecovision_edge.smart_bin import SmartBin

RNG = np.random.default_rng(5)


def gate(level=100):
    """One that knows a tray."""
    gate = PresenceGate()
    gate.learn_from(np.clip(RNG.normal(level, 9, (60, 80, 3)), 0, 255).astype(np.uint8))
    return gate


@pytest.fixture
def path(tmp_path):
    """In a folder that is not there yet."""
    return tmp_path / "state" / "trays" / "a.tray"


def keep(file, known, now):
    """Whether the tray is written, if it is looked at now; the tray is empty."""
    before = file._kept_at
    file.see(known, now, empty=True)
    file.close()
    return file._kept_at != before


def test_a_tray_is_kept_and_read_again(path):
    """To an eighth of a level; for its user alone, and nothing else is left in the folder."""
    known = gate()
    file = TrayFile(path)
    assert file.load() is None
    assert [keep(file, known, at) for at in (0.0, 0.5, 1.0, 3.0)] == [False, False, True, False]
    found = TrayFile(path).load()
    assert np.abs(found.mean - known.tray.mean).max() <= 1 / 8
    assert [p.name for p in path.parent.iterdir()] == ["a.tray"]
    assert path.stat().st_mode & 0o777 == 0o600


def test_it_is_written_seldom_and_soon_after_it_was_learnt_again(path):
    """An SD card wears out; a power cut must not bring back a tray that is gone."""
    file, known = TrayFile(path), gate()
    assert [at for at in range(2000) if keep(file, known, float(at))] == [1, 901, 1801]
    other = gate(140)
    assert [at for at in range(2000, 2100) if keep(file, other, float(at))] == [2000]
    assert TrayFile(path).load().mean.mean() == pytest.approx(140, abs=1)


def test_it_is_not_written_while_something_lies_there_or_the_tray_is_not_known(path):
    """Nor within a second of that."""
    file, known = TrayFile(path), gate()
    for at in range(20):
        file.see(known, at / 2, empty=at % 2 == 0)
    for at in range(20, 40):
        file.see(PresenceGate(), float(at), empty=True)
    file.close()
    assert not path.exists()


@pytest.mark.parametrize(
    "data",
    [b"", b"{}", bytes(range(256)) * 225 + bytes(26), b"ecovision-edge tray 1\n" + bytes(57_604)],
    ids=["empty", "json", "noise", "zeros"],
)
def test_a_file_that_is_damaged_is_logged_and_the_tray_learnt_again(path, data, caplog):
    """No crash, and no wrong tray."""
    path.parent.mkdir(parents=True)
    path.write_bytes(data)
    file = TrayFile(path)
    with caplog.at_level(logging.WARNING, "ecovision_edge"):
        found = file.load()
    assert found is None
    assert "is learnt again, for it cannot be read" in caplog.text
    assert keep(file, gate(), 0.0) is False
    assert keep(file, gate(), 2.0) is True
    assert isinstance(TrayFile(path).load(), KeptTray)


def test_what_is_no_file_is_logged_once(tmp_path, caplog):
    """A folder in its place, or one that cannot be made: the bin goes on."""
    for path in (tmp_path, tmp_path / "file" / "x.tray"):
        (tmp_path / "file").touch()
        caplog.clear()
        file = TrayFile(path)
        with caplog.at_level(logging.WARNING, "ecovision_edge"):
            assert file.load() is None
            for at in range(0, 4000, 1):
                file.see(gate() if at in (2, 1000) else PresenceGate(), float(at), empty=True)
                file.close()
        assert caplog.text.count("cannot be kept") == 1


def test_each_source_has_a_file_of_its_own(monkeypatch, tmp_path):
    """In the service's folder, or the user's."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    found = {default_tray_file(name, {}) for name in ("/dev/video0", "/dev/video1")}
    assert len(found) == 2
    assert {p.parent for p in found} == {tmp_path / "ecovision-edge" / "trays"}
    service = default_tray_file("/dev/video0", {"STATE_DIRECTORY": "/var/lib/ecovision-edge:/x"})
    assert str(service.parent) == "/var/lib/ecovision-edge/trays"


@pytest.mark.slow
def test_a_bin_keeps_its_tray_and_compares_with_it_at_the_start(path):
    """The same tray is known again; another one is a fault, until an operator has it learnt."""
    classifier = Classifier.load(threads=1)

    def run(frames, *, learn=False):
        states, source = [], f"demo:?frames={frames}&width=320&height=240&seed=1"

        def result(_):
            states.append(smart_bin.status.state)
            if learn and len(states) == 25:
                smart_bin.learn()

        with SmartBin(classifier, open_source(source), on_result=result, tray=path) as smart_bin:
            smart_bin.run()
        return [len(smart_bin.events), states[-1]]

    assert run(80) == [1, BinState.DECIDED]
    assert not path.exists()  # the tray was not empty for long enough
    run(118)
    assert path.exists()
    assert run(80) == [1, BinState.DECIDED]
    tiles = np.kron(RNG.integers(40, 220, (6, 8, 3)), np.ones((10, 10, 1)))
    path.write_bytes(KeptTray(*np.stack([tiles, np.ones_like(tiles)]).astype(np.float32)).dumps())
    assert run(40) == [0, BinState.FAULT]
    assert run(30, learn=True) == [0, BinState.STARTING]


@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="no SIGUSR1 on this system")
def test_a_signal_has_the_tray_learnt_again():
    """`systemctl kill --kill-whom=main -s USR1`; and is handled as before afterwards."""
    before, asked = signal.getsignal(signal.SIGUSR1), []
    with learns_by_signal(lambda: asked.append(1)):
        signal.raise_signal(signal.SIGUSR1)
    assert asked == [1]
    assert signal.getsignal(signal.SIGUSR1) == before
