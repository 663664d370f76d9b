# SPDX-License-Identifier: Apache-2.0
"""The half of a hosted LeRobot policy that runs in LeRobot's environment.

The other half, `hiwm_policy.lerobot_policy`, starts it with one end of a socket. Each message
(`hiwm_core.framing`) gets one answer:

    {'do': 'describe', 'checkpoint', 'threads'}    what the checkpoint's config says of it
    {'do': 'load', 'image', 'description'}         {} once the policy can act
    {'do': 'chunk', 'key'}, frames, joints         the array `chunk` (n, A)

An answer {'error': sentence} says why there is no other. When the socket ends, so does the process.

Chunks are made as LeRobot's own rollout makes them: its processors before and after, observations
through `select_action`, and the actions that this leaves in the policy's queue.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
import socket
import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hiwm_core.error import HiwmError
from hiwm_core.framing import Message, receive, send

CONFIG, PROCESSOR = 'config.json', 'policy_preprocessor.json'
STATE = 'observation.state'


def reason(error: Exception) -> str:
    """An error of a library, in one line."""
    said = str(error).strip().splitlines()
    return f'{type(error).__name__}: {said[0]}' if said else type(error).__name__


def find_checkpoint(which: str) -> Path:
    """The folder of a checkpoint that is named by its folder or by its id on the hub."""
    folder = Path(which).expanduser()
    if not folder.is_dir():
        from huggingface_hub import snapshot_download  # noqa: PLC0415

        try:
            folder = Path(snapshot_download(which, allow_patterns=['*.json', '*.safetensors']))
        except Exception as error:
            raise HiwmError(
                f"there is no LeRobot checkpoint '{which}': it is not a folder, and the hub gives "
                f'none of that id ({reason(error)})'
            ) from error
    if not (folder / CONFIG).is_file():
        raise HiwmError(f'{folder} holds no LeRobot checkpoint: {CONFIG} is missing')
    return folder


class HostedCheckpoint:
    """A checkpoint, first only its config.

    Args:
        which: Its folder, or its id on the hub.
        threads: Of torch.

    Raises:
        HiwmError: There is none, or LeRobot cannot read its config.
    """

    def __init__(self, which: str, threads: int) -> None:
        self._folder = find_checkpoint(which)
        # The factory's import registers all of LeRobot's kinds of config.
        from lerobot.configs.policies import PreTrainedConfig  # noqa: PLC0415
        import lerobot.policies.factory  # noqa: F401, PLC0415
        import torch  # noqa: PLC0415

        try:
            torch.set_num_threads(threads)
            self._config = PreTrainedConfig.from_pretrained(self._folder)
        except Exception as error:
            raise HiwmError(f'{self._folder / CONFIG} cannot be read: {reason(error)}') from error
        self._policy: Any = None

    def description(self) -> dict[str, Any]:
        """What the config says, in JSON's terms."""
        config = self._config

        def shown(features: dict[str, Any] | None) -> dict[str, Any]:
            return {
                name: {'kind': feature.type.value, 'shape': list(feature.shape)}
                for name, feature in (features or {}).items()
            }

        return {
            'kind': config.type,
            'context': int(config.n_obs_steps),
            'inputs': shown(config.input_features),
            'outputs': shown(config.output_features),
            'ensembles': getattr(config, 'temporal_ensemble_coeff', None) is not None,
        }

    def load(self, image: str, description: str) -> None:
        """Make it ready to act.

        Args:
            image: The key of its camera; empty: it looks at none.
            description: Of the task, for policies that read.

        Raises:
            HiwmError: LeRobot cannot load it.
        """
        from lerobot.policies.factory import (  # noqa: PLC0415
            get_policy_class,
            make_pre_post_processors,
        )

        self._image, self._description = image, description
        if not (self._folder / PROCESSOR).is_file():
            raise HiwmError(
                f'{self._folder} has no {PROCESSOR}, so it was written by an older LeRobot: bring '
                'it up to date with lerobot.processor.migrate_policy_normalization'
            )
        try:
            kind = get_policy_class(self._config.type)
            self._policy = kind.from_pretrained(self._folder, config=self._config, strict=True)
            self._before, self._after = make_pre_post_processors(
                self._config,
                str(self._folder),
                preprocessor_overrides={'device_processor': {'device': str(self._config.device)}},
            )
        except Exception as error:
            raise HiwmError(f'LeRobot cannot load {self._folder}: {reason(error)}') from error

    def chunk(
        self, frames: NDArray[np.uint8], joints: NDArray[np.float32], key: int
    ) -> NDArray[np.float64]:
        """The next actions (n, A) from frames (To, H, W, 3) and joints (To, J), oldest first."""
        import torch  # noqa: PLC0415

        policy, device = self._policy, torch.device(self._config.device)
        torch.manual_seed(key)
        mixed = device.type == 'cuda' and self._config.use_amp
        with torch.inference_mode(), torch.autocast(device.type) if mixed else nullcontext():
            policy.reset()
            seen = [
                self._prepared(frame, positions)
                for frame, positions in zip(frames, joints, strict=True)
            ]
            for older in seen[:-1]:
                self._remember(older)
            actions = [policy.select_action(seen[-1]), *self._queued()]
            # The processors expect one step (B, A) of actions at a time.
            return np.concatenate(
                [self._after(action).cpu().numpy().astype(np.float64) for action in actions]
            )

    def _prepared(self, frame: NDArray[np.uint8], joints: NDArray[np.float32]) -> dict[str, Any]:
        from lerobot.policies.utils import prepare_observation_for_inference  # noqa: PLC0415
        import torch  # noqa: PLC0415

        observation: dict[str, Any] = {}
        if self._image:
            observation[self._image] = frame
        if STATE in self._config.input_features:
            observation[STATE] = joints
        prepared: dict[str, Any] = self._before(
            prepare_observation_for_inference(
                observation, torch.device(self._config.device), self._description
            )
        )
        return prepared

    def _remember(self, prepared: dict[str, Any]) -> None:
        """Let the policy see an observation without asking it to act."""
        from lerobot.policies.utils import populate_queues  # noqa: PLC0415
        from lerobot.utils.constants import ACTION, OBS_IMAGES  # noqa: PLC0415
        import torch  # noqa: PLC0415

        policy = self._policy
        if OBS_IMAGES in policy._queues:
            cameras = [prepared[name] for name in self._config.image_features]
            prepared = {**prepared, OBS_IMAGES: torch.stack(cameras, dim=-4)}
        policy._queues = populate_queues(policy._queues, prepared, exclude_keys=[ACTION])

    def _queued(self) -> list[Any]:
        """The rest of the chunk, where the policy makes chunks."""
        policy = self._policy
        queue = getattr(policy, '_action_queue', None)
        if queue is None:
            queue = getattr(policy, '_queues', {}).get('action', ())
        return list(queue)


