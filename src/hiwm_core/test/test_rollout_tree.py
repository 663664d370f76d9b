# SPDX-License-Identifier: Apache-2.0
"""The rollout tree: what comes back bit for bit, which randomness belongs where, and names."""

from __future__ import annotations

from collections.abc import Callable, Iterator
import os
from pathlib import Path

import numpy as np
import pytest

from hiwm_core import rollout_tree
from hiwm_core.action import Source
from hiwm_core.error import ErrorCode, HiwmError
from hiwm_core.journal import Journal
from hiwm_core.observation import Observation
from hiwm_core.own_pages import page_bytes
from hiwm_core.rollout_tree import JOURNAL_NAME, Branch, Label, Node, RolloutTree
from hiwm_core.tree_record import NODE, NODE_TAG

# A node whose record claims more than it has.
NAMELESS = NODE.pack(NODE_TAG, 1, 9, 9, 1, 0, 0, 1, 5, 0.0, 0.0, 0.0)
SCENE = np.array([0.1, -0.0, 1e-300])


@pytest.fixture
def open_tree(tmp_path: Path) -> Iterator[Callable[[], RolloutTree]]:
    """Opens the one tree of the test again; what was open before is closed."""
    opened: list[RolloutTree] = []

    def reopen(seed: int = 7) -> RolloutTree:
        for tree in opened:
            tree.close()
        opened.append(RolloutTree(tmp_path / 'session', seed))
        return opened[-1]

    yield reopen
    for tree in opened:
        tree.close()


@pytest.fixture
def tree(open_tree: Callable[[], RolloutTree]) -> RolloutTree:
    """A tree with one root on the branch 'run-1'."""
    tree = open_tree()
    tree.add_root(observed(0), 'run-1', tree.root_key(SCENE))
    return tree


def observed(number: int) -> Observation:
    """An observation full of numbers that only survive exact storage."""
    random = np.random.default_rng(number)
    return Observation(
        frame=random.integers(0, 256, (12, 16, 3), np.uint8),
        joints=random.normal(size=4) * 10.0 ** random.integers(-300, 300, 4),
        scene=np.array([np.nan, -0.0, np.inf, np.nextafter(1.0, 2.0)]),
        progress=float(random.normal()),
        success=float('nan'),
        fidelity=0.1 + 0.2,
        state=random.normal(size=10),
    )


def assert_same(one: Observation, other: Observation) -> None:
    """Bit for bit."""
    for name in ('frame', 'joints', 'scene', 'state'):
        first, second = getattr(one, name), getattr(other, name)
        assert first.dtype == second.dtype
        assert first.shape == second.shape
        assert first.tobytes() == second.tobytes()
    for name in ('progress', 'success', 'fidelity'):
        assert (
            np.float64(getattr(one, name)).tobytes() == np.float64(getattr(other, name)).tobytes()
        )


def drive(tree: RolloutTree, branch: str, *actions: float) -> list[Node]:
    """Steps from the head on a branch; each observation has the number of its node."""
    return [
        tree.add_child(
            observed(len(tree.nodes)), np.array([action, -action]), Source.POLICY, branch
        )
        for action in actions
    ]


def test_observations_come_back_bit_for_bit(
    tree: RolloutTree, open_tree: Callable[[], RolloutTree], monkeypatch: pytest.MonkeyPatch
) -> None:
    drive(tree, 'run-1', *np.linspace(0, 1, 9))
    for read in (tree, open_tree()):
        for number in range(10):
            assert_same(read.observation(number + 1), observed(number))
    monkeypatch.setattr(rollout_tree, 'CACHED_BYTES', 2000)
    read = open_tree()
    for number in (3, 9, 3, 0, 9):
        assert_same(read.observation(number + 1), observed(number))


