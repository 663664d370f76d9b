# SPDX-License-Identifier: Apache-2.0
"""`ros2 topic`: list, echo and hz."""

from __future__ import annotations

import argparse
from collections import deque
from collections.abc import Callable
import math
import time
from typing import Any

from rclpy.node import Node
from rclpy.qos import QoSProfile

from ros2cli.graph import (
    CommandError,
    add_qos_arguments,
    choose_qos,
    command_node,
    full_name,
    interface_class,
    spin,
    types_of,
    wait_for_graph,
    wait_until,
)
from ros2cli.message_text import TextStyle, is_message, to_csv, to_yaml

DEFAULT_SPIN_TIME = 5.0
DEFAULT_LENGTH = 128
DEFAULT_WINDOW = 10000
REPORT_PERIOD = 1.0


def _positive(text: str) -> int:
    value = int(text)
    if value <= 0:
        raise argparse.ArgumentTypeError('value must be a positive integer')
    return value


def _not_negative(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError('value must be non-negative integer')
    return value


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verbs and their options."""
    verbs = parser.add_subparsers(dest='verb', required=True, metavar='{list,echo,hz}')

    listing = verbs.add_parser('list', help='output a list of available topics')
    listing.add_argument('-t', '--show-types', action='store_true', help='show types too')
    listing.add_argument(
        '-c', '--count-topics', action='store_true', help='only the number of topics'
    )
    listing.add_argument(
        '-a', '--include-hidden-topics', action='store_true', help='consider hidden topics too'
    )
    listing.add_argument(
        '-v', '--verbose', action='store_true', help='publishers and subscribers of each topic'
    )
    _add_spin_time(listing)

    echo = verbs.add_parser('echo', help='output messages from a topic')
    echo.add_argument('topic_name', help="name of the topic, such as '/chatter'")
    echo.add_argument('message_type', nargs='?', help="such as 'std_msgs/msg/String'")
    echo.add_argument('--once', action='store_true', help='exit after the first message')
    echo.add_argument('--field', help="only this field, such as 'header.stamp'")
    echo.add_argument(
        '-f', '--full-length', action='store_true', help='whole arrays, bytes and strings'
    )
    echo.add_argument(
        '-l',
        '--truncate-length',
        type=_not_negative,
        default=DEFAULT_LENGTH,
        metavar='N',
        help=f'elements shown of arrays, bytes and strings (default: {DEFAULT_LENGTH})',
    )
    echo.add_argument('--no-arr', action='store_true', help='only type and size of arrays')
    echo.add_argument('--no-str', action='store_true', help='only the length of strings')
    echo.add_argument('--flow-style', action='store_true', help='arrays on one line')
    echo.add_argument('--csv', action='store_true', help='values with commas between them')
    echo.add_argument(
        '--no-lost-messages', action='store_true', help='lost messages are never reported anyway'
    )
    add_qos_arguments(echo)
    _add_spin_time(echo)

    rate = verbs.add_parser('hz', help='print the average receiving rate')
    rate.add_argument('topic_name', help="name of the topic, such as '/chatter'")
    rate.add_argument(
        '-w',
        '--window',
        type=_positive,
        default=DEFAULT_WINDOW,
        metavar='WINDOW',
        help=f'messages that the rate is taken over (default: {DEFAULT_WINDOW})',
    )
    add_qos_arguments(rate)


def _add_spin_time(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        '--spin-time',
        type=float,
        default=DEFAULT_SPIN_TIME,
        metavar='S',
        help=f'longest wait for discovery in seconds (default: {DEFAULT_SPIN_TIME})',
    )


def run(args: argparse.Namespace) -> int:
    """Run the verb; return the exit code."""
    return {'list': _list, 'echo': _echo, 'hz': _hz}[args.verb](args)


def _is_hidden(name: str) -> bool:
    return any(part.startswith('_') for part in name.split('/'))


def _list(args: argparse.Namespace) -> int:
    with command_node() as node:
        wait_for_graph(node, args.spin_time)
        topics = [
            (name, ', '.join(types))
            for name, types in sorted(node.get_topic_names_and_types())
            if args.include_hidden_topics or not _is_hidden(name)
        ]
        if args.count_topics:
            print(len(topics))
        elif args.verbose:
            _print_endpoints('Published', 'publisher', topics, node.count_publishers)
            _print_endpoints('Subscribed', 'subscriber', topics, node.count_subscribers)
        else:
            for name, types in topics:
                print(f'{name} [{types}]' if args.show_types else name)
    return 0


def _print_endpoints(
    title: str, noun: str, topics: list[tuple[str, str]], count: Callable[[str], int]
) -> None:
    print(f'{title} topics:')
    for name, types in topics:
        if number := count(name):
            print(f' * {name} [{types}] {number} {noun}{"s" if number > 1 else ""}')
    print()


def _find_type(node: Node, name: str, limit: float) -> str:
    """Return the topic's type as the graph knows it; raises CommandError where it does not."""
    wait_until(lambda: types_of(node, name), limit)
    types = types_of(node, name)
    if not types:
        print(f'WARNING: topic [{name}] does not appear to be published yet', flush=True)
        raise CommandError(f"Could not determine the type for the passed topic '{name}'")
    if len(types) > 1:
        raise CommandError(
            f"Cannot subscribe to '{name}', as it has more than one type: [{', '.join(types)}]"
        )
    return types[0]


def _select(message: Any, field: str | None) -> Any:
    for name in field.split('.') if field else ():
        try:
            message = getattr(message, name)
        except AttributeError as error:
            raise CommandError(f"Invalid field '{field}': there is no '{name}'") from error
    return message


def _echo(args: argparse.Namespace) -> int:
    style = TextStyle(
        length=None if args.full_length else args.truncate_length,
        arrays=not args.no_arr,
        strings=not args.no_str,
        flow=args.flow_style,
    )
    received: list[bool] = []

    def show(message: Any) -> None:
        if args.once and received:
            return
        value = _select(message, args.field)
        if args.csv:
            print(to_csv(value, style), flush=True)
        elif is_message(value):
            print(to_yaml(value, style) + '---', flush=True)
        else:
            print(f'{value}\n---', flush=True)
        received.append(True)

    with command_node() as node:
        name = full_name(node, args.topic_name)
        kind = interface_class(args.message_type or _find_type(node, name, args.spin_time), 'msg')
        _select(kind(), args.field)
        wait_until(lambda: node.count_publishers(name), args.spin_time)
        node.create_subscription(kind, name, show, choose_qos(node, name, args))
        spin(node, lambda: args.once and bool(received))
    return 0


class RateMeter:
    """Times between messages over a window, in seconds of a steady clock."""

    def __init__(self, window: int) -> None:
        self.times: deque[float] = deque(maxlen=window)
        self.last: float | None = None

    def tick(self, now: float) -> None:
        """Take note of a message."""
        if self.last is not None:
            self.times.append(now - self.last)
        self.last = now

    def report(self) -> str:
        """Return rate, extremes and standard deviation, as `ros2 topic hz` words them."""
        count = len(self.times)
        mean = sum(self.times) / count
        spread = math.sqrt(sum((value - mean) ** 2 for value in self.times) / count)
        rate = 1.0 / mean if mean > 0.0 else 0.0
        return (
            f'average rate: {rate:.3f}\n\tmin: {min(self.times):.3f}s max: {max(self.times):.3f}s '
            f'std dev: {spread:.5f}s window: {count}'
        )


def _hz(args: argparse.Namespace) -> int:
    meter = RateMeter(args.window)
    with command_node() as node:
        name = full_name(node, args.topic_name)
        wait_until(lambda: types_of(node, name), REPORT_PERIOD)
        if not types_of(node, name):
            print(f'WARNING: topic [{name}] does not appear to be published yet', flush=True)
            wait_until(lambda: types_of(node, name), math.inf)
        kind = interface_class(_find_type(node, name, 0.0), 'msg')
        wait_until(lambda: node.count_publishers(name), DEFAULT_SPIN_TIME)
        profile: QoSProfile = choose_qos(node, name, args)
        node.create_subscription(
            kind, name, lambda _: meter.tick(time.monotonic()), profile, raw=True
        )
        printed: float | None = None

        def done() -> bool:
            nonlocal printed
            if meter.times and meter.last is not None:
                if printed is None:
                    printed = meter.last
                elif meter.last >= printed + REPORT_PERIOD:
                    printed = meter.last
                    print(meter.report(), flush=True)
            return False

        spin(node, done)
    return 0
