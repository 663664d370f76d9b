# SPDX-License-Identifier: Apache-2.0
"""`ros2 bag info` and `ros2 bag play`, run as commands beside a live subscriber."""

from __future__ import annotations

from pathlib import Path
import re
import signal

from hiwm_msgs.msg import Action
import numpy as np
from pip_ros.test.live_graph import live_node, ros2, ros2_here, start_ros2, wait_for
import pytest
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.serialization import serialize_message
from sensor_msgs.msg import Image
from std_msgs.msg import String

import rosbag2_py
from rosbag2_py._storage import QoS

START = 1_700_000_000_123_456_789
TOPICS = {
    '/image': (Image, 'sensor_msgs/msg/Image', QoS(5).best_effort()),
    '/action': (Action, 'hiwm_msgs/msg/Action', QoS(10).reliable()),
    '/state': (String, 'std_msgs/msg/String', QoS(1).reliable().transient_local()),
}
Recorded = list[tuple[str, bytes, int]]


def on_the_wire(message: Image | Action | String) -> bytes:
    """Return the bytes that a recorder receives: the middleware fills them up to fours."""
    data = serialize_message(message)
    return data + bytes(-len(data) % 4)


@pytest.fixture
def bag(tmp_path: Path) -> tuple[Path, Recorded]:
    """A bag of one second: 50 images and actions, and two states."""
    rng = np.random.default_rng(1)
    writer = rosbag2_py.SequentialWriter()
    writer.open(
        rosbag2_py.StorageOptions(str(tmp_path / 'bag'), 'mcap'),
        rosbag2_py.ConverterOptions('', ''),
    )
    for name, (_, kind, qos) in TOPICS.items():
        writer.create_topic(
            rosbag2_py.TopicMetadata(
                id=0, name=name, type=kind, serialization_format='cdr', offered_qos_profiles=[qos]
            )
        )
    messages: Recorded = []
    for index in range(50):
        image = Image(height=96, width=96, step=288, encoding='rgb8')
        image.data.frombytes(rng.bytes(96 * 96 * 3))
        action = Action(seq=index, names=['x'], values=[float(index)])
        for name, message in (('/image', image), ('/action', action)):
            messages.append((name, on_the_wire(message), START + index * 20_000_000))
        if index in (0, 25):
            state = on_the_wire(String(data=f'state {index}'))
            messages.append(('/state', state, START + index * 20_000_000))
    for recorded in messages:
        writer.write(*recorded)
    writer.close()
    return tmp_path / 'bag', messages


def subscribe(node: Node, received: dict[str, list[bytes]], prefix: str = '') -> None:
    """Collect the serialized messages of every topic, asking for what was recorded."""
    for name, (kind, _, qos) in TOPICS.items():
        policies = rosbag2_py.convert_rclcpp_qos_to_rclpy_qos(qos)
        profile = QoSProfile(
            depth=200, reliability=policies.reliability, durability=policies.durability
        )
        received[name] = []
        node.create_subscription(kind, prefix + name, received[name].append, profile, raw=True)


def recorded_on(name: str, messages: Recorded) -> list[bytes]:
    return [data for topic, data, _ in messages if topic == name]


def test_info_prints_what_upstream_prints(bag: tuple[Path, Recorded]) -> None:
    done = ros2('bag', 'info', str(bag[0]))
    assert done.returncode == 0 and done.stderr == ''
    lines = done.stdout.split('\n')
    assert lines[:2] == ['', 'Files:             bag_0.mcap']
    assert re.fullmatch(r'Bag size:          1\.\d MiB', lines[2])
    assert lines[3:6] == [
        'Storage id:        mcap',
        'ROS Distro:        jazzy',
        'Duration:          0.980000000s',
    ]
    stamp = r'\w{3} [ \d]\d 2023 \d\d:\d\d:2\d\.%s \(17000000%s\)'
    assert re.fullmatch('Start:             ' + stamp % ('123456789', r'00\.123456789'), lines[6])
    assert re.fullmatch('End:               ' + stamp % ('103456789', r'01\.103456789'), lines[7])
    assert lines[8:] == [
        'Messages:          102',
        'Topic information: Topic: /image | Type: sensor_msgs/msg/Image | Count: 50 | '
        'Serialization Format: cdr',
        '                   Topic: /action | Type: hiwm_msgs/msg/Action | Count: 50 | '
        'Serialization Format: cdr',
        '                   Topic: /state | Type: std_msgs/msg/String | Count: 2 | '
        'Serialization Format: cdr',
        'Service:           0',
        'Service information: ',
        '',
    ]
    names = ros2('bag', 'info', '-t', str(bag[0] / 'bag_0.mcap'))
    assert names.stdout.split() == ['/image', '/action', '/state']


