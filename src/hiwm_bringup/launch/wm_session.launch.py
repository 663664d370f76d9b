# SPDX-License-Identifier: Apache-2.0
"""A session whose rig is the learned world model."""

from hiwm_bringup.arguments import session_arguments, session_dir, shipped_model
from hiwm_bringup.process import comes_back, session_node

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare


def generate_launch_description() -> LaunchDescription:
    arguments = session_arguments()
    world_model = DeclareLaunchArgument(
        'world_model',
        default_value=shipped_model('world_model'),
        description='folder of the world model (model.safetensors and card.json)',
    )

    def rig() -> Node:
        return session_node(
            'hiwm_world_model',
            'world_model',
            parameters=[
                {
                    'task': LaunchConfiguration('task'),
                    'session': ParameterValue(LaunchConfiguration('session'), value_type=str),
                    'session_dir': session_dir(),
                    'pace': LaunchConfiguration('pace'),
                    'seed': ParameterValue(LaunchConfiguration('seed'), value_type=int),
                    'policy': LaunchConfiguration('policy'),
                    'model': LaunchConfiguration('world_model'),
                }
            ],
        )

    session = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(
            PathJoinSubstitution([FindPackageShare('hiwm_bringup'), 'launch', 'session.launch.py'])
        ),
        launch_arguments=[
            (declared.name, LaunchConfiguration(declared.name))
            for declared in [*arguments, world_model]
        ],
    )
    return LaunchDescription(
        [*arguments, world_model, session, *comes_back(rig, 'the world model')]
    )
