# SPDX-License-Identifier: Apache-2.0
"""Which image, state and joints are one frame, in whatever order they come."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

from hiwm_core.alignment import PENDING_FRAMES, FrameJoin, JoinedFrame, filled, history_rows

MS = 1_000_000
PERIOD = 0.1


def feed(join: FrameJoin, *messages: tuple[str, int]) -> list[tuple[int, str, str, str]]:
    """Messages by kind and stamp (ms); what is whole afterwards, each part by its name."""
    whole: list[JoinedFrame] = []
    for kind, stamp in messages:
        whole += getattr(join, kind)(stamp * MS, f'{kind} {stamp}')
    return [(frame.stamp // MS, frame.image, frame.state, frame.joints) for frame in whole]


@pytest.mark.parametrize('order', list(permutations(['image', 'state', 'joints'])))
def test_three_parts_of_one_stamp_are_a_frame(order: tuple[str, ...]) -> None:
    join = FrameJoin(PERIOD)
    for stamp in (100, 200, 300):
        assert feed(join, *((kind, stamp) for kind in order)) == [
            (stamp, f'image {stamp}', f'state {stamp}', f'joints {stamp}')
        ]


def test_an_arm_with_its_own_rate_gives_the_newest_joints_that_are_not_later() -> None:
    join = FrameJoin(PERIOD)
    assert feed(join, ('joints', 90), ('image', 100), ('state', 100)) == []
    assert feed(join, ('joints', 98)) == []
    assert feed(join, ('joints', 106)) == [(100, 'image 100', 'state 100', 'joints 98')]
    # A slow camera changes nothing.
    late = feed(join, ('joints', 198), ('joints', 206), ('image', 200), ('state', 200))
    assert late == [(200, 'image 200', 'state 200', 'joints 198')]


def test_a_frame_whose_joints_were_lost_is_passed_over() -> None:
    join = FrameJoin(PERIOD)
    assert len(feed(join, ('image', 100), ('state', 100), ('joints', 100))) == 1
    assert feed(join, ('image', 200), ('state', 200), ('joints', 300)) == []
    assert len(feed(join, ('image', 300), ('state', 300))) == 1


def test_a_state_that_is_sent_again_makes_no_second_frame() -> None:
    join = FrameJoin(PERIOD)
    assert len(feed(join, ('image', 100), ('state', 100), ('joints', 100), ('state', 100))) == 1
    assert len(feed(join, *((kind, 200) for kind in ('image', 'state', 'joints')))) == 1


def test_what_is_incomplete_for_long_is_given_up() -> None:
    join = FrameJoin(PERIOD)
    feed(join, *(('image', 100 * number) for number in range(1, PENDING_FRAMES + 2)))
    assert feed(join, ('state', 100), ('joints', 100)) == []
    assert len(feed(join, ('state', 300), ('joints', 300))) == 1


def test_a_clock_that_is_set_back_begins_anew() -> None:
    join = FrameJoin(PERIOD)
    for stamp in (900_000, 5_000):
        assert len(feed(join, *((kind, stamp) for kind in ('state', 'image', 'joints')))) == 1


def test_a_history_is_filled_live_as_it_is_recorded() -> None:
    """The rows that training takes are those that the live policy would have been given."""
    for context in (1, 2, 5):
        for start in (0, 7):
            for step in range(start, start + 9):
                live = filled(range(start, step + 1), context)
                assert history_rows(step, context, start).tolist() == live
    rows = history_rows([[3, 4]], 2, [[3, 3]])
    np.testing.assert_array_equal(rows, [[[3, 3], [3, 4]]])
