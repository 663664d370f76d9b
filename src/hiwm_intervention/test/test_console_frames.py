# SPDX-License-Identifier: Apache-2.0
"""Frames of old nodes and pages from elsewhere, from outside the web application."""

from __future__ import annotations

import asyncio
import struct
from typing import Any

from aiohttp import WSMsgType, WSServerHandshakeError
import numpy as np
import pytest
from test_console_app import NEWS, TOKEN, Seat, run, views

from hiwm_intervention.console_access import BURST, MOST_MESSAGES, Allowance
from hiwm_intervention.console_iws import Begin
from hiwm_intervention.console_protocol import Hold

ELSEWHERE = 'http://elsewhere.example'


async def key_of(seat: Seat) -> str:
    """Enter, and learn the tree's key as a page does."""
    seat.app.take_tree(NEWS)
    await seat.enter()
    (view,) = await views(await seat.connect())
    return str(view['tree']['key'])


def test_frames_that_are_asked_for_together_are_fetched_together() -> None:
    async def body(seat: Seat) -> None:
        key = await key_of(seat)
        answers = await asyncio.gather(
            *(seat.client.get(f'/frame/{key}/{node}?width=48') for node in range(1, 101))
        )
        assert [answer.status for answer in answers] == [200] * 90 + [404] * 10
        assert await answers[4].read() == b'picture 5 of 48'
        assert answers[0].content_type == 'image/png'
        assert 'immutable' in answers[0].headers['Cache-Control']
        assert max(len(nodes) for nodes, _ in seat.wanted) <= 64
        assert len(seat.wanted) < 10
        assert (await seat.client.get(f'/frame/{key}/5?width=48')).status == 200
        assert sum(nodes.count(5) for nodes, _ in seat.wanted) == 1, 'once is enough'

    run(body)


def test_no_more_pictures_are_kept_than_there_is_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr('hiwm_intervention.console_frames.CACHED_BYTES', 10 * 450)

    async def body(seat: Seat) -> None:
        key = await key_of(seat)
        for node in (*range(1, 51), 50, 45, 1):
            assert (await seat.client.get(f'/frame/{key}/{node}?width=48')).status == 200
        fetched = [node for nodes, _ in seat.wanted for node in nodes]
        assert fetched == [*range(1, 51), 1], 'the newest are kept, and the oldest asked for again'

    run(body)


def test_another_trees_frames_are_not_shown() -> None:
    async def body(seat: Seat) -> None:
        key = await key_of(seat)
        assert (await seat.client.get('/frame/other.0/5')).status == 404
        assert (await seat.client.get(f'/frame/{key}/5')).status == 200
        seat.app.take_tree({**NEWS, 'generation': 1})
        assert (await seat.client.get(f'/frame/{key}/5')).status == 404

    run(body)


@pytest.mark.parametrize('frames', [None, {}])
def test_a_rig_that_is_away_says_nothing_of_a_frame(frames: dict[int, bytes] | None) -> None:
    async def body(seat: Seat) -> None:
        key = await key_of(seat)
        seat.silent = True
        request = asyncio.create_task(seat.client.get(f'/frame/{key}/5?width=48'))
        await seat.until(lambda: seat.wanted)
        seat.app.take_frames(48, frames)
        # There is none, or nobody can say: the latter may be asked again.
        assert (await request).status == (503 if frames is None else 404)
        seat.silent = False
        assert (await seat.client.get(f'/frame/{key}/5?width=48')).status == 200

    run(body)


def test_no_answer_in_time_says_nothing_of_a_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr('hiwm_intervention.console_frames.PATIENCE', 0.05)

    async def body(seat: Seat) -> None:
        key = await key_of(seat)
        seat.silent = True
        assert (await seat.client.get(f'/frame/{key}/5?width=48')).status == 503
        seat.app.take_frames(48, {5: b'late'})
        answer = await seat.client.get(f'/frame/{key}/5?width=48')
        assert await answer.read() == b'late', 'what came late is kept'

    run(body)


