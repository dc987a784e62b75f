"""Texts and tables of an audit, in English and Chinese."""

from feint.audit.findings import AttackResult, DefenseEffect, Findings
from feint.audit.run import Audit
from feint.audit.samples import Note
from feint.bench.matrix import lens_of
from feint.evaluation.robust import Robust
from feint.i18n import Catalog
from feint.report.tables import meaning

Rows = list[list[str]]


class AuditText(Catalog):
    """Catalog of an audit's phrases in one language, with the sentences and tables made of them.

    Example:
        `AuditText("en")("limit", queries="500", accuracy="94.7%")`
    """

    def __init__(self, name: str = "en") -> None:
        super().__init__(name, room="feint.audit")

    def title(self, name: str, audit: Audit, findings: Findings) -> str:
        """Return the sentence that names the model."""
        utility = findings.utility.get("victim_accuracy")
        accuracy = "–" if utility is None else f"{utility:.1%}"
        classes = audit.setup.plan.surrogate.classes
        return self("title", name=name, classes=classes, accuracy=accuracy, n=f"{findings.n:,}")

    def basis(self, findings: Findings) -> str:
        """Return the sentence on samples, attackers and seeds."""
        seeds = self("seeds", seeds=findings.seeds)
        return self("basis", n=f"{findings.n:,}", count=len(findings.attackers), seeds=seeds)

    def limit(self, findings: Findings) -> str:
        """Return the sentence that names the recommended budget of each client."""
        cases = findings.recommended.worst_cases if findings.recommended else findings.worst_cases
        if not cases or not findings.utility:
            return self("limit unknown")
        accuracy = f"{findings.utility['victim_accuracy']:.1%}"
        if findings.query_limit is None:
            return self("limit none", queries=f"{cases[0].budget:,}", accuracy=accuracy)
        return self("limit", queries=f"{findings.query_limit:,}", accuracy=accuracy)

    def note(self, note: Note) -> str:
        """Return a note as a sentence."""
        return self(note.phrase, **note.values)

    def meaning(self, flag: str) -> str:
        """Return the meaning of a flag, in a sentence."""
        return meaning(flag, Catalog(self.name))

    def decision(self, findings: Findings) -> str:
        """Return the sentence that recommends a defense, or none."""
        if not findings.effects:
            return self("deploy nothing tried")
        if findings.recommended is None:
            worst = [effect.worst_cases[-1].stealer_accuracy for effect in findings.effects]
            if any(case.labels_only for case in worst):
                return self("deploy none")
            return self("deploy none of", attack="; ".join(sorted({case.attack for case in worst})))
        last = findings.recommended.worst_cases[-1]
        before = next(case for case in findings.worst_cases if case.budget == last.budget)
        return self(
            "deploy",
            name=findings.recommended.candidate.name,
            budget=f"{last.budget:,}",
            before=f"{before.stealer_accuracy.share:.1%}",
            after=f"{last.stealer_accuracy.share:.1%}",
        )

    def attack_table(self, findings: Findings) -> tuple[list[str], Rows]:
        """Return the heads and rows of the table of worst cases without a defense."""
        price = [] if findings.worst_cases[0].price is None else [self("price")]
        heads = [self("queries"), *price, self("copy"), self("fidelity"), self("worst")]
        return heads, [_attack_row(case) for case in findings.worst_cases]

    def effects_title(self, findings: Findings) -> str:
        """Return the title of the table of defenses."""
        return self("effects", budget=f"{findings.effects[0].worst_cases[-1].budget:,}")

    def effect_table(self, findings: Findings) -> tuple[list[str], Rows]:
        """Return the heads and rows of the table of defenses."""
        columns = "defense", "naive", "robust", "worst", "cost", "calibration", "latency"
        return [self(column) for column in columns], [_effect_row(effect) for effect in findings.effects]


def _attack_row(result: AttackResult) -> list[str]:
    price = [] if result.price is None else [f"{result.price:,.2f}"]
    accuracy = result.stealer_accuracy
    return [f"{result.budget:,}", *price, _percent(accuracy), _percent(result.fidelity), accuracy.attack]


def _effect_row(effect: DefenseEffect) -> list[str]:
    last, utility = effect.worst_cases[-1].stealer_accuracy, effect.utility
    latency = utility.get("added_ms_per_1000")
    return [
        effect.candidate.name,
        "" if effect.naive is None else f"{100 * effect.naive:.1f}",
        _percent(last),
        lens_of(last.attack),
        "±0" if effect.cost == 0 else f"{-100 * effect.cost:+.1f}",
        f"{utility['ece']:.3f}",
        "" if latency is None else f"{latency:.1f}",
    ]


def _percent(case: Robust) -> str:
    return f"{100 * case.share:.1f} ({100 * case.low:.0f}–{100 * case.high:.0f})"
