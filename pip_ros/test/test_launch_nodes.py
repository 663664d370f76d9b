# SPDX-License-Identifier: Apache-2.0
"""Real rclpy nodes under `ros2 launch`: parameters, names, remappings, lifecycle."""

from __future__ import annotations

import json
import signal
import subprocess
from typing import Any

import pytest

import launch

STAND_IN = 'pip_ros' in str(launch.__file__)
only_stand_in = pytest.mark.skipif(not STAND_IN, reason='an improvement of the stand-in')

# Prints what it was given, as one line of JSON, and ends.
PROBE = """
import json, sys
import rclpy
from rclpy.node import Node
from rclpy.utilities import remove_ros_args
from std_msgs.msg import String
rclpy.init()
node = Node('probe', automatically_declare_parameters_from_overrides=True)
publisher = node.create_publisher(String, 'chatter', 1)
values = {name: parameter.value for name, parameter in node._parameters.items()}
print('PROBE', json.dumps({
    'name': node.get_fully_qualified_name(),
    'topic': publisher.topic_name,
    'arguments': remove_ros_args(sys.argv)[1:],
    'level': str(node.get_logger().get_effective_level()),
    'parameters': {
        name: value.tolist() if hasattr(value, 'tolist') else value
        for name, value in values.items()
        if name not in ('use_sim_time', 'start_type_description_service')
        and not name.startswith('qos_overrides')
    },
    'use_sim_time': values['use_sim_time'],
}), flush=True)
node.destroy_node()
rclpy.try_shutdown()
"""

LIFECYCLE = """
import rclpy
from rclpy.executors import ExternalShutdownException
from rclpy.lifecycle import LifecycleNode, TransitionCallbackReturn
class Machine(LifecycleNode):
    def __init__(self):
        super().__init__('machine')
        self.declare_parameter('fails', False)
    def on_configure(self, state):
        print('configuring', flush=True)
        if self.get_parameter('fails').value:
            return TransitionCallbackReturn.FAILURE
        return TransitionCallbackReturn.SUCCESS
    def on_activate(self, state):
        print('activating', flush=True)
        return super().on_activate(state)
rclpy.init()
node = Machine()
try:
    rclpy.spin(node)
except (KeyboardInterrupt, ExternalShutdownException):
    pass
finally:
    node.destroy_node()
    rclpy.try_shutdown()
"""

# Answers like a lifecycle node, but loses the first request and never publishes an event.
FORGETFUL = """
import rclpy
from lifecycle_msgs.msg import State
from lifecycle_msgs.srv import ChangeState, GetState
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
asked = []
def change(request, response):
    asked.append(request.transition.id)
    print('asked', len(asked), flush=True)
    response.success = len(asked) > 1
    return response
def tell(request, response):
    response.current_state.id = 2 if len(asked) > 1 else 1
    response.current_state.label = 'inactive' if len(asked) > 1 else 'unconfigured'
    return response
rclpy.init()
node = Node('machine')
service = node.create_service(ChangeState, '~/change_state', change)
answer = service.send_response
service.send_response = lambda *given: answer(*given) if len(asked) > 1 else None
node.create_service(GetState, '~/get_state', tell)
try:
    rclpy.spin(node)
except (KeyboardInterrupt, ExternalShutdownException):
    pass
"""


@pytest.fixture
def nodes(package: Any) -> Any:
    package.executable('probe', PROBE)
    package.executable('machine', LIFECYCLE)
    return package


def probes(output: str) -> list[dict[str, Any]]:
    lines = [line.partition('PROBE ')[2] for line in output.splitlines() if 'PROBE ' in line]
    return [json.loads(line) for line in lines]


