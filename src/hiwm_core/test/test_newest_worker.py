# SPDX-License-Identifier: Apache-2.0
"""A thread with a slot for the newest request."""

from __future__ import annotations

import threading

from hiwm_core.newest_worker import NewestWorker

PATIENCE = 30.0


def test_of_those_that_wait_only_the_newest_is_worked_at() -> None:
    begun, go_on, last = threading.Event(), threading.Event(), threading.Event()
    worked: list[int] = []

    def work(request: int) -> None:
        worked.append(request)
        begun.set()
        assert go_on.wait(PATIENCE)
        if request == 4:
            last.set()

    worker = NewestWorker('test', work)
    worker.ask(1)
    assert begun.wait(PATIENCE)
    for request in (2, 3, 4):
        worker.ask(request)
    go_on.set()
    assert last.wait(PATIENCE)
    worker.stop()
    assert worked == [1, 4]


def test_a_request_that_is_no_truth_is_one_too() -> None:
    seen: list[object] = []
    done = threading.Event()

    def work(request: object) -> None:
        seen.append(request)
        done.set()

    worker = NewestWorker('test', work)
    worker.ask(None)
    assert done.wait(PATIENCE)
    worker.stop()
    assert seen == [None]


def test_stopped_it_tells_nothing_and_does_nothing_more() -> None:
    worked: list[int] = []
    told: list[str] = []
    worker = NewestWorker('test', worked.append)
    worker.tell(lambda: told.append('before'))
    worker.stop()
    worker.ask(1)
    worker.tell(lambda: told.append('after'))
    assert not any(thread.name == 'test' for thread in threading.enumerate())
    assert told == ['before'] and not worked
