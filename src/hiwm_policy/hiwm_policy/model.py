# SPDX-License-Identifier: Apache-2.0
"""A policy's network and its bundle on disk: `model.safetensors` beside `card.json`.

The card says what the weights are for (task, image size, names), how the network is sized, and how
it was trained. Loading compares the first two, so that what does not fit is refused in a sentence.
"""

from __future__ import annotations

from dataclasses import asdict
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.torch import load, save
import torch
from torch import Tensor, nn

from hiwm_core.error import ConfigurationError
from hiwm_core.task import Task
from hiwm_policy.backbone import BACKBONES, backbone_of
from hiwm_policy.encoder import Encoder, images_of
from hiwm_policy.frame import BodyFrame, body_frame
from hiwm_policy.landmark import landmarks_of
from hiwm_policy.size import Size

WEIGHTS, CARD = 'model.safetensors', 'card.json'
TRAINING_CODE = (
    'acting',
    'action_expert',
    'backbone',
    'dataset',
    'denoiser',
    'diffusion',
    'encoder',
    'flow',
    'frame',
    'landmark',
    'model',
    'phase',
    'preference',
    'ranks',
    'reading',
    'size',
    'train',
)


class PolicyNetwork(nn.Module):
    """Encoder, denoiser, and the scales between the task's units and theirs.

    What is called denoiser here turns noise to chunks; which one it is, `size.backbone` says.

    Args:
        task: Gives the sizes of images, joints, actions and landmarks.
        size: Of which backbone, and how large.

    Raises:
        ConfigurationError: `size.framed`, and the task has no body whose frame could be used.
    """

    joint_mean: Tensor
    joint_scale: Tensor
    chunk_mean: Tensor
    chunk_scale: Tensor

    def __init__(self, task: Task, size: Size) -> None:
        super().__init__()
        self.task, self.size = task, size
        landmarks = landmarks_of(task)
        self.frame: BodyFrame | None = body_frame(task) if size.framed else None
        if size.framed and self.frame is None:
            raise ConfigurationError(
                f"task '{task.name}' has no body in whose frame its actions could be expressed"
            )
        joints, actions = len(task.joints), len(task.actions)
        points = (landmarks.count, landmarks.dimensions) if landmarks else (0, 2)
        self.encoder = Encoder(*points, size.free_keypoints)
        self._driven = [task.joint_names.index(name) for name in task.action_names]
        self.register_buffer('joint_mean', torch.zeros(joints))
        self.register_buffer('joint_scale', torch.ones(joints))
        self.register_buffer('chunk_mean', torch.zeros(actions))
        self.register_buffer('chunk_scale', torch.ones(actions))
        self.backbone = backbone_of(size.backbone)
        self._points = (0, 2)
        if self.backbone.with_points:
            seen = self.frame.points if self.frame is not None else None
            count = size.context * self.encoder.keypoints if seen is None else len(seen)
            self._points = (count, 2)
        probe = self.features(
            torch.zeros(1, size.context, joints),
            torch.zeros(1, size.context, self.encoder.keypoints, 2),
            torch.zeros(1, size.context, *points),
        )
        self.denoiser = self.backbone.network(probe.shape[-1], self._points, actions, size)

    def features(self, joints: Tensor, keypoints: Tensor, landmarks: Tensor) -> Tensor:
        """What the denoiser is told (B, F).

        Args:
            joints: (B, To, J) in the task's units.
            keypoints: (B, To, K, 2).
            landmarks: (B, To, P, D), normalized.
        """
        if self.frame is not None:
            return self.framed_features(joints, *self.frame.pose(landmarks))
        # The points come last, where the action expert looks for them.
        scaled = (joints - self.joint_mean) / self.joint_scale
        return torch.cat([scaled.flatten(1), keypoints.flatten(1)], dim=-1)

    def framed_features(self, joints: Tensor, origin: Tensor, angle: Tensor) -> Tensor:
        """The same (B, F) from poses, where the network has a frame.

        Args:
            joints: (B, To, J) in the task's units.
            origin: (B, To, 2) in metres, the body's.
            angle: (B, To), the body's.
        """
        assert self.frame is not None
        known = self.frame.features(joints, origin, angle)
        if not self.backbone.with_points:
            return known
        points = self.frame.points_from(joints[:, -1], origin[:, -1], angle[:, -1])
        return torch.cat([known, points.flatten(1)], dim=-1)

    def raw_chunks(self, actions: Tensor, joints: Tensor, landmarks: Tensor) -> Tensor:
        """Actions (B, n, A) as the network sees them, before they are scaled.

        Args:
            actions: In the task's units.
            joints: (B, J), the newest.
            landmarks: (B, P, D), the newest, normalized.
        """
        if self.frame is not None:
            return self.frame.enter(actions, *self.frame.pose(landmarks))
        return actions - joints[:, None, self._driven]

    def chunks(self, actions: Tensor, joints: Tensor, landmarks: Tensor) -> Tensor:
        """Actions (B, n, A) in the denoiser's scale; arguments as of `raw_chunks`."""
        return (self.raw_chunks(actions, joints, landmarks) - self.chunk_mean) / self.chunk_scale

    def actions(self, chunks: Tensor, joints: Tensor, landmarks: Tensor) -> Tensor:
        """The inverse of `chunks`."""
        raw = chunks * self.chunk_scale + self.chunk_mean
        if self.frame is not None:
            return self.frame.leave(raw, *self.frame.pose(landmarks))
        return raw + joints[:, None, self._driven]


