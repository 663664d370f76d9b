# SPDX-License-Identifier: Apache-2.0
"""The physical arm as a rig where there is none: its node, an emulated bus, and a simulated table
under the vendor's software camera, whose pictures the adapter makes the task's frames of.

`python -m test.dynamixel_rig` takes the arm's own arguments. The arm's file is the reference arm's
with longer patience, since a test must not depend on how busy the machine is.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
import subprocess
import sys
import tempfile

import yaml

from hiwm_robot.camera.adapter_file import write_adapter_file
from test import software_camera

CONFIG = Path(__file__).parents[1] / 'src' / 'hiwm_robot' / 'config' / 'reference_arm.yaml'
# On the plane, above its middle.
READY = ('0', '-1.0036', '1.9831', '0.5913', '0', '0')
RUN = ['ros2', 'run', 'hiwm_robot']


def patient_arm(folder: Path, config: Path = CONFIG) -> Path:
    """A shipped arm's file, but for its times and its port, which is `folder/port`."""
    data = yaml.safe_load(config.read_text())
    data['urdf'] = str(config.with_name(data['urdf']))
    data['port'] = str(folder / 'port')
    data['rate'] = 25
    data['safety'] |= {'watchdog': 5.0, 'bus_watchdog': 2.5}
    path = folder / 'arm.yaml'
    path.write_text(yaml.safe_dump(data))
    return path


@contextmanager
def camera(arm: Path, folder: Path) -> Iterator[None]:
    """The camera over a table under the arm's tool."""
    file = folder / 'camera.yaml'
    write_adapter_file(file, software_camera.CAMERA, '')
    settings = software_camera.parameters(arm, file).items()
    words = [word for name, value in settings for word in ('-p', f'{name}:={value}')]
    process = subprocess.Popen(
        [sys.executable, '-m', 'test.software_camera', str(file), '--ros-args', *words]
    )
    try:
        yield
    finally:
        process.terminate()
        process.wait(30.0)


@contextmanager
def emulator(arm: Path, link: Path) -> Iterator[subprocess.Popen[str]]:
    """The arm's servos behind the port `link`, once it is there."""
    process = subprocess.Popen(
        [*RUN, 'bus_emulator', '--config', str(arm), '--link', str(link), '--angles', *READY],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        # An interrupt of the whole session must not take the servos away before the arm has ended.
        process_group=0,
    )
    assert process.stdin is not None and process.stdout is not None
    try:
        assert process.stdout.readline().strip() == str(link)
        yield process
    finally:
        process.stdin.close()
        process.terminate()
        process.wait(30.0)


def main() -> int:
    """Run until the arm's node ends; its exit code."""
    with tempfile.TemporaryDirectory(prefix='hiwm-dynamixel-') as folder:
        arm = patient_arm(Path(folder))
        with emulator(arm, Path(folder) / 'port'), camera(arm, Path(folder)):
            node = subprocess.Popen(
                [
                    *RUN,
                    'dynamixel_arm',
                    '--ros-args',
                    '-p',
                    f'arm:={arm}',
                    '-p',
                    'reset_moves_arm:=true',
                    '-p',
                    'camera_timeout:=10.0',
                    *sys.argv[1:],
                ]
            )
            while True:
                try:
                    return node.wait()
                except KeyboardInterrupt:
                    # The node has got it too, and ends.
                    continue


if __name__ == '__main__':
    sys.exit(main())
