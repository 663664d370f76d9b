# SPDX-License-Identifier: Apache-2.0
"""A picture of what a set of episodes covers: places and angles of the bodies, and commands."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import matplotlib as mpl

mpl.use('Agg')
from matplotlib import pyplot
from matplotlib.axes import Axes
import numpy as np
from numpy.typing import NDArray

from hiwm_core.episodes import Episode
from hiwm_core.task import Task

BINS = 48


def draw_coverage(task: Task, episodes: Iterable[Episode], path: Path) -> None:
    """As `draw_visits`; nothing is drawn if there is no episode.

    Args:
        episodes: Read once, one at a time.
        path: Replaced if it exists.
    """
    scenes, actions, count = [], [], 0
    for episode in episodes:
        scenes.append(episode.scene)
        actions.append(episode.actions)
        count += 1
    if count:
        draw_visits(task, np.concatenate(scenes), np.concatenate(actions), count, path)


def draw_visits(
    task: Task,
    scene: NDArray[np.floating],
    action: NDArray[np.floating],
    count: int,
    path: Path,
) -> None:
    """Write heat maps of every body's position and every hand's commands as a PNG.

    Args:
        scene: Scenes (F, S) that were visited.
        action: Actions (T, A) that were commanded.
        count: Episodes that they are of.
        path: Replaced if it exists.
    """
    angles = [body.angle for body in task.bodies if body.angle is not None]
    panels = len(task.bodies) + len(angles) + len(task.actuated)
    figure, axes = pyplot.subplots(1, panels, figsize=(3.6 * panels, 3.6), squeeze=False)
    left = iter(axes[0])
    for body in task.bodies:
        columns = [task.scene_index(name) for name in body.position]
        unit = task.scene[columns[0]].unit
        _heat_map(next(left), scene[:, columns], body.position, unit)
    for angle in angles:
        axis = next(left)
        axis.hist(scene[:, task.scene_index(angle)], BINS, color='#3b528b')
        axis.set_title(angle, fontsize=10)
        axis.set_xlabel('rad')
    for actuation in task.actuated:
        commanded = [name for name in actuation.joints if name in task.action_names]
        if not commanded:
            continue
        columns = [task.action_names.index(name) for name in commanded]
        names = tuple(f'commanded {name}' for name in commanded)
        _heat_map(next(left), action[:, columns], names, task.actions[columns[0]].unit)
    figure.suptitle(f'{task.name}: {count} episodes, {len(action)} steps', fontsize=11)
    figure.tight_layout()
    temporary = path.with_name(f'.{path.name}')
    figure.savefig(temporary, dpi=90, format='png')
    pyplot.close(figure)
    temporary.replace(path)


def _heat_map(axis: Axes, values: NDArray[np.floating], names: tuple[str, ...], unit: str) -> None:
    """Counts over the first two columns, y down as in the image, on a logarithmic scale."""
    if values.shape[1] == 1:
        axis.hist(values[:, 0], BINS, color='#3b528b')
        axis.set_title(names[0], fontsize=10)
        axis.set_xlabel(unit)
        return
    axis.hist2d(values[:, 0], values[:, 1], BINS, norm='log', cmap='viridis')
    axis.invert_yaxis()
    axis.set_aspect('equal', adjustable='datalim')
    axis.set_title(', '.join(names[:2]), fontsize=10)
    axis.set_xlabel(unit)
