# SPDX-License-Identifier: Apache-2.0
"""`ros2 bag`: info and play."""

from __future__ import annotations

import argparse
from pathlib import Path
import sys
import time

from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile

from ros2cli.graph import (
    CommandError,
    command_node,
    full_name,
    interface_class,
    wait_for_graph,
    wait_until,
)
from rosbag2_py import (
    BagMetadata,
    ConverterOptions,
    Info,
    SequentialReader,
    StorageFilter,
    StorageOptions,
    TopicMetadata,
    convert_rclcpp_qos_to_rclpy_qos,
    get_registered_readers,
)
from rosbag2_py.metadata import SERVICE_EVENT, format_seconds

DEFAULT_DEPTH = 10
PLAYBACK_DEPTH = 100
ACKNOWLEDGE_TIME = 2.0
CONNECT_TIME = 2.0
PROGRESS_PERIOD = 0.1
REFUSED = (
    '--clock',
    '--clock-topics',
    '--clock-topics-all',
    '--exclude-regex',
    '--exclude-topics',
    '--playback-duration',
    '--playback-until-nsec',
    '--playback-until-sec',
    '--publish-service-requests',
    '--qos-profile-overrides-path',
    '--regex',
    '--services',
    '--start-paused',
    '--storage-config-file',
    '--wait-for-all-acked',
)


class _Refuse(argparse.Action):
    """An option of upstream's that this command has not."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: object,
        option_string: str | None = None,
    ) -> None:
        parser.error(f'{option_string} is not supported by this ros2 command')


def _positive(text: str) -> float:
    value = float(text)
    if not 0.0 < value < float('inf'):
        raise argparse.ArgumentTypeError(f'{text} is not in the valid range (> 0.0)')
    return value


def _not_negative(text: str) -> float:
    value = float(text)
    if not 0.0 <= value < float('inf'):
        raise argparse.ArgumentTypeError(f'{text} is not in the valid range (>= 0.0)')
    return value


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verbs and their options."""
    verbs = parser.add_subparsers(dest='verb', required=True, metavar='{info,play}')

    info = verbs.add_parser('info', help='print information about a bag')
    info.add_argument('bag_path', help="the bag's folder, or one of its files")
    info.add_argument('-s', '--storage', choices=sorted(get_registered_readers()), default='')
    info.add_argument('-t', '--topic-name', action='store_true', help="only the topics' names")
    info.add_argument('-v', '--verbose', nargs=0, action=_Refuse, help=argparse.SUPPRESS)

    play = verbs.add_parser('play', help='play a bag back')
    play.add_argument('bag_path', help="the bag's folder, or one of its files")
    play.add_argument('-s', '--storage', choices=sorted(get_registered_readers()), default='')
    play.add_argument('-r', '--rate', type=_positive, default=1.0, help='1.0: as recorded')
    play.add_argument('--topics', nargs='+', default=[], help='only these topics')
    play.add_argument('-l', '--loop', action='store_true', help='begin again at the end')
    play.add_argument(
        '-m', '--remap', nargs='+', default=[], metavar='OLD:=NEW', help='other names for topics'
    )
    play.add_argument(
        '-d', '--delay', type=_not_negative, default=0.0, help='wait before each round, in seconds'
    )
    play.add_argument(
        '--start-offset', type=_not_negative, default=0.0, help='skip the first seconds'
    )
    play.add_argument(
        '--read-ahead-queue-size', type=int, default=1000, help='taken; reading is never ahead'
    )
    play.add_argument(
        '--disable-keyboard-controls', action='store_true', help='taken; there are none'
    )
    for option in REFUSED:
        play.add_argument(option, nargs='*', action=_Refuse, help=argparse.SUPPRESS)
    play.add_argument('-p', nargs=0, action=_Refuse, help=argparse.SUPPRESS)


def run(args: argparse.Namespace) -> int:
    """Run the verb; return the exit code."""
    return {'info': _info, 'play': _play}[args.verb](args)


def _require_bag(path: str) -> None:
    if not Path(path).exists():
        raise CommandError(f"Bag path '{path}' does not exist!")


def _info(args: argparse.Namespace) -> int:
    _require_bag(args.bag_path)
    metadata = Info().read_metadata(args.bag_path, args.storage)
    if args.topic_name:
        for topic in metadata.topics_with_message_count:
            if not topic.topic_metadata.name.endswith(SERVICE_EVENT):
                print(topic.topic_metadata.name)
    else:
        print(metadata)
    return 0


def _parse_remaps(rules: list[str]) -> dict[str, str]:
    remaps = {}
    for rule in rules:
        old, separator, new = rule.partition(':=')
        if not (old and separator and new):
            raise CommandError(f"the remap rule '{rule}' does not read 'old_topic:=new_topic'")
        remaps[old if old.startswith('/') else f'/{old}'] = new
    return remaps


