"""`ecovision-edge install-service`."""

from __future__ import annotations

import contextlib
import difflib
import glob
import os
import shlex
import stat
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ecovision_edge.base.files import is_file, is_folder, is_there
from ecovision_edge.cli.output import check_target, printable, write_file
from ecovision_edge.errors import EcovisionError, OptionError, RulesError

if TYPE_CHECKING:
    from ecovision_edge.service import ServiceOptions

__all__ = ["install_service"]


def install_service(
    arguments: Annotated[
        list[str] | None,
        typer.Argument(help="After --: the arguments of `ecovision-edge run`.", show_default=False),
    ] = None,
    write: Annotated[
        bool, typer.Option("--write", help="Write the unit; without it nothing is done.")
    ] = False,
    user: Annotated[
        bool, typer.Option("--user", help="A unit of your own, which can confine the service less.")
    ] = False,
    run_as: Annotated[
        str | None, typer.Option(help="The user who runs it; default: one that exists only while it runs.")
    ] = None,
    folder: Annotated[
        Path | None,
        typer.Option(help="Folder of units; default: /etc/systemd/system, or that of your own units."),
    ] = None,
) -> int:
    """Show, or write, a systemd unit that runs `ecovision-edge run` from the device's start, confined.

    Only the devices that the arguments name are open to it. Paths have to be absolute, and secrets stay out:
    they belong into /etc/ecovision-edge.env. What `run --check` refuses, in the environment that the service
    will have, is not written.

    Examples:

      ecovision-edge install-service -- --source /dev/video0 --http 127.0.0.1:8080 --output none

      sudo .venv/bin/ecovision-edge install-service --write -- --source rpicam:// --output none
    """
    from ecovision_edge.service import UNIT_NAME, environment_path, service_unit

    given, secrets = list(arguments or []), environment_path(user)
    options = _options(given, secrets, user=user, run_as=run_as)
    refusal = _refusal(given, secrets, options)
    if refusal is not None and write:
        raise refusal
    unit = service_unit(options)
    where = (folder or _folder(user)) / UNIT_NAME
    _show(unit, where)
    for note in _notes(options):
        print(f"\n{note}")
    control = "systemctl --user" if user else f"{_sudo()}systemctl"
    steps = f"{control} daemon-reload && {control} enable --now {UNIT_NAME}"
    if user:
        steps += " && loginctl enable-linger"  # or it ends when its user logs out
    if write:
        _write(unit, where, control, make_folder=user)
        print(f"\nwritten: {where}; now run: {steps}")
        return 0
    if refusal is not None:
        print(f"\nNothing was written, and with --write nothing would be: {printable(refusal.message)}")
        return refusal.exit_status
    command = _write_command(given, user=user, run_as=run_as, folder=folder)
    print(f"\nNothing was written. To write {where}, run: {command}\nthen: {steps}")
    return 0


def _options(given: list[str], secrets: Path, *, user: bool, run_as: str | None) -> ServiceOptions:
    """Return what the unit is to hold; no secret is in it."""
    from ecovision_edge.service import ServiceOptions, refuse_credentials, service_needs

    parameters = _parameters(given, secrets)
    source, sinks = str(parameters["source"]), [str(s) for s in parameters.get("sink") or ()]
    refuse_credentials(source, sinks, secrets, parameters["trigger"], parameters["update"])
    addresses = [*sinks, *_triggers(parameters)]
    if any(address.partition(":")[0].lower() == "keyboard" for address in addresses):
        raise OptionError("trigger of a service", expected="gpio:PIN or mqtt://HOST/TOPIC", found="keyboard:")
    return ServiceOptions(
        command=(sys.executable, "-m", "ecovision_edge", "run", *given),
        needs=service_needs(
            source,
            addresses,
            serves=parameters["http"] is not None or parameters["update"] is not None,
            delegate=parameters["delegate"] is not None,
            providers=any(word != "cpu" for word in _short_providers(parameters)),
        ),
        user=run_as,
        user_unit=user,
        reads=tuple(dict.fromkeys((*_own_folders(), *_reads(parameters, source, addresses)))),
        writes=tuple(dict.fromkeys(_writes(parameters, sinks))),
        profiles=_profiles(),
        updates=parameters["update"] is not None,
    )


def _notes(options: ServiceOptions) -> Iterator[str]:
    """Yield what has to be done besides, so that the service can start."""
    from ecovision_edge.service import STATE_FOLDER, foreign_folders

    for path in foreign_folders(options):
        if not is_folder(path):
            yield (
                f"{path} is not there, and the service does not start without it: make it first, for its"
                f" user, or choose one in {STATE_FOLDER}, which it has for itself"
            )
    if options.user is not None or options.user_unit:
        return
    for path in options.reads:
        if is_file(path) and not Path(path).stat().st_mode & stat.S_IROTH:
            yield (
                f"{path} cannot be read by the service, whose user is nobody of this machine: let all read"
                " it (chmod o+r), give --run-as USER, or put a secret into the environment file"
            )


def _write(unit: str, where: Path, control: str, *, make_folder: bool) -> None:
    if make_folder:
        where.parent.mkdir(parents=True, exist_ok=True)
    if where.exists() and not where.is_file():  # `systemctl mask` makes a link to /dev/null of it
        fix = f"if it is masked: {control} unmask {where.name}"
        raise OptionError(f"unit {where}", expected="a file to write to", found="no regular file", fix=fix)
    check_target(where, "unit")
    write_file([unit.encode()], where, "unit")


def _run_command() -> Any:
    from ecovision_edge.cli.run import run

    single = typer.Typer(add_completion=False, rich_markup_mode=None)
    single.command("run")(run)
    return typer.main.get_command(single)


