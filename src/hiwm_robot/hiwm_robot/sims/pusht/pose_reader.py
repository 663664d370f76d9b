# SPDX-License-Identifier: Apache-2.0
"""Reads pusher and T from the colours of one gym-pusht frame: no network, no memory.

1. Unmixing. In each pixel the background is known (the empty scene), so its colour tells by linear
   least squares how much of it the T covers and how much the pusher. The walls' lines, which
   gym-pusht draws over the bodies, are half transparent after its resizing and are undone.
2. Search. The T's silhouette in DIRECTIONS directions is correlated with its cover at half the
   resolution, where the pusher does not hide it.
3. Refinement. The best candidates are fitted to the cover by Gauss-Newton, at half and then at full
   resolution: the cover that a pose predicts for a pixel is a ramp over the distance from the known
   outline, and the ramp narrows from step to step. Pixels that the pusher hides, and what lies
   outside the picture, have no say.

gym-pusht draws 512 pixels wide and resizes by sampling, not by averaging, so a pixel is all but
binary; the outline runs through some 90 of them, which together tell a fraction of a pixel.
"""

from __future__ import annotations

from dataclasses import dataclass
import math

import cv2
import numpy as np
from numpy.typing import NDArray
import shapely

from hiwm_core.error import HiwmError
from hiwm_core.task import Task
from hiwm_robot.sims import Sighting
from hiwm_robot.sims.pusht.geometry import OUTLINE, PUSHER_RADIUS, TEE, WORKSPACE
from hiwm_robot.sims.pusht.simulator import UNITS_PER_METRE, StateEnv, state_of_scene

FloatArray = NDArray[np.float64]
Image = NDArray[np.float32]
Mask = NDArray[np.bool_]

PUSHER, TEE_NAME = 'pusher', 'tee'
# gym-pusht strokes the T's outline with a pen that reaches so far beyond it, millimetres.
STROKE = 2.0
# Corners are rounded to whole pixels of 512, strokes have an even width, and the resizing samples
# the result: the T is drawn so far from where it is, millimetres. Measured on 2,000 frames.
TEE_SHIFT = np.array([0.25, 0.5])
# The colour of the walls' lines, and of what is behind them in the empty scene.
WALL, WHITE = 211.0, 255.0
# A body covers a pixel from this share on, and is seen in so many pixels that hang together.
COVERED = 0.5
LEAST_PUSHER, LEAST_TEE = 3, 6
# A pixel of which the pusher, which is above the T, covers more says nothing about the T.
HIDDEN = 0.05
DIRECTIONS = 24
CANDIDATES = 4
# A candidate needs this share of the best one's score.
WORTHWHILE = 0.6
# Width of the ramp in each step of a fit, millimetres; a pixel is 5.3.
COARSE_RAMPS = (24.0, 20.0, 16.0, 14.0, 12.0)
FINE_RAMPS = (9.0, 7.0, 6.0, 5.0, 5.0)
DISC_RAMPS = (10.0, 8.0, 6.0, 5.0, 5.0)
SILHOUETTE_RAMP = 10.0
# The T's origin is looked for so far outside of the workspace, where a hard push can bring it.
OUTSIDE = 40.0
# One radian moves the T's outline by about so much, millimetres: makes the columns comparable.
LEVER = 50.0
DAMPING = 0.3
# A fit looks at pixels within so much of the outline where it begins, millimetres.
NEAR = 26.0
# No step of a fit is longer, millimetres.
LONGEST_STEP = 12.0


@dataclass(frozen=True, eq=False)
class Pixels:
    """N pixels: where their middles are, millimetres, and the share of each that is covered."""

    x: FloatArray
    y: FloatArray
    cover: FloatArray

    def where(self, chosen: Mask) -> Pixels:
        """Those that a mask (N,) chooses."""
        return Pixels(self.x[chosen], self.y[chosen], self.cover[chosen])


