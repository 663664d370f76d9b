# SPDX-License-Identifier: Apache-2.0
"""Where launch's own lines and the output of its processes go: the screen and `launch.log`.

The log folder is `$ROS_LOG_DIR`, else `$ROS_HOME/log`, else `~/.ros/log`; each launch makes one of
its own below it.
"""

from __future__ import annotations

import contextlib
from datetime import datetime
from logging import DEBUG, INFO, Formatter, Handler, Logger, LogRecord
import os
from pathlib import Path
import socket
import sys
from typing import TextIO

from .unsupported import sentence

BOTH = frozenset({'screen', 'log'})
#: Which sinks an output configuration writes stdout and stderr to.
OUTPUTS: dict[str, tuple[frozenset[str], frozenset[str]]] = {
    'screen': (frozenset({'screen'}), frozenset({'screen'})),
    'log': (frozenset({'log'}), BOTH),
    'both': (BOTH, BOTH),
}


class LaunchConfig:
    """The level, the log folder and the log file of this process."""

    def __init__(self) -> None:
        self.level = INFO
        self._log_dir: str | None = None
        self._log: TextIO | None = None

    @property
    def log_dir(self) -> str:
        """The folder of this launch's log, made when first asked for.

        Raises:
            OSError: it cannot be made; the message says how to choose another.
        """
        if self._log_dir is None:
            home = Path(os.environ.get('ROS_HOME') or Path.home() / '.ros')
            base = Path(os.environ.get('ROS_LOG_DIR') or home / 'log').expanduser()
            stamp = datetime.now().strftime('%Y-%m-%d-%H-%M-%S-%f')
            path = base / f'{stamp}-{socket.gethostname()}-{os.getpid()}'
            try:
                path.mkdir(parents=True)
            except OSError as error:
                raise OSError(
                    f"the launch log folder '{path}' cannot be made ({error.strerror}); "
                    f'set ROS_LOG_DIR to a folder that can be written'
                ) from None
            self._log_dir = str(path)
        return self._log_dir

    def write_log(self, line: str) -> None:
        """Append a line to `launch.log`."""
        if self._log is None:
            path = Path(self.log_dir) / 'launch.log'
            self._log = path.open('a', encoding='utf-8', errors='backslashreplace')
        self._log.write(line + '\n')
        self._log.flush()

    def write_screen(self, line: str) -> None:
        """Write a line to the standard output of the moment."""
        sys.stdout.write(line + '\n')
        sys.stdout.flush()


launch_config = LaunchConfig()


class SinkHandler(Handler):
    """Writes each record to the screen, the log, or both."""

    def __init__(self, sinks: frozenset[str], line: str) -> None:
        super().__init__()
        self._sinks = sinks
        self.setFormatter(Formatter(line, style='{'))

    def emit(self, record: LogRecord) -> None:
        line = self.format(record)
        # A reader that went away (a closed pipe or terminal) or a full disk must not stop a
        # running system, and must not keep the line from the other sink.
        if 'screen' in self._sinks:
            with contextlib.suppress(OSError, ValueError):
                launch_config.write_screen(line)
        if 'log' in self._sinks:
            with contextlib.suppress(OSError, ValueError):
                launch_config.write_log(f'{record.created:.7f} {line}')


def _logger(name: str, sinks: frozenset[str], line: str) -> Logger:
    logger = Logger(name, launch_config.level)
    logger.addHandler(SinkHandler(sinks, line))
    return logger


def get_logger(name: str = 'launch') -> Logger:
    """Return a logger of launch's own lines: `[LEVEL] [name]: message`."""
    return _logger(name, BOTH, '[{levelname}] [{name}]: {message}')


def get_output_loggers(name: str, output: str | dict[str, str]) -> tuple[Logger, Logger]:
    """Return the loggers of a process's stdout and stderr: `[name] line`.

    Args:
        name: the process's name.
        output: 'screen', 'log' (stderr goes to the screen as well), 'both', or a dictionary of
            'stdout', 'stderr' and 'both' to 'screen' or 'log'.

    Raises:
        ValueError: another configuration.
    """
    if isinstance(output, str):
        if output not in OUTPUTS:
            raise ValueError(sentence(f"the output configuration '{output}'"))
        stdout, stderr = OUTPUTS[output]
    else:
        for stream, sink in output.items():
            if stream not in ('stdout', 'stderr', 'both') or sink not in BOTH:
                raise ValueError(sentence(f"the output configuration '{stream}: {sink}'"))
        stdout = frozenset(output[key] for key in ('stdout', 'both') if key in output)
        stderr = frozenset(output[key] for key in ('stderr', 'both') if key in output)
    return _logger(name, stdout, '[{name}] {message}'), _logger(name, stderr, '[{name}] {message}')


def set_debug(debug: bool) -> None:
    """Choose between INFO and DEBUG."""
    launch_config.level = DEBUG if debug else INFO