def serve(channel: socket.socket) -> None:
    """Answer until the socket ends."""
    hosted: HostedCheckpoint | None = None
    while (message := receive(channel)) is not None:
        asked = message.header
        answer = Message({})
        try:
            if asked['do'] == 'describe':
                hosted = HostedCheckpoint(asked['checkpoint'], int(asked['threads']))
                answer = Message(hosted.description())
            elif hosted is None:
                raise HiwmError('no checkpoint has been named')
            elif asked['do'] == 'load':
                hosted.load(asked['image'], asked['description'])
            else:
                frames, joints = message.arrays['frames'], message.arrays['joints']
                answer = Message({}, {'chunk': hosted.chunk(frames, joints, asked['key'])})
        except HiwmError as error:
            answer = Message({'error': error.message})
        except Exception as error:
            answer = Message({'error': f'LeRobot failed: {reason(error)}'})
        send(channel, answer)


def main(given: Sequence[str] | None = None) -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(prog='lerobot_host', description=__doc__)
    parser.add_argument('--socket', type=int, required=True, help='number of the open file')
    options = parser.parse_args(given)
    with socket.socket(fileno=options.socket) as channel:
        try:
            serve(channel)
        except ConnectionError:
            return 0
    return 0


if __name__ == '__main__':
    sys.exit(main())
