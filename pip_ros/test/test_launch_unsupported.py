# SPDX-License-Identifier: Apache-2.0
"""What the stand-ins leave out is refused with a sentence that names it."""

from __future__ import annotations

import importlib
from typing import Any

import pytest

import launch
from launch.actions import ExecuteProcess, GroupAction
from launch_ros.actions import LifecycleNode, Node
from launch_ros.parameter_descriptions import ParameterFile

pytestmark = pytest.mark.skipif(
    'pip_ros' not in str(launch.__file__), reason='the real packages leave nothing out'
)


@pytest.mark.parametrize(('module', 'name'), [
    ('launch', 'LaunchIntrospector'),
    ('launch.actions', 'ForLoop'),
    ('launch.conditions', 'AllOf'),
    ('launch.event_handlers', 'OnProcessIO'),
    ('launch.events', 'IncludeLaunchDescription'),
    ('launch.events.process', 'ProcessStdin'),
    ('launch.launch_description_sources', 'AnyLaunchDescriptionSource'),
    ('launch.substitutions', 'IfElseSubstitution'),
    ('launch_ros', 'RosAdapter'),
    ('launch_ros.actions', 'ComposableNodeContainer'),
    ('launch_ros.descriptions', 'ComposableNode'),
    ('launch_ros.substitutions', 'FindPackage'),
])  # fmt: skip
def test_a_class_is_refused_by_name(module: Any, name: Any) -> None:
    with pytest.raises(ImportError, match=f"'{module}.{name}' is not part of the launch stand-in"):
        getattr(importlib.import_module(module), name)


@pytest.mark.parametrize(('make', 'named'), [
    (lambda: Node(executable='x', trace=True), "the argument 'trace' of Node"),
    (lambda: ExecuteProcess(cmd=['x'], cached_output=True), "'cached_output' of ExecuteProcess"),
    (lambda: LifecycleNode(executable='x', name='n', namespace='', autostart=True), 'autostart'),
    (lambda: GroupAction([], forwarding=False), 'forwarding of GroupAction'),
    (lambda: ParameterFile('x.yaml', allow_substs=True), 'allow_substs of ParameterFile'),
])  # fmt: skip
def test_an_argument_is_refused_by_name(make: Any, named: str) -> None:
    with pytest.raises((TypeError, ValueError), match=f'{named}.* is not part of the launch stand'):
        make()


def test_a_launch_file_that_uses_what_is_left_out_says_so(package: Any) -> None:
    code, output = package.launch('from launch.actions import ForLoop')
    assert code == 1
    assert "'launch.actions.ForLoop' is not part of the launch stand-in" in output
    assert 'Traceback' not in output


def test_an_output_configuration_is_refused_by_name(package: Any) -> None:
    code, output = package.launch(
        "return LaunchDescription([ExecuteProcess(cmd=['true'], output='own_log')])"
    )
    assert code == 1
    assert "the output configuration 'own_log' is not part of the launch stand-in" in output


def test_an_xml_launch_file_is_refused(package: Any) -> None:
    path = package.share / 'launch' / 'a.launch.xml'
    path.write_text('<launch/>')
    for arguments in ((), ('-s',)):
        code, output = package.run('launch', path, *arguments)
        assert code == 1
        assert 'a.launch.xml' in output
        assert 'is not part of the launch stand-in' in output


@pytest.mark.parametrize('verb', ['node', 'param', 'nonsense'])
def test_a_verb_is_refused_by_name(package: Any, verb: Any) -> None:
    code, output = package.run(verb, 'list')
    assert code == 2
    assert output.startswith(f"ros2: '{verb}' is not part of the stand-in")
