# SPDX-License-Identifier: Apache-2.0
"""The camera's nodes on the graph: a software RealSense, the adapter, and who listens."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
import subprocess
import sys
import time
from typing import Any

import cv2
from known_camera import LENS, OVERHEAD
import numpy as np
import pytest
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, Image

from hiwm_core import contract
from hiwm_core.task import load_task
from hiwm_rig.base_node import FAILED
from hiwm_rig.conversion import camera_info_message, frame_of, image_message, nanoseconds_of
from hiwm_robot.camera import realsense, realsense_camera_node
from hiwm_robot.camera.adapter_file import write_adapter_file
from hiwm_robot.camera.camera_adapter_node import CameraAdapterNode
from hiwm_robot.camera.camera_message import info_message
from hiwm_robot.camera.realsense_camera_node import RealSenseCameraNode
from hiwm_robot.camera.software_device import SoftwareRealSense
from hiwm_robot.camera.table_view import TableView

PATIENCE = 60.0
TASK = load_task('pusht')
PROGRAM = 'from hiwm_robot.programs import {0}; {0}()'


class Graph:
    """Nodes of this process, spun by hand."""

    def __init__(self, parameters: list[str]) -> None:
        rclpy.init(args=['--ros-args', *(word for one in parameters for word in ('-p', one))])
        self.executor = SingleThreadedExecutor()
        self.nodes: list[Node] = []
        self.images: list[Image] = []
        self.infos: list[CameraInfo] = []

    def add(self, node: Any) -> Any:
        """Spin it too."""
        self.nodes.append(node)
        self.executor.add_node(node)
        return node

    def listen(self, image: str = contract.IMAGE.name) -> Node:
        """To a camera, as everybody does."""
        listener = self.add(rclpy.create_node('listener'))
        listener.create_subscription(Image, image, self.images.append, 10)
        info = image.replace('image_raw', 'camera_info')
        listener.create_subscription(CameraInfo, info, self.infos.append, 10)
        return listener

    def until(self, holds: Callable[[], Any], what: str, each: Callable[[], Any] = list) -> None:
        """Spin, and do `each` now and then, until `holds()`."""
        deadline = time.monotonic() + PATIENCE
        while not holds():
            assert time.monotonic() < deadline, f'waited in vain until {what}'
            each()
            for _ in range(5):
                self.executor.spin_once(timeout_sec=0.02)

    def close(self) -> None:
        """Everything goes."""
        for node in reversed(self.nodes):
            self.executor.remove_node(node)
            node.destroy_node()
        self.executor.shutdown()
        rclpy.try_shutdown()


@pytest.fixture
def camera_file(tmp_path: Path) -> Path:
    path = tmp_path / 'camera.yaml'
    write_adapter_file(path, OVERHEAD, '')
    return path


@pytest.fixture
def graph(camera_file: Path) -> Iterator[Graph]:
    graph = Graph(
        ['realsense_camera:camera_namespace:=raw', f'camera_adapter:config:={camera_file}']
    )
    yield graph
    graph.close()


def scene(seed: int = 0) -> np.ndarray:
    """A soft picture of the task's frame."""
    rough = np.random.default_rng(seed).integers(0, 255, (8, 8, 3), np.uint8)
    return cv2.resize(rough, (96, 96), interpolation=cv2.INTER_CUBIC)


