# SPDX-License-Identifier: Apache-2.0
"""Flow matching and its action expert: the integration, the streams of tokens, the bundle."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from hiwm_core.error import ConfigurationError
from hiwm_core.extension import load_policy
from hiwm_core.observation import Observation
from hiwm_core.task import Task
from hiwm_policy.action_expert import ActionExpert, Seen
from hiwm_policy.flow import FlowMatching
from hiwm_policy.model import PolicyNetwork, save_model
from hiwm_policy.policy import NetworkPolicy
from hiwm_policy.size import FlowSize

Build = Callable[..., PolicyNetwork]


class Straight(nn.Module):
    """Knows the way: from noise straight to the chunk that the features are."""

    def condition(self, features: Tensor) -> Seen:
        return [], features

    def forward(self, noisy: Tensor, time: Tensor, condition: Seen) -> Tensor:
        return condition[1].unflatten(1, noisy.shape[1:])


class Undecided(Straight):
    """Mixes the chunk with another until the last tenth of the way."""

    def forward(self, noisy: Tensor, time: Tensor, condition: Seen) -> Tensor:
        wanted = super().forward(noisy, time, condition)
        return wanted + (time < 0.85).to(wanted)[:, None, None]


def test_the_right_ends_lead_to_the_chunk_and_cost_nothing() -> None:
    draw = torch.Generator().manual_seed(0)
    wanted = torch.randn(5, 4, 2, generator=draw)
    flow, features = FlowMatching(), wanted.flatten(1)
    drawn = flow.sample(Straight(), features, torch.randn(5, 4, 2, generator=draw))
    torch.testing.assert_close(drawn, wanted, atol=1e-5, rtol=0)
    counted = torch.ones(5, 4, dtype=torch.bool)
    assert float(flow.loss(Straight(), features, wanted, counted, draw)) < 1e-6
    wanted = wanted.clone()  # what is seen says the old ones
    wanted[:, 3] += 1.0
    assert float(flow.loss(Straight(), features, wanted, counted, draw)) > 0.2
    counted[:, 3] = False
    assert float(flow.loss(Straight(), features, wanted, counted, draw)) < 1e-6


def test_the_way_goes_where_the_network_points_and_ends_at_what_it_says_last() -> None:
    draw = torch.Generator().manual_seed(0)
    wanted, noise = torch.randn(2, 5, 4, 2, generator=draw)
    drawn = FlowMatching().sample(Undecided(), wanted.flatten(1), noise)
    torch.testing.assert_close(drawn, wanted, atol=1e-5, rtol=0)


def test_an_error_counts_as_the_error_of_the_velocity() -> None:
    chunks, noise = torch.zeros(3, 4, 2), torch.randn(3, 4, 2)
    time = torch.tensor([0.0, 0.5, 0.99])
    wrong = torch.full((3, 8), 0.3)
    errors = FlowMatching().errors(Straight(), ([], wrong), chunks, (time, noise))
    # A velocity that leads 0.3 past the chunk is wrong by 0.3 over the time that is left.
    expected = (0.3 / torch.tensor([1.0, 0.5, 0.1])) ** 2
    torch.testing.assert_close(errors, expected[:, None, None].expand(3, 4, 2))


def expert(points: tuple[int, int]) -> ActionExpert:
    torch.manual_seed(0)
    size = FlowSize(horizon=6, width=16, patch=2, seen_width=8, depth=2, heads=2, head_width=8)
    return ActionExpert(7 + points[0] * points[1], points, horizon=6, actions=3, size=size)


@pytest.mark.parametrize('points', [(0, 2), (5, 2), (4, 3)])
def test_every_number_that_is_seen_and_every_action_matters(points: tuple[int, int]) -> None:
    network = expert(points)
    features = torch.randn(1, 7 + points[0] * points[1], requires_grad=True)
    noisy = torch.randn(1, 6, 3, requires_grad=True)
    out = network(noisy, torch.tensor([0.3]), network.condition(features))
    assert out.shape == (1, 6, 3)
    out[0, -1, 0].backward()
    assert features.grad is not None and noisy.grad is not None
    assert (features.grad != 0.0).all()
    assert (noisy.grad != 0.0).all()


def test_what_is_seen_does_not_depend_on_the_chunk() -> None:
    """Its keys and values are computed once for all the steps of an integration."""
    network = expert((5, 2))
    features, noisy = torch.randn(2, 17), torch.randn(2, 6, 3)
    kept = network.condition(features)
    before = [(keys.clone(), values.clone()) for keys, values in kept[0]]
    first = network(noisy, torch.tensor([0.1, 0.1]), kept)
    network(noisy + 1.0, torch.tensor([0.9, 0.9]), kept)
    again = network(noisy, torch.tensor([0.1, 0.1]), kept)
    torch.testing.assert_close(first, again, rtol=0, atol=0)
    for (keys, values), (old_keys, old_values) in zip(kept[0], before, strict=True):
        assert torch.equal(keys, old_keys)
        assert torch.equal(values, old_values)


def test_a_chunk_is_cut_into_whole_patches() -> None:
    size = FlowSize(horizon=6, patch=4)
    with pytest.raises(ConfigurationError, match='a chunk of 6 actions cannot be cut into patches'):
        ActionExpert(7, (0, 2), horizon=6, actions=3, size=size)


@pytest.mark.parametrize('name', ['pusht', 'two_arms'])
def test_a_flow_policy_is_stored_and_drives(
    name: str, request: pytest.FixtureRequest, small_network: Build, tmp_path: Path
) -> None:
    task: Task = request.getfixturevalue(name)
    network = small_network(task, framed=name == 'pusht', backbone='flow')
    save_model(network, tmp_path, {})
    draw = np.random.default_rng(0)
    history = [
        Observation(
            draw.integers(0, 256, task.frame_shape, np.uint8),
            np.zeros(len(task.joints)) + 0.1 * number,
        )
        for number in range(2)
    ]
    policy = load_policy('flow', task, tmp_path)
    chunk = policy.chunk(history, 3)
    assert chunk.shape == (16, len(task.actions))
    np.testing.assert_array_equal(chunk, NetworkPolicy(task, network).chunk(history, 3))
    assert policy.name == 'flow'
    with pytest.raises(ConfigurationError, match="has the backbone 'flow', not 'diffusion'"):
        load_policy('diffusion', task, tmp_path)
