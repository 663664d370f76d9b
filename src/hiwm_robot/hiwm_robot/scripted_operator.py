# SPDX-License-Identifier: Apache-2.0
"""An operator that is a script and looks at frames alone: when it corrects, and what it asks for.

It goes through the stages of the table below, once for every correction: roll back a number of
steps, take over, drive with the task's expert until the task is done or a number of steps has
passed, let go, and give the wheel back to the policy. A correction begins when it is told to begin,
when the progress that it sees has stalled, or when the multiplexer has paused the policy by a
trigger.

What it knows of the scene is what `Eyes` read from a frame; no simulator's and no model's own scene
or progress is ever given to it.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from enum import Enum, auto

import numpy as np
from numpy.typing import NDArray

from hiwm_core.error import HiwmError
from hiwm_core.observation import Observation
from hiwm_core.task import Task
from hiwm_robot.sims import load_expert, load_pose_reader, load_simulator

FloatArray = NDArray[np.float64]

# The progress is computed for the pose that was read, which is off by a standard deviation of so
# much near the goal (measured on sim_arm): what is to be done has to look done by as much more.
DONE_MARGIN = 0.01
# And it has to look done so many frames in a row, for a body may still be moving.
DONE_FRAMES = 3
# So many frames in a row that cannot be read end a correction.
MOST_UNREAD = 20


class When(Enum):
    """When a correction begins by itself; it may be told to begin at any time."""

    TOLD = 'told'  # never
    START = 'start'  # once, as soon as there is a session
    STALL = 'stall'  # when the progress that it sees has stalled
    TRIGGER = 'trigger'  # when the multiplexer has paused the policy by a trigger


class Stage(Enum):
    """Where a correction is."""

    WATCHING = auto()
    ROLLING_BACK = auto()
    TAKING_OVER = auto()
    DRIVING = auto()
    RELEASING = auto()
    RESUMING = auto()


class Event(Enum):
    """What happens to a correction."""

    BEGIN = auto()
    DONE = auto()  # what the stage asked for was done
    REFUSED = auto()  # it was refused, or nobody is there to do it
    FINISHED = auto()  # the task is done, or it has been tried for long enough
    LOST = auto()  # somebody else paused, stopped or moved the scene


TABLE: dict[tuple[Stage, Event], Stage] = {
    (Stage.WATCHING, Event.BEGIN): Stage.ROLLING_BACK,
    (Stage.ROLLING_BACK, Event.DONE): Stage.TAKING_OVER,
    (Stage.ROLLING_BACK, Event.REFUSED): Stage.TAKING_OVER,
    (Stage.TAKING_OVER, Event.DONE): Stage.DRIVING,
    (Stage.TAKING_OVER, Event.REFUSED): Stage.WATCHING,
    (Stage.DRIVING, Event.FINISHED): Stage.RELEASING,
    (Stage.DRIVING, Event.LOST): Stage.WATCHING,
    (Stage.RELEASING, Event.DONE): Stage.RESUMING,
    (Stage.RELEASING, Event.REFUSED): Stage.WATCHING,
    (Stage.RESUMING, Event.DONE): Stage.WATCHING,
    (Stage.RESUMING, Event.REFUSED): Stage.WATCHING,
}


@dataclass(frozen=True)
class Habits:
    """How it works.

    Attributes:
        when: A correction begins by itself.
        rollback_steps: Steps back before it takes over; 0: it corrects from where the scene stands.
        most_steps: Of one correction.
        stall_steps: The progress has stalled if in so many steps
        stall_gain: it has gained no more than this.
        hand_back_gain: It hands back once it has gained so much progress since it took over; 0: it
            drives until the task is done.
        resumes: Whether it gives the wheel to the policy at the end; else the session stays paused.
    """

    when: When = When.TOLD
    rollback_steps: int = 20
    most_steps: int = 150
    stall_steps: int = 60
    stall_gain: float = 0.02
    hand_back_gain: float = 0.0
    resumes: bool = True


@dataclass(frozen=True, eq=False)
class Look:
    """What a frame shows: the scene (S,), NaN where it cannot be read, and the task's progress."""

    scene: FloatArray
    progress: float

    @property
    def readable(self) -> bool:
        """Whether everything was seen."""
        return bool(np.isfinite(self.scene).all())


