"""Price and ceiling of the calls to a paid model."""

from dataclasses import dataclass

from feint.errors import CallLimit


@dataclass
class Meter:
    """Count of the calls to a model that costs money or is rate-limited. One input is one call.

    Attributes:
        price_per_1000: Price of 1,000 calls; 0 is free.
        currency: Currency of the price.
        most: Ceiling of the calls in this process; None is none.
        size: Inputs in one request; the answers to a request are kept as soon as it is answered.
        calls: Calls so far.
    """

    price_per_1000: float = 0.0
    currency: str = ""
    most: int | None = None
    size: int = 500
    calls: int = 0

    def charge(self, count: int) -> None:
        """Count calls before they are made.

        Raises:
            CallLimit: They would exceed the ceiling.
        """
        if self.most is not None and self.calls + count > self.most:
            raise CallLimit(
                f"{self.calls + count:,} calls ({self.price(self.calls + count)})",
                f"at most {self.most:,} (--max-calls)", "raise it and run again: what was answered is kept",
            )  # fmt: skip
        self.calls += count

    def price(self, calls: int) -> str:
        """Return the price of so many calls in words."""
        if not self.price_per_1000:
            return "free of charge"
        return f"{calls * self.price_per_1000 / 1000:,.2f} {self.currency}".strip()
