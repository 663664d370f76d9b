# SPDX-License-Identifier: Apache-2.0
"""Any camera's picture as the task's frame: what is shown where, and what the info says of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
from known_camera import LENS, OVERHEAD, TABLE
import numpy as np
import pytest
import yaml

from hiwm_core.backend import first_observation
from hiwm_core.error import ConfigurationError, HiwmError
from hiwm_core.task import load_task
from hiwm_robot.camera.adapter_file import (
    AdapterConfig,
    Crop,
    read_adapter_file,
    write_adapter_file,
)
from hiwm_robot.camera.frame_mapping import FrameMapping, picture_of
from hiwm_robot.camera.lens import lens_of
from hiwm_robot.camera.table_view import TableView
from hiwm_robot.sims import load_pose_reader, load_simulator

TASK = load_task('pusht')
FRAME = TASK.camera
SHIPPED = Path(__file__).parents[1] / 'config' / 'camera.yaml'


def adapted(
    mapping: FrameMapping, picture: np.ndarray, encoding: str = 'rgb8', camera: object = FRAME
) -> np.ndarray:
    frame = np.zeros((camera.height, camera.width, 3), np.uint8)  # type: ignore[attr-defined]
    mapping.apply(picture, encoding, frame)
    return frame


def smooth(height: int, width: int, seed: int = 0) -> np.ndarray:
    """A picture without fine patterns, so that resampling alone explains no difference."""
    rough = np.random.default_rng(seed).integers(0, 255, (12, 12, 3), np.uint8)
    return cv2.resize(rough, (width, height), interpolation=cv2.INTER_CUBIC)


def dot(place: tuple[float, float], width: int = 640, height: int = 480) -> np.ndarray:
    """A soft white spot around a pixel."""
    down, across = np.mgrid[:height, :width]
    bright = np.exp(-((across - place[0]) ** 2 + (down - place[1]) ** 2) / (2 * 6.0**2))
    return np.repeat((255 * bright)[..., None], 3, axis=-1).astype(np.uint8)


def centre(frame: np.ndarray) -> np.ndarray:
    """Of what is bright, (x, y) in px."""
    weight = frame[..., 0].astype(float)
    down, across = np.mgrid[: frame.shape[0], : frame.shape[1]]
    return np.array([(across * weight).sum(), (down * weight).sum()]) / weight.sum()


def test_the_table_seen_aslant_through_a_lens_is_the_tasks_frame_again() -> None:
    shown = smooth(96, 96)
    picture = TableView(OVERHEAD, FRAME).apply(shown)
    assert picture.shape == (480, 640, 3)
    mapping = FrameMapping(OVERHEAD, LENS, FRAME)
    assert mapping.outside == 0.0
    difference = np.abs(adapted(mapping, picture).astype(int) - shown)[1:-1, 1:-1]
    assert difference.max() <= 6 and difference.mean() < 1.0


def test_every_place_on_the_table_is_where_the_task_says() -> None:
    mapping = FrameMapping(OVERHEAD, LENS, FRAME)
    for x, y in ((0.1, 0.1), (0.4, 0.12), (0.256, 0.256), (0.15, 0.43), (0.45, 0.45)):
        point = np.array([[x, y, 0.0]])
        (pixel,) = LENS.project(point, np.array(TABLE.rotation), np.array(TABLE.translation))
        found = centre(adapted(mapping, dot(tuple(pixel))))
        assert (found + 0.5) * FRAME.metres_per_pixel == pytest.approx([x, y], abs=0.0006)


def test_a_simulated_table_keeps_what_the_pose_reader_reads() -> None:
    scene = TASK.start_scene(5)
    frame = first_observation(load_simulator(TASK), scene, 0).frame
    picture = TableView(OVERHEAD, FRAME).apply(frame)
    seen = load_pose_reader(TASK).read(adapted(FrameMapping(OVERHEAD, LENS, FRAME), picture))
    assert seen.scene[:4] == pytest.approx(scene[:4], abs=0.004)


@pytest.mark.parametrize('undistort', [True, False])
def test_the_info_says_where_in_the_frame_a_direction_is_seen(undistort: bool) -> None:
    crop = Crop(101.0, 37.5, 400.0, 300.0)
    config = AdapterConfig('c', 640, 480, LENS, undistort=undistort, crop=crop)
    camera = replace(FRAME, width=120, height=90)
    mapping = FrameMapping(config, LENS, camera)
    ray = np.array([[-0.08, 0.11, 1.0]])
    (pixel,) = LENS.project(ray, np.zeros(3), np.zeros(3))
    found = centre(adapted(mapping, dot(tuple(pixel)), camera=camera))
    (told,) = mapping.lens.project(ray, np.zeros(3), np.zeros(3))
    assert found == pytest.approx(told, abs=0.1)
    assert any(mapping.lens.distortion) != undistort
    assert (mapping.lens.width, mapping.lens.height) == (120, 90)


def test_without_a_crop_the_middle_is_shown_in_the_frames_proportions() -> None:
    config = AdapterConfig('c', 640, 480)
    lens = replace(LENS, distortion=())
    picture = smooth(480, 640)
    frame = adapted(FrameMapping(config, lens, FRAME), picture)
    wanted = cv2.resize(picture[:, 80:560], (96, 96), interpolation=cv2.INTER_AREA)
    assert np.abs(frame.astype(int) - wanted).max() <= 2


def test_fine_patterns_are_averaged_and_not_picked() -> None:
    picture = np.zeros((480, 640, 3), np.uint8)
    picture[:, ::2] = 255
    config = AdapterConfig('c', 640, 480, crop=Crop(100.0, 40.0, 410.0, 400.0))
    frame = adapted(FrameMapping(config, LENS, FRAME), picture)
    assert frame.min() > 85 and frame.max() < 170


def test_a_table_frame_has_the_tasks_own_intrinsics() -> None:
    lens = FrameMapping(OVERHEAD, LENS, FRAME).lens
    assert (lens.fx, lens.fy, lens.cx, lens.cy) == (FRAME.fx, FRAME.fy, FRAME.cx, FRAME.cy)
    assert not lens.distortion


@pytest.mark.parametrize('encoding', ['rgb8', 'bgr8', 'rgba8', 'bgra8', 'mono8'])
def test_every_encoding_gives_the_same_frame(encoding: str) -> None:
    picture = smooth(480, 640, seed=1)
    if encoding == 'mono8':
        picture = np.repeat(picture[..., :1], 3, axis=-1)
    mapping = FrameMapping(OVERHEAD, LENS, FRAME)
    expected = adapted(mapping, picture)
    given = {
        'rgb8': picture,
        'bgr8': picture[..., ::-1],
        'rgba8': np.dstack((picture, np.full((480, 640), 9, np.uint8))),
        'bgra8': np.dstack((picture[..., ::-1], np.full((480, 640), 9, np.uint8))),
        'mono8': picture[..., 0],
    }[encoding]
    # Rows with padding at their end, as drivers give them.
    rows = given.reshape(480, -1)
    padded = np.full((480, rows.shape[1] + 12), 77, np.uint8)
    padded[:, : rows.shape[1]] = rows
    data = padded.tobytes()
    seen = picture_of(encoding, 480, 640, padded.shape[1], data)
    assert (adapted(mapping, seen, encoding) == expected).all()


def test_pictures_that_cannot_be_used_are_refused() -> None:
    with pytest.raises(HiwmError, match="encoding '16UC1'; set the camera to one of: rgb8"):
        picture_of('16UC1', 4, 4, 8, bytes(32))
    with pytest.raises(HiwmError, match='too few for rgb8'):
        picture_of('rgb8', 4, 4, 12, bytes(40))
    mapping = FrameMapping(OVERHEAD, LENS, FRAME)
    with pytest.raises(HiwmError, match="'overhead' gives 320x240 px, its file says 640x480"):
        adapted(mapping, np.zeros((240, 320, 3), np.uint8))


def test_a_camera_that_looks_elsewhere_is_refused_and_one_that_sees_a_part_says_how_much() -> None:
    aside = replace(OVERHEAD, table=replace(TABLE, translation=(0.2, -0.2, 0.88)))
    assert 0.1 < FrameMapping(aside, LENS, FRAME).outside < 0.9
    away = replace(OVERHEAD, table=replace(TABLE, translation=(9.0, 0.0, 0.88)))
    with pytest.raises(ConfigurationError, match="nothing of the task's frame is in the picture"):
        FrameMapping(away, LENS, FRAME)


def test_a_file_that_is_written_is_read_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / 'deep' / 'camera.yaml'
    write_adapter_file(path, OVERHEAD, 'What it is.\nAnd how good.')
    assert read_adapter_file(path) == OVERHEAD
    assert path.read_text().startswith('# What it is.\n# And how good.\n')
    crop = AdapterConfig('b', 64, 48, undistort=False, crop=Crop(1.5, 2, 30, 40))
    write_adapter_file(path, crop, '')
    assert read_adapter_file(path) == crop
    assert [each.name for each in path.parent.iterdir()] == ['camera.yaml']
    with pytest.raises(HiwmError, match='cannot be written'):
        write_adapter_file(path / 'below' / 'camera.yaml', crop, '')


def test_the_shipped_file_is_right_with_everything_that_it_explains(tmp_path: Path) -> None:
    assert read_adapter_file(SHIPPED).lens is None
    text = SHIPPED.read_text()
    for entry in ('lens', 'crop', 'table'):
        opened = text.replace(f'# {entry}: ', f'{entry}: ')
        assert opened != text
        path = tmp_path / f'{entry}.yaml'
        path.write_text(opened)
        assert getattr(read_adapter_file(path), entry) is not None


@pytest.mark.parametrize(
    ('change', 'sentence'),
    [
        ({'size': {'width': 0, 'height': 480}}, r'size.width must be 1 to 16384 px'),
        ({'lens': {'fx': 1.0}}, r"lens lacks the entry 'fy'"),
        (
            {'lens': {'fx': 0.0, 'fy': 1.0, 'cx': 1.0, 'cy': 1.0, 'distortion': []}},
            r'lens.fx and fy must be larger',
        ),
        (
            {'lens': {'fx': 1.0, 'fy': 1.0, 'cx': 1.0, 'cy': 1.0, 'distortion': [1.0, 2.0]}},
            r'lens.distortion needs one of',
        ),
        ({'crop': {'x': 0, 'y': 0, 'width': 641, 'height': 1}}, r'crop reaches beyond'),
        ({'crop': {'x': 0, 'y': 0, 'width': 0, 'height': 1}}, r'crop needs a width'),
        ({'table': {'rotation': [0.0], 'translation': [0.0]}}, r'table.rotation must be three'),
        (
            {'table': {'rotation': [0.0] * 3, 'translation': [0.0, 0.0, -1.0]}},
            r'table.translation puts the table behind',
        ),
        ({'zoom': 3}, r"unknown entry 'zoom'"),
    ],
)
def test_a_wrong_file_is_refused_by_entry(
    tmp_path: Path, change: dict[str, object], sentence: str
) -> None:
    path = tmp_path / 'camera.yaml'
    path.write_text(yaml.safe_dump(yaml.safe_load(SHIPPED.read_text()) | change))
    with pytest.raises(ConfigurationError, match=sentence):
        read_adapter_file(path)


def test_a_crop_and_a_table_exclude_each_other(tmp_path: Path) -> None:
    path = tmp_path / 'camera.yaml'
    write_adapter_file(path, replace(OVERHEAD, crop=Crop(0, 0, 10, 10)), '')
    with pytest.raises(ConfigurationError, match='crop cannot stand beside table'):
        read_adapter_file(path)
    with pytest.raises(ConfigurationError, match='cannot be read: No such file'):
        read_adapter_file(tmp_path / 'none.yaml')


def test_the_cameras_own_info_gives_the_lens_or_a_sentence() -> None:
    matrix = list(LENS.matrix.ravel())
    assert lens_of(640, 480, matrix, LENS.distortion, 'plumb_bob') == LENS
    assert lens_of(640, 480, matrix, [0.0] * 5, 'plumb_bob').distortion == ()
    with pytest.raises(HiwmError, match='holds no calibration'):
        lens_of(640, 480, [0.0] * 9, [], '')
    with pytest.raises(HiwmError, match="model 'equidistant'; the known ones are: plumb_bob"):
        lens_of(640, 480, matrix, [0.1] * 4, 'equidistant')
    with pytest.raises(HiwmError, match="3 coefficients for the model 'plumb_bob'"):
        lens_of(640, 480, matrix, [0.1] * 3, 'plumb_bob')
