# SPDX-License-Identifier: Apache-2.0
"""An episode of which only what a test gives is of interest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from hiwm_core.episodes import Episode


def episode_of(sources: Sequence[int], **given: Any) -> Episode:
    """One step for each source, with one pixel, joint and action."""
    steps = len(sources)
    rows = np.arange(steps + 1)
    values: dict[str, Any] = {
        'task': 'point',
        'session': 'recorded',
        'kind': 'session',
        'seed': 0,
        'frames': np.zeros((steps + 1, 1, 1, 3), np.uint8),
        'joints': np.zeros((steps + 1, 1)),
        'scene': np.empty((steps + 1, 0)),
        'progress': np.zeros(steps + 1),
        'actions': np.zeros((steps, 1)),
        'sources': np.array(sources, np.uint8),
        'shadow': np.full((steps, 1), np.nan),
        'spread': np.full(steps, np.nan),
        'phases': np.zeros(steps, np.uint8),
        'triggers': np.zeros(steps, np.uint8),
        'human_seconds': np.zeros(steps),
        'fidelity': np.ones(steps + 1),
        'epochs': np.ones(steps + 1, np.uint32),
        'stamps': rows.astype(np.int64),
        'nodes': (rows + 1).astype(np.uint64),
        'branch': 'run',
        'parent': '',
        'fork': 0,
        'label': 0,
        'success': True,
    }
    return Episode(**values | given)
