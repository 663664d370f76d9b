# SPDX-License-Identifier: Apache-2.0
"""What a page may say is read exactly, all else is nothing; frames survive the way to the page."""

from __future__ import annotations

import json
from typing import Any

import cv2
import numpy as np
import pytest

from hiwm_intervention.console_protocol import (
    LONGEST_MESSAGE,
    Ask,
    Hold,
    Seen,
    encode_frame,
    pack_view,
    read_message,
    unpack_view,
)


def ask(**fields: Any) -> str:
    return json.dumps({'type': 'ask', 'id': 1, **fields})


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('{"type": "hold", "keys": {"w": 1, "d": 0.5}}', Hold({'w': 1.0, 'd': 0.5})),
        ('{"type": "hold", "keys": {"w": 0}, "at": 8.5}', Hold({}, at=8.5)),
        (
            '{"type": "hold", "drag": [0, 0.5, 1, -0.5], "device": "mouse", "deadman": true}',
            Hold({}, (0.0, 0.5, 1.0, -0.5), 'mouse'),
        ),
        (
            '{"type": "hold", "device": "gamepad", "deadman": false}',
            Hold({}, None, 'gamepad', False),
        ),
        ('{"type": "seen", "seq": 12}', Seen(12)),
        (ask(name='take_over'), Ask(1, 'take_over', {})),
        (ask(name='rollback', steps=10), Ask(1, 'rollback', {'steps': 10})),
        (ask(name='step'), Ask(1, 'step', {'count': 1})),
        (ask(name='speed', speed=4), Ask(1, 'speed', {'speed': 4.0})),
        (ask(name='ask_wheel'), Ask(1, 'ask_wheel')),
        (ask(name='reset'), Ask(1, 'reset', {'seed': -1})),
        (
            ask(name='label', label='failure', note=' slipped '),
            Ask(1, 'label', {'label': 'failure', 'branch': '', 'note': 'slipped'}),
        ),
    ],
)
def test_messages_are_read(text: str, message: object) -> None:
    assert read_message(text) == message


@pytest.mark.parametrize(
    ('typed', 'kept'),
    [
        ('失敗\u3000右', '失敗 右'),
        ('a\u00a0b\tc', 'a b c'),
        ('two\nlines', 'two lines'),
        ('👩\u200d🔧', '👩\u200d🔧'),
        (
            '\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645',
            '\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645',
        ),
    ],
)
def test_what_people_type_in_their_own_language_is_kept(typed: str, kept: str) -> None:
    message = read_message(ask(name='label', label='failure', note=typed))
    assert isinstance(message, Ask)
    assert message.fields['note'] == kept


def test_a_branch_is_named_by_its_own_field() -> None:
    text = json.dumps({'type': 'ask', 'id': 3, 'name': 'branch', 'called': 'left side'})
    assert read_message(text) == Ask(3, 'branch', {'called': 'left side', 'node': 0})


@pytest.mark.parametrize(
    'text',
    [
        '',
        'hello',
        'null',
        '[]',
        '7',
        '{}',
        '{"type": "hold", "keys": "d"}',
        '{"type": "hold", "keys": ["d"]}',
        '{"type": "hold", "keys": {"d": 1.01}}',
        '{"type": "hold", "keys": {"d": NaN}}',
        '{"type": "hold", "keys": {"d": true}}',
        '{"type": "hold", "at": -1}',
        '{"type": "hold", "at": Infinity}',
        '{"type": "hold", "device": "knife"}',
        '{"type": "hold", "deadman": 1}',
        '{"type": "hold", "drag": [0, 0, 1]}',
        '{"type": "hold", "drag": [0, 0, 1, 1e9]}',
        '{"type": "hold", "drag": [0, 0, NaN, 0]}',
        '{"type": "hold", "keys": {}, "more": 1}',
        json.dumps({'type': 'hold', 'keys': {f'k{key}': 1 for key in range(100)}}),
        ask(name='speed', speed=0.1),
        ask(name='speed', speed=float('nan')),
        ask(name='checkpoint', node=-1),
        ask(name='remember_start'),
        '{"type": "seen", "seq": -1}',
        '{"type": "seen", "seq": 1.5}',
        '{"type": "seen", "seq": true}',
        ask(name='launch_missiles'),
        ask(name=['rollback']),
        ask(name='rollback'),
        ask(name='rollback', steps=0),
        ask(name='rollback', steps=2.0),
        ask(name='rollback', steps='10'),
        ask(name='rollback', steps=10**30),
        ask(name='rollback', steps=10, extra=1),
        ask(name='label', label='great'),
        ask(name='label'),
        ask(name='branch', called='x' * 65),
        ask(name='branch', called='half a pair \ud800'),
        ask(name='branch', called='nobody has given it \uffff'),
        '{"type": "ask", "name": "pause"}',
        '[' * 3000,
        '"' + 'x' * LONGEST_MESSAGE + '"',
        '{"type": "ask", "id": 1, "name": "rollback", "steps": NaN}',
    ],
)
def test_anything_else_is_nothing(text: str) -> None:
    assert read_message(text) is None


def test_small_frames_arrive_bit_for_bit() -> None:
    frame = np.random.default_rng(1).integers(0, 256, (96, 96, 3), dtype=np.uint8)
    view, image = unpack_view(pack_view({'seq': 4}, encode_frame(frame)))
    assert view == {'seq': 4}
    decoded = cv2.imdecode(np.frombuffer(image, np.uint8), 1)
    assert decoded is not None
    assert (decoded[:, :, ::-1] == frame).all()


def test_a_view_of_other_byte_order_and_no_frame() -> None:
    frame = np.zeros((8, 8, 3), np.uint8)
    frame[..., 0] = 200
    assert encode_frame(frame[:, :, ::-1][:, :, ::-1]) == encode_frame(frame)
    assert unpack_view(pack_view({'a': None}, b'')) == ({'a': None}, b'')


def test_large_frames_travel_as_jpeg_and_look_alike() -> None:
    ramp = np.linspace(0, 255, 640, dtype=np.uint8)
    frame = np.repeat(np.tile(ramp, (480, 1))[..., None], 3, axis=2)
    data = encode_frame(frame)
    assert data[:2] == b'\xff\xd8'
    assert len(data) < frame.size / 10
    decoded = cv2.imdecode(np.frombuffer(data, np.uint8), 1)
    assert decoded is not None
    assert np.abs(decoded.astype(int) - frame).mean() < 2
