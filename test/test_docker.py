# SPDX-License-Identifier: Apache-2.0
"""The images, as far as a machine without a container engine can check them."""

from __future__ import annotations

import os
from pathlib import Path
import re
import shutil
import subprocess
import sys
from typing import Any
import xml.etree.ElementTree as ET

import pytest
import yaml

ROOT = Path(__file__).parents[1]
DOCKER = ROOT / 'docker'
GROUPS = Path('/usr/share/base-passwd/group.master')
PATIENCE = 120.0
# A manifest's key -> the distribution's package, where it is not called ros-jazzy-<key>.
SYSTEM = {
    'python3-aiohttp',
    'python3-matplotlib',
    'python3-numpy',
    'python3-opencv',
    'python3-pil',
    'python3-serial',
    'python3-shapely',
    'python3-tqdm',
    'python3-yaml',
}
# What an image has without being asked: the base image's own, and what others depend on.
BASE = {
    'ament_index_python',
    'builtin_interfaces',
    'launch',
    'rcl_interfaces',
    'rclpy',
    'rosidl_default_runtime',
    'sensor_msgs',
    'std_msgs',
    'std_srvs',
}


def run(command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
    """A command's exit code and what it said."""
    return subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=PATIENCE, **options
    )


def instructions() -> list[str]:
    """The Dockerfile's, each in one line."""
    text = re.sub(r'(?m)^\s*#.*\n', '', (DOCKER / 'Dockerfile').read_text())
    return [line for line in text.replace('\\\n', ' ').splitlines() if line.strip()]


def stages() -> dict[str, list[str]]:
    """The instructions of each stage, by name."""
    found: dict[str, list[str]] = {}
    for line in instructions():
        if match := re.fullmatch(r'FROM (\S+) AS (\S+)', line):
            found[match[2]] = [line]
        elif found:
            found[next(reversed(found))].append(line)
    return found


def parent(stage: str) -> str:
    return stages()[stage][0].split()[1]


def image(stage: str) -> list[str]:
    """The instructions of a stage and all that it is from."""
    before = image(parent(stage)) if parent(stage) in stages() else []
    return [*before, *stages()[stage]]


def installed(stage: str) -> set[str]:
    """The distribution's packages in an image."""
    found: set[str] = set()
    for line in image(stage):
        for words in re.findall(r'apt-get install -y --no-install-recommends (.*?) &&', line):
            found |= set(words.split())
    return found


def pins() -> list[str]:
    """The wheels in an image, by the command that the Dockerfile runs."""
    command = [sys.executable, str(ROOT / 'pip_ros' / 'native_packages.py'), '--pins']
    return run(command).stdout.split()


def needed() -> set[str]:
    """What the workspace's manifests ask for to run, but for each other."""
    keys: set[str] = set()
    own = set()
    for manifest in ROOT.glob('src/*/package.xml'):
        root = ET.parse(manifest).getroot()
        own.add(root.findtext('name'))
        for kind in ('depend', 'exec_depend'):
            keys |= {str(entry.text) for entry in root.findall(kind)}
    return keys - own


def services() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((DOCKER / 'compose.yaml').read_text())['services']
    return found


# -- the Dockerfile -------------------------------------------------------------------------------


@pytest.mark.skipif(shutil.which('hadolint') is None, reason='hadolint is not installed')
def test_hadolint_has_nothing_to_say() -> None:
    done = run(['hadolint', str(DOCKER / 'Dockerfile')])
    assert done.returncode == 0, done.stdout


def test_the_base_is_one_tag_and_every_stage_is_from_it() -> None:
    assert 'ARG BASE=ros:jazzy-ros-base-noble' in instructions()
    for stage in stages():
        while parent(stage) in stages():
            stage = parent(stage)  # noqa: PLW2901
        assert parent(stage) == '${BASE}'


