# SPDX-License-Identifier: Apache-2.0
"""The documents say what the files say, their links lead somewhere, and all are soon found."""

from __future__ import annotations

from pathlib import Path
import re

import numpy as np
import pytest
import yaml

from hiwm_robot.dynamixel.arm_config import read_arm
from hiwm_robot.dynamixel.control_table import MODELS
from hiwm_robot.dynamixel.kinematics import Kinematics

ROOT = Path(__file__).parents[1]
DOCS = sorted(path.relative_to(ROOT) for path in (ROOT / 'docs').glob('*.md'))
READMES = [Path('README.md'), *(p.relative_to(ROOT) for p in ROOT.glob('src/*/README.md'))]
PAGES = [*DOCS, *READMES, Path('docker/README.md'), Path('bench/README.md')]
LINK = re.compile(r'\]\(([^)#\s]*)(?:#([^)\s]*))?\)')
CHOICE = re.compile(r'\{([^{}]*)\}')
CONFIG = ROOT / 'src' / 'hiwm_robot' / 'config'
PARTS = (ROOT / 'docs' / 'arm_parts.md').read_text()
FIRST = (ROOT / 'docs' / 'arm_first_motion.md').read_text()
ONE_PAGE = 70  # lines


def links(page: Path) -> list[tuple[Path, str]]:
    """Where a page leads within the repository: file and heading."""
    found = []
    for target, heading in LINK.findall((ROOT / page).read_text()):
        if '://' in target:
            continue
        file = (ROOT / page.parent / target).resolve() if target else ROOT / page
        found.append((file.relative_to(ROOT), heading))
    return found


def headings(page: Path) -> set[str]:
    """As a link names them."""
    lines = re.findall(r'(?m)^#+ (.+)$', (ROOT / page).read_text())
    return {re.sub(r'[^\w\- ]', '', line.lower()).replace(' ', '-') for line in lines}


def rows(text: str, title: str) -> list[list[str]]:
    """The cells of the first table under a heading, without its head."""
    section = text.split(f'## {title}\n', 1)[1].split('\n## ', 1)[0]
    lines = [line for line in section.splitlines() if line.startswith('|')]
    end = next((n for n, line in enumerate(lines) if n > 1 and set(line) <= set('|- ')), len(lines))
    return [[cell.strip() for cell in line.strip('|').split('|')] for line in lines[2 : end - 1]]


@pytest.mark.parametrize('page', PAGES, ids=str)
def test_every_link_leads_somewhere(page: Path) -> None:
    for file, heading in links(page):
        assert (ROOT / file).exists(), f'{page} leads to {file}'
        assert not heading or heading in headings(file), f'{page} leads to {file}#{heading}'


def test_every_document_is_two_hops_from_the_front_page() -> None:
    reached = {Path('README.md')}
    for _ in range(2):
        reached |= {file for page in reached if page.suffix == '.md' for file, _ in links(page)}
    assert set(DOCS) <= reached


def test_the_parts_are_those_of_the_arms_file() -> None:
    arm = read_arm(CONFIG / 'reference_arm.yaml')
    listed = {row[0]: row for row in rows(PARTS, 'The follower')}
    assert list(listed) == list(arm.names)
    for joint in arm.joints:
        _, number, model, current, *_ = listed[joint.name]
        assert (int(number), model) == (joint.servo, joint.model.name)
        assert float(current) == joint.current_limit


def test_what_is_to_be_bought_is_what_the_arms_need() -> None:
    for name, title in (('reference_arm', 'The follower'), ('reference_leader', 'The leader')):
        section = PARTS.split(f'## {title}\n', 1)[1].split('\n## ', 1)[0]
        config = yaml.safe_load((CONFIG / f'{name}.yaml').read_text())
        used = [joint['model'] for joint in config['joints']]
        for model in MODELS:
            match = re.search(rf'\| {model}-T \| (\d+) \|', section)
            assert (int(match[1]) if match else 0) == used.count(model)


def test_sums_are_sums() -> None:
    for title in ('The follower', 'The leader', 'The camera'):
        section = PARTS.split(f'## {title}\n', 1)[1].split('\n## ', 1)[0]
        table = section[section.index('| part |') :]
        prices = re.findall(r'(?m)^\| [^*|][^|]* \| [^|]* \| ([\d,]+) \|', table)
        total = re.search(r'\*\*sum\*\* \| \| \*\*([\d,]+)\*\*', table)
        assert total is not None
        number = [int(price.replace(',', '')) for price in [*prices, total[1]]]
        assert sum(number[:-1]) == number[-1]


