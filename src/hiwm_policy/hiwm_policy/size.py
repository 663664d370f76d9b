# SPDX-License-Identifier: Apache-2.0
"""How a policy's network is sized; everything else follows from the task."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from hiwm_policy.encoder import FREE_KEYPOINTS


@dataclass(frozen=True)
class Size:
    """What every backbone has.

    Attributes:
        context: To, observations that it looks at.
        horizon: Tp, actions that it predicts.
        chunk_steps: Ta, actions that are executed before it is asked again. The fewer, the sooner
            it answers to what it sees: with 4 instead of 8 a corrected policy finishes Push-T more
            often (figures in the README).
        framed: Acts in the frame of a body that it sees; else relative to the joints.
        free_keypoints: Keypoints that no landmark teaches.
    """

    backbone: ClassVar[str]
    context: int = 2
    horizon: int = 16
    chunk_steps: int = 4
    framed: bool = False
    free_keypoints: int = FREE_KEYPOINTS


@dataclass(frozen=True)
class DiffusionSize(Size):
    """Of Diffusion Policy.

    Attributes:
        width: Of the denoiser.
        depth: Of the denoiser, in blocks.
        condition: Width of what modulates the denoiser.
    """

    backbone: ClassVar[str] = 'diffusion'
    width: int = 384
    depth: int = 3
    condition: int = 256


@dataclass(frozen=True)
class FlowSize(Size):
    """Of the flow-matching action expert.

    Attributes:
        width: Of the tokens of the action expert.
        patch: Actions in one of its tokens; a divisor of the horizon.
        seen_width: Of the tokens of what is seen.
        depth: Layers of both.
        heads: Of attention, each `head_width` wide.
        head_width: Shared by both, because they attend together.
    """

    backbone: ClassVar[str] = 'flow'
    width: int = 128
    patch: int = 4
    seen_width: int = 96
    depth: int = 3
    heads: int = 4
    head_width: int = 32
