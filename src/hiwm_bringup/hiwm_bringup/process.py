# SPDX-License-Identifier: Apache-2.0
"""Nodes of a session, and what follows when one of them ends."""

from __future__ import annotations

from collections.abc import Callable, Sequence
import signal
import time
from typing import Any

from launch import LaunchContext
from launch.actions import EmitEvent, LogInfo, RegisterEventHandler
from launch.event_handlers import OnProcessExit
from launch.events import Shutdown
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

# Of `hiwm_rig.base_node`: the node could not start.
REFUSED = 1
# s; what was started again and is killed sooner would be killed for ever.
LEAST_LIFE = 20.0


def session_node(
    package: str, executable: str, parameters: Sequence[Any] = (), **arguments: Any
) -> Node:
    """A node with the session's log level and one thread for its numeric libraries.

    More than one busy thread in each process makes everything slower on small machines. What
    `params_file` says of the node comes last, and counts.
    """
    return Node(
        package=package,
        executable=executable,
        name=executable,
        output='screen',
        parameters=[*parameters, LaunchConfiguration('params_file')],
        arguments=['--ros-args', '--log-level', LaunchConfiguration('log_level')],
        additional_env={'OMP_NUM_THREADS': '1'},
        **arguments,
    )


def ends_session(node: Node, name: str) -> RegisterEventHandler:
    """Without this node there is no session: when it ends, all ends; in failure if it failed."""

    def react(event: Any, context: LaunchContext) -> list[Any] | None:
        if context.is_shutdown:
            return None
        if event.returncode:
            _fail(name, event.returncode)
        return [EmitEvent(event=Shutdown(reason=f'{name} has ended'))]

    return RegisterEventHandler(OnProcessExit(target_action=node, on_exit=react))


def leaves_session(node: Node, name: str, consequence: str) -> RegisterEventHandler:
    """The session goes on without this node, unless it refused its configuration at the start."""

    def react(event: Any, context: LaunchContext) -> list[Any] | None:
        if context.is_shutdown:
            return None
        if event.returncode == REFUSED:
            _fail(name, event.returncode)
        return [LogInfo(msg=f'{name} has ended with code {event.returncode}; {consequence}')]

    return RegisterEventHandler(OnProcessExit(target_action=node, on_exit=react))


def comes_back(make: Callable[[], Node], name: str, *, again: bool = False) -> list[Any]:
    """A node without which there is no session, and that goes on where it was when it is killed.

    A kill (of a process that took too much memory, say) is no decision of the node's. Whatever
    else ends it ends the session, and so does another kill within `LEAST_LIFE`.

    Args:
        make: Makes the node's action; a launch action is executed once.
        name: For a person.
        again: Whether it has been killed before.
    """
    node = make()
    began = time.monotonic()

    def react(event: Any, context: LaunchContext) -> list[Any] | None:
        if context.is_shutdown:
            return None
        too_soon = again and time.monotonic() - began < LEAST_LIFE
        if event.returncode < 0 and not too_soon:
            how = signal.Signals(-event.returncode).name
            said = f'{name} was ended by {how}; it is started again and goes on where it was'
            return [LogInfo(msg=said), *comes_back(make, name, again=True)]
        if event.returncode:
            _fail(name, event.returncode)
        return [EmitEvent(event=Shutdown(reason=f'{name} has ended'))]

    return [RegisterEventHandler(OnProcessExit(target_action=node, on_exit=react)), node]


def _fail(name: str, code: int) -> None:
    """Launch ends with a non-zero exit code for an exception, and for nothing less."""
    raise RuntimeError(f'{name} ended with code {code}; its own last line says why')