def playback_qos(topic: TopicMetadata) -> QoSProfile:
    """Return the recorded policies of a topic, ready to publish with.

    Where publishers offered different ones, or none is recorded, it is the default profile. A
    volatile topic gets a deep queue, so that fast playback does not overwrite what is still to be
    sent; on a latched topic the depth says what late subscribers get, and stays.
    """
    offers = [convert_rclcpp_qos_to_rclpy_qos(qos) for qos in topic.offered_qos_profiles]
    if not offers or any(offer != offers[0] for offer in offers):
        if offers:
            print(
                f"[WARN] [rosbag2_player]: publishers of '{topic.name}' offered different QoS; "
                'playing with the default profile',
                file=sys.stderr,
            )
        return QoSProfile(depth=PLAYBACK_DEPTH)
    profile = offers[0]
    if profile.history != HistoryPolicy.KEEP_ALL:
        profile.history = HistoryPolicy.KEEP_LAST
        if profile.durability != DurabilityPolicy.TRANSIENT_LOCAL:
            profile.depth = max(PLAYBACK_DEPTH, profile.depth)
        elif not profile.depth:
            profile.depth = DEFAULT_DEPTH
    return profile


def _create_publishers(
    node: Node, topics: list[TopicMetadata], remaps: dict[str, str]
) -> dict[str, Publisher]:
    publishers = {}
    for topic in topics:
        try:
            kind = interface_class(topic.type, 'msg')
        except CommandError as error:
            print(
                f"[WARN] [rosbag2_player]: Ignoring a topic '{topic.name}', reason: {error}",
                file=sys.stderr,
            )
            continue
        name = full_name(node, remaps.get(topic.name, topic.name))
        publishers[topic.name] = node.create_publisher(kind, name, playback_qos(topic))
    return publishers


def _wait_for_subscribers(node: Node, publishers: dict[str, Publisher]) -> None:
    """Wait until those who listen already are connected, so that they get the first messages."""
    wait_for_graph(node, CONNECT_TIME)

    def connected() -> bool:
        return all(
            publisher.get_subscription_count() >= node.count_subscribers(publisher.topic_name)
            for publisher in publishers.values()
        )

    wait_until(connected, CONNECT_TIME)


class Progress:
    """One line with the place in the bag, drawn over itself; silent where nobody looks."""

    def __init__(self, metadata: BagMetadata) -> None:
        self.begin, self.length = metadata.starting_time_ns, metadata.duration_ns
        self.shown = sys.stderr.isatty()
        self.next = 0.0

    def show(self, stamp: int, last: bool = False) -> None:
        """Draw the line, at most ten times a second."""
        now = time.monotonic()
        if self.shown and (last or now >= self.next):
            self.next = now + PROGRESS_PERIOD
            done = (stamp - self.begin) / 1e9
            print(
                f'\r[RUNNING] Bag Time: {format_seconds(stamp)} '
                f'Duration: {done:.2f}/{self.length / 1e9:.2f}',
                end='\n' if last else '',
                file=sys.stderr,
                flush=True,
            )


def _play(args: argparse.Namespace) -> int:
    _require_bag(args.bag_path)
    remaps = _parse_remaps(args.remap)
    reader = SequentialReader()
    reader.open(StorageOptions(args.bag_path, args.storage), ConverterOptions())
    metadata = reader.get_metadata()
    topics = [
        topic.topic_metadata
        for topic in metadata.topics_with_message_count
        if not args.topics or topic.topic_metadata.name in args.topics
    ]
    for name in set(args.topics) - {topic.name for topic in topics}:
        print(f"[WARN] [rosbag2_player]: the bag has no topic '{name}'", file=sys.stderr)
    with command_node('rosbag2_player') as node:
        publishers = _create_publishers(node, topics, remaps)
        node.get_logger().info(f'Set rate to {args.rate:g}')
        reader.set_filter(StorageFilter(topics=list(publishers)))
        try:
            _wait_for_subscribers(node, publishers)
            while publishers:
                time.sleep(args.delay)
                reader.seek(metadata.starting_time_ns + int(args.start_offset * 1e9))
                _play_through(reader, publishers, args.rate, Progress(metadata))
                if not args.loop:
                    break
            for publisher in publishers.values():
                publisher.wait_for_all_acked(Duration(nanoseconds=int(ACKNOWLEDGE_TIME * 1e9)))
        except KeyboardInterrupt:
            pass
        reader.close()
    return 0


def _play_through(
    reader: SequentialReader, publishers: dict[str, Publisher], rate: float, progress: Progress
) -> None:
    """Publish every message, each as long after the first as it was recorded, divided by rate."""
    first: int | None = None
    stamp = progress.begin
    began = time.monotonic()
    while reader.has_next():
        topic, data, stamp = reader.read_next()
        if first is None:
            first = stamp
        due = began + (stamp - first) / 1e9 / rate
        while (pause := due - time.monotonic()) > 0:
            progress.show(stamp)
            time.sleep(min(pause, PROGRESS_PERIOD))
        publishers[topic].publish(data)
        progress.show(stamp)
    progress.show(stamp, last=True)
