# SPDX-License-Identifier: Apache-2.0
"""Handling of lists of substitutions."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ..launch_context import LaunchContext
from ..some_substitutions_type import SomeSubstitutionsType
from ..substitution import Substitution
from ..substitutions.text_substitution import TextSubstitution


class SubstitutionList(list[Substitution]):
    """Substitutions that form one text."""

    def describe(self) -> str:
        """Describe them without a context."""
        return ' + '.join(sub.describe() for sub in self)

    def perform(self, context: LaunchContext) -> str:
        """Perform each and join the results."""
        return perform_substitutions(context, self)


def normalize_to_list_of_substitutions(subs: SomeSubstitutionsType) -> SubstitutionList:
    """Make a list of substitutions from text, a substitution, or a sequence of both.

    Raises:
        TypeError: something in it is neither text nor a substitution.
    """
    if isinstance(subs, (str, Path)):
        return SubstitutionList([TextSubstitution(text=str(subs))])
    if isinstance(subs, Substitution):
        return SubstitutionList([subs])
    if not isinstance(subs, Iterable):
        raise TypeError(f"expected text or a substitution, got '{subs}' ({type(subs).__name__})")
    result = SubstitutionList()
    for sub in subs:
        if not isinstance(sub, (str, Path, Substitution)):
            raise TypeError(f"expected text or a substitution, got '{sub}' ({type(sub).__name__})")
        result.extend(normalize_to_list_of_substitutions(sub))  # type: ignore[arg-type]
    return result


def perform_substitutions(context: LaunchContext, subs: Iterable[Substitution]) -> str:
    """Perform each substitution and join the results."""
    return ''.join(context.perform_substitution(sub) for sub in subs)
