# SPDX-License-Identifier: Apache-2.0
"""How large a study is."""

from __future__ import annotations

from dataclasses import dataclass

from hiwm_policy.post_train import STEPS as POST_STEPS


@dataclass(frozen=True)
class Budget:
    """How much of everything.

    Attributes:
        episodes: Of the data, by kind.
        reading_steps: Of the encoder that all policies share.
        demos: That the base policies are trained on: so few that most of their attempts fail.
        other_demos: For other policies, which are points of the correlation only.
        evaluated: Starts of an evaluation.
        operator_seconds: For each backbone, with and without branching: 35 % of all steps, beside
            those of the demonstrations.
        branches: Of a failure.
        hand_back_gain: The operator hands back after so much progress; see `correct`.
        post_steps: Of post-training.
    """

    episodes: dict[str, int]
    reading_steps: int
    demos: int
    other_demos: tuple[int, ...]
    evaluated: int
    operator_seconds: float
    branches: int
    hand_back_gain: float
    post_steps: int


BUDGETS = {
    'small': Budget(
        episodes={'demo': 300, 'play': 400, 'edge': 250, 'policy': 150},
        reading_steps=8000,
        demos=40,
        other_demos=(25, 84),
        evaluated=200,
        operator_seconds=140.0,
        branches=3,
        hand_back_gain=0.2,
        post_steps=POST_STEPS,
    ),
    'full': Budget(
        episodes={'demo': 600, 'play': 1600, 'edge': 1000, 'policy': 600},
        reading_steps=8000,
        demos=40,
        other_demos=(15, 25, 60, 84),
        evaluated=500,
        operator_seconds=140.0,
        branches=3,
        hand_back_gain=0.2,
        post_steps=4 * POST_STEPS,
    ),
}
