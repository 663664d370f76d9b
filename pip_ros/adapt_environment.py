# SPDX-License-Identifier: Apache-2.0
"""Makes an environment of ROS wheels fit for building; setup.sh runs it with that Python.

Two things are needed beyond what pip does:

1. The wheels' exported CMake targets carry the header paths of the machine that built them; they
   are replaced by this environment's.
2. The stand-ins of `pip_ros/` go onto the import path by a `.pth` file. Such paths come last, so a
   real package of the same name always wins.
"""

from __future__ import annotations

from pathlib import Path
import re
import stat
import sys
import sysconfig

import numpy

HERE = Path(__file__).resolve().parent
COMMANDS = {'ros2': 'ros2cli.cli'}


def replace_header_paths(prefix: Path) -> int:
    """Point exported CMake targets at this interpreter's headers; returns the files changed."""
    changed = 0
    for path in prefix.glob('share/*/cmake/export_*__rosidl_generator_pyExport.cmake'):
        text = path.read_text()
        fixed = re.sub(
            r'/opt/python/cp\d+[^;"]*?/site-packages/numpy/_core/include', numpy.get_include(), text
        )
        fixed = re.sub(
            r'/opt/python/cp\d+[^;"]*?/include/python[\d.]+', sysconfig.get_path('include'), fixed
        )
        if fixed != text:
            path.write_text(fixed)
            changed += 1
    return changed


def add_stand_ins(prefix: Path) -> None:
    """Put `pip_ros/` last on the import path and its commands into the environment's `bin`."""
    site = Path(sysconfig.get_path('purelib'))
    (site / 'zz_pip_ros.pth').write_text(f'{HERE}\n')
    for name, module in COMMANDS.items():
        script = prefix / 'bin' / name
        script.write_text(
            f'#!{prefix}/bin/python\nimport sys\nfrom {module} import main\nsys.exit(main())\n'
        )
        script.chmod(script.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)


if __name__ == '__main__':
    environment = Path(sys.prefix)
    count = replace_header_paths(environment)
    add_stand_ins(environment)
    print(f'  adapted {count} CMake files, added the stand-ins')
