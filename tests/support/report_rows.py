"""Rows of results: cells around a share, and those of a victim that a report is written of."""

from dataclasses import replace

from feint import Defense
from feint.defenses.outputs import APGPClosedForm, GaussianNoise
from feint.evaluation.results import Row
from feint.recipes.recipe import to_table

TEST = {"kind": "Split", "name": "digits", "part": "test", "fingerprint": "t"}
POOL = {"kind": "Split", "name": "digits", "part": "held_out", "fingerprint": "p"}
KNOCKOFF = {"kind": "KnockoffNets", "pool": POOL, "training": {"kind": "Training", "epochs": 5}}
LABELS = {"kind": "HardLabels"}
NONE, KEEPS, NOISE = (
    to_table(defense)
    for defense in (
        Defense(),
        Defense(outputs=[APGPClosedForm(top=1)]),
        Defense(outputs=[GaussianNoise("a test's, not a secret", 0.1)]),
    )
)


def through(*lenses, attack=KNOCKOFF):
    return {"kind": "LensedAttack", "attack": attack, "lenses": list(lenses)}


def cell(
    share,
    *,
    seeds=3,
    defense=NONE,
    attack=KNOCKOFF,
    named=("none", "knockoff"),
    n=10_000,
    budget=1000,
    spread=0.0,
    **more,
):
    """The rows of one cell around a share."""
    made = []
    for seed in range(seeds):
        scores = {"stealer_accuracy": share + spread * (seed - (seeds - 1) / 2), "n_test": n, "fidelity": share}
        recipe = {"victim": "v", "test": TEST, "defense": defense, "attack": attack, "budget": budget, "seed": seed}
        row = Row(f"{named}{budget}{seed}", *named, budget, seed, scores, budget, 1.0, recipe, {})
        made.append(replace(row, **{key: value for key, value in more.items() if key != "scores"}))
        made[-1].scores.update(more.get("scores", {}))
    return made


MACHINE = {"feint": "0.1.0", "torch": "2.13.0", "device": "a processor", "threads": 1, "revision": None}
UTILITY = {
    "defender_accuracy": 0.9, "victim_accuracy": 0.92, "label_kept": 1.0, "kl": 1.5, "l1": 0.5, "ece": 0.4,
    "victim_ece": 0.05, "auroc": 0.7, "added_ms_per_1000": 1.25, "added_mb_per_1000": 3.0,
}  # fmt: skip


def rows_of_victim(victim="digits", **more):
    """Rows of one victim: no defense, one that keeps the label, and one that no one read the label of."""
    rows = [
        *cell(0.0, seeds=1, named=("none", ""), budget=0, scores=UTILITY | {"defender_accuracy": 0.92}),
        *cell(0.0, seeds=1, named=("APGP", ""), budget=0, defense=KEEPS, scores=UTILITY),
        *(row for budget, share in ((100, 0.5), (1000, 0.8)) for row in cell(share, budget=budget)),
        *cell(0.78, named=("none", "knockoff, labels"), attack=through(LABELS)),
        *(row for budget in (100, 1000) for row in cell(0.1, defense=KEEPS, named=("APGP", "knockoff"), budget=budget)),
        *cell(0.75, defense=KEEPS, named=("APGP", "knockoff, labels"), attack=through(LABELS)),
        *cell(0.3, defense=NOISE, named=("noise", "knockoff"), scores={"transfer_fgsm": 0.25}),
        *cell(0.0, seeds=1, named=("noise", "broken"), defense=NOISE, error="ValueError: it <broke> | here"),
    ]
    named = ({**row.recipe, "victim": f"{victim} weights"} for row in rows)
    return [
        replace(row, victim=victim, provenance=MACHINE, recipe=recipe, fingerprint=f"{victim}{i:08}", **more)
        for i, (row, recipe) in enumerate(zip(rows, named, strict=True))
    ]
