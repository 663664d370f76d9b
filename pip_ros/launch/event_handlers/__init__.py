# SPDX-License-Identifier: Apache-2.0
"""What to do when something happens."""

from ..unsupported import refuse_other_names
from .on_process_event import OnProcessExit, OnProcessStart
from .on_shutdown import OnShutdown

__getattr__ = refuse_other_names(__name__)

__all__ = ['OnProcessExit', 'OnProcessStart', 'OnShutdown']
