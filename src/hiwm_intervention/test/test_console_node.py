# SPDX-License-Identifier: Apache-2.0
"""The console's process: a physical rig's emergency stop, and services that come late or never."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
import time
from typing import Any

from aiohttp import ClientSession, CookieJar
from browser_desk import PATIENCE, TOKEN, Console
from hiwm_msgs.msg import RigState
from hiwm_msgs.srv import Takeover
import pytest
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from std_msgs.msg import Bool

from hiwm_core import contract
from hiwm_intervention.console_protocol import unpack_view
from hiwm_rig.base_node import publisher, serve
from hiwm_rig.emergency_stop import CONSOLE_TOPIC


class Arm:
    """What a physical arm says of itself, and a lock that listens."""

    def __init__(self) -> None:
        self.levels: list[bool] = []
        self.node = Node('arm')
        self.executor = SingleThreadedExecutor()
        self.executor.add_node(self.node)
        self.states = publisher(self.node, contract.RIG_STATE)
        self.node.create_subscription(
            Bool, CONSOLE_TOPIC, lambda message: self.levels.append(bool(message.data)), 10
        )

    def until(self, condition: Callable[[], Any], what: str) -> None:
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            self.executor.spin_once(timeout_sec=0.05)
            if condition():
                return
        raise AssertionError(f'it did not happen: {what}')

    def show(self, *, can_rollback: bool) -> None:
        state = RigState(task='pusht', rig='arm', session='s', epoch=1, mode=1, pace=1)
        state.node, state.branch, state.can_rollback = 1, 'run-1', can_rollback
        self.states.publish(state)
        # Again and again: the console may be found before it has found the arm.
        self.node.create_timer(0.2, lambda: self.states.publish(state))


@pytest.fixture
def arm() -> Iterator[Arm]:
    rclpy.init()
    arm = Arm()
    yield arm
    arm.node.destroy_node()
    rclpy.shutdown()


@pytest.fixture
def console(tmp_path: Path) -> Iterator[Console]:
    console = Console(tmp_path)
    yield console
    assert console.process.stop() == 0, console.process.text()


async def ask(console: Console, name: str, rig: bool) -> dict[str, Any]:
    """Ask as a page does, once it has seen the rig."""
    async with ClientSession(cookie_jar=CookieJar(unsafe=True)) as session:
        await session.get(console.base, params={'token': TOKEN})
        origin = {'Origin': console.base.rstrip('/')}
        async with session.ws_connect(f'{console.base}ws', headers=origin) as socket:
            async for message in socket:
                if isinstance(message.data, bytes):
                    view, _ = unpack_view(message.data)
                    if bool(view['rig']) == rig:
                        break
                    # Only a page that says what it shows is told more.
                    await socket.send_json({'type': 'seen', 'seq': view['seq']})
            await socket.send_json({'type': 'ask', 'id': 1, 'name': name})
            async for message in socket:
                if isinstance(message.data, str) and '"reply"' in message.data:
                    return dict(message.json())
    raise AssertionError('the console answered nothing')


@pytest.mark.parametrize('can_rollback', [False, True])
def test_stop_trips_the_emergency_stop_of_a_physical_rig_and_only_there(
    arm: Arm, console: Console, can_rollback: bool
) -> None:
    with ThreadPoolExecutor(1) as pool:
        arm.until(lambda: arm.states.get_subscription_count() > 0, 'the console listens')
        arm.show(can_rollback=can_rollback)
        asked = pool.submit(lambda: asyncio.run(ask(console, 'stop', rig=True)))
        arm.until(asked.done, 'an answer')
        assert 'Nobody offers /mux/takeover' in asked.result()['text']
        if can_rollback:
            assert arm.levels == []
            return
        # A lock has to be repeated, or it counts as silent.
        arm.until(lambda: arm.levels.count(True) > 5, 'the level, repeated')
        assert False not in arm.levels
        asked = pool.submit(lambda: asyncio.run(ask(console, 'unlock', rig=True)))
        arm.until(asked.done, 'an answer')
        arm.until(lambda: arm.levels[-3:] == [False] * 3, 'the stop to be taken back')


def test_a_rig_that_is_not_known_yet_counts_as_physical(arm: Arm, console: Console) -> None:
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(lambda: asyncio.run(ask(console, 'stop', rig=False)))
        arm.until(lambda: True in arm.levels, 'the level')
        arm.until(asked.done, 'an answer')


def test_a_request_waits_for_a_service_that_is_not_found_yet(arm: Arm, console: Console) -> None:
    events: list[int] = []
    with ThreadPoolExecutor(1) as pool:
        arm.until(lambda: arm.states.get_subscription_count() > 0, 'the console listens')
        arm.show(can_rollback=True)
        asked = pool.submit(lambda: asyncio.run(ask(console, 'resume', rig=True)))
        begun = time.monotonic()
        arm.until(lambda: time.monotonic() > begun + 0.5, 'half a second')
        assert not asked.done()
        serve(arm.node, contract.TAKEOVER, lambda request, response: events.append(request.event))
        arm.until(asked.done, 'an answer')
        assert asked.result()['ok'], asked.result()['text']
    assert events == [Takeover.Request.EVENT_RESUME]


async def status_of_a_frame(console: Console) -> int:
    """Of the answer to a page that asks for a node's frame, once it knows the tree."""
    async with ClientSession(cookie_jar=CookieJar(unsafe=True)) as session:
        await session.get(console.base, params={'token': TOKEN})
        origin = {'Origin': console.base.rstrip('/')}
        async with session.ws_connect(f'{console.base}ws', headers=origin) as socket:
            async for message in socket:
                if isinstance(message.data, bytes):
                    view, _ = unpack_view(message.data)
                    await socket.send_json({'type': 'seen', 'seq': view['seq']})
                    if 'tree' in view:
                        break
            async with session.get(f'{console.base}frame/{view["tree"]["key"]}/1') as answer:
                return answer.status


def test_without_the_rigs_frames_a_page_may_ask_again(arm: Arm, console: Console) -> None:
    with ThreadPoolExecutor(1) as pool:
        arm.until(lambda: arm.states.get_subscription_count() > 0, 'the console listens')
        arm.show(can_rollback=True)
        status = pool.submit(lambda: asyncio.run(status_of_a_frame(console)))
        arm.until(status.done, 'an answer')
        assert status.result() == 503
