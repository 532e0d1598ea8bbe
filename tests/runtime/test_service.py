"""Facts about the systemd unit, about what is told to systemd, and about `install-service`."""

import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st

import ecovision_edge
from ecovision_edge.cli.install_service import install_service
from ecovision_edge.decision import DecisionSettings
from ecovision_edge.errors import EcovisionError, OptionError
from ecovision_edge.rules import Rules
from ecovision_edge.service import (
    UNIT_NAME,
    ServiceNeeds,
    ServiceOptions,
    parse_environment,
    quote_argument,
    refuse_credentials,
    sd_notify,
    service_environment,
    service_needs,
    service_unit,
    watchdog_interval,
)

COMMAND = ("/usr/bin/python3", "-m", "ecovision_edge", "run")


def unit(source="demo:", sinks=(), **options):
    return service_unit(ServiceOptions(command=COMMAND, needs=service_needs(source, sinks), **options))


def settings_of(text):
    """Each setting's values, in order."""
    found = {}
    for line in text.splitlines():
        if "=" in line and not line.startswith("#"):
            name, _, value = line.partition("=")
            found.setdefault(name, []).append(value)
    return found


# Quoting, by the words of systemd.syntax(5) and systemd.service(5).

ESCAPES = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "s": " "}


def split_words(line):
    """The words of a line, quotes and escapes undone."""
    words, at = [], 0
    while at < len(line):
        if line[at] in " \t":
            at += 1
            continue
        word, quote = "", ""
        while at < len(line) and (quote or line[at] not in " \t"):
            c = line[at]
            at += 1
            if c == "\\":
                c = line[at]
                at += 1
                if c == "x":
                    word += chr(int(line[at : at + 2], 16))
                    at += 2
                elif c in ESCAPES:
                    word += ESCAPES[c]
                else:
                    assert c in "\\\"'"
                    word += c
            elif quote and c == quote:
                quote = ""
                assert at == len(line) or line[at] in " \t"
            elif not quote and c in "\"'" and not word:
                quote = c
            else:
                word += c
        assert not quote
        words.append(word)
    return words


def passed_on(line):
    """The arguments that a command line of a unit gives."""
    assert "\n" not in line
    assert not line.endswith("\\")
    words = []
    for raw in split_words(line):
        assert not re.search("%", raw.replace("%%", ""))
        word = raw.replace("%%", "%")
        assert not re.search(r"\$", word.replace("$$", ""))
        words.append(word.replace("$$", "$"))
    return words


TAKEN = st.text(
    st.one_of(st.sampled_from("%$\"'\\;{} \t\n\x7f"), st.characters(exclude_categories=["Cs"])), max_size=30
).filter(
    lambda text: not any(c == "\0" or 0xFDD0 <= ord(c) <= 0xFDEF or ord(c) & 0xFFFE == 0xFFFE for c in text)
)


@given(st.lists(TAKEN, max_size=5))
def test_an_argument_is_passed_on_as_it_is(arguments):
    """Quotes, spaces, percent and dollar signs, control characters and all."""
    assert passed_on(" ".join(map(quote_argument, arguments))) == arguments


@pytest.mark.parametrize(
    ("text", "quoted"),
    [
        ("--source", "--source"),
        ("", '""'),
        ("a b", '"a b"'),
        ("100%", '"100%%"'),
        ("$HOME", '"$$HOME"'),
        ('"', r'"\""'),
        ("\\", r'"\\"'),
        ("a\nb", r'"a\x0ab"'),
        (";", '";"'),
        ("é", '"é"'),
    ],
)
def test_quoting_looks_as_a_person_would_write_it(text, quoted):
    """A plain word stays as it is."""
    assert quote_argument(text) == quoted


@pytest.mark.parametrize("text", ["\0", "\ud800", "\ufffe", "\U0010ffff", "\ufdd0"])
def test_what_systemd_refuses_is_refused(text):
    """Before there is a unit that would not load."""
    with pytest.raises(OptionError, match="UTF-8"):
        quote_argument(text)


# The unit.


