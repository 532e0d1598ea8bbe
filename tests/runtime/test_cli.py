"""Facts about the command line: what it prints where, and its exit status."""

import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys

import cv2
import pytest

from ecovision_edge import __version__
from ecovision_edge.cli.app import COMMANDS, main
from ecovision_edge.photographs import images
from ecovision_edge.simulation.synthetic import draw_frame

ENVIRONMENT = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}


@pytest.fixture
def cli(capsys):
    """Run `main` here; gives exit status, standard output and standard error."""

    def run(*arguments):
        status = main([str(a) for a in arguments])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run


@pytest.fixture
def command(python):
    """Run the command in a process of its own, buffered as a user's shell has it."""

    def run(*arguments, env=None, **options):
        return python("-m", "ecovision_edge", *arguments, env={**ENVIRONMENT, **(env or {})}, **options)

    return run


def in_shell(line):
    shell = ["/bin/sh", "-c", line]
    return subprocess.run(shell, capture_output=True, check=False, timeout=120, env=ENVIRONMENT)


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photo.png"
    cv2.imwrite(str(path), draw_frame(1, 64, 48))
    return path


def one_line(text):
    """An error as users see it: one line, with the program's name."""
    return text.startswith("ecovision-edge: ") and text.count("\n") == 1 and text.endswith("\n")


def test_an_image_is_classified(cli, photo, pristine):
    """A line with name, label, score and time; nothing on standard error."""
    status, out, err = cli("classify", photo, "--bundle", pristine)
    assert (status, err) == (0, "")
    assert re.fullmatch(rf"{re.escape(str(photo))}  (blue|green|red) [01]\.\d{{3}}  \d+\.\d ms\n", out)


def test_the_reference_is_the_default_bundle(cli, photo):
    """`ecovision-edge classify photo.jpg`, just installed."""
    status, out, _ = cli("classify", photo)
    assert status == 0
    assert len(out.splitlines()) == 1


def test_a_large_jpeg_is_decoded_as_small_as_will_do(cli, tmp_path, pristine, monkeypatch):
    """Its pixels are not all needed; `--whole` asks for them nonetheless."""
    decoded, decode = [], cv2.imdecode
    monkeypatch.setattr(cv2, "imdecode", lambda data, flags: decoded.append(flags) or decode(data, flags))
    cv2.imwrite(str(tmp_path / "photo.jpg"), draw_frame(1, 640, 480))
    small = cli("classify", tmp_path / "photo.jpg", "--bundle", pristine)[1]
    whole = cli("classify", tmp_path / "photo.jpg", "--bundle", pristine, "--whole")[1]
    assert decoded == [cv2.IMREAD_REDUCED_COLOR_8, cv2.IMREAD_COLOR]
    assert small.split()[1] == whole.split()[1]


def test_top_prints_more_classes_in_order(cli, photo, pristine):
    """At most those there are."""
    _, out, _ = cli("classify", photo, "-b", pristine, "--top", 2)
    _, all_of_them, _ = cli("classify", photo, "-b", pristine, "--top", 1000)
    assert len(re.findall(r"(?:blue|green|red) ", out)) == 2
    scores = [float(s) for s in re.findall(r" (\d\.\d{3})", all_of_them)]
    assert len(scores) == 3
    assert scores == sorted(scores, reverse=True)


def test_a_folder_is_classified_in_order(cli, photo, pristine, tmp_path):
    """Images below it, sorted."""
    (tmp_path / "sub").mkdir()
    for name in ("a.png", "sub/z.png"):
        shutil.copy(photo, tmp_path / name)
    status, out, _ = cli("classify", tmp_path, "--bundle", pristine)
    names = [line.split("  ")[0].removeprefix(f"{tmp_path}/") for line in out.splitlines()]
    assert (status, names) == (0, ["a.png", "photo.png", "sub/z.png"])


def test_demo_needs_no_image(cli, pristine):
    """Eight synthetic frames."""
    status, out, _ = cli("classify", "demo:", "--bundle", pristine)
    assert status == 0
    assert [line.split()[0] for line in out.splitlines()] == [f"demo:{i}" for i in range(8)]


