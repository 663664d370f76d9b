# SPDX-License-Identifier: Apache-2.0
"""The quality of service stored with a topic: `QoS`, its enums, and rclpy's profile of it."""

from __future__ import annotations

import copy
from enum import IntEnum
from typing import TYPE_CHECKING, Any

from rosbags.interfaces import (
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)

if TYPE_CHECKING:
    from rclpy.qos import QoSProfile

NANOSECONDS = 10**9


class rmw_qos_history_policy_t(IntEnum):  # noqa: N801 - the name is the interface
    """History policies, numbered as in rmw."""

    RMW_QOS_POLICY_HISTORY_SYSTEM_DEFAULT = 0
    RMW_QOS_POLICY_HISTORY_KEEP_LAST = 1
    RMW_QOS_POLICY_HISTORY_KEEP_ALL = 2
    RMW_QOS_POLICY_HISTORY_UNKNOWN = 3


class rmw_qos_reliability_policy_t(IntEnum):  # noqa: N801
    """Reliability policies, numbered as in rmw."""

    RMW_QOS_POLICY_RELIABILITY_SYSTEM_DEFAULT = 0
    RMW_QOS_POLICY_RELIABILITY_RELIABLE = 1
    RMW_QOS_POLICY_RELIABILITY_BEST_EFFORT = 2
    RMW_QOS_POLICY_RELIABILITY_UNKNOWN = 3


class rmw_qos_durability_policy_t(IntEnum):  # noqa: N801
    """Durability policies, numbered as in rmw."""

    RMW_QOS_POLICY_DURABILITY_SYSTEM_DEFAULT = 0
    RMW_QOS_POLICY_DURABILITY_TRANSIENT_LOCAL = 1
    RMW_QOS_POLICY_DURABILITY_VOLATILE = 2
    RMW_QOS_POLICY_DURABILITY_UNKNOWN = 3


class rmw_qos_liveliness_policy_t(IntEnum):  # noqa: N801
    """Liveliness policies, numbered as in rmw."""

    RMW_QOS_POLICY_LIVELINESS_SYSTEM_DEFAULT = 0
    RMW_QOS_POLICY_LIVELINESS_AUTOMATIC = 1
    RMW_QOS_POLICY_LIVELINESS_MANUAL_BY_TOPIC = 3
    RMW_QOS_POLICY_LIVELINESS_UNKNOWN = 4


class Duration:
    """A span of time for the QoS policies."""

    def __init__(self, seconds: int, nanoseconds: int) -> None:
        self.time = QosTime(int(seconds), int(nanoseconds))


class QoS:
    """The policies of one publisher, set by chained calls: `QoS(1).reliable().transient_local()`.

    As upstream, a call changes this object and returns a copy of it.
    """

    def __init__(self, history_depth: int) -> None:
        none = QosTime(0, 0)
        self.policies = Qos(
            QosHistory.KEEP_LAST,
            int(history_depth),
            QosReliability.RELIABLE,
            QosDurability.VOLATILE,
            none,
            none,
            QosLiveliness.SYSTEM_DEFAULT,
            none,
            False,
        )

    @classmethod
    def from_policies(cls, policies: Qos) -> QoS:
        """Wrap the policies as `rosbags` reads and writes them."""
        qos = cls(policies.depth)
        qos.policies = policies
        return qos

    def _set(self, **changes: Any) -> QoS:
        self.policies = self.policies._replace(**changes)
        return copy.copy(self)

    def keep_last(self, depth: int) -> QoS:
        """Keep the last `depth` messages."""
        return self._set(history=QosHistory.KEEP_LAST, depth=int(depth))

    def keep_all(self) -> QoS:
        """Keep every message."""
        return self._set(history=QosHistory.KEEP_ALL, depth=0)

    def reliable(self) -> QoS:
        """Deliver every message."""
        return self._set(reliability=QosReliability.RELIABLE)

    def best_effort(self) -> QoS:
        """Never send a message twice."""
        return self._set(reliability=QosReliability.BEST_EFFORT)

    def durability_volatile(self) -> QoS:
        """Keep nothing for late subscribers."""
        return self._set(durability=QosDurability.VOLATILE)

    def transient_local(self) -> QoS:
        """Give late subscribers the last messages."""
        return self._set(durability=QosDurability.TRANSIENT_LOCAL)

    def history(self, policy: rmw_qos_history_policy_t) -> QoS:
        """Set the history policy by its number in rmw."""
        return self._set(history=QosHistory(int(policy)))

    def reliability(self, policy: rmw_qos_reliability_policy_t) -> QoS:
        """Set the reliability policy by its number in rmw."""
        return self._set(reliability=QosReliability(int(policy)))

    def durability(self, policy: rmw_qos_durability_policy_t) -> QoS:
        """Set the durability policy by its number in rmw."""
        return self._set(durability=QosDurability(int(policy)))

    def liveliness(self, policy: rmw_qos_liveliness_policy_t) -> QoS:
        """Set the liveliness policy by its number in rmw."""
        return self._set(liveliness=QosLiveliness(int(policy)))

    def deadline(self, duration: Duration) -> QoS:
        """Set the longest time between two messages."""
        return self._set(deadline=duration.time)

    def lifespan(self, duration: Duration) -> QoS:
        """Set the age at which a message is dropped."""
        return self._set(lifespan=duration.time)

    def liveliness_lease_duration(self, duration: Duration) -> QoS:
        """Set the silence after which a publisher counts as gone."""
        return self._set(liveliness_lease_duration=duration.time)

    def avoid_ros_namespace_conventions(self, avoid: bool) -> QoS:
        """Set whether the middleware's topic goes without ROS's prefix."""
        return self._set(avoid_ros_namespace_conventions=bool(avoid))


def convert_rclcpp_qos_to_rclpy_qos(qos: QoS) -> QoSProfile:
    """Return the rclpy profile of the same policies."""
    from rclpy.duration import Duration as RclpyDuration  # noqa: PLC0415
    from rclpy.qos import (  # noqa: PLC0415
        DurabilityPolicy,
        HistoryPolicy,
        LivelinessPolicy,
        QoSProfile,
        ReliabilityPolicy,
    )

    def span(time: QosTime) -> RclpyDuration:
        return RclpyDuration(nanoseconds=min(time.sec * NANOSECONDS + time.nsec, 2**63 - 1))

    policies = qos.policies
    return QoSProfile(
        history=HistoryPolicy(policies.history.value),
        depth=policies.depth,
        reliability=ReliabilityPolicy(policies.reliability.value),
        durability=DurabilityPolicy(policies.durability.value),
        deadline=span(policies.deadline),
        lifespan=span(policies.lifespan),
        liveliness=LivelinessPolicy(policies.liveliness.value),
        liveliness_lease_duration=span(policies.liveliness_lease_duration),
        avoid_ros_namespace_conventions=policies.avoid_ros_namespace_conventions,
    )
