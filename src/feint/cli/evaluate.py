"""`feint evaluate`."""

from pathlib import Path

from feint.cli.app import Defenses, app


@app.command
def evaluate(surrogate: Path, /, *, victim: Path, data: str, defense: Defenses = (), json: bool = False) -> None:
    """Say how good a surrogate is, and what the defense leaves to an honest client.

    Example: `feint evaluate runs/stolen --victim runs/victim --data digits`

    Parameters
    ----------
    surrogate
        The directory of a stolen copy.
    victim
        The directory of the victim, or a scikit-learn classifier that skops wrote, NAME.skops.
    data
        The data set on whose test part both are judged.
    defense
        The directory of a fitted defense, or a recipe. Can be given several times.
    json
        Print JSON for machines.
    """
    import json as writer

    import feint
    from feint import victims, words
    from feint.evaluation import metrics
    from feint.service import Service

    stolen, model, test = victims.load(surrogate), victims.load_any(victim), feint.data.load(data).test
    scores = {"stealer_accuracy": metrics.stealer_accuracy(stolen, test), "n_test": len(test)}
    scores |= {"fidelity": metrics.fidelity(stolen, model, test)}
    scores |= metrics.utility(Service(model, words.defense(defense, victim=victims.fingerprint(model))), test)
    if json:
        print(writer.dumps(scores, indent=1))
        return
    for name in ("stealer_accuracy", "fidelity"):
        low, high = metrics.interval([scores[name]], len(test))
        print(f"{name.replace('_', ' '):22} {scores.pop(name):8.2%}   ({low:.2%} to {high:.2%}, n = {len(test):,})")
    for name, score in scores.items():
        print(f"{name.replace('_', ' '):22} {score:8.4g}")