class Outline:
    """Signed distance from the T's drawn outline, as a table in the block's own frame."""

    STEP = 0.5
    MARGIN = 30.0

    def __init__(self) -> None:
        low = OUTLINE.min(0) - self.MARGIN
        size = np.ceil((OUTLINE.max(0) + self.MARGIN - low) / self.STEP).astype(int) + 1
        axes = [low[axis] + self.STEP * np.arange(size[axis]) for axis in range(2)]
        points = shapely.points(*np.meshgrid(*axes, indexing='ij'))
        edge = shapely.distance(TEE.exterior, points)
        distance = np.where(shapely.contains(TEE, points), -edge, edge) - STROKE
        self._low, self._size = low, size
        slopes = np.gradient(distance, self.STEP)
        self._distance, self._slope_x, self._slope_y = (
            table.ravel() for table in (distance, *slopes)
        )

    def distance(self, pixels: Pixels, pose: FloatArray) -> FloatArray:
        """How far (N,) outside a pose (3,) pixels are, millimetres; at most about MARGIN."""
        return self._distance[self._rows(*_localized(pixels, pose))]

    def slopes(self, pixels: Pixels, pose: FloatArray) -> tuple[FloatArray, FloatArray]:
        """The distances (N,), and their slopes (3, N) in x, y and LEVER times the angle."""
        x, y = _localized(pixels, pose)
        rows = self._rows(x, y)
        along, across = self._slope_x[rows], self._slope_y[rows]
        cosine, sine = math.cos(pose[2]), math.sin(pose[2])
        slopes = np.empty((3, len(x)))
        slopes[0] = sine * across - cosine * along
        slopes[1] = -sine * along - cosine * across
        slopes[2] = (along * y - across * x) / LEVER
        return self._distance[rows], slopes

    def _rows(self, x: FloatArray, y: FloatArray) -> NDArray[np.int64]:
        i = np.rint((x - self._low[0]) / self.STEP).clip(0, self._size[0] - 1)
        j = np.rint((y - self._low[1]) / self.STEP).clip(0, self._size[1] - 1)
        return (i * self._size[1] + j).astype(np.int64)


