# SPDX-License-Identifier: Apache-2.0
"""What a task consists of, each part with how it is read from its entry of the task's file."""

from __future__ import annotations

from dataclasses import dataclass

from hiwm_core.entry import Entry


@dataclass(frozen=True)
class ActionVariable:
    """One commanded value: `low`, `high` and `max_step` (largest change per step) are in `unit`.

    `grips`: while nobody drives, what was commanded last is kept, and not what is measured: a
    gripper that is stopped by the thing in it holds by the difference of the two.
    """

    name: str
    unit: str
    low: float
    high: float
    max_step: float
    grips: bool = False

    @classmethod
    def read(cls, entry: Entry) -> ActionVariable:
        """Raises ConfigurationError."""
        variable = cls(
            entry.text('name'),
            entry.text('unit'),
            entry.number('low'),
            entry.number('high'),
            entry.number('max_step'),
            entry.flag('grips'),
        )
        entry.finish()
        return variable


@dataclass(frozen=True)
class JointVariable:
    """One measured value."""

    name: str
    unit: str

    @classmethod
    def read(cls, entry: Entry) -> JointVariable:
        """Raises ConfigurationError."""
        variable = cls(entry.text('name'), entry.text('unit'))
        entry.finish()
        return variable


@dataclass(frozen=True)
class SceneVariable:
    """One thing known of the scene; `wraps` marks an angle whose range closes on itself."""

    name: str
    unit: str
    low: float
    high: float
    wraps: bool = False

    @classmethod
    def read(cls, entry: Entry) -> SceneVariable:
        """Raises ConfigurationError."""
        low, high = entry.range('range')
        variable = cls(entry.text('name'), entry.text('unit'), low, high, entry.flag('wraps'))
        entry.finish()
        return variable


@dataclass(frozen=True)
class Body:
    """A thing in the scene: which scene variables are its pose, and landmarks fixed to it.

    `points` has shape (P, D), metres in the body's own frame. A body without an `angle` is a point.
    """

    name: str
    position: tuple[str, ...]
    angle: str | None
    points: tuple[tuple[float, ...], ...]

    @classmethod
    def read(cls, entry: Entry) -> Body:
        """Raises ConfigurationError."""
        body = cls(
            entry.text('name'),
            entry.texts('position'),
            entry.text('angle') if 'angle' in entry else None,
            entry.points('points'),
        )
        entry.finish()
        return body


@dataclass(frozen=True)
class Actuation:
    """The joints whose values are the position of a body."""

    joints: tuple[str, ...]
    body: str

    @classmethod
    def read(cls, entry: Entry) -> Actuation:
        """Raises ConfigurationError."""
        actuation = cls(entry.texts('joints'), entry.text('body'))
        entry.finish()
        return actuation


@dataclass(frozen=True)
class Camera:
    """Size in pixels, the pinhole matrix in pixels, and the scale of the workspace plane."""

    width: int
    height: int
    metres_per_pixel: float
    fx: float
    fy: float
    cx: float
    cy: float

    @classmethod
    def read(cls, entry: Entry) -> Camera:
        """Raises ConfigurationError."""
        camera = cls(
            width=entry.integer('width'),
            height=entry.integer('height'),
            metres_per_pixel=entry.number('metres_per_pixel'),
            fx=entry.number('fx'),
            fy=entry.number('fy'),
            cx=entry.number('cx'),
            cy=entry.number('cy'),
        )
        entry.finish()
        return camera
