# SPDX-License-Identifier: Apache-2.0
"""`ros2 topic`, run as a command beside live publishers."""

from __future__ import annotations

from collections.abc import Iterator
import re
import signal

from geometry_msgs.msg import PoseWithCovarianceStamped
import numpy as np
from pip_ros.test.live_graph import live_node, ros2, ros2_here, start_ros2, wait_for
import pytest
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, qos_profile_sensor_data
from sensor_msgs.msg import Image
from std_msgs.msg import String
import yaml


@pytest.fixture(scope='module')
def talker() -> Iterator[Node]:
    """A node that publishes text and images 50 times a second, and two latched topics."""
    image = Image(height=10, width=20, step=60, encoding='rgb8')
    image.header.frame_id = 'camera'
    image.data.frombytes(bytes(range(200)) * 3)
    pose = PoseWithCovarianceStamped()
    pose.pose.pose.position.x = 1.5
    pose.pose.covariance[0] = 0.25
    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    with live_node('talker') as node:
        text = node.create_publisher(String, '/arm/text', 10)
        images = node.create_publisher(Image, '/camera/image', qos_profile_sensor_data)
        node.create_publisher(PoseWithCovarianceStamped, '/arm/pose', latched).publish(pose)
        node.create_publisher(String, '/_hidden/text', 10)
        node.create_subscription(String, '/arm/text', lambda _: None, 10)

        def publish() -> None:
            text.publish(String(data='it is é: "well"'))
            images.publish(image)

        node.create_timer(0.02, publish)
        yield node


def test_list(talker: Node) -> None:
    # Discovery takes its time on a busy machine; a list is what was found until then.
    expected = {'/arm/text', '/arm/pose', '/camera/image', '/rosout'}
    wait_for(lambda: expected <= set(ros2_here('topic', 'list').stdout.split()))
    names = ros2_here('topic', 'list').stdout.split()
    assert names == sorted(names)
    assert '/_hidden/text' not in names
    typed = ros2_here('topic', 'list', '-t', '-a').stdout.splitlines()
    assert '/camera/image [sensor_msgs/msg/Image]' in typed
    assert '/_hidden/text [std_msgs/msg/String]' in typed
    assert int(ros2_here('topic', 'list', '-c').stdout) == len(names)
    verbose = ros2_here('topic', 'list', '-v').stdout
    published, subscribed = verbose.split('Subscribed topics:')
    assert ' * /arm/text [std_msgs/msg/String] 1 publisher\n' in published
    assert ' * /arm/text [std_msgs/msg/String] 1 subscriber\n' in subscribed
    assert '/camera/image' not in subscribed


def test_echo_prints_yaml(talker: Node) -> None:
    done = ros2('topic', 'echo', '--once', '/arm/text')
    assert (done.returncode, done.stderr) == (0, '')
    assert done.stdout == 'data: \'it is é: "well"\'\n---\n'


def test_echo_goes_on_until_it_is_stopped(talker: Node) -> None:
    echo = start_ros2('topic', 'echo', 'arm/text', 'std_msgs/String')
    assert echo.stdout
    lines = [echo.stdout.readline() for _ in range(6)]
    assert lines[1::2] == ['---\n'] * 3
    echo.send_signal(signal.SIGINT)
    _, errors = echo.communicate(timeout=30)
    assert echo.returncode == 128 + signal.SIGINT
    assert 'Traceback' not in errors


def test_echo_shortens_arrays(talker: Node) -> None:
    image = yaml.safe_load(
        ros2_here('topic', 'echo', '--once', '/camera/image').stdout.split('---')[0]
    )
    assert list(image) == [
        'header',
        'height',
        'width',
        'encoding',
        'is_bigendian',
        'step',
        'data',
    ]
    assert image['header'] == {'stamp': {'sec': 0, 'nanosec': 0}, 'frame_id': 'camera'}
    assert image['data'] == [*range(128), '...']
    short = ros2_here('topic', 'echo', '--once', '-l', '3', '/camera/image').stdout
    assert short.endswith("data:\n- 0\n- 1\n- 2\n- '...'\n---\n")
    whole = ros2_here('topic', 'echo', '--once', '-f', '/camera/image').stdout.split('---')[0]
    assert yaml.safe_load(whole)['data'] == list(range(200)) * 3
    named = ros2_here('topic', 'echo', '--once', '--no-arr', '--no-str', '/camera/image').stdout
    assert "data: '<sequence type: uint8, length: 600>'\n" in named
    assert "encoding: '<string length: <4>>'\n" in named


