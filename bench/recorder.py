# SPDX-License-Identifier: Apache-2.0
"""What recording costs: a camera of 640x480 at 30 Hz and every topic of a session beside it.

This process publishes what a rig, a policy, an operator and the multiplexer say; the recorder runs
as in a session. Measured are the recorder's processor time (of one core), what is missing in the
bag, and its size. With `--kills N` the recorder is also killed (kill -9) at N random moments, and
what the recovered bags lack is counted.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Callable
import json
import os
from pathlib import Path
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from hiwm_msgs.msg import Action, MuxState, RecorderState, RigState, TreeEvent
import numpy as np
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rosbags.rosbag2 import Reader
from sensor_msgs.msg import CameraInfo, JointState
from tqdm import tqdm

from bench.result import Bar, machine, print_bars, write_result
from hiwm_core import contract
from hiwm_core.bag_recovery import recover_bag
from hiwm_rig.base_node import publisher, subscription
from hiwm_rig.conversion import image_message, time_message

PATIENCE = 60.0  # s
FRAMES = 30  # pictures that are shown in turn
STEPS_PER_EPOCH = 300
TICKS_PER_SECOND = os.sysconf('SC_CLK_TCK')


def camera_frames(random: np.random.Generator, width: int, height: int) -> list[Any]:
    """Frames as a camera gives them, uint8 (H, W, 3): still, one body, noise."""
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    scene = np.stack(
        [
            120 + 60 * np.sin(columns / 97 + phase) + 40 * np.cos(rows / 61 - phase)
            for phase in (0.0, 0.7, 1.9)
        ],
        axis=-1,
    )
    frames = []
    for number in range(FRAMES):
        frame = scene + random.normal(0.0, 1.5, scene.shape)
        left = int(width * (0.1 + 0.7 * number / FRAMES))
        frame[height // 3 : height // 2, left : left + width // 10] = (200, 60, 40)
        frames.append(np.clip(frame, 0, 255).astype(np.uint8))
    return frames


class Graph:
    """Everything of a session but the recorder, as one node; counts what it publishes."""

    def __init__(self, seed: int, rate: float, width: int, height: int) -> None:
        self.node = rclpy.create_node('bench_graph')
        self.states: list[RecorderState] = []
        self.sent: dict[str, list[tuple[int, float]]] = defaultdict(list)
        self.period = 1.0 / rate
        self._tick = 0
        self._size = (width, height)
        random = np.random.default_rng(seed)
        stamp = time_message(0)
        self._images = [image_message(f, stamp) for f in camera_frames(random, width, height)]
        self._publishers = {t.name: publisher(self.node, t) for t in contract.RECORDED_TOPICS}
        subscription(self.node, contract.RECORDER_STATE, self.states.append)
        self.executor = SingleThreadedExecutor()
        self.executor.add_node(self.node)
        self._due = time.monotonic()

    def _publish(self, topic: contract.Topic, message: Any) -> None:
        self._publishers[topic.name].publish(message)
        stamp = message.header.stamp
        self.sent[topic.name].append((stamp.sec * 10**9 + stamp.nanosec, time.monotonic()))

    def step(self) -> None:
        """Publish one step of every topic when it is due."""
        while (left := self._due - time.monotonic()) > 0:
            self.executor.spin_once(timeout_sec=left)
        self._due = max(self._due + self.period, time.monotonic() - 1.0)
        self._tick += 1
        tick, stamp = self._tick, time_message(time.time_ns())
        epoch, step = 1 + tick // STEPS_PER_EPOCH, tick % STEPS_PER_EPOCH
        image = self._images[tick % FRAMES]
        image.header.stamp = stamp
        self._publish(contract.IMAGE, image)
        width, height = self._size
        for topic, message in (
            (contract.CAMERA_INFO, CameraInfo(width=width, height=height)),
            (
                contract.JOINT_STATES,
                JointState(name=[f'joint_{n}' for n in range(7)], position=[0.1 * step] * 7),
            ),
            (contract.RIG_EXECUTED, self._action(tick - 1, epoch, step, Action.SOURCE_POLICY)),
            (
                contract.RIG_STATE,
                RigState(
                    session='bench',
                    task='pusht',
                    rig='bench',
                    epoch=epoch,
                    node=tick,
                    parent=tick - 1 if step else 0,
                    branch=f'start-{epoch}',
                    step=step,
                    mode=RigState.MODE_RUNNING,
                    period=self.period,
                    executed_actions=tick,
                    scene_names=['x', 'y', 'angle'],
                    scene_values=[0.1, 0.2, 0.3],
                ),
            ),
            (contract.POLICY_ACTION, self._action(tick - 1, epoch, step, Action.SOURCE_POLICY)),
            (contract.OPERATOR_ACTION, self._action(tick - 1, epoch, step, Action.SOURCE_OPERATOR)),
            (contract.ACTION, self._action(tick - 1, epoch, step, Action.SOURCE_POLICY)),
            (
                contract.MUX_STATE,
                MuxState(
                    phase=MuxState.PHASE_AUTONOMOUS,
                    source=Action.SOURCE_POLICY,
                    epoch=epoch,
                    step=step,
                    sent_actions=tick,
                ),
            ),
        ):
            message.header.stamp = stamp
            self._publish(topic, message)
        if not step:
            event = TreeEvent(kind=TreeEvent.KIND_RESET, epoch=epoch, node=tick, seed=epoch)
            event.header.stamp = stamp
            self._publish(contract.RIG_TREE, event)
        if not tick % round(1.0 / self.period):
            status = DiagnosticStatus(name='rig', values=[KeyValue(key='rate', value='30')])
            array = DiagnosticArray(status=[status])
            array.header.stamp = stamp
            self._publish(contract.DIAGNOSTICS, array)

    def _action(self, seq: int, epoch: int, step: int, source: int) -> Action:
        names = [f'joint_{n}' for n in range(7)]
        return Action(
            seq=seq,
            epoch=epoch,
            observation_step=step,
            source=source,
            device='bench',
            names=names,
            values=[0.01 * step] * 7,
            deadman=True,
        )

    def until(self, holds: Callable[[], Any], what: str) -> None:
        """Go on publishing until something holds."""
        deadline = time.monotonic() + PATIENCE
        while not holds():
            if time.monotonic() > deadline:
                raise SystemExit(f'bench: waited in vain until {what}')
            self.step()


def start(folder: Path, session: str) -> subprocess.Popen[bytes]:
    """The recorder, as a session starts it."""
    return subprocess.Popen(
        [
            sys.executable,
            '-c',
            'from hiwm_intervention.programs import recorder; recorder()',
            '--ros-args',
            '-p',
            f'record_dir:={folder}',
            '-p',
            f'session:={session}',
        ]
    )


def processor_seconds(pid: int) -> float:
    """Processor time of a process so far, user and system, all threads."""
    fields = Path(f'/proc/{pid}/stat').read_text().rsplit(')', 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_SECOND


def resident_bytes(pid: int) -> int:
    """Resident memory of a process now."""
    pages = int(Path(f'/proc/{pid}/statm').read_text().split()[1])
    return pages * os.sysconf('SC_PAGE_SIZE')


def recorded_stamps(bag: Path) -> dict[str, set[int]]:
    """Header stamps (ns) in a bag by topic; every message begins with them."""
    stamps: dict[str, set[int]] = defaultdict(set)
    with Reader(bag) as reader:
        for connection, _, data in reader.messages():
            sec, nanosec = np.frombuffer(data[4:12], np.uint32)
            stamps[connection.topic].add(int(sec) * 10**9 + int(nanosec))
    return stamps


def measure(seconds: float, graph: Graph, folder: Path) -> dict[str, Any]:
    """Record for so long; the recorder's cost and what the bag lacks."""
    process = start(folder, 'cost')
    graph.until(lambda: graph.states and graph.states[-1].recording, 'the recorder records')
    for _ in range(round(1.0 / graph.period)):
        graph.step()
    begun = {name: len(sent) for name, sent in graph.sent.items()}
    cpu, clock = processor_seconds(process.pid), time.monotonic()
    frames = round(seconds / graph.period)
    for _ in tqdm(range(frames), unit='frame'):
        graph.step()
    wall = time.monotonic() - clock
    cpu = processor_seconds(process.pid) - cpu
    resident = resident_bytes(process.pid)
    ended = {name: len(sent) for name, sent in graph.sent.items()}
    process.send_signal(signal.SIGINT)
    interrupted = time.monotonic()
    code = process.wait(PATIENCE)
    bag = folder / 'cost' / 'bag'
    stamps = recorded_stamps(bag)
    lost = {
        name: sum(
            stamp not in stamps[name] for stamp, _ in sent[begun.get(name, 0) : ended.get(name, 0)]
        )
        for name, sent in graph.sent.items()
    }
    figures = json.loads((folder / 'cost' / 'report.json').read_text())
    size = sum(file.stat().st_size for file in bag.glob('*.mcap'))
    return {
        'core_fraction': round(cpu / wall, 4),
        'seconds': round(wall, 2),
        'frames': frames,
        'frame_rate_hz': round(frames / wall, 2),
        'published_messages': sum(ended.values()) - sum(begun.values()),
        'lost_messages': sum(lost.values()),
        'lost_by_topic': {name: count for name, count in lost.items() if count},
        'lost_by_report': figures['lost_messages'],
        'bag_bytes': size,
        'bag_bytes_per_s': round(size / (wall + 1.0)),
        'resident_bytes': resident,
        'end_s': round(time.monotonic() - interrupted, 2),
        'exit_code': code,
    }


