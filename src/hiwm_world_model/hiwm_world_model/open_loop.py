# SPDX-License-Identifier: Apache-2.0
"""A backend open loop beside what really happened: same start, same actions, and the distance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
import math

import numpy as np
from numpy.typing import NDArray
import torch
from tqdm import tqdm

from hiwm_core.backend import Backend
from hiwm_core.task import Task
from hiwm_robot.sims import PoseReader
from hiwm_world_model.features import SceneGeometry
from hiwm_world_model.held_out import Course, within_limits
from hiwm_world_model.rollout import key_of, pose_errors, psnr

FloatArray = NDArray[np.float64]

# Frames are drawn, read and compared at the first step and at every so many.
EVERY = 5
# Courses that are rolled out together.
BATCH = 16
# The largest error that a body can have which is not in the picture at all.
HALF_TURN_DEG = 180.0

POSES = ('agent_px', 't_px', 't_deg')
MEASURES = (
    *POSES,
    *(f'scene_{measure}' for measure in POSES),
    'heads_px',
    'heads_deg',
    'reader_px',
    'reader_deg',
    'psnr_db',
    'psnr_copy_first_db',
    'psnr_mean_frame_db',
    'progress_error',
    'fidelity',
)


@dataclass(frozen=True, eq=False)
class Comparison:
    """One course and its prediction.

    Attributes:
        kind: Of the course.
        curves: For each measure, float64 (T+1,); NaN at steps that were not compared.
        frames: uint8 (M, H, W, 3), the predicted frames, if they were asked for.
        steps: The M steps that were compared.
    """

    kind: str
    curves: dict[str, FloatArray]
    steps: list[int]
    frames: list[NDArray[np.uint8]] = field(default_factory=list)


class OpenLoop:
    """Compares a backend with courses.

    The measures, each at a step:

    - `agent_px`, `t_px`, `t_deg`: the worst commanded body's place, the worst other body's place
      and angle, read from the predicted frame, against the true scene. A body that the reader finds
      in the true frame and not in the predicted one is as wrong as can be: off by the picture's
      diagonal, and turned half round.
    - `scene_agent_px`, `scene_t_px`, `scene_t_deg`: the same of the scene that the backend's heads
      give, against the true scene.
    - `heads_px`, `heads_deg`: the worst body of the heads' scene against the one read from the
      predicted frame.
    - `reader_px`, `reader_deg`: the reader on the true frame, against the true scene.
    - `psnr_db`, and what copying the start's frame or showing the mean frame would give.
    - `progress_error` and `fidelity`, as the heads give them.

    Args:
        task: What is imagined.
        backend: What is measured.
        reader: What finds poses in frames.
        seed: Of the keys.
    """

    def __init__(self, task: Task, backend: Backend, reader: PoseReader, seed: int) -> None:
        self._task = task
        self._geometry = SceneGeometry(task)
        self._backend = backend
        self._reader = reader
        self._seed = seed

    def compare(self, courses: Sequence[Course], keep_frames: int) -> list[Comparison]:
        """Roll out beside courses of one kind.

        Args:
            courses: At least one; the mean of all their frames is the baseline `mean_frame`.
            keep_frames: Of how many courses the predicted frames are kept.

        Raises:
            HiwmError: The backend could not predict.
        """
        total = sum(len(course.frames) for course in courses)
        summed = sum(course.frames.sum(0, dtype=np.float64) for course in courses)
        mean_frame = np.rint(summed / total).astype(np.uint8)
        found: list[Comparison] = []
        longest = [
            max(len(course.actions) for course in courses[first : first + BATCH])
            for first in range(0, len(courses), BATCH)
        ]
        with tqdm(total=sum(longest), desc=f'{courses[0].kind}: model', unit='step') as bar:
            for first in range(0, len(courses), BATCH):
                batch = courses[first : first + BATCH]
                found += self._compare(batch, first, mean_frame, keep_frames - first, bar)
        return found

    def _compare(
        self,
        courses: Sequence[Course],
        first: int,
        mean_frame: NDArray[np.uint8],
        keep_frames: int,
        bar: tqdm,
    ) -> list[Comparison]:
        longest = max(len(course.actions) for course in courses)
        results = [
            Comparison(course.kind, _empty_curves(len(course.scene)), []) for course in courses
        ]
        states = np.concatenate(
            [
                self._backend.start(
                    within_limits(self._task, course.scene[0]),
                    key_of(self._seed, first + row, longest),
                )
                for row, course in enumerate(courses)
            ]
        )
        for step in range(longest + 1):
            if step:
                # A course that has ended goes on with its last action; nobody looks at it.
                actions = np.stack(
                    [course.actions[min(step, len(course.actions)) - 1] for course in courses]
                )
                keys = [key_of(self._seed, first + row, step - 1) for row in range(len(courses))]
                states = self._backend.step(states, actions, keys)
                bar.update()
            if step > 1 and step % EVERY:
                continue
            frames = self._backend.decode(states)
            readings = self._backend.heads(states, frames)
            for row, (course, result) in enumerate(zip(courses, results, strict=True)):
                if step >= len(course.scene):
                    continue
                result.steps.append(step)
                if row < keep_frames:
                    result.frames.append(frames[row])
                true = course.frames[step]
                values = {
                    'psnr_db': psnr(frames[row], true),
                    'psnr_copy_first_db': psnr(course.frames[0], true),
                    'psnr_mean_frame_db': psnr(mean_frame, true),
                    'progress_error': abs(readings.progress[row] - course.progress[step]),
                    'fidelity': readings.fidelity[row],
                    **self._poses(frames[row], readings.scene[row], true, course.scene[step]),
                }
                for measure, value in values.items():
                    result.curves[measure][step] = float(value)
        return results

    def _poses(
        self,
        frame: NDArray[np.uint8],
        told: FloatArray,
        true_frame: NDArray[np.uint8],
        true: FloatArray,
    ) -> dict[str, float]:
        """All measures of poses at one step."""
        read, read_true = self._reader.read(frame).scene, self._reader.read(true_frame).scene
        values = dict(zip(POSES, self._errors(read, true), strict=True))
        # What the reader cannot see in the true frame either, tells nothing of the prediction.
        reader = self._errors(read_true, true)
        for measure, at_most, known in zip(POSES, self._largest(), reader, strict=True):
            if math.isnan(values[measure]) and not math.isnan(known):
                values[measure] = at_most
        values['reader_px'] = float(np.fmax(reader[0], reader[1]))
        values['reader_deg'] = reader[2]
        if told.size:
            values.update(
                (f'scene_{measure}', value)
                for measure, value in zip(POSES, self._errors(told, true), strict=True)
            )
            agreement = self._errors(told, read)
            values['heads_px'] = float(np.fmax(agreement[0], agreement[1]))
            values['heads_deg'] = agreement[2]
        return values

    def _errors(self, first: FloatArray, second: FloatArray) -> tuple[float, float, float]:
        errors = pose_errors(self._geometry, torch.from_numpy(first), torch.from_numpy(second))
        return float(errors.driven_px), float(errors.other_px), float(errors.other_deg)

    def _largest(self) -> tuple[float, float, float]:
        diagonal = math.hypot(self._task.camera.width, self._task.camera.height)
        return diagonal, diagonal, HALF_TURN_DEG


def _empty_curves(length: int) -> dict[str, FloatArray]:
    return {measure: np.full(length, np.nan) for measure in MEASURES}
