# SPDX-License-Identifier: Apache-2.0
"""A name that no other launch has."""

from __future__ import annotations

import os
import random
import sys

from ..launch_context import LaunchContext
from ..some_substitutions_type import SomeSubstitutionsType
from ..substitution import Substitution
from ..utilities import normalize_to_list_of_substitutions


class AnonName(Substitution):
    """The name with process and random number appended; the same name gives the same text."""

    def __init__(self, name: SomeSubstitutionsType) -> None:
        self.name = normalize_to_list_of_substitutions(name)

    def describe(self) -> str:
        return f'AnonName({self.name.describe()})'

    def perform(self, context: LaunchContext) -> str:
        name = self.name.perform(context)
        known = context.launch_configurations.setdefault('anon', {})
        if name not in known:
            known[name] = f'{name}_{os.getpid()}_{random.randint(0, sys.maxsize)}'
        return str(known[name])
