# SPDX-License-Identifier: Apache-2.0
"""What a person's time yields is counted as it is defined, kept, and taken up again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hiwm_core.action import Source
from hiwm_core.error import HiwmError
from hiwm_core.rollout_tree import Label
from hiwm_intervention.console_economics import FILE_NAME, Economics, Ledger
from hiwm_intervention.console_places import Place
from hiwm_intervention.console_starts import HardStarts
from hiwm_intervention.console_tree import Lane, TreeView

POLICY, OPERATOR, HANDOVER = Source.POLICY, Source.OPERATOR, Source.HANDOVER


def grow(tree: TreeView, branch: str, parent: int, sources: list[Source]) -> int:
    """Steps of a branch from a node on; returns the last."""
    step = tree.places[parent].step if parent else -1
    for source in sources:
        node = len(tree.places) + 1
        step += 1
        tree.take([Place(node, parent, step, branch, source)], [], {})
        parent = node
    return parent


@pytest.fixture
def tree() -> TreeView:
    """run-1 fails after a correction; two branches leave it, one of them is good."""
    tree = TreeView()
    end = grow(tree, 'run-1', 0, [Source.NONE, *[POLICY] * 5, HANDOVER, *[OPERATOR] * 4])
    good = grow(tree, 'branch-1', 8, [POLICY, *[OPERATOR] * 6, POLICY, OPERATOR])
    other = grow(tree, 'branch-2', 3, [OPERATOR] * 5)
    tree.take(
        [],
        [
            Lane('run-1', 1, 0, end, Label.FAILURE),
            Lane('branch-1', 1, 8, good, Label.SUCCESS),
            Lane('branch-2', 1, 3, other, Label.DISCARD),
        ],
        {},
    )
    return tree


def test_the_sums_are_those_of_the_definitions(tree: TreeView) -> None:
    economics = Economics(0.1)
    for frame in range(401):
        economics.see_step('monday', 0.1 * frame)
    economics.see_human_time(4.5)
    sums = economics.count('pusht', tree)
    # On the path of the good branch: node 8 of run-1, the first step of the correction before it,
    # then six steps and one.
    assert sums.accepted_time == pytest.approx(0.8)
    # One in run-1, two in branch-1; those of branch-2 are to be discarded.
    assert sums.corrections == 3
    assert (sums.branches, sums.failures) == (2, 1)
    told = sums.tell()
    assert told['session_time'] == pytest.approx(40.0)
    assert told['cost'] == pytest.approx(4.5 / 0.8, abs=0.01)
    assert told['corrections_per_hour'] == pytest.approx(270.0)
    assert told['branches_per_failure'] == 2.0
    assert economics.tell() == told


def test_nothing_is_made_up_where_nothing_is_known() -> None:
    told = Economics(0.1).count('pusht', TreeView()).tell()
    assert [told[name] for name in ('cost', 'corrections_per_hour', 'branches_per_failure')] == [
        None
    ] * 3


def test_a_gap_without_frames_is_no_session_time() -> None:
    economics = Economics(0.1)
    for now in (0.0, 1.0, 500.0, 501.0):
        economics.see_step('monday', now)
    assert economics.count('pusht', TreeView()).session_time == pytest.approx(2.0)


@pytest.mark.parametrize('heard_first', [True, False])
def test_the_sums_are_kept_and_taken_up_again(
    tree: TreeView, tmp_path: Path, heard_first: bool
) -> None:
    ledger = Ledger(str(tmp_path))
    (tmp_path / 'monday').mkdir()
    first = Economics(0.1)
    first.see_step('monday', 0.0)
    first.see_step('monday', 1.5)
    first.see_human_time(4.0)
    ledger.keep(first.count('pusht', tree))
    kept = ledger.kept('monday')
    assert kept is not None
    # Another console in the same session; the multiplexer has gone on counting. Whoever of it and
    # the rig is heard first, the rig's state is what the session is resumed at.
    again = Economics(0.1)
    if heard_first:
        again.see_human_time(4.0)
    again.see_step('monday', 0.0)
    again.resume(kept)
    assert again.count('pusht', tree).human_time == pytest.approx(4.0)
    again.see_human_time(4.5)
    again.see_step('monday', 1.0)
    sums = again.count('pusht', tree)
    assert sums.session_time == pytest.approx(2.5)
    assert sums.human_time == pytest.approx(4.5)
    # And a multiplexer that was started again begins at 0.
    again.see_human_time(0.5)
    assert again.count('pusht', tree).human_time == pytest.approx(5.0)
    assert [row['session'] for row in ledger.table()] == ['monday']


def human_time(economics: Economics) -> float:
    return economics.count('pusht', TreeView()).human_time


@pytest.mark.parametrize('before', [0.75, 100.0])
def test_a_multiplexer_that_is_new_as_well_adds_to_what_was_kept(before: float) -> None:
    first = Economics(0.1)
    first.see_step('monday', 0.0)
    first.see_human_time(before)
    kept = first.count('pusht', TreeView())
    again = Economics(0.1)
    again.see_step('monday', 0.0)
    again.resume(kept)
    again.see_human_time(0.0)
    again.see_human_time(0.5)
    assert human_time(again) == pytest.approx(before + 0.5)


@pytest.mark.parametrize('heard_first', [True, False])
def test_what_two_multiplexers_counted_is_counted_once_by_another_console(
    heard_first: bool,
) -> None:
    first = Economics(0.1)
    first.see_step('monday', 0.0)
    for counted in (100.0, 0.0, 30.0):
        first.see_human_time(counted)
    kept = first.count('pusht', TreeView())
    assert kept.human_time == pytest.approx(130.0)
    again = Economics(0.1)
    if heard_first:
        again.see_human_time(31.0)
    again.see_step('monday', 0.0)
    again.resume(kept)
    again.see_human_time(31.0)
    assert human_time(again) == pytest.approx(131.0)


def test_what_was_counted_in_another_session_is_left_out() -> None:
    economics = Economics(0.1)
    economics.see_human_time(30.0)
    economics.see_step('tuesday', 0.0)
    kept = economics.count('pusht', TreeView())
    economics.see_step('monday', 1.0)
    assert human_time(economics) == 0.0
    economics.see_human_time(31.0)
    assert human_time(economics) == pytest.approx(1.0)
    # Back in the first one, by the same multiplexer.
    economics.see_step('tuesday', 2.0)
    economics.resume(kept)
    economics.see_human_time(31.5)
    assert human_time(economics) == pytest.approx(30.5)


@pytest.mark.parametrize('name', ['../monday', '..', '', 'a/b', 'x\n'])
def test_no_name_leads_out_of_the_folder(name: str, tree: TreeView, tmp_path: Path) -> None:
    ledger = Ledger(str(tmp_path / 'sessions'))
    economics = Economics(0.1)
    economics.see_step(name, 0.0)
    ledger.keep(economics.count('pusht', tree))
    assert list(tmp_path.rglob(FILE_NAME)) == []
    assert ledger.kept(name) is None


@pytest.mark.parametrize('text', ['', '[]', '{"session": 3}', '{"session_time": NaN}', 'x'])
def test_a_broken_file_is_left_out_of_the_table(text: str, tmp_path: Path) -> None:
    (tmp_path / 'monday').mkdir()
    (tmp_path / 'monday' / FILE_NAME).write_text(text)
    assert Ledger(str(tmp_path)).table() == []
    assert Ledger('').table() == []


# -- hard starts -----------------------------------------------------------------------------------


def test_starts_are_remembered_in_a_file_of_the_task(tmp_path: Path) -> None:
    starts = HardStarts(str(tmp_path / 'sessions'), 'pusht')
    starts.add(17, 'behind the block')
    starts.add(4, '')
    starts.add(17, 'far away')
    starts.remove(4)
    starts.add(99, '')
    again = HardStarts(str(tmp_path / 'sessions'), 'pusht')
    expected = [{'seed': 17, 'note': 'far away'}, {'seed': 99, 'note': ''}]
    assert again.tell() == starts.tell() == expected
    assert HardStarts(str(tmp_path / 'sessions'), 'rope').tell() == []
    with pytest.raises(HiwmError, match='start 4 is not in the list'):
        again.remove(4)


def test_what_a_person_wrote_beside_it_is_kept(tmp_path: Path) -> None:
    path = tmp_path / 'hard_starts.pusht.yaml'
    path.write_text('- {seed: 3, note: ja, since: monday}\n')
    starts = HardStarts(str(tmp_path), 'pusht')
    starts.add(5, '')
    assert 'since: monday' in path.read_text()


@pytest.mark.parametrize(
    'text', ['seed: 3', '- 3', '- {seed: -1}', '- {seed: true}', '- [', '\x00']
)
def test_a_list_that_is_none_is_refused_with_a_sentence(text: str, tmp_path: Path) -> None:
    path = tmp_path / 'hard_starts.pusht.yaml'
    path.write_text(text)
    with pytest.raises(HiwmError) as refusal:
        HardStarts(str(tmp_path), 'pusht')
    assert str(path) in refusal.value.message
    assert '\n' not in refusal.value.message
    assert path.read_text() == text


def test_without_a_folder_the_list_lasts_as_long_as_the_console() -> None:
    starts = HardStarts('', 'pusht')
    starts.add(3, 'x')
    assert json.dumps(starts.tell()) == '[{"seed": 3, "note": "x"}]'