@pytest.mark.parametrize(
    ("source", "sinks", "devices", "groups", "network"),
    [
        ("demo:", (), (), (), False),
        ("0", (), ("char-video4linux",), ("video",), False),
        ("/dev/video0?width=640", ("stdout:",), ("char-video4linux",), ("video",), False),
        ("rpicam://", (), ("char-video4linux", "char-media", "char-dma_heap"), ("video",), False),
        ("rtsp://host/x", (), (), (), True),
        ("demo:", ("mqtt://host/x",), (), (), True),
        ("demo:", ("gpio:17?pull=up",), ("char-gpiochip",), ("gpio",), False),  # a trigger's
        ("demo:", ("serial:///dev/ttyUSB0?baud=9600",), ("char-ttyUSB",), ("dialout",), False),
        ("demo:", ("serial:///dev/serial0",), ("char-ttyAMA", "char-ttyS"), ("dialout",), False),
        ("demo:", ("serial:///dev/serial/by-id/x",), ("char-ttyACM", "char-ttyUSB"), ("dialout",), False),
        ("1", ("gpio:?servo=18",), ("char-video4linux", "char-gpiochip"), ("video", "gpio"), False),
    ],
)
def test_only_what_the_arguments_name_is_open(source, sinks, devices, groups, network):
    """Devices, groups and the network."""
    found = settings_of(unit(source, sinks))
    assert found["DevicePolicy"] == ["closed"]
    assert found.get("DeviceAllow", []) == [f"{device} rw" for device in devices]
    assert found.get("SupplementaryGroups", []) == ([" ".join(groups)] if groups else [])
    assert ("AF_INET" in found["RestrictAddressFamilies"][0].split()) == network
    assert ("IPAddressDeny" in found) == (not network)


@pytest.mark.parametrize("source", ["csi://0", "gst:v4l2src ! videoconvert"])
def test_where_devices_cannot_be_known_none_is_closed(source):
    """Also not by ProtectClock, which allows one and so closes the others."""
    found = settings_of(unit(source))
    assert not {"DevicePolicy", "DeviceAllow", "ProtectClock", "MemoryDenyWriteExecute"} & set(found)


def test_a_servo_may_write_below_sys_where_the_kernel_makes_its_pulses():
    """What else is at pins does not need it."""
    assert "ProtectKernelTunables" not in settings_of(unit("0", ("gpio:?servo=18&angles=paper:0",)))
    assert settings_of(unit("0", ("gpio:?leds=paper:5",)))["ProtectKernelTunables"] == ["yes"]


def test_a_live_page_needs_the_network_and_an_accelerator_its_device():
    """As the arguments say."""
    assert service_needs("demo:", (), serves=True).network
    assert "char-usb_device" in service_needs("demo:", (), delegate=True).devices


def test_what_is_in_a_home_can_be_read_and_what_is_written_written():
    """All else of homes is hidden, and all else of the system read-only."""
    found = settings_of(
        unit(
            reads=("/home/pi/my bundle", "/opt/bundle"),
            writes=("/var/rec", "/home/pi/100%"),
            profiles="/root/p",
        )
    )
    assert found["ProtectHome"] == ["tmpfs"]
    assert found["ProtectSystem"] == ["strict"]
    assert found["BindReadOnlyPaths"] == ['"/home/pi/my bundle"', "/root/p"]
    assert found["BindPaths"] == ['"/home/pi/100%%"']
    assert found["ReadWritePaths"] == ["/var/rec"]
    assert "ECOVISION_EDGE_PROFILE_DIR=/root/p" in found["Environment"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"command": ("python",)}, "absolute path"),
        ({"command": ("/a$b",)}, "absolute path"),
        ({"command": ()}, "absolute path"),
        ({"user": "pi;"}, "name of a user"),
        ({"user": "pi", "user_unit": True}, "none"),
        ({"reads": ("bundle",)}, "absolute"),
        ({"reads": ("/a/../b",)}, "absolute"),
        ({"reads": ("/a:b",)}, "colon"),
        ({"writes": ("/a\nb",)}, "control character"),
        ({"writes": ("/tmp/x",)}, "temporary"),
    ],
)
def test_what_cannot_work_is_refused(options, message):
    """By name."""
    with pytest.raises(OptionError, match=message):
        ServiceOptions(**{"command": COMMAND, "needs": ServiceNeeds(), **options})


