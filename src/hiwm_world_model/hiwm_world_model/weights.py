# SPDX-License-Identifier: Apache-2.0
"""A world model on disk: `model.safetensors` and `card.json` in one folder, checked before use."""

from __future__ import annotations

from collections.abc import Mapping
import hashlib
import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save
import torch

from hiwm_core.error import ConfigurationError, ErrorCode
from hiwm_core.task import Task
from hiwm_core.whole_file import write_whole
from hiwm_world_model.model import Architecture, WorldModel

WEIGHTS_NAME = 'model.safetensors'
CARD_NAME = 'card.json'
KIND = 'world_model'


def task_signature(task: Task) -> str:
    """SHA-256 of everything in a task that the weights depend on."""
    facts = [
        task.rate,
        [task.camera.width, task.camera.height, task.camera.metres_per_pixel],
        [[action.name, action.low, action.high] for action in task.actions],
        [[variable.name, variable.low, variable.high, variable.wraps] for variable in task.scene],
        [[body.name, body.position, body.angle, body.points] for body in task.bodies],
        [[actuation.joints, actuation.body] for actuation in task.actuated],
        [task.progress_name, task.success_above],
    ]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def save_model(folder: Path, model: WorldModel, facts: Mapping[str, Any]) -> None:
    """Write weights and card, each whole or not at all; `facts` are the card's further entries."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {
        name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()
    }
    data = save(tensors)
    card = {
        'kind': KIND,
        'task': model.task.name,
        'task_signature': task_signature(model.task),
        'architecture': model.architecture.as_dict(),
        'parameters': sum(value.numel() for value in tensors.values()),
        'weights_sha256': hashlib.sha256(data).hexdigest(),
        **facts,
    }
    write_whole(folder / WEIGHTS_NAME, data)
    write_whole(folder / CARD_NAME, (json.dumps(card, indent=2) + '\n').encode())


def load_model(folder: Path, task: Task, device: str = 'cpu') -> WorldModel:
    """The model in a folder, frozen for inference.

    Raises:
        ConfigurationError: A file is missing or damaged, or the weights belong to another task or
            another architecture; the sentence says which.
    """
    if folder.name == WEIGHTS_NAME:
        folder = folder.parent
    card, data = _read(folder / CARD_NAME), _read(folder / WEIGHTS_NAME)
    try:
        facts = json.loads(card)
        kind, made_for = str(facts['kind']), str(facts['task'])
        signature, checksum = str(facts['task_signature']), str(facts['weights_sha256'])
    except (ValueError, KeyError, TypeError) as error:
        raise _refusal(f'the model card {folder / CARD_NAME} is damaged: {error}') from error
    if kind != KIND:
        raise _refusal(f"{folder} holds a model of kind '{kind}'; a {KIND} is needed")
    if made_for != task.name:
        raise _refusal(
            f"the world model in {folder} was trained for task '{made_for}' and not '{task.name}'"
        )
    if signature != task_signature(task):
        raise _refusal(
            f"the world model in {folder} was trained for another version of task '{task.name}' "
            '(its bodies, limits, rate or camera differ); train it again'
        )
    if hashlib.sha256(data).hexdigest() != checksum:
        raise _refusal(
            f"the weights {folder / WEIGHTS_NAME} are damaged: their checksum is not the card's"
        )
    try:
        model = WorldModel(task, Architecture(**facts['architecture']))
        model.load_state_dict(load(data))
    except (SafetensorError, RuntimeError, TypeError, KeyError, ValueError) as error:
        raise _refusal(
            f'the weights {folder / WEIGHTS_NAME} are of another architecture than this version '
            'makes; train it again'
        ) from error
    return model.to(torch.device(device)).freeze()


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise _refusal(f'there is no {path}; name the folder of a trained world model') from error
    except OSError as error:
        raise _refusal(f'{path} cannot be read: {error.strerror}') from error


def _refusal(sentence: str) -> ConfigurationError:
    return ConfigurationError(sentence, ErrorCode.MODEL_FAULT)
