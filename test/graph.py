# SPDX-License-Identifier: Apache-2.0
"""The live graph as data: who offers and who uses which topic and service, of which type."""

from __future__ import annotations

from typing import Any, NamedTuple

from rclpy.node import Node

# What every node has for itself, and what the middleware keeps for itself.
PRIVATE = ('/rosout', '/parameter_events')
PARAMETER_SERVICES = (
    'describe_parameters',
    'get_parameter_types',
    'get_parameters',
    'get_type_description',
    'list_parameters',
    'set_parameters',
    'set_parameters_atomically',
)


class Endpoint(NamedTuple):
    """One end of a topic or a service.

    Attributes:
        node: Whose.
        kind: publisher, subscription, server or client.
        name: Of the topic or the service.
        type: As 'package/msg/Name'.
        quality: Reliability and durability; empty for services.
    """

    node: str
    kind: str
    name: str
    type: str
    quality: tuple[str, ...] = ()


def graph_seen_by(node: Node) -> frozenset[Endpoint]:
    """Every end of every node but `node`, as far as it has been found."""
    found: set[Endpoint] = set()
    for name, _ in node.get_topic_names_and_types(no_demangle=False):
        if name in PRIVATE:
            continue
        for kind, infos in (
            ('publisher', node.get_publishers_info_by_topic(name)),
            ('subscription', node.get_subscriptions_info_by_topic(name)),
        ):
            found |= {
                Endpoint(info.node_name, kind, name, info.topic_type, _quality(info.qos_profile))
                for info in infos
                if info.node_name != node.get_name()
            }
    for owner, namespace in node.get_node_names_and_namespaces():
        if owner == node.get_name():
            continue
        for kind, offered in (
            ('server', node.get_service_names_and_types_by_node(owner, namespace)),
            ('client', node.get_client_names_and_types_by_node(owner, namespace)),
        ):
            found |= {
                Endpoint(owner, kind, name, kinds[0])
                for name, kinds in offered
                if name.rpartition('/')[2] not in PARAMETER_SERVICES
            }
    return frozenset(found)


def _quality(profile: Any) -> tuple[str, ...]:
    return profile.reliability.name, profile.durability.name
