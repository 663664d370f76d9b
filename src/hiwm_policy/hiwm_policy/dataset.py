# SPDX-License-Identifier: Apache-2.0
"""Training data: bags read once into flat arrays, cached, and the windows that are trained on.

Runs without ROS. A window begins at a frame t of a demonstration: To observations up to t and Tp
executed actions from t on. At the ends the first observation and the last action are repeated. No
window has an action that nobody chose among those that would be executed: one of the handover ramp,
or a hold.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, fields
import hashlib
from pathlib import Path
import tempfile

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from hiwm_core.action import Source
from hiwm_core.alignment import history_rows
from hiwm_core.episodes import Episode, read_episodes
from hiwm_core.error import ConfigurationError
from hiwm_core.task import Task

# What is executed and was nobody's choice.
UNCHOSEN = (int(Source.HANDOVER), int(Source.HOLD))


@dataclass(frozen=True, eq=False)
class Frames:
    """N frames of E episodes, one after the other.

    Attributes:
        frames: uint8 (N, H, W, 3).
        joints: float32 (N, J).
        scene: float64 (N, S); (N, 0) where nothing was known.
        actions: float32 (N, A), executed after the frame; NaN at an episode's last frame.
        sources: uint8 (N,), who chose them.
        starts: int64 (E + 1,), each episode's first row, and N.
        seeds: int64 (E,), of the episodes' starts; -1 where unknown.
    """

    frames: NDArray[np.uint8]
    joints: NDArray[np.float32]
    scene: NDArray[np.float64]
    actions: NDArray[np.float32]
    sources: NDArray[np.uint8]
    starts: NDArray[np.int64]
    seeds: NDArray[np.int64]

    @property
    def episodes(self) -> int:
        return len(self.seeds)

    def fingerprint(self) -> str:
        """Tells one set of episodes from another."""
        digest = hashlib.sha256()
        parts = (self.starts, self.seeds, self.joints, self.scene, self.actions, self.sources)
        for part in parts:
            digest.update(np.ascontiguousarray(part).tobytes())
        return digest.hexdigest()

    def followed_by(self, other: Frames) -> Frames:
        """These episodes and then the other's; the scene is known only if both know it."""
        known = min(self.scene.shape[1], other.scene.shape[1])
        return Frames(
            frames=np.concatenate([self.frames, other.frames]),
            joints=np.concatenate([self.joints, other.joints]),
            scene=np.concatenate([self.scene[:, :known], other.scene[:, :known]]),
            actions=np.concatenate([self.actions, other.actions]),
            sources=np.concatenate([self.sources, other.sources]),
            starts=np.concatenate([self.starts, self.starts[-1] + other.starts[1:]]),
            seeds=np.concatenate([self.seeds, other.seeds]),
        )

    def rows_without(self, seeds: Collection[int]) -> NDArray[np.int64]:
        """The rows of every episode but those from the given starts."""
        wanted = [int(seed) not in seeds for seed in self.seeds]
        return np.flatnonzero(np.repeat(wanted, np.diff(self.starts)))

    def part(self, first: int, end: int) -> Frames:
        """The episodes from number `first` to before `end`; views, not copies."""
        rows = slice(int(self.starts[first]), int(self.starts[end]))
        return Frames(
            frames=self.frames[rows],
            joints=self.joints[rows],
            scene=self.scene[rows],
            actions=self.actions[rows],
            sources=self.sources[rows],
            starts=self.starts[first : end + 1] - self.starts[first],
            seeds=self.seeds[first:end],
        )


def read_demos(path: Path, task: Task, cache: Path, most: int = 0) -> Frames:
    """The successful episodes of the bags below `path`, at most `most` of them (0: all).

    Args:
        cache: Folder for the arrays, so that the bags are read once.

    Raises:
        HiwmError: There is no bag.
        ConfigurationError: None of the episodes succeeded.
    """
    frames = _cached(path, task, cache, 'demos', stride=1, successful=True)
    if not frames.episodes:
        raise ConfigurationError(
            f'{path} holds no successful episode of task {task.name}; demonstrations must succeed'
        )
    if most > frames.episodes:
        raise ConfigurationError(
            f'{path} holds {frames.episodes} successful episodes, not the {most} asked for'
        )
    return frames.part(0, most) if most else frames


def read_play(path: Path, task: Task, cache: Path, stride: int) -> Frames:
    """Every `stride`-th frame of all episodes below `path`, of whatever kind and success."""
    return _cached(path, task, cache, 'play', stride=stride, successful=False)


