# SPDX-License-Identifier: Apache-2.0
"""The same session on a robot: `rig` names the arm."""

from hiwm_bringup.arguments import session_arguments, session_dir
from hiwm_bringup.camera import camera_arguments, cameras
from hiwm_bringup.process import ends_session, session_node

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription
from launch.conditions import IfCondition
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import EqualsSubstitution, LaunchConfiguration, PathJoinSubstitution
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare


def generate_launch_description() -> LaunchDescription:
    # Nothing physical moves by itself before a person has said so.
    arguments = session_arguments(
        autonomous=EqualsSubstitution(LaunchConfiguration('rig'), 'sim_arm')
    )
    common = {
        'task': LaunchConfiguration('task'),
        'session': ParameterValue(LaunchConfiguration('session'), value_type=str),
        'session_dir': session_dir(),
        'pace': LaunchConfiguration('pace'),
        'seed': ParameterValue(LaunchConfiguration('seed'), value_type=int),
        'policy': LaunchConfiguration('policy'),
    }
    arm = {'arm': ParameterValue(LaunchConfiguration('arm'), value_type=str)}
    sim_arm = session_node(
        'hiwm_robot', 'sim_arm', parameters=[common], condition=_chosen('rig', 'sim_arm')
    )
    dynamixel = session_node(
        'hiwm_robot',
        'dynamixel_arm',
        parameters=[
            common,
            arm,
            {
                'port': ParameterValue(LaunchConfiguration('arm_port'), value_type=str),
                'dry_run': ParameterValue(LaunchConfiguration('dry_run'), value_type=bool),
                'reset_moves_arm': ParameterValue(
                    LaunchConfiguration('reset_moves_arm'), value_type=bool
                ),
                'camera_timeout': ParameterValue(
                    LaunchConfiguration('camera_timeout'), value_type=float
                ),
            },
        ],
        condition=_chosen('rig', 'dynamixel'),
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
            DeclareLaunchArgument(
                'rig',
                default_value='sim_arm',
                choices=['sim_arm', 'dynamixel'],
                description="which arm: sim_arm is the task's physics, dynamixel a physical arm",
            ),
            *arguments,
            DeclareLaunchArgument(
                'arm',
                default_value='',
                description="dynamixel: the arm's file; empty: the reference arm's",
            ),
            DeclareLaunchArgument(
                'arm_port',
                default_value='',
                description="dynamixel: the serial port, if not the one in the arm's file",
            ),
            DeclareLaunchArgument(
                'dry_run',
                default_value='false',
                choices=['true', 'false'],
                description='dynamixel: everything but torque',
            ),
            DeclareLaunchArgument(
                'reset_moves_arm',
                default_value='false',
                choices=['true', 'false'],
                description='dynamixel: a reset moves the arm slowly to the start; keep hands away',
            ),
            *camera_arguments(),
            DeclareLaunchArgument(
                'camera_timeout',
                default_value='0.5',
                description='dynamixel: how long no frame may come before the arm stops, s',
            ),
            ends_session(sim_arm, 'the arm'),
            ends_session(dynamixel, 'the arm'),
            session,
            sim_arm,
            dynamixel,
            cameras(),
        ]
    )


def _chosen(argument: str, value: str) -> IfCondition:
    return IfCondition(EqualsSubstitution(LaunchConfiguration(argument), value))
