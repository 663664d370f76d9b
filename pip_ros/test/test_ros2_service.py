# SPDX-License-Identifier: Apache-2.0
"""`ros2 service call`, run as a command beside a live server."""

from __future__ import annotations

from collections.abc import Iterator
import signal

from hiwm_msgs.srv import Rollback
from pip_ros.test.live_graph import live_node, ros2, ros2_here, start_ros2
import pytest
from rclpy.node import Node
from sensor_msgs.srv import SetCameraInfo
from std_srvs.srv import SetBool


def answer(request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
    response.success = request.data
    response.message = f'was {request.data}'
    return response


@pytest.fixture(scope='module')
def server() -> Iterator[Node]:
    """A node that serves three services and keeps what it was asked."""

    def configure(
        request: SetCameraInfo.Request, response: SetCameraInfo.Response
    ) -> SetCameraInfo.Response:
        info = request.camera_info
        response.success = True
        response.status_message = (
            f'{info.header.frame_id} {info.header.stamp.sec} {list(info.d)} {info.k[8]} '
            f'{info.roi.do_rectify}'
        )
        return response

    def roll_back(request: Rollback.Request, response: Rollback.Response) -> Rollback.Response:
        response.success = False
        response.error_code = 1
        response.message = 'a physical rig cannot be rolled back'
        return response

    with live_node('server') as node:
        node.create_service(SetBool, '/switch', answer)
        node.create_service(SetCameraInfo, '/configure', configure)
        node.create_service(Rollback, '/rollback', roll_back)
        yield node


def test_a_call_prints_request_and_response(server: Node) -> None:
    done = ros2('service', 'call', '/switch', 'std_srvs/srv/SetBool', '{data: true}')
    assert (done.returncode, done.stderr) == (0, '')
    assert done.stdout.removeprefix('waiting for service to become available...\n') == (
        'requester: making request: std_srvs.srv.SetBool_Request(data=True)\n\n'
        "response:\nstd_srvs.srv.SetBool_Response(success=True, message='was True')\n\n"
    )


def test_without_values_the_request_is_unset(server: Node) -> None:
    done = ros2('service', 'call', '/switch', 'std_srvs/SetBool')
    assert "SetBool_Response(success=False, message='was False')" in done.stdout


def test_nested_fields_and_arrays_are_filled(server: Node) -> None:
    values = (
        '{camera_info: {header: {frame_id: lens, stamp: {sec: 3}}, d: [1, 2.5], '
        'k: [0, 0, 0, 0, 0, 0, 0, 0, 1], roi: {do_rectify: true}}}'
    )
    done = ros2('service', 'call', '/configure', 'sensor_msgs/srv/SetCameraInfo', values)
    assert "status_message='lens 3 [1.0, 2.5] 1.0 True'" in done.stdout


def test_a_service_of_the_workspace(server: Node) -> None:
    done = ros2('service', 'call', '/rollback', 'hiwm_msgs/srv/Rollback')
    assert done.returncode == 0
    assert "message='a physical rig cannot be rolled back'" in done.stdout


def test_a_call_repeats_at_a_rate(server: Node) -> None:
    call = start_ros2('service', 'call', '/switch', 'std_srvs/srv/SetBool', '-r', '20')
    assert call.stdout
    answers = 0
    while answers < 3:
        answers += call.stdout.readline().startswith('std_srvs.srv.SetBool_Response')
    call.send_signal(signal.SIGINT)
    _, errors = call.communicate(timeout=30)
    assert 'Traceback' not in errors


def test_a_call_waits_for_its_service() -> None:
    call = start_ros2('service', 'call', '/later', 'std_srvs/srv/SetBool', '{data: true}')
    assert call.stdout
    assert call.stdout.readline() == 'waiting for service to become available...\n'
    with live_node('late') as node:
        node.create_service(SetBool, '/later', answer)
        output, errors = call.communicate(timeout=30)
    assert call.returncode == 0, errors
    assert "message='was True'" in output


def test_waiting_can_be_stopped() -> None:
    call = start_ros2('service', 'call', '/never', 'std_srvs/srv/SetBool')
    assert call.stdout
    call.stdout.readline()
    call.send_signal(signal.SIGINT)
    _, errors = call.communicate(timeout=30)
    assert call.returncode == 128 + signal.SIGINT
    assert 'Traceback' not in errors


@pytest.mark.parametrize(
    ('arguments', 'sentence'),
    [
        (['/switch', 'std_srvs/srv/SetBool', '{data: 3}'], "'data' of type boolean cannot be 3"),
        (['/switch', 'std_srvs/srv/SetBool', '{date: true}'], "there is no field 'date'"),
        (['/switch', 'std_srvs/srv/SetBool', '{data: '], 'The request is not YAML'),
        (['/switch', 'std_srvs/srv/SetBool', '[1]'], 'the request needs fields and values'),
        (['/switch', 'no_srvs/srv/No'], "the package 'no_srvs' with its services is not installed"),
        (['/switch', 'std_srvs/srv/No'], "the package 'std_srvs' has no service 'No'"),
        (['/switch', 'std_msgs/msg/Bool'], 'it must read'),
        (['/sw itch', 'std_srvs/srv/SetBool'], "'/sw itch' is not a service name"),
        (['/switch', 'std_srvs/srv/SetBool', '-r', '0'], 'rate must be greater than zero'),
        (
            ['/configure', 'sensor_msgs/srv/SetCameraInfo', '{camera_info: {k: [1.0]}}'],
            "'camera_info.k' of type double[9] cannot be [1.0]",
        ),
        (
            ['/configure', 'sensor_msgs/srv/SetCameraInfo', '{camera_info: {height: -1}}'],
            "'camera_info.height' of type uint32 cannot be -1",
        ),
    ],
)
def test_mistakes_get_a_sentence(server: Node, arguments: list[str], sentence: str) -> None:
    done = ros2_here('service', 'call', *arguments)
    assert done.returncode != 0
    assert sentence in done.stderr