def test_json_on_standard_output_is_all_there_is(cli, photo, pristine):
    """With all probabilities and the timings; an unreadable file is counted, and told on standard error."""
    status, out, err = cli("classify", photo, "none.png", "--bundle", pristine, "--json", "-")
    value = json.loads(out)
    assert status == 1
    assert one_line(err)
    assert (value["artifact"], value["failed"], len(value["images"])) == ("int8-onnx", 1, 1)
    image = value["images"][0]
    assert set(image) == {"image", "label", "index", "score", "margin", "probabilities", "timings_ms"}
    assert list(image["probabilities"]) == ["blue", "green", "red"]
    assert image["probabilities"][image["label"]] == image["score"] == max(image["probabilities"].values())
    assert set(image["timings_ms"]) == {"prepare", "infer", "post", "total"}


def test_json_into_a_file_leaves_the_lines(cli, photo, pristine, tmp_path):
    """The file is whole, and nothing else is left beside it."""
    target = tmp_path / "out" / "result.json"
    target.parent.mkdir()
    status, out, _ = cli("classify", photo, "--bundle", pristine, "--json", target)
    assert status == 0
    assert out
    assert len(json.loads(target.read_text())["images"]) == 1
    assert [p.name for p in target.parent.iterdir()] == ["result.json"]


def test_json_where_nothing_can_be_written_is_misuse(cli, pristine, tmp_path):
    """A folder that is not there, a folder itself; nothing half-written stays."""
    for target in (tmp_path / "none" / "x.json", tmp_path):
        status, _, err = cli("verify", pristine, "--json", target)
        assert status == 2
        assert "--json" in err
        assert one_line(err)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("target", [".", "/", ""])
def test_json_into_no_name_is_misuse(cli, pristine, target):
    """As into any other folder."""
    status, _, err = cli("verify", pristine, "--json", target)
    assert status == 2
    assert one_line(err)


@pytest.mark.parametrize("content", [None, b"", b"no image"])
def test_an_image_that_cannot_be_read_is_passed_over(cli, photo, pristine, tmp_path, content):
    """The others are classified; the exit status says that not all went well."""
    bad = tmp_path / "bad.jpg"
    if content is not None:
        bad.write_bytes(content)
    status, out, err = cli("classify", bad, photo, "--bundle", pristine)
    assert status == 1
    assert one_line(err)
    assert "bad.jpg" in err
    assert len(out.splitlines()) == 1


def test_an_image_beyond_all_sizes_is_passed_over(cli, photo, pristine, tmp_path):
    """A panorama of 40,000 pixels among photographs, as any other file that is of no use."""
    wide = draw_frame(0, 40_000, 2)
    cv2.imwrite(str(tmp_path / "wide.png"), wide)
    status, out, err = cli("classify", tmp_path / "wide.png", photo, "--bundle", pristine)
    assert status == 1
    assert one_line(err)
    assert len(out.splitlines()) == 1


def test_a_folder_without_images_is_told(cli, pristine, tmp_path):
    """Silence would look like success."""
    status, out, err = cli("classify", tmp_path, "--bundle", pristine)
    assert (status, out) == (1, "")
    assert "no image in" in err
    (tmp_path / "a.heic").touch()
    assert "found none, but 1 .heic" in cli("classify", tmp_path, "--bundle", pristine)[2]


def test_what_is_passed_over_in_a_folder_is_told(cli, photo, pristine, tmp_path):
    """On standard error; what was asked for went well."""
    (tmp_path / "a.heic").touch()
    status, out, err = cli("classify", tmp_path, "--bundle", pristine)
    assert (status, len(out.splitlines())) == (0, 1)
    assert one_line(err)
    assert "passed over 1 .heic" in err


@pytest.mark.slow
def test_standard_input_is_an_image(command, photo, pristine):
    """`... | ecovision-edge classify -`; nothing in it is an error."""
    ran = command("classify", "-", "--bundle", pristine, input=photo.read_bytes())
    assert (ran.returncode, ran.stderr) == (0, b"")
    assert ran.stdout.startswith(b"-  ")
    ran = command("classify", "-", "--bundle", pristine, input=b"")
    assert ran.returncode == 1
    assert b"standard input" in ran.stderr