def test_parameters_reach_a_node_with_their_types(nodes: Any, tmp_path: Any) -> None:
    first, second = tmp_path / 'first.yaml', tmp_path / 'second.yaml'
    first.write_text(
        '/**:\n  ros__parameters:\n    from_file: 1.5\n    both: first\n'
        '    nested:\n      deep: [1, 2]\n'
    )
    second.write_text('/ns/named:\n  ros__parameters:\n    by_name: true\n')
    code, output = nodes.launch(f"""
        return LaunchDescription([
            DeclareLaunchArgument('port', default_value='8080'),
            DeclareLaunchArgument('rate', default_value='2.5'),
            DeclareLaunchArgument('word', default_value='pusht'),
            DeclareLaunchArgument('flag', default_value='true'),
            DeclareLaunchArgument('empty', default_value=''),
            DeclareLaunchArgument('files', default_value={str(tmp_path)!r}),
            SetParameter('use_sim_time', True),
            SetParameter('given_to_all', 'one two: three'),
            SetParameter('overridden', 'by all'),
            Node(package='launch_test_package', executable='probe', name='named', namespace='ns',
                 output='screen', parameters=[
                {str(first)!r},
                ParameterFile(PathJoinSubstitution([LaunchConfiguration('files'), 'second.yaml'])),
                {{
                    'int': LaunchConfiguration('port'),
                    'float': LaunchConfiguration('rate'),
                    'word': LaunchConfiguration('word'),
                    'bool': LaunchConfiguration('flag'),
                    'joined': [LaunchConfiguration('word'), '_', LaunchConfiguration('port')],
                    'as_text': ParameterValue(LaunchConfiguration('port'), value_type=str),
                    'as_float': ParameterValue(LaunchConfiguration('port'), value_type=float),
                    'empty': ParameterValue(LaunchConfiguration('empty'), value_type=str),
                    'literal': '8080',
                    'numbers': [1, 2.5],
                    'words': ['a', '1'],
                    'flags': [True, False],
                    'items': [[LaunchConfiguration('rate')], [LaunchConfiguration('rate')]],
                    'both': 'second',
                    'overridden': 'by node',
                    'group': {{'inner': 3, LaunchConfiguration('word'): 4}},
                }},
            ]),
        ])
        """)
    assert code == 0, output
    [probe] = probes(output)
    assert probe['name'] == '/ns/named'
    assert probe['use_sim_time'] is True
    assert probe['parameters'] == {
        'from_file': 1.5,
        'nested.deep': [1, 2],
        'by_name': True,
        'given_to_all': 'one two: three',
        'overridden': 'by node',
        'int': 8080,
        'float': 2.5,
        'word': 'pusht',
        'bool': True,
        'joined': 'pusht_8080',
        'as_text': '8080',
        'as_float': 8080.0,
        'empty': '',
        'literal': '8080',
        'numbers': [1.0, 2.5],
        'words': ['a', '1'],
        'flags': [True, False],
        'items': [2.5, 2.5],
        'both': 'second',
        'group.inner': 3,
        'group.pusht': 4,
    }


@pytest.mark.parametrize(('value', 'named'), [
    ("LaunchConfiguration('empty', default='')", 'bad'),
    ('[1, "a"]', 'bad'),
    ("ParameterValue(LaunchConfiguration('x', default='word'), value_type=int)", 'word'),
])  # fmt: skip
def test_a_parameter_without_a_valid_type_is_an_error(nodes: Any, value: Any, named: Any) -> None:
    code, output = nodes.launch(f"""
        return LaunchDescription([
            Node(package='launch_test_package', executable='probe',
                 parameters=[{{'bad': {value}}}]),
        ])
        """)
    if not STAND_IN and value.startswith('[1'):
        pytest.skip('upstream reads a list of mixed types as text')
    assert code == 1
    assert named in output
    assert 'Traceback' not in output


def test_names_remappings_and_arguments_reach_a_node(nodes: Any) -> None:
    code, output = nodes.launch("""
        def probe(**given):
            return Node(package='launch_test_package', executable='probe', output='screen', **given)
        return LaunchDescription([
            DeclareLaunchArgument('topic', default_value='talk'),
            probe(arguments=['--flag', LaunchConfiguration('topic')]),
            probe(name='a', namespace='/abs',
                  remappings=[('chatter', LaunchConfiguration('topic'))]),
            GroupAction([
                PushRosNamespace('robot'),
                PushRosNamespace('arm'),
                SetRemap('chatter', '/everywhere'),
                SetParameter('inside', 1),
                probe(name='b'),
                probe(name='c', namespace='tip', remappings=[('chatter', 'ignored')]),
                probe(name='d', namespace='/top'),
            ]),
            probe(name='e', ros_arguments=['--log-level', 'debug']),
            probe(name='never', condition=UnlessCondition('true')),
        ])
        """)
    assert code == 0, output
    found = {probe['name']: probe for probe in probes(output)}
    assert {name: probe['topic'] for name, probe in found.items()} == {
        '/probe': '/chatter',
        '/abs/a': '/abs/talk',
        '/robot/arm/b': '/everywhere',
        '/robot/arm/tip/c': '/everywhere',
        '/top/d': '/everywhere',
        '/e': '/chatter',
    }
    assert found['/probe']['arguments'] == ['--flag', 'talk']
    assert found['/robot/arm/b']['parameters'] == {'inside': 1}
    assert found['/abs/a']['parameters'] == {}
    assert 'DEBUG' in found['/e']['level'] or found['/e']['level'] == '10'