def verified(text, folder):
    if shutil.which("systemd-analyze") is None:
        pytest.skip("needs systemd-analyze: apt-get install systemd")
    path = folder / UNIT_NAME
    path.write_text(text)
    return path, subprocess.run(
        ["systemd-analyze", "verify", path], capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    ("source", "options"),
    [
        ("0", {"reads": ("/home/pi/my 100% bundle",), "writes": ("/var/lib/rec",)}),
        ("rpicam://", {"user": "root"}),
        ("gst:a ! b", {}),
        ("rtsp://host/x", {"user_unit": True}),
        ("rtsp://host/x", {"updates": True}),
    ],
)
def test_systemd_takes_the_unit(tmp_path, source, options):
    """Without a word."""
    text = service_unit(
        ServiceOptions(
            command=(sys.executable, "-m", "x", 'a "b" 100% $HOME ; \n é'),
            needs=service_needs(source, ("serial:///dev/ttyACM0", "gpio:?servo=18", "mqtt://host/x")),
            **options,
        )
    )
    _, ran = verified(text, tmp_path)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")


def test_the_unit_is_exposed_little(tmp_path):
    """By systemd's own measure, which goes to 10."""
    path, _ = verified(unit("/dev/video0", ("serial:///dev/ttyACM0",)), tmp_path)
    ran = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--threshold=20", path],
        capture_output=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout.decode()


@pytest.mark.parametrize("user_unit", [False, True])
def test_a_service_that_fails_is_started_again_for_as_long_as_it_takes(user_unit):
    """A camera that comes an hour late finds its bin alive: no count of starts ends it."""
    found = settings_of(unit("0", user_unit=user_unit))
    assert found["StartLimitIntervalSec"] == ["0"]
    assert "StartLimitBurst" not in found
    assert found["Restart"] == ["on-failure"]
    assert float(found["RestartSec"][0]) > 0


# Secrets, and the environment that they come from.

ENV = Path("/etc/eco.env")


@pytest.mark.parametrize(
    ("source", "sinks", "names"),
    [
        ("rtsp://admin:geheim@cam/s", (), ("CAM_USER=", "CAM_PASSWORD=", "${CAM_USER}:${CAM_PASSWORD}@")),
        ("rtsp://admin:ge/h#ei?m@cam/s", (), ("CAM_PASSWORD=",)),
        ("rtsp://${U}:geheim@cam/s", (), ("CAM_PASSWORD=",)),
        ("http://cam:80/s?user=me&pwd=geheim", (), ("pwd=${CAM_PWD}", "CAM_PWD=...")),
        ("rtsp://cam/user=me&password=geheim&channel=1", (), ("CAM_PASSWORD=...",)),
        ("http://cam/geheim?access_token=geheim", (), ("CAM_ACCESS_TOKEN=...",)),
        ("gst:rtspsrc location=rtsp://me:geheim@cam ! decodebin", (), ("as rtsp://", "CAM_PASSWORD=")),
        ("gst:rtspsrc location=rtsp://cam user-pw=geheim ! decodebin", (), ("CAM_USER_PW=",)),
        ("demo:", ("mqtt://me:geheim@host/x",), ("ECOVISION_EDGE_MQTT_PASSWORD=",)),
        ("demo:", ("https://me:geheim@host/x",), ("ECOVISION_EDGE_WEBHOOK_SECRET=",)),
        ("demo:", ("stdout:", "https://host/x?apikey=geheim"), ("HOOK_APIKEY=...",)),
        ("demo:", ("https://host/services/T0/geheimgeheim-geheim23",), ("${HOOK_KEY}", "HOOK_KEY=...")),
        ("rtsp://cam/user=me_password=geheim_channel=1_stream=0.sdp", (), ("password=${CAM_PASSWORD}",)),
        ("http://cam/video.cgi?loginuse=me&loginpas=geheim", (), ("CAM_LOGINPAS=...",)),
        ("rtsp://cam:7447/geheimGEHEIM2345", (), ("CAM_KEY=...",)),
        ("http://cam/0123456789abcdef-0123456789ABCDEF/live", (), ("CAM_KEY=...",)),
        ("demo:", ("https://host/x?code=Ab3geheimGEHEIM2345",), ("HOOK_KEY=...",)),
        ("demo:", ("https://host/x#token=geheim",), ("HOOK_TOKEN=...",)),
        ("demo:", ("https://host/bot12:geheimgeheimgeheim/x",), ("HOOK_KEY=...",)),
    ],
)
def test_a_secret_in_an_address_does_not_come_into_a_unit(source, sinks, names):
    """It is refused; variable and file are named, and nothing of the secret is shown."""
    with pytest.raises(OptionError) as caught:
        refuse_credentials(source, sinks, ENV)
    assert all(name in caught.value.message for name in names)
    assert "geheim" not in caught.value.message
    assert "/etc/eco.env" in caught.value.message