def test_a_backends_frame_may_have_any_memory_layout(
    tree: RolloutTree, open_tree: Callable[[], RolloutTree]
) -> None:
    frame = observed(1).frame
    mirrored = Observation(frame=frame[:, ::-1], joints=np.zeros(1))
    node = tree.add_child(mirrored, np.zeros(2), Source.HOLD, 'run-1')
    assert np.array_equal(open_tree().observation(node.id).frame, frame[:, ::-1])


def test_nodes_come_back_as_they_were(
    tree: RolloutTree, open_tree: Callable[[], RolloutTree]
) -> None:
    made = [tree.node(1), *drive(tree, 'run-1', 0.1, 1e-320)]
    actions = [tree.action(node.id).tolist() for node in made]
    again = open_tree()
    for node in made:
        read = again.node(node.id)
        for name in Node.__slots__:
            assert repr(getattr(read, name)) == repr(getattr(node, name))
    assert [again.action(node.id).tolist() for node in made] == actions
    assert actions == [[], [0.1, -0.1], [1e-320, -1e-320]]
    assert [node.step for node in made] == [0, 1, 2]
    assert [node.parent for node in made] == [0, 1, 2]
    assert [node.source for node in made] == [Source.NONE, Source.POLICY, Source.POLICY]


# -- randomness ----------------------------------------------------------------------------------


def test_the_same_path_has_the_same_keys_and_any_other_has_others(tmp_path: Path) -> None:
    def keys(folder: str, seed: int, scene: np.ndarray, *actions: float) -> list[int]:
        tree = RolloutTree(tmp_path / folder, seed)
        tree.add_root(observed(0), 'run-1', tree.root_key(scene))
        nodes = [tree.node(1), *drive(tree, 'run-1', *actions)]
        steps = [tree.step_key(node.id, 'run-1') for node in nodes]
        tree.close()
        return [node.key for node in nodes] + steps

    reference = keys('a', 7, SCENE, 0.1, 0.2, 0.3)
    assert keys('b', 7, SCENE, 0.1, 0.2, 0.3) == reference
    assert len(set(reference)) == len(reference)
    assert not set(keys('c', 8, SCENE, 0.1, 0.2, 0.3)) & set(reference)
    assert not set(keys('d', 7, SCENE + 1, 0.1, 0.2, 0.3)) & set(reference)
    other = keys('e', 7, SCENE, 0.1, 0.2000001, 0.3)
    assert [one == two for one, two in zip(reference, other, strict=True)] == [
        *(True, True, False, False),
        *(True, True, False, False),
    ]
    assert all(0 <= key < 2**64 for key in reference)


def test_a_branch_draws_the_same_unless_it_is_resampled(tree: RolloutTree) -> None:
    first, second = drive(tree, 'run-1', 0.1, 0.2)
    tree.add_branch('same', first.id)
    tree.add_branch('other', first.id, salt=5)
    assert tree.step_key(first.id, 'same') == tree.step_key(first.id, 'run-1')
    assert tree.step_key(first.id, 'other') != tree.step_key(first.id, 'run-1')
    tree.move_head(first.id, 'same')
    assert drive(tree, 'same', 0.2)[0].key == second.key
    tree.move_head(first.id, 'other')
    resampled = drive(tree, 'other', 0.2, 0.3)
    assert resampled[0].key != second.key
    # What follows a resampled step is just as reproducible.
    tree.add_branch('third', resampled[0].id)
    tree.move_head(resampled[0].id, 'third')
    assert tree.step_key(resampled[0].id, 'third') == tree.step_key(resampled[0].id, 'other')
    assert drive(tree, 'third', 0.3)[0].key == resampled[1].key


# -- paths and names -----------------------------------------------------------------------------


def test_history_is_shorter_near_a_root(tree: RolloutTree) -> None:
    drive(tree, 'run-1', 1, 2, 3)
    assert [node.id for node in tree.history(4, 2)] == [3, 4]
    assert [node.id for node in tree.history(2, 5)] == [1, 2]
    assert [node.id for node in tree.history(1, 1)] == [1]
    assert [node.id for node in tree.ancestors(3)] == [3, 2, 1]
    assert len(tree.history(4, 2**32)) == 4