def kill(count: int, graph: Graph, folder: Path, seed: int) -> dict[str, Any]:
    """Kill the recorder so many times; what the recovered bags lack of what was published before.

    `lost_s` is the time from the publication of the oldest missing message to the kill.
    """
    random = np.random.default_rng(seed)
    lost_seconds, lost_messages, recovery_seconds = [], [], []
    for number in tqdm(range(count), unit='kill'):
        graph.states.clear()
        process = start(folder, f'killed-{number}')
        graph.until(lambda: graph.states and graph.states[-1].recording, 'the recorder records')
        graph.sent.clear()
        for _ in range(int(random.uniform(0.5, 4.0) / graph.period)):
            graph.step()
        time.sleep(random.uniform(0.0, graph.period))
        process.kill()
        killed = time.monotonic()
        process.wait(PATIENCE)
        recover_bag(folder / f'killed-{number}' / 'bag')
        recovery_seconds.append(time.monotonic() - killed)
        stamps = recorded_stamps(folder / f'killed-{number}' / 'bag')
        missing = [
            at
            for name, sent in graph.sent.items()
            for stamp, at in sent
            if stamp not in stamps[name]
        ]
        lost_messages.append(len(missing))
        lost_seconds.append(killed - min(missing) if missing else 0.0)
        shutil.rmtree(folder / f'killed-{number}')
    return {
        'kills': count,
        'lost_s': {
            'p50': round(float(np.median(lost_seconds)), 3),
            'max': round(max(lost_seconds), 3),
        },
        'lost_messages': {'p50': float(np.median(lost_messages)), 'max': max(lost_messages)},
        'recovery_s': {'max': round(max(recovery_seconds), 3)},
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--seconds', type=float, default=30.0, help='how long to record')
    parser.add_argument('--rate', type=float, default=30.0, help='Hz')
    parser.add_argument('--size', default='640x480', help='of the images, WIDTHxHEIGHT')
    parser.add_argument('--kills', type=int, default=0, help='how often to kill the recorder')
    parser.add_argument('--seed', type=int, default=0, help='of the pictures and the kills')
    parser.add_argument('--json', type=Path, help='where the figures go')
    arguments = parser.parse_args()
    os.environ.setdefault('ROS_DOMAIN_ID', str(1 + os.getpid() % 100))
    width, height = (int(part) for part in arguments.size.split('x'))
    rclpy.init()
    graph = Graph(arguments.seed, arguments.rate, width, height)
    with tempfile.TemporaryDirectory(prefix='hiwm-bench-') as folder:
        result = measure(arguments.seconds, graph, Path(folder))
        if arguments.kills:
            result['killed'] = kill(arguments.kills, graph, Path(folder), arguments.seed)
    rclpy.try_shutdown()
    for name, value in result.items():
        print(f'{name:<20} {value}')
    bars = [
        Bar('recording, share of a core', 100 * result['core_fraction'], 25.0, '%'),
        Bar('messages lost', result['lost_messages'], 0.5, ''),
    ]
    if arguments.kills:
        bars.append(Bar('lost to a kill', result['killed']['lost_s']['max'], 1.0, 's'))
    print_bars(bars)
    result |= {'seed': arguments.seed, 'size': arguments.size, 'machine': machine()}
    result['bars'] = [bar.as_dict() for bar in bars]
    if arguments.json:
        write_result(arguments.json, result)
    return 0


if __name__ == '__main__':
    sys.exit(main())
