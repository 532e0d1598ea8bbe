"""Facts about what the doctor says of cameras, and about asking a device of Video4Linux."""

import errno
import struct

import pytest
from tests.runtime.machine_trees import jetson_orin, put, raspberry_pi, system_of, x86

from ecovision_edge.doctor import Output
from ecovision_edge.doctor.cameras import check_cameras, read_rpicam_list
from ecovision_edge.doctor.v4l2 import ENUM_FMT, ENUM_FRAMESIZES, QUERYCAP, Capture, Mode, read_capture

MODES = (Mode("MJPG", 1920, 1080), Mode("YUYV", 640, 480))
WEBCAM = Capture("uvcvideo", "HD Webcam", "usb-0000:01:00.0-1", MODES)
CODEC = Capture("bcm2835-isp", "bcm2835-isp", "platform:bcm2835-isp", (Mode("RGB3", 0, 0),))
RPICAM = """Available cameras
-----------------
0 : imx708_wide [4608x2592 10-bit RGGB] (/base/axi/pcie@120000/rp1/i2c@88000/imx708@1a)
    Modes: 'SRGGB10_CSI2P' : 1536x864 [120.13 fps - (768, 432)/3072x1728 crop]
                             2304x1296 [56.03 fps - (0, 0)/4608x2592 crop]

1 : ov5647 [2592x1944 10-bit GBRG] (/base/axi/pcie@120000/rp1/i2c@80000/ov5647@36)
"""


def driver(caps, formats):
    """A driver's ioctls: its capabilities, and sizes (or a range of them) of each format."""

    def ioctl(file, request, told):
        assert file >= 0
        index, second = struct.unpack_from("=II", told)
        if request == QUERYCAP:
            names = (b"uvcvideo", b"HD Webcam", b"usb-1")
            struct.pack_into("=16s32s32sIII", told, 0, *names, 0, 0x84A00001, caps)
        elif request == ENUM_FMT and index < len(formats):
            assert second == (9 if caps & 0x1000 else 1)
            told[44:48] = [*formats][index]
        elif request == ENUM_FRAMESIZES and index < len(formats[struct.pack("=I", second)]):
            size = formats[struct.pack("=I", second)][index]
            kind = 1 if len(size) == 2 else 3
            struct.pack_into(f"=I{len(size)}I", told, 8, kind, *size)
        else:
            raise OSError(errno.EINVAL, "Invalid argument")
        return 0

    return ioctl


def test_a_device_tells_its_formats_with_the_largest_size_of_each(tmp_path):
    """Of sizes, of a range, and where the driver says nothing."""
    formats = {
        b"MJPG": [(640, 480), (1920, 1080), (800, 600)],
        b"YUYV": [(16, 640, 8, 16, 480, 8)],
        b"GREY": [],
    }
    found = read_capture(put(tmp_path, "video0"), driver(0x04200001, formats))
    modes = (Mode("MJPG", 1920, 1080), Mode("YUYV", 640, 480), Mode("GREY", 0, 0))
    assert found == Capture("uvcvideo", "HD Webcam", "usb-1", modes)
    assert ", ".join(map(str, modes)) == "MJPG to 1920x1080, YUYV to 640x480, GREY"
    several = read_capture(put(tmp_path, "video1"), driver(0x04201000, {b"NV12": []}))
    assert several.modes == (Mode("NV12", 0, 0),)


@pytest.mark.parametrize("caps", [0x04A00000, 0x04204000, 0x04208000 | 1, 0x04200002])
def test_a_device_of_metadata_a_codec_and_an_output_give_no_pictures(tmp_path, caps):
    """By what the device itself can do, not the whole camera."""
    assert read_capture(put(tmp_path, "video0"), driver(caps, {})) is None


def test_what_is_no_device_is_an_error(tmp_path):
    """A plain file has no such ioctl."""
    with pytest.raises(OSError, match="Errno"):
        read_capture(put(tmp_path, "video0"))


def devices(root, *names):
    """Devices of the kernel's; the last one is of metadata."""
    for number, name in enumerate(names):
        put(root, f"dev/video{number}")
        put(root, f"sys/class/video4linux/video{number}/name", name)
        put(root, f"sys/class/video4linux/video{number}/index", "0")
    put(root, f"dev/video{len(names)}")
    put(root, f"sys/class/video4linux/video{len(names)}/index", "1")