def test_a_picture_of_the_tree_before_is_not_kept_for_the_new_one() -> None:
    async def body(seat: Seat) -> None:
        key = await key_of(seat)
        seat.silent = True
        request = asyncio.create_task(seat.client.get(f'/frame/{key}/5?width=48'))
        await seat.until(lambda: seat.wanted)
        seat.app.take_tree({**NEWS, 'generation': 1})
        assert (await request).status == 503
        later = asyncio.create_task(seat.client.get(f'/frame/{key[:-1]}1/5?width=48'))
        await asyncio.sleep(0.05)
        seat.silent = False
        seat.app.take_frames(48, {5: b'of the tree before'})
        assert await (await later).read() == b'picture 5 of 48'

    run(body)


@pytest.mark.parametrize('query', ['width=-1', 'width=x', 'width=99999', 'width=%C2%B2'])
def test_a_width_that_is_none_is_refused(query: str) -> None:
    async def body(seat: Seat) -> None:
        key = await key_of(seat)
        assert (await seat.client.get(f'/frame/{key}/5?{query}')).status == 400
        assert seat.wanted == []

    run(body)


def test_the_table_of_sessions_is_for_those_who_came_in() -> None:
    async def body(seat: Seat) -> None:
        assert (await seat.client.get('/sessions')).status == 403
        await seat.enter()
        assert await (await seat.client.get('/sessions')).json() == [{'session': 'monday'}]

    run(body)


# -- pages from elsewhere --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ('origin', 'token'),
    [
        (ELSEWHERE, ''),
        (ELSEWHERE, 'guess'),
        ('http://evil.example', TOKEN),
        ('', TOKEN),
        ('http://elsewhere.example.evil', TOKEN),
    ],
)
def test_a_page_from_elsewhere_needs_the_token_and_a_name_on_the_list(
    origin: str, token: str
) -> None:
    async def body(seat: Seat) -> None:
        with pytest.raises(WSServerHandshakeError) as refusal:
            await seat.client.ws_connect(
                '/ws/iws', params={'token': token}, headers={'Origin': origin}
            )
        assert refusal.value.status == 403
        with pytest.raises(WSServerHandshakeError):
            await seat.client.ws_connect('/ws', params={'token': TOKEN}, headers={'Origin': origin})
        assert seat.opened == []

    run(body)


def test_a_page_of_the_interactive_world_simulator_drives() -> None:
    async def body(seat: Seat) -> None:
        socket = await seat.client.ws_connect(
            '/ws/iws', params={'token': TOKEN}, headers={'Origin': ELSEWHERE}
        )
        await socket.send_json({'type': 'init', 'task': 'pusht'})
        await seat.until(lambda: Begin('pusht') in [message for _, message in seat.said])
        keys: dict[str, Any] = dict.fromkeys('wsadqeikjlougoh', 0)
        await socket.send_json({'action': {**keys, 'd': 1}, 't_client': 4321.25})
        await seat.until(lambda: Hold({'d': 1.0}, at=4321.25) in [one for _, one in seat.said])
        # It repeats nothing while a key is held; the server does that for it.
        count = len(seat.said)
        await seat.until(lambda: len(seat.said) > count + 3)
        assert seat.said[-1][1] == Hold({'d': 1.0})
        (page,) = seat.opened
        seat.app.take_answered(page, 77, [4321.25, 4400.0])
        seat.app.take_frame(np.zeros((96, 96, 3), np.uint8), 77)
        message = await socket.receive(timeout=20)
        assert message.type is WSMsgType.BINARY
        assert struct.unpack('>d', message.data[:8]) == (4321.25,)
        assert message.data[8:16] == b'\x89PNG\r\n\x1a\n'
        seat.app.take_frame(np.ones((96, 96, 3), np.uint8), 78)
        message = await socket.receive(timeout=20)
        assert struct.unpack('>d', message.data[:8]) == (0.0,), 'an answer is carried back once'
        seat.app.take_reply(page, {'type': 'error', 'message': 'no'})
        assert await socket.receive_json(timeout=20) == {'type': 'error', 'message': 'no'}

    run(body)


# -- rates -----------------------------------------------------------------------------------------


def test_an_allowance_is_spent_and_fills_again() -> None:
    now = 0.0
    allowance = Allowance(lambda: now)
    assert sum(allowance.spend() for _ in range(int(BURST) + 100)) == BURST
    now = 1.0
    assert sum(allowance.spend() for _ in range(int(BURST))) == MOST_MESSAGES
    now = 1e6
    assert sum(allowance.spend() for _ in range(10_000)) == BURST, 'it never holds more'