def test_branches_share_the_path_to_their_fork(tree: RolloutTree) -> None:
    drive(tree, 'run-1', 1, 2, 3)
    assert tree.add_branch('b', 3) == Branch('b', root=1, fork=3, head=3)
    tree.move_head(3, 'b')
    drive(tree, 'b', 9)
    assert [node.id for node in tree.ancestors(5)] == [5, 3, 2, 1]
    assert [tree.branch(name).head for name in ('run-1', 'b')] == [4, 5]
    # A fork of the fork, from before it left: still the first root's.
    assert tree.add_branch('c', 5).root == 1
    assert tree.free_branch_name('run') == 'run-2'
    tree.add_root(observed(1), 'run-2', 1)
    assert tree.add_branch('d', 6) == Branch('d', root=6, fork=6, head=6)
    assert tree.free_branch_name('run') == 'run-3'
    tree.add_branch('run-3', 6)
    tree.add_branch('run-5', 6)
    assert [tree.free_branch_name('run') for _ in range(2)] == ['run-4', 'run-4']


def test_a_checkpoint_names_a_node(tree: RolloutTree, open_tree: Callable[[], RolloutTree]) -> None:
    drive(tree, 'run-1', 1, 2)
    assert tree.add_checkpoint('here', 2).id == 2
    for read in (tree, open_tree()):
        assert read.checkpoint('here').id == 2
        with pytest.raises(HiwmError, match="no checkpoint 'there'; the checkpoints are: here"):
            read.checkpoint('there')


def test_labels_are_kept_while_the_branch_goes_on(
    tree: RolloutTree, open_tree: Callable[[], RolloutTree]
) -> None:
    drive(tree, 'run-1', 1)
    tree.label('run-1', Label.FAILURE, 'dropped "it"\n')
    drive(tree, 'run-1', 2)
    for read in (tree, open_tree()):
        branch = read.branch('run-1')
        assert (branch.label, branch.note, branch.head) == (Label.FAILURE, 'dropped "it"\n', 3)
    assert open_tree().label('run-1', Label.NONE, '').label is Label.NONE


@pytest.mark.parametrize(
    ('ask', 'code', 'sentence'),
    [
        (lambda t: t.node(3), ErrorCode.UNKNOWN_NODE, 'no node 3; the tree has nodes 1 to 2'),
        (lambda t: t.node(0), ErrorCode.UNKNOWN_NODE, 'no node 0;'),
        (lambda t: t.observation(3), ErrorCode.UNKNOWN_NODE, 'no node 3'),
        (lambda t: t.history(3, 1), ErrorCode.UNKNOWN_NODE, 'no node 3'),
        (lambda t: t.move_head(3), ErrorCode.UNKNOWN_NODE, 'no node 3'),
        (lambda t: t.move_head(1, 'x'), ErrorCode.UNKNOWN_BRANCH, "no branch 'x'"),
        (lambda t: t.add_branch('b', 3), ErrorCode.UNKNOWN_NODE, 'no node 3'),
        (lambda t: t.add_checkpoint('c', 3), ErrorCode.UNKNOWN_NODE, 'no node 3'),
        (lambda t: t.branch('x'), ErrorCode.UNKNOWN_BRANCH, "'x'; the branches are: run-1, b-1"),
        (lambda t: t.label('x', Label.NONE, ''), ErrorCode.UNKNOWN_BRANCH, "no branch 'x'"),
        (lambda t: t.step_key(1, 'x'), ErrorCode.UNKNOWN_BRANCH, "no branch 'x'"),
        (lambda t: drive(t, 'x', 1), ErrorCode.UNKNOWN_BRANCH, "no branch 'x'"),
        (lambda t: t.checkpoint('x'), ErrorCode.UNKNOWN_CHECKPOINT, "no checkpoint 'x'"),
        (lambda t: t.add_branch('b-1', 1), ErrorCode.NAME_TAKEN, "a branch 'b-1' exists"),
        (lambda t: t.add_root(observed(1), 'b-1', 1), ErrorCode.NAME_TAKEN, "branch 'b-1' exists"),
        (lambda t: t.add_checkpoint('c', 1), ErrorCode.NAME_TAKEN, "a checkpoint 'c' exists"),
        (lambda t: t.add_branch('ä' * 32768, 1), ErrorCode.INVALID_ARGUMENT, 'at most 65535 bytes'),
        (lambda t: t.add_checkpoint('', 1), ErrorCode.INVALID_ARGUMENT, 'needs a name'),
    ],
)
def test_a_refusal_names_the_thing_and_changes_nothing(
    tree: RolloutTree,
    open_tree: Callable[[], RolloutTree],
    ask: Callable[[RolloutTree], object],
    code: ErrorCode,
    sentence: str,
) -> None:
    drive(tree, 'run-1', 1)
    tree.add_branch('b-1', 1)
    tree.add_checkpoint('c', 2)
    before = summary(tree)
    with pytest.raises(HiwmError) as error:
        ask(tree)
    assert error.value.code is code
    assert sentence in error.value.message
    assert summary(tree) == before
    assert summary(open_tree()) == before