def test_a_secret_in_the_address_of_a_trigger_does_not_come_into_a_unit_either():
    """As in a sink's."""
    with pytest.raises(OptionError, match=r"password in --trigger: .*ECOVISION_EDGE_MQTT_PASSWORD") as caught:
        refuse_credentials("demo:", (), ENV, "mqtt://me:geheim@host/x")
    assert "geheim" not in caught.value.message


@pytest.mark.parametrize("update", ["https://me:geheim@host/bins", "https://host/bins?token=geheim"])
def test_a_secret_in_the_address_of_updates_does_not_come_into_a_unit(update):
    """The program takes no such address: what is fetched is signed."""
    with pytest.raises(OptionError, match="more than a place in --update") as caught:
        refuse_credentials("demo:", (), ENV, update=update)
    assert "geheim" not in caught.value.message


@pytest.mark.parametrize(
    ("source", "sinks"),
    [
        ("/dev/video0?width=640", ("stdout:", "file:/var/log/key=1/token", "gpio:?servo=18&angles=a:1,b:2")),
        ("rtsp://${CAM_USER}:${CAM_PASSWORD}@cam:554/h264Preview_01_main", ()),
        ("rtsp://admin@cam/Streaming/Channels/101?keyframe=1&monkey=2", ()),
        ("rtsp://cam/live_stream_channel_01_main_H264?sub=1&unicast=true", ()),
        ("photos/IMG20240101T120000Z", ()),
        ("http://[fe80::1]:80/video?token=${CAM_TOKEN}&ecovision.rotate=180", ()),
        ("demo:", ("mqtt://me@host/x?keepalive=30&password_file=/etc/pw",)),
        ("demo:", ("https://host/${HOOK_KEY}?sig=${HOOK_SIG}&ecovision.secret_file=/etc/s",)),
    ],
)
def test_what_holds_no_secret_is_left_alone(source, sinks):
    """Variables, files of secrets, ports, and names that only look a little like one."""
    refuse_credentials(source, sinks, ENV)


def test_an_environment_file_is_read_as_systemd_reads_it():
    """By the words of systemd.exec(5): quotes, backslashes, comments, and lines that go on."""
    text = "# A=0\n; B=0\n\nA=plain text\n B = \"two words\" \nC='a\\b$x'\n"
    text += "D=a\\\\b\\\nc\nno assignment\n9=x\nE=\n"
    assert parse_environment(text) == {
        "A": "plain text",
        "B": "two words",
        "C": "a\\b$x",
        "D": "a\\bc",
        "E": "",
    }


def test_a_check_sees_the_environment_of_the_service(tmp_path, monkeypatch):
    """Its file's variables and what the unit sets; what this shell has is put back afterwards."""
    monkeypatch.setenv("ECOVISION_EDGE_HTTP_TOKEN", "of this shell")
    file = tmp_path / "eco.env"
    with service_environment(file, {"MORE": "1"}):
        assert "ECOVISION_EDGE_HTTP_TOKEN" not in os.environ
        assert os.environ["MORE"] == "1"
    file.write_text("ECOVISION_EDGE_HTTP_TOKEN=of the file\n")
    with service_environment(file, {}):
        assert os.environ["ECOVISION_EDGE_HTTP_TOKEN"] == "of the file"
    assert os.environ["ECOVISION_EDGE_HTTP_TOKEN"] == "of this shell"
    with pytest.raises(OptionError, match="as root"), service_environment(tmp_path, {}):
        pass


