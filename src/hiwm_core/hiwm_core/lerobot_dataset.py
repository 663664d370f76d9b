# SPDX-License-Identifier: Apache-2.0
"""Episodes as a LeRobotDataset v3, and back. Runs where LeRobot is installed.

A row is a step: what was seen, and the action that followed. An episode of T steps gives T rows, so
its last frame, which no action follows, is left out; read back, the last row gives the last frame.
Numbers are float32, as LeRobot's policies want them.

| column | type | |
|---|---|---|
| `observation.images.camera` | image or video | (H, W, 3) |
| `observation.state` | float32 (J,) | joints, by the task's names |
| `action` | float32 (A,) | executed, by the task's names |
| `scene` | float32 (S,) | only where every episode knows it |
| `intervention` | bool | a person chose the action |
| `source` | int64 | Action.SOURCE_* |
| `phase` | int64 | MuxState.PHASE_*; 0 unknown |
| `success` | bool | of the whole episode |
| `weight` | float32 | of the step in training; 0 for the handover ramp |

`meta/hiwm.json` says of each episode where it comes from.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
import logging
from pathlib import Path
import re
from typing import Any
import warnings

import numpy as np
from numpy.typing import NDArray

from hiwm_core.action import Source
from hiwm_core.episodes import Episode
from hiwm_core.error import HiwmError
from hiwm_core.json_file import write_json
from hiwm_core.task import Task

NUMBER = re.compile(r'\d+$')

IMAGE_KEY, STATE_KEY, ACTION_KEY, SCENE_KEY = (
    'observation.images.camera',
    'observation.state',
    'action',
    'scene',
)
ORIGIN_NAME = 'meta/hiwm.json'
SCALARS = {
    'intervention': 'bool',
    'source': 'int64',
    'phase': 'int64',
    'success': 'bool',
    'weight': 'float32',
}


def features_of(task: Task, *, video: bool, scene: bool) -> dict[str, dict[str, Any]]:
    """The columns, in LeRobot's words."""

    def numbers(names: tuple[str, ...]) -> dict[str, Any]:
        return {'dtype': 'float32', 'shape': (len(names),), 'names': list(names)}

    features = {
        IMAGE_KEY: {
            'dtype': 'video' if video else 'image',
            'shape': task.frame_shape,
            'names': ['height', 'width', 'channels'],
        },
        STATE_KEY: numbers(task.joint_names),
        ACTION_KEY: numbers(task.action_names),
    }
    if scene:
        features[SCENE_KEY] = numbers(task.scene_names)
    for name, kind in SCALARS.items():
        features[name] = {'dtype': kind, 'shape': (1,), 'names': None}
    return features


class LeRobotWriter:
    """Writes one data set; `close` completes it.

    Args:
        folder: It must not exist.
        task: Gives names, sizes and the rate.
        video: Frames as AV1 video, which loses detail, instead of as PNG.
        scene: Whether every episode knows it.
    """

    def __init__(self, folder: Path, task: Task, *, video: bool, scene: bool) -> None:
        # Imported here because every other part of the core works without it.
        from datasets import disable_progress_bars  # noqa: PLC0415
        from lerobot.datasets.lerobot_dataset import LeRobotDataset  # noqa: PLC0415

        disable_progress_bars()
        logging.getLogger('lerobot').setLevel(logging.WARNING)
        rate = round(task.rate)
        if rate != task.rate:
            raise HiwmError(
                f"LeRobot's data sets have a whole rate in Hz; task '{task.name}' has {task.rate:g}"
            )
        self._task, self._scene = task, scene
        self._origins: list[dict[str, Any]] = []
        self._folder = folder
        self._dataset = LeRobotDataset.create(
            repo_id=f'hiwm/{task.name}',
            fps=rate,
            features=features_of(task, video=video, scene=scene),
            root=folder,
            use_videos=video,
        )

    def add(self, episode: Episode, weights: NDArray[np.float64]) -> None:
        """Append an episode; `weights` (T,) are those of its steps."""
        for step in range(episode.steps):
            source = int(episode.sources[step])
            row = {
                IMAGE_KEY: np.ascontiguousarray(episode.frames[step]),
                STATE_KEY: episode.joints[step].astype(np.float32),
                ACTION_KEY: episode.actions[step].astype(np.float32),
                'intervention': np.array([source == Source.OPERATOR]),
                'source': np.array([source], np.int64),
                'phase': np.array([episode.phases[step]], np.int64),
                'success': np.array([episode.success]),
                'weight': np.array([weights[step]], np.float32),
                'task': self._task.description,
            }
            if self._scene:
                row[SCENE_KEY] = episode.scene[step].astype(np.float32)
            self._dataset.add_frame(row)
        with warnings.catch_warnings():
            # Its statistics say of every bool column that they take it for a number.
            warnings.simplefilter('ignore', RuntimeWarning)
            self._dataset.save_episode(parallel_encoding=False)
        self._origins.append(
            {
                'session': episode.session,
                'branch': episode.branch,
                'parent': episode.parent,
                'kind': episode.kind,
                'seed': episode.seed,
                'label': episode.label,
                'success': episode.success,
                'steps': episode.steps,
            }
        )

    def close(self) -> None:
        """Write what is left."""
        self._dataset.finalize()
        write_json(self._folder / ORIGIN_NAME, {'task': self._task.name, 'episodes': self._origins})


