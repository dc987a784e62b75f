"""The words of an audit, in English and Chinese."""

from feint.audit.findings import Findings
from feint.audit.notes import Note
from feint.i18n import Catalog
from feint.report.tables import meaning


class AuditText(Catalog):
    """Every phrase in one language: `say("limit", queries="500", …)`."""

    def __init__(self, name: str = "en") -> None:
        super().__init__(name, room="feint.audit")

    def limit(self, found: Findings) -> str:
        """The budget for each client that the curve suggests, in a sentence."""
        thefts = found.deploy.thefts if found.deploy else found.thefts
        if not thefts or not found.utility:
            return self("limit unknown")
        accuracy = f"{found.utility['victim_accuracy']:.1%}"
        if found.limit is None:
            return self("limit none", queries=f"{thefts[0].budget:,}", accuracy=accuracy)
        return self("limit", queries=f"{found.limit:,}", accuracy=accuracy)

    def note(self, note: Note) -> str:
        """A note in a sentence."""
        return self(note.phrase, **note.values)

    def meaning(self, flag: str) -> str:
        """What a flag means, in a sentence."""
        return meaning(flag, Catalog(self.name))

    def decision(self, found: Findings) -> str:
        """Which defense to deploy, or none, in a sentence."""
        if not found.changes:
            return self("deploy nothing tried")
        if found.deploy is None:
            worst = [it.thefts[-1].stealer_accuracy for it in found.changes]
            if any(case.labels_only for case in worst):
                return self("deploy none")
            return self("deploy none of", attack="; ".join(sorted({case.attack for case in worst})))
        last = found.deploy.thefts[-1]
        before = next(it for it in found.thefts if it.budget == last.budget)
        return self(
            "deploy",
            name=found.deploy.candidate.name,
            budget=f"{last.budget:,}",
            before=f"{before.stealer_accuracy.share:.1%}",
            after=f"{last.stealer_accuracy.share:.1%}",
        )
