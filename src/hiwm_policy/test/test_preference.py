# SPDX-License-Identifier: Apache-2.0
"""Pairs of branches of one fork, and what is learned from them."""

from __future__ import annotations

from collections.abc import Callable
import copy
from dataclasses import replace

from framed_episode import episode_of
import numpy as np
import pytest
import torch
from torch import Tensor

from hiwm_core.action import Source
from hiwm_core.episodes import Episode
from hiwm_core.task import Task
from hiwm_core.tree_node import Label
from hiwm_policy.acting import ActingData
from hiwm_policy.dataset import Frames
from hiwm_policy.fork_pair import ForkPair, fork_pairs, pair_windows
from hiwm_policy.model import PolicyNetwork
from hiwm_policy.preference import preference, preference_loss

P, O, H = Source.POLICY, Source.OPERATOR, Source.HANDOVER  # noqa: E741
Build = Callable[..., PolicyNetwork]
Branches = Callable[..., tuple[Episode, Episode]]


@pytest.fixture
def branches(pusht: Task, demonstrations: Callable[..., Frames]) -> Branches:
    """An attempt of 30 steps that failed, and a branch that left it at frame 12 and succeeded."""

    def make(fork: int = 12, ramp: int = 0) -> tuple[Episode, Episode]:
        def episode(seed: int, steps: int) -> Episode:
            return episode_of(
                demonstrations(pusht, episodes=1, steps=steps, seed=seed),
                pusht,
                kind='session',
                session='a',
                seed=3,
                sources=np.full(steps, P, np.uint8),
                branch='run-1',
                success=False,
            )

        bad, own = episode(1, 30), episode(2, 25)
        common = {
            name: np.concatenate([getattr(bad, name)[: fork + 1], getattr(own, name)[fork + 1 :]])
            for name in ('frames', 'joints', 'scene')
        }
        sources = np.full(25, O, np.uint8)
        sources[:fork], sources[fork : fork + ramp] = P, H
        good = replace(
            own,
            **common,
            actions=np.concatenate([bad.actions[:fork], own.actions[fork:]]),
            sources=sources,
            nodes=np.append(bad.nodes[: fork + 1], 100 + own.nodes[fork + 1 :]),
            stamps=np.append(bad.stamps[: fork + 1], 100 + own.stamps[fork + 1 :]),
            branch='better',
            parent='run-1',
            fork=fork,
            success=True,
        )
        return good, bad

    return make


# -- which branches are a pair ---------------------------------------------------------------------


def test_a_pair_is_a_success_and_a_failure_of_one_fork(branches: Branches) -> None:
    good, bad = branches()
    (pair,) = fork_pairs([bad, good], 0.0)
    assert (pair.good, pair.bad, pair.shared) == (good, bad, 12)
    later, _ = branches(fork=20)
    other = replace(later, nodes=np.append(later.nodes[:21], 200 + later.nodes[21:]))
    pairs = fork_pairs([bad, good, other], 0.0)
    assert [(each.good.fork, each.shared) for each in pairs] == [(12, 12), (20, 20)]


def test_what_is_no_pair(branches: Branches) -> None:
    good, bad = branches()
    assert not fork_pairs([good], 0.0)
    assert not fork_pairs([good, replace(bad, success=True)], 0.0), 'two that are good'
    assert not fork_pairs([good, replace(bad, label=int(Label.DISCARD))], 0.0)
    assert not fork_pairs([good, replace(bad, nodes=bad.nodes + 1000)], 0.0), 'another start'
    restarted = replace(bad, stamps=bad.stamps + 1000)
    assert not fork_pairs([good, restarted], 0.0), 'another session of that name'
    begun = {
        name: getattr(bad, name)[:11] for name in ('frames', 'joints', 'scene', 'nodes', 'stamps')
    }
    beginning = replace(bad, **begun, actions=bad.actions[:10], sources=bad.sources[:10])
    assert not fork_pairs([good, beginning], 0.0), 'only the beginning of the other'


def test_a_fork_that_is_not_trusted_gives_no_pair(branches: Branches) -> None:
    good, bad = branches()
    fidelity = np.ones(26)
    fidelity[13:] = 0.1
    assert fork_pairs([replace(good, fidelity=fidelity), bad], 0.5)
    fidelity[5] = 0.4
    assert not fork_pairs([replace(good, fidelity=fidelity), bad], 0.5)


# -- what is learned from --------------------------------------------------------------------------


def test_windows_see_the_same_and_do_something_else(
    branches: Branches, pusht: Task, small_network: Build
) -> None:
    size = small_network(pusht).size
    good, bad = branches()
    frames, windows, counted = pair_windows([ForkPair(good, bad, 12)] * 2, pusht, size)
    assert windows.actions.shape == (2 * size.chunk_steps, 2 * size.horizon)
    for row, begin in enumerate(range(13 - size.chunk_steps, 13)):
        chosen = begin + np.arange(size.horizon) < good.steps
        assert counted[row].tolist() == chosen.tolist(), 'the last action is repeated by nobody'
        for part in (frames.frames, frames.joints):
            seen = part[windows.observations[row]]
            wanted = (good.frames if seen.dtype == np.uint8 else good.joints)[begin - 1 : begin + 1]
            np.testing.assert_array_equal(seen, wanted.astype(seen.dtype))
        of_good, of_bad = np.split(frames.actions[windows.actions[row]], 2)
        for chunk, episode in ((of_good, good), (of_bad, bad)):
            steps = np.minimum(np.arange(begin, begin + size.horizon), episode.steps - 1)
            np.testing.assert_array_equal(chunk, episode.actions[steps].astype(np.float32))
        first = int((of_good != of_bad).any(-1).argmax())
        assert first == 12 - begin < size.chunk_steps, 'what is executed differs'