def test_play_is_bit_exact_and_keeps_the_qos(bag: tuple[Path, Recorded]) -> None:
    path, messages = bag
    received: dict[str, list[bytes]] = {}
    offered = {}
    with live_node('listener') as node:
        subscribe(node, received)
        play = start_ros2('bag', 'play', str(path), '--delay', '3')
        wait_for(lambda: all(node.count_publishers(name) for name in TOPICS))
        for name in TOPICS:
            (info,) = node.get_publishers_info_by_topic(name)
            offered[name] = (info.qos_profile.reliability, info.qos_profile.durability)
        _, errors = play.communicate(timeout=60)
        assert play.returncode == 0, errors
        for name in ('/action', '/state'):
            wait_for(lambda: len(received[name]) >= len(recorded_on(name, messages)))  # noqa: B023
        wait_for(lambda: received['/image'])
    for name in ('/action', '/state'):
        assert received[name] == recorded_on(name, messages)
    # Best effort: a machine that stalls may lose some, but changes none and keeps their order.
    images = iter(recorded_on('/image', messages))
    assert all(image in images for image in received['/image'])
    assert offered == {
        '/image': (ReliabilityPolicy.BEST_EFFORT, DurabilityPolicy.VOLATILE),
        '/action': (ReliabilityPolicy.RELIABLE, DurabilityPolicy.VOLATILE),
        '/state': (ReliabilityPolicy.RELIABLE, DurabilityPolicy.TRANSIENT_LOCAL),
    }


def test_play_a_part_faster_under_other_names(bag: tuple[Path, Recorded]) -> None:
    path, messages = bag
    received: dict[str, list[bytes]] = {}
    with live_node('listener') as node:
        subscribe(node, received, prefix='/again')
        done = ros2(
            'bag',
            'play',
            str(path),
            '--rate',
            '5',
            '--delay',
            '3',
            '--start-offset',
            '0.5',
            '--topics',
            '/action',
            '/state',
            '/missing',
            '--remap',
            '/action:=/again/action',
            'state:=/again/state',
        )
        assert done.returncode == 0
        wait_for(lambda: len(received['/action']) >= 25 and received['/state'])
    assert "the bag has no topic '/missing'" in done.stderr
    assert received['/action'] == recorded_on('/action', messages)[25:]
    assert received['/state'] == recorded_on('/state', messages)[1:]
    assert received['/image'] == []


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_a_loop_plays_until_it_is_stopped(bag: tuple[Path, Recorded], number: int) -> None:
    path, messages = bag
    received: dict[str, list[bytes]] = {}
    with live_node('listener') as node:
        subscribe(node, received)
        play = start_ros2('bag', 'play', str(path), '-l', '-r', '20')
        wait_for(lambda: len(received['/action']) > 120)
        play.send_signal(number)
        _, errors = play.communicate(timeout=30)
    assert play.returncode == 0
    assert 'Traceback' not in errors
    assert set(received['/action']) <= set(recorded_on('/action', messages))


@pytest.mark.parametrize(
    ('arguments', 'sentence'),
    [
        (['info', '/nowhere'], "Bag path '/nowhere' does not exist!"),
        (['play', '/nowhere'], "Bag path '/nowhere' does not exist!"),
        (['info', '{folder}'], 'has no metadata.yaml'),
        (['play', '{bag}', '--rate', '0'], '0 is not in the valid range (> 0.0)'),
        (['play', '{bag}', '--remap', 'image'], "'image' does not read 'old_topic:=new_topic'"),
        (['play', '{bag}', '--clock', '40'], '--clock is not supported'),
        (['play', '{bag}', '-p'], '-p is not supported'),
        (['play', '{bag}', '--wait-for-all-acked=5'], '--wait-for-all-acked is not supported'),
        (['record', '-a'], "invalid choice: 'record'"),
    ],
)
def test_mistakes_get_a_sentence(
    bag: tuple[Path, Recorded], arguments: list[str], sentence: str
) -> None:
    paths = {'bag': str(bag[0]), 'folder': str(bag[0].parent)}
    done = ros2_here('bag', *(argument.format(**paths) for argument in arguments))
    assert done.returncode != 0
    assert sentence in done.stderr
