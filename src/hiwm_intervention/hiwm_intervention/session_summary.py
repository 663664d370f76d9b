# SPDX-License-Identifier: Apache-2.0
"""What happened in a session, gathered message by message: figures, events, pictures, losses.

It is told of every message as it is recorded, or of those of a bag afterwards. What it keeps does
not grow with the steps: pictures are handed on as soon as they are made, images are decoded only
when one is wanted.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import asdict
import math
import struct
from typing import Any

from hiwm_core.continuity import DECODED_TOPICS, Continuity
from hiwm_core.contract import IMAGE, MUX_STATE, RIG_EXECUTED, RIG_STATE, RIG_TREE
from hiwm_intervention.branch_figures import Branches
from hiwm_intervention.thumbnail import thumbnail

READ_TOPICS = (IMAGE, *DECODED_TOPICS, RIG_TREE)
IMAGES_KEPT = 16
STAMPS_KEPT = 64
SAMPLES_KEPT = 600
HANDOVER, CORRECTING = 3, 4  # MuxState.PHASE_*
OPERATOR = 2  # Action.SOURCE_*
EVENT_RESET, EVENT_ROLLBACK, EVENT_BRANCH, EVENT_LABEL = 1, 2, 3, 5  # TreeEvent.KIND_*
# A message that begins with a std_msgs/Header: encapsulation, then seconds and nanoseconds.
STAMP = struct.Struct('<4xiI')

Event = dict[str, Any]


class SessionSummary:
    """One recording.

    Args:
        decode: Topic and message in CDR to the message.
        keep: Takes events; each has `kind` and `t`, s since the recording began, and may have
            `image`, a data URI. Kinds: `phase` (with `end`), `takeover` (with `end`), `pause`
            (an automatic one), `begin` and `frame` (a branch's first and newest picture), `label`.

    Attributes:
        continuity: What is missing.
    """

    def __init__(self, decode: Callable[[str, bytes], Any], keep: Callable[[Event], None]) -> None:
        self.continuity = Continuity()
        self._decode = decode
        self._keep = keep
        self._decoded = {topic.name for topic in (*DECODED_TOPICS, RIG_TREE)}
        self._takers: dict[str, Callable[[Any], None]] = {
            RIG_STATE.name: self._take_state,
            RIG_EXECUTED.name: self._take_executed,
            MUX_STATE.name: self._take_mux,
            RIG_TREE.name: self._take_event,
        }
        self._counts: dict[str, int] = {}
        self._began = self._newest = 0
        self._told: dict[str, str] = {}
        self._period = math.nan
        self._branches = Branches()
        self._rollbacks = self._resets = 0
        self._samples: list[tuple[float, float]] = []
        self._stride, self._skipped = 1, 0
        # What is on the screen: the newest state, and the image of its stamp.
        self._images: OrderedDict[int, bytes] = OrderedDict()
        self._state_stamp = -1
        self._frame: bytes | None = None
        self._epoch = -1
        self._branch = ''
        self._step = self._top_node = 0
        self._unpictured = ''
        # Who drove.
        self._steps: dict[int, int] = {}
        self._sources: OrderedDict[int, int] = OrderedDict()
        self._places: OrderedDict[int, str] = OrderedDict()
        self._phase = 0
        self._phase_began = 0.0
        self._phase_seconds: dict[int, float] = {}
        self._takeover: Event | None = None
        self._takeovers = 0
        self._human_past = self._human = math.nan
        self._trigger = 0
        self._operators: dict[str, None] = {}

    # -- being told ------------------------------------------------------------------------------

    def take(self, topic: str, data: bytes, time_ns: int) -> None:
        """A message in CDR, received at `time_ns` (ns since the Unix epoch)."""
        if not self._began:
            self._began = time_ns
        self._newest = max(self._newest, time_ns)
        self._counts[topic] = self._counts.get(topic, 0) + 1
        if topic == IMAGE.name:
            seconds, nanoseconds = STAMP.unpack_from(data)
            self._take_image(seconds * 10**9 + nanoseconds, data)
        elif topic in self._decoded:
            message = self._decode(topic, data)
            self.continuity.take(topic, message)
            taker = self._takers.get(topic)
            if taker is not None:
                taker(message)

    @property
    def _now(self) -> float:
        return (self._newest - self._began) / 1e9

    def _take_image(self, stamp: int, data: bytes) -> None:
        self.continuity.image(stamp)
        _bounded(self._images, stamp, data, IMAGES_KEPT)
        if stamp == self._state_stamp:
            self._match(data)

    def _match(self, data: bytes) -> None:
        """The image of the newest state is there."""
        self._frame = data
        if self._unpictured:
            self._emit('begin', branch=self._unpictured, image=self._picture())
            self._unpictured = ''

    def _take_state(self, message: Any) -> None:
        stamp = _nanoseconds(message.header.stamp)
        branch, node, epoch = str(message.branch), int(message.node), int(message.epoch)
        self._told = {
            'session': str(message.session),
            'task': str(message.task),
            'rig': str(message.rig),
        }
        self._period = float(getattr(message, 'period', math.nan))
        if epoch != self._epoch and self._epoch >= 0:
            self._picture_end()
        if epoch < self._epoch:
            # Another rig, or the same one without its tree: node ids begin anew.
            self._top_node = 0
        new_epoch, self._epoch = epoch != self._epoch, epoch
        self._state_stamp = stamp
        self._step = int(message.step)
        if message.context:
            return
        progress = float(message.progress)
        fresh = node > self._top_node
        if fresh:
            new = self._branches.node(branch, node, int(message.parent), progress, self._now)
            self._top_node = node
            self._sample(progress)
            self._attribute(stamp, branch)
            if new or new_epoch:
                self._unpictured = branch
        elif new_epoch and branch in self._branches.by_name:
            self._unpictured = branch
        self._branch = branch
        image = self._images.get(stamp)
        if image is not None:
            self._match(image)

    def _attribute(self, stamp: int, branch: str) -> None:
        """Find who made the node of this stamp; the executed action may come before or after."""
        source = self._sources.pop(stamp, None)
        if source is None:
            _bounded(self._places, stamp, branch, STAMPS_KEPT)
        elif source == OPERATOR:
            self._branches.by_name[branch].corrective += 1

    def _take_executed(self, message: Any) -> None:
        stamp, source = _nanoseconds(message.header.stamp), int(message.source)
        self._steps[source] = self._steps.get(source, 0) + 1
        branch = self._places.pop(stamp, None)
        if branch is None:
            _bounded(self._sources, stamp, source, STAMPS_KEPT)
        elif source == OPERATOR:
            self._branches.by_name[branch].corrective += 1

    def _take_mux(self, message: Any) -> None:
        phase, operator = int(message.phase), str(message.operator_id)
        human = float(getattr(message, 'human_time', math.nan))
        if operator:
            self._operators[operator] = None
        if not math.isnan(human):
            if math.isnan(self._human):
                self._human_past = 0.0
            elif human < self._human:
                # The multiplexer was started anew and counts from 0.
                self._human_past += self._human
            self._human = human
        if phase != self._phase:
            self._end_phase()
            self._phase = phase
            if phase == CORRECTING:
                self._begin_takeover(operator)
        trigger = int(getattr(message, 'trigger', 0))
        if trigger and trigger != self._trigger:
            self._emit('pause', trigger=trigger, reason=str(message.reason), image=self._picture())
        self._trigger = trigger

    def _end_phase(self) -> None:
        if self._phase:
            self._emit('phase', self._phase_began, phase=self._phase, end=self._now)
            spent = self._now - self._phase_began
            self._phase_seconds[self._phase] = self._phase_seconds.get(self._phase, 0.0) + spent
        if self._takeover is not None:
            begun, self._takeover = self._takeover, None
            self._emit(
                **begun
                | {
                    'end': self._now,
                    'steps': self._steps.get(OPERATOR, 0) - begun['steps'],
                    'after': self._picture(),
                }
            )
        self._phase_began = self._now

    def _begin_takeover(self, operator: str) -> None:
        self._takeovers += 1
        self._takeover = {
            'kind': 'takeover',
            't': self._now,
            'operator': operator,
            'branch': self._branch,
            'step': self._step,
            'steps': self._steps.get(OPERATOR, 0),
            'image': self._picture(),
        }

    def _take_event(self, message: Any) -> None:
        kind, name, node = int(message.kind), str(message.branch), int(message.node)
        if kind == EVENT_RESET:
            self._resets += 1
        elif kind == EVENT_ROLLBACK:
            self._rollbacks += 1
        elif kind == EVENT_BRANCH:
            self._branches.fork(name, node, self._now)
        elif kind == EVENT_LABEL:
            self._branches.label(name, node, int(message.label), str(message.note), self._now)
            if name == self._branch:
                self._picture_end()

    # -- pictures and samples ----------------------------------------------------------------------

    def _picture(self) -> str:
        """What is on the screen; empty if no image has been heard."""
        if self._frame is None:
            return ''
        return thumbnail(self._decode(IMAGE.name, self._frame))

    def _picture_end(self) -> None:
        if self._branch and self._frame is not None:
            self._emit('frame', branch=self._branch, step=self._step, image=self._picture())

    def _sample(self, progress: float) -> None:
        """Keep at most SAMPLES_KEPT of all values, evenly."""
        self._skipped += 1
        if self._skipped < self._stride or math.isnan(progress):
            return
        self._skipped = 0
        self._samples.append((round(self._now, 3), round(progress, 4)))
        if len(self._samples) > SAMPLES_KEPT:
            self._samples = self._samples[::2]
            self._stride *= 2

    def _emit(self, kind: str, t: float | None = None, **fields: Any) -> None:
        self._keep({'kind': kind, 't': self._now if t is None else t, **fields})

    # -- the end -----------------------------------------------------------------------------------

    def finish(self) -> Event:
        """End what is open; returns the figures, as an event of kind `totals`."""
        self._end_phase()
        self._phase = 0
        self._picture_end()
        losses = self.continuity.losses()
        human = self._human_past + self._human
        if math.isnan(human):
            # Recorded before the multiplexer counted it.
            human = sum(self._phase_seconds.get(phase, 0.0) for phase in (HANDOVER, CORRECTING))
        return {
            'kind': 'totals',
            't': self._now,
            'started_ns': self._began,
            **self._told,
            'period': self._period,
            'operators': list(self._operators),
            'takeovers': self._takeovers,
            'human_seconds': human,
            'steps': {str(source): count for source, count in self._steps.items()},
            'phase_seconds': {str(key): value for key, value in self._phase_seconds.items()},
            'resets': self._resets,
            'rollbacks': self._rollbacks,
            'branches': [
                asdict(branch) | {'episode': branch.is_episode}
                for branch in self._branches.by_name.values()
            ],
            'progress': self._samples,
            'counts': dict(sorted(self._counts.items())),
            'losses': [asdict(loss) | {'sentence': loss.sentence} for loss in losses],
        }


def _bounded(kept: OrderedDict[int, Any], key: int, value: Any, limit: int) -> None:
    kept[key] = value
    if len(kept) > limit:
        kept.popitem(last=False)


def _nanoseconds(stamp: Any) -> int:
    return int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)
