# SPDX-License-Identifier: Apache-2.0
"""The recorder's core: what it takes is in the bag, and what it cannot write is said."""

from __future__ import annotations

from collections.abc import Callable
import hashlib
from pathlib import Path
import threading
import time

from hiwm_msgs.msg import MuxState
import numpy as np
import pytest
from rclpy.serialization import serialize_message
from rosbags.rosbag2 import Reader

from hiwm_core.contract import IMAGE, MUX_STATE, RECORDED_TOPICS
from hiwm_core.error import ErrorCode, HiwmError
from hiwm_intervention.recorder import DISK_CHECK_PERIOD, Recorder, describe_session, free_bag

PLENTY = 10**12
PATIENCE = 20.0  # s


def recorder(folder: Path, **changes: object) -> Recorder:
    settings: dict[str, object] = {'min_free_bytes': 0, **changes}
    return Recorder(folder, RECORDED_TOPICS, {'kind': 'session'}, **settings)  # type: ignore[arg-type]


def until(holds: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def contents(bag: Path) -> list[tuple[str, int, bytes]]:
    with Reader(bag) as reader:
        return [
            (connection.topic, stamp, bytes(data)) for connection, stamp, data in reader.messages()
        ]


def test_what_is_taken_is_in_the_bag(tmp_path: Path) -> None:
    random = np.random.default_rng(2)
    folder = tmp_path / 'new' / 'session' / 'bag'
    recording = recorder(folder)
    given = [
        ((IMAGE, MUX_STATE)[number % 2].name, 10**18 + number, random.bytes(1000 + number))
        for number in range(500)
    ]
    for entry in given:
        recording.take(entry[0], entry[2], entry[1])
    assert recording.close() == ''
    assert recording.close() == ''
    assert contents(folder) == given
    assert recording.messages == 500
    assert recording.written_bytes == sum(len(data) for _, _, data in given)
    assert recording.waiting_bytes == 0


def test_nothing_is_taken_after_the_end(tmp_path: Path) -> None:
    recording = recorder(tmp_path / 'bag')
    recording.take(MUX_STATE.name, serialize_message(MuxState()), 1)
    recording.close()
    recording.take(MUX_STATE.name, serialize_message(MuxState()), 2)
    assert len(contents(tmp_path / 'bag')) == 1


def test_it_does_not_begin_on_a_full_disk(tmp_path: Path) -> None:
    with pytest.raises(HiwmError, match='MB left, less than') as refusal:
        recorder(tmp_path / 'bag', min_free_bytes=PLENTY, measure_free=lambda folder: PLENTY - 1)
    assert refusal.value.code is ErrorCode.STORAGE_FAULT
    assert not (tmp_path / 'bag').exists()


def test_a_disk_that_fills_ends_the_recording_and_keeps_what_there_is(tmp_path: Path) -> None:
    free = [PLENTY]
    recording = recorder(tmp_path / 'bag', min_free_bytes=1000, measure_free=lambda folder: free[0])
    recording.take(MUX_STATE.name, b'\0\1\0\0before', 1)
    until(lambda: recording.messages == 1)
    free[0] = 999
    until(lambda: recording.fault)
    assert 'free some space' in recording.fault
    recording.take(MUX_STATE.name, b'\0\1\0\0after', 2)
    assert recording.close() == recording.fault
    assert [data for _, _, data in contents(tmp_path / 'bag')] == [b'\0\1\0\0before']


def test_a_disk_that_fills_loses_nothing_that_was_taken(tmp_path: Path) -> None:
    free = [PLENTY]
    recording: Recorder

    def fill_up(topic: str, data: bytes, stamp: int) -> None:
        """While the first message is written, others come and the disk fills."""
        if stamp == 0:
            for number in range(1, 100):
                recording.take(MUX_STATE.name, b'\0\1\0\0waits', number)
            free[0] = 999
            time.sleep(1.1 * DISK_CHECK_PERIOD)

    recording = recorder(
        tmp_path / 'bag',
        min_free_bytes=1000,
        measure_free=lambda folder: free[0],
        written=fill_up,
    )
    recording.take(MUX_STATE.name, b'\0\1\0\0first', 0)
    until(lambda: recording.fault)
    assert recording.close() == recording.fault
    assert [stamp for _, stamp, _ in contents(tmp_path / 'bag')] == list(range(100))


def test_a_write_that_fails_ends_the_recording(tmp_path: Path) -> None:
    recording = recorder(tmp_path / 'bag')
    recording.take(MUX_STATE.name, b'\0\1\0\0before', 1)
    recording.take('/not/declared', b'\0\1\0\0', 2)
    until(lambda: recording.fault)
    assert '/not/declared' in recording.fault
    recording.close()
    assert len(contents(tmp_path / 'bag')) == 1


def test_a_queue_that_overflows_is_a_fault_and_no_gap(tmp_path: Path) -> None:
    """The disk is held up while more comes than may wait: nothing is left out silently."""
    gate = threading.Event()
    held = threading.Event()

    def measure(folder: Path) -> int:
        if folder == tmp_path / 'bag':
            held.set()
            gate.wait(PATIENCE)
        return PLENTY

    recording = recorder(tmp_path / 'bag', queue_bytes=1000, measure_free=measure)
    assert held.wait(PATIENCE)
    for number in range(11):
        recording.take(MUX_STATE.name, bytes(100), number)
    assert 'too slow' in recording.fault
    gate.set()
    assert 'too slow' in recording.close()
    assert [stamp for _, stamp, _ in contents(tmp_path / 'bag')] == list(range(10))


def test_a_folder_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / 'file').write_text('')
    with pytest.raises(HiwmError, match='cannot be made'):
        recorder(tmp_path / 'file' / 'session' / 'bag')
    (tmp_path / 'bag').mkdir()
    with pytest.raises(HiwmError, match='exists already'):
        recorder(tmp_path / 'bag')


def test_the_session_is_described(tmp_path: Path) -> None:
    model = tmp_path / 'world_model'
    model.mkdir()
    (model / 'model.safetensors').write_bytes(b'weights')
    (model / 'card.json').write_text('{}')
    data = describe_session(
        session='a',
        task='pusht',
        operator_id='ada',
        models={'world_model': model, 'policy': tmp_path / 'none', 'other': None},
    )
    assert data['kind'] == 'session'
    assert (data['session'], data['task'], data['operator_id']) == ('a', 'pusht', 'ada')
    assert data['world_model_sha256'] == hashlib.sha256(b'weights').hexdigest()
    assert data['policy'] == str(tmp_path / 'none')
    assert 'policy_sha256' not in data
    assert 'other' not in data
    assert data['hiwm_version'] == '0.1.0'
    assert all(isinstance(value, str) for value in data.values())


def test_a_session_that_goes_on_gets_another_bag(tmp_path: Path) -> None:
    assert free_bag(tmp_path) == tmp_path / 'bag'
    (tmp_path / 'bag').mkdir()
    assert free_bag(tmp_path) == tmp_path / 'bag-2'
    (tmp_path / 'bag-2').mkdir()
    assert free_bag(tmp_path) == tmp_path / 'bag-3'