def test_a_realsense_becomes_the_tasks_camera(graph: Graph) -> None:
    camera = SoftwareRealSense(LENS)
    shown = scene()
    picture = TableView(OVERHEAD, TASK.camera).apply(shown)
    graph.add(RealSenseCameraNode(camera.devices))
    graph.add(CameraAdapterNode())
    listener = graph.listen()
    times: list[float] = []

    def show() -> None:
        times.append(1234.5 + 0.125 * len(times))
        camera.show(picture, at=times[-1])

    graph.until(lambda: len(graph.images) >= 3 and len(graph.infos) >= 3, 'frames come', show)
    image, info = graph.images[0], graph.infos[0]
    assert np.abs(frame_of(image).astype(int) - shown)[1:-1, 1:-1].mean() < 1.0
    assert nanoseconds_of(image.header.stamp) / 1e9 in times, "the camera's own time"
    assert [one.header.stamp for one in graph.images[:3]] == [
        one.header.stamp for one in graph.infos[:3]
    ]
    expected = camera_info_message(TASK.camera, image.header.stamp)
    assert info == expected, 'the info of every rig'
    assert (image.encoding, image.step) == ('rgb8', 96 * 3)
    assert image.header.frame_id == contract.CAMERA_FRAME_ID
    for topic in (contract.IMAGE, contract.CAMERA_INFO):
        (offered,) = listener.get_publishers_info_by_topic(topic.name)
        assert offered.qos_profile.reliability == ReliabilityPolicy.RELIABLE


def test_the_raw_pictures_are_as_realsense2_camera_gives_them(graph: Graph) -> None:
    camera = SoftwareRealSense(LENS)
    graph.add(RealSenseCameraNode(camera.devices))
    graph.listen('/raw/camera/color/image_raw')
    picture = np.random.default_rng(1).integers(0, 255, (480, 640, 3), np.uint8)
    graph.until(lambda: graph.images and graph.infos, 'frames come', lambda: camera.show(picture))
    assert (frame_of(graph.images[0]) == picture).all()
    info = graph.infos[0]
    assert (info.width, info.height, info.distortion_model) == (640, 480, 'plumb_bob')
    assert np.reshape(info.k, (3, 3)) == pytest.approx(LENS.matrix)
    assert np.reshape(info.p, (3, 4))[:, :3] == pytest.approx(LENS.matrix)
    assert list(info.d) == pytest.approx(LENS.distortion)
    assert info.header.frame_id == graph.images[0].header.frame_id == 'camera_color_optical_frame'


