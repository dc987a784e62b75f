"""Price and ceiling of the calls to a paid model."""

import datetime
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from feint.errors import CallLimit, NotWritten

BUSY = 60.0  # seconds to wait for another process
REQUEST = 256  # inputs in one request, where nothing else is said: as many as an oracle sends at once


def today() -> str:
    """Return the day in UTC, like 2026-12-01."""
    return datetime.datetime.now(datetime.UTC).date().isoformat()


class CountOfDay(Protocol):
    """Count of the calls of each day; `DailyCalls` is one."""

    @property
    def most(self) -> int:
        """Calls in a day at most."""
        ...

    def add(self, count: int) -> bool:
        """Count calls before they are made. A count that cannot be read or written raises a `FeintError`.

        Args:
            count: Number of calls.

        Returns:
            Whether they are within the ceiling; if not, they are not counted.
        """
        ...


@dataclass(frozen=True)
class DailyCalls:
    """Count of the calls of each day in UTC, for a server that never stops.

    Attributes:
        path: File of SQLite. All processes of a machine that name it share the count, and a restart goes on with it.
        most: Calls in a day at most.
    """

    path: Path
    most: int

    def add(self, count: int) -> bool:
        """Count calls, as `CountOfDay.add`; `NotWritten` is raised where the file cannot be written."""
        day = today()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with closing(sqlite3.connect(self.path, timeout=BUSY)) as database, database:
                database.execute("CREATE TABLE IF NOT EXISTS calls (day TEXT PRIMARY KEY, count INTEGER NOT NULL)")
                database.execute("INSERT OR IGNORE INTO calls VALUES (?, 0)", (day,))
                within = "UPDATE calls SET count = count + ? WHERE day = ? AND count + ? <= ?"
                return database.execute(within, (count, day, count, self.most)).rowcount == 1
        except (OSError, sqlite3.Error) as error:
            raise NotWritten(f"{self.path} ({error})", "a file that counts paid calls", "free some space") from error


@dataclass
class Meter:
    """Count of the calls to a model that costs money or is rate-limited. One input is one call.

    Attributes:
        price_per_1000: Price of 1,000 calls; 0 is free.
        currency: Currency of the price.
        most: Ceiling of the calls in this process; None is none.
        daily: Ceiling of the calls in a day; None is none.
        size: Inputs in one request; the answers to a request are kept as soon as it is answered.
        calls: Calls so far.
    """

    price_per_1000: float = 0.0
    currency: str = ""
    most: int | None = None
    daily: CountOfDay | None = None
    size: int = REQUEST
    calls: int = 0

    def charge(self, count: int) -> None:
        """Count calls before they are made.

        Raises:
            CallLimit: They would exceed a ceiling.
        """
        if self.most is not None and self.calls + count > self.most:
            raise CallLimit(
                f"{self.calls + count:,} calls ({self.price(self.calls + count)})",
                f"at most {self.most:,} (--max-calls)", "raise it and run again: what was answered is kept",
            )  # fmt: skip
        if self.daily is not None and not self.daily.add(count):
            raise CallLimit(
                f"more calls today than {self.daily.most:,} ({self.price(self.daily.most)})",
                "at most so many a day (max_calls_per_day)", "raise it, or wait until tomorrow (UTC)",
            )  # fmt: skip
        self.calls += count

    @property
    def ceiling(self) -> str:
        """The ceilings in words, with what they cost; "" for none."""
        limits = [(self.most, "in all"), (self.daily and self.daily.most, "a day")]
        return " and ".join(f"at most {most:,} calls {span}, {self.price(most)}" for most, span in limits if most)

    def price(self, calls: int) -> str:
        """Return the price of so many calls in words."""
        if not self.price_per_1000:
            return "price unknown"
        return f"{calls * self.price_per_1000 / 1000:,.2f} {self.currency}".strip()
