# SPDX-License-Identifier: Apache-2.0
"""Recorded episodes as flat arrays to train from, cached beside the training's results."""

from __future__ import annotations

from dataclasses import dataclass
import hashlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from hiwm_core.episodes import Episode, read_episodes
from hiwm_core.error import ConfigurationError
from hiwm_core.task import Task
from hiwm_world_model.weights import task_signature

CACHE_NAME = 'dataset.npz'
# One episode in so many is kept back from training, to calibrate the fidelity estimate.
VALIDATION_SHARE = 12


@dataclass(frozen=True, eq=False)
class Dataset:
    """N episodes, their frames' data one after another: F rows in all.

    Attributes:
        scene: float32 (F, S).
        action: float32 (F, A), executed between a row and the next; zeros in an episode's last row.
        progress: float32 (F,), NaN where unknown.
        first: int64 (N,), the row of each episode's start.
        length: int64 (N,), its rows: one more than its steps.
        kind: str (N,).
        tree: int64 (N,), which rollout tree it is of: branches share their beginning.
        frames: uint8 (M, H, W, 3), a sample of the camera frames.
        frame_row: int64 (M,), their rows.
        fingerprint: Of the files that this was read from.
    """

    scene: NDArray[np.float32]
    action: NDArray[np.float32]
    progress: NDArray[np.float32]
    first: NDArray[np.int64]
    length: NDArray[np.int64]
    kind: NDArray[np.str_]
    tree: NDArray[np.int64]
    frames: NDArray[np.uint8]
    frame_row: NDArray[np.int64]
    fingerprint: str

    def describe(self) -> dict[str, object]:
        """For the model card."""
        return {
            'episodes': len(self.first),
            'frames': len(self.scene),
            'frames_per_kind': {
                str(kind): int(self.length[self.kind == kind].sum())
                for kind in np.unique(self.kind)
            },
            'pictures': len(self.frames),
            'fingerprint': self.fingerprint,
        }

    def episode_rows(self, validation: bool) -> NDArray[np.int64]:
        """The rows that belong to trees for validation, or to the others."""
        number = np.repeat(self.tree, self.length)
        kept_back = number % VALIDATION_SHARE == VALIDATION_SHARE - 1
        return np.flatnonzero(kept_back if validation else ~kept_back)


def fingerprint(path: Path) -> str:
    """SHA-256 of the names and sizes of the bags below a folder."""
    files = sorted(path.rglob('*.mcap'))
    text = '\n'.join(f'{file.relative_to(path)} {file.stat().st_size}' for file in files)
    return hashlib.sha256(text.encode()).hexdigest()


def is_physics(task: Task, episode: Episode) -> bool:
    """Whether the scene is known, and not predicted: a world model learns nothing from itself."""
    known = episode.scene.shape[1] == len(task.scene) and bool(np.isfinite(episode.scene).all())
    return known and not bool((episode.fidelity < 1.0).any())