@pytest.mark.parametrize('stage', ['wm', 'wm-gpu', 'robot'])
def test_a_session_runs_as_nobody_special(stage: str) -> None:
    users = [line.split()[1] for line in image(stage) if line.startswith('USER ')]
    assert users[-1] == '1000:1000'
    entry = next(line for line in image(stage) if line.startswith('ENTRYPOINT'))
    assert 'entrypoint.sh' in entry


def test_every_file_that_is_copied_is_there_and_not_ignored() -> None:
    kept = [
        line[1:] for line in (ROOT / '.dockerignore').read_text().splitlines() if line[:1] == '!'
    ]
    copied = 0
    for line in instructions():
        if not line.startswith('COPY ') or '--from=' in line:
            continue
        for source in line.split()[1:-1]:
            assert (ROOT / source).exists(), source
            assert any(source == each or source.startswith(f'{each}/') for each in kept), source
            copied += 1
    assert copied >= 5


def test_what_comes_from_other_stages_comes_from_stages_before() -> None:
    known: list[str] = []
    for stage, lines in stages().items():
        for line in lines:
            if match := re.search(r'--from=(\S+)', line):
                assert match[1] in known
        known.append(stage)


def test_every_dependency_of_the_workspace_is_in_the_robots_image() -> None:
    packages = installed('robot')
    for key in needed() - BASE:
        assert not key.endswith('-pip'), f'{key}: rosdep may not write into the system'
        if key in SYSTEM:
            assert key in packages, key
        else:
            jazzy = f'ros-jazzy-{key.replace("_", "-")}'
            known = packages | {'ros-jazzy-action-msgs'}
            assert jazzy in known, f'{key}: {jazzy} is not installed'


def test_the_camera_and_the_servos_are_in_the_robots_image_alone() -> None:
    for package in ('ros-jazzy-realsense2-camera', 'ros-jazzy-dynamixel-sdk'):
        assert package in installed('robot')
        assert package not in installed('wm') | installed('wm-gpu')


@pytest.mark.skipif(not GROUPS.is_file(), reason='no Debian')
def test_the_user_has_no_name_that_the_distribution_has_given_to_a_group() -> None:
    """`useradd` would refuse to make that group."""
    groups = {line.split(':')[0] for line in GROUPS.read_text().splitlines()}
    (made,) = re.findall(r'useradd .*?(\S+) +&&', '\n'.join(stages()['base']))
    assert made not in groups


def test_no_wheel_is_put_in_the_place_of_what_the_distribution_installed() -> None:
    """Its packages have no list of their files: pip would stop there."""
    commands = re.findall(r'python3 -m pip install .*?--requirement', '\n'.join(instructions()))
    assert len(commands) == 3
    for command in commands:
        assert '--ignore-installed' in command and '/tmp/constraints.txt' in command


def test_a_workstation_is_told_to_keep_to_what_its_packages_can_bear() -> None:
    # A Python without any packages lacks them all.
    done = run([sys.executable, '-I', '-S', str(ROOT / 'pip_ros' / 'native_packages.py')])
    assert done.returncode == 1
    apt, pip = done.stdout.split(' && ')
    assert {'python3-pip', 'ros-jazzy-ros2bag'} <= set(apt.split())
    words = pip.split()
    constraints = Path(words[words.index('--constraint') + 1]).read_text()
    assert {'numpy<2', 'setuptools<80'} <= set(constraints.splitlines())


@pytest.mark.skipif(shutil.which('apt-cache') is None, reason='no Debian')
def test_the_distributions_own_packages_have_these_names() -> None:
    """Those of Debian and Ubuntu, which agree in them; the ROS repository is not known here."""
    names = sorted(
        name for name in installed('robot') | installed('workspace') if name.startswith('python3-')
    )
    ours = [name for name in names if name != 'python3-colcon-common-extensions']
    done = run(['apt-cache', 'show', '--no-all-versions', *ours])
    if 'Package: ' not in done.stdout:
        pytest.skip('there are no lists of packages here')
    assert set(re.findall(r'(?m)^Package: (\S+)', done.stdout)) == set(ours)