@dataclass(frozen=True, eq=False)
class LeRobotEpisode:
    """One episode of a data set, R rows.

    Attributes:
        frames: uint8 (R, H, W, 3).
        joints: float32 (R, J), in the task's order.
        actions: float32 (R, A), in the task's order.
        scene: float32 (R, S), or (R, 0) where the data set has none.
        sources: uint8 (R,), Action.SOURCE_*.
        success: Of the episode; true where the data set does not say.
    """

    frames: NDArray[np.uint8]
    joints: NDArray[np.float32]
    actions: NDArray[np.float32]
    scene: NDArray[np.float32]
    sources: NDArray[np.uint8]
    success: bool


def read_lerobot(folder: Path, task: Task) -> Iterator[LeRobotEpisode]:
    """The episodes of a data set.

    Raises:
        HiwmError: It is none of LeRobot's v3, or does not fit the task; the sentence names it.
    """
    if not (folder / 'meta' / 'info.json').is_file():
        raise HiwmError(f'{folder} is not a LeRobot data set: it has no meta/info.json')
    from lerobot.datasets.lerobot_dataset import LeRobotDataset  # noqa: PLC0415

    try:
        # PyAV comes with its own FFmpeg; torchcodec asks for the system's.
        dataset = LeRobotDataset(f'hiwm/{folder.name}', root=folder, video_backend='pyav')
    except Exception as error:
        raise HiwmError(f'the data set {folder} cannot be read: {error}') from error
    if round(dataset.fps) != task.rate:
        raise HiwmError(
            f"the data set {folder} has {dataset.fps} Hz; task '{task.name}' has {task.rate:g}"
        )
    camera = _only_camera(folder, dataset.meta.camera_keys)
    joints = order_of(folder, dataset.features, STATE_KEY, task.joint_names)
    actions = order_of(folder, dataset.features, ACTION_KEY, task.action_names)
    scene = SCENE_KEY in dataset.features
    if scene:
        scenes = order_of(folder, dataset.features, SCENE_KEY, task.scene_names)
    for row in dataset.meta.episodes:
        try:
            items = [
                dataset[index]
                for index in range(row['dataset_from_index'], row['dataset_to_index'])
            ]
        except Exception as error:
            raise HiwmError(f'the data set {folder} cannot be read: {error}') from error
        frames = np.stack([_pixels(item[camera]) for item in items])
        if frames.shape[1:] != task.frame_shape:
            height, width = frames.shape[1:3]
            raise HiwmError(
                f'the data set {folder} has images of {width}x{height} pixels; task '
                f"'{task.name}' has {task.camera.width}x{task.camera.height}"
            )
        yield LeRobotEpisode(
            frames=frames,
            joints=_stacked(items, STATE_KEY)[:, joints],
            actions=_stacked(items, ACTION_KEY)[:, actions],
            scene=_stacked(items, SCENE_KEY)[:, scenes]
            if scene
            else np.empty((len(items), 0), np.float32),
            sources=_stacked(items, 'source').astype(np.uint8).ravel()
            if 'source' in dataset.features
            else np.full(len(items), Source.OPERATOR, np.uint8),
            success=bool(items[-1]['success']) if 'success' in dataset.features else True,
        )


def _stacked(items: list[dict[str, Any]], key: str) -> NDArray[Any]:
    return np.stack([item[key].numpy() for item in items])


def _pixels(image: Any) -> NDArray[np.uint8]:
    """A float tensor (3, H, W) from 0 to 1 as uint8 (H, W, 3)."""
    return np.rint(image.numpy().transpose(1, 2, 0) * 255.0).astype(np.uint8)


def _only_camera(folder: Path, cameras: list[str]) -> str:
    if len(cameras) != 1:
        raise HiwmError(
            f'the data set {folder} has the cameras {", ".join(cameras) or "none"}; '
            'exactly one is needed'
        )
    return cameras[0]


def order_of(
    folder: Path, features: dict[str, Any], key: str, names: tuple[str, ...]
) -> NDArray[np.intp]:
    """Where in a column the task's values lie: by name where it has them, else in their order."""
    if key not in features:
        raise HiwmError(f"the data set {folder} has no column '{key}'")
    given = features[key].get('names')
    if isinstance(given, dict):
        given = next(iter(given.values()), None)
    if given and set(given) == set(names):
        return np.array([list(given).index(name) for name in names])
    # Mere numbers (motor_0, motor_1) say nothing; names may be in any order.
    if given and len(given) == len(names) and len({NUMBER.sub('', str(one)) for one in given}) > 1:
        raise HiwmError(
            f"the column '{key}' of the data set {folder} names its values "
            f'{", ".join(map(str, given))}; those of the task are {", ".join(names)}: name them '
            'alike in the task or in meta/info.json, so that no joint is taken for another'
        )
    if tuple(features[key]['shape']) != (len(names),):
        raise HiwmError(
            f"the column '{key}' of the data set {folder} has {features[key]['shape'][0]} values; "
            f'{len(names)} are needed: {", ".join(names)}'
        )
    return np.arange(len(names))
