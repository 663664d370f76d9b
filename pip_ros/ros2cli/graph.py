# SPDX-License-Identifier: Apache-2.0
"""A short-lived node for one command, and what it learns of the graph."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
import importlib
import os
import signal
import time
from typing import Any

import rclpy
from rclpy.exceptions import InvalidTopicNameException
from rclpy.expand_topic_name import expand_topic_name
from rclpy.node import Node, NodeNameNonExistentError
from rclpy.qos import (
    DurabilityPolicy,
    HistoryPolicy,
    QoSPresetProfiles,
    QoSProfile,
    ReliabilityPolicy,
)
from rclpy.signals import SignalHandlerOptions
from rclpy.validate_full_topic_name import validate_full_topic_name

SPIN_PERIOD = 0.1
QUIET_TIME = 0.5


class CommandError(RuntimeError):
    """What the user asked for cannot be done; one sentence."""


@contextmanager
def command_node(name: str = '') -> Iterator[Node]:
    """Give a node that nobody sees in lists, and shut rclpy down afterwards.

    SIGTERM ends the command as Ctrl-C does, so that no shared memory is left behind.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
    try:
        node = rclpy.create_node(
            name or f'_ros2cli_{os.getpid()}',
            use_global_arguments=False,
            enable_rosout=False,
            start_parameter_services=False,
        )
        try:
            yield node
        finally:
            node.destroy_node()
    finally:
        rclpy.try_shutdown()


def spin(node: Node, done: Callable[[], bool]) -> None:
    """Serve the node's callbacks until `done`; Ctrl-C gets through."""
    while not done():
        rclpy.spin_once(node, timeout_sec=SPIN_PERIOD)


def wait_until(condition: Callable[[], object], limit: float) -> None:
    """Wait until the condition holds, at most `limit` seconds."""
    end = time.monotonic() + limit
    while not condition() and time.monotonic() < end:
        time.sleep(0.02)


def _undescribed(node: Node) -> bool:
    """Return whether a node is known whose topics are not: each publishes parameter events."""
    for name, namespace in node.get_node_names_and_namespaces():
        try:
            if not node.get_publisher_names_and_types_by_node(name, namespace):
                return True
        except NodeNameNonExistentError:
            return True
    return False


def wait_for_graph(node: Node, limit: float) -> None:
    """Wait until discovery has found others and then nothing new, at most `limit` seconds."""
    seen, since = None, time.monotonic()
    end = since + limit
    while (now := time.monotonic()) < end:
        found = (node.get_node_names_and_namespaces(), node.get_topic_names_and_types())
        if found != seen:
            seen, since = found, now
        elif len(found[0]) > 1 and now - since > QUIET_TIME and not _undescribed(node):
            return
        time.sleep(0.02)


def full_name(node: Node, topic: str) -> str:
    """Return a topic's full name; raises CommandError where it is none."""
    try:
        name = expand_topic_name(topic, node.get_name(), node.get_namespace())
        validate_full_topic_name(name)
    except (ValueError, InvalidTopicNameException) as error:
        raise CommandError(
            f"'{topic}' is not a topic name: {' '.join(str(error).split())}"
        ) from error
    return name


def types_of(node: Node, name: str) -> list[str]:
    """Return the types that the graph knows for a topic."""
    return next((types for topic, types in node.get_topic_names_and_types() if topic == name), [])


def interface_class(name: str, kind: str) -> Any:
    """Return the class of a type such as 'std_msgs/msg/String'; `kind` is 'msg' or 'srv'.

    Raises CommandError for a name that is none or a type that is not installed.
    """
    noun = {'msg': 'message', 'srv': 'service'}[kind]
    parts = name.split('/')
    if len(parts) == 2:
        parts.insert(1, kind)
    if len(parts) != 3 or parts[1] != kind or not all(part.isidentifier() for part in parts):
        raise CommandError(
            f"The passed {noun} type is invalid: '{name}'; it must read 'package/{kind}/Name'"
        )
    try:
        return getattr(importlib.import_module(f'{parts[0]}.{kind}'), parts[2])
    except ModuleNotFoundError as error:
        raise CommandError(
            f"The passed {noun} type is invalid: '{name}'; the package '{parts[0]}' with its "
            f'{noun}s is not installed'
        ) from error
    except AttributeError as error:
        raise CommandError(
            f"The passed {noun} type is invalid: the package '{parts[0]}' has no {noun} "
            f"'{parts[2]}'"
        ) from error


def add_qos_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the `--qos-*` options of a subscription."""
    parser.add_argument(
        '--qos-profile',
        choices=QoSPresetProfiles.short_keys(),
        default='sensor_data',
        help='profile to start from (default: sensor_data)',
    )
    parser.add_argument('--qos-depth', type=int, metavar='N', help='messages kept in the queue')
    parser.add_argument('--qos-history', choices=HistoryPolicy.short_keys())
    parser.add_argument(
        '--qos-reliability',
        choices=ReliabilityPolicy.short_keys(),
        help='default: what the publishers offer',
    )
    parser.add_argument(
        '--qos-durability',
        choices=DurabilityPolicy.short_keys(),
        help='default: what the publishers offer',
    )


def choose_qos(node: Node, topic: str, args: argparse.Namespace) -> QoSProfile:
    """Return the profile that the options ask for, and otherwise one that the publishers match."""
    preset = QoSPresetProfiles.get_from_short_key(args.qos_profile)
    profile = QoSProfile(
        history=preset.history,
        depth=preset.depth,
        reliability=preset.reliability,
        durability=preset.durability,
    )
    if args.qos_history:
        profile.history = HistoryPolicy.get_from_short_key(args.qos_history)
    if args.qos_depth is not None:
        if args.qos_depth < 0:
            raise CommandError(f'--qos-depth must not be negative: {args.qos_depth}')
        profile.depth = args.qos_depth
    offers = [info.qos_profile for info in node.get_publishers_info_by_topic(topic)]
    if args.qos_reliability:
        profile.reliability = ReliabilityPolicy.get_from_short_key(args.qos_reliability)
    elif offers:
        reliable = all(offer.reliability == ReliabilityPolicy.RELIABLE for offer in offers)
        profile.reliability = (
            ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT
        )
    if args.qos_durability:
        profile.durability = DurabilityPolicy.get_from_short_key(args.qos_durability)
    elif offers:
        latched = all(offer.durability == DurabilityPolicy.TRANSIENT_LOCAL for offer in offers)
        profile.durability = (
            DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE
        )
    return profile
