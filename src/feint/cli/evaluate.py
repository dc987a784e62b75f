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
    threshold: float | None = None,
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
        threshold: Probability from which on an input counts as positive: how often the surrogate decides as the victim.
        json: Print JSON.
    """
    import json as writer

    import feint
    from feint import victims
    from feint.defenses.parsing import parse_defense
    from feint.evaluation import metrics
    from feint.evaluation.decisions import check_threshold
    from feint.service import Service

    check_threshold(threshold)
    stolen, model, test = (
        victims.load(surrogate),
        load_victim(victim, data, network),
        feint.data.load(data).test,
    )
    clean = victims.answers(model, test)
    stolen_answers = metrics.StolenAnswers(victims.answers(stolen, test), clean, test.labels, threshold)
    thefts = metrics.theft(stolen_answers)
    service = Service(model, parse_defense(defense, victim=victims.fingerprint(model)))
    scores = metrics.utility(service, test, clean=clean, threshold=threshold)
    if json:
        print(writer.dumps({**thefts, "n_test": len(test), **scores}, indent=1))
        return
    for name, score in thefts.items():
        print(_line(name, score, len(test)))
    for name, score in scores.items():
        print(f"{name.replace('_', ' '):26} {score:8.4g}")


def _line(name: str, score: float, n: int) -> str:
    """Return the line of a theft's score, with its interval where it is a share of the `n` test inputs."""
    from feint.evaluation.metrics import interval, metric

    entry = metric(name)
    text = f"{name.replace('_', ' '):26} {format(score, '8.2%' if entry.unit == '%' else '8.4g')}"
    if not entry.counted:
        return text
    low, high = interval([score], n)
    return f"{text}   ({low:.2%} to {high:.2%}, n = {n:,})"