class PushtPoseReader:
    """Reads frames as gym-pusht draws them, or as a model draws that learned from it.

    Args:
        task: Push-T's task, for the size of its camera's frame.
    """

    def __init__(self, task: Task) -> None:
        self._task = task
        self._shape = task.frame_shape
        height, width, _ = self._shape
        self._scale = np.array([WORKSPACE / width, WORKSPACE / height])
        self._half = (width // 2, height // 2)
        self._background, tee, pusher = _palette(task)
        self._unmixing = _unmixing(self._background, tee, pusher)
        self._outline = Outline()
        self._directions = np.arange(DIRECTIONS) * (math.tau / DIRECTIONS)
        # Room for a T whose origin is in the picture and which reaches beyond it on either side; a
        # multiple of 8 is quick to transform.
        reach = 2.0 * float(np.hypot(*OUTLINE.T).max())
        self._padded = [
            -(-math.ceil(side + reach / (2.0 * scale)) // 8) * 8
            for side, scale in zip(self._half, self._scale, strict=True)
        ]
        self._silhouettes = self._transformed_silhouettes()

    def read(self, frame: NDArray[np.uint8]) -> Sighting:
        """What one frame uint8 (H, W, 3) shows.

        Raises:
            HiwmError: The frame has another size or type.
        """
        if frame.shape != self._shape or frame.dtype != np.uint8:
            raise HiwmError(
                f'a frame {frame.shape} of {frame.dtype} cannot be read; '
                f'uint8 {self._shape} is needed'
            )
        difference = frame.astype(np.float32) - self._background
        cover = np.einsum('hwkc,hwc->khw', self._unmixing, difference)
        tee, pusher = np.clip(cover, 0.0, 1.0)
        pusher_mask = pusher > COVERED
        tee_mask = (tee > COVERED) & ~pusher_mask
        scene = np.full(len(self._task.scene), np.nan)
        pushers, labels, sizes = _parts(pusher_mask, pusher_mask, LEAST_PUSHER)
        if pushers:
            scene[0:2] = self._fit_pusher(pusher, labels == 1 + int(sizes.argmax()))
        tees, _, _ = _parts(tee_mask, tee_mask | pusher_mask, LEAST_TEE)
        if tees:
            scene[2:5] = self._fit_tee(tee, pusher < HIDDEN)
        return Sighting(
            scene=scene,
            components={PUSHER: pushers, TEE_NAME: tees},
            area={PUSHER: int(pusher_mask.sum()), TEE_NAME: int(tee_mask.sum())},
        )

    def _pixels(self, cover: Image, chosen: Mask) -> Pixels:
        """Those of an image (H, W), whole or halved, that a mask (H, W) chooses."""
        rows, columns = np.nonzero(chosen)
        step = self._scale * (self._shape[1] / cover.shape[1])
        return Pixels(
            (columns + 0.5) * step[0], (rows + 0.5) * step[1], cover[chosen].astype(np.float64)
        )

    # -- the pusher ------------------------------------------------------------------------------

    def _fit_pusher(self, cover: Image, piece: Mask) -> FloatArray:
        """The place (2,) of the pusher that a mask (H, W) shows, metres."""
        seen = self._pixels(cover, piece)
        place = np.array([seen.x.mean(), seen.y.mean()])
        pixels = self._pixels(cover, np.ones_like(piece))
        near = np.maximum(np.abs(pixels.x - place[0]), np.abs(pixels.y - place[1]))
        pixels = pixels.where(near < 3.0 * PUSHER_RADIUS)
        for ramp in DISC_RAMPS:
            x, y = pixels.x - place[0], pixels.y - place[1]
            distance = np.hypot(x, y)
            # The distance to the rim falls as the disc comes nearer.
            slopes = -np.stack([x, y]) / np.maximum(distance, 1e-6)
            place = place + _fit_step(pixels.cover, distance - PUSHER_RADIUS, slopes, ramp)
        return place / UNITS_PER_METRE

    # -- the T -----------------------------------------------------------------------------------

    def _fit_tee(self, cover: Image, visible: Mask) -> FloatArray:
        """The pose (3,) that explains the cover best, metres and radians."""
        half = cv2.resize(
            np.stack([np.where(visible, cover, 0.0), visible], axis=-1, dtype=np.float32),
            self._half,
            interpolation=cv2.INTER_AREA,
        )
        known = half[..., 1] > COVERED
        coarse = (half[..., 0] / np.maximum(half[..., 1], COVERED)).astype(np.float32)
        candidates = self._candidates(np.where(known, 2.0 * coarse - 1.0, 0.0))
        pixels = self._pixels(coarse, known)
        candidates = [self._refine(pose, pixels, COARSE_RAMPS) for pose in candidates]
        pose = min(candidates, key=lambda pose: self._misfit(pose, pixels, COARSE_RAMPS[-1]))
        pixels = self._pixels(cover, visible)
        pose = self._refine(pose, pixels, FINE_RAMPS)
        return np.array(
            [
                *((pose[:2] - TEE_SHIFT) / UNITS_PER_METRE),
                math.remainder(pose[2], math.tau),
            ]
        )

    def _candidates(self, votes: Image) -> list[FloatArray]:
        """Poses (3,) near which the silhouette fits votes (h, w), -1 to 1, the best first."""
        columns, rows = self._padded
        spectrum = np.fft.rfft2(votes.astype(np.float32), (rows, columns))
        scores = np.fft.irfft2(self._silhouettes * spectrum, (rows, columns), axes=(1, 2))
        step = 2.0 * self._scale
        x, y = (
            (_signed(side, half) + 0.5) * along
            for side, half, along in zip(self._padded, self._half, step, strict=True)
        )
        allowed = [
            np.flatnonzero((axis > -OUTSIDE) & (axis < WORKSPACE + OUTSIDE)) for axis in (y, x)
        ]
        scores = scores[:, allowed[0][:, None], allowed[1]].reshape(DIRECTIONS, -1)
        places, best = scores.argmax(1), scores.max(1)
        # Of neighbouring directions the best speaks for all.
        peaks = np.flatnonzero((best >= np.roll(best, 1)) & (best >= np.roll(best, -1)))
        peaks = peaks[best[peaks] >= WORTHWHILE * best.max()]
        found = []
        for number in peaks[np.argsort(-best[peaks])][:CANDIDATES]:
            row, column = divmod(int(places[number]), len(allowed[1]))
            place = (x[allowed[1][column]], y[allowed[0][row]])
            found.append(np.array([*place, self._directions[number]]))
        return found

    def _transformed_silhouettes(self) -> NDArray[np.complex64]:
        """The conjugate spectra (DIRECTIONS, ...) of the T with its origin in pixel (0, 0)."""
        columns, rows = self._padded
        step = 2.0 * self._scale
        # Half of the padding lies on either side of the origin.
        x, y = np.meshgrid(
            _signed(columns, columns // 2) * step[0], _signed(rows, rows // 2) * step[1]
        )
        pixels = Pixels(x.ravel(), y.ravel(), np.zeros(x.size))
        drawn = [
            _ramp(
                self._outline.distance(pixels, np.array([0.0, 0.0, direction])), SILHOUETTE_RAMP
            ).reshape(rows, columns)
            for direction in self._directions
        ]
        spectra = np.fft.rfft2(np.array(drawn, dtype=np.float32), axes=(1, 2))
        return np.conj(spectra).astype(np.complex64)

    def _refine(self, pose: FloatArray, pixels: Pixels, ramps: tuple[float, ...]) -> FloatArray:
        """The pose (3,) after a step for each ramp, from the pixels that lie near the outline."""
        near = np.abs(self._outline.distance(pixels, pose)) < NEAR
        pixels = pixels.where(near)
        for ramp in ramps:
            distance, slopes = self._outline.slopes(pixels, pose)
            step = _fit_step(pixels.cover, distance, slopes, ramp)
            pose = pose + step / np.array([1.0, 1.0, LEVER])
            pose[:2] = pose[:2].clip(-OUTSIDE, WORKSPACE + OUTSIDE)
        return pose

    def _misfit(self, pose: FloatArray, pixels: Pixels, ramp: float) -> float:
        """The squared difference of cover, summed over pixels."""
        difference = pixels.cover - _ramp(self._outline.distance(pixels, pose), ramp)
        return float(difference @ difference)


def _parts(
    mask: Mask, bridged: Mask, least: int
) -> tuple[int, NDArray[np.int32], NDArray[np.int64]]:
    """In how many pieces a body is seen, the label (H, W) of every pixel, and each label's pixels.

    Args:
        mask: bool (H, W), where the body is seen.
        bridged: The same, and what may lie across it without parting it.
        least: Pixels that make a piece.
    """
    # gym-pusht marks contacts by a line a pixel wide, which must not part a body either.
    closed = cv2.morphologyEx(bridged.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8))
    count, labels = cv2.connectedComponents(closed, connectivity=8)
    sizes = np.bincount(labels[mask], minlength=count)[1:]
    return int((sizes >= least).sum()), labels.astype(np.int32), sizes


def _localized(pixels: Pixels, pose: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Where pixels are in the frame of a pose (3,)."""
    cosine, sine = math.cos(pose[2]), math.sin(pose[2])
    x, y = pixels.x - pose[0], pixels.y - pose[1]
    return cosine * x + sine * y, cosine * y - sine * x


def _ramp(distance: FloatArray, width: float) -> FloatArray:
    """The share (N,) of a pixel that is covered, so far from the outline."""
    return np.asarray((0.5 - distance / width).clip(0.0, 1.0))


def _fit_step(
    cover: FloatArray, distance: FloatArray, slopes: FloatArray, width: float
) -> FloatArray:
    """A damped Gauss-Newton step (K,) for the cover (N,), with distances' slopes (K, N)."""
    edge = np.abs(distance) < 0.5 * width
    jacobian = slopes[:, edge] / -width
    residual = cover[edge] - _ramp(distance[edge], width)
    normal = jacobian @ jacobian.T + DAMPING / width**2 * np.eye(len(jacobian))
    step = np.linalg.solve(normal, jacobian @ residual)
    length = float(np.linalg.norm(step))
    return np.asarray(step * min(1.0, LONGEST_STEP / max(length, 1e-9)))


def _signed(count: int, positive: int) -> FloatArray:
    """0, 1, ..., and from the middle of what is beyond `positive` on, the shifts to the left."""
    shifts = np.arange(count, dtype=np.float64)
    return np.where(shifts > (count + positive) / 2.0, shifts - count, shifts)


# -- colours -------------------------------------------------------------------------------------


def _palette(task: Task) -> tuple[Image, FloatArray, FloatArray]:
    """The empty scene (H, W, 3), and the mean colours (3,) of T and pusher, as drawn."""
    env = StateEnv(
        obs_type='state',
        observation_width=task.camera.width,
        observation_height=task.camera.height,
    )
    # Nothing, the T alone and the pusher alone; neither over the goal.
    pictures = []
    for scene in (
        [-1.0, -1.0, -2.0, -2.0, 0.0],
        [-1.0, -1.0, 0.256, 0.05, 0.0],
        [0.1, 0.1, -2.0, -2.0, 0.0],
    ):
        env.write_state(state_of_scene(np.array(scene)))
        pictures.append(env._render().astype(np.float32))
    empty = pictures[0]
    tee, pusher = (
        picture[np.abs(picture - empty).max(-1) > 60.0].mean(0).astype(np.float64)
        for picture in pictures[1:]
    )
    return empty, tee, pusher


def _unmixing(background: Image, tee: FloatArray, pusher: FloatArray) -> Image:
    """Matrices (H, W, 2, 3) from a pixel's difference from the background to both covers."""
    darkest, lightest = background.min(-1), background.max(-1)
    grey = (lightest - darkest < 8.0) & (lightest < WHITE)
    line = np.where(grey, (WHITE - lightest) / (WHITE - WALL), 0.0)
    behind = np.where(grey[..., None], WHITE, background)
    # A line that hides a share of a pixel leaves as much less of every difference.
    through = np.maximum(1.0 - line, HIDDEN)[..., None]
    directions = np.stack([(colour - behind) * through for colour in (tee, pusher)], axis=-1)
    return np.asarray(np.linalg.pinv(directions), dtype=np.float32)
