"""Audits that a test can wait for."""

from feint.audit import attacker, output, plan, promise


def shorten(monkeypatch) -> None:
    """Make audits quick: small budgets, few trials, and a report of its own."""
    monkeypatch.setattr(plan, "BUDGETS", (20, 40, 80))
    monkeypatch.setattr(plan, "OVERHEAD", 1e6)  # a slow machine: the least plan is made, whatever runs beside
    monkeypatch.setattr(attacker, "ROWS", 80)
    for name, number in {"ATTACKERS": 10, "CLIENTS": 10, "LENGTH": 200, "SLICED": 50}.items():
        monkeypatch.setattr(promise, name, number)
    monkeypatch.setattr(output.report, "write", lambda path, *_, **__: path.write_text("a page of its own"))