def test_figures_of_the_arm_agree_with_its_files() -> None:
    arm = read_arm(CONFIG / 'reference_arm.yaml')
    currents = [joint.current_limit or 0.0 for joint in arm.joints]
    assert f'add up to {sum(currents):.1f} A' in PARTS
    assert f'may ask for {sum(currents[2:]):.1f} A together, and all for {sum(currents):.1f} A' in (
        ' '.join(PARTS.split())
    )
    assert f'the torque goes off at {arm.limits.temperature:.0f} degC' in PARTS
    assert f'room for {-arm.joints[0].low:g} rad to either side' in PARTS
    assert f'through the roll with {-arm.joints[4].low:g} rad' in PARTS
    assert arm.baud_rate == 1_000_000 and '--baud-rate 1000000' in FIRST
    assert f'followed at {arm.limits.start_speed:g} rad/s' in FIRST
    origins = {
        match[1]: float(match[2])
        for match in re.finditer(
            r'<joint name="(\w+)".*?<origin xyz="([\d.]+)', arm.urdf.read_text(), re.S
        )
    }
    upper, fore = origins['elbow'], origins['wrist_pitch']
    beyond = origins['wrist_roll'] + origins['tool_mount']
    assert f'upper arm and forearm are {upper:g} m, the tool reaches {beyond:.2f} m' in PARTS
    assert upper == fore
    assert f"out of the arm's reach ({upper + fore + beyond:.2f} m)" in ' '.join(FIRST.split())
    assert arm.plane is not None
    assert f'{arm.plane.origin[2] * 1000:.0f} mm above the table' in PARTS


def test_figures_of_the_leader_agree_with_its_files() -> None:
    leader = read_arm(CONFIG / 'reference_leader.yaml')
    currents = [joint.current_limit or 0.0 for joint in leader.joints]
    assert f'the current limits add up to {sum(currents):g} A' in PARTS
    kinematics = Kinematics(leader.urdf, leader.names, leader.tool)
    stretched = np.abs(kinematics.gravity_torques(np.zeros(len(leader.joints))))
    shoulder, elbow = (
        f'{stretched[place]:.2f} N m{{}} ({stretched[place] / joint.model.torque_constant:.2f} A'
        for place, joint in list(enumerate(leader.joints))[1:3]
    )
    text = ' '.join(PARTS.split())
    assert f'{shoulder.format(" stretched out")} of its {currents[1]:g} A)' in text
    assert f'the elbow {elbow.format("")})' in text
    assert f'At {leader.limits.temperature:.0f} degC it goes limp' in PARTS


def test_first_motion_is_one_page() -> None:
    assert len(FIRST.splitlines()) <= ONE_PAGE


def test_the_design_names_each_file_beside_the_nodes_that_needs_ros() -> None:
    files = (path for path in ROOT.glob('src/*/hiwm_*/**/*.py') if 'test' not in path.parts)
    needy = {
        path.stem
        for path in files
        if re.search(r'(?m)^(import|from) rclpy', path.read_text())
        and not path.stem.endswith('_node')
    }
    chapter = (ROOT / 'docs' / 'design.md').read_text().split('## Core and nodes\n', 1)[1]
    sentence = re.split(r'\.\s', chapter.split('import rclpy: ', 1)[1], maxsplit=1)[0]
    assert needy == set(re.findall(r'`(\w+)`', sentence))


def modules_named(readme: str) -> set[str]:
    """The modules that a README names, `part/{one,two}_{three,four}.py` and folders included."""
    found = set()
    for quoted in re.findall(r'`([^`\n]+)`', readme):
        several = [quoted]
        while any(CHOICE.search(each) for each in several):
            several = [
                CHOICE.sub(word, each, count=1)
                for each in several
                for word in (CHOICE.search(each) or ['', ''])[1].split(',')
            ]
        found |= {each.removesuffix('.py').rstrip('/').rsplit('/', 1)[-1] for each in several}
    return found


@pytest.mark.parametrize('package', sorted(p.parent.name for p in ROOT.glob('src/*/setup.py')))
def test_every_module_is_named_in_its_packages_readme(package: str) -> None:
    folder = ROOT / 'src' / package
    named = modules_named((folder / 'README.md').read_text())
    for path in sorted((folder / package).rglob('*.py')):
        parts = path.relative_to(folder / package).with_suffix('').parts
        assert named.intersection(parts) or parts[-1] in {'__init__', 'programs'}, path.name