def test_echo_of_a_latched_topic(talker: Node) -> None:
    done = ros2_here('topic', 'echo', '--once', '/arm/pose')
    pose = yaml.safe_load(done.stdout.split('---')[0])['pose']
    assert pose['pose']['position'] == {'x': 1.5, 'y': 0.0, 'z': 0.0}
    assert pose['covariance'] == [0.25] + [0.0] * 35
    named = ros2_here('topic', 'echo', '--once', '--no-arr', '/arm/pose').stdout
    assert "covariance: '<array type: double[36]>'\n" in named
    part = ros2_here('topic', 'echo', '--once', '/arm/pose', '--field', 'pose.pose.position')
    assert part.stdout == 'x: 1.5\ny: 0.0\nz: 0.0\n---\n'
    number = ros2_here('topic', 'echo', '--once', '/arm/pose', '--field', 'pose.pose.position.x')
    assert number.stdout == '1.5\n---\n'
    row = ros2_here('topic', 'echo', '--once', '--csv', '/arm/pose').stdout
    np.testing.assert_array_equal(
        [float(value) for value in row.split(',')[3:]], [1.5, 0, 0, 0, 0, 0, 1, 0.25] + [0] * 35
    )


def test_echo_takes_its_qos_from_the_options(talker: Node) -> None:
    echo = start_ros2(
        'topic', 'echo', '/arm/text', '--qos-reliability', 'best_effort', '--qos-depth', '7'
    )
    assert echo.stdout
    echo.stdout.readline()
    policies = {
        info.node_name: info.qos_profile.reliability.name
        for info in talker.get_subscriptions_info_by_topic('/arm/text')
    }
    echo.send_signal(signal.SIGINT)
    echo.communicate(timeout=30)
    assert policies.pop('talker') == 'RELIABLE'
    assert list(policies.values()) == ['BEST_EFFORT']


def test_hz_prints_rates(talker: Node) -> None:
    meter = start_ros2('topic', 'hz', '/camera/image', '--window', '20')
    assert meter.stdout
    lines = [meter.stdout.readline() for _ in range(5)]
    if lines[0].startswith('WARNING'):
        lines.pop(0)
    meter.send_signal(signal.SIGINT)
    _, errors = meter.communicate(timeout=30)
    assert 'Traceback' not in errors
    for rate, rest in zip(lines[:4:2], lines[1:4:2], strict=True):
        mean = float(re.fullmatch(r'average rate: (\d+\.\d{3})\n', rate)[1])  # type: ignore[index]
        found = re.fullmatch(
            r'\tmin: (\d\.\d{3})s max: (\d+\.\d{3})s std dev: \d+\.\d{5}s window: (\d+)\n', rest
        )
        assert found
        least, most, window = float(found[1]), float(found[2]), int(found[3])
        assert least - 0.001 <= 1 / mean <= most + 0.001
        assert 1 <= window <= 20


def test_hz_waits_for_a_topic() -> None:
    meter = start_ros2('topic', 'hz', '/later')
    assert meter.stdout
    assert meter.stdout.readline() == (
        'WARNING: topic [/later] does not appear to be published yet\n'
    )
    with live_node('late') as node:
        publisher = node.create_publisher(String, '/later', 10)
        node.create_timer(0.05, lambda: publisher.publish(String()))
        assert meter.stdout.readline().startswith('average rate: ')
    meter.send_signal(signal.SIGINT)
    meter.communicate(timeout=30)
    wait_for(lambda: meter.returncode is not None)


@pytest.mark.parametrize(
    ('arguments', 'sentence'),
    [
        (['echo', '/none', '--spin-time', '0.1'], 'Could not determine the type for the passed'),
        (['echo', '/bad name'], "'/bad name' is not a topic name"),
        (['echo', '/arm/text', 'String'], "message type is invalid: 'String'; it must read"),
        (['echo', '/arm/text', 'no_msgs/msg/No'], "the package 'no_msgs' with its messages is not"),
        (['echo', '/arm/text', 'std_msgs/msg/No'], "package 'std_msgs' has no message 'No'"),
        (['echo', '/arm/text', '--field', 'size'], "Invalid field 'size': there is no 'size'"),
        (['echo', '/arm/text', '--qos-durability', 'some'], "invalid choice: 'some'"),
        (['hz', '/arm/text', '--window', '0'], 'must be a positive integer'),
        (['pub', '/arm/text'], "invalid choice: 'pub'"),
    ],
)
def test_mistakes_get_a_sentence(talker: Node, arguments: list[str], sentence: str) -> None:
    done = ros2_here('topic', *arguments)
    assert done.returncode != 0
    assert sentence in done.stderr


def test_a_topic_of_two_types_is_refused() -> None:
    # Before both are discovered the one type that is known is taken; two nodes that are alike are
    # discovered together sooner.
    with live_node('texts') as texts, live_node('images') as images:
        text, image = (
            node.create_publisher(kind, '/mixed', 10)
            for node, kind in ((texts, String), (images, Image))
        )
        texts.create_timer(0.05, lambda: text.publish(String()))
        images.create_timer(0.05, lambda: image.publish(Image()))
        refusal = 'more than one type: [sensor_msgs/msg/Image, std_msgs/msg/String]'
        wait_for(lambda: refusal in ros2_here('topic', 'echo', '--once', '/mixed').stderr)