# What is told to systemd.


@pytest.mark.parametrize("abstract", [False, True])
def test_a_state_is_told_to_systemd(tmp_path, abstract):
    """To a socket in the file system, or one that has only a name."""
    name = f"@ecovision-{os.getpid()}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind("\0" + name[1:] if abstract else name)
        listener.settimeout(10)
        assert sd_notify("READY=1\nSTATUS=läuft", {"NOTIFY_SOCKET": name})
        assert listener.recv(100).decode() == "READY=1\nSTATUS=läuft"


@pytest.mark.parametrize("name", [None, "", "@", "relative", "/no/such/socket", "/" + "x" * 200, "/a\0b"])
def test_whoever_is_no_service_goes_on(name):
    """No error, and it says so."""
    assert not sd_notify("READY=1", {} if name is None else {"NOTIFY_SOCKET": name})


@pytest.mark.parametrize(
    ("environment", "interval"),
    [
        ({"WATCHDOG_USEC": "30000000"}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "7"}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "8"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({}, None),
    ],
)
def test_the_watchdog_is_told_twice_as_often_as_it_asks(environment, interval):
    """If it watches this process."""
    assert watchdog_interval(environment, 7) == interval
    assert watchdog_interval(environment | {"WATCHDOG_PID": str(os.getpid())}) == watchdog_interval(
        environment | {"WATCHDOG_PID": ""}
    )


# The command.


@pytest.fixture
def command(tmp_path, capsys, monkeypatch, request):
    """Runs `install-service` on units in a folder; the exit status and what was printed.

    It is as if it were installed in /opt: a checkout among temporary files is refused, as any such path.
    """
    monkeypatch.setattr("ecovision_edge.cli.install_service._own_folders", lambda: ("/opt/eco",))
    monkeypatch.setattr("ecovision_edge.service.environment_path", lambda user: tmp_path / "env" / "eco.env")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    if hasattr(request, "param"):  # the real check reads rules, the checkout's own, wherever that lies
        monkeypatch.setattr("ecovision_edge.service.unit._TEMPORARY", ())
    else:  # it loads a model, and is for the tests of it
        monkeypatch.setattr("ecovision_edge.cli.install_service._refusal", lambda *_: None)
    app = typer.Typer(add_completion=False, rich_markup_mode=None)
    app.command("install-service")(install_service)

    def run(*arguments, folder=tmp_path):
        status = typer.main.get_command(app).main(
            args=["--folder", str(folder), *arguments], prog_name="install-service", standalone_mode=False
        )
        return status, capsys.readouterr().out

    return run


def test_nothing_is_written_without_being_told(command, tmp_path):
    """The unit is shown, and what would be done."""
    status, out = command("--", "--source", "/dev/video0?fps=5", "--http", "127.0.0.1:8080")
    assert status == 0
    assert '-m ecovision_edge run --source "/dev/video0?fps=5" --http 127.0.0.1:8080\n' in out
    assert "DeviceAllow=char-video4linux rw" in out
    assert "Nothing was written" in out
    assert "systemctl daemon-reload && systemctl enable --now ecovision-edge.service" in out
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("given", "in_rules"),
    [((), "gpio:17"), (("--trigger", "gpio:17"), "mqtt://host/x"), (("--trigger", "gpio:17"), None)],
)
def test_the_pin_of_a_trigger_is_open(command, monkeypatch, given, in_rules):
    """Also where the rules name it; a trigger of the command line comes before theirs."""
    decision = DecisionSettings(trigger=in_rules)
    rules = Rules(name="n", bins=("b",), bin_of={}, default="b", decision=decision)
    monkeypatch.setattr(Rules, "load", lambda path: rules)
    _, out = command("--", "--source", "demo:", "--bin", "/etc/eco/rules.toml", *given)
    assert "DeviceAllow=char-gpiochip rw" in out
    assert "IPAddressDeny" in out


def test_a_service_has_no_keyboard(command):
    """It would be in fault from its start."""
    with pytest.raises(OptionError, match=r"trigger of a service: expected gpio:PIN .*, found keyboard:"):
        command("--", "--source", "demo:", "--bin", "/etc/eco/rules.toml", "--trigger", "keyboard:")