def test_an_empty_tree_says_so(open_tree: Callable[[], RolloutTree]) -> None:
    with pytest.raises(HiwmError, match='no node 1; the tree has no nodes yet'):
        open_tree().node(1)
    with pytest.raises(HiwmError, match='the branches are: none'):
        open_tree().branch('run-1')


# -- reopening -----------------------------------------------------------------------------------


def summary(tree: RolloutTree) -> tuple[object, ...]:
    return (
        tree.seed,
        tree.epoch,
        tree.head,
        tree.head_branch,
        tree.branches,
        tree.checkpoints,
        [(node.id, node.parent, node.step, node.epoch, node.key) for node in tree.nodes.values()],
    )


def test_the_tree_is_the_same_after_reopening_at_any_moment(
    tree: RolloutTree, open_tree: Callable[[], RolloutTree]
) -> None:
    acts: list[Callable[[RolloutTree], object]] = [
        lambda t: drive(t, 'run-1', 1, 2, 3),
        lambda t: t.move_head(2),
        lambda t: t.add_branch('b', 2, salt=4),
        lambda t: t.move_head(2, 'b'),
        lambda t: drive(t, 'b', 5),
        lambda t: t.label('b', Label.SUCCESS, ''),
        lambda t: t.add_checkpoint('here', 3),
        lambda t: t.add_root(observed(9), 'run-2', 11),
        lambda t: t.move_head(4),
    ]
    epochs = [tree.epoch]
    for act in acts:
        act(tree)
        expected = summary(tree)
        tree = open_tree()
        assert summary(tree) == expected
        epochs.append(tree.epoch)
    assert epochs == [1, 1, 2, 2, 3, 3, 3, 3, 4, 5]
    assert (tree.head, tree.head_branch) == (4, 'run-1')
    assert open_tree(8).seed == 7, 'a session keeps the seed that it began with'


def test_a_tree_cut_at_any_byte_opens_with_every_whole_node(
    tree: RolloutTree, tmp_path: Path
) -> None:
    drive(tree, 'run-1', 1)
    tree.add_branch('b', 1, salt=2)
    tree.move_head(1, 'b')
    drive(tree, 'b', 4)
    tree.close()
    whole = (tmp_path / 'session' / JOURNAL_NAME).read_bytes()
    counts = []
    for length in [*range(0, len(whole), 29), len(whole)]:
        folder = tmp_path / str(length)
        folder.mkdir()
        (folder / JOURNAL_NAME).write_bytes(whole[:length])
        cut = RolloutTree(folder, 7)
        counts.append(len(cut.nodes))
        for node in cut.nodes.values():
            cut.observation(node.id)
            assert cut.branch(node.branch).root == 1
        if cut.head:
            assert cut.node(cut.head).key == tree.node(cut.head).key
            drive(cut, cut.head_branch, 6)
        cut.close()
    assert counts == sorted(counts)
    assert (counts[0], counts[-1]) == (0, 3)


