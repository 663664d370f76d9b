# SPDX-License-Identifier: Apache-2.0
"""Which nodes the camera's launch arguments start, and with what; the nodes are stand-ins that say
how they were called.
"""

from __future__ import annotations

from pathlib import Path
import time

from hiwm_bringup.camera import camera_arguments, cameras
import pytest
import yaml

from launch import LaunchContext, LaunchDescription, LaunchService
from launch.actions import EmitEvent, OpaqueFunction, SetLaunchConfiguration, TimerAction
from launch.events import Shutdown

PATIENCE = 60.0
# Keeps its arguments and its parameter files, and stays.
SAY = """#!/bin/sh
out="{folder}/$(basename "$0")"
printf '%s\\n' "$@" > "$out.part"
for word in "$@"; do [ -f "$word" ] && cat "$word" >> "$out.parameters"; done
mv "$out.part" "$out"
exec sleep 100
"""
DRIVER = """
from pathlib import Path
from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction
NAMES = ['camera_namespace', 'camera_name', 'serial_no', 'rgb_camera.color_profile', 'enable_color',
         'enable_depth', 'enable_infra1', 'enable_infra2']
def say(context):
    settings = context.launch_configurations
    lines = [f'{name}: {settings[name]}' for name in NAMES]
    Path('%s').write_text('\\n'.join(lines))
def generate_launch_description():
    declared = [DeclareLaunchArgument(name, default_value="''") for name in NAMES]
    return LaunchDescription([*declared, OpaqueFunction(function=say)])
"""


class Installation:
    """Packages of this test's own."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.prefix = folder / 'prefix'
        monkeypatch.setenv('AMENT_PREFIX_PATH', str(self.prefix))
        monkeypatch.setenv('ROS_LOG_DIR', str(folder / 'log'))
        for name in ('camera_adapter', 'realsense_camera', 'sim_camera'):
            self.add('hiwm_robot', f'lib/hiwm_robot/{name}', SAY.format(folder=folder))

    def add(self, package: str, path: str, text: str) -> None:
        index = self.prefix / 'share/ament_index/resource_index/packages' / package
        index.parent.mkdir(parents=True, exist_ok=True)
        index.touch()
        file = self.prefix / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(0o755)

    def launch(self, expected: set[str], **arguments: str) -> dict[str, dict[str, object]]:
        """Until everybody who is expected has spoken; what the parameters of each are."""
        deadline = time.monotonic() + PATIENCE

        def look(context: LaunchContext) -> list[object]:
            if {name for name in expected if (self.folder / name).exists()} == expected:
                return [EmitEvent(event=Shutdown(reason='all have spoken'))]
            if time.monotonic() > deadline:
                raise AssertionError(f'not all of {expected} have spoken')
            return [TimerAction(period=0.1, actions=[OpaqueFunction(function=look)])]

        params_file = self.folder / 'session.yaml'
        if not params_file.exists():
            params_file.write_text('/**:\n  ros__parameters: {}\n')
        outer = {'rig': 'dynamixel', 'task': 'pusht', 'arm': '', 'log_level': 'info'}
        outer['params_file'] = str(params_file)
        settings = {**outer, **arguments}
        service = LaunchService()
        service.include_launch_description(
            LaunchDescription(
                [
                    *(SetLaunchConfiguration(name, value) for name, value in settings.items()),
                    *camera_arguments(),
                    cameras(),
                    OpaqueFunction(function=look),
                ]
            )
        )
        assert service.run() == 0
        return {name: self.parameters(name) for name in self.spoken()}

    def spoken(self) -> set[str]:
        known = {'camera_adapter', 'realsense_camera', 'sim_camera', 'rs_launch'}
        return {name for name in known if (self.folder / name).exists()}

    def parameters(self, name: str) -> dict[str, object]:
        """By name; of the driver its arguments."""
        if name == 'rs_launch':
            text = (self.folder / name).read_text()
            return dict(line.split(': ', 1) for line in text.splitlines())
        values: dict[str, object] = {}
        for part in (self.folder / f'{name}.parameters').read_text().split('/**:')[1:]:
            values |= yaml.safe_load(part)['ros__parameters']
        return values


@pytest.fixture
def installation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Installation:
    return Installation(tmp_path, monkeypatch)


def test_an_external_camera_shows_the_tasks_frames_itself(installation: Installation) -> None:
    assert installation.launch(set()) == {}


def test_an_external_camera_with_a_file_is_adapted(installation: Installation) -> None:
    told = installation.launch(
        {'camera_adapter'}, camera_config='/my/camera.yaml', camera_topic='/mine/image_raw'
    )
    assert told == {
        'camera_adapter': {
            'task': 'pusht',
            'config': '/my/camera.yaml',
            'image_topic': '/mine/image_raw',
        }
    }


def test_a_simulated_camera_is_seen_through_the_file_or_shows_the_frames_itself(
    installation: Installation,
) -> None:
    told = installation.launch({'sim_camera'}, camera='sim', arm='/my/arm.yaml')
    assert told == {'sim_camera': {'task': 'pusht', 'arm': '/my/arm.yaml'}}
    (installation.folder / 'sim_camera').unlink()
    (installation.folder / 'sim_camera.parameters').unlink()
    told = installation.launch(
        {'sim_camera', 'camera_adapter'}, camera='sim', camera_config='/my/camera.yaml'
    )
    assert told['sim_camera']['image_topic'] == told['camera_adapter']['image_topic']
    assert told['sim_camera']['config'] == told['camera_adapter']['config'] == '/my/camera.yaml'


def test_a_realsense_has_this_projects_node_where_there_is_no_other(
    installation: Installation,
) -> None:
    told = installation.launch(
        {'realsense_camera', 'camera_adapter'}, camera='realsense', camera_serial='0042'
    )
    assert told['realsense_camera'] == {
        'camera_namespace': 'raw',
        'camera_name': 'camera',
        'rgb_camera.color_profile': '640x480x30',
        'serial_no': '0042',
    }
    assert told['camera_adapter']['image_topic'] == '/raw/camera/color/image_raw'
    assert told['camera_adapter']['config'] == ''


def test_a_realsense_has_the_drivers_own_launch_file_where_it_is_installed(
    installation: Installation,
) -> None:
    driver = DRIVER % (installation.folder / 'rs_launch')
    installation.add('realsense2_camera', 'share/realsense2_camera/launch/rs_launch.py', driver)
    told = installation.launch(
        {'rs_launch', 'camera_adapter'},
        camera='realsense',
        camera_serial='0042',
        camera_profile='1280x720x15',
    )
    assert set(told) == {'rs_launch', 'camera_adapter'}
    assert told['rs_launch'] == {
        'camera_namespace': 'raw',
        'camera_name': 'camera',
        'serial_no': "'0042'",
        'rgb_camera.color_profile': '1280x720x15',
        'enable_color': 'true',
        'enable_depth': 'false',
        'enable_infra1': 'false',
        'enable_infra2': 'false',
    }
    assert told['camera_adapter']['image_topic'] == '/raw/camera/color/image_raw'


def test_a_simulated_arm_shows_its_own_frames(installation: Installation) -> None:
    assert installation.launch(set(), rig='sim_arm', camera='realsense') == {}


def test_what_the_file_of_parameters_says_comes_last(installation: Installation) -> None:
    text = '/**:\n  ros__parameters: {task: of the file, more: 7}\n'
    (installation.folder / 'session.yaml').write_text(text)
    started = installation.launch({'sim_camera'}, camera='sim')
    assert (started['sim_camera']['task'], started['sim_camera']['more']) == ('of the file', 7)
