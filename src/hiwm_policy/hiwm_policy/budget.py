# SPDX-License-Identifier: Apache-2.0
"""How large a study is."""

from __future__ import annotations

from dataclasses import dataclass

from hiwm_policy.post_train import STEPS as POST_STEPS


@dataclass(frozen=True)
class BackboneBudget:
    """How much each backbone is given.

    Attributes:
        demos: That its base policy is trained on: so few that most of its attempts fail. Backbones
            differ in how many that is.
        other_demos: For other policies, which are points of the correlation only.
        operator_seconds: With and without branching: 35 % of all steps, beside those of the
            demonstrations.
    """

    demos: int
    other_demos: tuple[int, ...]
    operator_seconds: float


@dataclass(frozen=True)
class Budget:
    """How much of everything.

    Attributes:
        episodes: Of the data, by kind.
        reading_steps: Of the encoder that all policies share.
        backbones: By name.
        evaluated: Starts of an evaluation.
        branches: Of a failure, in the ablation; else one, unless it fails.
        hand_back_gain: The operator hands back after so much progress; see `correct`.
        post_steps: Of post-training.
    """

    episodes: dict[str, int]
    reading_steps: int
    backbones: dict[str, BackboneBudget]
    evaluated: int
    branches: int
    hand_back_gain: float
    post_steps: int


BUDGETS = {
    'small': Budget(
        episodes={'demo': 300, 'play': 400, 'edge': 250, 'policy': 150},
        reading_steps=8000,
        backbones={
            'diffusion': BackboneBudget(60, other_demos=(40, 84), operator_seconds=206.0),
            'flow': BackboneBudget(60, other_demos=(25, 40), operator_seconds=206.0),
        },
        evaluated=200,
        branches=3,
        hand_back_gain=0.2,
        post_steps=POST_STEPS,
    ),
    'full': Budget(
        episodes={'demo': 600, 'play': 1600, 'edge': 1000, 'policy': 600},
        reading_steps=8000,
        backbones={
            'diffusion': BackboneBudget(60, other_demos=(15, 25, 40, 84), operator_seconds=206.0),
            'flow': BackboneBudget(60, other_demos=(15, 25, 40, 84), operator_seconds=206.0),
        },
        evaluated=500,
        branches=3,
        hand_back_gain=0.2,
        post_steps=4 * POST_STEPS,
    ),
}
