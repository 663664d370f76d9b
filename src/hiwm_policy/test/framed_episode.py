# SPDX-License-Identifier: Apache-2.0
"""An episode of given frames, of which the rest is as a test says, or without interest."""

from __future__ import annotations

from typing import Any

import numpy as np
import recorded

from hiwm_core.episodes import Episode
from hiwm_core.task import Task
from hiwm_policy.dataset import Frames


def episode_of(frames: Frames, task: Task, **given: Any) -> Episode:
    """All of the frames as one whole demonstration that succeeded."""
    steps = len(frames.frames) - 1
    values: dict[str, Any] = {
        'task': task.name,
        'session': 'test',
        'kind': 'demo',
        'seed': 7,
        'frames': frames.frames,
        'joints': frames.joints.astype(np.float64),
        'scene': frames.scene,
        'actions': np.nan_to_num(frames.actions[:-1]).astype(np.float64),
        'shadow': np.full((steps, len(task.actions)), np.nan),
    }
    sources = given.pop('sources', frames.sources[:-1])
    return recorded.episode_of(sources, **values | given)
