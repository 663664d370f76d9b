# SPDX-License-Identifier: Apache-2.0
"""What is kept to learn from, and what an empty selection says."""

from __future__ import annotations

import numpy as np
import pytest
from recorded import episode_of

from hiwm_core.action import Source
from hiwm_core.error import ConfigurationError
from hiwm_core.selection import Selection, Wanted, corrected_first, selected
from hiwm_core.tree_node import Label
from hiwm_core.weighting import (
    PRE_INTERVENTION_STEPS,
    StepClass,
    count_classes,
    step_classes,
)

P, O, R, H = Source.POLICY, Source.OPERATOR, Source.HANDOVER, Source.HOLD  # noqa: E741
EVERY_SOURCE = frozenset(Source)


def kept(wanted: Wanted, **given: object) -> list[int]:
    episode = episode_of([P, P, R, O, O, H, P], **given)
    return np.flatnonzero(Selection(wanted).take(episode)).tolist()


def test_the_policy_and_the_operator_are_learned_from() -> None:
    assert kept(Wanted()) == [0, 1, 3, 4, 6]


def test_the_handover_ramp_never_trains() -> None:
    assert kept(Wanted(sources=EVERY_SOURCE)) == [0, 1, 3, 4, 5, 6]
    assert kept(Wanted(sources=frozenset({Source.HANDOVER}))) == []


def test_sources_phases_and_labels_are_chosen() -> None:
    assert kept(Wanted(sources=frozenset({O}))) == [3, 4]
    phases = np.array([1, 1, 3, 4, 4, 2, 1], np.uint8)
    assert kept(Wanted(phases=frozenset({4})), phases=phases) == [3, 4]
    assert kept(Wanted(), label=Label.DISCARD) == []
    assert kept(Wanted(successful=True), success=False) == []


def test_what_follows_an_untrusted_frame_is_not_learned_from() -> None:
    fidelity = np.array([1.0, np.nan, 0.9, 0.4, 0.95, 1.0, 1.0, 1.0])
    assert kept(Wanted(least_fidelity=0.5), fidelity=fidelity) == [0, 1]
    assert kept(Wanted(least_fidelity=0.3), fidelity=fidelity) == [0, 1, 3, 4, 6]


def test_a_step_that_branches_share_is_taken_once() -> None:
    nodes = np.array([1, 2, 3, 4, 5], np.uint64)
    attempt = episode_of([P] * 4, nodes=nodes)
    branch = episode_of([P, P, O, O], nodes=np.array([1, 2, 3, 8, 9], np.uint64))
    namesake = episode_of([P] * 4, nodes=nodes, stamps=np.arange(100, 105))
    other = episode_of([P] * 4, nodes=nodes, session='another')
    selection = Selection(Wanted())
    taken = [steps.tolist() for _, steps in selected([attempt, branch, namesake, other], selection)]
    assert taken == [[True] * 4, [False, False, True, True], [True] * 4, [True] * 4]
    # A step that a failed attempt was not allowed to give is the branch's.
    selection = Selection(Wanted(successful=True))
    failed = episode_of([P] * 4, nodes=nodes, success=False)
    ((episode, steps),) = selected([failed, branch], selection)
    assert episode is branch
    assert steps.all()
    assert (selection.episodes, selection.steps, selection.kept) == (2, 8, 4)


def test_shared_steps_go_to_the_correction_and_not_to_the_failure_that_was_recorded_first() -> None:
    """So that what Sirius leaves out, the steps before a takeover, is left out."""
    failed = episode_of([P] * 40, success=False)
    nodes = np.concatenate([np.arange(1, 27), np.arange(100, 110)]).astype(np.uint64)
    corrected = episode_of([P] * 25 + [O] * 10, nodes=nodes)
    other = episode_of([P] * 3, session='another')
    sessions = list(corrected_first([failed, corrected, other]))
    assert sessions == [[corrected, failed], [other]]
    counts = np.zeros(len(StepClass), np.int64)
    for episode, steps in selected(
        (each for session in sessions for each in session), Selection(Wanted())
    ):
        counts += count_classes(step_classes(episode)[steps])
    assert counts[StepClass.PRE_INTERVENTION] == PRE_INTERVENTION_STEPS
    assert counts[StepClass.INTERVENTION] == 10


def test_an_empty_selection_says_which_filter_removed_what() -> None:
    selection = Selection(Wanted(successful=True, sources=frozenset({O}), least_fidelity=0.5))
    list(
        selected(
            [
                episode_of([P] * 5 + [R] * 2, success=False),
                episode_of([P] * 3 + [O] * 4, fidelity=np.zeros(8)),
            ],
            selection,
        )
    )
    with pytest.raises(ConfigurationError) as refusal:
        selection.check('sessions/monday')
    assert refusal.value.message == (
        'of the 14 steps in sessions/monday none is left: 5 belong to an episode that did not '
        'succeed, 4 come after a frame of too low a fidelity, 3 were chosen by another source, '
        '2 are of the handover ramp'
    )


def test_no_step_at_all_is_another_sentence() -> None:
    with pytest.raises(ConfigurationError, match='sessions holds no step'):
        Selection(Wanted()).check('sessions')
