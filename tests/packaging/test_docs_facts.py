"""Facts about what the pages say of addresses, of the serial line, and of programs in C."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from tests.packaging.pages import DOCS, ENVIRONMENT, PAGES, README, REPOSITORY, all_blocks, blocks
from tests.runtime.bin_reports import bin_report

from ecovision_edge import EcovisionError
from ecovision_edge.camera import open_source
from ecovision_edge.service.credentials import _OWN
from ecovision_edge.sinks._line import decode_line
from ecovision_edge.sinks.addresses import SCHEMES, open_sink
from ecovision_edge.triggers.addresses import open_trigger
from ecovision_edge.web import Board

OPEN = {
    "source": open_source,
    "trigger": lambda address: open_trigger(address, device="bin"),
    "sink": lambda address: open_sink(
        address, labels=["glass"], bins=["glass"], device="bin", environment={}
    ),
}


def known_options(address):
    """The options of an address of a source, a sink or a trigger, as its error over another one says."""
    kind, _, address = address.partition(" ")
    mark, prefix = "&" if "?" in address else "?", "ecovision." if "://foreign/" in address else ""
    with pytest.raises(EcovisionError, match="nonesuch") as raised:
        OPEN[kind](f"{address}{mark}{prefix}nonesuch=1")
    known = re.search(r"expected one of (.*), found", str(raised.value))
    return {name.strip().removeprefix("ecovision.") for name in known[1].split(",")}


def documented_options(page, heading):
    """The names in the first cells of the table of options below a heading."""
    section = re.search(
        rf"^##+ {re.escape(heading)}\n(.*?)(?=^##|\Z)", PAGES[DOCS / page], re.MULTILINE | re.DOTALL
    )
    cells = re.findall(
        r"^\| (`[^|]*`) \|", section[1].partition("| option | meaning | default |")[2], re.MULTILINE
    )
    return {name.removeprefix("ecovision.") for cell in cells for name in re.findall(r"`([^`]+)`", cell)}


@pytest.mark.parametrize(
    ("page", "heading", "addresses"),
    [
        ("sinks.md", "Standard output", ["sink stdout:"]),
        ("sinks.md", "File", ["sink file:events.jsonl"]),
        ("sinks.md", "Webhook", ["sink https://foreign/hook"]),
        ("sinks.md", "MQTT", ["sink mqtt://broker.local/topic"]),
        ("sinks.md", "Serial line", ["sink serial:///dev/ttyACM0"]),
        ("sinks.md", "Pins", ["sink gpio:"]),
        ("bin.md", "`gpio:17`", ["trigger gpio:17"]),
        ("bin.md", "`mqtt://broker.local/hall/lid`", ["trigger mqtt://broker.local/hall/lid"]),
        ("camera.md", "USB cameras: `0`, `/dev/video0`", ["source 0"]),
        ("camera.md", "`rpicam://`, `rpicam://1`", ["source rpicam://"]),
        ("camera.md", "`picamera2://`, `picamera2://1`", ["source picamera2://"]),
        ("camera.md", "`csi://0` and `libcamera://`", ["source csi://0", "source libcamera://"]),
        ("camera.md", "`rtsp://` and `http://`", ["source rtsp://foreign/", "source http://foreign/"]),
        (
            "camera.md",
            "Files: `clip.mp4`, `photos/`, `'photos/*.jpg'`",
            ["source clip.mp4", "source photos/"],
        ),
        ("camera.md", "`demo:`", ["source demo:", "source demo:?script=tray.json"]),
    ],
)
def test_every_option_of_an_address_is_documented(page, heading, addresses):
    """Neither more nor fewer; what every source takes has a table of its own."""
    common = documented_options("camera.md", "Options of every source") if page == "camera.md" else set()
    known = set().union(*map(known_options, addresses))
    documented = documented_options(page, heading)
    if heading == "`demo:`":
        documented.add("loop")  # in the words of `script`
    assert documented | common == known


@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_kind_of_sink_is_named_where_a_user_looks(scheme):
    """In the error over an unknown one, in `open_sink` and on the page; with TLS or without is one kind."""
    kind = re.compile(rf"\b{re.escape(scheme.rstrip('s'))}s?:")
    with pytest.raises(EcovisionError) as raised:
        OPEN["sink"]("nonesuch:x")
    for text in (str(raised.value), open_sink.__doc__, PAGES[DOCS / "sinks.md"]):
        assert kind.search(text), text


def test_every_kind_of_sink_may_hold_a_secret_or_not():
    """One that nobody has decided about is taken for one that may, and paths are refused as keys."""
    assert {*_OWN, "http", "https"} == {*SCHEMES}


def test_the_lines_of_the_serial_protocol_are_lines():
    """With the right check sums."""
    lines = [line for text in blocks(DOCS / "serial-line.md", "text") for line in text.splitlines()]
    assert len(lines) >= 8
    for line in lines:
        assert decode_line(f"{line}\n".encode()) is not None, line


@pytest.mark.parametrize("text", all_blocks("c"))
def test_every_c_block_compiles_and_reads_events(text, tmp_path):
    """By this machine's C compiler, with all its warnings; an `ecovision-edge` of ours gives the lines."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("needs a C compiler: apt-get install gcc libc6-dev")
    (tmp_path / "child.c").write_text(text, encoding="utf-8")
    flags = ["-std=gnu99", "-Wall", "-Wextra", "-Werror"]
    subprocess.run([compiler, *flags, "-o", "child", "child.c"], cwd=tmp_path, check=True, timeout=60)
    [event] = {json.dumps(json.loads(block), separators=(",", ":")) for block in blocks(README, "json")}
    command = tmp_path / "ecovision-edge"
    command.write_text(f'#!/bin/sh\necho \'{{"type":"state","state":"empty"}}\'\necho \'{event}\'\n')
    command.chmod(0o755)
    environment = {**ENVIRONMENT, "PATH": f"{tmp_path}:{ENVIRONMENT['PATH']}"}
    ran = subprocess.run([tmp_path / "child"], env=environment, capture_output=True, check=True, timeout=60)
    assert ran.stdout.decode().splitlines() == ["the bin is empty", "to the bin paper"]