def test_the_handover_counts_in_neither(
    branches: Branches, pusht: Task, small_network: Build
) -> None:
    size = small_network(pusht).size
    good, bad = branches(ramp=3)
    _, windows, counted = pair_windows([ForkPair(good, bad, 12)], pusht, size)
    assert counted[-1].tolist() == [False] * 3 + [True] * 10 + [False] * 3
    good, bad = branches(ramp=13)
    _, windows, counted = pair_windows([ForkPair(good, bad, 12)], pusht, size)
    assert len(windows.observations) == len(counted) == 0, 'nothing else differs'


@pytest.mark.parametrize('backbone', ['diffusion', 'flow'])
class TestLoss:
    """Of a small network with random weights."""

    @pytest.fixture(autouse=True)
    def _make(self, pusht: Task, small_network: Build, backbone: str) -> None:
        self.network = small_network(pusht, backbone=backbone)
        self.base = copy.deepcopy(self.network)
        draw = torch.Generator().manual_seed(1)
        joints = torch.zeros(6, 2, 2)
        keypoints = torch.randn(6, 2, self.network.encoder.keypoints, 2, generator=draw)
        landmarks = torch.zeros(6, 2, 8, 2)
        self.features = self.network.features(joints, keypoints, landmarks).detach()
        self.good, self.bad = torch.randn(2, 6, 16, 2, generator=draw)

    def loss(self, good: Tensor, bad: Tensor, counted: Tensor | None = None) -> Tensor:
        return preference_loss(
            self.network.backbone.objective(),
            (self.network.denoiser, self.features),
            (self.base.denoiser, self.features),
            (good, bad),
            torch.ones(6, 16, dtype=torch.bool) if counted is None else counted,
            beta=1.0,
            generator=torch.Generator().manual_seed(2),
        )

    def gradients(self) -> list[Tensor]:
        return [
            value.grad for value in self.network.denoiser.parameters() if value.grad is not None
        ]

    def error(self, chunks: Tensor) -> float:
        """The mean error over many draws."""
        objective = self.network.backbone.objective()
        draw = torch.Generator().manual_seed(3)
        with torch.no_grad():
            condition = self.network.denoiser.condition(self.features)
            each = [
                objective.errors(
                    self.network.denoiser, condition, chunks, objective.draw(chunks, draw)
                ).mean()
                for _ in range(50)
            ]
        return float(torch.stack(each).mean())

    def test_learning_prefers_the_good_one(self) -> None:
        assert float(self.loss(self.good, self.bad).detach()) == pytest.approx(np.log(2.0))
        before = self.error(self.bad) - self.error(self.good)
        optimizer = torch.optim.SGD(self.network.denoiser.parameters(), 1e-3)
        for _ in range(30):
            optimizer.zero_grad()
            loss = self.loss(self.good, self.bad)
            loss.backward()
            optimizer.step()
        assert float(loss.detach()) < np.log(2.0)
        assert self.error(self.bad) - self.error(self.good) > before
        assert all(value.grad is None for value in self.base.parameters()), 'the base stays'

    def test_equal_chunks_teach_nothing(self) -> None:
        self.loss(self.good, self.good.clone()).backward()
        assert self.gradients()
        for gradient in self.gradients():
            torch.testing.assert_close(gradient, torch.zeros_like(gradient), atol=1e-6, rtol=0.0)

    def test_steps_that_do_not_count_teach_nothing(self) -> None:
        self.loss(self.good, self.bad, torch.zeros(6, 16, dtype=torch.bool)).backward()
        for gradient in self.gradients():
            assert not gradient.any()

    def test_it_can_be_repeated(self) -> None:
        with torch.no_grad():
            for value in self.network.denoiser.parameters():
                value.add_(0.01)
        assert torch.equal(self.loss(self.good, self.bad), self.loss(self.good, self.bad))


@pytest.mark.parametrize('framed', [True, False])
def test_a_batch_of_pairs_gives_a_loss(
    branches: Branches, pusht: Task, small_network: Build, *, framed: bool
) -> None:
    network = small_network(pusht, framed=framed)
    frames, windows, counted = pair_windows([ForkPair(*branches(), 12)], pusht, network.size)
    loss = preference(
        network,
        ActingData(network, frames, windows),
        torch.from_numpy(counted),
        weight=0.5,
        beta=2.0,
        device=torch.device('cpu'),
    )
    value = loss(torch.Generator().manual_seed(0))
    assert float(value.detach()) == pytest.approx(0.5 * np.log(2.0), abs=1e-5)
    value.backward()
    trained = {
        name.split('.')[0] for name, each in network.named_parameters() if each.grad is not None
    }
    assert trained == ({'denoiser'} if framed else {'denoiser', 'encoder'})