def test_a_camera_that_is_unplugged_comes_back_by_itself(
    graph: Graph, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(realsense, 'SILENCE', 0.1)
    monkeypatch.setattr(realsense_camera_node, 'REOPEN_PERIOD', 0.05)
    camera = SoftwareRealSense(LENS)
    node = graph.add(RealSenseCameraNode(camera.devices))
    said: list[str] = []
    monkeypatch.setattr(node, 'get_logger', lambda: Said(said))
    graph.listen('/raw/camera/color/image_raw')
    picture = np.zeros((480, 640, 3), np.uint8)
    graph.until(lambda: graph.images, 'frames come', lambda: camera.show(picture))
    camera.plugged_in.clear()
    graph.until(lambda: len(said) >= 2, 'it says so')
    assert said[0] == 'the camera Software D435 0042 was unplugged; plug it in again'
    assert said[1].startswith('no RealSense camera is there; plug it in')
    before = len(graph.images)
    camera.plugged_in.append(camera.device)
    graph.until(lambda: len(graph.images) > before, 'it shows', lambda: camera.show(picture))
    assert said[-1] == 'Software D435 0042 shows frames again'
    assert said.count(said[1]) == 1, 'a sentence once'


def test_a_camera_that_is_read_no_more_ends_its_node(
    graph: Graph, monkeypatch: pytest.MonkeyPatch
) -> None:
    camera = SoftwareRealSense(LENS)
    node = graph.add(RealSenseCameraNode(camera.devices))
    said: list[str] = []
    monkeypatch.setattr(node, 'get_logger', lambda: Said(said))

    def defect(*_: object) -> None:
        raise ZeroDivisionError('a defect')

    monkeypatch.setattr(node._time, 'stamp', defect)
    picture = np.zeros((480, 640, 3), np.uint8)
    camera.show(picture)
    deadline = time.monotonic() + PATIENCE
    while rclpy.ok():
        assert time.monotonic() < deadline
        graph.executor.spin_once(timeout_sec=0.02)
    assert node.exit_code == FAILED
    assert said == ["the camera is read no more: ZeroDivisionError('a defect'); start it again"]


def test_a_node_that_goes_while_a_frame_comes_has_not_failed(graph: Graph) -> None:
    camera = SoftwareRealSense(LENS)
    node = graph.add(RealSenseCameraNode(camera.devices))
    publish = node._image.publish

    def as_it_goes(message: Image) -> None:
        node._ended.set()
        node._image.destroy()
        publish(message)

    node._image.publish = as_it_goes
    camera.show(np.zeros((480, 640, 3), np.uint8))
    node._reader.join(PATIENCE)
    assert not node._reader.is_alive() and node.exit_code == 0


class Said:
    """A logger that keeps what it is told."""

    def __init__(self, said: list[str]) -> None:
        self.error = self.info = said.append


def test_the_lens_comes_from_the_cameras_info_if_the_file_has_none(
    graph: Graph, camera_file: Path
) -> None:
    text = camera_file.read_text().split('lens:')[0]
    camera_file.write_text(text)
    node = graph.add(CameraAdapterNode())
    raw = graph.add(rclpy.create_node('raw'))
    images = raw.create_publisher(Image, '/raw/camera/color/image_raw', 10)
    graph.listen()
    picture = np.full((480, 640, 3), 50, np.uint8)
    stamp = raw.get_clock().now().to_msg()

    def show() -> None:
        images.publish(image_message(picture, stamp))

    for _ in range(20):
        show()
        graph.executor.spin_once(timeout_sec=0.02)
    assert not graph.images, 'without a lens nothing is shown'
    infos = raw.create_publisher(CameraInfo, '/raw/camera/color/camera_info', 10)

    def tell() -> None:
        infos.publish(info_message(LENS, stamp))
        show()

    graph.until(lambda: graph.images, 'frames come', tell)
    assert (frame_of(graph.images[0])[40:56, 40:56] == 50).all()
    assert graph.images[0].header.stamp == stamp
    assert node.exit_code == 0


def test_another_size_ends_the_adapter_with_one_sentence(
    graph: Graph, capsys: pytest.CaptureFixture[str]
) -> None:
    node = graph.add(CameraAdapterNode())
    raw = graph.add(rclpy.create_node('raw'))
    images = raw.create_publisher(Image, '/raw/camera/color/image_raw', 10)
    picture = np.zeros((48, 64, 3), np.uint8)
    deadline = time.monotonic() + PATIENCE
    while rclpy.ok():
        assert time.monotonic() < deadline
        images.publish(image_message(picture, raw.get_clock().now().to_msg()))
        graph.executor.spin_once(timeout_sec=0.02)
    assert node.exit_code == 1
    said = capsys.readouterr().err
    assert "'overhead' gives 64x48 px, its file says 640x480; set the camera" in said
    assert said.count('\n') == 1


def run(name: str, *parameters: str) -> subprocess.CompletedProcess[str]:
    words = [word for one in parameters for word in ('-p', one)]
    return subprocess.run(
        [sys.executable, '-c', PROGRAM.format(name), '--ros-args', *words],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


@pytest.mark.parametrize(
    ('name', 'parameter', 'sentence'),
    [
        ('realsense_camera', 'serial_no:=_12', 'no RealSense'),
        ('realsense_camera', 'rgb_camera.color_profile:=big', "the colour profile is 'big'"),
        ('camera_adapter', 'config:=/nowhere.yaml', 'the camera file /nowhere.yaml cannot be read'),
    ],
)
def test_what_cannot_begin_ends_with_one_sentence(name: str, parameter: str, sentence: str) -> None:
    ended = run(name, parameter)
    assert ended.returncode == 1
    assert sentence in ended.stderr
    assert ended.stderr.count('\n') == 1 and 'Traceback' not in ended.stderr
