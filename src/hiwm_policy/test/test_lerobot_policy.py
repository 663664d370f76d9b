# SPDX-License-Identifier: Apache-2.0
"""A hosted policy: what fits the task, and what is said when the process that hosts it fails.

What stands in for LeRobot's environment here is a Python with this process's packages that runs a
host of the test's own; `test_hosted_lerobot.py` hosts real checkpoints.
"""

from __future__ import annotations

from collections.abc import Callable
import gc
from pathlib import Path
import sys
from typing import Any

import numpy as np
import pytest

from hiwm_core.error import ConfigurationError, HiwmError
from hiwm_core.extension import open_policy
from hiwm_core.lerobot_environment import VARIABLE
from hiwm_core.observation import Observation
from hiwm_core.policy import ClosingPolicy
from hiwm_core.task import Task
from hiwm_policy import lerobot_policy
from hiwm_policy.lerobot_policy import LeRobotPolicy, check_fit

CAMERA = 'observation.images.camera'
FEATURES: dict[str, Any] = {
    'kind': 'act',
    'context': 2,
    'inputs': {
        CAMERA: {'kind': 'VISUAL', 'shape': [3, 96, 96]},
        'observation.state': {'kind': 'STATE', 'shape': [2]},
    },
    'outputs': {'action': {'kind': 'ACTION', 'shape': [2]}},
    'ensembles': False,
}
# Answers as the real host does; its chunk shows what it was given.
HOST = """
import os, signal, socket, sys, time
import numpy as np
from hiwm_core.framing import Message, receive, send

channel = socket.socket(fileno=int(sys.argv[-1]))
while (message := receive(channel)) is not None:
    what = message.header['do']
    if what == 'describe':
        send(channel, Message({features}))
    elif what == 'load':
        send(channel, Message({{}}))
    else:
        frames, joints = message.arrays['frames'], message.arrays['joints']
        number = int(frames[-1, 0, 0, 0])
        if number == 1:
            print('the GPU fell off the bus', file=sys.stderr, flush=True)
            os.kill(os.getpid(), signal.SIGKILL)
        if number == 2:
            time.sleep(3600)
        if number == 3:
            send(channel, Message({{'error': 'LeRobot failed: ValueError'}}))
            continue
        columns = 3 if number == 4 else 2
        chunk = np.full((5, columns), float(message.header['key'] % 100))
        chunk[1:, :2] = joints[-1]
        send(channel, Message({{}}, {{'chunk': chunk}}))
"""


def seen(number: int = 0, joint: float = 0.2) -> Observation:
    return Observation(np.full((96, 96, 3), number, np.uint8), np.full(2, joint))


