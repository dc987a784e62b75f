"""Audits that a test can wait for: all steps, with fewer queries and clients."""

from feint.audit import attacker, output, plan, promise, run


def shorten(monkeypatch) -> None:
    """Make audits quick: small budgets, few trials of the two cheapest attackers, few clients."""
    contenders = attacker.contenders
    monkeypatch.setattr(attacker, "contenders", lambda *model: contenders(*model)[:2])
    monkeypatch.setattr(run, "CHOOSING", 0.01)  # of the minutes: trials take all that they are given
    monkeypatch.setattr(plan, "BUDGETS", (20, 40, 80))
    monkeypatch.setattr(plan, "OVERHEAD", 1e6)  # a slow machine: the least plan is made, whatever runs beside
    monkeypatch.setattr(attacker, "ROWS", 80)
    for name, number in {"ATTACKERS": 10, "CLIENTS": 10, "LENGTH": 200, "SLICED": 50}.items():
        monkeypatch.setattr(promise, name, number)


def skip_report(monkeypatch) -> None:
    """Write no report beside the page of an audit: its pictures take seconds."""
    monkeypatch.setattr(output.report, "write", lambda path, *_, **__: path.write_text("a page of its own"))