def test_every_pin_can_be_had() -> None:
    # The index may not be reachable; then it says nothing about the pins.
    command = [sys.executable, '-m', 'pip', 'install', '--dry-run', '--ignore-installed']
    done = run([*command, '--no-deps', '--disable-pip-version-check', *pins()])
    if done.returncode and 'No matching distribution' not in done.stderr:
        pytest.skip('the package index cannot be reached')
    assert done.returncode == 0, done.stderr[-2000:]


# -- compose --------------------------------------------------------------------------------------


def test_each_profile_has_its_image() -> None:
    assert set(services()) == {'wm', 'wm-gpu', 'robot'}
    for name, service in services().items():
        assert service['profiles'] == [name]
        assert service['build']['target'] == name and name in stages()
        assert (DOCKER / service['build']['context'] / service['build']['dockerfile']).is_file()
        # As Ctrl-C: the recorder closes its bag, and the torque goes off.
        assert service['stop_signal'] == 'SIGINT'
        assert not service.get('privileged') and service['cap_drop'] == ['ALL']
        assert 'devices' not in service, 'devices are named in a file of their own'


def test_only_the_gpu_profile_asks_for_one() -> None:
    asking = [name for name, service in services().items() if 'deploy' in service]
    assert asking == ['wm-gpu']


def test_the_devices_that_are_passed_are_those_that_were_named() -> None:
    """On devices that every machine has; a second name of one is one device."""
    done = run(['bash', str(DOCKER / 'devices.sh'), '/dev/tty', '/dev/null', '/dev/null'])
    assert done.returncode == 0, done.stderr
    robot = yaml.safe_load(done.stdout)['services']['robot']
    assert robot['devices'] == ['/dev/tty:/dev/arm', '/dev/null:/dev/null']
    groups = {Path(node).stat().st_gid for node in ('/dev/tty', '/dev/null')}
    assert {int(each) for each in robot['group_add']} == groups


@pytest.mark.parametrize(
    ('arguments', 'code', 'sentence'),
    [
        ([], 2, "name the arm's serial port"),
        (['/dev/nowhere'], 1, '/dev/nowhere is not a device; plug it in'),
    ],
)
def test_devices_that_cannot_be_passed_get_a_sentence(
    arguments: list[str], code: int, sentence: str
) -> None:
    done = run(['bash', str(DOCKER / 'devices.sh'), *arguments])
    assert done.returncode == code and sentence in done.stderr and not done.stdout


# -- the entry point ------------------------------------------------------------------------------


def test_the_entry_point_knows_the_workspace_and_becomes_the_command(tmp_path: Path) -> None:
    setup, workspace = tmp_path / 'setup.bash', tmp_path / 'workspace.bash'
    setup.write_text('echo "$NOT_SET" >/dev/null\nexport FROM_SETUP=one\n')
    workspace.write_text('export FROM_WORKSPACE="$FROM_SETUP two"\n')
    script = 'echo "$FROM_WORKSPACE $ROS_AUTOMATIC_DISCOVERY_RANGE $$ $0 $1"; exit 7'
    process = subprocess.Popen(
        ['bash', str(DOCKER / 'entrypoint.sh'), 'bash', '-c', script, 'name', 'an argument'],
        env={
            'PATH': os.environ['PATH'],
            'ROS_SETUP': str(setup),
            'WORKSPACE_SETUP': str(workspace),
        },
        stdout=subprocess.PIPE,
        text=True,
    )
    said, _ = process.communicate(timeout=PATIENCE)
    assert said == f'one two LOCALHOST {process.pid} name an argument\n', 'and it is one process'
    assert process.returncode == 7


def test_an_entry_point_without_a_workspace_says_so(tmp_path: Path) -> None:
    done = run(
        ['bash', str(DOCKER / 'entrypoint.sh'), 'true'],
        env={'PATH': os.environ['PATH'], 'ROS_SETUP': str(tmp_path / 'none')},
    )
    assert done.returncode == 1 and f'there is no {tmp_path}/none' in done.stderr
