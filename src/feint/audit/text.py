"""Texts and tables of an audit, in English and Chinese."""

import re
from collections.abc import Iterable

from feint.audit.candidates import NAMES, NONE
from feint.audit.findings import AttackResult, DefenseEffect, Findings, RaisedFlag
from feint.audit.run import Audit, AuditSetup
from feint.bench.cells import lens_of
from feint.data.remarks import Remark
from feint.evaluation import checks
from feint.evaluation.robust import Robust
from feint.evaluation.sample_accuracy import SampleAccuracy
from feint.i18n import Catalog
from feint.report.tables import meaning

Rows = list[list[str]]
ACCOUNTS, DAYS = 10, 30  # of one attacker; of a month
SHOWN = 1  # numbers of a flag: the flags of all rows are in the report
SHORT = 16  # characters of a flag's numbers on the screen
GLOSSARY = (
    "copy", "query", "fidelity", "worst", "naive", "KnockoffNets", "labels only", "sharpened", "seed", "accuracy lost",
    "ECE", "added ms/1,000", "AUC", "defenses",
)  # fmt: skip


class AuditText(Catalog):
    """Catalog of an audit's phrases in one language, with the sentences and tables made of them.

    Args:
        name: Language, "en" or "zh".
        currency: Word for the currency of prices, empty for none.

    Example:
        `AuditText("en")("limit", queries="500", accuracy="94.7%", margin="10")`
    """

    def __init__(self, name: str = "en", *, currency: str = "") -> None:
        super().__init__(name, room="feint.audit")
        self.currency = currency

    def title(self, name: str, audit: Audit, findings: Findings) -> str:
        """Return the sentence that names the model."""
        utility = findings.utility.get("victim_accuracy")
        accuracy = "–" if utility is None else f"{utility:.1%}"
        return self(
            "title", name=name, classes=audit.setup.plan.surrogate.classes, accuracy=accuracy, n=f"{findings.n:,}",
            majority_class=audit.setup.accuracy.majority_class, majority=f"{findings.constant.accuracy:.1%}",
        )  # fmt: skip

    def check(self, accuracy: SampleAccuracy) -> str:
        """Return the sentences on the accuracy of the model on its owner's samples."""
        shown = self(
            "check", accuracy=f"{accuracy.accuracy:.1%}", n=f"{accuracy.count:,}",
            majority_class=accuracy.majority_class, majority=f"{accuracy.majority:.1%}",
        )  # fmt: skip
        balanced = self("check balanced", balanced=f"{accuracy.balanced_accuracy:.1%}")
        return self("gap").join([shown, balanced])

    def attacker(self, setup: AuditSetup) -> str:
        """Return the sentence on the attacker and on what was tried beside."""
        plan, chosen = setup.plan, setup.plan.attacker
        others = {name: share for name, share in plan.tried.items() if name != chosen}
        others |= {self(f"baseline {name}"): share for name, share in plan.baselines.items()}
        shown = self("comma").join(f"{name} {share:.1%}" for name, share in others.items())
        return self("attacker", name=chosen, agreement=f"{plan.tried[chosen]:.1%}", others=shown)

    def basis(self, findings: Findings) -> str:
        """Return the sentence on samples, attackers and seeds."""
        seeds = self("seeds", seeds=findings.seeds)
        return self("based on", n=f"{findings.n:,}", count=len(findings.attackers), seeds=seeds)

    def note(self, note: Remark) -> str:
        """Return a note as a sentence; notes of data have their own texts."""
        if note.phrase not in self:
            return note.text(self.name)
        return self(note.phrase, **{key: self.word(v) if key == "noun" else v for key, v in note.values.items()})

    def word(self, name: str) -> str:
        """Return a name in this language; the name itself where it has no other."""
        return self(name) if name in self else name

    def attack(self, name: str) -> str:
        """Return the name of an attack with its lens."""
        return self("comma").join(map(self.word, name.split(", ")))

    def advice(self, findings: Findings, audit: Audit) -> list[str]:
        """Return the sentences of the recommendation: what is known, or that nothing is."""
        if not findings.known:
            return self._unknown(findings, audit)
        return [self.decision(findings, audit), *self.limit(findings)]

    def _unknown(self, findings: Findings, audit: Audit) -> list[str]:
        if findings.missing:
            sentences = [self("unknown partial", missing=findings.missing, cells=len(audit.setup.cells))]
        elif findings.hurried:
            sentences = [self("unknown hurried"), *map(self.note, audit.setup.plan.notes)]
        else:
            reasons = [self("unknown reason", reason=self(doubt)) for doubt in findings.doubts]
            sentences = [self("unknown attacker"), *reasons]
        if (bought := findings.bought) is not None:
            sentences.append(self(
                "bought", queries=f"{bought.budget:,}", share=f"{bought.stealer_accuracy.share:.1%}",
                accuracy=f"{findings.utility['victim_accuracy']:.1%}",
            ))  # fmt: skip
        return sentences

    def decision(self, findings: Findings, audit: Audit) -> str:
        """Return the sentence that recommends a defense, or none."""
        compared = [effect.compared for effect in findings.effects if effect.compared is not None]
        if not compared:
            return self("deploy nothing tried", budget=f"{findings.compared:,}")
        if findings.recommended is None or findings.recommended.compared is None:
            if findings.seeds < checks.SEEDS:
                needed = audit.setup.plan.minutes_for(checks.SEEDS)
                return self("deploy few seeds", least=checks.SEEDS, minutes=f"{needed:,.0f}")
            worst = sorted({self.attack(case.stealer_accuracy.attack) for case in compared})
            return self("deploy none of", attack=self("semicolon").join(worst))
        last = findings.recommended.compared
        before = next(case for case in findings.worst_cases if case.budget == last.budget)
        return self(
            "deploy",
            name=self.word(findings.recommended.candidate.name),
            budget=f"{last.budget:,}",
            before=f"{before.stealer_accuracy.share:.1%}",
            after=f"{last.stealer_accuracy.share:.1%}",
        )

    def limit(self, findings: Findings) -> list[str]:
        """Return the sentences on the budget of each account: over which period, and what many accounts make of it."""
        known = [case for case in findings.deployed if case.doubt is None]
        if not known or not findings.utility:
            return [self("limit unknown")]
        near = {"accuracy": f"{findings.utility['victim_accuracy']:.1%}", "margin": f"{100 * findings.margin:.3g}"}
        if findings.query_limit is None:
            return [self("limit none", queries=f"{findings.deployed[0].budget:,}", **near)]
        limit, ten = findings.query_limit, ACCOUNTS * findings.query_limit
        beyond = [case for case in findings.deployed if limit < case.budget <= ten]
        accounts = self("limit accounts unknown", ten=f"{ten:,}")
        if beyond:
            share = f"{beyond[-1].stealer_accuracy.share:.1%}"
            accounts = self("limit accounts", ten=f"{ten:,}", b=f"{beyond[-1].budget:,}", share=share)
        return [
            self("limit", queries=f"{limit:,}", **near), accounts,
            self("limit period", queries=limit, month=f"{DAYS * limit:,}"),
        ]  # fmt: skip

    def flag(self, flag: RaisedFlag) -> str:
        """Return a flag with its numbers and its meaning."""
        name, about = self._flag_name(flag), meaning(flag.name, Catalog(self.name))
        if not flag.numbers:
            return self("flag line bare", name=name, meaning=about)
        return self("flag line", name=name, numbers=self._numbers(flag), meaning=about)

    def flags(self, findings: Findings) -> str:
        """Return the line with the names and numbers of all flags."""
        if not findings.flags:
            return self("flags none")
        return self("flags", flags=self("comma").join(map(self._flag_short, findings.flags)))

    def _flag_short(self, flag: RaisedFlag) -> str:
        """Return the name of a flag, with its numbers where they are short."""
        name, numbers = self._flag_name(flag), self._numbers(flag)
        return self("flag short", name=name, numbers=numbers) if 0 < len(numbers) <= SHORT else name

    def _flag_name(self, flag: RaisedFlag) -> str:
        return self(f"flag {flag.name}") if f"flag {flag.name}" in self else flag.name

    def _numbers(self, flag: RaisedFlag) -> str:
        shown = [self._translated(numbers) for numbers in flag.numbers[:SHOWN]]
        return self("semicolon").join([*shown, *["…"] * (len(flag.numbers) > SHOWN)])

    def _translated(self, numbers: str) -> str:
        """Return the numbers of a flag, with the names of defenses in this language."""
        parts = [re.split(r", (?=\D)", part) for part in numbers.split("; ")]
        return self("semicolon").join(self("comma").join(map(self._named, part)) for part in parts)

    def _named(self, number: str) -> str:
        name = next((name for name in sorted((NONE, *NAMES.values()), key=len) if number.startswith(f"{name} ")), None)
        return number if name is None else number.replace(name, self.word(name), 1)

    def attack_table(self, findings: Findings) -> tuple[list[str], Rows]:
        """Return the heads and rows of the table of worst cases without a defense, one for each budget of the plan."""
        cases = {case.budget: case for case in findings.worst_cases}
        priced = any(case.price is not None for case in cases.values())
        price = [self("price in", currency=self.currency) if self.currency else self("price")] if priced else []
        heads = [self("queries"), *price, self("copy"), self("fidelity"), self("worst"), self("basis")]
        empty = ["–"] * (len(heads) - 2)
        return heads, [
            self._attack_row(cases[budget]) if budget in cases else [f"{budget:,}", *empty, self("not measured")]
            for budget in findings.budgets
        ]

    def _attack_row(self, result: AttackResult) -> list[str]:
        price = [] if result.price is None else [f"{result.price:,.2f}"]
        accuracy = result.stealer_accuracy
        basis = self("basis yes") if result.doubt is None else self("basis no", reason=self(result.doubt))
        shares = self._percent(accuracy), self._percent(result.fidelity)
        return [f"{result.budget:,}", *price, *shares, self.attack(accuracy.attack), basis]

    def effects_title(self, findings: Findings) -> str:
        """Return the title of the table of defenses."""
        return self("effects", budget=f"{findings.compared:,}")

    def effect_table(self, findings: Findings) -> tuple[list[str], Rows]:
        """Return the heads and rows of the table of defenses, all at one budget; the first row is no defense."""
        columns = "defense", "naive", "robust", "worst", "cost", "calibration", "latency"
        bare = next((case for case in findings.worst_cases if case.budget == findings.compared), None)
        first = [] if bare is None else [self._effect_cells(NONE, bare, findings.utility)]
        rows = (self._effect_row(effect) for effect in findings.effects)
        return [self(column) for column in columns], [*first, *rows]

    def _effect_row(self, effect: DefenseEffect) -> list[str]:
        if effect.compared is None or not effect.utility:
            return [self.word(effect.candidate.name), *["–"] * 2, self("not measured"), *["–"] * 3]
        return self._effect_cells(effect.candidate.name, effect.compared, effect.utility)

    def _effect_cells(self, name: str, case: AttackResult, utility: dict[str, float]) -> list[str]:
        worst, latency = case.stealer_accuracy, utility.get("added_ms_per_1000")
        lost = 100 * (utility["victim_accuracy"] - utility["defender_accuracy"]) if utility else None
        return [
            self.word(name),
            "–" if worst.naive is None else f"{100 * worst.naive:.1f}",
            self._percent(worst),
            self.word(lens_of(worst.attack)) + ("" if case.doubt is None else f" ({self(case.doubt)})"),
            "–" if lost is None else f"{max(lost, 0.0) if abs(lost) < 0.05 else lost:.1f}",
            f"{utility['ece']:.3f}" if utility else "–",
            "–" if latency is None else f"{latency:.1f}",
        ]

    def _percent(self, case: Robust) -> str:
        """Return a share with its interval, in percent."""
        return self(
            "interval", share=f"{100 * case.share:.1f}", low=f"{100 * case.low:.0f}", high=f"{100 * case.high:.0f}"
        )

    def glossary(self, *, scores: bool, defenses: Iterable[str]) -> list[tuple[str, str]]:
        """Return the words of the page with their meanings; those of scores and of the short list only where needed."""
        left_out = {"AUC": not scores, "defenses": not any(name in self for name in defenses)}
        return [(self(f"word {word}"), self(f"about {word}")) for word in GLOSSARY if not left_out.get(word)]
