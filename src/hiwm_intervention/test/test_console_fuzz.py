# SPDX-License-Identifier: Apache-2.0
"""100,000 malformed messages change nothing and crash nothing: what is read is exactly right or
nothing, and a page that floods the server is shown the door while the others go on."""

from __future__ import annotations

import asyncio
import json
import random
from typing import Any

from aiohttp import ClientConnectionError, WSMsgType
from aiohttp.test_utils import TestClient, TestServer
import pytest

from hiwm_core.task import load_task
from hiwm_intervention.console_access import Access
from hiwm_intervention.console_app import Callbacks, ConsoleApp
from hiwm_intervention.console_call import SERVICES
from hiwm_intervention.console_iws import Begin, Keys, read_iws
from hiwm_intervention.console_protocol import ASKS, DEVICES, Ask, Hold, Seen, read_message
from hiwm_intervention.console_session import ConsoleSession

MALFORMED = 100_000
OVER_THE_SOCKET = 6_000
TOKEN = 'a-token-of-the-test'

# Right messages, to be broken.
FIELDS: dict[str, Any] = {
    'count': 3,
    'speed': 0.5,
    'steps': 10,
    'node': 4,
    'called': 'left',
    'seed': 17,
    'note': 'slipped',
    'label': 'failure',
    'branch': 'run-1',
}
RIGHT: list[dict[str, Any]] = [
    *(
        {'type': 'ask', 'id': 7, 'name': name, **{field: FIELDS[field] for field in fields}}
        for name, fields in ASKS.items()
    ),
    {'type': 'hold', 'keys': {'d': 1, 'w': 0.5}, 'at': 8123.4, 'device': 'browser'},
    {'type': 'hold', 'drag': [0.1, 0.2, 0.3, 0.4], 'device': 'mouse', 'deadman': True},
    {'type': 'seen', 'seq': 12},
    {'type': 'init', 'task': 'pusht'},
    {'type': 'action', 'action': {'w': 1, 'a': 0}, 't_client': 12.5},
]
JUNK: list[Any] = [
    None, True, -1, 1e308, 10**40, '', 'x' * 300, '\x00', '\ud800', [], {}, [[]], {'a': {}}, 'ü\n',
    float('nan'), float('inf'), '__proto__', '../../etc/passwd', "'; DROP TABLE nodes; --",
]  # fmt: skip


def malformed(dice: random.Random) -> str:
    """A message that somebody might send by mistake or on purpose."""
    message = dict(dice.choice(RIGHT))
    kind = dice.randrange(5)
    if kind == 0:  # one field is something else
        message[dice.choice([*message, 'extra'])] = dice.choice(JUNK)
    elif kind == 1:  # one field is missing
        del message[dice.choice(list(message))]
    elif kind == 2:  # another message's fields
        message.update(dice.choice(RIGHT))
        message.pop('type')
    text = json.dumps(message)
    if kind == 3:  # letters are changed
        letters = list(text)
        for _ in range(dice.randrange(1, 6)):
            letters[dice.randrange(len(letters))] = chr(dice.randrange(1, 0x3000))
        text = ''.join(letters)
    elif kind == 4:  # it ends too early, or goes on
        cut = dice.randrange(len(text))
        text = text[:cut] if dice.random() < 0.7 else text + text[:cut]
    return text


def is_sound(message: object) -> bool:
    """Whether what was read keeps every bound of the protocol."""
    if isinstance(message, Ask):
        return message.name in ASKS and message.fields.keys() == ASKS[message.name].keys()
    if isinstance(message, Hold):
        shares = all(0.0 < share <= 1.0 for share in message.keys.values())
        drag = message.drag is None or max(map(abs, message.drag)) <= 10.0
        return shares and drag and message.device in DEVICES and 0.0 <= message.at <= 1e15
    if isinstance(message, Keys):
        return all(share in (0.0, 1.0) or 0 < share <= 1 for share in message.keys.values())
    return isinstance(message, Seen | Begin) or message is None


def test_100_000_malformed_messages_change_nothing() -> None:
    dice = random.Random(4)
    session = ConsoleSession(load_task('pusht'), 'a session', 0.3)
    before = json.dumps(session.tell(0.0))
    read = 0
    for number in range(MALFORMED):
        text = malformed(dice)
        message = read_message(text) if number % 4 else read_iws(text)
        assert is_sound(message), text
        read += message is not None
        if isinstance(message, Hold):
            session.hold('page-of-nobody', message, 0.0)
        elif isinstance(message, Ask) and message.name in SERVICES:
            session.refusal('page-of-nobody', message)
            session.call('page-of-nobody', message)
    assert read < MALFORMED / 4, 'the broken ones are mostly not read at all'
    assert json.dumps(session.tell(0.0)) == before


@pytest.mark.parametrize('path', ['/ws', '/ws/iws'])
def test_a_flood_over_the_socket_ends_at_the_door(path: str) -> None:
    heard: list[object] = []
    app = ConsoleApp(
        Access(TOKEN),
        Callbacks(
            on_open=lambda page: {'type': 'hello', 'page': page},
            on_message=lambda page, message: heard.append(message),
            on_close=lambda page: None,
            on_frames=lambda nodes, width: None,
            on_sessions=list,
        ),
    )

    async def flood(client: TestClient[Any, Any], dice: random.Random) -> int:
        """Send until the server has had enough; returns how many went out."""
        origin = str(client.make_url('/')).rstrip('/')
        socket = await client.ws_connect(path, headers={'Origin': origin})
        for number in range(OVER_THE_SOCKET):
            try:
                # What no UTF-8 is cannot even be sent by a browser.
                text = malformed(dice).encode(errors='replace')
                await (
                    socket.send_bytes(text) if number % 9 == 0 else socket.send_str(text.decode())
                )
            except ClientConnectionError:
                return number
            if number % 200 == 0:
                await asyncio.sleep(0)
        await socket.close()
        return OVER_THE_SOCKET

    async def body() -> None:
        async with TestClient(TestServer(app.application())) as client:
            assert (await client.get('/', params={'token': TOKEN})).status == 200
            origin = str(client.make_url('/')).rstrip('/')
            good = await client.ws_connect('/ws', headers={'Origin': origin})
            assert (await good.receive_json(timeout=20))['type'] == 'hello'
            dice = random.Random(5)
            sent = 0
            while sent < OVER_THE_SOCKET:
                sent += await flood(client, dice)
            app.take_view({'after': 'the flood'})
            message = await good.receive(timeout=20)
            assert message.type is WSMsgType.BINARY, 'the other page goes on'
            heard.clear()
            await good.send_str('{"type": "ask", "id": 1, "name": "stop"}')
            async with asyncio.timeout(20):
                while Ask(1, 'stop', {}) not in heard:
                    await asyncio.sleep(0.005)
        assert app.ignored_messages > 100

    asyncio.run(body())
    assert all(is_sound(message) for message in heard)
