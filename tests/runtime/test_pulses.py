"""Facts about a servo on the kernel's PWM, on folders that are as `/sys/class/pwm` shows them."""

import errno
import os
from pathlib import Path

import pytest

from ecovision_edge.errors import PinError
from ecovision_edge.pins.pulses import HardwareServo, find_channel

RANGE = {"min_angle": -90, "max_angle": 90, "min_pulse_width": 0.001, "max_pulse_width": 0.002}


def make_chip(root, number, device):
    """A chip of that device, with the channels 0 to 3 as if somebody had exported them."""
    chip = root / f"pwmchip{number}"
    (root / "devices" / device).mkdir(parents=True)
    chip.mkdir()
    (chip / "device").symlink_to(root / "devices" / device)
    (chip / "export").touch()
    for channel in range(4):
        (chip / f"pwm{channel}").mkdir()
        for name in ("duty_cycle", "enable", "period"):
            (chip / f"pwm{channel}" / name).write_text("0")
    return chip


def said(chip, channel):
    """What stands in a channel: pulse and period in ns, and whether it runs."""
    folder = chip / f"pwm{channel}"
    return tuple(int((folder / name).read_text()) for name in ("duty_cycle", "period", "enable"))


@pytest.mark.parametrize(
    ("device", "pin", "channel"),
    [
        ("1f00098000.pwm", 12, 0),
        ("1f00098000.pwm", 18, 2),
        ("1f00098000.pwm", 19, 3),
        ("fe20c000.pwm", 18, 0),
        ("3f20c000.pwm", 13, 1),
        ("20c000.pwm", 19, 1),
    ],
)
def test_a_pin_has_the_channel_of_its_board(tmp_path, device, pin, channel):
    """A Pi 5, a Pi 4, a Pi 3; the fan of a Pi 5 has a chip of its own."""
    make_chip(tmp_path, 0, "1f0009c000.pwm")
    chip = make_chip(tmp_path, 2, device)
    assert find_channel(pin, tmp_path) == (chip, channel)
    assert find_channel(17, tmp_path) is None


def test_without_the_overlay_there_is_no_channel(tmp_path):
    """Nor without any chip."""
    assert find_channel(18, tmp_path) is None
    make_chip(tmp_path, 0, "1f0009c000.pwm")
    assert find_channel(18, tmp_path) is None


def test_a_servo_gets_pulses_of_the_width_of_its_angle(tmp_path):
    """50 a second, from 1 to 2 ms; none once it is detached or closed."""
    chip = make_chip(tmp_path, 0, "fe20c000.pwm")
    servo = HardwareServo(chip, 1, initial_angle=0, **RANGE)
    assert (servo.angle, said(chip, 1)) == (0, (1_500_000, 20_000_000, 1))
    for angle, width in ((-90, 1_000_000), (90, 2_000_000), (45, 1_750_000)):
        servo.angle = angle
        assert said(chip, 1) == (width, 20_000_000, 1)
    servo.detach()
    assert (servo.angle, said(chip, 1)[2]) == (None, 0)
    servo.angle = 0
    servo.close()
    servo.close()
    assert said(chip, 1)[2] == 0
    assert said(chip, 0) == (0, 0, 0)


def test_a_new_channel_of_an_older_kernel_is_given_its_period_first(tmp_path, monkeypatch):
    """Before Linux 6.11 all else is refused while there is none."""
    chip = make_chip(tmp_path, 0, "fe20c000.pwm")
    write = Path.write_text

    def refuse(path, text, *rest):
        if path.name in ("enable", "duty_cycle") and (path.parent / "period").read_text() == "0":
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        return write(path, text, *rest)

    monkeypatch.setattr(Path, "write_text", refuse)
    servo = HardwareServo(chip, 0, initial_angle=0, **RANGE)
    assert said(chip, 0) == (1_500_000, 20_000_000, 1)
    servo.close()


def test_a_channel_is_exported_and_its_files_are_waited_for(tmp_path, monkeypatch):
    """udev gives them to the group a moment later."""
    chip = make_chip(tmp_path, 0, "fe20c000.pwm")
    hidden = tmp_path / "hidden"
    (chip / "pwm0").rename(hidden)
    write, opened, waits = Path.write_text, os.open, []

    def export(path, text, *rest):
        if path == chip / "export":
            hidden.rename(chip / f"pwm{text}")
        return write(path, text, *rest)

    def not_yet(path, *rest):
        if Path(path) == chip / "pwm0/duty_cycle" and not waits:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return opened(path, *rest)

    monkeypatch.setattr(Path, "write_text", export)
    monkeypatch.setattr(os, "open", not_yet)
    servo = HardwareServo(chip, 0, initial_angle=0, wait=waits.append, **RANGE)
    assert waits == [0.05]
    assert said(chip, 0)[2] == 1
    servo.close()


def test_a_channel_that_another_process_has_is_one_clear_error(tmp_path):
    """Its lock ends with that process, not with its folder."""
    chip = make_chip(tmp_path, 0, "fe20c000.pwm")
    servo = HardwareServo(chip, 0, initial_angle=0, **RANGE)
    with pytest.raises(PinError, match="pwm0 is held by another process; end it, or take another pin"):
        HardwareServo(chip, 0, initial_angle=90, **RANGE)
    assert said(chip, 0)[0] == 1_500_000
    servo.close()
    HardwareServo(chip, 0, initial_angle=90, **RANGE).close()


@pytest.mark.parametrize(
    ("number", "says"),
    [
        (errno.EACCES, "Permission denied; run: sudo usermod -aG gpio"),
        (errno.EROFS, "Read-only file system; let it write below /sys: .* install-service"),
        (errno.EINVAL, "Invalid argument$"),
    ],
)
def test_what_the_kernel_refuses_is_a_typed_error(tmp_path, monkeypatch, number, says):
    """At the start, and later; the channel is let go."""
    chip = make_chip(tmp_path, 0, "fe20c000.pwm")
    write, refused = Path.write_text, {"period"}

    def refuse(path, text, *rest):
        if path.name in refused:
            raise OSError(number, os.strerror(number))
        return write(path, text, *rest)

    monkeypatch.setattr(Path, "write_text", refuse)
    with pytest.raises(PinError, match=f"pwm0 cannot be used: {says}"):
        HardwareServo(chip, 0, initial_angle=0, **RANGE)
    refused.clear()
    servo = HardwareServo(chip, 0, initial_angle=0, **RANGE)
    refused.add("duty_cycle")
    with pytest.raises(PinError, match="pwm0 cannot be used"):
        servo.angle = 10
    servo.close()


def test_a_channel_that_cannot_be_exported_is_a_typed_error(tmp_path):
    """No such chip any more."""
    with pytest.raises(PinError, match="pwm0 cannot be used"):
        HardwareServo(tmp_path / "pwmchip0", 0, initial_angle=0, **RANGE)