def test_standard_input_is_bounded_as_files_are(monkeypatch, cli, photo, pristine):
    """Of an endless pipe no more is read than of a file, and a bomb is not decoded."""
    monkeypatch.setattr(images, "MAX_IMAGE_BYTES", 1000)
    endless = io.BufferedReader(Zeros())
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(endless))
    status, out, err = cli("classify", "-", "--bundle", pristine)
    assert (status, out) == (1, "")
    assert err == "ecovision-edge: standard input is too large: expected at most 1000 bytes\n"


class Zeros(io.RawIOBase):
    """A pipe without an end."""

    def readable(self):
        return True

    def readinto(self, buffer):
        buffer[:] = bytes(len(buffer))
        return len(buffer)


def test_a_name_that_would_drive_the_terminal_is_escaped(cli, photo, pristine, tmp_path):
    """Control characters in a file's name, and bytes that are no text."""
    for name in (b"\x1b[2J.png", b"\xff.png"):
        shutil.copy(photo, os.fsencode(tmp_path) + b"/" + name)
    status, out, _ = cli("classify", tmp_path, "--bundle", pristine, "--json", tmp_path / "x.json")
    assert status == 0
    assert "\x1b" not in out
    assert "\\x1b[2J.png" in out
    assert "\\udcff.png" in out
    assert len(json.loads((tmp_path / "x.json").read_text())["images"]) == 3


def test_inspect_shows_a_bundle(cli, pristine):
    """Contract, artifacts, provenance; as lines and as JSON."""
    status, out, err = cli("inspect", pristine)
    assert (status, err) == (0, "")
    assert "labels: blue, green, red" in out
    assert "fp32-onnx" in out
    status, out, _ = cli("inspect", pristine, "--json", "-")
    value = json.loads(out)
    assert status == 0
    assert value["contract"]["labels"] == ["blue", "green", "red"]
    assert set(value["artifacts"]) == {"fp32-onnx", "int8-onnx"}
    assert value["provenance"] == {"by": "test"}
    digest = hashlib.sha256((pristine / "bundle.json").read_bytes()).hexdigest()
    assert (value["name"], value["version"], value["id"]) == ("tiny", digest[:12], digest)  # given none


def test_verify_says_which_bundle_it_is(cli, forge, tmp_path):
    """Its name, version and id; where the manifest cannot be read, nothing."""
    folder = forge.bundle(tmp_path / "bundle", provenance={"bundle_version": "2.1"})
    digest = hashlib.sha256((folder / "bundle.json").read_bytes()).hexdigest()
    status, out, _ = cli("verify", folder)
    first = f"ok     manifest: tiny 2.1, id {digest}; 2 artifacts, 3 labels"
    assert (status, out.splitlines()[0]) == (0, first)
    _, out, _ = cli("verify", folder, "--json", "-")
    assert json.loads(out)["bundle"] == {"name": "tiny", "version": "2.1", "id": digest}
    (folder / "bundle.json").write_text("{}")
    status, out, _ = cli("verify", folder, "--json", "-")
    assert (status, json.loads(out)["bundle"]) == (1, None)


def test_inspect_shows_a_lone_model(cli, pristine):
    """What it carries."""
    status, out, _ = cli("inspect", pristine / "model.int8.onnx", "--json", "-")
    assert status == 0
    assert json.loads(out)["contract"]["labels"] == ["blue", "green", "red"]


@pytest.mark.parametrize("text", ["\x1b[2J", "\ud800"])
def test_inspect_escapes_what_would_drive_the_terminal(cli, forge, bundle, text):
    """Provenance is free-form: anything may stand there."""
    forge.edit(bundle, lambda d: d["provenance"].update(by=text))
    status, out, _ = cli("inspect", bundle)
    assert status in (0, 1)
    assert text not in out


