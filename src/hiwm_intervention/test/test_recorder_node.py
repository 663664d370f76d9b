# SPDX-License-Identifier: Apache-2.0
"""The recorder as a process on a live graph: exact, undecoded, and never silent on a fault."""

from __future__ import annotations

from collections.abc import Callable, Iterator
import json
import os
from pathlib import Path
import re
import resource
import signal
import subprocess
import sys
import threading
import time
from typing import Any, cast
from urllib.request import urlopen

from hiwm_msgs.msg import Action, RecorderState, RigState, TreeEvent
import numpy as np
import pytest
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rosbags.interfaces import ConnectionExtRosbag2
from rosbags.rosbag2 import Reader
from sensor_msgs.msg import Image, JointState

from hiwm_core import contract
from hiwm_core.bag_reader import BagReader
from hiwm_core.bag_recovery import unfinished_bags
from hiwm_intervention.recover import recover
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


def start(record_dir: Path, *parameters: str, session: str = 'here') -> subprocess.Popen[str]:
    arguments = [
        part
        for parameter in (f'record_dir:={record_dir}', f'session:={session}', *parameters)
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


def test_a_second_camera_is_recorded_beside(listener: Listener, tmp_path: Path) -> None:
    process = start(tmp_path, 'also:=/wrist/image_raw=sensor_msgs/msg/Image')
    listener.until_recording()
    sensor = profile_of(contract.Quality(reliable=False, depth=5))
    wrist = listener.node.create_publisher(Image, '/wrist/image_raw', sensor)
    listener.until(lambda: wrist.get_subscription_count() > 0, 'the recorder listens')
    before = listener.states[-1].messages
    random = np.random.default_rng(4)
    image = random_image(random, 1)

    def heard() -> bool:
        wrist.publish(image)
        return listener.states[-1].messages >= before + 5

    listener.until(heard, 'the second camera is heard')
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, output
    assert len([line for line in output.splitlines() if line.strip()]) == 1, output
    with Reader(tmp_path / 'here' / 'bag') as raw:
        (connection,) = [one for one in raw.connections if one.topic == '/wrist/image_raw']
        pictures = list(raw.messages([connection]))
    assert len(pictures) >= 5
    assert json.loads((tmp_path / 'here' / 'report.json').read_text())['lost_messages'] == 0


@pytest.mark.parametrize(
    ('also', 'sentence'),
    [
        ('wrist', "has 'wrist', which is not a topic and its type"),
        ('/wrist=sensor_msgs/msg/Picture', 'which is not a topic and its type'),
        ('wrist=sensor_msgs/msg/Image', 'which is not a topic and its type'),
        (f'{contract.IMAGE.name}=sensor_msgs/msg/Image', 'which is recorded anyway'),
    ],
)
def test_what_is_no_further_topic_is_refused(also: str, sentence: str, tmp_path: Path) -> None:
    process = start(tmp_path, f'also:={also}')
    output, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1 and sentence in output, output


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


def stamp_of(message: Any) -> int:
    return int(message.header.stamp.sec) * 10**9 + int(message.header.stamp.nanosec)


class Tide:
    """Publishes images and actions until it is told to stop, and knows when each was sent.

    `slip` is by how much this process has been late, s: how loaded the machine is.
    """

    def __init__(self, listener: Listener) -> None:
        self.sent: list[tuple[str, int, float]] = []
        self.slip = 0.0
        self._listener = listener
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        frame = np.zeros((96, 96, 3), np.uint8)
        seq = 0
        due = time.monotonic()
        while not self._stop.wait(max(0.0, due - time.monotonic())):
            self.slip = max(self.slip, time.monotonic() - due)
            now = time.time_ns()
            frame[seq % 96] = seq % 256
            action = Action(seq=seq)
            action.header.stamp = time_message(now)
            for topic, message in (
                (contract.IMAGE, image_message(frame, time_message(now))),
                (contract.POLICY_ACTION, action),
            ):
                self._listener.publish(topic, message)
                self.sent.append((topic.name, now, time.monotonic()))
            seq += 1
            due += 0.05

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(PATIENCE)


def noted(session: Path) -> int:
    """How many messages the recorder of a session has noted by now."""
    try:
        return int((session / '.bag.live').read_text().split()[1])
    except (OSError, IndexError):
        return 0


def lost_in(bag: Path, tide: Tide, killed: float) -> list[float]:
    """Ages (s) at the kill of what was published before it and is not in the bag.

    What was sent before the recorder heard a topic for the first time does not count.
    """
    found: dict[str, set[int]] = {}
    with BagReader(bag) as reader:
        assert reader.custom_data['session'] == bag.parent.name
        for topic, message in reader.messages([contract.IMAGE, contract.POLICY_ACTION]):
            found.setdefault(topic, set()).add(stamp_of(message))
    assert len(found) == 2
    return [
        killed - at
        for topic, stamp, at in tide.sent
        if at < killed and stamp > min(found[topic]) and stamp not in found[topic]
    ]


def test_a_kill_loses_a_second_at_most_and_the_next_start_recovers(
    listener: Listener, tmp_path: Path
) -> None:
    """Five times kill -9 at a random moment; whoever records next makes the bags whole."""
    random = np.random.default_rng(11)
    tide = Tide(listener)
    sessions = [tmp_path / f'killed-{number}' for number in range(5)]
    processes = [start(tmp_path, session=session.name) for session in sessions]
    listener.until(lambda: all(noted(session) > 20 for session in sessions), 'all record')
    killed = []
    for process in processes:
        time.sleep(random.uniform(0.0, 0.8))
        process.kill()
        killed.append(time.monotonic())
        process.communicate(timeout=PATIENCE)
    tide.stop()
    assert [bag.parent for bag in unfinished_bags(tmp_path)] == sessions

    process = start(tmp_path, session=sessions[0].name)
    listener.until(
        lambda: all((session / 'bag' / 'metadata.yaml').is_file() for session in sessions),
        'all are whole again',
    )
    for session, moment in zip(sessions, killed, strict=True):
        # A loaded machine is late in everything; the recorder is not asked to be better.
        assert max(lost_in(session / 'bag', tide, moment), default=0.0) < 1.0 + 4.0 * tide.slip
        report = session / 'report.html'
        listener.until(report.is_file, 'there is a report')
        assert 'the recorder was killed' in report.read_text()
    # Its own bag is no such bag.
    assert unfinished_bags(tmp_path) == []
    assert recover(sessions[0] / 'bag-2') == 1
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, output
    assert len(re.findall(r'killed-\d/bag is whole again: \d+ messages', output)) == 5
    assert not list(tmp_path.rglob('.bag*'))
    # A session that went on has one report over both bags.
    recorded = 0
    for name in ('bag', 'bag-2'):
        with BagReader(sessions[0] / name) as reader:
            recorded += sum(reader.counts().values())
    assert json.loads((sessions[0] / 'report.json').read_text())['messages'] == recorded


def test_a_graph_that_loses_messages_is_told_of_and_the_session_goes_on(
    listener: Listener, tmp_path: Path
) -> None:
    """The operator's sender leaves numbers out, and the rig counts more than it shows."""
    process = start(tmp_path, 'max_bag_mb:=1')
    listener.until_recording()
    random = np.random.default_rng(4)
    for number in range(60):
        image = random_image(random, number)
        listener.publish(contract.IMAGE, image)
        if number not in (20, 21, 40):
            listener.publish(contract.OPERATOR_ACTION, Action(seq=number, device='lossy'))
        state = RigState(rig='lossy', node=1 + number + (number > 30), epoch=1, step=number)
        state.header.stamp = image.header.stamp
        listener.publish(contract.RIG_STATE, state)
        time.sleep(0.01)
    listener.until(lambda: len(listener.wire[contract.RIG_STATE.name]) >= 60, 'all is through')
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, output
    assert '3 messages are missing on /operator/action, by Action.seq' in output
    assert '1 message is missing on /rig/state, by RigState.node' in output
    session = tmp_path / 'here'
    figures = json.loads((session / 'report.json').read_text())
    assert figures['lost_messages'] == 4
    assert '3 messages are missing' in (session / 'report.html').read_text()
    # Split by size: nothing is missing between the files, and every reader takes them as one bag.
    files = list((session / 'bag').glob('*.mcap'))
    assert len(files) >= 2
    with BagReader(session / 'bag') as reader:
        stamps = [stamp_of(message) for _, message in reader.messages([contract.IMAGE])]
    assert stamps[-60:] == list(range(stamps[-60], stamps[-60] + 60))


def test_no_token_is_in_a_sessions_folder(listener: Listener, tmp_path: Path) -> None:
    token = 'a-token-that-nobody-may-find'
    process = start(tmp_path)
    console = subprocess.Popen(
        [
            sys.executable,
            '-c',
            'from hiwm_intervention.console_node import main; main()',
            '--ros-args',
            '-p',
            'port:=0',
            '-p',
            f'token:={token}',
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {'ROS_LOG_DIR': str(tmp_path / 'here' / 'log')},
    )
    assert console.stdout is not None
    try:
        line = next(line for line in console.stdout if token in line)
        listener.until_recording()
        port = int(line.split(':')[-1].split('/')[0])
        with urlopen(f'http://127.0.0.1:{port}/?token={token}', timeout=PATIENCE) as page:
            assert page.status == 200
    finally:
        console.send_signal(signal.SIGINT)
        console.communicate(timeout=PATIENCE)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=PATIENCE)
    files = [file for file in (tmp_path / 'here').rglob('*') if file.is_file()]
    assert {'bag_0.mcap', 'metadata.yaml', 'report.html'} <= {file.name for file in files}
    assert [file for file in files if token.encode() in readable(file)] == []


def readable(file: Path) -> bytes:
    """A file's bytes; of a bag's file, those of its messages."""
    if file.suffix != '.mcap':
        return file.read_bytes()
    with Reader(file) as reader:
        return b''.join(bytes(data) for _, _, data in reader.messages())


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