@pytest.mark.parametrize('seed', range(20))
def test_a_flipped_tail_costs_the_last_nodes_alone(
    tree: RolloutTree, tmp_path: Path, caplog: pytest.LogCaptureFixture, seed: int
) -> None:
    drive(tree, 'run-1', *range(30))
    expected = summary(tree)
    tree.close()
    journal = tmp_path / 'session' / JOURNAL_NAME
    content = bytearray(journal.read_bytes())
    dice = np.random.default_rng(seed)
    for place in len(content) - dice.integers(1, 2000, size=3):
        content[place] ^= 1 << int(dice.integers(8))
    journal.write_bytes(content)
    with caplog.at_level('WARNING'):
        cut = RolloutTree(tmp_path / 'session', 7)
    assert f'{journal} ended in' in caplog.text
    assert 25 < len(cut.nodes) < 31
    assert summary(cut)[-1] == expected[-1][: len(cut.nodes)]
    assert cut.head == len(cut.nodes)
    for number, node in enumerate(cut.nodes):
        assert_same(cut.observation(node), observed(number))
    drive(cut, 'run-1', 5)
    cut.close()


def test_a_journal_of_something_else_is_refused(tmp_path: Path) -> None:
    for number, payload in enumerate((b'', b'abc', b'[]', b'{}', b'{"kind":"x"}', b'N', NAMELESS)):
        folder = tmp_path / str(number)
        journal = Journal(folder / JOURNAL_NAME)
        journal.append(payload)
        journal.close()
        content = (folder / JOURNAL_NAME).read_bytes()
        for _ in range(2):
            with pytest.raises(HiwmError, match=r'record 0 of .* is not of a rollout tree'):
                RolloutTree(folder, 0)
        assert (folder / JOURNAL_NAME).read_bytes() == content


def test_memory_holds_only_the_newest_frames(
    tree: RolloutTree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = observed(0)
    size = page_bytes(one.frame.nbytes) + one.state.nbytes
    monkeypatch.setattr(rollout_tree, 'CACHED_BYTES', 3 * size)
    drive(tree, 'run-1', *range(20))
    # The journal is gone, so only what is in memory can be had.
    os.truncate(tmp_path / 'session' / JOURNAL_NAME, 8)
    held = []
    for node in tree.nodes:
        try:
            tree.observation(node)
            held.append(node)
        except HiwmError:
            continue
    assert held == [19, 20, 21]


def test_a_version_tells_which_branches_have_changed(
    open_tree: Callable[[], RolloutTree], tree: RolloutTree
) -> None:
    fork = tree.head
    for name in ('branch-1', 'branch-2'):
        tree.add_branch(name, fork)
    versions = [tree.version]
    tree.label('branch-1', Label.SUCCESS, 'good')
    versions.append(tree.version)
    tree.add_child(observed(1), np.zeros(2), Source.POLICY, 'branch-2')
    versions.append(tree.version)
    tree.add_checkpoint('here', fork)
    assert tree.version > versions[-1] > versions[-2] > versions[-3]
    for again in (tree, open_tree()):
        assert [[branch.name for branch in again.changed(since)] for since in (0, *versions)] == [
            ['run-1', 'branch-1', 'branch-2'],
            ['branch-1', 'branch-2'],
            ['branch-2'],
            [],
        ]
        assert next(again.changed(versions[0])) == again.branch('branch-1')
    assert open_tree().version == tree.version
