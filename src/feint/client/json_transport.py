"""Blocking transport of any JSON API: one request after the other, no faster than allowed, repeated on failure."""

import datetime
import email.utils
import json
import math
import random
import re
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

from feint._optional import require
from feint.errors import BadInput, FeintError, RateLimited, Refused, TimedOut, TooLarge, Unreachable, one_line
from feint.openinference import status
from feint.paid.interrupts import interruptible

MAX_LINE = 200  # characters of an answer that an error shows
PATIENCE = 600.0  # seconds for which one request waits where the server demands it, repetitions included
UNTRUSTED = "CERTIFICATE_VERIFY_FAILED"  # in the text of an error of TLS
BACKOFF = 0.5  # seconds before the first repetition; twice as many before each further one


class Patience(NamedTuple):
    """How long a request may take where its server fails.

    Attributes:
        seconds: Seconds for which it waits where the server demands it, repetitions included.
        until: Time of the monotonic clock after which it is not sent again.
        since: Time of the monotonic clock since which it waits for others: where one of these was given up, so is it.
    """

    seconds: float = PATIENCE
    until: float = math.inf
    since: float = math.inf


ALONE = Patience()  # of a command, whose requests keep nobody waiting
_PATIENCE: ContextVar[Patience] = ContextVar("feint_patience", default=ALONE)


class JsonTransport:
    """Connections to one address of a JSON API.

    A request that fails with a status of 500 or above, or without any answer, is repeated; a status of 429 is waited
    for as long as the server says. Values of headers are never shown.

    Args:
        url: Address.
        method: Method of HTTP; the fields of a GET are its query.
        headers: Headers.
        rate: Requests in a second at most; 0 is no limit.
        retries: Repetitions of a request at most.
        timeout: Seconds that a request may take.
    """

    def __init__(
        self,
        url: str,
        *,
        method: str = "POST",
        headers: Mapping[str, str] | None = None,
        rate: float = 0.0,
        retries: int = 4,
        timeout: float = 30.0,
    ) -> None:
        self.url, self._method, self._rate, self._retries = url, method, rate, retries
        self._http = require("httpx2", "remote")
        self._client = self._http.Client(timeout=timeout, headers=dict(headers or {}))
        weakref.finalize(self, self._client.close)
        self._next = 0.0
        self._waited = 0.0
        self._limited = -math.inf  # when a request was given up last, by the monotonic clock

    def __call__(self, body: Any, *, on_repeat: Callable[[], None] = lambda: None) -> Any:
        """Send a body and return the JSON of the answer. Errors are those that its status stands for.

        Args:
            body: Plain values.
            on_repeat: Called before a request is sent again that may have been counted.

        Returns:
            Plain values. `BadInput` is raised for an answer that is no JSON.

        Raises:
            RateLimited: The server demands too long a wait, or did of a request for which this one waited (`Patience`).
        """
        if self._limited > _PATIENCE.get().since:
            raise RateLimited(f"{self.url}, which limits the rate", "fewer requests at once", "try again later")
        try:
            return self._answer(body, on_repeat)
        except RateLimited:
            self._limited = time.monotonic()
            raise

    def _answer(self, body: Any, on_repeat: Callable[[], None]) -> Any:
        self._waited = 0.0
        attempt, reply = 0, self._send(body, last=not self._retries)
        while attempt < self._retries and (reply is None or reply.status_code >= 500):
            pause = BACKOFF * 2**attempt * random.uniform(0.5, 1.0)  # so that clients do not repeat together
            _sleep(max(pause, 0.0 if reply is None else self._demanded(reply)))
            attempt += 1
            on_repeat()
            late = time.monotonic() > _PATIENCE.get().until
            reply = self._send(body, last=late or attempt == self._retries)
            if late:
                break
        if not 200 <= reply.status_code < 300:
            failure = self._error(reply)
            raise failure
        try:
            return json.loads(reply.content)
        except ValueError as error:
            got, remedy = _kind(reply), "check the URL, or try again: what was answered is kept"
            if reply.content.lstrip()[:1] in (b"{", b"["):
                got, remedy = f"JSON that is damaged ({error}): {got}", "try again: what was answered is kept"
            raise BadInput(f"{got} from {self.url}", "JSON", remedy) from error

    def _send(self, body: Any, *, last: bool) -> Any:
        """Return the response, waiting as a rate limit demands; None where the request may be repeated."""
        while True:
            self._keep_rate()
            try:
                if self._method == "GET":
                    reply = self._client.request("GET", self.url, params=body)
                else:
                    reply = self._client.request(self._method, self.url, json=body)
            except (self._http.HTTPError, self._http.InvalidURL) as error:
                if not last and not isinstance(error, self._http.InvalidURL) and UNTRUSTED not in str(error):
                    return None
                failure = self._failure(error)
                raise failure from error
            if reply.status_code != 429:
                return reply
            self._wait(reply)

    def _keep_rate(self) -> None:
        _sleep(max(0.0, self._next - time.monotonic()))
        if self._rate:
            self._next = time.monotonic() + 1 / self._rate

    def _failure(self, error: Exception) -> Unreachable:
        """Return the error for a request without an answer."""
        text = f"{self.url} ({type(error).__name__}: {one_line(error, MAX_LINE)})"
        if UNTRUSTED in str(error):
            return Unreachable(text, "a certificate of a known authority", "SSL_CERT_FILE=ca.pem names your own")
        if isinstance(error, self._http.TimeoutException):
            return TimedOut(text, "an answer in time", "raise timeout in victim.toml, or try again: answers are kept")
        return status.unreachable(text)

    def _demanded(self, reply: Any) -> float:
        """Return the seconds that a failing server asks to wait; 0 without, or where that takes too long in all."""
        header = reply.headers.get("retry-after")
        seconds = retry_after(header, _sent(reply)) if header else 0.0
        if self._waited + seconds > _PATIENCE.get().seconds:
            return 0.0
        self._waited += seconds
        return seconds

    def _wait(self, reply: Any) -> None:
        """Wait as a status of 429 demands. Raises `RateLimited` where that takes too long in all."""
        seconds = retry_after(reply.headers.get("retry-after"), _sent(reply))
        if self._waited + seconds > (patience := _PATIENCE.get().seconds):
            raise RateLimited(
                f"{self.url}, which limits the rate ({_text(reply)})", f"at most {patience:g} seconds of waiting",
                f"set rate in victim.toml, and go on in {seconds:g} seconds: what was answered is kept", seconds,
            )  # fmt: skip
        self._waited += seconds
        _sleep(seconds)

    def _error(self, reply: Any) -> FeintError:
        code, text = reply.status_code, _text(reply)
        got = f"status {code} from {self.url} ({text})"
        if code >= 500:
            return status.unreachable(got)
        if code in (401, 403):
            return Refused(got, "a key that the API takes", "set it in headers of victim.toml, from the environment")
        if code == 413:
            return TooLarge(got, "a request that the API takes", "lower batch in victim.toml")
        if code < 400:
            place = reply.headers.get("location", "nowhere")
            got = f"status {code} from {self.url}, which redirects to {place}"
            return BadInput(got, "an address that answers", "set that as url in victim.toml, if you trust it")
        if code in (404, 405):
            return BadInput(got, "an address that answers", "check url and method in victim.toml")
        return BadInput(got, "a request that the API takes", "compare template in victim.toml with its documentation")


