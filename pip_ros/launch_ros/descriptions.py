# SPDX-License-Identifier: Apache-2.0
"""Descriptions of what belongs to nodes."""

from launch.unsupported import refuse_other_names

from .parameter_descriptions import ParameterFile, ParameterValue

__getattr__ = refuse_other_names(__name__)

__all__ = ['ParameterFile', 'ParameterValue']