def _cached(
    path: Path, task: Task, cache: Path, kind: str, *, stride: int, successful: bool
) -> Frames:
    marker = f'{path.resolve()} {task.name} {stride} {successful} {_newest(path)}'
    name = f'{kind}_{hashlib.sha256(marker.encode()).hexdigest()[:12]}.npz'
    stored = cache / name
    if not stored.is_file():
        found = tqdm(read_episodes(path, task), desc=f'reading {kind}', unit='episode')
        wanted = (episode for episode in found if episode.success or not successful)
        frames = join_episodes(wanted, task, stride)
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=cache, suffix='.part', delete=False) as part:
            np.savez(part, **{field.name: getattr(frames, field.name) for field in fields(Frames)})
        Path(part.name).rename(stored)
        return frames
    with np.load(stored) as arrays:
        return Frames(**{field.name: arrays[field.name] for field in fields(Frames)})


def _newest(path: Path) -> str:
    """What changes when bags are added: their number and the newest change."""
    times = [file.stat().st_mtime_ns for file in path.rglob('metadata.yaml')]
    return f'{len(times)} {max(times, default=0)}'


def join_episodes(episodes: Iterable[Episode], task: Task, stride: int = 1) -> Frames:
    """Episodes one after the other, every `stride`-th frame of each.

    The scene is known only if every episode knows it.
    """
    height, width, channels = task.frame_shape
    count_joints, count_actions = len(task.joints), len(task.actions)
    frames, joints, scenes, actions, sources, starts = [], [], [], [], [], [0]
    seeds = []
    for episode in episodes:
        if episode.frames.shape[1:] != task.frame_shape:
            raise ConfigurationError(
                f'session {episode.session} has frames of {episode.frames.shape[2]}x'
                f'{episode.frames.shape[1]} pixels; task {task.name} has {width}x{height}'
            )
        last = np.full((1, count_actions), np.nan, np.float32)
        executed = np.concatenate([episode.actions.astype(np.float32), last])
        chosen_by = np.concatenate([episode.sources, np.zeros(1, np.uint8)])
        # A copy: a view would keep the frames between.
        frames.append(episode.frames[::stride].copy())
        joints.append(episode.joints[::stride].astype(np.float32))
        scenes.append(episode.scene[::stride])
        seeds.append(episode.seed)
        actions.append(executed[::stride])
        sources.append(chosen_by[::stride])
        starts.append(starts[-1] + len(frames[-1]))
    known = min((scene.shape[1] for scene in scenes), default=0)
    return Frames(
        frames=_joined(frames, (0, height, width, channels), np.uint8),
        joints=_joined(joints, (0, count_joints), np.float32),
        scene=_joined([scene[:, :known] for scene in scenes], (0, known), np.float64),
        actions=_joined(actions, (0, count_actions), np.float32),
        sources=_joined(sources, (0,), np.uint8),
        starts=np.array(starts, np.int64),
        seeds=np.array(seeds, np.int64),
    )


def _joined(parts: list[NDArray], empty: tuple[int, ...], kind: type) -> NDArray:
    return np.concatenate(parts) if parts else np.empty(empty, kind)


@dataclass(frozen=True, eq=False)
class Windows:
    """Which rows of `Frames` belong together: M windows.

    Attributes:
        observations: int64 (M, To), oldest first.
        actions: int64 (M, Tp).
        episodes: int64 (M,).
        weights: float64 (M,), how often each is drawn, by its ratio to the others; None: all alike.
        counted: bool (M, Tp), the actions that may be learned by the weights of their own rows;
            None: all.
    """

    observations: NDArray[np.int64]
    actions: NDArray[np.int64]
    episodes: NDArray[np.int64]
    weights: NDArray[np.float64] | None = None
    counted: NDArray[np.bool_] | None = None

    def weighted(self, of_rows: NDArray[np.float64]) -> Windows:
        """Those whose first action counts, by the weights (N,) of the rows of `Frames`.

        Of their actions those count that come before the first one whose row weighs nothing: what
        is done after a gap is an answer to what happened in it.
        """
        each = of_rows[self.actions]
        counted = np.logical_and.accumulate(each > 0.0, axis=1)
        kept = counted[:, 0]
        return Windows(
            self.observations[kept],
            self.actions[kept],
            self.episodes[kept],
            each[kept, 0],
            counted[kept],
        )


def windows_of(frames: Frames, context: int, horizon: int, chunk_steps: int) -> Windows:
    """All windows with `context` observations (To) and `horizon` actions (Tp).

    Args:
        chunk_steps: Ta, how many of the actions would be executed.
    """
    observations, actions, episodes = [], [], []
    for episode, (start, end) in enumerate(zip(frames.starts[:-1], frames.starts[1:], strict=True)):
        last = end - 2
        rows = np.arange(start, end - 1)
        ahead = np.minimum(rows[:, None] + np.arange(horizon), last)
        keep = ~np.isin(frames.sources[ahead[:, :chunk_steps]], UNCHOSEN).any(1)
        observations.append(history_rows(rows, context, start)[keep])
        actions.append(ahead[keep])
        episodes.append(np.full(int(keep.sum()), episode))
    return Windows(
        _joined(observations, (0, context), np.int64),
        _joined(actions, (0, horizon), np.int64),
        _joined(episodes, (0,), np.int64),
    )