def test_rules_that_cannot_be_read_are_the_check_s_affair(command):
    """They name no trigger; `run --check`, which is not asked here, tells of them."""
    status, out = command("--", "--source", "demo:", "--bin", "/etc/eco/no-rules.toml")
    assert status == 0
    assert "DeviceAllow" not in out


def test_a_unit_that_is_there_is_shown_as_it_will_change(command, tmp_path):
    """And written whole, with --write."""
    path = tmp_path / UNIT_NAME
    assert command("--write", "--", "--source", "demo:")[0] == 0
    before = path.read_text()
    assert "written" in command("--write", "--", "--source", "demo:")[1]
    assert "is as it should be" in command("--", "--source", "demo:")[1]
    _, out = command("--", "--source", "0")
    assert "-ExecStart=" in out
    assert "+DeviceAllow=char-video4linux rw" in out
    assert path.read_text() == before
    command("--write", "--", "--source", "0")
    assert "char-video4linux" in path.read_text()
    assert [p.name for p in tmp_path.iterdir()] == [UNIT_NAME]


def test_a_masked_unit_is_not_written_to(command, tmp_path):
    """It is a link to /dev/null, which takes everything and keeps nothing."""
    (tmp_path / UNIT_NAME).symlink_to(os.devnull)
    with pytest.raises(OptionError, match=f"no regular file; if it is masked: systemctl unmask {UNIT_NAME}"):
        command("--write", "--", "--source", "demo:")
    assert (tmp_path / UNIT_NAME).is_symlink()


def test_the_paths_of_the_arguments_can_be_reached(command):
    """A bundle, the rules, images and recordings."""
    found = settings_of(
        command(
            *["--", "--source", "/home/pi/photos/*.jpg?loop=1", "--bundle", "/home/pi/bundle"],
            *["--bin", "/root/rules.toml", "--record", "/var/rec", "--summary", "/srv/out/summary.json"],
            *["--sink", "file:/var/log/bin/events.jsonl?keep=2"],
            *["--sink", "HTTPS://host/x?ecovision.secret_file=/home/pi/secret&ecovision.ca=/home/pi/web.pem"],
            *["--sink", "mqtts://user@host/x?ca=/home/pi/ca.pem&password_file=/root/pw&spool=/srv/spool%201"],
            *["--sink", "mqtt://host/y?spool=/home/pi/spool", "--delegate", "/home/pi/libedgetpu.so"],
        )[1]
    )
    wanted = {"/home/pi/photos", "/home/pi/bundle", "/root/rules.toml", "/home/pi/libedgetpu.so"}
    wanted |= {"/home/pi/secret", "/home/pi/web.pem", "/home/pi/ca.pem", "/root/pw"}
    assert wanted == set(found["BindReadOnlyPaths"])
    assert found["BindPaths"] == ["/home/pi/spool"]
    assert found["ReadWritePaths"] == ["/var/rec", "/srv/out", "/var/log/bin", '"/srv/spool 1"']


UPDATES = ("--source", "/dev/video0", "--output", "none", "--update", "https://updates.local/bins")


def test_a_service_that_takes_updates_is_as_confined_and_starts_again_for_another_bundle(command):
    """It may speak TCP; the store is in its state folder; an update's process that is killed ends it not."""
    _, without = command("--", *UPDATES[:4])
    status, printed = command("--", *UPDATES)
    assert status == 0
    plain, updating = settings_of(without), settings_of(printed)
    assert updating["StateDirectory"] == ["ecovision-edge"]
    assert updating["RestartForceExitStatus"] == ["75"]
    assert updating["OOMPolicy"] == ["continue"]
    assert updating["Restart"] == plain["Restart"]
    assert "--update https://updates.local/bins" in updating["ExecStart"][0]
    assert "AF_INET" in updating["RestrictAddressFamilies"][0]
    assert "network-online.target" in updating["After"]
    differ = {"RestartForceExitStatus", "OOMPolicy", "ExecStart", "RestrictAddressFamilies", "After", "Wants"}
    assert {n: v for n, v in updating.items() if n not in differ} == {
        n: v for n, v in plain.items() if n not in {*differ, "IPAddressDeny"}
    }


