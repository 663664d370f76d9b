# SPDX-License-Identifier: Apache-2.0
"""`ros2 service call`."""

from __future__ import annotations

import argparse
import time

from rclpy.exceptions import InvalidServiceNameException
import yaml

from ros2cli.graph import CommandError, command_node, interface_class, spin, wait_until
from ros2cli.message_text import fill

READY_TIME = 0.5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the verb and its options."""
    verbs = parser.add_subparsers(dest='verb', required=True, metavar='{call}')
    call = verbs.add_parser('call', help='call a service')
    call.add_argument('service_name', help="name of the service, such as '/add_two_ints'")
    call.add_argument('service_type', help="such as 'std_srvs/srv/Empty'")
    call.add_argument(
        'values',
        nargs='?',
        default='{}',
        help="the request's fields in YAML, such as '{a: 1, b: 2}'; default: all unset",
    )
    call.add_argument(
        '-r', '--rate', type=float, metavar='N', help='repeat the call at this rate in Hz'
    )


def run(args: argparse.Namespace) -> int:
    """Run the verb; return the exit code."""
    return _call(args)


def _read_values(text: str) -> object:
    try:
        values = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise CommandError(f'The request is not YAML: {" ".join(str(error).split())}') from error
    return {} if values is None else values


def _call(args: argparse.Namespace) -> int:
    if args.rate is not None and args.rate <= 0:
        raise CommandError(f'rate must be greater than zero, not {args.rate}')
    kind = interface_class(args.service_type, 'srv')
    request = kind.Request(check_fields=True)
    try:
        fill(request, _read_values(args.values))
    except CommandError as error:
        raise CommandError(f'Failed to populate field: {error}') from error
    with command_node() as node:
        try:
            client = node.create_client(kind, args.service_name)
        except (InvalidServiceNameException, ValueError) as error:
            reason = ' '.join(str(error).split())
            raise CommandError(f"'{args.service_name}' is not a service name: {reason}") from error
        wait_until(client.service_is_ready, READY_TIME)
        if not client.service_is_ready():
            print('waiting for service to become available...', flush=True)
            wait_until(client.service_is_ready, float('inf'))
        while True:
            began = time.monotonic()
            print(f'requester: making request: {request!r}\n', flush=True)
            future = client.call_async(request)
            spin(node, future.done)
            print(f'response:\n{future.result()!r}\n', flush=True)
            if args.rate is None:
                return 0
            time.sleep(max(0.0, began + 1.0 / args.rate - time.monotonic()))
