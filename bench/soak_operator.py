# SPDX-License-Identifier: Apache-2.0
"""An operator of a soak: takes over, rolls back, branches, judges, at moments that are drawn.

It uses the session as a person does, through a page of the console, and now and then as a script
does, which answers every step at once: a page drives in a person's time, a script at full speed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
import random
import threading
import time
from typing import Any

from hiwm_msgs.msg import Action as ActionMessage
from hiwm_msgs.msg import MuxState, RigState
from hiwm_msgs.srv import Takeover
import numpy as np
import rclpy
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from sensor_msgs.msg import JointState
from test.page_client import PageClient

from hiwm_core import contract
from hiwm_core.action import Action, Source
from hiwm_core.task import Task
from hiwm_rig.base_node import client, publisher, subscription
from hiwm_rig.conversion import action_message, joints_of

PATIENCE = 60.0  # s
OPERATOR = 'soak'
THUMBNAILS = 12


class Hand:
    """A node that sees the newest states, and drives at full speed while it is told to.

    It keeps nothing but the newest message of each topic.

    Attributes:
        state: The rig's newest.
        mux: The multiplexer's newest.
        nodes: The newest node that was shown.
        has_held, has_lost: Whether an operator has held the wheel, and holds it no more; since the
            two were set to false.
    """

    def __init__(self, task: Task, seed: int) -> None:
        self.state: RigState | None = None
        self.mux: MuxState | None = None
        self.nodes = 0
        self.has_held = self.has_lost = False
        self._task = task
        self._random = np.random.default_rng(seed)
        self._joints: np.ndarray | None = None
        self._direction: np.ndarray | None = None
        self._seq = 0
        self.node = rclpy.create_node('soak')
        self._change = threading.Condition()
        self._actions = publisher(self.node, contract.OPERATOR_ACTION)
        self._takeover = client(self.node, contract.TAKEOVER)
        subscription(self.node, contract.JOINT_STATES, self._on_joints)
        subscription(self.node, contract.MUX_STATE, self._on_mux)
        subscription(self.node, contract.RIG_STATE, self._on_rig)
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self.node)
        self._thread = threading.Thread(target=self._spin, daemon=True)
        self._thread.start()

    def _spin(self) -> None:
        try:
            self._executor.spin()
        except ExternalShutdownException:
            return

    def close(self) -> None:
        """Leave the graph."""
        self._executor.shutdown()
        self._thread.join(5.0)
        self.node.destroy_node()

    def until(self, holds: Callable[[], Any], what: str) -> None:
        """Wait until something holds."""
        deadline = time.monotonic() + PATIENCE
        with self._change:
            while not holds():
                left = deadline - time.monotonic()
                if left <= 0:
                    raise AssertionError(f'waited in vain until {what}')
                self._change.wait(min(left, 0.2))

    def until_beyond(self, node: int) -> None:
        """Wait until there is a newer node."""
        self.until(lambda: self.nodes > node, 'a new node')

    @property
    def step(self) -> int:
        """Where the rig stands."""
        return self.state.step if self.state else 0

    def drive(self) -> None:
        """Take the wheel and answer every step from now on."""
        self._direction = self._random.uniform(-0.5, 0.5, len(self._task.actions))
        response = self._ask(Takeover.Request.EVENT_TAKE_OVER)
        if not response.success:
            raise AssertionError(response.message)

    def let_go(self) -> None:
        """Answer nothing more, and say so, if the takeover still goes on."""
        self._direction = None
        self._ask(Takeover.Request.EVENT_RELEASE)

    def _ask(self, event: int) -> Takeover.Response:
        request = Takeover.Request(event=event, operator_id=OPERATOR)
        future = self._takeover.call_async(request)
        done = threading.Event()
        future.add_done_callback(lambda _: done.set())
        if not done.wait(PATIENCE):
            raise AssertionError('the multiplexer does not answer')
        return future.result()

    def _on_joints(self, message: JointState) -> None:
        self._joints = joints_of(self._task, message)

    def _on_mux(self, message: MuxState) -> None:
        with self._change:
            self.mux = message
            self.has_held = self.has_held or bool(message.operator_id)
            self.has_lost = self.has_held and not message.operator_id
            self._change.notify_all()

    def _on_rig(self, message: RigState) -> None:
        with self._change:
            self.state = message
            self.nodes = max(self.nodes, int(message.node))
            self._change.notify_all()
        # It is let go by another thread, at any moment.
        direction = self._direction
        if direction is not None and not message.context and self._joints is not None:
            self._actions.publish(self._answer(message, self._joints, direction))

    def _answer(self, state: RigState, joints: np.ndarray, direction: np.ndarray) -> ActionMessage:
        task = self._task
        values = task.hold_action(joints) + direction * task.action_max_step
        inside = np.clip(values, task.action_low, task.action_high)
        # In place: a direction that has been let go stays so.
        np.negative(direction, out=direction, where=inside != values)
        self._seq += 1
        action = Action(
            inside, Source.OPERATOR, int(state.epoch), int(state.step), OPERATOR, self._seq
        )
        return action_message(task, action, self.node.get_clock().now().to_msg())


class SoakOperator:
    """What is done, turn by turn.

    Args:
        page: The page that it uses.
        hand: Its other device.
        task: Whose keys it holds.
        seed: Of everything.

    Attributes:
        done: How often each kind of turn was taken.
        longest: Seconds of the longest turn, and its kind.
        lost_takeovers: How many ended before they were to, as the dead-man's samples were late.
    """

    def __init__(self, page: PageClient, hand: Hand, task: Task, seed: int) -> None:
        self.page = page
        self.done: Counter[str] = Counter()
        self.lost_takeovers = 0
        self.longest = (0.0, '')
        self._hand = hand
        self._task = task
        self._dice = random.Random(seed)
        self._turns: tuple[tuple[int, Callable[[], None]], ...] = (
            (3, self.correct_by_script),
            (1, self.correct_by_page),
            (3, self.roll_back),
            (2, self.go_to),
            (3, self.branch),
            (2, self.label),
            (1, self.checkpoint),
            (1, self.begin_anew),
            (1, self.scrub),
        )

    def turn(self) -> None:
        """Let the policy drive for a while, then do one thing, and let the policy drive again."""
        self._pass_steps(self._dice.randint(5, 120))
        weights = [weight for weight, _ in self._turns]
        _, act = self._dice.choices(self._turns, weights)[0]
        began = time.monotonic()
        act()
        self.done[act.__name__] += 1
        self.longest = max(self.longest, (round(time.monotonic() - began, 2), act.__name__))
        # The page may be told later than the script that nobody drives any more.
        self.page.until(
            lambda: self.page.view.get('holder') in {None, '', self.page.name},
            'the page may let the policy go on',
        )
        self.page.must('resume')

    def stop(self) -> None:
        """Leave everything paused."""
        self.page.must('pause')
        self._until_paused()

    def correct_by_script(self) -> None:
        """At full speed."""
        self._take(self._hand.drive)
        self._correct(self._dice.randint(10, 80))
        self._hand.let_go()
        self._until_paused()

    def correct_by_page(self) -> None:
        """With a key, in a person's time."""
        key = self._dice.choice(sorted(self._task.keys))
        self._take(lambda: self.page.take_over(**{key: 1.0}))
        self._correct(self._dice.randint(3, 12))
        self.page.ask('release')
        self.page.let_go()
        self._until_paused()

    def roll_back(self) -> None:
        """A few steps; half of the time a correction follows."""
        self._pause()
        if self._hand.step:
            self._move('rollback', steps=self._dice.randint(1, min(60, self._hand.step)))
        if self._dice.random() < 0.5:
            self.correct_by_script()

    def go_to(self) -> None:
        """Any node of the whole tree."""
        self._pause()
        self._move('go_to', node=self._dice.randint(1, self._hand.nodes))

    def branch(self) -> None:
        """At the head, or at any node; every third draws its own randomness."""
        self._pause()
        if self._dice.random() < 1 / 3:
            self._move('resample')
        else:
            node = self._dice.choice([0, self._dice.randint(1, self._hand.nodes)])
            self._move('branch', called=f'soak-{self._dice.getrandbits(60)}', node=node)

    def label(self) -> None:
        """Judge the branch of the head."""
        self._pause()
        label = self._dice.choice(['success', 'failure', 'discard', 'none'])
        self.page.must('label', label=label, note=f'turn {sum(self.done.values())}')

    def checkpoint(self) -> None:
        """Keep a node under a name, while the policy drives on."""
        self.page.must(
            'checkpoint',
            called=f'mark-{self._dice.getrandbits(60)}',
            node=self._dice.randint(1, self._hand.nodes),
        )
        self._pause()

    def begin_anew(self) -> None:
        """From another start of the task."""
        self._pause()
        self._move('reset', seed=self._dice.randrange(2**31))

    def scrub(self) -> None:
        """Look at the past, as the timeline does."""
        self._pause()
        key = self.page.tree_key
        for _ in range(THUMBNAILS):
            node = self._dice.randint(1, self._hand.nodes)
            width = self._dice.choice([48, 0])
            self.page.get(f'/frame/{key}/{node}?width={width}')

    def _pause(self) -> None:
        self.page.must('pause')
        self._until_paused()

    def _move(self, name: str, **fields: Any) -> None:
        """Ask for what moves the scene, and wait until everybody has seen it."""
        assert self._hand.state is not None
        before = self._hand.state.epoch
        self.page.must(name, **fields)
        self._hand.until(
            lambda: self._hand.state is not None and self._hand.state.epoch > before, 'a new epoch'
        )
        self._until_paused()

    def _until_paused(self) -> None:
        self._hand.until(
            lambda: (
                self._hand.mux is not None
                and self._hand.state is not None
                and self._hand.mux.phase == MuxState.PHASE_PAUSED
                and self._hand.state.mode == RigState.MODE_PAUSED
                and self._hand.mux.epoch == self._hand.state.epoch
            ),
            'all stands still',
        )

    def _take(self, ask: Callable[[], None]) -> None:
        """Ask for the wheel, from when on it may be lost."""
        self._hand.has_held = self._hand.has_lost = False
        ask()

    def _correct(self, count: int) -> None:
        """Until so many nodes are new, or the takeover has ended: a busy machine loses samples."""
        begin, hand = self._hand.nodes, self._hand
        hand.until(lambda: hand.nodes >= begin + count or hand.has_lost, f'{count} corrections')
        if hand.nodes < begin + count:
            self.lost_takeovers += 1

    def _pass_steps(self, count: int) -> None:
        # One at a time: on a busy machine each may take a while, and all together longer than that.
        hand = self._hand
        for _ in range(count):
            hand.until_beyond(hand.nodes)
