# SPDX-License-Identifier: Apache-2.0
"""The RealSense driver against the vendor's own software device."""

from __future__ import annotations

from known_camera import LENS
import numpy as np
import pytest

from hiwm_core.error import ConfigurationError, HiwmError
from hiwm_robot.camera import realsense
from hiwm_robot.camera.realsense import ColourStream, HostTime, Picture, Profile, read_profile
from hiwm_robot.camera.software_device import SoftwareRealSense

PROFILE = Profile(640, 480, 30)


def picture(value: int) -> np.ndarray:
    return np.full((480, 640, 3), value, np.uint8)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """How long silence lasts is no matter of these tests."""
    monkeypatch.setattr(realsense, 'SILENCE', 0.05)
    monkeypatch.setattr(realsense, 'FIRST_SILENCE', 0.1)
    monkeypatch.setattr(realsense, 'SILENT_PERIODS', 1.5)


def test_frames_come_with_their_time_and_the_streams_lens() -> None:
    camera = SoftwareRealSense(LENS)
    stream = ColourStream('', PROFILE, camera.devices)
    stream.open()
    assert stream.name == 'Software D435 0042'
    assert stream.lens is not None
    assert stream.lens.matrix == pytest.approx(LENS.matrix)
    assert stream.lens.distortion == pytest.approx(LENS.distortion)
    for value in (3, 4):
        camera.show(picture(value), at=1000.0 + value)
        taken = stream.read()
        assert taken is not None and taken.is_host_time
        assert taken.time == pytest.approx(1000.0 + value, abs=1e-6)
        assert taken.pixels.shape == (480, 640, 3) and (taken.pixels == value).all()
    stream.close()
    stream.close()


def test_of_frames_that_wait_the_newest_is_taken() -> None:
    camera = SoftwareRealSense(LENS)
    stream = ColourStream('', PROFILE, camera.devices)
    stream.open()
    for value in range(5):
        camera.show(picture(value))
    seen = []
    while (taken := stream.read()) is not None:
        seen.append(int(taken.pixels[0, 0, 0]))
    assert seen[-1] == 4 and len(seen) <= 2
    stream.close()


def test_an_unplugged_camera_is_named_and_comes_back() -> None:
    camera = SoftwareRealSense(LENS)
    stream = ColourStream('', PROFILE, camera.devices)
    stream.open()
    assert stream.read() is None
    assert stream.loss() == ('the camera Software D435 0042 sends no frames; it is started anew')
    camera.plugged_in.clear()
    assert stream.loss() == 'the camera Software D435 0042 was unplugged; plug it in again'
    stream.close()
    with pytest.raises(ConfigurationError, match='no RealSense camera is there; plug it in'):
        stream.open()
    # Another one does not take its place.
    other = SoftwareRealSense(LENS, serial='0007')
    camera.plugged_in.append(other.device)
    with pytest.raises(ConfigurationError, match='serial number 0042; there is: 0007 '):
        stream.open()
    camera.plugged_in[:] = [other.device, camera.device]
    stream.open()
    camera.show(picture(9))
    assert stream.read() is not None
    stream.close()


class Going:
    """A device that is there, and whose answers are the library's errors."""

    def supports(self, key: object) -> bool:
        return True

    def get_info(self, key: object) -> str:
        raise RuntimeError(
            'failed to open usb interface: 0, error: RS2_USB_STATUS_NO_DEVICE!\nmore'
        )


def test_a_camera_that_goes_while_it_is_asked_is_lost_and_no_defect() -> None:
    camera = SoftwareRealSense(LENS)
    stream = ColourStream('', PROFILE, camera.devices)
    stream.open()
    camera.plugged_in[:] = [Going()]
    assert stream.loss() == (
        'the camera Software D435 0042 answers no more (failed to open usb interface: 0, error: '
        'RS2_USB_STATUS_NO_DEVICE); it is looked for'
    )
    stream.close()
    with pytest.raises(HiwmError, match=r'0042 does not start \(failed to open usb interface'):
        stream.open()
    assert not stream.is_open
    camera.plugged_in[:] = [camera.device]
    stream.open()
    camera.show(picture(9))
    assert stream.read() is not None
    stream.close()


def test_devices_that_cannot_be_listed_are_a_sentence() -> None:
    def devices() -> list[object]:
        raise RuntimeError('hwmon command failed')

    with pytest.raises(HiwmError, match=r'RealSense does not start \(hwmon command failed\)'):
        ColourStream('', PROFILE, devices).open()


def test_a_frame_that_cannot_be_had_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    camera = SoftwareRealSense(LENS)
    stream = ColourStream('', PROFILE, camera.devices)
    stream.open()

    class Broken:
        def try_wait_for_frame(self, patience: int) -> tuple[bool, object]:
            raise RuntimeError('null pointer passed for argument "frame_ref"')

    monkeypatch.setattr(stream, '_queue', Broken())
    assert stream.read() is None
    stream.close()


def test_two_cameras_need_a_serial_number() -> None:
    first, second = SoftwareRealSense(LENS, serial='1'), SoftwareRealSense(LENS, serial='2')
    both = [first.device, second.device]
    with pytest.raises(ConfigurationError, match='2 RealSense cameras; name one by serial_no'):
        ColourStream('', PROFILE, lambda: both).open()
    stream = ColourStream('2', PROFILE, lambda: both)
    stream.open()
    assert stream.name == 'Software D435 2'
    stream.close()


def test_a_profile_that_is_not_there_is_answered_with_those_that_are() -> None:
    camera = SoftwareRealSense(LENS, rates=(30, 15))
    with pytest.raises(
        ConfigurationError,
        match='no colour profile 1280x720x30; it has: 640x480x15, 640x480x30 ',
    ):
        ColourStream('', Profile(1280, 720, 30), camera.devices).open()


def test_a_camera_that_is_in_use_is_refused_and_free_again_afterwards() -> None:
    camera = SoftwareRealSense(LENS)
    first = ColourStream('', PROFILE, camera.devices)
    second = ColourStream('', PROFILE, camera.devices)
    first.open()
    with pytest.raises(HiwmError, match=r'does not start .*; end other programs that use it'):
        second.open()
    assert not second.is_open
    first.close()
    second.open()
    second.close()


def test_a_device_without_colour_is_refused() -> None:
    camera = SoftwareRealSense(LENS, rates=())
    with pytest.raises(ConfigurationError, match='has no colour stream in rgb8'):
        ColourStream('', PROFILE, camera.devices).open()


def test_the_cameras_own_clock_is_set_against_the_hosts_by_the_quickest_frame() -> None:
    clock = HostTime()
    delays = [0.030, 0.012, 0.055, 0.013]
    stamps = []
    for number, delay in enumerate(delays):
        shown = Picture(picture(0), time=5.0 + number / 30, is_host_time=False)
        stamps.append(clock.stamp(shown, now=900.0 + number / 30 + delay))
    assert stamps[-1] == pytest.approx(900.0 + 3 / 30 + 0.012)
    assert np.diff(stamps[1:]) == pytest.approx(1 / 30)
    assert clock.stamp(Picture(picture(0), 77.0, is_host_time=True), now=900.0) == 77.0


@pytest.mark.parametrize('text', ['640x480', '640x480x0', 'wide', '640x480x30x2', ''])
def test_a_profile_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match='it must be WIDTHxHEIGHTxRATE'):
        read_profile(text)
    assert read_profile('1280,720,15') == Profile(1280, 720, 15)