@pytest.mark.parametrize("value", ["1e999", '"\\ud800"'])
def test_inspect_gives_json_or_a_typed_error(cli, bundle, value):
    """An infinite number, half a character: no traceback."""
    path = bundle / "bundle.json"
    path.write_text(path.read_text().replace('"by": "test"', f'"by": {value}'))
    status, out, _ = cli("inspect", bundle, "--json", "-")
    assert status == 1 or json.loads(out)


def test_verify_says_what_it_checked(cli, pristine):
    """One line per check, and the verdict with the CPU."""
    status, out, err = cli("verify", pristine)
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert all(line.startswith("ok ") for line in lines[:-1])
    assert len(lines) == 7
    assert lines[-1].startswith("verified on ")


def test_verify_takes_the_reference_by_default(cli):
    """On this CPU."""
    assert cli("verify")[0] == 0


def test_verify_of_a_damaged_bundle_is_a_failed_check(cli, bundle):
    """Status 1, the failed check marked; in JSON too."""
    (bundle / "model.int8.onnx").write_bytes(b"x")
    status, out, _ = cli("verify", bundle)
    assert status == 1
    assert "FAILED model.int8.onnx" in out
    assert out.splitlines()[-1].startswith("NOT verified")
    status, out, _ = cli("verify", bundle, "--json", "-")
    assert status == 1
    assert json.loads(out)["ok"] is False


@pytest.mark.parametrize(
    "arguments",
    [
        *[["nonsense"], ["classify"], ["classify", "--nonsense"], ["classify", "x.png", "--top"]],
        *[["classify", "x.png", "--threads", "two"], ["--nonsense"], ["verify", "a", "b"]],
        *[["verify", "no-such-folder"], ["inspect", "no-such-folder"], ["classify", "x", "--bundle", "none"]],
        *[["classify", "demo:", "--top", "0"], ["classify", "demo:", "--top", "1001"]],
        *[["classify", "demo:", "--threads", "0"], ["classify", "demo:", "--artifact", "int4"]],
        *[["verify", "--threads", "9999"], ["export"], ["parity"]],
    ],
    ids=" ".join,
)
def test_misuse_is_one_line_and_status_2(cli, arguments):
    """No usage screen, no traceback, nothing on standard output."""
    status, out, err = cli(*arguments)
    assert (status, out) == (2, "")
    assert one_line(err), err


def test_an_error_of_the_parser_points_to_the_help(cli):
    """Of the command that was meant."""
    assert "see ecovision-edge --help" in cli("nonsense")[2]
    assert "see ecovision-edge classify --help" in cli("classify", "--nonsense")[2]


def test_a_pattern_that_the_shell_unfolded_is_told_in_short(cli):
    """The first few of its names, and what to do, however many they are."""
    status, out, err = cli("run", "--source", *[f"photos/{i:04}.jpg" for i in range(1000)])
    assert (status, out) == (2, "")
    assert len(err) < 300
    assert "quote it" in err
    assert "see ecovision-edge run --help" in err


def test_debug_shows_the_traceback(cli):
    """The error itself comes through."""
    with pytest.raises(FileNotFoundError):
        cli("--debug", "verify", "no-such-folder")


def test_a_model_that_is_none_is_status_1(cli, tmp_path):
    """The file was found, and is not good."""
    (tmp_path / "x.onnx").write_bytes(b"x")
    status, out, err = cli("inspect", tmp_path / "x.onnx")
    assert (status, out) == (1, "")
    assert one_line(err)


def test_no_arguments_show_the_help(cli):
    """As it is, with status 2."""
    status, out, err = cli()
    assert status == 2
    assert (out + err).startswith("Usage: ecovision-edge")


def test_the_version_is_printed(cli):
    """And nothing else."""
    assert cli("--version") == (0, f"ecovision-edge {__version__}\n", "")


