# SPDX-License-Identifier: Apache-2.0
"""The recorder as a process on a live graph: exact, undecoded, and never silent on a fault."""

from __future__ import annotations

from collections.abc import Callable, Iterator
import os
from pathlib import Path
import resource
import signal
import subprocess
import sys
import threading
import time
from typing import Any, cast

from hiwm_msgs.msg import RecorderState, TreeEvent
import numpy as np
import pytest
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rosbags.interfaces import ConnectionExtRosbag2
from rosbags.rosbag2 import Reader
from sensor_msgs.msg import Image, JointState

from hiwm_core import contract
from hiwm_core.bag_reader import BagReader
from hiwm_rig.base_node import interface, profile_of, publisher, subscription
from hiwm_rig.conversion import image_message, time_message

PATIENCE = 30.0  # s, for what has to happen; never a measure of speed
FILE_LIMIT = 12 * 2**20  # bytes


def aligned(data: bytes) -> bytes:
    """Bytes as the wire has them: filled up to a multiple of four."""
    return data + bytes(-len(data) % 4)


class Listener:
    """A node that publishes, and knows the recorder's state and the bytes on the wire."""

    def __init__(self) -> None:
        self.node = rclpy.create_node('listener')
        self.states: list[RecorderState] = []
        self.wire: dict[str, list[bytes]] = {}
        self.publishers = {
            topic.name: publisher(self.node, topic) for topic in contract.RECORDED_TOPICS
        }
        subscription(self.node, contract.RECORDER_STATE, self.states.append)
        for topic in contract.RECORDED_TOPICS:
            self.wire[topic.name] = []
            quality = contract.Quality(depth=1000, latched=topic.quality.latched)
            self.node.create_subscription(
                interface(topic.type),
                topic.name,
                self._keeper(topic.name),  # type: ignore[arg-type]  # bytes, as it is raw
                profile_of(quality),
                raw=True,
            )
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self.node)
        self._thread = threading.Thread(target=self._executor.spin, daemon=True)
        self._thread.start()

    def _keeper(self, topic: str) -> Callable[[bytes], None]:
        return lambda data: self.wire[topic].append(aligned(data))

    def close(self) -> None:
        self._executor.shutdown()
        self._thread.join(timeout=5.0)
        self.node.destroy_node()

    def until(self, holds: Callable[[], Any], what: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while not holds():
            assert time.monotonic() < deadline, f'waited in vain until {what}'
            time.sleep(0.01)

    def until_recording(self) -> None:
        """Until the recorder has recorded one message of every topic.

        That a publisher has found the recorder does not mean that the recorder has found the
        publisher, and a reliable reader hears nothing before that.
        """
        self.until(lambda: self.states, 'the recorder is there')
        assert not self.states[0].recording, 'nothing has been heard yet'
        deadline = time.monotonic() + PATIENCE
        while True:
            self._until_next_state()
            before = self.states[-1].messages
            for topic in contract.RECORDED_TOPICS:
                self.publish(topic, interface(topic.type)())
            self._until_next_state()
            self._until_next_state()
            if self.states[-1].messages - before == len(contract.RECORDED_TOPICS):
                assert self.states[-1].recording
                return
            assert time.monotonic() < deadline, 'the recorder does not hear everything'

    def _until_next_state(self) -> None:
        count = len(self.states)
        self.until(lambda: len(self.states) > count, 'the recorder tells its state')

    def forget(self) -> None:
        """Begin to count what is on the wire."""
        for kept in self.wire.values():
            kept.clear()

    def has(self, counts: dict[str, int]) -> bool:
        """Whether so many messages have been on the wire, or more."""
        return all(len(self.wire[name]) >= count for name, count in counts.items())

    def publish(self, topic: contract.Topic, message: Any) -> None:
        self.publishers[topic.name].publish(message)


@pytest.fixture
def listener() -> Iterator[Listener]:
    rclpy.init()
    made = Listener()
    yield made
    made.close()
    rclpy.try_shutdown()


def start(record_dir: Path, *parameters: str) -> subprocess.Popen[str]:
    arguments = [
        part
        for parameter in (f'record_dir:={record_dir}', 'session:=here', *parameters)
        for part in ('-p', parameter)
    ]
    return subprocess.Popen(
        [
            sys.executable,
            '-c',
            'from hiwm_intervention.recorder_node import main; main()',
            '--ros-args',
            *arguments,
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ,
    )


def random_image(random: np.random.Generator, number: int) -> Image:
    frame = random.integers(0, 256, (96, 96, 3), np.uint8)
    return image_message(frame, time_message(10**18 + number))


def test_the_bag_holds_what_was_on_the_wire(listener: Listener, tmp_path: Path) -> None:
    early = TreeEvent(kind=TreeEvent.KIND_RESET, node=1, name='before the recorder')
    listener.publish(contract.RIG_TREE, early)
    process = start(tmp_path, 'policy:=/somewhere/policy', 'operator_id:=ada')
    listener.until_recording()
    state = listener.states[-1]
    bag = tmp_path / 'here' / 'bag'
    assert (state.session, state.uri, state.message) == ('here', str(bag), '')
    assert state.free_bytes > 0

    listener.forget()
    random = np.random.default_rng(4)
    # As fast as they come, with another topic in between and a burst of latched events.
    for number in range(150):
        listener.publish(contract.IMAGE, random_image(random, number))
        listener.publish(
            contract.JOINT_STATES, JointState(name=['x', 'y'], position=[0.1 * number, 0.2])
        )
        time.sleep(0.002)
    for number in range(50):
        listener.publish(contract.RIG_TREE, TreeEvent(kind=TreeEvent.KIND_CHECKPOINT, node=number))
    published = {
        contract.IMAGE.name: 150,
        contract.JOINT_STATES.name: 150,
        contract.RIG_TREE.name: 50,
    }
    listener.until(lambda: listener.has(published), 'all is through')

    process.send_signal(signal.SIGINT)
    # What the others still say while they stop is recorded too.
    listener.publish(contract.RIG_TREE, TreeEvent(kind=TreeEvent.KIND_LABEL, note='farewell'))
    output, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, output
    assert f'recording to {bag}' in output
    assert len([line for line in output.splitlines() if line.strip()]) == 1
    listener.until(lambda: not listener.states[-1].recording, 'its end is told')

    with BagReader(bag) as reader:
        assert reader.custom_data['policy'] == '/somewhere/policy'
        assert reader.custom_data['operator_id'] == 'ada'
        assert reader.custom_data['kind'] == 'session'
        assert set(reader.counts()) == {topic.name for topic in contract.RECORDED_TOPICS}
    recorded: dict[str, list[bytes]] = {topic.name: [] for topic in contract.RECORDED_TOPICS}
    with Reader(bag) as raw:
        for connection, _, data in raw.messages():
            recorded[connection.topic].append(aligned(bytes(data)))
        qualities = {
            connection.topic: cast(ConnectionExtRosbag2, connection.ext).offered_qos_profiles[0]
            for connection in raw.connections
        }
    for name, kept in listener.wire.items():
        assert recorded[name][len(recorded[name]) - len(kept) :] == kept
    events = recorded[contract.RIG_TREE.name]
    assert b'before the recorder' in events[0]
    assert b'farewell' in events[-1]
    assert qualities[contract.RIG_TREE.name].durability.name == 'TRANSIENT_LOCAL'
    assert qualities[contract.RIG_TREE.name].depth == contract.RIG_TREE.quality.depth
    assert qualities[contract.IMAGE.name].durability.name == 'VOLATILE'
    assert listener.states[-1].messages == sum(len(kept) for kept in recorded.values())


def test_a_write_that_fails_is_told_and_ends_the_session(
    listener: Listener, tmp_path: Path
) -> None:
    """The operating system refuses to let the file grow, as a full disk would."""
    process = start(tmp_path)
    listener.until_recording()
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (FILE_LIMIT, FILE_LIMIT))
    random = np.random.default_rng(4)
    number = 0
    while process.poll() is None and number < 4000:
        listener.publish(contract.IMAGE, random_image(random, number))
        number += 1
        time.sleep(0.001)
    output, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1, output
    assert 'Traceback' not in output
    bag = tmp_path / 'here' / 'bag'
    assert str(bag) in output
    listener.until(lambda: listener.states[-1].message, 'the fault is told')
    assert not listener.states[-1].recording
    assert str(bag) in listener.states[-1].message
    # What was written before is whole.
    with BagReader(bag) as reader:
        frames = [message for _, message in reader.messages([contract.IMAGE])]
    assert len(frames) > 100
    stamps = [message.header.stamp.nanosec for message in frames[-100:]]
    assert stamps == list(range(stamps[0], stamps[0] + 100))


@pytest.mark.parametrize(
    ('folder', 'parameter', 'sentence'),
    [
        ('file/below', 'task:=pusht', 'cannot be made'),
        ('', 'min_free_mb:=1000000000', 'min_free_mb'),
        ('', 'task:=juggling', "there is no task 'juggling'"),
        ('', 'session:=../elsewhere', "'../elsewhere'"),
    ],
)
def test_what_it_cannot_use_is_refused_with_one_sentence(
    tmp_path: Path, folder: str, parameter: str, sentence: str
) -> None:
    (tmp_path / 'file').write_text('')
    process = start(tmp_path / folder, parameter)
    output, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1
    assert sentence in output
    assert len([line for line in output.splitlines() if line.strip()]) == 1
