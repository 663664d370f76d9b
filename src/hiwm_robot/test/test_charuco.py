# SPDX-License-Identifier: Apache-2.0
"""What boards need of OpenCV, with any OpenCV."""

from __future__ import annotations

from pathlib import Path
import sys
from typing import Any

import cv2
import numpy as np
import pytest

from hiwm_core.error import HiwmError
from hiwm_robot.calibration import calibrate_camera_node
from hiwm_robot.calibration.charuco import AT_ZERO, Board, opencv_version
from hiwm_robot.calibration.pictures import read_folder


def test_an_opencv_that_is_too_old_is_one_sentence_that_says_how_to_get_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As Ubuntu 24.04 has it."""
    monkeypatch.delattr(cv2.aruco, 'CharucoDetector', raising=False)
    monkeypatch.setattr(cv2, '__version__', '4.6.0')
    path = tmp_path / 'board.png'
    monkeypatch.setattr(sys, 'argv', ['calibrate_camera', '--print', str(path)])
    assert calibrate_camera_node.main() == 1
    assert capsys.readouterr().err == (
        'calibrate_camera: OpenCV 4.6.0 does not see a ChArUco board well; 4.10 or later is '
        'needed: python3 -m pip install --user --break-system-packages '
        'opencv-python-headless==4.11.0.86\n'
    )
    assert not path.exists()


class Shifted:
    """A detector that tells every corner half a pixel further right and down."""

    def __init__(self, detector: Any) -> None:
        self._detector = detector

    def detectBoard(self, grey: np.ndarray) -> tuple[Any, ...]:  # noqa: N802
        found, *others = self._detector.detectBoard(grey)
        return (found + 0.5, *others)


@pytest.mark.skipif(opencv_version() < AT_ZERO, reason='it is shifted by itself')
@pytest.mark.parametrize(('version', 'shift'), [('4.11.0', 0.0), ('4.14.0', 0.5), ('5.0.0', 0.5)])
def test_corners_are_told_alike_by_every_opencv(
    monkeypatch: pytest.MonkeyPatch, version: str, shift: float
) -> None:
    board = Board(7, 5, 0.04, 0.03, '4X4_50')
    drawn = board.draw(100.0)
    truth = board.see('here', drawn)
    board.__dict__['_detector'] = Shifted(board._detector)
    monkeypatch.setattr(cv2, '__version__', version)
    told = board.see('there', drawn)
    assert truth is not None and told is not None
    np.testing.assert_allclose(told.pixels - truth.pixels, shift, atol=1e-4)


def test_image_files_are_read_as_rgb_by_any_opencv(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(cv2, 'IMREAD_COLOR_RGB', raising=False)
    blue, green, red = 10, 20, 200
    cv2.imwrite(str(tmp_path / 'a.png'), np.full((4, 6, 3), (blue, green, red), np.uint8))
    ((name, pixels),) = read_folder(tmp_path)
    assert name == 'a.png' and pixels.shape == (4, 6, 3)
    assert (pixels == (red, green, blue)).all()
    (tmp_path / 'b.png').write_text('no image')
    with pytest.raises(HiwmError, match='cannot be read as an image'):
        list(read_folder(tmp_path))