def _parameters(arguments: Sequence[str], secrets: Path) -> dict[str, Any]:
    """Return what `run` makes of its arguments: a unit whose command is misuse would only fail later."""
    context = _run_command().make_context("ecovision-edge run", list(arguments))
    source = context.get_parameter_source("http_token")
    if source is not None and source.name == "COMMANDLINE":
        raise OptionError(
            "--http-token in a unit",
            expected="none: every user can read a unit",
            fix=f"write ECOVISION_EDGE_HTTP_TOKEN=... into {secrets}, of mode 0600",
        )
    parameters: dict[str, Any] = context.params
    return parameters


def _refusal(arguments: Sequence[str], secrets: Path, options: ServiceOptions) -> EcovisionError | None:
    """Return what `run --check` refuses in the environment that the service will have; None for nothing."""
    from ecovision_edge.profile import PROFILE_DIR_VARIABLE
    from ecovision_edge.service import STATE_FOLDER, service_environment

    given = {} if options.profiles is None else {PROFILE_DIR_VARIABLE: options.profiles}
    if options.updates and not options.user_unit:  # there its bundles are
        given["STATE_DIRECTORY"] = STATE_FOLDER
    try:
        with service_environment(secrets, given):
            command = _run_command()
            with command.make_context("ecovision-edge run", ["--check", *arguments]) as context:
                command.invoke(context)
    except EcovisionError as e:
        return e
    return None


def _write_command(arguments: Sequence[str], *, user: bool, run_as: str | None, folder: Path | None) -> str:
    """Return a shell's command that writes the unit: by whole path, since sudo does not look into a venv."""
    words = [sys.executable, "-m", "ecovision_edge", "install-service", "--write"]
    words += ["--user"] * user + (["--run-as", run_as] if run_as else [])
    words += ["--folder", str(folder)] if folder else []
    return f"{'' if user else _sudo()}{shlex.join([*words, '--', *arguments])}"


def _sudo() -> str:
    """Return what stands before a command that root alone may run."""
    return "" if os.geteuid() == 0 else "sudo "


def _own_folders() -> Iterator[str]:
    """Yield where Python and this package are: a virtual environment may be in somebody's home."""
    for folder in (sys.prefix, sys.base_prefix, str(Path(__file__).resolve().parents[2])):
        if folder not in ("/usr", "/usr/local"):
            yield folder


def _reads(parameters: dict[str, Any], source: str, sinks: Sequence[str]) -> Iterator[str]:
    from ecovision_edge.base.addresses import split_options
    from ecovision_edge.sinks.addresses import sink_paths

    for name in ("bundle", "bin", "update_root", "labelled", "recorded"):
        if parameters.get(name) is not None:
            yield str(parameters[name])
    if "/" in (library := parameters.get("delegate") or ""):  # without one it is looked for in the system
        yield library
    scheme = source.partition(":")[0].lower()
    if scheme == "file" or (":" not in source and not source.isdigit() and not source.startswith("/dev/")):
        path = split_options(source.removeprefix("file://").removeprefix("file:"))[0]
        yield _fixed_part(path)
    for sink in sinks:
        yield from sink_paths(sink).reads


def _triggers(parameters: dict[str, Any]) -> list[str]:
    """Return the address of the trigger, on the command line or in the rules, if there is one."""
    from ecovision_edge.rules import Rules

    address = parameters["trigger"]
    if address is None and parameters["bin"] is not None:
        with contextlib.suppress(RulesError):  # which `run --check` tells of
            address = Rules.load(parameters["bin"]).decision.trigger
    return [] if address is None else [address]


def _short_providers(parameters: dict[str, Any]) -> list[str]:
    """Return the execution providers that are named, each as `cuda`."""
    words = str(parameters["providers"] or "cpu").lower().split(",")
    return [word.strip().removesuffix("executionprovider") for word in words]


def _fixed_part(path: str) -> str:
    """Return the folder above the first star of a pattern."""
    while glob.has_magic(path) and not is_there(path):
        path = os.path.dirname(path)  # noqa: PTH120
    return path


def _writes(parameters: dict[str, Any], sinks: Sequence[str]) -> Iterator[str]:
    from ecovision_edge.sinks.addresses import sink_paths

    for name in ("record", "capture_hard", "store"):
        if parameters.get(name) is not None:
            yield str(parameters[name])
    summary = parameters.get("summary")
    if summary is not None and str(summary) != "-":
        yield str(summary.parent)
    tray = parameters.get("tray")
    if tray is not None and tray != "none":
        yield str(Path(tray).parent)
    for word in parameters.get("provider_option") or ():
        name, _, value = word.partition("=")
        if name.endswith("_path"):  # TensorRT's engines and timings
            yield value
    for sink in sinks:
        yield from sink_paths(sink).writes


def _profiles() -> str | None:
    from ecovision_edge.profile.store import profile_folder

    folder = profile_folder()
    return str(folder) if folder.is_absolute() and folder.is_dir() else None


def _folder(user: bool) -> Path:
    if not user:
        return Path("/etc/systemd/system")
    from ecovision_edge.service.environment import user_config_folder

    return user_config_folder() / "systemd" / "user"


def _show(unit: str, where: Path) -> None:
    """Print the unit, or how it differs from the one that is there."""
    try:
        before = where.read_text("utf-8", "replace")
    except FileNotFoundError:
        print(unit, end="")
        return
    except OSError as e:
        raise OptionError(f"unit {where}", expected="a file that can be read", found=e.strerror) from e
    if before == unit:
        print(f"{where} is as it should be")
        return
    name = str(where)
    lines = difflib.unified_diff(before.splitlines(), unit.splitlines(), name, f"{name} (new)", lineterm="")
    print("\n".join(printable(line) for line in lines))
