"""Command `feint evaluate`."""

from pathlib import Path

from feint.cli.app import Defenses, app
from feint.cli.common import load_victim


@app.command
def evaluate(
    surrogate: Path,
    /,
    *,
    victim: str,
    data: str,
    network: str | None = None,
    defense: Defenses = (),
    json: bool = False,
) -> None:
    """Measure the accuracy and fidelity of a surrogate, and the utility of the defense for honest clients.

    Example: `feint evaluate runs/stolen --victim runs/victim --data digits`

    Args:
        surrogate: Directory of a stolen copy.
        victim: Directory of the victim, NAME.onnx, NAME.skops (scikit-learn), NAME.safetensors with its --network, or
            package.module:factory.
        data: Data set on whose test part both are judged.
        network: Network of the weights in a .safetensors file.
        defense: Directory of a fitted defense, or a recipe. Repeat the option for several.
        json: Print JSON.
    """
    import json as writer

    import feint
    from feint import victims
    from feint.defenses.parsing import parse_defense
    from feint.evaluation import metrics
    from feint.service import Service

    stolen, model, test = (
        victims.load(surrogate),
        load_victim(victim, data, network),
        feint.data.load(data).test,
    )
    scores = {"stealer_accuracy": metrics.stealer_accuracy(stolen, test), "n_test": len(test)}
    scores |= {"fidelity": metrics.fidelity(stolen, model, test)}
    scores |= metrics.utility(Service(model, parse_defense(defense, victim=victims.fingerprint(model))), test)
    if json:
        print(writer.dumps(scores, indent=1))
        return
    for name in ("stealer_accuracy", "fidelity"):
        low, high = metrics.interval([scores[name]], len(test))
        print(f"{name.replace('_', ' '):22} {scores.pop(name):8.2%}   ({low:.2%} to {high:.2%}, n = {len(test):,})")
    for name, score in scores.items():
        print(f"{name.replace('_', ' '):22} {score:8.4g}")