def test_every_metric_is_documented():
    """Those of a bin with a sink, and no others."""
    pytest.importorskip("prometheus_client", reason="needs prometheus-client: pip install '.[web]'")
    from ecovision_edge.bundle.identity import BundleIdentity
    from ecovision_edge.web._metrics import Metrics

    board = Board(("glass",), bundle=BundleIdentity("kitchen", "2.1", "0" * 64))
    board.set_bin(bin_report)
    text = Metrics(board, stale_s=5.0).text().decode()
    names = set(re.findall(r"^# TYPE (\w+?)(?:_total|_info)? ", text, re.MULTILINE))
    table = PAGES[DOCS / "live-page.md"].partition("## Metrics")[2]
    documented = set(re.findall(r"^\| `(ecovision_\w+)`", table, re.MULTILINE))
    assert documented - {"ecovision_frame_age_seconds"} == names  # which needs a frame


def test_every_module_that_a_page_runs_exists():
    """What stands after `python -m`, in a block or in a sentence."""
    named = {
        name for text in PAGES.values() for name in re.findall(r"python\s-m\s(ecovision_edge[\w.]*\w)", text)
    }
    assert len(named) > 5
    for name in named:
        module = REPOSITORY / next(p for p in PACKAGES if p.endswith(f"/{name.partition('.')[0]}"))
        module = module.joinpath(*name.split(".")[1:])
        assert module.with_suffix(".py").exists() or (module / "__main__.py").exists(), name


PACKAGES = ("runtime/ecovision_edge", "export/ecovision_edge_export", "benchmarks/ecovision_edge_bench")
SOURCES = [REPOSITORY / package for package in PACKAGES]


def in_backquotes(pattern):
    """What stands in backquotes in the page on the architecture, where all of it matches."""
    found = re.findall(r"(?<!`)`([^`\n]+)`(?!`)", PAGES[DOCS / "architecture.md"])
    return {name for name in found if re.fullmatch(pattern, name)}


def test_the_architecture_names_files_that_are_there():
    """Each path that ends in `.py` or `/`, in one of the packages or from the root."""
    names = in_backquotes(r"\w[\w/]*(?:\.py|/)")
    assert len(names) > 30
    for name in names:
        assert any((folder / name).exists() for folder in (REPOSITORY, *SOURCES)), name


def test_the_architecture_names_what_the_code_has():
    """Each class, function, attribute and thread is there under this very name."""
    code = "\n".join(path.read_text(encoding="utf-8") for folder in SOURCES for path in folder.rglob("*.py"))
    defined = set(re.findall(r"(?:def |class |self\.|^)(\w+)", code, re.MULTILINE))
    names = in_backquotes(r"\w*[A-Z_]\w*")
    assert {"LatestFrame", "BinDecider", "rewrite_for_int8"} <= names
    assert names - defined - {Path(package).name for package in PACKAGES} == {"RLock"}
    for thread in in_backquotes(r"ecovision-\w+.*"):
        assert f'"{re.sub("[A-Z]+$", "", thread)}' in code, thread


def test_every_check_of_the_doctor_is_documented():
    """By the first word of its name, which programs look for."""
    code = "\n".join(p.read_text("utf-8") for p in (SOURCES[0] / "doctor").glob("*.py"))
    known = set(re.findall(r'(?:\b(?:ok|warn|fail)\(|\bname = )\s*f?"(\w+)(?: [^"]*)?"', code))
    table = PAGES[DOCS / "doctor.md"].partition("## What is looked at")[2].partition("## ")[0]
    assert set(re.findall(r"^\| `(\w+)(?: \w+)?` \|", table, re.MULTILINE)) == known
