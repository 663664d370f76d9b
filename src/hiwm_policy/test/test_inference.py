# SPDX-License-Identifier: Apache-2.0
"""The thread that computes chunks: latest request only, and faults as sentences."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
import math
import threading

import numpy as np
from numpy.typing import NDArray
import pytest

from hiwm_core.error import HiwmError
from hiwm_core.observation import Observation
from hiwm_policy.chunk import Request
from hiwm_policy.inference import Inference, chunk_key

PATIENCE = 20.0


class Gated:
    """A policy that begins when it is let, and does what it is told."""

    name = 'gated'
    context = 1
    chunk_steps = 1

    def __init__(self) -> None:
        self.gate = threading.Semaphore(0)
        self.begun = threading.Semaphore(0)
        self.fault: Exception | None = None
        self.keys: list[int] = []

    def chunk(self, history: Sequence[Observation], key: int) -> NDArray[np.float64]:
        self.begun.release()
        assert self.gate.acquire(timeout=PATIENCE)
        self.keys.append(key)
        if self.fault is not None:
            raise self.fault
        return np.full((1, 2), float(len(self.keys)))


@pytest.fixture
def policy() -> Gated:
    return Gated()


@pytest.fixture
def done() -> threading.Semaphore:
    return threading.Semaphore(0)


@pytest.fixture
def inference(policy: Gated, done: threading.Semaphore) -> Iterator[Inference]:
    inference = Inference(policy, 7, done.release)
    yield inference
    policy.gate.release(5)
    inference.stop()


def test_only_the_latest_request_waits(
    inference: Inference, policy: Gated, done: threading.Semaphore
) -> None:
    requests = [Request(1, step, ()) for step in range(4)]
    inference.ask(requests[0])
    assert policy.begun.acquire(timeout=PATIENCE)
    for request in requests[1:]:
        inference.ask(request)
    policy.gate.release(2)
    assert done.acquire(timeout=PATIENCE)
    assert done.acquire(timeout=PATIENCE)
    assert [request for request, _ in inference.results()] == [requests[0], requests[3]]
    assert policy.keys == [chunk_key(7, 1, 0), chunk_key(7, 1, 3)]
    assert len(inference.latencies) == 2
    assert inference.results() == []


@pytest.mark.parametrize(
    ('fault', 'sentence'),
    [(HiwmError('the lens is covered'), 'the lens is covered'), (ValueError('no'), 'failed')],
)
def test_a_fault_is_a_sentence_and_ends_nothing(
    inference: Inference,
    policy: Gated,
    done: threading.Semaphore,
    fault: Exception,
    sentence: str,
) -> None:
    policy.fault = fault
    policy.gate.release(2)
    inference.ask(Request(1, 0, ()))
    assert done.acquire(timeout=PATIENCE)
    ((_, result),) = inference.results()
    assert isinstance(result, str)
    assert sentence in result
    policy.fault = None
    inference.ask(Request(1, 1, ()))
    assert done.acquire(timeout=PATIENCE)
    ((_, result),) = inference.results()
    assert not isinstance(result, str)
    np.testing.assert_array_equal(result.chunk, [[2.0, 2.0]])
    assert math.isnan(result.spread)


def test_the_randomness_follows_from_seed_epoch_and_step() -> None:
    keys = {chunk_key(seed, epoch, step) for seed in (0, 1) for epoch in (1, 2) for step in (0, 8)}
    assert len(keys) == 8
    assert all(0 <= key < 2**64 for key in keys)
    assert chunk_key(0, 1, 0, other=True) not in keys


class Dice:
    """A policy whose chunk is its randomness: four steps, of which two are executed."""

    name = 'dice'
    context = 1
    chunk_steps = 2

    def chunk(self, history: Sequence[Observation], key: int) -> NDArray[np.float64]:
        steps = np.random.default_rng(key).uniform(0.0, 1.0, (4, 2))
        steps[2:] *= 1e6
        return steps


@pytest.mark.parametrize('unit', [None, np.array([0.1, 0.2])])
def test_the_spread_is_how_far_a_second_chunk_lies_apart(
    unit: NDArray[np.float64] | None, done: threading.Semaphore
) -> None:
    inference = Inference(Dice(), 7, done.release, unit)
    inference.ask(Request(3, 4, ()))
    assert done.acquire(timeout=PATIENCE)
    ((_, result),) = inference.results()
    inference.stop()
    assert not isinstance(result, str)
    first, second = (Dice().chunk((), chunk_key(7, 3, 4, other=other)) for other in (False, True))
    np.testing.assert_array_equal(result.chunk, first)
    if unit is None:
        assert math.isnan(result.spread)
    else:
        assert result.spread == pytest.approx((np.abs(first - second)[:2] / unit).max())
