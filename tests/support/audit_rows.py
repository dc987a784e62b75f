"""Rows of an audit, as its cells write them."""

from feint.evaluation.results import Results, Row

SAMPLES = 1000


def theft(
    defense: str,
    attack: str,
    accuracy: float,
    *,
    budget: int = 100,
    seed: int = 0,
    error: str = "",
    explained: float = 1.0,
) -> Row:
    """Return the row of a theft; an attack with "labels" in its name reads labels alone."""  # fmt: skip
    lenses = [{"kind": "HardLabels"}] if "labels" in attack else []
    outputs = [] if defense == "none" else [{"kind": "LabelOnly"}]
    recipe = {
        "victim": "v", "test": {"name": "t", "part": "all", "fingerprint": "f"}, "seed": seed,
        "defense": {"kind": "Defense", "access": [], "inputs": [], "outputs": outputs},
        "attack": {"kind": "LensedAttack", "attack": {"kind": "KnockoffNets"}, "lenses": lenses},
    }  # fmt: skip
    scores = {"stealer_accuracy": accuracy, "fidelity": accuracy, "n_test": SAMPLES, "explained": explained}
    name = f"{defense}{attack}{budget}{seed}"
    return Row(
        name, defense, attack, budget, seed, {} if error else scores, budget, 1.0, recipe, {}, error=error
    )  # fmt: skip


def utility(defense: str, accuracy: float, *, lost: float = 0.0, l1: float = 0.5) -> Row:
    """Return the row of a defense's utility."""
    scores = {"victim_accuracy": accuracy, "defender_accuracy": accuracy - lost, "l1": l1, "ece": 0.1}
    row = theft(defense, "", 0.0, budget=0)
    return Row(f"{defense} utility", defense, "", 0, 0, scores, 0, 1.0, row.recipe, {})


def thefts(defense: str, shares: dict[int, float], *, seeds: int = 3, explained: float = 1.0) -> Results:
    """Return thefts with probabilities and with labels only, at several budgets and with several seeds."""
    return Results(
        theft(defense, attack, share, budget=budget, seed=seed, explained=explained)
        for budget, share in shares.items() for seed in range(seeds) for attack in ("a", "a, labels only")
    )  # fmt: skip