@contextmanager
def waiting_at_most(seconds: float, *, since: float = math.inf) -> Iterator[None]:
    """Let requests of the block wait and be repeated for so long where a server fails, in place of `PATIENCE`.

    Args:
        seconds: The seconds.
        since: As in `Patience`.
    """
    token = _PATIENCE.set(Patience(seconds, time.monotonic() + seconds, since))
    try:
        yield
    finally:
        _PATIENCE.reset(token)


def _sleep(seconds: float) -> None:
    with interruptible():
        time.sleep(seconds)


def retry_after(header: str | None, now: float) -> float:
    """Return the seconds of a header Retry-After, a number or a date; 1 without a readable one."""
    try:
        return max(0.0, float(header or 1.0))
    except ValueError:
        date = _date(header)
    return 1.0 if date is None else max(0.0, date - now)


def _sent(reply: Any) -> float:
    """Return when a server sent a reply, by its own clock, as the other dates in it; now where it does not say."""
    date = _date(reply.headers.get("date"))
    return time.time() if date is None else date


def _date(header: str | None) -> float | None:
    """Return the date of a header in seconds since the epoch, None where there is no readable one."""
    try:
        date = email.utils.parsedate_to_datetime(str(header))
    except ValueError:
        return None
    return (date if date.tzinfo else date.replace(tzinfo=datetime.UTC)).timestamp()


def _kind(reply: Any) -> str:
    """Return what an answer is that is no JSON: a page of HTML by its title, or other text."""
    text = reply.text
    if "html" in reply.headers.get("content-type", "") or text.lstrip()[:15].lower().startswith(("<!doctype", "<html")):
        title = re.search(r"<title[^>]*>(.*?)</title>", text, re.DOTALL | re.IGNORECASE)
        return f"HTML{f' ({one_line(title[1], MAX_LINE)!r})' if title else ''}"
    return repr(one_line(text, MAX_LINE)) if text else "nothing"


def _text(reply: Any) -> str:
    """Return the message of an error's answer, cut to a line."""
    try:
        decoded = json.loads(reply.content)
    except ValueError:
        return _kind(reply)
    fields = decoded if isinstance(decoded, dict) else {}
    if isinstance(fields.get("error"), dict):  # {"error": {"code": …, "message": …}}
        fields = fields["error"]
    message = next((fields[name] for name in ("error", "detail", "message", "title") if name in fields), decoded)
    return one_line(message if isinstance(message, str) else json.dumps(message), MAX_LINE)
