# SPDX-License-Identifier: Apache-2.0
"""What a policy is trained on is what it sees live: one bag, both ways, every tensor."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
import sys
import time

from hiwm_msgs.msg import Action, RigState
import numpy as np
import pytest
import rclpy
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import Image, JointState
import torch
from torch import Tensor

from hiwm_core.action import Source
from hiwm_core.bag_reader import BagReader
from hiwm_core.contract import IMAGE, JOINT_STATES, RIG_EXECUTED, RIG_STATE
from hiwm_core.episodes import read_episodes
from hiwm_core.task import Task, load_task
from hiwm_policy import acting, policy_node
from hiwm_policy.acting import ActingData
from hiwm_policy.dataset import join_episodes, windows_of
from hiwm_policy.model import PolicyNetwork
from hiwm_policy.policy import NetworkPolicy
from hiwm_policy.size import DiffusionSize

sys.path.insert(0, str(Path(__file__).parents[1] / 'src' / 'hiwm_core' / 'test'))

from written_session import WrittenSession

PATIENCE = 60.0
CONTEXT = 3
Seen = tuple[Tensor, Tensor]  # images (To, 3, H, W) and joints (To, J) that the network was given


@pytest.fixture(scope='module')
def task() -> Task:
    return load_task('pusht')


@pytest.fixture(scope='module')
def network(task: Task) -> PolicyNetwork:
    """A small network that plans every step anew and sees the images themselves."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    size = DiffusionSize(
        context=CONTEXT, chunk_steps=1, free_keypoints=4, width=32, depth=1, condition=16
    )
    return PolicyNetwork(task, size).eval()


@pytest.fixture(scope='module')
def bag(task: Task, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two starts, a takeover, a rollback with a branch, and images that come late."""
    session = WrittenSession(tmp_path_factory.mktemp('aligned'), task)
    session.reset(3)
    for _ in range(8):
        session.step(Source.POLICY)
    session.step(Source.HANDOVER)
    for _ in range(4):
        session.step(Source.OPERATOR)
    session.rollback(7)
    session.fork('better')
    for _ in range(5):
        session.step(Source.OPERATOR)
    session.rollback(1)
    for _ in range(3):
        session.step(Source.POLICY)
    session.reset(4)
    for _ in range(2):
        session.step(Source.POLICY)
    session.bag.close()
    return session.path


@dataclass
class Spy:
    """Keeps what a network is given, in the order of its passes."""

    network: PolicyNetwork
    given: list[Seen] = field(default_factory=list)

    def watch(self, monkeypatch: pytest.MonkeyPatch) -> None:
        images: list[Tensor] = []
        self.network.encoder.register_forward_pre_hook(
            lambda module, arguments: images.append(arguments[0].clone())
        )
        features = self.network.features

        def seen(joints: Tensor, *rest: Tensor) -> Tensor:
            self.given.append((images.pop(), joints[0].clone()))
            return features(joints, *rest)

        monkeypatch.setattr(self.network, 'features', seen)


@pytest.fixture
def host(
    monkeypatch: pytest.MonkeyPatch, task: Task, network: PolicyNetwork, tmp_path: Path
) -> Iterator[tuple[policy_node.PolicyNode, Spy]]:
    """The policy's node, and what its network is given."""
    spy = Spy(network)
    spy.watch(monkeypatch)
    monkeypatch.setattr(
        sys, 'argv', ['policy', '--ros-args', '-p', f'policy:={tmp_path}', '-p', 'seed:=3']
    )
    monkeypatch.setattr(
        policy_node, 'open_policy', lambda task, which: NetworkPolicy(task, network)
    )
    rclpy.init(args=sys.argv)
    node = policy_node.PolicyNode()
    node.start()
    yield node, spy
    node.destroy_node()
    rclpy.try_shutdown()


def until(holds: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline, f'waited in vain until {what}'
        time.sleep(0.001)


def live(bag: Path, node: policy_node.PolicyNode, spy: Spy) -> dict[int, list[Seen]]:
    """What the live policy saw at each node of the tree, every time that it was there."""
    takers = {
        IMAGE.name: (Image, node._on_image),
        JOINT_STATES.name: (JointState, node._on_joints),
        RIG_STATE.name: (RigState, node._on_state),
        RIG_EXECUTED.name: (Action, node._on_executed),
    }
    shown: dict[tuple[int, int], int] = {}
    seen: dict[int, list[Seen]] = defaultdict(list)
    asked = 0
    planned = node._inference.ask

    def ask(request: object) -> None:
        nonlocal asked
        asked += 1
        planned(request)

    node._inference.ask = ask
    with BagReader(bag) as reader:
        for topic, data, _ in reader.serialized([IMAGE, JOINT_STATES, RIG_STATE, RIG_EXECUTED]):
            kind, take = takers[topic]
            message = deserialize_message(data, kind)
            if topic == RIG_STATE.name:
                shown[int(message.epoch), int(message.step)] = int(message.node)
            before = asked
            take(message)
            if asked > before:
                until(lambda: len(spy.given) == asked, 'the chunk is computed')
                place = (node._schedule.epoch, node._schedule.step)
                until(lambda: bool(node._inference._results), 'the chunk is there')
                node._on_chunks()
                seen[shown[place]].append(spy.given[-1])
    return seen


def test_training_sees_what_the_live_policy_saw(
    bag: Path,
    task: Task,
    network: PolicyNetwork,
    host: tuple[policy_node.PolicyNode, Spy],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(acting, 'SHIFT', 0)
    node, spy = host
    seen = live(bag, node, spy)
    compared: set[int] = set()
    times = 0
    for episode in read_episodes(bag, task):
        frames = join_episodes([episode], task)
        size = network.size
        windows = windows_of(frames, size.context, size.horizon, size.chunk_steps)
        data = ActingData(network, frames, windows)
        every = torch.arange(len(data))
        images, joints, actions, rows = data.image_batch(every, torch.Generator())
        assert len(data) == (episode.sources != Source.HANDOVER).sum()
        for window in range(len(data)):
            step = int(rows[window, -1])
            assert torch.equal(actions[window, 0], torch.tensor(episode.actions[step]).float())
            for live_images, live_joints in seen[int(episode.nodes[step])]:
                assert torch.equal(images[window], live_images)
                assert torch.equal(joints[window], live_joints)
                times += 1
            if seen[int(episode.nodes[step])]:
                compared.add(int(episode.nodes[step]))
    assert len(compared) >= 20
    assert times > len(compared), 'nodes to which the session went back were seen twice'


def test_what_was_seen_differs_from_step_to_step(
    bag: Path, host: tuple[policy_node.PolicyNode, Spy]
) -> None:
    """The comparison above could not hold if everything looked the same."""
    seen = [views[0][0] for views in live(bag, *host).values()]
    flat = np.stack([images.numpy().ravel() for images in seen])
    assert len(np.unique(flat, axis=0)) == len(seen)
