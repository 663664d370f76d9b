# SPDX-License-Identifier: Apache-2.0
"""`ros2 run hiwm_robot calibrate_camera`: a camera's lens, and where its table is, from a ChArUco
board; writes the file of `camera_adapter`.

Pictures come from a folder, from a bag, or live from a topic: then the board is carried about in
front of the camera, and pictures are taken by themselves whenever it is somewhere new.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
import math
from pathlib import Path

import cv2

from hiwm_core.command import Parser
from hiwm_core.error import HiwmError
from hiwm_core.json_file import write_json
from hiwm_core.task import load_task
from hiwm_core.whole_file import write_whole
from hiwm_robot.calibration.board_pictures import BoardPictures, look_through
from hiwm_robot.calibration.camera_figures import figures_of, words_of
from hiwm_robot.calibration.camera_picture import draw_calibration
from hiwm_robot.calibration.charuco import Board, read_size
from hiwm_robot.calibration.command_line import add_results, number, run
from hiwm_robot.calibration.lens_fit import LEAST_PICTURES, LensFit, fit_lens
from hiwm_robot.calibration.live_board_node import look_live
from hiwm_robot.calibration.pictures import is_bag, read_bag, read_folder
from hiwm_robot.calibration.table_fit import Placement, TableFit, fit_table
from hiwm_robot.camera.adapter_file import AdapterConfig, read_adapter_file, write_adapter_file
from hiwm_robot.camera.frame_mapping import FrameMapping

NAME = 'calibrate_camera'


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog=NAME,
        description='Measure a camera with a ChArUco board: its lens from pictures of the board '
        'held everywhere, and where the table is from one in which it lies there.',
    )
    parser.add_argument(
        'source', type=Path, nargs='?',
        help='a folder of images, or a bag; without it: live from --topic',
    )  # fmt: skip
    parser.add_argument('--out', type=Path, metavar='FILE', help="the camera's file to write")
    parser.add_argument('--topic', default='/raw/camera/color/image_raw', help='of bag and graph')
    parser.add_argument('--name', default='camera', help='what sentences call the camera')
    parser.add_argument('--task', default='pusht', help='whose frame and workspace')
    board = parser.add_argument_group('the board')
    board.add_argument('--board', default='7x5', metavar='ACROSSxDOWN', help='its squares')
    board.add_argument('--square', type=number(0.001, 1.0), default=0.04, metavar='M')
    board.add_argument('--marker', type=number(0.001, 1.0), default=0.03, metavar='M')
    board.add_argument('--dictionary', default='4X4_50', help="OpenCV's name of the markers")
    board.add_argument(
        '--print', type=Path, metavar='PNG', dest='board_file',
        help='draw the board, to be printed at 300 dots per inch, and end',
    )  # fmt: skip
    table = parser.add_argument_group('the table')
    table.add_argument(
        '--board-at', type=float, nargs=3, default=(0.0, 0.0, 0.0), metavar=('X', 'Y', 'DEGREES'),
        help="where the top left edge of the board lies in the task's workspace, in m, and how far "
        'the board is turned from x to y (default: at its origin)',
    )  # fmt: skip
    table.add_argument(
        '--table-picture', metavar='NAME',
        help='the image in which the board lies on the table (default: the last that shows it)',
    )  # fmt: skip
    table.add_argument('--no-table', action='store_true', help='the lens alone')
    table.add_argument(
        '--lens', type=Path, metavar='FILE',
        help="keep the lens of this camera's file and measure the table alone",
    )  # fmt: skip
    parser.add_argument('--pictures', type=number(LEAST_PICTURES, 200, int), default=20,
                        metavar='N', help='of a bag or live: how many to take')  # fmt: skip
    parser.add_argument(
        '--seed', type=number(0, 2**31, int), default=0, help='of the pictures held out'
    )
    add_results(parser, 'where the result is drawn (default: beside --out)')
    return parser


def main() -> int:
    """The executable `calibrate_camera`; returns its exit code."""
    arguments = _parser().parse_args()
    return run(NAME, lambda: _calibrate(arguments))


def _calibrate(arguments: argparse.Namespace) -> int:
    columns, rows = read_size(arguments.board)
    board = Board(columns, rows, arguments.square, arguments.marker, arguments.dictionary)
    if arguments.board_file is not None:
        _draw_board(board, arguments.board_file)
        return 0
    if arguments.out is None:
        raise HiwmError("name the camera's file to write by --out")
    if arguments.lens is not None and arguments.no_table:
        raise HiwmError('--lens keeps the lens and --no-table leaves the table out; choose one')
    task = load_task(arguments.task)
    known = None if arguments.lens is None else read_adapter_file(arguments.lens)
    if known is not None and known.lens is None:
        raise HiwmError(f'{arguments.lens} has no lens to keep; leave --lens out')
    seen = _look(board, arguments)
    width, height = seen.size
    lens_fit: LensFit | None = None
    if known is None:
        lens_fit = fit_lens(board, seen.sightings, seen.size, arguments.seed)
        config = AdapterConfig(arguments.name, width, height, lens_fit.lens)
    else:
        if (known.width, known.height) != seen.size:
            raise HiwmError(
                f'the lens of {arguments.lens} is of {known.width}x{known.height} px, the pictures '
                f'are {width}x{height}; measure the lens anew'
            )
        config = replace(known, crop=None, table=None)
    table_fit: TableFit | None = None
    if not arguments.no_table:
        assert config.lens is not None
        x, y, degrees = arguments.board_at
        placement = Placement(x, y, math.radians(degrees))
        table_fit = fit_table(board, seen.on_table(), config.lens, placement)
        config = replace(config, table=table_fit.pose)
    # Raises if the workspace is not in sight.
    assert config.lens is not None
    outside = FrameMapping(config, config.lens, task.camera).outside
    words = words_of(lens_fit, table_fit, outside)
    write_adapter_file(arguments.out, config, '\n'.join([f'Written by {NAME}.', *words]))
    picture = arguments.picture or arguments.out.with_suffix('.png')
    draw_calibration(picture, config, task.camera, lens_fit, table_fit, picture=seen.last)
    if arguments.json is not None:
        figures = figures_of(config, lens_fit, table_fit, outside)
        write_json(arguments.json, {'seed': arguments.seed, **figures})
    print('\n'.join([*words, f'{arguments.out} is written, and drawn in {picture}']))
    return 0


def _draw_board(board: Board, path: Path) -> None:
    done, data = cv2.imencode('.png', board.draw(300.0))
    if not done:
        raise HiwmError('OpenCV cannot encode the board; make it smaller')
    write_whole(path, data.tobytes())
    print(
        f'{path}: print it at 300 dots per inch (100 %), glue it on something flat, and measure: '
        f'a square must be {board.square * 1e3:g} mm'
    )


def _look(board: Board, arguments: argparse.Namespace) -> BoardPictures:
    seen = BoardPictures(arguments.table_picture)
    if arguments.source is None:
        count = arguments.pictures if arguments.lens is None else 0
        look_live(board, seen, arguments.topic, count, table=not arguments.no_table)
    elif is_bag(arguments.source):
        pictures = read_bag(arguments.source, arguments.topic)
        look_through(board, seen, pictures, arguments.pictures)
    else:
        look_through(board, seen, read_folder(arguments.source))
    if not seen.sightings and seen.size == (0, 0):
        raise HiwmError(f'there are no pictures on {arguments.topic}')
    return seen
