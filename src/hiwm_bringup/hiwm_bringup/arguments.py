# SPDX-License-Identifier: Apache-2.0
"""The arguments that every session takes, declared once for all launch files."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import yaml

from launch import LaunchContext, Substitution
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.substitutions import FindPackageShare


def shipped_model(kind: str) -> PathJoinSubstitution:
    """The folder of a shipped model of the launched task."""
    return PathJoinSubstitution(
        [FindPackageShare('hiwm_bringup'), 'models', LaunchConfiguration('task'), kind]
    )


def session_arguments(autonomous: str | Substitution = 'true') -> list[DeclareLaunchArgument]:
    """Fresh declarations; the session's default name is the time of the call.

    Args:
        autonomous: The default of the argument of that name.
    """
    now = datetime.now(UTC).strftime('%Y%m%d-%H%M%S')
    return [
        DeclareLaunchArgument('task', default_value='pusht', description='which task, by name'),
        DeclareLaunchArgument(
            'session',
            default_value=now,
            description='name of the session; naming an earlier one goes on with its rollout tree',
        ),
        DeclareLaunchArgument(
            'record_dir',
            default_value='sessions',
            description='folder that gets a folder for each session, with its bag and rollout tree',
        ),
        DeclareLaunchArgument(
            'pace',
            default_value='realtime',
            choices=['realtime', 'lockstep'],
            description='realtime: a frame every period of the task; '
            'lockstep: a frame as soon as the action for the step has come',
        ),
        DeclareLaunchArgument(
            'seed',
            default_value='0',
            description="start of the task, and seed of the rig's randomness",
        ),
        DeclareLaunchArgument(
            'policy',
            default_value=shipped_model('policy'),
            description='folder of the policy (model.safetensors and card.json), lerobot:FOLDER, '
            'or none: only a person drives',
        ),
        DeclareLaunchArgument(
            'autonomous',
            default_value=autonomous,
            choices=['true', 'false'],
            description='true: the policy begins to drive as soon as all is ready; '
            'false: the session begins paused',
        ),
        DeclareLaunchArgument(
            'headless',
            default_value='false',
            choices=['true', 'false'],
            description='true: no operator console',
        ),
        DeclareLaunchArgument(
            'port', default_value='8765', description="the console's port; 0: any that is free"
        ),
        DeclareLaunchArgument(
            'params_file',
            default_value=PathJoinSubstitution(
                [FindPackageShare('hiwm_bringup'), 'config', 'session.yaml']
            ),
            description='YAML with further parameters of the nodes, by their names',
        ),
        DeclareLaunchArgument(
            'log_level',
            default_value='info',
            choices=['debug', 'info', 'warn', 'error', 'fatal'],
            description='how much the nodes say',
        ),
    ]


def checked_params_file() -> OpaqueFunction:
    """Ends the launch with a sentence if `params_file` is unusable: by itself launch only warns."""

    def check(context: LaunchContext) -> None:
        path = Path(LaunchConfiguration('params_file').perform(context))
        try:
            nodes = yaml.safe_load(path.read_text(encoding='utf-8'))
        except (OSError, ValueError, yaml.YAMLError) as error:
            raise RuntimeError(f"params_file '{path}' cannot be read: {error}") from error
        if not isinstance(nodes, dict) or not all(
            isinstance(node, dict) and isinstance(node.get('ros__parameters'), dict)
            for node in nodes.values()
        ):
            raise RuntimeError(
                f"params_file '{path}' must hold the names of nodes, and below each "
                '`ros__parameters` with its parameters'
            )

    return OpaqueFunction(function=check)


def session_dir() -> PathJoinSubstitution:
    """The session's own folder."""
    return PathJoinSubstitution([LaunchConfiguration('record_dir'), LaunchConfiguration('session')])
