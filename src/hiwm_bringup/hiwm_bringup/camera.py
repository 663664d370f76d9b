# SPDX-License-Identifier: Apache-2.0
"""The camera of a physical arm: which nodes show the task's frames."""

from __future__ import annotations

from ament_index_python.packages import PackageNotFoundError, get_package_share_directory

from hiwm_bringup.process import ends_session, session_node
from launch import LaunchContext
from launch.actions import (
    DeclareLaunchArgument,
    GroupAction,
    IncludeLaunchDescription,
    OpaqueFunction,
)
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare

DRIVER = 'realsense2_camera'
# Where a camera's own pictures go; the task's frames made of them have the contract's topic.
RAW_NAMESPACE, NAME = 'raw', 'camera'
RAW_IMAGE = f'/{RAW_NAMESPACE}/{NAME}/color/image_raw'


def camera_arguments() -> list[DeclareLaunchArgument]:
    """The arguments that `cameras` reads, beside `task`, `rig` and `arm`."""
    return [
        DeclareLaunchArgument(
            'camera',
            default_value='external',
            choices=['external', 'realsense', 'sim'],
            description='dynamixel: external is a node of your own, realsense a RealSense, sim a '
            "simulated table under the arm's measured tool",
        ),
        DeclareLaunchArgument(
            'camera_config',
            default_value='',
            description="the camera's file, by which its pictures become the task's frames; empty: "
            'an external or simulated camera shows these itself, of a RealSense the middle is cut',
        ),
        DeclareLaunchArgument(
            'camera_topic',
            default_value=RAW_IMAGE,
            description='external with camera_config: where its pictures are; the info beside them',
        ),
        DeclareLaunchArgument(
            'camera_profile',
            default_value='640x480x30',
            description='realsense: WIDTHxHEIGHTxRATE of the colour stream',
        ),
        DeclareLaunchArgument(
            'camera_serial',
            default_value='',
            description='realsense: the serial number, if there is more than one',
        ),
    ]


def cameras() -> OpaqueFunction:
    """The nodes of the camera that was chosen."""
    return OpaqueFunction(function=_cameras)


def _cameras(context: LaunchContext) -> list[object]:
    kind = LaunchConfiguration('camera').perform(context)
    config = LaunchConfiguration('camera_config').perform(context)
    if LaunchConfiguration('rig').perform(context) != 'dynamixel':
        # A simulated arm shows its own frames.
        return []
    actions: list[object] = []
    if kind == 'realsense':
        actions += _realsense(context)
    elif kind == 'sim':
        actions += _ending(_sim(seen_through=config))
    if config or kind == 'realsense':
        topic = LaunchConfiguration('camera_topic') if kind == 'external' else RAW_IMAGE
        adapter = session_node(
            'hiwm_robot',
            'camera_adapter',
            parameters=[
                {
                    'task': LaunchConfiguration('task'),
                    'config': _text('camera_config'),
                    'image_topic': topic,
                }
            ],
        )
        actions += _ending(adapter)
    return actions


def _sim(seen_through: str) -> Node:
    parameters: dict[str, object] = {'task': LaunchConfiguration('task'), 'arm': _text('arm')}
    if seen_through:
        parameters |= {'config': _text('camera_config'), 'image_topic': RAW_IMAGE}
    return session_node('hiwm_robot', 'sim_camera', parameters=[parameters])


def _realsense(context: LaunchContext) -> list[object]:
    """The vendor's ROS package where it is installed, else this project's node."""
    settings: dict[str, str | LaunchConfiguration] = {
        'camera_namespace': RAW_NAMESPACE,
        'camera_name': NAME,
        'rgb_camera.color_profile': LaunchConfiguration('camera_profile'),
    }
    try:
        get_package_share_directory(DRIVER)
    except PackageNotFoundError:
        serial = {'serial_no': _text('camera_serial')}
        own = session_node('hiwm_robot', 'realsense_camera', parameters=[settings, serial])
        return _ending(own)
    if serial_number := LaunchConfiguration('camera_serial').perform(context):
        # The driver's own remedy against a number that YAML would read as one.
        settings['serial_no'] = f"'{serial_number}'"
    driver = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(
            PathJoinSubstitution([FindPackageShare(DRIVER), 'launch', 'rs_launch.py'])
        ),
        launch_arguments=[
            *settings.items(),
            ('enable_color', 'true'),
            ('enable_depth', 'false'),
            ('enable_infra1', 'false'),
            ('enable_infra2', 'false'),
        ],
    )
    # What the driver's file sets stays in the group.
    return [GroupAction([driver])]


def _ending(node: Node) -> list[object]:
    return [ends_session(node, 'the camera'), node]


def _text(argument: str) -> ParameterValue:
    return ParameterValue(LaunchConfiguration(argument), value_type=str)