@pytest.fixture
def hosted(
    pusht: Task, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[..., LeRobotPolicy]:
    """A policy whose host is the one above."""

    def make(**changes: object) -> LeRobotPolicy:
        (tmp_path / 'host.py').write_text(HOST.format(features={**FEATURES, **changes}))
        python = tmp_path / 'bin' / 'python'
        python.parent.mkdir(exist_ok=True)
        python.write_text(f'#!/bin/sh\nexec {sys.executable} {tmp_path}/host.py "$@"\n')
        python.chmod(0o755)
        monkeypatch.setenv(VARIABLE, str(tmp_path))
        policy = open_policy(pusht, 'lerobot:someone/checkpoint')
        assert isinstance(policy, LeRobotPolicy)
        return policy

    return make


def test_it_is_a_policy_that_is_asked_through_a_socket(
    hosted: Callable[..., LeRobotPolicy], pusht: Task
) -> None:
    policy = hosted()
    assert isinstance(policy, ClosingPolicy)
    assert (policy.name, policy.context, policy.chunk_steps) == ('lerobot:act', 2, 5)
    chunk = policy.chunk([seen(joint=0.1), seen(joint=0.25)], 2**64 - 1)
    assert chunk[0].tolist() == pusht.action_high.tolist(), 'within the limits'
    assert chunk[1:].tolist() == [[0.25, 0.25]] * 4
    with pytest.raises(HiwmError, match='at least one observation'):
        policy.chunk([], 0)
    with pytest.raises(HiwmError, match='64x48 pixels'):
        policy.chunk([Observation(np.zeros((48, 64, 3), np.uint8), np.zeros(2))], 0)
    assert len(policy.chunk([seen()], 0)) == 5, 'a refusal ends nothing'


def test_a_fault_of_the_host_is_a_sentence_and_no_end(
    hosted: Callable[..., LeRobotPolicy],
) -> None:
    policy = hosted()
    with pytest.raises(HiwmError, match='LeRobot failed: ValueError'):
        policy.chunk([seen(3)], 0)
    with pytest.raises(HiwmError, match=r'gave actions of shape \(5, 3\); the task has 2'):
        policy.chunk([seen(4)], 0)
    assert len(policy.chunk([seen()], 0)) == 5


def test_a_host_that_dies_is_named_with_its_last_words(
    hosted: Callable[..., LeRobotPolicy],
) -> None:
    policy = hosted()
    with pytest.raises(HiwmError) as death:
        policy.chunk([seen(1)], 0)
    assert "'someone/checkpoint' has died (exit code -9)" in death.value.message
    assert 'the GPU fell off the bus' in death.value.message
    with pytest.raises(HiwmError, match='has been ended; start the policy again'):
        policy.chunk([seen()], 0)


def test_a_host_that_hangs_is_ended(
    hosted: Callable[..., LeRobotPolicy], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lerobot_policy, 'CHUNK_SECONDS', 0.2)
    monkeypatch.setattr(lerobot_policy, 'END_SECONDS', 0.2)
    policy = hosted()
    with pytest.raises(HiwmError, match=r'did not answer for 0.2 s and was ended'):
        policy.chunk([seen(2)], 0)
    assert policy._process.poll() is not None


def test_the_host_ends_with_the_policy(hosted: Callable[..., LeRobotPolicy]) -> None:
    policy = hosted()
    policy.close()
    assert policy._process.returncode == 0
    forgotten = hosted()
    process = forgotten._process
    del forgotten
    gc.collect()
    assert process.returncode == 0


def test_without_lerobot_the_sentence_says_how_to_get_it(
    pusht: Task, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    with pytest.raises(ConfigurationError, match=r'names .*, which has no bin/python'):
        open_policy(pusht, 'lerobot:someone/checkpoint')
    for which in ('lerobot', 'lerobot:'):
        with pytest.raises(ConfigurationError, match='name the LeRobot checkpoint'):
            open_policy(pusht, which)


# -- what fits the task --------------------------------------------------------------------------


def changed(**changes: object) -> dict[str, Any]:
    """The features with inputs added, changed, or (None) removed."""
    inputs = {
        name: each for name, each in {**FEATURES['inputs'], **changes}.items() if each is not None
    }
    return {**FEATURES, 'inputs': inputs}


def test_what_it_sees_is_told_by_its_own_config(pusht: Task) -> None:
    assert check_fit(pusht, 'x', FEATURES) == CAMERA
    other = changed(**{CAMERA: None, 'observation.image': FEATURES['inputs'][CAMERA]})
    assert check_fit(pusht, 'x', other) == 'observation.image'
    assert check_fit(pusht, 'x', changed(**{CAMERA: None})) == ''
    assert check_fit(pusht, 'x', changed(**{'observation.state': None})) == CAMERA


@pytest.mark.parametrize(
    ('found', 'sentence'),
    [
        (
            changed(**{CAMERA: {'kind': 'VISUAL', 'shape': [3, 480, 640]}}),
            "was trained on 640x480 pixels with 3 channels; task 'pusht' has 96x96 with 3",
        ),
        (
            changed(**{'observation.images.wrist': FEATURES['inputs'][CAMERA]}),
            f"needs the cameras {CAMERA}, observation.images.wrist; task 'pusht' has one",
        ),
        (
            changed(**{'observation.state': {'kind': 'STATE', 'shape': [14]}}),
            "was trained for 14 joints; task 'pusht' has 2",
        ),
        (
            changed(**{'observation.environment_state': {'kind': 'ENV', 'shape': [16]}}),
            "needs the input 'observation.environment_state', which no rig publishes",
        ),
        (
            {**FEATURES, 'outputs': {'action': {'kind': 'ACTION', 'shape': [6]}}},
            "was trained for 6 actions; task 'pusht' has 2",
        ),
        ({**FEATURES, 'outputs': {}}, 'was trained for 0 actions'),
        ({**FEATURES, 'ensembles': True}, 'set temporal_ensemble_coeff to null'),
    ],
)
def test_what_does_not_fit_is_one_sentence(
    pusht: Task, found: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(ConfigurationError) as refusal:
        check_fit(pusht, 'someone/checkpoint', found)
    assert refusal.value.message.startswith("the LeRobot policy 'someone/checkpoint' ")
    assert sentence in refusal.value.message


def test_what_does_not_fit_is_refused_before_it_is_loaded(
    hosted: Callable[..., LeRobotPolicy],
) -> None:
    with pytest.raises(ConfigurationError, match='was trained for 6 actions'):
        hosted(outputs={'action': {'kind': 'ACTION', 'shape': [6]}})
