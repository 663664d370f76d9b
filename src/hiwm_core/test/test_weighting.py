# SPDX-License-Identifier: Apache-2.0
"""What each recipe makes of an episode's steps, and the shares of the whole training set."""

from __future__ import annotations

import numpy as np
import pytest
from recorded import episode_of

from hiwm_core.action import Source
from hiwm_core.weighting import StepClass, Weighting, class_counts, step_classes, weights

P, O, R, H = Source.POLICY, Source.OPERATOR, Source.HANDOVER, Source.HOLD  # noqa: E741


def masses(episodes: list, scheme: str) -> dict[str, float]:
    """The share of the sampling mass that falls on each class, and the mean weight."""
    counts = class_counts(episodes)
    each = np.concatenate([weights(episode, scheme, counts) for episode in episodes])
    classes = np.concatenate([step_classes(episode) for episode in episodes])
    counted = classes != StepClass.EXCLUDED
    shares = {one.name: each[classes == one].sum() / each.sum() for one in StepClass}
    return {**shares, 'mean': each[counted].mean()}


@pytest.fixture
def training_set() -> list:
    """100 demonstrated steps; 60 of the policy, 15 of them before a takeover; 20 of a person."""
    return [
        episode_of([O] * 100, kind='demo'),
        episode_of([P] * 60 + [R] * 3 + [O] * 20 + [H] * 2),
    ]


def test_a_step_has_one_class() -> None:
    episode = episode_of([P] * 20 + [R, H] + [O] * 3 + [P] * 4 + [O] * 2)
    classes = step_classes(episode, pre_steps=6)
    assert classes[:14].tolist() == [StepClass.ROLLOUT] * 14
    assert classes[14:20].tolist() == [StepClass.PRE_INTERVENTION] * 6
    assert classes[20:22].tolist() == [StepClass.EXCLUDED] * 2
    assert classes[22:25].tolist() == [StepClass.INTERVENTION] * 3
    assert classes[25:29].tolist() == [StepClass.PRE_INTERVENTION] * 4
    assert classes[29:].tolist() == [StepClass.INTERVENTION] * 2
    demo = step_classes(episode_of([O, R, P, H], kind='demo'))
    assert demo.tolist() == [StepClass.DEMO, StepClass.EXCLUDED, StepClass.DEMO, StepClass.EXCLUDED]


def test_the_handover_ramp_never_counts(training_set: list) -> None:
    for scheme in Weighting:
        for episode in training_set:
            each = weights(episode, scheme, class_counts(training_set))
            assert (each[np.isin(episode.sources, (R, H))] == 0).all()


def test_uniform_is_one_for_all(training_set: list) -> None:
    each = weights(training_set[1], 'uniform', class_counts(training_set))
    np.testing.assert_allclose(each[np.isin(training_set[1].sources, (P, O))], 1.0)


def test_iwr_gives_interventions_half_of_the_mass(training_set: list) -> None:
    shares = masses(training_set, 'iwr')
    assert shares['INTERVENTION'] == pytest.approx(0.5)
    assert shares['DEMO'] == pytest.approx(0.5 * 100 / 160)
    assert shares['mean'] == pytest.approx(1.0)


def test_sirius_keeps_the_demos_share_and_drops_what_came_before(training_set: list) -> None:
    shares = masses(training_set, 'sirius')
    assert shares['DEMO'] == pytest.approx(100 / 180)
    assert shares['PRE_INTERVENTION'] == 0
    assert shares['INTERVENTION'] == pytest.approx(80 / 180), 'what the demonstrations leave'
    fewer = [episode_of([O] * 20, kind='demo'), training_set[1]]
    shares = masses(fewer, 'sirius')
    assert shares['DEMO'] == pytest.approx(0.2)
    assert shares['INTERVENTION'] == pytest.approx(0.5)
    assert shares['ROLLOUT'] == pytest.approx(0.3)
    assert shares['mean'] == pytest.approx(1.0)


def test_rac_learns_from_people_and_an_intervention_ends_the_attempt() -> None:
    attempt = episode_of([P] * 5 + [R] + [O] * 3 + [H] + [O] * 2 + [P] * 4 + [O] * 6)
    demo = episode_of([O] * 10, kind='demo')
    counts = class_counts([demo, attempt])
    each = weights(attempt, 'rac', counts)
    assert np.flatnonzero(each).tolist() == [6, 7, 8, 10, 11]
    alike = np.concatenate([each[each > 0], weights(demo, 'rac', counts)])
    np.testing.assert_allclose(alike, alike[0])


@pytest.mark.parametrize('scheme', Weighting)
def test_a_class_that_is_absent_leaves_its_share_to_the_others(scheme: Weighting) -> None:
    for sources, kind in (([O] * 4, 'demo'), ([O] * 4, 'session')):
        np.testing.assert_allclose(weights(episode_of(sources, kind=kind), scheme), 1.0)
    alone = weights(episode_of([P] * 4), scheme)
    np.testing.assert_allclose(alone, 0.0 if scheme is Weighting.RAC else 1.0)
    assert weights(episode_of([R] * 4), scheme).tolist() == [0.0] * 4


def test_an_unknown_recipe_is_refused() -> None:
    with pytest.raises(ValueError, match='dagger'):
        weights(episode_of([P]), 'dagger')
