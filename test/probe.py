# SPDX-License-Identifier: Apache-2.0
"""A node that listens to a whole session and asks its services, for tests and measurements."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
import threading
import time
from types import TracebackType
from typing import Any

from hiwm_msgs.msg import Action as ActionMessage
from hiwm_msgs.msg import RigState
import numpy as np
from numpy.typing import NDArray
import rclpy
from rclpy.executors import SingleThreadedExecutor

from hiwm_core import contract
from hiwm_core.action import Action, Source
from hiwm_core.task import Task, load_task
from hiwm_rig.base_node import interface, profile_of, publisher
from hiwm_rig.conversion import action_message, frame_of, nanoseconds_of

# How long a test waits for something that has to happen; never a measure of speed.
PATIENCE = 60.0


class Probe:
    """Everything that was published since it began, in order of arrival.

    Frames and states are listened to reliably and deeply, so that nothing is lost.
    """

    def __init__(self, task: str = 'pusht') -> None:
        self.task: Task = load_task(task)
        self.messages: dict[str, list[Any]] = {topic.name: [] for topic in WATCHED}
        self.lost = 0
        self._seq = 0

    def __enter__(self) -> Probe:
        rclpy.init()
        self.node = rclpy.create_node('probe')
        self._change = threading.Condition()
        for topic in WATCHED:
            quality = contract.Quality(True, 2000, topic.quality.latched)
            self.node.create_subscription(
                interface(topic.type), topic.name, self._take(topic.name), profile_of(quality)
            )
        self.operator = publisher(self.node, contract.OPERATOR_ACTION)
        self.action = publisher(self.node, contract.ACTION)
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self.node)
        self._thread = threading.Thread(target=self._spin, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._executor.shutdown()
        self._thread.join(timeout=5.0)
        # A node that lives on keeps its participant on the graph, in the way of the next test.
        self.node.destroy_node()
        rclpy.try_shutdown()

    def _spin(self) -> None:
        try:
            self._executor.spin()
        except rclpy.executors.ExternalShutdownException:
            return

    def _take(self, name: str) -> Callable[[Any], None]:
        def take(message: Any) -> None:
            with self._change:
                self.messages[name].append(message)
                self._change.notify_all()

        return take

    # -- what was seen ---------------------------------------------------------------------------

    @property
    def states(self) -> list[RigState]:
        """Every rig state so far."""
        return self.messages[contract.RIG_STATE.name]

    @property
    def state(self) -> RigState:
        """The newest rig state."""
        return self.states[-1]

    @property
    def mux(self) -> Any:
        """The newest state of the multiplexer."""
        return self.messages[contract.MUX_STATE.name][-1]

    @property
    def joints(self) -> NDArray[np.float64]:
        """The newest measured joints (J,)."""
        return np.array(self.messages[contract.JOINT_STATES.name][-1].position)

    @property
    def is_physical(self) -> bool:
        """Whether the rig's world cannot be gone back in; it then says so and does the rest."""
        return not self.state.can_rollback

    def frame(self, state: RigState) -> NDArray[np.uint8]:
        """The frame that a state describes."""
        stamp = nanoseconds_of(state.header.stamp)
        for message in reversed(self.messages[contract.IMAGE.name]):
            if nanoseconds_of(message.header.stamp) == stamp:
                return frame_of(message)
        raise AssertionError(f'no frame has the stamp of the state of node {state.node}')

    def until(self, holds: Callable[[], Any], what: str, patience: float = PATIENCE) -> Any:
        """Wait until `holds()` is true and return it; fail with `what` if it never is."""
        deadline = time.monotonic() + patience
        with self._change:
            while True:
                try:
                    value = holds()
                except IndexError:
                    value = None
                if value:
                    return value
                left = deadline - time.monotonic()
                assert left > 0, f'waited {patience:.0f} s in vain until {what}'
                self._change.wait(min(left, 0.2))

    def until_looked(
        self, holds: Callable[[], Any], pause: float, what: str, patience: float = PATIENCE
    ) -> None:
        """Look every `pause` s until `holds()` is true; for what no message tells of."""
        deadline = time.monotonic() + patience
        while not holds():
            assert time.monotonic() < deadline, f'waited {patience:.0f} s in vain until {what}'
            time.sleep(pause)

    def until_step(self, step: int, epoch: int | None = None) -> RigState:
        """Wait for a state at or after this step of the epoch (default: the present one)."""
        epoch = self.state.epoch if epoch is None else epoch
        self.until(
            lambda: any(
                state.epoch == epoch and state.step >= step and not state.context
                for state in self.states[-500:]
            ),
            f'step {step} of epoch {epoch}',
        )
        return self.state

    def until_epoch(self, epoch: int) -> None:
        """Wait until the rig is in this epoch."""
        self.until(lambda: self.state.epoch == epoch, f'epoch {epoch} shows')

    # -- what is asked and sent --------------------------------------------------------------------

    def call(self, service: contract.Service, **fields: Any) -> Any:
        """A service's response."""
        cls = interface(service.type)
        client = self.node.create_client(cls, service.name)
        assert client.wait_for_service(timeout_sec=PATIENCE), f'{service.name} is not served'
        future = client.call_async(cls.Request(**fields))
        done = threading.Event()
        future.add_done_callback(lambda _: done.set())
        assert done.wait(PATIENCE), f'{service.name} did not answer'
        self.node.destroy_client(client)
        return future.result()

    def must(self, service: contract.Service, **fields: Any) -> Any:
        """A service's response, which has to be a success."""
        response = self.call(service, **fields)
        assert response.success, f'{service.name}: {response.message}'
        return response

    def resume(self) -> None:
        """Let the rig run, and wait until it does."""
        self.must(contract.RESUME)
        self.until(lambda: self.state.mode == RigState.MODE_RUNNING, 'the rig runs')

    def make_action(
        self, values: NDArray[np.float64], state: RigState, source: Source = Source.OPERATOR
    ) -> ActionMessage:
        """An action that answers a state."""
        self._seq += 1
        action = Action(values, source, state.epoch, state.step, 'script', self._seq)
        return action_message(self.task, action, self.node.get_clock().now().to_msg())

    def send(self, values: NDArray[np.float64], state: RigState) -> None:
        """Send to the rig directly, in the multiplexer's place."""
        self.action.publish(self.make_action(values, state))

    def drive_rig(self, actions: NDArray[np.float64]) -> list[RigState]:
        """In lockstep and without a multiplexer: execute actions (T, A), one for each step."""
        reached = []
        for values in actions:
            at = self.state
            self.send(values, at)
            reached.append(self.until_step(at.step + 1, at.epoch))
        return reached


WATCHED = (*contract.RECORDED_TOPICS, contract.RECORDER_STATE)


@contextmanager
def watching(task: str = 'pusht') -> Iterator[Probe]:
    """A probe for the length of a block."""
    with Probe(task) as probe:
        yield probe
