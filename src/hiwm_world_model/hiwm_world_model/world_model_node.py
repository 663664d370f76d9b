# SPDX-License-Identifier: Apache-2.0
"""The world model as a rig: the camera's frames are predicted, the contract is every rig's."""

from __future__ import annotations

from pathlib import Path
import sys
from typing import Any

import torch

from hiwm_core.backend import Backend
from hiwm_core.extension import DEVICES, load_backend
from hiwm_core.parameter import Parameter
from hiwm_core.task import Task
from hiwm_rig.base_node import run_node
from hiwm_rig.rig_node import RigNode

PARAMETERS = {
    'backend': Parameter(
        'world_model', 'what predicts: the name of an entry point in the group hiwm.backends'
    ),
    'model': Parameter('', 'folder of the weights: model.safetensors and card.json'),
    'device': Parameter('auto', 'where the network is computed', choices=DEVICES),
    'threads': Parameter(1, 'threads of the network', low=1, high=64),
}


def _open(task: Task, values: dict[str, Any]) -> Backend:
    torch.set_num_threads(values['threads'])
    model = Path(values['model']).expanduser() if values['model'] else None
    return load_backend(values['backend'], task, model, values['device'])


def main() -> None:
    """The executable `world_model`; exits with 1 and one sentence if the weights cannot be used."""
    sys.exit(run_node(lambda: RigNode('world_model', _open, PARAMETERS)))