@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_lists_every_command(cli, flag):
    """With the line that says what it does, and examples."""
    status, out, _ = cli(flag)
    assert status == 0
    assert "Examples" in out
    for name, command in COMMANDS.items():
        assert re.search(rf"^  {name} +{re.escape(command.help[:30])}", out, re.MULTILINE)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_examples(cli, name):
    """`COMMAND --help` shows whole commands that start with the program's name."""
    status, out, _ = cli(name, "--help")
    assert status == 0
    assert "Examples" in out
    assert f"\n    ecovision-edge {name} " in out or f"\n    ecovision-edge {name}\n" in out


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_can_be_shown(command, shell):
    """A script for the shell that names the program."""
    ran = command("--show-completion", shell, env={"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"})
    assert ran.returncode == 0, ran.stderr
    assert b"ecovision-edge" in ran.stdout


@pytest.mark.slow
def test_completion_offers_every_command(command):
    """As bash asks for it."""
    env = {"_ECOVISION_EDGE_COMPLETE": "complete_bash", "COMP_WORDS": "ecovision-edge ", "COMP_CWORD": "1"}
    ran = command(env=env)
    assert set(COMMANDS) <= set(ran.stdout.decode().split()), ran


@pytest.mark.slow
def test_the_installed_program_is_the_same(pristine):
    """`ecovision-edge`, as pip made it."""
    program = shutil.which("ecovision-edge", path=os.path.dirname(sys.executable))  # noqa: PTH120
    assert program
    ran = subprocess.run([program, "verify", str(pristine)], capture_output=True, check=False, timeout=120)
    assert (ran.returncode, ran.stderr) == (0, b"")


@pytest.mark.slow
def test_a_pipe_into_head_is_no_error(command, pristine):
    """`classify demo: | head -1`: one line, and no complaint."""
    line = f"{sys.executable} -m ecovision_edge classify demo: --bundle {pristine} | head -1"
    ran = subprocess.run(
        ["/bin/sh", "-c", line], capture_output=True, check=False, timeout=120, env=ENVIRONMENT
    )
    assert ran.stdout.count(b"\n") == 1
    assert ran.stderr == b""


ALL = [
    *[["--help"], ["--version"], ["inspect"], ["verify"], ["classify", "demo:"]],
    *[["inspect", "--json", "-"], ["verify", "--json", "-"], ["classify", "demo:", "--json", "-"]],
]


@pytest.mark.slow
@pytest.mark.parametrize("arguments", ALL, ids=" ".join)
def test_a_reader_that_is_gone_is_no_error(command, arguments):
    """Standard output closed before the first byte, as `| head` may: status 0 and silence."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        ran = command(*arguments, stdout=writer, stderr=subprocess.PIPE, capture_output=False)
    finally:
        os.close(writer)
    assert (ran.returncode, ran.stderr) == (0, b"")


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs Linux's /dev/full")  # noqa: PTH110
@pytest.mark.parametrize("arguments", [["--version"], ["verify"], ["verify", "--json", "-"]], ids=" ".join)
def test_a_full_disk_is_one_line(command, arguments):
    """`> file` where nothing fits any more."""
    with open("/dev/full", "wb") as full:  # noqa: PTH123
        ran = command(*arguments, stdout=full, stderr=subprocess.PIPE, capture_output=False)
    assert ran.returncode == 1
    assert one_line(ran.stderr.decode())


@pytest.mark.slow
@pytest.mark.parametrize("json_option", [[], ["--json", "-"]])
def test_a_terminal_without_unicode_gets_what_it_can_show(command, photo, pristine, tmp_path, json_option):
    """A file name beyond ASCII is no traceback."""
    shutil.copy(photo, tmp_path / "fötö.png")
    env = {"PYTHONIOENCODING": "ascii"}
    ran = command("classify", tmp_path / "fötö.png", "--bundle", pristine, *json_option, env=env)
    assert (ran.returncode, ran.stderr) == (0, b"")


@pytest.mark.slow
def test_no_standard_input_at_all_is_one_line(pristine):
    """`classify - <&-`, as a service without one."""
    line = f"{sys.executable} -m ecovision_edge classify - --bundle {pristine} <&-"
    ran = subprocess.run(
        ["/bin/sh", "-c", line], capture_output=True, check=False, timeout=120, env=ENVIRONMENT
    )
    assert ran.returncode in (1, 2)
    assert one_line(ran.stderr.decode())
