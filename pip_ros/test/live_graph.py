# SPDX-License-Identifier: Apache-2.0
"""A node of the test process on a thread of its own, and the `ros2` command beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from io import StringIO
import shutil
import signal
import subprocess
import sys
import threading
import time

import rclpy
from rclpy.context import Context
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node

from ros2cli.cli import main

PATIENCE = 30.0


@contextmanager
def live_node(name: str) -> Iterator[Node]:
    """Give a node whose callbacks are served until the end of the block."""
    context = Context()
    rclpy.init(args=[], context=context)
    node = rclpy.create_node(name, context=context)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)

    def serve() -> None:
        with suppress(ExternalShutdownException):
            executor.spin()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield node
    finally:
        executor.shutdown()
        context.try_shutdown()
        thread.join()


def ros2_command(*arguments: str) -> list[str]:
    """Return the command line of `ros2`."""
    return [sys.executable, str(shutil.which('ros2')), *arguments]


def ros2(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `ros2` to its end."""
    return subprocess.run(
        ros2_command(*arguments), capture_output=True, text=True, timeout=60, check=False
    )


def ros2_here(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `ros2` in this process, which is quicker; exceptions other than the end get through."""
    output, errors = StringIO(), StringIO()
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with redirect_stdout(output), redirect_stderr(errors):
            code = main(arguments)
    except SystemExit as end:
        code = int(end.code or 0)
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    return subprocess.CompletedProcess(arguments, code, output.getvalue(), errors.getvalue())


def start_ros2(*arguments: str) -> subprocess.Popen[str]:
    """Start `ros2`; its output is read with `communicate` or line by line."""
    return subprocess.Popen(
        ros2_command(*arguments),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def wait_for(condition: Callable[[], object]) -> None:
    """Wait until the condition holds; fail where it never does."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, 'waited in vain'
        time.sleep(0.02)
