# SPDX-License-Identifier: Apache-2.0
"""An episode of given frames, of which the rest is as a test says, or without interest."""

from __future__ import annotations

from typing import Any

import numpy as np

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
        'progress': np.zeros(steps + 1),
        'actions': np.nan_to_num(frames.actions[:-1]).astype(np.float64),
        'sources': frames.sources[:-1],
        'shadow': np.full((steps, len(task.actions)), np.nan),
        'spread': np.full(steps, np.nan),
        'phases': np.zeros(steps, np.uint8),
        'triggers': np.zeros(steps, np.uint8),
        'human_seconds': np.zeros(steps),
        'fidelity': np.ones(steps + 1),
        'epochs': np.ones(steps + 1, np.uint32),
        'stamps': np.arange(steps + 1, dtype=np.int64),
        'nodes': np.arange(1, steps + 2, dtype=np.uint64),
        'branch': 'run',
        'parent': '',
        'fork': 0,
        'label': 0,
        'success': True,
    }
    return Episode(**values | given)
