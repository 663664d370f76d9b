# SPDX-License-Identifier: Apache-2.0
"""Calibration of a camera of which everything is known: what is found against what is true."""

from __future__ import annotations

from dataclasses import replace
import io
import itertools
import json
import math
import os
from pathlib import Path
import re
import sys
import threading

import cv2
from known_camera import LENS, TABLE
import numpy as np
from printed_board import BOARD, PrintedBoard, poses
import pytest
import rclpy
from rclpy.node import Node
from rclpy.serialization import serialize_message
from sensor_msgs.msg import Image

from hiwm_core.contract import IMAGE, Topic
from hiwm_core.error import ConfigurationError, HiwmError
from hiwm_core.session_bag import SessionBag
from hiwm_rig.conversion import image_message, time_message
from hiwm_robot.calibration import calibrate_camera_node
from hiwm_robot.calibration.charuco import Board, Chooser, Sighting
from hiwm_robot.calibration.lens_fit import LensFit, fit_lens
from hiwm_robot.calibration.table_fit import Placement, fit_table
from hiwm_robot.camera.adapter_file import read_adapter_file
from hiwm_robot.camera.lens import Lens

SIZE = (640, 480)
POSES = 12
# The board on the table: where its edge lies in the workspace, and turned how far.
PLACEMENT = Placement(0.09, 0.14, math.radians(8.0))


def on_table() -> tuple[np.ndarray, np.ndarray]:
    """The board's pose to the camera where it lies on the table."""
    axes, _ = cv2.Rodrigues(np.array(TABLE.rotation))
    cos, sin = math.cos(PLACEMENT.angle), math.sin(PLACEMENT.angle)
    turn = np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]])
    rotation, _ = cv2.Rodrigues(axes @ turn)
    return rotation.ravel(), axes @ (PLACEMENT.x, PLACEMENT.y, 0.0) + TABLE.translation


@pytest.fixture(scope='module')
def pictures() -> list[np.ndarray]:
    """Of the board held about, and last of it on the table."""
    board = PrintedBoard(BOARD, LENS, seed=1)
    return [board.seen_at(*pose) for pose in [*poses(BOARD, POSES, seed=2), on_table()]]


@pytest.fixture(scope='module')
def sightings(pictures: list[np.ndarray]) -> list[Sighting]:
    found = [BOARD.see(str(number), picture) for number, picture in enumerate(pictures)]
    assert all(one is not None for one in found)
    return [one for one in found if one is not None]


@pytest.fixture(scope='module')
def fit(sightings: list[Sighting]) -> LensFit:
    return fit_lens(BOARD, sightings, SIZE)


def lens_difference(found: Lens, truth: Lens) -> float:
    """px, the largest difference of where two lenses see the same directions in the picture."""
    across, down = np.meshgrid(np.linspace(-0.45, 0.45, 19), np.linspace(-0.33, 0.33, 15))
    rays = np.column_stack((across.ravel(), down.ravel(), np.ones(across.size)))
    seen = [lens.project(rays, np.zeros(3), np.zeros(3)) for lens in (found, truth)]
    return float(np.linalg.norm(seen[0] - seen[1], axis=-1).max())


def test_corners_are_seen_where_they_are(pictures: list[np.ndarray]) -> None:
    errors = []
    for (rotation, translation), picture in zip(
        poses(BOARD, POSES, seed=2), pictures, strict=False
    ):
        sighting = BOARD.see('one', picture)
        assert sighting is not None
        truth = LENS.project(BOARD.points(sighting.ids), rotation, translation)
        errors.append(np.linalg.norm(sighting.pixels - truth, axis=-1))
    assert np.median(np.concatenate(errors)) < 0.1


