"""The text of the unit.

Sources: the manual pages systemd.service(5), systemd.exec(5), systemd.resource-control(5) and
systemd.syntax(5).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from ecovision_edge.errors import OptionError
from ecovision_edge.service.environment import environment_file
from ecovision_edge.service.needs import ServiceNeeds

__all__ = [
    "STATE_FOLDER",
    "UNIT_NAME",
    "ServiceOptions",
    "foreign_folders",
    "quote_argument",
    "service_unit",
]

UNIT_NAME = "ecovision-edge.service"

STATE_FOLDER = "/var/lib/ecovision-edge"
"""Which systemd makes for the service before it starts (`StateDirectory`)."""

_UPDATES = (
    "# Each start is counted in the store before a bundle is loaded: a new one that dies goes back.",
    "RestartForceExitStatus=75",  # another bundle is to run, which cannot take over in this process
    "OOMPolicy=continue",  # an update that runs out of memory is a process of its own
)

_PLAIN = re.compile(r"[A-Za-z0-9_./,:=@+-]+")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
# systemd takes a line with a surrogate or a noncharacter for no valid UTF-8; NUL ends any text.
_NONCHARACTERS = "".join(
    chr(plane | last) for plane in range(0, 0x110000, 0x10000) for last in (0xFFFE, 0xFFFF)
)
_NEVER = re.compile(f"[\\x00\\ud800-\\udfff\\ufdd0-\\ufdef{_NONCHARACTERS}]")
_USER = re.compile(r"[a-z_][a-z0-9_-]{0,30}")
_HIDDEN = ("/home", "/root", "/run/user")  # by ProtectHome
_TEMPORARY = ("/tmp", "/var/tmp")  # noqa: S108 - by PrivateTmp the service has its own


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceOptions:
    """What the unit is to run, and with what.

    Args:
        command: The program, absolute, and all its arguments.
        needs: See `service_needs`.
        user: Who runs it; None for a user that exists only while it runs (`DynamicUser`).
        user_unit: A unit of the user's own manager, which can confine less: no users, no devices, no mounts.
        reads: Absolute paths that have to be seen, though they may be in somebody's home.
        writes: Absolute paths of folders that have to be written.
        profiles: The folder of device profiles, or None.
        updates: It takes updates while it runs.
    """

    command: tuple[str, ...]
    needs: ServiceNeeds
    user: str | None = None
    user_unit: bool = False
    reads: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    profiles: str | None = None
    updates: bool = False

    def __post_init__(self) -> None:
        """Refuse what cannot work.

        Raises:
            OptionError: the option, what was expected, and what was given.
        """
        program = self.command[0] if self.command else ""
        if not program.startswith("/") or "$" in program or _CONTROL.search(program):
            raise OptionError("program of a service", expected="an absolute path without $", found=program)
        if self.user is not None and not _USER.fullmatch(self.user):
            raise OptionError("user of a service", expected="the name of a user", found=self.user)
        if self.user is not None and self.user_unit:
            raise OptionError("user of a service", expected="none in a unit of a user's own", found=self.user)
        for path in (*self.reads, *self.writes, *((self.profiles,) if self.profiles else ())):
            self._check_path(path)

    def _check_path(self, path: str) -> None:
        if not path.startswith("/") or ".." in path.split("/"):
            raise OptionError(
                f"path {path}",
                expected="an absolute one: a service starts in a folder of its own",
                found=path,
            )
        if ":" in path or _CONTROL.search(path):
            raise OptionError("path of a service", expected="no colon, no control character", found=path)
        if _within(path, _TEMPORARY) and not self.user_unit:
            raise OptionError(f"path {path}", expected="none in a folder of temporary files", found=path)


def quote_argument(text: str) -> str:
    """Quote an argument of `ExecStart=`, so that systemd passes on just this text.

    Quotes and backslashes by C-style escapes, `%` and `$` doubled: systemd.syntax(5) and systemd.service(5).

    Raises:
        OptionError: a NUL, a lone surrogate or a noncharacter of Unicode, which systemd refuses.
    """
    return _quoted(text).replace("$", "$$")


def _quoted(text: str) -> str:
    if _NEVER.search(text):
        raise OptionError("text in a unit", expected="UTF-8 that systemd takes", found=ascii(text))
    if _PLAIN.fullmatch(text):
        return text
    text = re.sub(r'(["\\])', r"\\\1", text).replace("%", "%%")
    return '"' + _CONTROL.sub(lambda match: f"\\x{ord(match[0]):02x}", text) + '"'


def service_unit(options: ServiceOptions) -> str:
    """Write the unit. The service has to tell `READY=1` and `WATCHDOG=1`, see `sd_notify`."""
    o = options
    lines = [
        "# Made by: ecovision-edge install-service",
        "[Unit]",
        "Description=ecovision-edge: classifies what a camera sees",
        *(
            ["Wants=network-online.target", "After=network-online.target"]
            * (o.needs.network and not o.user_unit)
        ),
        "StartLimitIntervalSec=0",  # or a bin whose camera comes a minute late is given up for good
        "",
        "[Service]",
        "Type=notify",
        f"ExecStart={' '.join([_quoted(o.command[0]), *map(quote_argument, o.command[1:])])}",
        "WatchdogSec=30",
        "TimeoutStartSec=120",
        "TimeoutStopSec=20",
        "Restart=on-failure",
        "RestartSec=10",
        *(_UPDATES if o.updates else ()),
        "StateDirectory=ecovision-edge",
        "WorkingDirectory=%S/ecovision-edge",
        "Environment=PYTHONUNBUFFERED=1",
        *([f"Environment={_quoted('ECOVISION_EDGE_PROFILE_DIR=' + o.profiles)}"] if o.profiles else []),
        "# Secrets, for instance ECOVISION_EDGE_HTTP_TOKEN=...",
        f"EnvironmentFile=-{environment_file(o.user_unit)}",
        *([] if o.user_unit else [*_identity(o), *_devices(o.needs), *_files(o)]),
        *_confinement(o),
        "",
        "[Install]",
        f"WantedBy={'default' if o.user_unit else 'multi-user'}.target",
    ]
    return "\n".join(lines) + "\n"


def _identity(o: ServiceOptions) -> list[str]:
    return [
        f"User={o.user}" if o.user else "DynamicUser=yes",
        *([f"SupplementaryGroups={' '.join(o.needs.groups)}"] if o.needs.groups else []),
        "CapabilityBoundingSet=",
    ]


def _devices(needs: ServiceNeeds) -> list[str]:
    if needs.any_device:  # without ProtectClock, too: it allows one device, and so closes all others
        return []
    return [
        "DevicePolicy=closed",
        *(f"DeviceAllow={device} rw" for device in needs.devices),
        "ProtectClock=yes",
    ]


def foreign_folders(options: ServiceOptions) -> tuple[str, ...]:
    """Return the folders to be written that have to be there before a service of the system can start."""
    if options.user_unit:
        return ()
    return tuple(path for path in options.writes if not _within(path, (STATE_FOLDER,)))


def _files(o: ServiceOptions) -> list[str]:
    writes = foreign_folders(o)
    reads = (*o.reads, *((o.profiles,) if o.profiles else ()))
    hidden = sorted({path for path in reads if _within(path, _HIDDEN) and not _within(path, o.writes)})
    home = [path for path in writes if _within(path, _HIDDEN)]
    other = [path for path in writes if path not in home]
    return [
        "ProtectSystem=strict",
        "ProtectHome=tmpfs",
        *(f"BindReadOnlyPaths={_quoted(path)}" for path in hidden),
        *(f"BindPaths={_quoted(path)}" for path in home),
        *(f"ReadWritePaths={_quoted(path)}" for path in other),
        f"PrivateTmp={'no' if o.needs.any_device else 'yes'}",  # a Jetson's camera service listens in /tmp
        "ProtectControlGroups=yes",
        "ProtectHostname=yes",
        "ProtectKernelLogs=yes",
        "ProtectKernelModules=yes",
        *([] if o.needs.pulses else ["ProtectKernelTunables=yes"]),  # it makes /sys read-only
        "ProtectProc=invisible",
        "RemoveIPC=yes",
    ]


def _confinement(o: ServiceOptions) -> list[str]:
    families = ["AF_UNIX", *(["AF_INET", "AF_INET6"] * o.needs.network), *(["AF_NETLINK"] * o.needs.udev)]
    return [
        "NoNewPrivileges=yes",
        "LockPersonality=yes",
        *([] if o.needs.own_code else ["MemoryDenyWriteExecute=yes"]),
        f"RestrictAddressFamilies={' '.join(families)}",
        *([] if o.needs.network or o.user_unit else ["IPAddressDeny=any"]),
        "RestrictNamespaces=yes",
        "RestrictRealtime=yes",
        "RestrictSUIDSGID=yes",
        "SystemCallArchitectures=native",
        "SystemCallErrorNumber=EPERM",
        "SystemCallFilter=@system-service",
        "SystemCallFilter=~@privileged",
        "UMask=0027",
    ]


def _within(path: str, folders: Sequence[str]) -> bool:
    parts = PurePosixPath(path)
    return any(parts == PurePosixPath(f) or PurePosixPath(f) in parts.parents for f in folders)
