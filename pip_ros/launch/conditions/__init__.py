# SPDX-License-Identifier: Apache-2.0
"""Conditions of actions."""

from ..unsupported import refuse_other_names
from .if_condition import (
    IfCondition,
    InvalidConditionExpressionError,
    evaluate_condition_expression,
)
from .launch_configuration_equals import LaunchConfigurationEquals, LaunchConfigurationNotEquals
from .unless_condition import UnlessCondition

__getattr__ = refuse_other_names(__name__)

__all__ = [
    'IfCondition',
    'InvalidConditionExpressionError',
    'LaunchConfigurationEquals',
    'LaunchConfigurationNotEquals',
    'UnlessCondition',
    'evaluate_condition_expression',
]