def save_model(network: PolicyNetwork, folder: Path, card: dict[str, Any]) -> None:
    """Write the bundle, each file whole or not at all.

    Args:
        card: How it was trained; what loading checks is added.
    """
    folder.mkdir(parents=True, exist_ok=True)
    state = {name: value.contiguous().cpu() for name, value in network.state_dict().items()}
    weights = save(state, metadata={'format': 'pt'})
    task = network.task
    identity = {
        'kind': 'policy',
        'backbone': network.size.backbone,
        'task': task.name,
        'image': {'width': task.camera.width, 'height': task.camera.height},
        'joints': list(task.joint_names),
        'actions': list(task.action_names),
        'rate_hz': task.rate,
        'size': asdict(network.size),
        'parameters': sum(value.numel() for value in network.parameters()),
        'weights_sha256': hashlib.sha256(weights).hexdigest(),
    }
    _write(folder / WEIGHTS, weights)
    text = json.dumps({**identity, **card}, indent=2, allow_nan=False)
    _write(folder / CARD, (text + '\n').encode())


def _write(path: Path, data: bytes) -> None:
    part = path.with_name(f'.{path.name}.{os.getpid()}')
    part.write_bytes(data)
    part.replace(path)


def load_card(folder: Path) -> dict[str, Any]:
    """A policy's card. Raises ConfigurationError if there is none, or it is another model's."""
    path = folder / CARD
    if not path.is_file():
        raise ConfigurationError(
            f'{folder} holds no policy: {CARD} is missing; give a folder that training wrote'
        )
    try:
        card = json.loads(path.read_text(encoding='utf-8'))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ConfigurationError(f'{path} is damaged: {error}') from error
    if not isinstance(card, dict) or card.get('kind') != 'policy':
        raise ConfigurationError(f'{path} is not the card of a policy')
    return card


def add_evaluation(folder: Path, rig: str, figures: dict[str, Any]) -> None:
    """Note in a policy's card how it did on a rig. Raises ConfigurationError."""
    card = load_card(folder)
    card.setdefault('evaluation', {})[rig] = figures
    text = json.dumps(card, indent=2, allow_nan=False)
    try:
        _write(folder / CARD, (text + '\n').encode())
    except OSError as error:
        raise ConfigurationError(f'{folder / CARD} cannot be written: {error.strerror}') from error


def load_model(folder: Path, task: Task) -> tuple[PolicyNetwork, dict[str, Any]]:
    """The network, ready to act, and its card.

    Raises:
        ConfigurationError: Missing, damaged, or made for another task, image size, joints or
            actions; the sentence says which.
    """
    card = load_card(folder)
    _check_fit(card, task, folder)
    path = folder / WEIGHTS
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f'{path} cannot be read: {error.strerror}') from error
    if hashlib.sha256(data).hexdigest() != card.get('weights_sha256'):
        raise ConfigurationError(
            f'{path} is damaged or belongs to another card: its sha256 is not the one in {CARD}'
        )
    try:
        network = PolicyNetwork(task, backbone_of(card['backbone']).size(**card['size']))
        network.load_state_dict(load(data))
    except (KeyError, TypeError, RuntimeError, SafetensorError) as error:
        sentence = str(error).splitlines()[0]
        raise ConfigurationError(f'{path} does not fit its card: {sentence}') from error
    return network.eval(), card


def _check_fit(card: dict[str, Any], task: Task, folder: Path) -> None:
    def refuse(what: str, here: str, wanted: str) -> None:
        raise ConfigurationError(
            f"the policy in {folder} was trained for {what} {here}; task '{task.name}' has {wanted}"
        )

    if card.get('backbone') not in BACKBONES:
        raise ConfigurationError(
            f"the policy in {folder} has the backbone '{card.get('backbone')}'; "
            f'built in are {" and ".join(BACKBONES)}'
        )
    if card.get('task') != task.name:
        raise ConfigurationError(
            f"the policy in {folder} was trained for task '{card.get('task')}', not '{task.name}'"
        )
    image = card.get('image', {})
    width, height = image.get('width'), image.get('height')
    if (width, height) != (task.camera.width, task.camera.height):
        refuse('images of', f'{width}x{height}', f'{task.camera.width}x{task.camera.height}')
    for kind, names in (('joints', task.joint_names), ('actions', task.action_names)):
        if tuple(card.get(kind, ())) != names:
            refuse(f'the {kind}', ', '.join(card.get(kind, ())), ', '.join(names))


def code_sha256() -> str:
    """The hash of the code that decides what training makes."""
    digest = hashlib.sha256()
    for name in TRAINING_CODE:
        path = Path(__file__).with_name(f'{name}.py')
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()


def read_frames(
    encoder: Encoder, frames: np.ndarray, device: torch.device, batch: int = 128
) -> tuple[Tensor, Tensor]:
    """Keypoints (N, K, 2) and landmarks (N, P, D) of uint8 frames (N, H, W, 3), on the CPU."""
    keypoints, landmarks = [], []
    with torch.no_grad():
        for start in range(0, len(frames), batch):
            part = torch.from_numpy(np.ascontiguousarray(frames[start : start + batch]))
            points, marks = encoder(images_of(part.to(device)))
            keypoints.append(points.cpu())
            landmarks.append(marks.cpu())
    return torch.cat(keypoints), torch.cat(landmarks)
