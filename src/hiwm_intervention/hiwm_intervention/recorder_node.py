# SPDX-License-Identifier: Apache-2.0
"""The recorder on the graph: every topic of the contract, undecoded, into one bag a session.

Subscriptions are raw: the bytes that the middleware delivered are the bytes in the bag. They are
reliable and deep, and latched where the publisher is, so that nothing is lost. It says that it
records once the rig's frames arrive, not before: a subscription that the rig has not found yet
records nothing. An interrupt does not end the recording at once: what the other nodes still say
while they stop is recorded until the graph is quiet. At the end it says what is missing, as far as
the graph tells, and writes the session's report.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
import re
import signal
import sys
import time
from typing import Any

from hiwm_msgs.msg import RecorderState
import rclpy
from rclpy.duration import Duration
from rclpy.exceptions import InvalidTopicNameException
from rclpy.node import Node
from rclpy.serialization import deserialize_message
from rclpy.signals import uninstall_signal_handlers
from rclpy.validate_full_topic_name import validate_full_topic_name

from hiwm_core import contract
from hiwm_core.error import ConfigurationError
from hiwm_core.extension import NO_POLICY
from hiwm_core.parameter import Parameter
from hiwm_core.task import load_task
from hiwm_intervention.background_recovery import BackgroundRecovery
from hiwm_intervention.memory import keep_freed_memory
from hiwm_intervention.recorder import MEGABYTE, Recorder, describe_session, free_bag
from hiwm_intervention.session_observer import SessionObserver
from hiwm_rig.base_node import declare, interface, profile_of, publisher, run_node
from hiwm_rig.steady_clock import STEADY_CLOCK

STATE_PERIOD = 1.0  # s
WATCH_PERIOD = 0.05  # s, how soon a fault or an interrupt is noticed
SUBSCRIPTION_DEPTH = 1000
# So many looks in a row without a message after an interrupt: the graph has stopped. Looks, not
# seconds: between two of them everything that waits is taken, however late this process is.
QUIET_LOOKS = 6
LONGEST_FAREWELL = 2.0  # s; a launch kills what has not stopped after 5
LAST_WORD = 0.5  # s
KEPT_BYTES = 64 * MEGABYTE
FRAME_TOPICS = (contract.IMAGE, contract.CAMERA_INFO, contract.JOINT_STATES, contract.RIG_STATE)

PARAMETERS = {
    'task': Parameter('pusht', 'which task, by name'),
    'session': Parameter('session', "the session's name; its bag is <record_dir>/<session>/bag"),
    'record_dir': Parameter('sessions', 'folder of all sessions'),
    'world_model': Parameter('', 'folder or file of the world model; its hash goes into the bag'),
    'policy': Parameter('', 'folder or file of the policy; its hash goes into the bag'),
    'operator_id': Parameter('', 'who operates, for the record'),
    'also': Parameter(
        '', 'further topics, with commas between: /wrist/image_raw=sensor_msgs/msg/Image, ...'
    ),
    'max_bag_mb': Parameter(
        1000, 'after so many MB the bag goes on in another file; 0: it has one', low=0
    ),
    'min_free_mb': Parameter(
        200, 'free disk space below which no session begins and a running one stops, in MB', low=1
    ),
}


def _topics_of(text: str) -> list[contract.Topic]:
    """What the parameter `also` names. Raises ConfigurationError."""
    topics: list[contract.Topic] = []
    own = {topic.name for topic in contract.RECORDED_TOPICS}
    for part in filter(None, map(str.strip, text.split(','))):
        name, _, kind = part.partition('=')
        try:
            interface(kind)
            validate_full_topic_name(name)
        except (ValueError, ImportError, AttributeError, InvalidTopicNameException) as error:
            raise ConfigurationError(
                f"parameter 'also' has '{part}', which is not a topic and its type such as "
                f'/wrist/image_raw=sensor_msgs/msg/Image ({error})'
            ) from error
        if name in own:
            raise ConfigurationError(f"parameter 'also' names {name}, which is recorded anyway")
        # Best effort hears everybody, a camera's driver too.
        quality = contract.Quality(reliable=False, depth=SUBSCRIPTION_DEPTH)
        topics.append(contract.Topic(name, kind, quality))
        own.add(name)
    return topics


class RecorderNode(Node):
    """One session's bag, from the start of the node to its end."""

    def __init__(self) -> None:
        super().__init__('recorder')
        self.exit_code = 0
        keep_freed_memory(KEPT_BYTES)
        values = declare(self, PARAMETERS)
        task = load_task(values['task'])
        self._session = values['session']
        if not re.fullmatch(r'[\w.:+-]+', self._session) or set(self._session) == {'.'}:
            raise ConfigurationError(
                f"a session's name is made of letters, digits and . : + - _, not '{self._session}'"
            )
        custom_data = describe_session(
            session=self._session,
            task=task.name,
            operator_id=values['operator_id'],
            models={
                role: None if values[role] in {'', NO_POLICY} else Path(values[role]).resolve()
                for role in ('world_model', 'policy')
            },
        )
        record_dir = Path(values['record_dir']).expanduser().resolve()
        folder = free_bag(record_dir / self._session)
        self._observer = SessionObserver(
            folder, custom_data, decoder(contract.RECORDED_TOPICS), self._warn
        )
        extra = _topics_of(values['also'])
        self._extra = {topic.name for topic in extra}
        self._recorder = Recorder(
            folder,
            (*contract.RECORDED_TOPICS, *extra),
            custom_data,
            min_free_bytes=values['min_free_mb'] * MEGABYTE,
            max_file_bytes=values['max_bag_mb'] * MEGABYTE,
            written=self._written,
        )
        self._recovery = BackgroundRecovery(record_dir)
        self._state = publisher(self, contract.RECORDER_STATE)
        self._silent_looks = 0
        self._unheard = {topic.name for topic in FRAME_TOPICS}
        self._interrupted_at = 0.0
        # A participant finds another's subscriptions in the order in which they were made: whoever
        # sends images here, which come last, has found all the others.
        for topic in reversed(contract.RECORDED_TOPICS):
            quality = contract.Quality(depth=SUBSCRIPTION_DEPTH, latched=topic.quality.latched)
            self.create_subscription(
                interface(topic.type),
                topic.name,
                self._taker(topic.name),  # type: ignore[arg-type]  # bytes, as it is raw
                profile_of(quality),
                raw=True,
            )
        for topic in extra:
            self.create_subscription(
                interface(topic.type),
                topic.name,
                self._taker(topic.name),  # type: ignore[arg-type]  # bytes, as it is raw
                profile_of(topic.quality),
                raw=True,
            )
        self.create_timer(STATE_PERIOD, self._tell, clock=STEADY_CLOCK)
        self.create_timer(WATCH_PERIOD, self._watch, clock=STEADY_CLOCK)
        # rclpy's own handlers would end the executor at once, and with it the recording.
        uninstall_signal_handlers()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._on_signal)
        self._tell()
        self.get_logger().info(f'recording to {folder}')

    def _taker(self, topic: str) -> Callable[[bytes, Any], None]:
        def take(data: bytes, info: Any) -> None:
            self._silent_looks = 0
            if topic not in self._extra:
                self._observer.number(topic, info['publication_sequence_number'])
            self._recorder.take(topic, data, info['received_timestamp'] or time.time_ns())
            if topic in self._unheard:
                self._unheard.remove(topic)
                if not self._unheard:
                    self._tell()

        return take

    def _written(self, topic: str, data: bytes, time_ns: int) -> None:
        if topic not in self._extra:
            self._observer.written(topic, data, time_ns)

    def _on_signal(self, number: int, frame: Any) -> None:
        if not self._interrupted_at:
            self._interrupted_at, self._silent_looks = time.monotonic(), 0

    def _watch(self) -> None:
        """Every now and then: has the recording failed, or is it to end?"""
        self._pass_on(self._recovery.news())
        if self._recorder.fault:
            # Nobody is to drive unrecorded for longer than this takes to be heard.
            self._tell()
            self.get_logger().error(self._recorder.fault)
            self.exit_code = 1
            self._end()
        elif self._interrupted_at:
            self._silent_looks += 1
            late = time.monotonic() - self._interrupted_at > LONGEST_FAREWELL
            if late or self._silent_looks > QUIET_LOOKS:
                self._end()

    def _end(self) -> None:
        fault = self._recorder.close()
        if fault and not self.exit_code:
            self.get_logger().error(fault)
            self.exit_code = 1
        self._tell()
        self._report()
        # Nothing is left to do but to let the last word be heard.
        self._state.wait_for_all_acked(Duration(seconds=LAST_WORD))
        rclpy.try_shutdown()

    def _report(self) -> None:
        for loss in self._observer.finish(self._recorder.fault):
            self._warn(f'{loss.sentence} in {self._recorder.folder}')

    def _pass_on(self, sentences: list[str]) -> None:
        for sentence in sentences:
            self.get_logger().info(sentence)

    def _warn(self, sentence: str) -> None:
        self.get_logger().warning(sentence)

    def _tell(self) -> None:
        recorder = self._recorder
        state = RecorderState()
        state.header.stamp = self.get_clock().now().to_msg()
        state.recording = not (self._unheard or recorder.fault or recorder.closed)
        state.session = self._session
        state.uri = str(recorder.folder)
        state.messages = recorder.messages
        state.written_bytes = recorder.written_bytes
        state.free_bytes = recorder.free_bytes
        state.message = recorder.fault
        self._state.publish(state)

    def destroy_node(self) -> None:
        """Close the bag, however the node ends."""
        self._pass_on(self._recovery.stop())
        if self._recorder.close():
            self.exit_code = 1
        self._report()
        super().destroy_node()


def decoder(topics: Iterable[contract.Topic]) -> Callable[[str, bytes], Any]:
    """What makes messages of topics and bytes."""
    kinds = {topic.name: interface(topic.type) for topic in topics}
    return lambda topic, data: deserialize_message(data, kinds[topic])


def main() -> None:
    """Entry point."""
    sys.exit(run_node(RecorderNode))
