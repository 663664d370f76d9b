# SPDX-License-Identifier: Apache-2.0
"""Describes and runs systems of processes: the part of ROS 2 Jazzy's launch that is used here.

It stands in where the real package is missing. Names, arguments and behaviour are upstream's; what
it leaves out is refused with a sentence that names it.
"""

from . import substitutions  # noqa: I001  (first: the other modules build on its text substitution)
from . import actions, conditions, event_handlers, events, launch_description_sources, logging
from .action import Action
from .condition import Condition
from .event import Event
from .event_handler import EventHandler
from .launch_context import LaunchContext
from .launch_description import LaunchDescription
from .launch_description_entity import LaunchDescriptionEntity
from .launch_description_source import LaunchDescriptionSource
from .launch_service import LaunchService
from .some_substitutions_type import SomeSubstitutionsType
from .substitution import Substitution
from .unsupported import refuse_other_names

__getattr__ = refuse_other_names(__name__)

__all__ = [
    'Action',
    'Condition',
    'Event',
    'EventHandler',
    'LaunchContext',
    'LaunchDescription',
    'LaunchDescriptionEntity',
    'LaunchDescriptionSource',
    'LaunchService',
    'SomeSubstitutionsType',
    'Substitution',
    'actions',
    'conditions',
    'event_handlers',
    'events',
    'launch_description_sources',
    'logging',
    'substitutions',
]
