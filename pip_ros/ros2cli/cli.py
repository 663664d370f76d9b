# SPDX-License-Identifier: Apache-2.0
"""The `ros2` command: dispatch to the module of the verb, `ros2cli.<verb>`.

Such a module has `add_arguments(parser)` and `run(args) -> int`. It is imported only when its verb
is asked for. A RuntimeError of `run` is a user's mistake: its sentence is printed, no traceback.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from importlib import import_module
import os
import signal
import sys

VERBS = {
    'bag': 'look into bags and play them (info, play)',
    'launch': 'run a launch file',
    'run': "run a package's executable",
    'service': 'call services (call)',
    'topic': 'look at topics (list, echo, hz)',
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run `ros2` with the arguments and return its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # A shell without job control starts background commands so; the verbs end on SIGINT.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if not arguments or arguments[0] in ('-h', '--help'):
        print('usage: ros2 VERB ...\n')
        print('\n'.join(f'  {verb:8} {does}' for verb, does in VERBS.items()))
        print('\nros2 VERB --help says more.')
        return 0
    verb = arguments[0]
    if verb not in VERBS:
        print(
            f"ros2: '{verb}' is not part of the stand-in of pip_ros, which has "
            f'{", ".join(VERBS)}; a ROS 2 Jazzy installation has the rest',
            file=sys.stderr,
        )
        return 2
    module = import_module(f'ros2cli.{verb}')
    parser = argparse.ArgumentParser(prog=f'ros2 {verb}', description=VERBS[verb])
    module.add_arguments(parser)
    try:
        return int(module.run(parser.parse_args(arguments[1:])))
    except RuntimeError as error:
        print(f'ros2 {verb}: {error}', file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except BrokenPipeError:
        # The reader went away (`ros2 ... | head`); what is still buffered has nowhere to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