def test_the_folders_of_updates_can_be_reached(command):
    """A store elsewhere is written to; the root and frames of one's own are read."""
    paths = (
        "--store",
        "/srv/bundles",
        "--update-root",
        "/home/pi/root.json",
        "--labelled",
        "/home/pi/frames",
    )
    _, printed = command("--", *UPDATES, *paths)
    settings = settings_of(printed)
    assert "/srv/bundles" in settings["ReadWritePaths"]
    assert {"/home/pi/root.json", "/home/pi/frames"} <= set(settings["BindReadOnlyPaths"])


@pytest.mark.parametrize("command", ["checked"], indirect=True)
def test_the_check_looks_at_the_service_s_store_and_changes_nothing(command, monkeypatch):
    asked = []
    monkeypatch.setattr(
        "ecovision_edge.updates.store.state_folder",
        lambda env: asked.append(env["STATE_DIRECTORY"]) or Path("/no"),
    )
    assert command("--", *UPDATES)[0] == 0
    assert set(asked) == {"/var/lib/ecovision-edge"}


def test_another_provider_than_the_cpu_gets_its_devices_and_its_folders(command):
    """Nobody can name the devices of every vendor, nor does a GPU's library do without making code."""
    words = ["--", "--source", "demo:", "--provider-option", "trt_engine_cache_path=/srv/engines"]
    gpu = settings_of(command(*words, "--providers", "tensorrt,cuda,cpu")[1])
    cpu = settings_of(command("--", "--source", "demo:", "--providers", "CPUExecutionProvider")[1])
    assert gpu["ReadWritePaths"] == ["/srv/engines"]
    assert "video" in gpu["SupplementaryGroups"][0]
    assert "DevicePolicy" not in gpu
    assert "MemoryDenyWriteExecute" not in gpu
    assert cpu["DevicePolicy"] == ["closed"]
    assert "MemoryDenyWriteExecute" in cpu


def test_a_folder_that_is_not_there_is_told_of(command, tmp_path):
    """systemd would not start the service; the service's own is made by systemd itself."""
    own = "/var/lib/ecovision-edge"
    sinks = ["--bin", "/etc/rules.toml", "--sink", f"file:{own}/events.jsonl"]
    sinks += ["--sink", f"mqtt://host/x?spool={own}/spool/x"]
    _, out = command("--", "--source", "demo:", *sinks)
    assert "ReadWritePaths" not in out
    assert "is not there" not in out
    _, out = command("--", "--source", "demo:", "--record", "/srv/no/such/folder", "--summary", "/etc/x.json")
    assert "ReadWritePaths=/srv/no/such/folder\n" in out
    assert out.count("is not there") == 1
    assert "/srv/no/such/folder is not there" in out


def test_a_password_in_an_address_does_not_come_into_a_unit(command):
    """Every user can read it."""
    with pytest.raises(OptionError, match="no password"):
        command("--", "--source", "demo:", "--bin", "/etc/rules.toml", "--sink", "mqtt://me:pw@host/x")


checked = pytest.mark.parametrize("command", ["with the real check"], indirect=True)
RULES = str(Path(ecovision_edge.__file__).parent / "data" / "rules" / "de-household.toml")


@checked
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--http", "0.0.0.0:8080"], "token"),
        (["--bin", "/no/such/rules.toml"], "rules.toml"),
        (["--bin", RULES, "--sink", "gpio:?servo=18"], "angles"),
        (["--bin", RULES, "--sink", "https://host/${HOOK}"], r"\$\{HOOK\}"),
        (["--source", "rtsp://${CAM_USER}@cam/s"], r"\$\{CAM_USER\}"),
        (["--bundle", "/no/such/bundle"], "/no/such/bundle"),
        (["--record", "/srv/rec", "--record-bytes", "lots"], "--record-bytes"),
    ],
)
def test_what_run_would_refuse_is_not_written(command, tmp_path, monkeypatch, arguments, message):
    """Also where this shell has what the service will not have; shown, the status says so too."""
    monkeypatch.setenv("ECOVISION_EDGE_HTTP_TOKEN", "0123456789abcdef")
    monkeypatch.setenv("HOOK", "x")
    monkeypatch.setenv("CAM_USER", "me")
    with pytest.raises(EcovisionError, match=message):
        command("--write", "--", "--source", "demo:", *arguments)
    assert list(tmp_path.iterdir()) == []
    status, out = command("--", "--source", "demo:", *arguments)
    assert status in (1, 2)
    assert re.search(f"with --write nothing would be: .*{message}", out)