class Eyes:
    """Reads frames, and drives by what it has read.

    The task's simulator serves as a ruler here: it says how much progress the pose that was read
    would be. It is not the scene that is looked at.

    Raises:
        ConfigurationError: The task has no simulator, expert or pose reader.
    """

    def __init__(self, task: Task, seed: int) -> None:
        self._task = task
        self._reader = load_pose_reader(task)
        self._ruler = load_simulator(task)
        self._expert = load_expert(task, seed)

    def look(self, frame: NDArray[np.uint8]) -> Look:
        """What a frame uint8 (H, W, 3) shows. Raises HiwmError if its size is wrong."""
        scene = self._reader.read(frame).scene
        try:
            progress = float(self._ruler.heads(self._ruler.start(scene, 0)).progress[0])
        except HiwmError:
            progress = np.nan
        return Look(scene, progress)

    def choose(self, frame: NDArray[np.uint8], look: Look) -> FloatArray:
        """The expert's action (A,) for a frame that can be read; a new plan takes a while."""
        joints = self._task.joints_of_scene(look.scene)
        return self._expert.action(Observation(frame, joints, look.scene))

    def hold(self, look: Look) -> FloatArray:
        """The action (A,) that keeps the arm where it is seen."""
        return self._task.hold_action(self._task.joints_of_scene(look.scene))


class ScriptedOperator:
    """The stages of its corrections.

    Attributes:
        stage: Where it is.
        corrections: How many it has finished.
        outcome: How the last one ended, in one sentence.
        achieved: Whether the last one did what it was for: the task is done, or it has gained what
            it hands back after.
    """

    def __init__(self, task: Task, habits: Habits) -> None:
        self.habits = habits
        self.stage = Stage.WATCHING
        self.corrections = 0
        self.outcome = ''
        self.achieved = False
        self._done_above = task.success_above + DONE_MARGIN
        self._began = False  # by itself, with the session
        self._was_triggered = False
        self._seen: deque[float] = deque(maxlen=habits.stall_steps + 1)
        self._epoch = -1
        self._steps = 0
        self._unread = 0
        self._done_frames = 0
        self._gained_frames = 0
        self._begun_at = np.nan  # the progress that was seen first while it drives

    def tell(self) -> bool:
        """Begin a correction now; returns whether it was not at one already."""
        return self.happen(Event.BEGIN)

    def happen(self, event: Event) -> bool:
        """Something happened; returns whether it leads anywhere."""
        if (self.stage, event) not in TABLE:
            return False
        self.stage = TABLE[self.stage, event]
        self._seen.clear()
        if self.stage is Stage.DRIVING:
            self._steps = self._unread = self._done_frames = self._gained_frames = 0
            self._begun_at = np.nan
        return True

    def watch(self, epoch: int, progress: float, *, autonomous: bool) -> None:
        """A new step was seen while nobody corrects: begin, if it has stalled."""
        if epoch != self._epoch or not autonomous:
            self._epoch = epoch
            self._seen.clear()
        if not autonomous or self.habits.when is not When.STALL:
            return
        self._seen.append(progress)
        full = len(self._seen) == self._seen.maxlen and bool(np.isfinite(self._seen).all())
        stalled = full and max(self._seen) - self._seen[0] <= self.habits.stall_gain
        if stalled and progress <= self._done_above:
            self.happen(Event.BEGIN)

    def watch_mux(self, *, ready: bool, triggered: bool) -> None:
        """The multiplexer's state: begin, if it is time. A trigger is answered once."""
        rises, self._was_triggered = triggered and not self._was_triggered, triggered
        if not ready:
            return
        if self.habits.when is When.START and not self._began:
            self._began = self.happen(Event.BEGIN)
        elif self.habits.when is When.TRIGGER and rises:
            self.happen(Event.BEGIN)

    def drive(self, look: Look) -> bool:
        """A new step was seen while it drives; returns whether it goes on driving."""
        self._steps += 1
        self._unread = 0 if look.readable else self._unread + 1
        self._done_frames = self._done_frames + 1 if look.progress > self._done_above else 0
        if not np.isfinite(self._begun_at):
            self._begun_at = look.progress
        gain = look.progress - self._begun_at
        enough = 0.0 < self.habits.hand_back_gain <= gain
        self._gained_frames = self._gained_frames + 1 if enough else 0
        if self._done_frames >= DONE_FRAMES:
            self._finish(f'done after {self._steps - 1} steps (progress {look.progress:.3f})', True)
        elif self._gained_frames >= DONE_FRAMES:
            self._finish(f'handed back after {self._steps - 1} steps (gained {gain:.3f})', True)
        elif self._steps > self.habits.most_steps:
            self._finish(
                f'not done after {self.habits.most_steps} steps (progress {look.progress:.3f})'
            )
        elif self._unread > MOST_UNREAD:
            self._finish(f'{self._unread} frames in a row could not be read')
        return self.stage is Stage.DRIVING

    def _finish(self, outcome: str, achieved: bool = False) -> None:
        self.corrections += 1
        self.outcome, self.achieved = outcome, achieved
        self.happen(Event.FINISHED)
