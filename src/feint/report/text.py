"""Sentences that summarise rows of results, unfavourable ones included."""

from collections.abc import Iterator

from feint.evaluation.results import Results
from feint.i18n import Catalog
from feint.report.section import Section

DESCRIBED = 4  # defenses; with more of them none gets a sentence, only the table


def sentences(results: Results, say: Catalog | None = None) -> list[str]:
    """Return sentences that summarise the rows of one victim."""
    return describe(Section("", results), say or Catalog())


def describe(section: Section, say: Catalog) -> list[str]:
    """Return sentences that summarise a section; none without an attack on the undefended victim."""
    bare = section.robust(section.bare) if section.bare else None
    if bare is None or section.victim_accuracy is None:
        return []
    shares = {"share": f"{bare.share:.1%}", "victim": f"{section.victim_accuracy:.1%}"}
    defended = [name for name in section.defenses if name != section.bare]
    texts = [say("summary bare", budget=f"{bare.budget:,}", **shares)]
    if len(defended) <= DESCRIBED:
        texts += [text for name in defended for text in _on(section, name, bare.budget, say)]
    return [*texts, *([say("summary bad news")] if defended else [])]


def _on(section: Section, defense: str, budget: int, say: Catalog) -> Iterator[str]:
    largest, utility = section.largest(defense), section.results.utility(defense)
    if not largest:
        return
    name = defense if largest == budget else say("summary at a budget", defense=defense, budget=f"{largest:,}")
    worst, naive = section.robust(defense), section.naive(defense, largest)
    if worst is None:
        yield say("summary no worst case", defense=name)
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
        yield say("summary defense, no naive", **values)
    else:
        yield say("summary defense", naive=f"{naive.scores['stealer_accuracy']:.1%}", **values)


def _accuracy(change: float, say: Catalog) -> str:
    if change == 0:
        return say("accuracy unchanged")
    return say("accuracy higher" if change > 0 else "accuracy lower", lost=f"{abs(change):.2%}")
