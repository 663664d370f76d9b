# SPDX-License-Identifier: Apache-2.0
"""The scripted operator on the graph: frames in, corrections on `/operator/action` out.

Of `/rig/state` it uses the place in the session (epoch, step, mode, pace) and nothing of the scene.
Reading and planning happen in a thread of their own with room for the newest frame; meanwhile the
dead-man's samples go on from the executor's thread, idle, so that time may stand still until the
plan is there.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from queue import SimpleQueue
import sys
import time
from typing import Any

from hiwm_msgs.msg import MuxState, RigState
from hiwm_msgs.srv import Rollback, Takeover
import numpy as np
from numpy.typing import NDArray
from rclpy.node import Node
from rclpy.task import Future
from sensor_msgs.msg import Image
from std_srvs.srv import Trigger

from hiwm_core import contract
from hiwm_core.action import Action, Source
from hiwm_core.error import HiwmError
from hiwm_core.newest_worker import NewestWorker
from hiwm_core.parameter import Parameter
from hiwm_core.rig import Mode
from hiwm_core.task import FloatArray, load_task
from hiwm_rig.base_node import client, declare, publisher, run_node, subscription
from hiwm_rig.conversion import action_message, frame_of, nanoseconds_of
from hiwm_rig.steady_clock import STEADY_CLOCK
from hiwm_rig.wake import Wake
from hiwm_robot.scripted_operator import Event, Eyes, Habits, Look, ScriptedOperator, Stage, When

DEVICE = 'script'
JOINED_FRAMES = 16  # images whose state has not come; beyond these the oldest is given up
TICK = 0.05  # s
SAMPLE_PERIOD = 0.2  # s, between samples of the dead-man while it thinks
HELD = (MuxState.PHASE_HANDOVER, MuxState.PHASE_CORRECTING)

PARAMETERS = {
    'task': Parameter('pusht', 'which task, by name'),
    'operator_id': Parameter('script', 'whose name the token bears'),
    'when': Parameter(
        'told',
        'when a correction begins by itself: told: only by the service; start: once, with the '
        'session; stall: when the progress stalls; trigger: when the multiplexer paused by one',
        choices=tuple(when.value for when in When),
    ),
    'rollback_steps': Parameter(20, 'steps back before it takes over; 0: none', low=0),
    'most_steps': Parameter(150, 'of one correction', low=1),
    'stall_steps': Parameter(60, 'the progress has stalled if in so many steps', low=1),
    'stall_gain': Parameter(0.02, 'it has gained no more than this', low=0.0),
    'hand_back_gain': Parameter(
        0.0, 'a correction ends once it has gained so much; 0: once the task is done', low=0.0
    ),
    'resume': Parameter(True, 'give the wheel to the policy after a correction'),
    'seed': Parameter(0, "of the expert's choices", low=0),
}


@dataclass(frozen=True, eq=False)
class Seen:
    """A frame with its place in the session; `drive`: whether an action is wanted for it."""

    epoch: int
    step: int
    frame: NDArray[np.uint8]
    drive: bool


class Gaze:
    """Reading and planning in a thread of its own, for the newest frame.

    Args:
        eyes: Used in that thread alone.
        done: Called in the thread when there is something in `results`; must not block.
    """

    def __init__(self, eyes: Eyes, done: Callable[[], None]) -> None:
        self._eyes, self._done = eyes, done
        # A look comes as soon as it is there, and then the chosen action, if one is wanted.
        self.results: SimpleQueue[tuple[Seen, Look, FloatArray | None]] = SimpleQueue()
        self._worker = NewestWorker('gaze', self._look)

    def see(self, seen: Seen) -> None:
        """Look at this next, and at nothing older."""
        self._worker.ask(seen)

    def stop(self) -> None:
        """End the thread; a plan in progress gets a few seconds."""
        self._worker.stop()

    def _look(self, seen: Seen) -> None:
        look = self._eyes.look(seen.frame)
        self._give(seen, look, None)
        if seen.drive and look.readable:
            self._give(seen, look, self._eyes.choose(seen.frame, look))

    def _give(self, seen: Seen, look: Look, values: FloatArray | None) -> None:
        self.results.put((seen, look, values))
        self._worker.tell(self._done)


class ScriptedOperatorNode(Node):
    """Watches, and corrects."""

    def __init__(self) -> None:
        super().__init__('scripted_operator')
        values = declare(self, PARAMETERS)
        self._task = load_task(values['task'])
        self._operator_id = values['operator_id']
        self._operator = ScriptedOperator(
            self._task,
            Habits(
                when=When(values['when']),
                rollback_steps=values['rollback_steps'],
                most_steps=values['most_steps'],
                stall_steps=values['stall_steps'],
                stall_gain=values['stall_gain'],
                hand_back_gain=values['hand_back_gain'],
                resumes=values['resume'],
            ),
        )
        self._eyes = Eyes(self._task, values['seed'])
        self._frames: OrderedDict[int, Image] = OrderedDict()
        self._unseen: RigState | None = None  # its image has not come
        self._state: RigState | None = None  # that of `_frame`
        self._frame: NDArray[np.uint8] | None = None
        self._mux: MuxState | None = None
        self._looked: tuple[int, int, bool] | None = None
        self._judged: tuple[int, int] | None = None  # the last step that counted
        self._asked: Stage | None = None  # whose request is under way
        self._asked_stamp = 0
        self._awaited_epoch = 0  # of a rollback that the multiplexer has not shown yet
        self._hold: FloatArray | None = None
        self._sent_at = 0.0
        self._sequence = 0
        self._gaze = Gaze(self._eyes, Wake(self, self._take_results).call)
        self._actions = publisher(self, contract.OPERATOR_ACTION)
        self._takeover = client(self, contract.TAKEOVER)
        self._rollback = client(self, contract.ROLLBACK)
        self.create_service(Trigger, '~/correct', self._on_correct)
        subscription(self, contract.IMAGE, self._on_image)
        subscription(self, contract.RIG_STATE, self._on_state)
        subscription(self, contract.MUX_STATE, self._on_mux)
        self.create_timer(TICK, self._act, clock=STEADY_CLOCK)
        self.get_logger().info(f"ready as '{self._operator_id}', corrects: {values['when']}")

    def destroy_node(self) -> None:
        """Stop the thread before what it triggers goes."""
        if hasattr(self, '_gaze'):
            self._gaze.stop()
        super().destroy_node()

    # -- what comes in ---------------------------------------------------------------------------

    def _on_correct(self, request: Any, response: Any) -> Any:
        response.success = self._operator.tell()
        response.message = '' if response.success else 'it is at a correction already'
        self._act()
        return response

    def _on_image(self, message: Image) -> None:
        self._frames[nanoseconds_of(message.header.stamp)] = message
        while len(self._frames) > JOINED_FRAMES:
            self._frames.popitem(last=False)
        self._join()

    def _on_state(self, message: RigState) -> None:
        if message.task != self._task.name:
            self._warn(f"the rig does task '{message.task}', not '{self._task.name}'")
        elif not message.context:
            self._unseen = message
            self._join()

    def _join(self) -> None:
        """The newest state with its image."""
        if self._unseen is None:
            return
        image = self._frames.pop(nanoseconds_of(self._unseen.header.stamp), None)
        if image is None:
            return
        try:
            frame = frame_of(image)
            if frame.shape != self._task.frame_shape:
                raise HiwmError(
                    f"the camera's frames are {frame.shape}; "
                    f"task '{self._task.name}' needs {self._task.frame_shape}"
                )
        except HiwmError as error:
            self._warn(error.message)
            return
        self._state, self._unseen, self._frame = self._unseen, None, frame
        self._act()

    def _on_mux(self, message: MuxState) -> None:
        self._mux = message
        if nanoseconds_of(message.header.stamp) < self._asked_stamp:
            # It was on its way before the takeover was granted.
            return
        operator = self._operator
        holds = message.phase in HELD and message.operator_id == self._operator_id
        if operator.stage is Stage.DRIVING and not holds:
            operator.happen(Event.LOST)
            self.get_logger().info(f'the wheel is lost: {message.reason}')
        if self._awaited_epoch and message.epoch >= self._awaited_epoch:
            self._awaited_epoch = 0
            operator.happen(Event.DONE)
        operator.watch_mux(
            ready=self._frame is not None,
            triggered=message.phase == MuxState.PHASE_PAUSED
            and message.trigger != MuxState.TRIGGER_NONE,
        )
        self._act()

    def _take_results(self) -> None:
        while not self._gaze.results.empty():
            seen, look, values = self._gaze.results.get()
            if values is None:
                self._judge(seen, look)
            elif self._operator.stage is Stage.DRIVING and self._is_at(seen):
                self._publish(values, seen.epoch, seen.step, idle=False)
        self._act()

    def _judge(self, seen: Seen, look: Look) -> None:
        """Count a step that is seen for the first time."""
        if look.readable:
            self._hold = self._eyes.hold(look)
        if not self._is_at(seen) or self._judged == (seen.epoch, seen.step):
            return
        self._judged = (seen.epoch, seen.step)
        if self._operator.stage is Stage.WATCHING and self._mux is not None:
            autonomous = self._mux.phase == MuxState.PHASE_AUTONOMOUS
            self._operator.watch(seen.epoch, look.progress, autonomous=autonomous)
        elif self._operator.stage is Stage.DRIVING and not self._operator.drive(look):
            self.get_logger().info(self._operator.outcome)

    def _is_at(self, seen: Seen) -> bool:
        state = self._state
        return state is not None and (seen.epoch, seen.step) == (state.epoch, state.step)

    # -- what goes out ---------------------------------------------------------------------------

    def _act(self) -> None:
        """Look, ask for what the stage needs, keep the dead-man pressed."""
        state, stage = self._state, self._operator.stage
        if state is None or self._frame is None:
            return
        drives = stage is Stage.DRIVING and state.mode == Mode.RUNNING
        watches = stage is Stage.WATCHING and self._operator.habits.when is When.STALL
        place = (int(state.epoch), int(state.step), drives)
        if place != self._looked and (drives or watches):
            self._looked = place
            self._gaze.see(Seen(*place[:2], self._frame, drives))
        if stage is Stage.DRIVING:
            waited = time.monotonic() - self._sent_at
            if self._hold is not None and waited > SAMPLE_PERIOD:
                self._publish(self._hold, *place[:2], idle=True)
        elif stage is not Stage.WATCHING and stage is not self._asked:
            self._ask(stage)

    def _ask(self, stage: Stage) -> None:
        """Ask for what a stage needs, once."""
        self._asked = stage
        requests = {
            Stage.TAKING_OVER: Takeover.Request.EVENT_TAKE_OVER,
            Stage.RELEASING: Takeover.Request.EVENT_RELEASE,
            Stage.RESUMING: Takeover.Request.EVENT_RESUME,
        }
        if stage is Stage.ROLLING_BACK:
            self._roll_back()
        elif stage is Stage.RESUMING and not self._operator.habits.resumes:
            self._settle(stage, Event.DONE)
        elif not self._takeover.service_is_ready():
            self._warn(f'the service {contract.TAKEOVER.name} is not available')
            self._settle(stage, Event.REFUSED)
        else:
            # Where the arm was seen before means nothing any more.
            self._hold = None
            request = Takeover.Request(event=requests[stage], operator_id=self._operator_id)
            self._asked_stamp = self.get_clock().now().nanoseconds
            future = self._takeover.call_async(request)
            future.add_done_callback(partial(self._on_answer, stage))

    def _roll_back(self) -> None:
        assert self._state is not None
        steps = min(self._operator.habits.rollback_steps, int(self._state.step))
        if not steps:
            self._settle(Stage.ROLLING_BACK, Event.DONE)
        elif not self._rollback.service_is_ready():
            self._warn(f'the service {contract.ROLLBACK.name} is not available')
            self._settle(Stage.ROLLING_BACK, Event.REFUSED)
        else:
            future = self._rollback.call_async(Rollback.Request(steps=steps))
            future.add_done_callback(self._on_rolled_back)

    def _on_rolled_back(self, future: Future) -> None:
        response = future.result()
        if response is None or not response.success:
            self._warn(f'not rolled back: {response.message if response else "no answer"}')
            self._settle(Stage.ROLLING_BACK, Event.REFUSED)
        elif self._mux is not None and self._mux.epoch >= response.epoch:
            self._settle(Stage.ROLLING_BACK, Event.DONE)
        else:
            # A takeover before the multiplexer has seen it would be ended by it.
            self._awaited_epoch = int(response.epoch)

    def _on_answer(self, stage: Stage, future: Future) -> None:
        response = future.result()
        if response is None or not response.success:
            self._warn(response.message if response else 'the multiplexer did not answer')
            self._settle(stage, Event.REFUSED)
        else:
            self._settle(stage, Event.DONE)

    def _settle(self, stage: Stage, event: Event) -> None:
        if self._operator.stage is stage:
            self._operator.happen(event)
        self._act()

    def _publish(self, values: FloatArray, epoch: int, step: int, *, idle: bool) -> None:
        self._sent_at = time.monotonic()
        action = Action(
            values, Source.OPERATOR, epoch, step, DEVICE, self._sequence, deadman=True, idle=idle
        )
        self._sequence = (self._sequence + 1) % 2**32
        self._actions.publish(action_message(self._task, action, self.get_clock().now().to_msg()))

    def _warn(self, sentence: str) -> None:
        self.get_logger().warning(sentence, throttle_duration_sec=1.0)


def main() -> None:
    """The executable `scripted_operator`."""
    sys.exit(run_node(ScriptedOperatorNode))