@pytest.mark.parametrize(('node', 'named'), [
    ("package='no_such_package', executable='x'", "package 'no_such_package' not found"),
    ("package='launch_test_package', executable='x'", "executable 'x' not found"),
    ("package='launch_test_package', executable='probe', name='a/b'", 'a/b'),
    ("package='launch_test_package', executable='probe', namespace='a-b'", 'a-b'),
])  # fmt: skip
def test_a_node_that_cannot_run_is_named(nodes: Any, node: Any, named: Any) -> None:
    code, output = nodes.launch(f'return LaunchDescription([Node({node})])')
    assert code == 1
    assert named in output


def test_a_parameter_file_that_is_missing_is_named(nodes: Any) -> None:
    code, output = nodes.launch("""
        return LaunchDescription([Node(package='launch_test_package', executable='probe',
                                       output='screen', parameters=['/no/such.yaml'])])
        """)
    assert code == 0
    assert 'Parameter file path is not a file: /no/such.yaml' in output
    assert len(probes(output)) == 1


MACHINE = """
from launch_ros.event_handlers import OnStateTransition
from launch_ros.events.lifecycle import ChangeState
from lifecycle_msgs.msg import Transition
machine = LifecycleNode(package='launch_test_package', executable='machine', name='machine',
                        namespace='ns', output='screen', parameters=[{{'fails': {fails}}}])
def change(transition):
    return EmitEvent(event=ChangeState(
        lifecycle_node_matcher=matches_action(machine), transition_id=transition))
return LaunchDescription([
    RegisterEventHandler(OnStateTransition(
        target_lifecycle_node=machine, start_state='configuring', goal_state='inactive',
        entities=[LogInfo(msg='is inactive'), change(Transition.TRANSITION_ACTIVATE)])),
    RegisterEventHandler(OnStateTransition(
        target_lifecycle_node=machine, goal_state='active', entities=[LogInfo(msg='is active')])),
    machine,
    change(Transition.TRANSITION_CONFIGURE),
])
"""


def test_a_lifecycle_node_is_configured_and_activated(nodes: Any) -> None:
    command = nodes.start_launch(MACHINE.format(fails=False), stdin=subprocess.DEVNULL)
    command.wait_for('[launch.user]: is active')
    assert command.end(signal.SIGINT) == 0
    order = [line.split(' ', 1)[1] for line in command.lines if '[machine-1] ' in line]
    assert order == ['configuring', 'activating']
    assert command.output.index('is inactive') < command.output.index('] activating')


def test_a_transition_that_fails_is_named(nodes: Any) -> None:
    command = nodes.start_launch(MACHINE.format(fails=True), stdin=subprocess.DEVNULL)
    command.wait_for(
        "Failed to make transition 'TRANSITION_CONFIGURE' for LifecycleNode '/ns/machine'"
    )
    assert command.end(signal.SIGINT) == 0
    assert 'is inactive' not in command.output


@only_stand_in
def test_a_launch_ends_while_a_transition_waits_for_its_node(nodes: Any) -> None:
    nodes.executable('machine', 'import time\nprint("deaf", flush=True)\ntime.sleep(1000)\n')
    command = nodes.start_launch(MACHINE.format(fails=False), stdin=subprocess.DEVNULL)
    command.wait_for('deaf')
    assert command.end(signal.SIGINT) == 0
    assert "Abandoning the transition 'TRANSITION_CONFIGURE' of '/ns/machine'" in command.output


@only_stand_in
def test_a_lost_request_and_a_lost_event_are_made_up_for(nodes: Any) -> None:
    nodes.executable('machine', FORGETFUL)
    command = nodes.start_launch(MACHINE.format(fails=False), stdin=subprocess.DEVNULL)
    command.wait_for('asked 2')
    command.wait_for('[launch.user]: is inactive')
    assert command.end(signal.SIGINT) == 0
