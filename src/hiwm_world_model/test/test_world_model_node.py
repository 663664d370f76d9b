# SPDX-License-Identifier: Apache-2.0
"""The node as a process: what it refuses, and that it adds nothing to what a backend predicts."""

from __future__ import annotations

from pathlib import Path
import subprocess
import sys

import numpy as np
import pytest
from test.probe import watching
from test.process import Process

from hiwm_core.action import clip_values
from hiwm_core.backend import first_observation, next_observation
from hiwm_core.contract import IMAGE
from hiwm_robot.play import PlayDriver
from hiwm_robot.sims import load_simulator
from hiwm_world_model.model import WorldModel
from hiwm_world_model.weights import WEIGHTS_NAME, save_model

RUN = """
import sys
from hiwm_world_model.world_model_node import main
sys.argv[0] = 'world_model'
main()
"""


def run_node(folder: str, *parameters: str) -> subprocess.CompletedProcess[str]:
    given = [part for each in (f"model:='{folder}'", *parameters) for part in ('-p', each)]
    return subprocess.run(
        [sys.executable, '-c', RUN, '--ros-args', *given],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_damaged_weights_end_the_node(tmp_path: Path, small_model: WorldModel) -> None:
    save_model(tmp_path, small_model, {})
    weights = tmp_path / WEIGHTS_NAME
    weights.write_bytes(weights.read_bytes()[:-7])
    ended = run_node(str(tmp_path))
    assert ended.returncode == 1
    assert 'world_model: the weights' in ended.stderr
    assert 'Traceback' not in ended.stderr


@pytest.mark.parametrize(
    ('folder', 'sentence'), [('/nowhere', 'there is no /nowhere/card.json'), ('', 'needs weights')]
)
def test_missing_weights_end_the_node(folder: str, sentence: str) -> None:
    ended = run_node(folder)
    assert ended.returncode == 1
    assert sentence in ended.stderr
    assert 'Traceback' not in ended.stderr


@pytest.mark.parametrize(
    ('parameters', 'sentence'),
    [
        (['backend:=dream'], "there is nothing named 'dream' among the installed backends"),
        (['device:=tpu'], "parameter 'device' is 'tpu'; it must be one of: auto, cpu, cuda"),
        (['backend:=sim_arm', 'device:=cuda'], 'sim_arm runs on the CPU'),
    ],
)
def test_a_backend_or_device_that_is_not_there_ends_the_node(
    parameters: list[str], sentence: str
) -> None:
    ended = run_node('', *parameters)
    assert ended.returncode == 1
    assert f'world_model: {sentence}' in ended.stderr
    assert 'Traceback' not in ended.stderr


def test_frames_of_the_physics_served_by_the_node_are_the_physics_own(tmp_path: Path) -> None:
    command = [sys.executable, '-c', RUN, '--ros-args', '-p', 'backend:=sim_arm']
    command += ['-p', 'pace:=lockstep', '-p', 'start:=running', '-p', 'seed:=11']
    with watching() as probe, Process(command, tmp_path / 'log'):
        probe.until(lambda: probe.states, 'the first state')
        driver = PlayDriver(probe.task, 3)
        physics = load_simulator(probe.task)
        seen = [first_observation(physics, probe.task.start_scene(11), 0)]
        for _ in range(25):
            action = clip_values(probe.task, driver.action(seen))
            (state,) = probe.drive_rig(action[None])
            seen.append(next_observation(physics, seen[-1], action, 0))
            assert np.array_equal(state.scene_values, seen[-1].scene)
            probe.until(
                lambda stamp=state.header.stamp: any(
                    image.header.stamp == stamp for image in probe.messages[IMAGE.name]
                ),
                "the state's frame",
            )
            assert np.array_equal(probe.frame(state), seen[-1].frame)
        assert (state.rig, state.fidelity) == ('world_model', 1.0)
