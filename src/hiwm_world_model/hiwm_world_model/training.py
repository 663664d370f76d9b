# SPDX-License-Identifier: Apache-2.0
"""The training of a world model, stage by stage.

Stages, in order: servo (stiffness and damping of commanded bodies), dynamics (one step, then
unrolled on its own predictions), decoder, encoder, heads, calibration. Each batch is drawn from a
generator of (seed, stage, step) alone, so that a training that was interrupted ends with the same
weights as one that was not. Everything is written into one folder.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
import hashlib
import json
from pathlib import Path
import time

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from hiwm_core.task import Task
from hiwm_world_model.dataset import Dataset, Windows
from hiwm_world_model.decoder import unquantize
from hiwm_world_model.features import subtract
from hiwm_world_model.fit import Fit
from hiwm_world_model.model import Architecture, WorldModel
from hiwm_world_model.pictures import save_strip
from hiwm_world_model.rollout import pose_errors, unroll
from hiwm_world_model.weights import task_signature

# The dynamics' curriculum: share of its steps, steps unrolled, windows per member.
CURRICULUM = ((0.5, 1, 256), (0.2, 2, 192), (0.2, 5, 96), (0.1, 12, 48))
# Shares of windows in which something is pushed; the rest teach that nothing moves by itself.
MOVING_SHARE = 0.8
# Noise on a window's start, as a share of the workspace's width.
START_NOISE = 0.0006
# Landmark errors above this many of their unit count linearly.
HUBER = 0.2
# Pixels that differ so much from the mean picture count FOREGROUND times.
FOREGROUND_LEVEL, FOREGROUND = 0.05, 8.0
# Pictures whose median is the first guess of the background.
USUAL_PICTURES = 2000
# Only where a body lies over something coloured does a picture tell opaque from translucent, and
# such pixels are rare. Measured after 600 steps: at 0.05 no cover above 0.65 and 35.6 dB, at 0.3
# covers of 0.98 and 38.9 dB.
DECODER_RATE = 0.3
# Below the limit of success: a head learns from levels of progress drawn evenly from there up.
NEAR_SUCCESS = (0.25, 0.05)
# A prediction is wrong if a body is shown this share of the picture's width from its place.
WRONG_SHARE = 1.0 / 12.0


# The files that decide what weights come out.
CODE = (
    'dataset',
    'decoder',
    'dynamics',
    'encoder',
    'features',
    'fit',
    'heads',
    'model',
    'rollout',
    'training',
)


def code_hash() -> str:
    """SHA-256 of the training code: the files of CODE, one after another."""
    digest = hashlib.sha256()
    for name in CODE:
        digest.update((Path(__file__).parent / f'{name}.py').read_bytes())
    return digest.hexdigest()


# Taken at the start: the files may be edited while a long training runs.
CODE_SHA256 = code_hash()


@dataclass(frozen=True)
class Settings:
    """What decides the result besides the data."""

    seed: int
    servo_steps: int
    dynamics_steps: int
    decoder_steps: int
    encoder_steps: int
    heads_steps: int
    pictures: int


class Training:
    """One run: the networks, what was reached, and where it is kept.

    Args:
        task: What is imagined.
        dataset: What to learn from.
        settings: What decides the result besides.
        out: Folder of everything written.
        device: Where to compute.
    """

    def __init__(
        self, task: Task, dataset: Dataset, settings: Settings, out: Path, device: torch.device
    ) -> None:
        torch.manual_seed(settings.seed)
        self.task, self.dataset, self.settings, self.out = task, dataset, settings, out
        self.device = device
        self.model = WorldModel(task, Architecture()).to(device)
        self.scene = torch.from_numpy(dataset.scene).to(device)
        self.action = torch.from_numpy(dataset.action).to(device)
        self.progress = torch.from_numpy(dataset.progress).to(device)
        self.rows = dataset.episode_rows(validation=False)
        identity = json.dumps(
            [asdict(settings), dataset.fingerprint, CODE_SHA256, task_signature(task)]
        )
        self.fit = Fit(self.model, out, settings.seed, identity)

    # -- stages ----------------------------------------------------------------------------------

    def run(self) -> None:
        """All stages that are not done yet."""
        dynamics = self.model.dynamics
        servo = [dynamics.log_stiffness, dynamics.log_damping]
        self.windows = Windows(self.dataset, self._moving(), self.rows)
        if servo[0].numel():
            self.fit.run('servo', servo, self.settings.servo_steps, 0.03, self._servo_loss)
        for parameter in servo:
            parameter.requires_grad_(False)
        if len(dynamics.networks):
            self.fit.run(
                'dynamics',
                dynamics.networks.parameters(),
                self.settings.dynamics_steps,
                2e-3,
                self._dynamics_loss,
            )
        self._prepare_pictures()
        decoder = self.model.decoder
        if self.fit.untouched('decoder'):
            with torch.no_grad():
                decoder.background.copy_(torch.logit(self._usual.clamp(0.002, 0.998)))
        self.fit.run(
            'decoder',
            decoder.parameters(),
            self.settings.decoder_steps,
            DECODER_RATE,
            self._decoder_loss,
        )
        with torch.no_grad():
            self._layers = {name: layer.detach() for name, layer in decoder.layers().items()}
        self.fit.run(
            'encoder',
            self.model.encoder.parameters(),
            self.settings.encoder_steps,
            2e-3,
            self._encoder_loss,
        )
        self._prepare_progress()
        if len(self._judged):
            self.fit.run(
                'heads',
                self.model.head_network.parameters(),
                self.settings.heads_steps,
                2e-3,
                self._heads_loss,
            )
        if self.fit.untouched('calibration'):
            began = time.monotonic()
            self._calibrate()
            self.fit.finish('calibration', time.monotonic() - began)

    def _moving(self) -> np.ndarray:
        """Whether anything but the commanded bodies moves from a row to the next (F,)."""
        change = subtract(self.task, self.scene.roll(-1, 0), self.scene)
        moving = torch.zeros(len(change), dtype=torch.bool, device=self.device)
        for body in self.model.geometry.bodies:
            if not body.command:
                moving |= change[:, body.position].abs().amax(-1) > 1e-5 * body.width
        return moving.cpu().numpy()

    def _start(self, rows: np.ndarray, first: np.ndarray) -> tuple[Tensor, Tensor]:
        """Scenes and velocities (B, S) at rows; an episode begins at rest."""
        before = np.where(first, rows, rows - 1)
        scene = self.scene[rows]
        velocity = self.model.dynamics.estimate_velocity(
            self.scene[before], scene, self.action[before]
        )
        rest = torch.from_numpy(first).to(self.device).unsqueeze(-1)
        return scene, torch.where(rest, torch.zeros_like(velocity), velocity)

    def _servo_loss(self, step: int, generator: np.random.Generator) -> Tensor:
        """Two periods of a servo, the first of which gives its speed."""
        dynamics = self.model.dynamics
        rows, first = self.windows.draw(generator, 256, 1, 0.0)
        scene, velocity = self._start(rows, first)
        columns = dynamics.driven_columns
        place = dynamics.servo_response()[:, 0]
        predicted = (
            place[:, 0] * scene[:, columns]
            + place[:, 1] * velocity[:, columns]
            + place[:, 2] * self.action[rows][:, dynamics.command_columns]
        )
        wide = self.model.geometry.width
        return ((predicted - self.scene[rows + 1][:, columns]) / (0.01 * wide)).square().mean()

    def _dynamics_loss(self, step: int, generator: np.random.Generator) -> Tensor:
        horizon, count = curriculum_at(step / self.settings.dynamics_steps)
        model, members = self.model, self.model.architecture.members
        rows, first = self.windows.draw(generator, members * count, horizon, MOVING_SHARE)
        scene, velocity = (value.view(members, count, -1) for value in self._start(rows, first))
        scene = scene + self._start_noise(scene, generator)
        total = torch.zeros((), device=self.device)
        for ahead in range(horizon):
            action = self.action[rows + ahead].view(members, count, -1)
            scene, velocity = model.dynamics(scene, velocity, action)
            true = self.scene[rows + ahead + 1].view(members, count, -1)
            error = model.geometry.errors(scene, true)
            total = total + functional.huber_loss(error, torch.zeros_like(error), delta=HUBER)
        return total / (horizon * HUBER)

    def _start_noise(self, scene: Tensor, generator: np.random.Generator) -> Tensor:
        spread = torch.zeros(scene.shape[-1], device=self.device)
        for body in self.model.geometry.bodies:
            if not body.command:
                spread[list(body.position)] = START_NOISE * body.width
            if body.angle >= 0:
                spread[body.angle] = START_NOISE * body.width / body.reach
        draws = torch.from_numpy(generator.standard_normal(scene.shape, np.float32))
        return draws.to(self.device) * spread

    def _prepare_pictures(self) -> None:
        known = np.isin(self.dataset.frame_row, self.rows)
        self.frames = torch.from_numpy(self.dataset.frames[known])
        self.frame_row = self.dataset.frame_row[known]
        # A few at a time: as numbers, all of them would take four times their memory.
        total = torch.zeros(self.frames.shape[1:], dtype=torch.float64)
        for some in self.frames.split(USUAL_PICTURES):
            total += some.sum(0, dtype=torch.int64)
        self._mean = (total / len(self.frames) / 255.0).float().permute(2, 0, 1).to(self.device)
        # What is seen at a pixel most of the time is the background; a mean would hold traces of
        # the bodies, and their textures would have to stay translucent to make up for it.
        usual = self.frames[:: -(-len(self.frames) // USUAL_PICTURES)].median(0).values
        self._usual = usual.float().permute(2, 0, 1).to(self.device) / 255.0

    def _draw_pictures(self, generator: np.random.Generator, count: int) -> tuple[Tensor, Tensor]:
        """Recorded pictures (B, 3, H, W) and their scenes (B, S)."""
        chosen = generator.integers(len(self.frames), size=count)
        return unquantize(self.frames[chosen].to(self.device)), self.scene[self.frame_row[chosen]]

    def _decoder_loss(self, step: int, generator: np.random.Generator) -> Tensor:
        true, scene = self._draw_pictures(generator, 24)
        seen = (true - self._mean).abs().amax(1, keepdim=True) > FOREGROUND_LEVEL
        weight = torch.where(seen, FOREGROUND, 1.0)
        return (weight * (self.model.decoder(scene) - true).square()).mean() * 100.0

    def _encoder_loss(self, step: int, generator: np.random.Generator) -> Tensor:
        """Recorded pictures, and as many that the decoder draws of scenes never recorded."""
        picture, scene = self._draw_pictures(generator, 24)
        spread = torch.from_numpy(generator.random(scene.shape, np.float32)).to(self.device)
        low = torch.tensor([variable.low for variable in self.task.scene], device=self.device)
        high = torch.tensor([variable.high for variable in self.task.scene], device=self.device)
        random_scene = low + spread * (high - low)
        with torch.no_grad():
            drawn = self.model.decoder.draw(random_scene, self._layers)
        picture, scene = torch.cat([picture, drawn]), torch.cat([scene, random_scene])
        noise = torch.from_numpy(generator.standard_normal(picture.shape, np.float32))
        picture = picture + 0.02 * noise.to(self.device)
        with torch.autocast(self.device.type, torch.bfloat16):
            found = self.model.encoder(picture)
        error = self.model.geometry.errors(found, scene)
        return functional.huber_loss(error, torch.zeros_like(error), delta=1.0)

    def _prepare_progress(self) -> None:
        progress = self.dataset.progress[self.rows]
        self._judged = self.rows[np.isfinite(progress)]
        order = np.argsort(self.dataset.progress[self._judged], kind='stable')
        self._ranked = self._judged[order]
        self._ranks = self.dataset.progress[self._ranked]

    def _heads_loss(self, step: int, generator: np.random.Generator) -> Tensor:
        # Near success a head must be exact, and such frames are rare.
        limit, top = self.task.success_above, self._ranks[-1]
        draws = [self._judged[generator.integers(len(self._judged), size=256)]]
        for width in NEAR_SUCCESS:
            low = min(limit - width, top)
            place = np.searchsorted(self._ranks, generator.uniform(low, top, 128))
            draws.append(self._ranked[place.clip(0, len(self._ranked) - 1)])
        rows = np.concatenate(draws)
        progress, success = self.model.head_network(self.scene[rows])
        true = self.progress[rows]
        done = (true > self.task.success_above).float()
        return (
            functional.huber_loss(progress, true, delta=0.05) * 20.0
            + functional.binary_cross_entropy_with_logits(success, done) * 0.1
        )

    def _calibrate(self) -> None:
        """Fit fidelity by logistic regression on episodes kept back: is a body shown far off?"""
        model = self.model
        evidence, good = [], []
        rows = self.dataset.episode_rows(validation=True)
        rows = rows if len(rows) else self.rows
        windows = Windows(self.dataset, self._moving(), rows)
        longest = windows.longest
        with torch.inference_mode():
            for horizon in (10, 30, 60, 100):
                if horizon > longest:
                    break
                generator = self.fit.generator('calibration', horizon)
                starts, first = windows.draw(generator, 128, horizon, MOVING_SHARE)
                scene, velocity = self._start(starts, first)
                ahead = starts[:, None] + np.arange(horizon)
                latents = unroll(model, scene, self.action[ahead], self.settings.seed, velocity)
                for step in {horizon // 2, horizon}:
                    latent = latents[step]
                    evidence.append(model.evidence(latent, model.decode(latent.shown)))
                    true = self.scene[starts + step].cpu()
                    errors = pose_errors(model.geometry, latent.shown.cpu(), true)
                    off = np.fmax(errors.driven_px, errors.other_px)
                    good.append(torch.from_numpy(off < WRONG_SHARE * self.task.camera.width))
        if not evidence:
            return
        self._regress(torch.cat(evidence).clone(), torch.cat(good).float().to(self.device))

    def _regress(self, inputs: Tensor, good: Tensor) -> None:
        weight = torch.tensor([0.0, 1.0, 0.1], device=self.device, requires_grad=True)
        optimizer = torch.optim.Adam([weight], lr=0.05)
        for _ in range(500):
            # More spread or more disagreement never counts in favour.
            kept = torch.cat([weight[:1], weight[1:].clamp(min=0.0)])
            loss = functional.binary_cross_entropy_with_logits(inputs @ kept, good)
            loss = loss + 1e-3 * weight.square().sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            self.model.calibration.copy_(torch.cat([weight[:1], weight[1:].clamp(min=0.0)]))

    def save_sample(self) -> None:
        """A strip of one validation episode: truth above the prediction."""
        rows = self.dataset.episode_rows(validation=True)
        sample = np.flatnonzero(np.isin(self.dataset.frame_row, rows))[:12]
        if not len(sample):
            return
        scene = self.scene[self.dataset.frame_row[sample]]
        with torch.inference_mode():
            drawn = self.model.decode(scene)
        save_strip(self.out / 'decoder.png', [self.dataset.frames[sample], drawn.cpu().numpy()])


def curriculum_at(share: float) -> tuple[int, int]:
    """How many steps to unroll and how many windows per member, at a share of the stage."""
    end = 0.0
    for part, horizon, count in CURRICULUM:
        end += part
        if share < end:
            return horizon, count
    return CURRICULUM[-1][1:]
