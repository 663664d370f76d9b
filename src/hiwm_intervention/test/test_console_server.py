# SPDX-License-Identifier: Apache-2.0
"""The server on its thread, and the node's refusals: a busy port, a bad address, a short token."""

from __future__ import annotations

from collections.abc import Iterator
import socket
import subprocess
import sys
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from hiwm_core.error import ConfigurationError
from hiwm_intervention.console_app import Callbacks
from hiwm_intervention.console_server import ConsoleServer

CONSOLE = [sys.executable, '-c', 'from hiwm_intervention.console_node import main; main()']


def serve(address: str = '127.0.0.1', port: int = 0, token: str = '') -> ConsoleServer:
    return ConsoleServer(
        address,
        port,
        token,
        Callbacks(
            on_open=lambda page: {},
            on_message=lambda page, message: None,
            on_close=lambda page: None,
            on_frames=lambda nodes, width: None,
            on_sessions=list,
        ),
    )


@pytest.fixture
def busy() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind(('127.0.0.1', 0))
        listener.listen()
        yield listener.getsockname()[1]


def test_the_printed_address_opens_the_page_and_the_port_is_free_afterwards() -> None:
    server = serve()
    server.start()
    with urlopen(server.url) as response:
        assert b'<title>Hi-WM console</title>' in response.read()
    with pytest.raises(HTTPError, match='403'):
        urlopen(server.url + 'x')
    port = server.port
    server.close()
    again = serve(port=port)
    again.close()


def test_every_start_has_a_token_of_its_own() -> None:
    one, two = serve(), serve()
    tokens = [server.url.split('token=')[1] for server in (one, two)]
    assert tokens[0] != tokens[1]
    assert min(map(len, tokens)) >= 32
    one.close()
    two.close()


def test_a_token_of_ones_own_is_kept_whatever_is_in_it() -> None:
    server = serve(token='sixteen & more/characters?')
    server.start()
    with urlopen(server.url) as response:
        assert response.status == 200
    server.close()


def test_words_after_the_end_are_lost_in_peace() -> None:
    server = serve()
    server.start()
    server.close()
    server.show({})
    server.close()


@pytest.mark.parametrize(
    ('address', 'token', 'words'),
    [
        ('no.such.host.invalid', '', "knows no address 'no.such.host.invalid'"),
        ('192.0.2.7', '', "'192.0.2.7' is not an address of this machine"),
        ('127.0.0.1', 'short', 'at least 16'),
    ],
)
def test_what_cannot_be_used_is_refused_with_a_sentence(
    address: str, token: str, words: str
) -> None:
    with pytest.raises(ConfigurationError) as refusal:
        serve(address, token=token)
    assert words in refusal.value.message


def test_a_busy_port_is_named(busy: int) -> None:
    with pytest.raises(ConfigurationError) as refusal:
        serve(port=busy)
    assert f'port {busy}' in refusal.value.message
    assert "'port'" in refusal.value.message


@pytest.mark.parametrize(
    ('setting', 'words'),
    [
        ('port:=BUSY', 'is in use'),
        ('task:=nonsense', "no task 'nonsense'"),
        ('port:=99999', 'port'),
    ],
)
def test_the_node_ends_with_one_sentence_and_code_1(busy: int, setting: str, words: str) -> None:
    setting = setting.replace('BUSY', str(busy))
    ended = subprocess.run(
        [*CONSOLE, '--ros-args', '-p', setting],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 1
    assert ended.stdout == ''
    (sentence,) = ended.stderr.strip().splitlines()
    assert words in sentence
