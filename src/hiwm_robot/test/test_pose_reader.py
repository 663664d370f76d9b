# SPDX-License-Identifier: Apache-2.0
"""The pose reader of Push-T against scenes that the simulator drew."""

from __future__ import annotations

from dataclasses import replace
import math

import numpy as np
from numpy.typing import NDArray
import pytest

from hiwm_core.error import ConfigurationError, HiwmError
from hiwm_core.task import load_task
from hiwm_robot.play import EDGE, PLAY, PlayDriver
from hiwm_robot.sims import PoseReader, Sighting, load_pose_reader
from hiwm_robot.sims.pusht.geometry import GOAL, OUTLINE, WORKSPACE, place
from hiwm_robot.sims.pusht.simulator import PushtSimulator, state_of_scene
from hiwm_robot.trajectory import run_episode

TASK = load_task('pusht')
PIXEL = TASK.camera.metres_per_pixel
FRAMES = 2000
SITUATIONS = ('open', 'overlap', 'goal', 'edge')


@pytest.fixture(scope='module')
def reader() -> PoseReader:
    return load_pose_reader(TASK)


@pytest.fixture(scope='module')
def physics() -> PushtSimulator:
    return PushtSimulator(TASK)


def draw(physics: PushtSimulator, scene: NDArray[np.float64]) -> NDArray[np.uint8]:
    """The frame of any scene (5,), also one that no task would allow."""
    return physics.decode(state_of_scene(scene)[None])[0]


def random_scene(generator: np.random.Generator, situation: str) -> NDArray[np.float64]:
    """In metres. No part of the T is outside the picture by more than 15 mm, a hard push's work."""
    pusher = generator.uniform(0.0, WORKSPACE, 2)
    while True:
        tee = np.array(
            [*generator.uniform(0.0, WORKSPACE, 2), generator.uniform(-math.pi, math.pi)]
        )
        if situation == 'goal':
            tee = GOAL + generator.normal(0.0, 1.0, 3) * [15.0, 15.0, 0.2]
        corners = place(OUTLINE, tee)
        outside = max(-corners.min(), corners.max() - WORKSPACE)
        if (outside > -10.0) == (situation == 'edge') and outside < 15.0:
            break
    if situation == 'overlap':
        pusher = place(generator.uniform([-70.0, -10.0], [70.0, 130.0]), tee)
    if situation == 'edge':
        pusher[generator.integers(2)] = generator.choice([0.0, 2.0, 509.0, WORKSPACE])
    pusher = np.clip(pusher, 0.0, WORKSPACE)
    angle = math.remainder(tee[2], math.tau)
    return np.array([*pusher / 1000.0, *tee[:2] / 1000.0, angle])


