# SPDX-License-Identifier: Apache-2.0
"""Launch arguments as `ros2 launch` takes, shows and refuses them."""

from __future__ import annotations

from typing import Any

import pytest

ARGUMENTS = """
return LaunchDescription([
    DeclareLaunchArgument('task', default_value='pusht', description='the task'),
    DeclareLaunchArgument('mode', default_value='a', choices=['a', 'b'], description='the mode'),
    DeclareLaunchArgument('home', default_value=[EnvironmentVariable('HOME'), '/x']),
    DeclareLaunchArgument('empty', default_value=''),
    LogInfo(msg=['task=', LaunchConfiguration('task'), ' mode=', LaunchConfiguration('mode')]),
])
"""

SHOWN = """Arguments (pass arguments as '<name>:=<value>'):

    'task':
        the task
        (default: 'pusht')

    'mode':
        the mode. Valid choices are: ['a', 'b']
        (default: 'a')

    'home':
        no description given
        (default: EnvVar('HOME') + '/x')

    'empty':
        no description given
        (default: '')"""


def test_show_args_prints_upstreams_form(package: Any) -> None:
    assert package.launch(ARGUMENTS, '--show-args') == (0, SHOWN)


def test_show_args_lists_included_and_conditional_arguments(package: Any) -> None:
    package.launch_file(
        "return LaunchDescription([DeclareLaunchArgument('inner')])", 'inner.launch.py'
    )
    code, output = package.launch(
        """
        share = FindPackageShare('launch_test_package')
        inner = PythonLaunchDescriptionSource(
            PathJoinSubstitution([share, 'launch', 'inner.launch.py']))
        return LaunchDescription([
            IncludeLaunchDescription(inner),
            GroupAction([DeclareLaunchArgument('grouped', default_value='1')],
                        condition=IfCondition('true')),
        ])
        """,
        '-s',
    )
    assert code == 0
    assert "    'inner':\n        no description given\n\n    'grouped':*" in output
    assert output.endswith('* argument(s) which are only used if specific conditions occur')


def test_show_args_of_a_file_without_arguments(package: Any) -> None:
    assert package.launch('return LaunchDescription([])', '-s')[1].endswith('No arguments.')


@pytest.mark.parametrize(('arguments', 'expected'), [
    ((), 'task=pusht mode=a'),
    (('task:=rope', 'mode:=b'), 'task=rope mode=b'),
    (('task:=one', 'task:=two'), 'task=two mode=a'),
    (('task:=a:=b', 'never_declared:=1'), 'task=a:=b mode=a'),
])  # fmt: skip
def test_values_reach_the_launch_file(package: Any, arguments: Any, expected: Any) -> None:
    code, output = package.launch(ARGUMENTS, *arguments)
    assert code == 0
    assert f'[INFO] [launch.user]: {expected}' in output


@pytest.mark.parametrize('argument', ['task', ':=x', 'task:=', 'task=x'])
def test_a_malformed_argument_is_an_error(package: Any, argument: Any) -> None:
    code, output = package.launch(ARGUMENTS, argument)
    assert code == 1
    assert f"malformed launch argument '{argument}', expected format '<name>:=<value>'" in output
    assert 'Traceback' not in output


def test_a_missing_required_argument_is_an_error(package: Any) -> None:
    body = "return LaunchDescription([DeclareLaunchArgument('rate', description='in hertz')])"
    code, output = package.launch(body)
    assert code == 1
    assert "missing required argument 'rate' (description: 'in hertz')" in output
    assert package.launch(body, 'rate:=10')[0] == 0


def test_a_value_that_is_no_choice_is_an_error(package: Any) -> None:
    code, output = package.launch(ARGUMENTS, 'mode:=c')
    assert code == 1
    assert 'Argument "mode" provided value "c" is not valid' in output
    assert "['a', 'b']" in output


def test_a_launch_file_is_found_in_its_package(package: Any) -> None:
    package.launch_file(ARGUMENTS, 'found.launch.py')
    code, output = package.run('launch', 'launch_test_package', 'found.launch.py', 'mode:=b')
    assert code == 0
    assert 'task=pusht mode=b' in output


@pytest.mark.parametrize(('arguments', 'named'), [
    (('no_such_package', 'a.launch.py'), 'no_such_package'),
    (('launch_test_package', 'no_such.launch.py'), 'no_such.launch.py'),
])  # fmt: skip
def test_an_unknown_package_or_file_is_named(package: Any, arguments: Any, named: Any) -> None:
    code, output = package.run('launch', *arguments)
    assert code == 1
    assert named in output
    assert 'Traceback' not in output


def test_a_launch_file_that_fails_is_named(package: Any) -> None:
    code, output = package.launch("raise ValueError('the map is missing')")
    assert code == 1
    assert 'the map is missing' in output
    assert 'Traceback' not in output


def test_an_error_ends_what_had_started(package: Any) -> None:
    code, output = package.launch("""
        return LaunchDescription([
            ExecuteProcess(cmd=['sleep', '1000'], output='screen'),
            LogInfo(msg=LaunchConfiguration('never_set')),
        ])
        """)
    assert code == 1
    assert 'never_set' in output
    assert output.count('process started') == output.count('process has')
