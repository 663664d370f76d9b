# SPDX-License-Identifier: Apache-2.0
"""Who may come in, and how much they may say.

The address that the node prints carries a token. A browser that opens it gets a cookie in return,
which only this server can read and no script can; everything else, the WebSocket included, asks for
that cookie, and a WebSocket from another origin is refused. The token stays good as long as the
server runs, so that a second browser on the operator's desk can open the same address.

Pages from elsewhere have no cookie. One that was written for the Interactive World Simulator may
come in with the token in its address, if its origin is among those that the operator named.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
import hashlib
import hmac
import time
from urllib.parse import urlsplit

from aiohttp import web

MOST_MESSAGES = 240.0  # per second, lasting: a page says 20 to 120
BURST = 600.0  # messages at once


class Access:
    """Tokens, cookies and origins.

    Args:
        token: What the printed address carries.
        origins: Of pages from elsewhere, as a browser writes them: 'http://host:port', or 'null'
            for a page that was opened from a file.
    """

    def __init__(self, token: str, origins: Sequence[str] = ()) -> None:
        self._token = token.encode()
        # The cookie follows from the token: with a token of one's own, pages outlive a restart of
        # the server.
        self._pass = hmac.new(self._token, b'console cookie', hashlib.sha256).hexdigest()
        self._origins = frozenset(origins)

    def has_cookie(self, request: web.Request) -> bool:
        """Whether the browser has been let in; compared in constant time."""
        given = request.cookies.get(self._cookie_name(request), '')
        return hmac.compare_digest(given.encode(errors='replace'), self._pass.encode())

    def has_token(self, request: web.Request) -> bool:
        """Whether the address carries the token; compared in constant time."""
        given = request.query.get('token', '')
        return hmac.compare_digest(given.encode(errors='replace'), self._token)

    def give_cookie(self, request: web.Request, response: web.Response) -> None:
        """Let the browser in."""
        response.set_cookie(
            self._cookie_name(request), self._pass, httponly=True, samesite='Strict', path='/'
        )

    def is_own_page(self, request: web.Request) -> bool:
        """Whether a page of this server opens the WebSocket."""
        origin = request.headers.get('Origin', '')
        return bool(origin) and urlsplit(origin).netloc == request.host

    def is_named_page(self, request: web.Request) -> bool:
        """Whether a page from elsewhere may open a WebSocket: a named origin, and the token."""
        return request.headers.get('Origin', '') in self._origins and self.has_token(request)

    def _cookie_name(self, request: web.Request) -> str:
        # Browsers share cookies between the ports of one host, so the port is part of the name.
        return f'hiwm_console_{request.url.port}'


class Allowance:
    """How many messages a connection may still send: a bucket that fills steadily."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._left = BURST
        self._filled = clock()

    def spend(self) -> bool:
        """One message more; False if that is too many."""
        now = self._clock()
        self._left = min(BURST, self._left + (now - self._filled) * MOST_MESSAGES)
        self._filled = now
        if self._left < 1.0:
            return False
        self._left -= 1.0
        return True
