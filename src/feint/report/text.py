"""What the rows say in plain words, the bad news included."""

from collections.abc import Iterator

from feint.evaluation.results import Results
from feint.i18n import Catalog
from feint.report.section import Section

SPOKEN = 4  # defenses that get a sentence each; the table says it of more


def sentences(results: Results, say: Catalog | None = None) -> list[str]:
    """What the rows on one victim say."""
    return said(Section("", results), say or Catalog())


def said(section: Section, say: Catalog) -> list[str]:
    """What a section says; nothing where the undefended victim was not stolen."""
    bare = section.robust(section.bare) if section.bare else None
    if bare is None or section.victim_accuracy is None:
        return []
    shares = {"share": f"{bare.share:.1%}", "victim": f"{section.victim_accuracy:.1%}"}
    defended = [name for name in section.defenses if name != section.bare]
    spoken = [say("said bare", budget=f"{bare.budget:,}", **shares)]
    if len(defended) <= SPOKEN:
        spoken += [text for name in defended for text in _on(section, name, bare.budget, say)]
    return [*spoken, *([say("said bad news")] if defended else [])]


def _on(section: Section, defense: str, budget: int, say: Catalog) -> Iterator[str]:
    largest, utility = section.largest(defense), section.results.utility(defense)
    if not largest:
        return
    name = defense if largest == budget else say("said at a budget", defense=defense, budget=f"{largest:,}")
    worst, naive = section.robust(defense), section.naive(defense, largest)
    if worst is None:
        yield say("said no worst case", defense=name)
        return
    if not utility:
        return
    values = {
        "defense": name,
        "worst": f"{worst.share:.1%}",
        "attack": worst.attack,
        "accuracy": _accuracy(utility["defender_accuracy"] - utility["victim_accuracy"], say),
        "l1": f"{utility['l1']:.2f}",
        "ece": f"{utility['ece']:.2f}",
        "before": f"{utility['victim_ece']:.2f}",
    }
    if naive is None:
        yield say("said defense, no naive", **values)
    else:
        yield say("said defense", naive=f"{naive.scores['stealer_accuracy']:.1%}", **values)


def _accuracy(change: float, say: Catalog) -> str:
    if change == 0:
        return say("accuracy unchanged")
    return say("accuracy higher" if change > 0 else "accuracy lower", lost=f"{abs(change):.2%}")