def test_a_camera_is_told_with_its_modes(tmp_path):
    """And its second device, for metadata, is not."""
    x86(tmp_path)
    devices(tmp_path, "HD Webcam")
    [check] = check_cameras(system_of(tmp_path), read=lambda path: WEBCAM)
    assert check.name == "camera /dev/video0"
    assert (check.state, check.found) == ("ok", "HD Webcam: MJPG to 1920x1080, YUYV to 640x480")


def test_a_pi_s_own_devices_are_passed_over_and_its_program_is_asked(tmp_path):
    """Codecs are no cameras."""
    raspberry_pi(tmp_path)
    devices(tmp_path, "HD Webcam", "bcm2835-isp")
    system = system_of(tmp_path, {"rpicam-vid": Output(0, RPICAM)})
    read = {"video0": WEBCAM, "video1": CODEC}
    checks = list(check_cameras(system, read=lambda path: read[path.name]))
    assert [check.name for check in checks] == [
        "camera /dev/video0",
        "camera rpicam://0",
        "camera rpicam://1",
    ]
    assert checks[1].found == "imx708_wide, 4608x2592"


@pytest.mark.parametrize(
    ("outputs", "words"),
    [
        ({}, "apt-get install rpicam-apps-lite"),
        ({"libcamera-vid": Output(0, "No cameras available!\n")}, "ribbon cable"),
    ],
)
def test_a_pi_without_its_program_or_its_camera(tmp_path, outputs, words):
    """Both are warnings, for a camera at USB will do."""
    raspberry_pi(tmp_path)
    [check] = check_cameras(system_of(tmp_path, outputs), read=lambda path: None)
    assert check.state == "warn"
    assert words in check.advice


def test_a_pi_s_camera_that_may_not_be_used(tmp_path):
    """Its program lists none then, and does not say why."""
    raspberry_pi(tmp_path)
    put(tmp_path, "dev/dma_heap/linux,cma")
    outputs = {"rpicam-vid": Output(0, "No cameras available!")}
    [check] = check_cameras(system_of(tmp_path, outputs, may_use=lambda path: False))
    assert (check.name, check.state) == ("camera rpicam", "fail")
    assert "usermod -aG video pi" in check.advice


def test_no_camera_at_all_and_a_jetson_s_own(tmp_path):
    """What fits the board is named."""
    [check] = check_cameras(system_of(tmp_path / "none"))
    assert (check.state, check.found) == ("warn", "none")
    jetson_orin(tmp_path)
    [check] = check_cameras(system_of(tmp_path))
    assert "csi://0" in check.advice


@pytest.mark.parametrize(
    ("user", "group", "advice"),
    [
        ("pi", 44, "log in again after this; run: sudo usermod -aG video pi"),
        ("someone", 44, "log in again"),
        ("pi", 0, "udev"),
        ("pi", 99, "sudo usermod -aG 99 pi"),
    ],
)
def test_the_wrong_group(tmp_path, user, group, advice):
    """One line for all devices; who is in the group since the last login only is told so."""
    x86(tmp_path)
    devices(tmp_path, "HD Webcam", "Another")
    options = {"may_use": lambda path: False, "group_of": lambda path: group, "user": user}
    [check] = check_cameras(system_of(tmp_path, **options), read=lambda path: pytest.fail("opened"))
    assert (check.name, check.state) == ("camera", "fail")
    assert "/dev/video0, /dev/video1" in check.found
    assert advice in check.advice


def test_a_camera_that_does_not_answer(tmp_path):
    """Its driver says why."""

    def broken(path):
        raise OSError(5, "Input/output error")

    devices(tmp_path, "HD Webcam")
    [check] = check_cameras(system_of(tmp_path), read=broken)
    assert (check.state, check.found) == ("fail", "does not answer: Input/output error")


def test_a_camera_that_another_program_has(tmp_path):
    """Probably the bin: no fault."""

    def busy(path):
        raise OSError(errno.EBUSY, "Device or resource busy")

    devices(tmp_path, "HD Webcam")
    [check] = check_cameras(system_of(tmp_path), read=busy)
    assert (check.state, check.found) == ("ok", "in use by another program")


def test_the_list_of_rpicam_is_read():
    """With or without a size."""
    assert read_rpicam_list(RPICAM)[1] == (1, "ov5647, 2592x1944")
    assert read_rpicam_list("0 : imx219 (/base/soc/i2c0mux/i2c@1/imx219@10)") == [(0, "imx219")]
    assert read_rpicam_list("No cameras available!") == []