def test_the_lens_is_found(fit: LensFit) -> None:
    assert fit.lens.fx == pytest.approx(LENS.fx, rel=0.003)
    assert fit.lens.fy == pytest.approx(LENS.fy, rel=0.003)
    assert (fit.lens.cx, fit.lens.cy) == pytest.approx((LENS.cx, LENS.cy), abs=2.0)
    assert lens_difference(fit.lens, LENS) < 1.5
    assert fit.error < 0.15
    assert 0.02 < fit.held_out_error < 0.2
    assert abs(fit.lens.fx - LENS.fx) < 5.0 * fit.deviation[0]
    assert fit.coverage > 0.5
    assert not fit.left_out


def test_the_table_is_found_where_the_board_lies(sightings: list[Sighting], fit: LensFit) -> None:
    table = fit_table(BOARD, sightings[-1], fit.lens, PLACEMENT)
    workspace = np.array([[0, 0, 0], [0.512, 0, 0], [0.512, 0.512, 0], [0, 0.512, 0]], float)
    found = fit.lens.project(
        workspace, np.array(table.pose.rotation), np.array(table.pose.translation)
    )
    truth = LENS.project(workspace, np.array(TABLE.rotation), np.array(TABLE.translation))
    # The board covers a sixth of it, the corners are beyond the board.
    assert np.linalg.norm(found - truth, axis=-1).max() < 2.0
    assert table.pose.translation == pytest.approx(TABLE.translation, abs=0.005)
    assert table.table_error < 0.0005
    axes, _ = cv2.Rodrigues(np.array(TABLE.rotation))
    assert table.tilt == pytest.approx(math.acos(axes[2, 2]), abs=0.01)


def test_a_blurred_picture_is_left_out_by_name(sightings: list[Sighting]) -> None:
    moved = sightings[3].pixels + np.random.default_rng(0).normal(
        0.0, 4.0, sightings[3].pixels.shape
    )
    spoilt = [*sightings]
    spoilt[3] = replace(sightings[3], pixels=moved)
    assert fit_lens(BOARD, spoilt, SIZE).left_out == ('3',)


def test_too_few_pictures_and_pictures_that_are_alike_are_refused(
    sightings: list[Sighting],
) -> None:
    with pytest.raises(HiwmError, match='seen well in 7 pictures; 8 are needed'):
        fit_lens(BOARD, sightings[:7], SIZE)
    flat = []
    ids = np.arange(BOARD.corners)
    generator = np.random.default_rng(3)
    for number in range(10):
        translation = np.array([-0.14 + 0.01 * number, -0.1, 0.6])
        pixels = LENS.project(BOARD.points(ids), np.zeros(3), translation)
        flat.append(Sighting(str(number), ids, pixels + generator.normal(0.0, 0.2, pixels.shape)))
    with pytest.raises(HiwmError, match=r'too alike: the boards differ by \d degrees'):
        fit_lens(BOARD, flat, SIZE)


def test_a_camera_that_looks_along_the_table_is_refused() -> None:
    ids = np.arange(BOARD.corners)
    axes, _ = cv2.Rodrigues(np.array([1.4, 0.0, 0.0]))
    middle = np.array([0.14, 0.1, 0.0])
    translation = np.array([0.0, 0.0, 0.6]) - axes @ middle
    pixels = LENS.project(BOARD.points(ids), np.array([1.4, 0.0, 0.0]), translation)
    with pytest.raises(HiwmError, match=r'looks along the table \(80 degrees'):
        fit_table(BOARD, Sighting('low', ids, pixels), LENS, Placement())


def test_of_a_stream_only_new_places_are_taken() -> None:
    chooser = Chooser(least=30.0)
    ids = np.arange(BOARD.corners)
    pixels = LENS.project(BOARD.points(ids), np.zeros(3), np.array([-0.1, -0.1, 0.5]))
    taken = [
        chooser.is_new(Sighting(str(shift), ids, pixels + np.array([shift, 0.0])))
        for shift in (0, 10, 25, 40, 45, 5, 80)
    ]
    assert taken == [True, False, False, True, False, False, True]