def errors(seen: list[Sighting], scenes: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """Of the pusher and the T, pixels, and of the T's angle, degrees: (N,) each."""
    away = np.array([sighting.scene for sighting in seen]) - scenes
    turned = np.abs(away[:, 4] - np.rint(away[:, 4] / math.tau) * math.tau)
    return {
        'pusher_px': np.hypot(away[:, 0], away[:, 1]) / PIXEL,
        'tee_px': np.hypot(away[:, 2], away[:, 3]) / PIXEL,
        'tee_deg': np.degrees(turned),
    }


@pytest.mark.timeout(600)
def test_two_thousand_frames_of_the_simulator(reader: PoseReader, physics: PushtSimulator) -> None:
    generator = np.random.default_rng(0)
    kinds = np.array([SITUATIONS[number % 4] for number in range(FRAMES)])
    scenes = np.array([random_scene(generator, str(kind)) for kind in kinds])
    seen = [reader.read(draw(physics, scene)) for scene in scenes]
    found = errors(seen, scenes)
    for situation in SITUATIONS:
        chosen = kinds == situation
        for measure, limits in {
            'pusher_px': (0.5, 1.5),
            'tee_px': (0.5, 1.5),
            'tee_deg': (1.5, 5.0),
        }.items():
            median, worst = np.percentile(found[measure][chosen], [50, 99])
            assert median < limits[0], f'{situation} {measure}'
            assert worst < limits[1], f'{situation} {measure}'
    for sighting in seen:
        assert sighting.components == {'pusher': 1, 'tee': 1}
    # The camera's scale is the task's: nothing is off to one side.
    away = np.array([sighting.scene for sighting in seen]) - scenes
    assert np.abs(np.median(away[:, :4], axis=0)).max() < 0.1 * PIXEL


def test_frames_of_driving(reader: PoseReader, physics: PushtSimulator) -> None:
    """With the marks of contact that gym-pusht draws, and a T that is forced into walls."""
    for seed, shares in ((7, PLAY), (907, EDGE)):
        driver = PlayDriver(TASK, seed, shares)
        course = run_episode(TASK, physics, driver, seed, 150, until_success=False).observations
        found = errors(
            [reader.read(observation.frame) for observation in course],
            np.array([observation.scene for observation in course]),
        )
        for measure, limit in {'pusher_px': 1.0, 'tee_px': 1.5, 'tee_deg': 5.0}.items():
            assert np.percentile(found[measure], 99) < limit, measure


def test_what_is_not_there_is_not_seen(reader: PoseReader, physics: PushtSimulator) -> None:
    away = -2.0
    empty = reader.read(draw(physics, np.array([away, away, away, away, 0.0])))
    assert np.isnan(empty.scene).all()
    assert empty.components == {'pusher': 0, 'tee': 0}
    assert empty.area == {'pusher': 0, 'tee': 0}
    alone = reader.read(draw(physics, np.array([0.1, 0.4, away, away, 0.0])))
    assert alone.scene[:2] == pytest.approx([0.1, 0.4], abs=0.5 * PIXEL)
    assert np.isnan(alone.scene[2:]).all()
    tee = reader.read(draw(physics, np.array([away, away, 0.3, 0.2, 1.0])))
    assert np.isnan(tee.scene[:2]).all()
    assert tee.scene[2:4] == pytest.approx([0.3, 0.2], abs=0.5 * PIXEL)


def test_what_is_there_twice_is_counted(reader: PoseReader, physics: PushtSimulator) -> None:
    first = draw(physics, np.array([0.1, 0.1, 0.12, 0.3, 0.4]))
    second = draw(physics, np.array([0.42, 0.42, 0.4, 0.15, 2.0]))
    # The darker of both: a picture with two of everything.
    seen = reader.read(np.minimum(first, second))
    assert seen.components == {'pusher': 2, 'tee': 2}
    assert seen.area['tee'] > 1.8 * reader.read(first).area['tee']


def test_a_pusher_across_the_stem_does_not_part_the_tee(
    reader: PoseReader, physics: PushtSimulator
) -> None:
    pusher = place(np.array([0.0, 75.0]), np.array([300.0, 150.0, 0.7])) / 1000.0
    seen = reader.read(draw(physics, np.array([*pusher, 0.3, 0.15, 0.7])))
    assert seen.components == {'pusher': 1, 'tee': 1}
    assert seen.scene[4] == pytest.approx(0.7, abs=math.radians(1.5))


def test_a_blurred_and_tinted_frame_is_read_alike(
    reader: PoseReader, physics: PushtSimulator
) -> None:
    """As a network may draw it: soft edges, colours a little off, noise."""
    generator = np.random.default_rng(3)
    for seed in range(20):
        scene = TASK.start_scene(seed)
        frame = draw(physics, scene).astype(float)
        soft = (
            sum(np.roll(frame, shift, axis) for axis in (0, 1) for shift in (-1, 1)) * 0.125
            + 0.5 * frame
        )
        drawn = soft * [0.97, 1.0, 0.98] + generator.normal(0.0, 4.0, frame.shape)
        seen = reader.read(np.clip(drawn, 0, 255).astype(np.uint8))
        found = errors([seen], scene[None])
        assert seen.components == {'pusher': 1, 'tee': 1}
        assert found['pusher_px'][0] < 1.0
        assert found['tee_px'][0] < 1.0
        assert found['tee_deg'][0] < 4.0


def test_a_wrong_frame_is_refused(reader: PoseReader) -> None:
    with pytest.raises(HiwmError, match=r'frame \(48, 96, 3\) of uint8 cannot be read'):
        reader.read(np.zeros((48, 96, 3), np.uint8))
    with pytest.raises(HiwmError, match='of float32 cannot be read'):
        reader.read(np.zeros((96, 96, 3), np.float32))


def test_a_task_without_a_reader_is_named() -> None:
    with pytest.raises(ConfigurationError, match="simulator 'folding', which is not installed"):
        load_pose_reader(replace(TASK, simulator='folding'))
