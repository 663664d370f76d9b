# SPDX-License-Identifier: Apache-2.0
"""Nodes of a session, and what follows when one of them ends."""

from __future__ import annotations

from typing import Any

from launch import LaunchContext
from launch.actions import EmitEvent, LogInfo, RegisterEventHandler
from launch.event_handlers import OnProcessExit
from launch.events import Shutdown
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

REFUSED = 1


def session_node(package: str, executable: str, **arguments: Any) -> Node:
    """A node with the session's log level and one thread for its numeric libraries.

    More than one busy thread in each process makes everything slower on small machines.
    """
    return Node(
        package=package,
        executable=executable,
        name=executable,
        output='screen',
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


def _fail(name: str, code: int) -> None:
    """Launch ends with a non-zero exit code for an exception, and for nothing less."""
    raise RuntimeError(f'{name} ended with code {code}; its own last line says why')
