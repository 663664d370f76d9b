# SPDX-License-Identifier: Apache-2.0
"""Everything of a session but its rig: policy, multiplexer, recorder and console.

`wm_session.launch.py` and `robot_session.launch.py` include this file and add the rig; nothing in
here knows which.
"""

from hiwm_bringup.arguments import checked_params_file, session_arguments
from hiwm_bringup.process import ends_session, leaves_session, session_node

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, SetEnvironmentVariable
from launch.conditions import IfCondition, UnlessCondition
from launch.substitutions import (
    EnvironmentVariable,
    LaunchConfiguration,
    NotEqualsSubstitution,
    PathJoinSubstitution,
)
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare

PROFILES = 'FASTRTPS_DEFAULT_PROFILES_FILE'


def generate_launch_description() -> LaunchDescription:
    task = {'task': LaunchConfiguration('task')}
    session = {'session': ParameterValue(LaunchConfiguration('session'), value_type=str)}
    models = {
        'policy': LaunchConfiguration('policy'),
        'world_model': ParameterValue(LaunchConfiguration('world_model'), value_type=str),
    }
    share = FindPackageShare('hiwm_bringup')

    recorder = session_node(
        'hiwm_intervention',
        'recorder',
        parameters=[task, session, models, {'record_dir': LaunchConfiguration('record_dir')}],
    )
    mux = session_node(
        'hiwm_intervention',
        'action_mux',
        parameters=[
            task,
            {
                'autonomous_at_start': ParameterValue(
                    LaunchConfiguration('autonomous'), value_type=bool
                ),
                'wait_for_recorder': True,
            },
        ],
    )
    policy = session_node(
        'hiwm_policy',
        'policy',
        parameters=[task, {'policy': LaunchConfiguration('policy')}],
        condition=IfCondition(NotEqualsSubstitution(LaunchConfiguration('policy'), 'none')),
    )
    console = session_node(
        'hiwm_intervention',
        'console',
        parameters=[
            task,
            session,
            {
                'record_dir': LaunchConfiguration('record_dir'),
                'port': ParameterValue(LaunchConfiguration('port'), value_type=int),
            },
        ],
        condition=UnlessCondition(LaunchConfiguration('headless')),
    )
    return LaunchDescription(
        [
            *session_arguments(),
            DeclareLaunchArgument(
                'world_model',
                default_value='',
                description='folder of the world model, if there is one, for the record',
            ),
            checked_params_file(),
            # A laboratory's own profile (a discovery server, chosen interfaces) stays in force.
            SetEnvironmentVariable(
                PROFILES,
                EnvironmentVariable(
                    PROFILES,
                    default_value=PathJoinSubstitution([share, 'config', 'fastdds.xml']),
                ),
            ),
            ends_session(recorder, 'the recorder'),
            ends_session(mux, 'the action multiplexer'),
            leaves_session(policy, 'the policy', 'its arm is held until a person drives'),
            leaves_session(console, 'the console', 'the session goes on without it'),
            recorder,
            mux,
            policy,
            console,
        ]
    )