@pytest.mark.parametrize(
    ('change', 'sentence'),
    [
        ({'columns': 2}, 'at least 3 squares'),
        ({'marker': 0.04}, 'must be smaller than the square'),
        ({'dictionary': '9X9'}, "no dictionary of markers '9X9'; there is: 4X4_100"),
        ({'columns': 20, 'rows': 20}, '4X4_50 has 50 markers, the board needs 200'),
    ],
)
def test_a_board_that_cannot_be_is_refused(change: dict[str, object], sentence: str) -> None:
    with pytest.raises(ConfigurationError, match=sentence):
        replace(BOARD, **change)  # type: ignore[arg-type]


# -- the command ---------------------------------------------------------------------------------


def command(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, 'argv', ['calibrate_camera', *map(str, arguments)])
    return calibrate_camera_node.main()


@pytest.fixture(scope='module')
def folder(pictures: list[np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp('pictures')
    for number, picture in enumerate(pictures):
        cv2.imwrite(str(folder / f'{number:02d}.png'), picture)
    cv2.imwrite(str(folder / '90_empty.png'), np.full_like(pictures[0], 90))
    return folder


@pytest.fixture(scope='module')
def few(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Just enough of them for a lens, and the empty one."""
    few = tmp_path_factory.mktemp('few')
    for file in sorted(folder.iterdir())[:8]:
        (few / file.name).symlink_to(file)
    (few / '90_empty.png').symlink_to(folder / '90_empty.png')
    return few


def placed() -> list[object]:
    return ['--board-at', PLACEMENT.x, PLACEMENT.y, math.degrees(PLACEMENT.angle)]


def test_a_folder_becomes_the_adapters_file_a_picture_and_figures(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out, figures = tmp_path / 'new' / 'camera.yaml', tmp_path / 'figures.json'
    arguments = [folder, '--out', out, '--name', 'overhead', '--json', figures, *placed()]
    assert command(monkeypatch, *arguments) == 0
    config = read_adapter_file(out)
    assert config.name == 'overhead' and config.lens is not None and config.table is not None
    assert lens_difference(config.lens, LENS) < 1.5
    assert config.table.translation == pytest.approx(TABLE.translation, abs=0.005)
    assert cv2.imread(str(out.with_suffix('.png'))).shape[1] > 1000
    told = json.loads(figures.read_text())
    assert (
        told['pictures'] == POSES + 1 and told['error_px'] < 0.15 and told['table_error_m'] < 0.0005
    )
    assert told['outside'] == 0.0 and told['seed'] == 0
    said = capsys.readouterr().out
    assert f'Lens: {POSES + 1} pictures' in said and 'Table: error' in said
    assert sorted(one.name for one in out.parent.iterdir()) == ['camera.png', 'camera.yaml']
    # The table again, after the camera was moved.
    again = tmp_path / 'again.yaml'
    (tmp_path / 'one').mkdir()
    (tmp_path / 'one' / '12.png').symlink_to(folder / '12.png')
    arguments = [tmp_path / 'one', '--out', again, '--lens', out, *placed()]
    assert command(monkeypatch, *arguments) == 0
    table = read_adapter_file(again).table
    assert table is not None and read_adapter_file(again).lens == config.lens
    assert table.translation == pytest.approx(config.table.translation, abs=1e-5)


def test_a_bag_serves_as_well(
    pictures: list[np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic = '/raw/camera/color/image_raw'
    with SessionBag(tmp_path / 'bag', [Topic(topic, IMAGE.type, IMAGE.quality)], {}) as bag:
        for number, picture in enumerate(pictures):
            for repeat in range(2):
                at = (10 * number + repeat + 1) * 100_000_000
                message = image_message(picture, time_message(at))
                bag.write(topic, serialize_message(message), at)
    out = tmp_path / 'camera.yaml'
    assert command(monkeypatch, tmp_path / 'bag', '--out', out, *placed()) == 0
    config = read_adapter_file(out)
    assert config.lens is not None and lens_difference(config.lens, LENS) < 1.5


class Hand(threading.Thread):
    """A person who carries a board about in front of a live camera, then lays it down."""

    def __init__(self, pictures: list[np.ndarray], said: io.StringIO, enter: int) -> None:
        super().__init__(daemon=True)
        self._pictures, self._said, self._enter = pictures, said, enter
        self.done = threading.Event()
        self._context = rclpy.Context()
        self._context.init()
        self._node = Node('hand', context=self._context)
        topic = '/raw/camera/color/image_raw'
        self._images = self._node.create_publisher(Image, topic, 1)

    def run(self) -> None:
        held = itertools.cycle(self._pictures[:-1])
        while 'Lay the board on the table' not in self._said.getvalue():
            self._hold(next(held), 5)
        self._hold(self._pictures[-1], 20)
        os.write(self._enter, b'\n')
        while not self.done.is_set():
            self._hold(self._pictures[-1], 1)
        self._node.destroy_node()
        self._context.shutdown()

    def _hold(self, picture: np.ndarray, times: int) -> None:
        message = image_message(picture, time_message(0))
        for _ in range(times):
            message.header.stamp = self._node.get_clock().now().to_msg()
            self._images.publish(message)
            if self.done.wait(0.05):
                return


def test_a_live_camera_is_calibrated_by_holding_the_board_about(
    pictures: list[np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = io.StringIO()
    read, write = os.pipe()
    monkeypatch.setattr(sys, 'stdout', said)
    monkeypatch.setattr(sys, 'stdin', os.fdopen(read))
    hand = Hand(pictures, said, write)
    hand.start()
    try:
        out = tmp_path / 'camera.yaml'
        assert command(monkeypatch, '--out', out, '--pictures', 8, *placed()) == 0
    finally:
        hand.done.set()
        hand.join(30.0)
        os.close(write)
    config = read_adapter_file(out)
    assert config.lens is not None and lens_difference(config.lens, LENS) < 3.0
    assert config.table is not None
    assert config.table.translation == pytest.approx(TABLE.translation, abs=0.02)


@pytest.mark.parametrize(
    ('arguments', 'sentence'),
    [
        (['{folder}'], "name the camera's file to write by --out"),
        (['{folder}/none', '--out', 'x.yaml'], 'there is no folder .*none'),
        (['{folder}', '--out', 'x.yaml', '--board', '8by5'], "the board is '8by5'"),
        (['{folder}', '--out', 'x.yaml', '--board', '9x4'], 'seen well in 0 pictures; 8'),
        (
            ['{folder}', '--out', 'x.yaml', '--table-picture', '90_empty.png'],
            'not seen well in 90_empty.png; lay it on the table',
        ),
        (['{folder}', '--out', 'x.yaml', '--lens', '/none.yaml'], '/none.yaml cannot be read'),
        (['{folder}', '--out', '{folder}/00.png/x.yaml', '--no-table'], 'cannot be written'),
    ],
)
def test_what_cannot_be_done_is_one_sentence_and_writes_nothing(
    few: Path, tmp_path: Path, request: pytest.FixtureRequest, arguments: list[str], sentence: str
) -> None:
    monkeypatch = request.getfixturevalue('monkeypatch')
    capsys = request.getfixturevalue('capsys')
    monkeypatch.chdir(tmp_path)
    assert command(monkeypatch, *(each.format(folder=few) for each in arguments)) == 1
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith('calibrate_camera: ')
    assert re.search(sentence, last), last
    assert not list(tmp_path.iterdir())


def test_the_board_is_drawn_to_be_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / 'board.png'
    size = ['--board', '5x4', '--square', '0.0254', '--marker', '0.019']
    assert command(monkeypatch, '--print', path, *size) == 0
    drawn = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    assert drawn.shape == (5 * 300, 6 * 300), 'an inch a square, and half a square of margin'
    board = Board(5, 4, 0.0254, 0.019, '4X4_50')
    assert board.see('print', drawn) is not None
