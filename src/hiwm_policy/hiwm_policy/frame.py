# SPDX-License-Identifier: Apache-2.0
"""The frame of reference in which a policy sees and acts.

To push a body from a side is the same motion wherever the body lies. A policy that acts in the
frame of that body therefore needs far fewer demonstrations than one in fixed axes (measured in the
README). It is possible where the task file says enough: the actions are the position of an actuated
body in a plane, and there is another body with an angle and two or more landmarks. Elsewhere (joint
angles, several arms, nothing known of the scene) actions are relative to the joints.

All positions here are in metres.
"""

from __future__ import annotations

from dataclasses import dataclass
import math

import numpy as np
import torch
from torch import Tensor

from hiwm_core.task import Task
from hiwm_policy.landmark import Landmarks, landmarks_of

# Sine and cosine of every length at wave lengths of the workspace's width, a half, ... of it.
WAVES = 5
ANGLE_MULTIPLES = (1, 2, 4, 8)


@dataclass(frozen=True, eq=False)
class BodyFrame:
    """The frame of one body in a plane.

    Attributes:
        body: The body's name.
        rows: Its landmarks among the task's.
        columns: For x and y, the column of the action and of the joint that move in that direction.
        points: float32 (n, 2), the landmarks in the body's own frame.
        landmarks: The task's landmarks.
    """

    body: str
    rows: slice
    columns: tuple[int, int]
    points: Tensor
    landmarks: Landmarks

    @property
    def width(self) -> float:
        """Metres, by which lengths are scaled."""
        return float(self.landmarks.extent[self.rows.start].max())

    def pose(self, landmarks: Tensor) -> tuple[Tensor, Tensor]:
        """Origin (..., 2) in metres and angle (...) that fit landmarks (..., P, 2) best.

        Least squares in closed form: the two-dimensional case of Kabsch (1976).

        Args:
            landmarks: In the scale of `Landmarks.normalize`.
        """
        scale = torch.as_tensor(self.landmarks.extent[self.rows], dtype=landmarks.dtype)
        centre = torch.as_tensor(self.landmarks.centre[self.rows], dtype=landmarks.dtype)
        seen = landmarks[..., self.rows, :] * scale.to(landmarks) + centre.to(landmarks)
        points = self.points.to(landmarks)
        middle, own = seen.mean(-2), points.mean(0)
        away, still = seen - middle[..., None, :], points - own
        along = (away * still).sum((-1, -2))
        across = (still[..., 0] * away[..., 1] - still[..., 1] * away[..., 0]).sum(-1)
        angle = torch.atan2(across, along)
        return middle - turn(own.expand_as(middle), angle), angle

    def features(self, joints: Tensor, origin: Tensor, angle: Tensor) -> Tensor:
        """What the policy knows (B, F), from the newest To observations.

        Args:
            joints: (B, To, J), oldest first.
            origin: (B, To, 2), the body's.
            angle: (B, To), the body's.
        """
        width = self.width
        middle = torch.as_tensor(self.landmarks.centre[self.rows.start]).to(joints)
        here, now = origin[:, -1], angle[:, -1]
        hand = joints[..., list(self.columns)]
        hands = turn(hand - here[:, None], -now[:, None]) / width
        moved = turn(origin[:, :-1] - here[:, None], -now[:, None]) / width
        turned = angle[:, :-1] - now[:, None]
        # The fixed workspace as the body sees it: its middle, and how it is turned.
        place = turn(middle - here, -now) / width
        lengths = torch.cat([hands[:, -1], place], dim=-1)
        waves = [
            wave(math.pi * 2**power * lengths)
            for power in range(WAVES)
            for wave in (torch.sin, torch.cos)
        ]
        turns = [wave(k * now[:, None]) for k in ANGLE_MULTIPLES for wave in (torch.sin, torch.cos)]
        speeds = (hands[:, :-1] - hands[:, -1:]).flatten(1) * 5.0
        return torch.cat(
            [
                lengths,
                speeds,
                moved.flatten(1) * 10.0,
                torch.sin(turned) * 5.0,
                (here - middle) / width,
                (hand[:, -1] - middle) / width,
                *turns,
                *waves,
            ],
            dim=-1,
        )

    def points_from(self, joints: Tensor, origin: Tensor, angle: Tensor) -> Tensor:
        """The body's landmarks (B, n, 2) as seen from the hand, turned with the body.

        In lengths of the body: where the hand touches it is the same wherever it lies.

        Args:
            joints: (B, J).
            origin: (B, 2), the body's.
            angle: (B,), the body's.
        """
        hand = turn(joints[:, list(self.columns)] - origin, -angle)
        seen: Tensor = (self.points.to(hand) - hand[:, None]) / self.width
        return seen

    def enter(self, actions: Tensor, origin: Tensor, angle: Tensor) -> Tensor:
        """Positions (B, n, 2) as the body at `origin` (B, 2), `angle` (B) has them: metres."""
        return turn(actions[..., list(self.columns)] - origin[:, None], -angle[:, None])

    def leave(self, values: Tensor, origin: Tensor, angle: Tensor) -> Tensor:
        """The inverse of `enter`."""
        positions = turn(values, angle[:, None].expand(values.shape[:-1])) + origin[:, None]
        return positions[..., list(self.columns)]


def turn(vectors: Tensor, angle: Tensor) -> Tensor:
    """Vectors (..., 2) turned by angles (...), from x towards y."""
    cosine, sine = torch.cos(angle), torch.sin(angle)
    x, y = vectors[..., 0], vectors[..., 1]
    return torch.stack([cosine * x - sine * y, sine * x + cosine * y], dim=-1)


def body_frame(task: Task) -> BodyFrame | None:
    """The frame in which the task can be acted; None where its file does not say enough."""
    landmarks = landmarks_of(task)
    if landmarks is None or landmarks.dimensions != 2 or len(task.actuated) != 1:
        return None
    moved = task.actuated[0]
    if set(moved.joints) != set(task.action_names) or task.joint_names != task.action_names:
        return None
    if len(moved.joints) != 2:
        return None
    for body, rows in zip(landmarks.bodies, landmarks.slices, strict=True):
        if body.angle is not None and len(body.points) > 1:
            x, y = (task.action_names.index(name) for name in moved.joints)
            points = torch.from_numpy(np.asarray(body.points, np.float32))
            return BodyFrame(body.name, rows, (x, y), points, landmarks)
    return None
