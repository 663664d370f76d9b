# SPDX-License-Identifier: Apache-2.0
"""Each package's manifest asks for what the package imports, and for nothing else."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
import sys
from xml.etree import ElementTree

import pytest

SOURCES = Path(__file__).parents[1] / 'src'
PACKAGES = sorted(manifest.parent.name for manifest in SOURCES.glob('*/package.xml'))
# Modules that no distribution has at a usable version: docker/requirements.txt installs them.
FROM_PIP = {
    *('torch', 'diffusers', 'safetensors', 'rosbags', 'mujoco', 'gym_pusht', 'pyrealsense2'),
    *('playwright', 'lerobot', 'datasets', 'huggingface_hub'),
}
NAMES = {'cv2': 'python3-opencv', 'PIL': 'python3-pil'}
PYTHON = {'aiohttp', 'matplotlib', 'numpy', 'pytest', 'serial', 'shapely', 'tqdm', 'yaml'}
# What is started or loaded, and not imported.
STARTED = {
    'hiwm_bringup': {'hiwm_world_model', 'hiwm_policy', 'hiwm_intervention', 'hiwm_robot'},
    'hiwm_core': {'rosbag2_storage_mcap'},
}


def imported(folders: list[Path]) -> Iterator[str]:
    """The modules, by their first name, that no package of Python's own and no sibling is."""
    files = [file for folder in folders for file in folder.rglob('*.py')]
    siblings = {file.stem for folder in SOURCES.glob('*/test') for file in folder.glob('*.py')}
    for file in files:
        for node in ast.walk(ast.parse(file.read_text())):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
                names = [node.module]
            for name in names:
                first = name.partition('.')[0]
                if first not in sys.stdlib_module_names | siblings | FROM_PIP:
                    yield first


def keys_of(modules: Iterator[str]) -> set[str]:
    """As manifests call them."""
    return {
        NAMES.get(module, f'python3-{module}' if module in PYTHON else module) for module in modules
    }


def asked_for(package: str, *kinds: str) -> set[str]:
    root = ElementTree.parse(SOURCES / package / 'package.xml').getroot()
    return {str(one.text) for kind in kinds for one in root.findall(kind)}


@pytest.mark.parametrize('package', [name for name in PACKAGES if name != 'hiwm_msgs'])
def test_what_runs_is_asked_for(package: str) -> None:
    folders = [SOURCES / package / package, SOURCES / package / 'launch']
    needed = keys_of(imported(folders)) - {package}
    assert asked_for(package, 'exec_depend') == needed | STARTED.get(package, set())


@pytest.mark.parametrize('package', [name for name in PACKAGES if name != 'hiwm_msgs'])
def test_what_the_tests_need_is_asked_for(package: str) -> None:
    needed = keys_of(imported([SOURCES / package / 'test'])) - {package}
    # Tests also use what lies in the repository's own test folder.
    assert needed - {'test'} <= asked_for(package, 'exec_depend', 'test_depend')