def read_dataset(path: Path, task: Task, seed: int, pictures: int) -> Dataset:
    """Read all bags below a folder.

    Args:
        path: The folder.
        task: What was recorded.
        seed: Of the choice of pictures.
        pictures: How many camera frames to keep, at most.

    Raises:
        HiwmError: There is no bag, or none with a scene in it.
    """
    generator = np.random.default_rng(seed)
    scenes, actions, progresses, kinds, trees = [], [], [], [], []
    known_trees: dict[tuple[str, int, int], int] = {}
    frames = np.empty((pictures, *task.frame_shape), np.uint8)
    frame_row = np.full(pictures, -1, np.int64)
    count = left_out = 0
    for episode in tqdm(read_episodes(path, task), desc='reading', unit='episode'):
        if not is_physics(task, episode):
            left_out += 1
            continue
        scenes.append(episode.scene.astype(np.float32))
        actions.append(np.pad(episode.actions, ((0, 1), (0, 0))).astype(np.float32))
        progresses.append(episode.progress.astype(np.float32))
        kinds.append(episode.kind)
        root = (episode.session, int(episode.nodes[0]), int(episode.stamps[0]))
        trees.append(known_trees.setdefault(root, len(known_trees)))
        for frame in episode.frames:
            # Reservoir sampling: each frame of all episodes is kept with the same probability.
            slot = count if count < pictures else int(generator.integers(count + 1))
            if slot < pictures:
                frames[slot], frame_row[slot] = frame, count
            count += 1
    if not scenes:
        raise ConfigurationError(
            f"no episode of task '{task.name}' below {path} has its scene recorded by physics; "
            'train from episodes of the simulated arm'
        )
    if left_out:
        tqdm.write(f'{left_out} episodes without a scene of physics are left out')
    length = np.array([len(scene) for scene in scenes])
    order = np.argsort(frame_row[frame_row >= 0])
    return Dataset(
        scene=np.concatenate(scenes),
        action=np.concatenate(actions),
        progress=np.concatenate(progresses),
        first=np.cumsum(length) - length,
        length=length,
        kind=np.array(kinds),
        tree=np.array(trees),
        frames=frames[: len(order)][order],
        frame_row=frame_row[: len(order)][order],
        fingerprint=fingerprint(path),
    )


def cached_dataset(path: Path, task: Task, seed: int, pictures: int, folder: Path) -> Dataset:
    """As `read_dataset`, from `folder` if the same bags were read into it before."""
    cache = folder / CACHE_NAME
    key = f'{fingerprint(path)} {task_signature(task)} {seed} {pictures}'
    if cache.is_file():
        with np.load(cache) as stored:
            if 'key' in stored and str(stored['key']) == key:
                return Dataset(
                    **{
                        name: stored[name]
                        for name in Dataset.__dataclass_fields__
                        if name != 'fingerprint'
                    },
                    fingerprint=str(stored['fingerprint']),
                )
    dataset = read_dataset(path, task, seed, pictures)
    folder.mkdir(parents=True, exist_ok=True)
    part = cache.with_name('.dataset.part.npz')
    np.savez(part, **dataset.__dict__, key=key)
    part.replace(cache)
    return dataset


class Windows:
    """Pieces of episodes to train the dynamics on.

    Args:
        dataset: Where from.
        moving: bool (F,), whether anything but the commanded bodies moves from a row to the next.
        rows: The rows that may be used.
    """

    def __init__(
        self, dataset: Dataset, moving: NDArray[np.bool_], rows: NDArray[np.int64]
    ) -> None:
        number = np.repeat(np.arange(len(dataset.first)), dataset.length)
        self._start = dataset.first[number]
        self._last = self._start + dataset.length[number] - 1
        self._rows = rows
        # The most steps that a window of these rows can have.
        self.longest = int((self._last - self._start)[rows].max())
        self._moved = np.concatenate([[0], np.cumsum(moving)])
        self._choices: dict[int, tuple[NDArray[np.int64], NDArray[np.int64]]] = {}

    def draw(
        self, generator: np.random.Generator, count: int, steps: int, moving_share: float
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Rows to begin at (count,), and whether a row is an episode's first.

        Args:
            generator: Of the choice.
            count: How many.
            steps: How long each must be able to go on.
            moving_share: Share of those in which something moves on the way.

        Raises:
            ConfigurationError: No episode is long enough.
        """
        if steps not in self._choices:
            long_enough = self._rows[self._rows + steps <= self._last[self._rows]]
            if not len(long_enough):
                raise ConfigurationError(f'no episode to train from has {steps} steps')
            moves = self._moved[long_enough + steps] > self._moved[long_enough]
            self._choices[steps] = (long_enough, long_enough[moves] if moves.any() else long_enough)
        long_enough, moving = self._choices[steps]
        rows = np.where(
            generator.random(count) < moving_share,
            moving[generator.integers(len(moving), size=count)],
            long_enough[generator.integers(len(long_enough), size=count)],
        )
        return rows, rows == self._start[rows]