@checked
def test_what_run_would_take_is_written(command, tmp_path):
    """With the secrets of the service's own file; neither camera, port nor folder is opened for it."""
    (tmp_path / "env").mkdir()
    (tmp_path / "env" / "eco.env").write_text("ECOVISION_EDGE_HTTP_TOKEN='0123456789abcdef'\nHOOK=secret\n")
    arguments = ["--source", "/dev/video99", "--http", "0.0.0.0:1", "--bin", RULES]
    arguments += ["--record", "/no/such/recording", "--sink", "https://host/${HOOK}"]
    assert command("--write", "--", *arguments)[0] == 0
    text = (tmp_path / UNIT_NAME).read_text()
    assert "secret" not in text.lower().replace("# secrets", "")
    assert not Path("/no/such/recording").exists()


def test_the_command_that_is_shown_works_from_a_venv(command, tmp_path, monkeypatch):
    """sudo looks into no venv: the interpreter stands there with its whole path, all options with it."""
    _, out = command("--run-as", "pi", "--", "--source", "/dev/video0?fps=5", folder=tmp_path)
    line = re.search("run: (.*)", out)[1]
    expected = [sys.executable, "-m", "ecovision_edge", "install-service", "--write", "--run-as", "pi"]
    assert shlex.split(line) == [*expected, "--folder", str(tmp_path), "--", "--source", "/dev/video0?fps=5"]
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    _, out = command("--", "--source", "demo:")
    assert f"run: sudo {shlex.quote(sys.executable)} -m" in out
    assert "then: sudo systemctl daemon-reload && sudo systemctl enable --now" in out


def test_a_file_that_the_services_user_cannot_read_is_told_of(command, tmp_path):
    """A user that exists only while it runs is in no group of a file's."""
    arguments = ["--", "--source", "demo:", "--bin", "/etc/shadow"]
    if Path("/etc/shadow").stat().st_mode & 0o004:
        pytest.skip("needs an /etc/shadow that not all may read, as systems have it")
    assert "/etc/shadow cannot be read by the service" in command(*arguments)[1]
    assert "cannot be read" not in command("--run-as", "root", *arguments)[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--bundle", "here"), "path here"),
        (("--source", "clip.mp4"), "path clip.mp4"),
        (("--sink", "file:events.jsonl", "--bin", "/etc/rules.toml"), "absolute"),
        (("--http", "0.0.0.0:80", "--http-token", "secret"), "every user can read a unit"),
    ],
)
def test_arguments_that_no_service_can_have_are_refused(command, arguments, message):
    """Relative paths, and secrets."""
    with pytest.raises(OptionError, match=message):
        command("--", *arguments)


def test_misuse_of_run_is_found_before_it_is_a_service(command):
    """The argument parser's own words."""
    with pytest.raises(Exception, match=r"No such option.*--sauce"):
        command("--", "--sauce", "demo:")


def test_a_unit_of_ones_own_has_a_folder_of_its_own(command, tmp_path):
    """Which is made, if it has to be; the manager of a user cannot confine by users, devices or mounts."""
    folder = tmp_path / "systemd" / "user"
    _, out = command("--user", "--write", "--", "--source", "demo:", folder=folder)
    assert "systemctl --user enable" in out
    assert "loginctl enable-linger" in out  # or it ends with the session
    found = settings_of((folder / UNIT_NAME).read_text())
    assert found["WantedBy"] == ["default.target"]
    assert not {"DynamicUser", "DevicePolicy", "ProtectSystem", "BindReadOnlyPaths"} & set(found)
    assert found["NoNewPrivileges"] == ["yes"]


def test_a_folder_that_is_not_there_is_said_so(command, tmp_path):
    """One line, and nothing is written."""
    with pytest.raises(OptionError, match="no such folder"):
        command("--write", "--", "--source", "demo:", folder=tmp_path / "none")
