# SPDX-License-Identifier: Apache-2.0
"""The same session on a robot: `rig` names the arm."""

from hiwm_bringup.arguments import session_arguments, session_dir
from hiwm_bringup.process import ends_session, session_node

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare


def generate_launch_description() -> LaunchDescription:
    arguments = session_arguments()
    rig = session_node(
        'hiwm_robot',
        LaunchConfiguration('rig'),
        parameters=[
            {
                'task': LaunchConfiguration('task'),
                'session': ParameterValue(LaunchConfiguration('session'), value_type=str),
                'session_dir': session_dir(),
                'pace': LaunchConfiguration('pace'),
                'seed': ParameterValue(LaunchConfiguration('seed'), value_type=int),
                'policy': LaunchConfiguration('policy'),
            }
        ],
    )
    session = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(
            PathJoinSubstitution([FindPackageShare('hiwm_bringup'), 'launch', 'session.launch.py'])
        ),
        launch_arguments=[
            (declared.name, LaunchConfiguration(declared.name)) for declared in arguments
        ],
    )
    return LaunchDescription(
        [
            *arguments,
            DeclareLaunchArgument(
                'rig',
                default_value='sim_arm',
                choices=['sim_arm'],
                description="which arm; sim_arm is the task's physics simulation",
            ),
            ends_session(rig, 'the arm'),
            session,
            rig,
        ]
    )
