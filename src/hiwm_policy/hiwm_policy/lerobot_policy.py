# SPDX-License-Identifier: Apache-2.0
"""A LeRobot checkpoint as a policy: `policy:=lerobot:FOLDER`, or an id on the hub in its place.

LeRobot lives in an environment of its own (`hiwm_core.lerobot_environment`), so the checkpoint is
hosted there by a child process, `hiwm_core.lerobot_host`, and asked through a socket. What it needs
is read from its own config and compared with the task before its weights are loaded: at most one
camera of the task's size, as many joints, as many actions. Configs have no names, so joints and
actions are in the task's order, as `export_lerobot` writes them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
import os
from pathlib import Path
import socket
import subprocess
import tempfile
from typing import Any
import weakref

import numpy as np
from numpy.typing import NDArray
import torch

from hiwm_core.alignment import filled
from hiwm_core.error import ConfigurationError, ErrorCode, HiwmError
from hiwm_core.framing import Message, receive, send
from hiwm_core.lerobot_environment import lerobot_command
from hiwm_core.observation import Observation
from hiwm_core.task import Task
from hiwm_policy.policy import check_frame

HOST = 'hiwm_core.lerobot_host'
OFFLINE = 'HF_HUB_OFFLINE'
STATE, ACTION = 'observation.state', 'action'
# A hub may have to send gigabytes; then a network that takes this long for a chunk drives nothing.
OPEN_SECONDS, CHUNK_SECONDS = 1800.0, 60.0
# A session ends within five seconds, and a host that is killed loses nothing.
END_SECONDS = 2.0


class LeRobotPolicy:
    """A checkpoint in a child process, which ends with this object.

    The same history and key give the same chunk: the policy begins anew with every chunk, and the
    key seeds torch.

    Args:
        task: What is commanded and measured.
        which: The checkpoint's folder, or its id on the hub.

    Raises:
        ConfigurationError: There is no such checkpoint or no LeRobot, or it does not fit the task.
    """

    def __init__(self, task: Task, which: str) -> None:
        self._task, self._which = task, which
        command, environment = lerobot_command(HOST, [])
        if OFFLINE not in os.environ and not Path(which).expanduser().is_dir():
            del environment[OFFLINE]
        self._channel, theirs = socket.socketpair()
        # What it says is kept for the sentence about its end, in a file that has no name.
        self._said = tempfile.TemporaryFile()  # noqa: SIM115
        with theirs:
            # A session of its own: a Ctrl-C in the terminal is this process's to handle.
            self._process = subprocess.Popen(
                [*command, '--socket', str(theirs.fileno())],
                env=environment,
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=self._said,
                stderr=self._said,
                start_new_session=True,
            )
        self._end = weakref.finalize(self, _end, self._process, self._channel)
        try:
            self._open()
        except HiwmError as error:
            self.close()
            raise ConfigurationError(error.message) from error

    def _open(self) -> None:
        self._channel.settimeout(OPEN_SECONDS)
        asked = {'checkpoint': self._which, 'threads': torch.get_num_threads()}
        found = self._ask(Message({'do': 'describe', **asked})).header
        image = check_fit(self._task, self._which, found)
        self.name = f'lerobot:{found["kind"]}'
        self._context = int(found['context'])
        self._ask(Message({'do': 'load', 'image': image, 'description': self._task.description}))
        # One chunk of nothing: it tells how long they are, and whether the policy can act at all.
        black = Observation(
            np.zeros(self._task.frame_shape, np.uint8), np.zeros(len(self._task.joints))
        )
        self._chunk_steps = len(self.chunk([black], 0))
        self._channel.settimeout(CHUNK_SECONDS)

    @property
    def context(self) -> int:
        return self._context

    @property
    def chunk_steps(self) -> int:
        return self._chunk_steps

    def chunk(self, history: Sequence[Observation], key: int) -> NDArray[np.float64]:
        """The next actions (n, A), within the task's limits.

        Raises:
            HiwmError: The history is empty, a frame has not the task's size, or the checkpoint's
                process failed, has died or does not answer.
        """
        if not history:
            raise HiwmError('a chunk needs at least one observation')
        recent = filled(history, self._context)
        for observation in recent:
            check_frame(self._task, observation.frame)
        # torch takes seeds of 64 bits, JSON's numbers are whole.
        message = Message(
            {'do': 'chunk', 'key': int(key) % 2**63},
            {
                'frames': np.stack([observation.frame for observation in recent]),
                'joints': np.stack([observation.joints for observation in recent]).astype(
                    np.float32
                ),
            },
        )
        chunk = self._ask(message).arrays.get('chunk', np.empty(0))
        if chunk.ndim != 2 or chunk.shape[1] != len(self._task.actions) or len(chunk) == 0:
            raise self._fault(
                f'gave actions of shape {chunk.shape}; the task has {len(self._task.actions)}'
            )
        return np.clip(chunk, self._task.action_low, self._task.action_high)

    def close(self) -> None:
        """End the child process; asking for chunks afterwards is refused."""
        self._end()

    def _ask(self, message: Message) -> Message:
        if not self._end.alive:
            raise self._fault('has been ended; start the policy again')
        try:
            send(self._channel, message)
            answer = receive(self._channel)
        except TimeoutError as error:
            waited = self._channel.gettimeout()
            self.close()
            raise self._fault(f'did not answer for {waited:g} s and was ended') from error
        except OSError:
            answer = None
        if answer is None:
            raise self._died()
        if 'error' in answer.header:
            raise HiwmError(str(answer.header['error']), ErrorCode.MODEL_FAULT)
        return answer

    def _died(self) -> HiwmError:
        """The sentence about a process that is gone."""
        try:
            code = self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            code = None
        self.close()
        self._said.seek(0)
        lines = self._said.read().decode(errors='replace').split('\n')
        last = next((line.strip() for line in reversed(lines) if line.strip()), 'it said nothing')
        return self._fault(f'has died (exit code {code}): {last}; start the policy again')

    def _fault(self, what: str) -> HiwmError:
        return HiwmError(f"the LeRobot policy '{self._which}' {what}", ErrorCode.MODEL_FAULT)


def _end(process: subprocess.Popen[bytes], channel: socket.socket) -> None:
    """Close the socket, at which the child ends, and see to it."""
    with suppress(OSError):
        # A thread that waits for an answer is woken by this, and not by `close`.
        channel.shutdown(socket.SHUT_RDWR)
    channel.close()
    try:
        process.wait(END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def check_fit(task: Task, which: str, found: Mapping[str, Any]) -> str:
    """The key of the checkpoint's camera; empty if it looks at none.

    Args:
        which: Names the checkpoint in sentences.
        found: `HostedCheckpoint.description`.

    Raises:
        ConfigurationError: It needs what the task does not give, or gives what it does not take.
    """

    def refuse(sentence: str) -> ConfigurationError:
        return ConfigurationError(f"the LeRobot policy '{which}' {sentence}")

    cameras = [name for name, each in found['inputs'].items() if each['kind'] == 'VISUAL']
    for name, each in found['inputs'].items():
        if name not in cameras and name != STATE and each['kind'] != 'LANGUAGE':
            raise refuse(f"needs the input '{name}', which no rig publishes")
    if len(cameras) > 1:
        raise refuse(f"needs the cameras {', '.join(cameras)}; task '{task.name}' has one")
    for name in cameras:
        channels, height, width = found['inputs'][name]['shape']
        if (height, width, channels) != task.frame_shape:
            raise refuse(
                f'was trained on {width}x{height} pixels with {channels} channels; task '
                f"'{task.name}' has {task.camera.width}x{task.camera.height} with 3"
            )
    sizes = (
        ('joints', found['inputs'].get(STATE), task.joint_names),
        ('actions', found['outputs'].get(ACTION, {'shape': [0]}), task.action_names),
    )
    for kind, each, names in sizes:
        if each is not None and each['shape'] != [len(names)]:
            raise refuse(
                f"was trained for {each['shape'][0]} {kind}; task '{task.name}' has {len(names)}: "
                f'{", ".join(names)}'
            )
    if found['ensembles']:
        raise refuse(
            'averages overlapping chunks, which needs a memory that policies here do not have: '
            'set temporal_ensemble_coeff to null in its config.json, and n_action_steps'
        )
    return cameras[0] if cameras else ''


def lerobot(task: Task, model: Path | None) -> LeRobotPolicy:
    """The entry point `lerobot` in the group `hiwm.policies`."""
    if model is None or not str(model).strip('.'):
        raise ConfigurationError('name the LeRobot checkpoint: lerobot:FOLDER or lerobot:ID')
    return LeRobotPolicy(task, str(model))
