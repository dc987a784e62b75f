"""Command `feint evaluate`."""

from pathlib import Path

from feint.cli.app import STUDY, app
from feint.cli.common import check_victim, load_victim, owner_samples


@app.command(group=STUDY)
def evaluate(
    surrogate: Path,
    /,
    *,
    victim: str,
    data: str,
    network: str | None = None,
    defense: tuple[str, ...] = (),
    label: str | None = None,
    expect_accuracy: float | None = None,
    max_calls: int | None = None,
    threshold: float | None = None,
    json: bool = False,
) -> None:
    """Measure the accuracy and fidelity of a surrogate, and the utility of the defense for honest clients.

    Example: `feint evaluate runs/stolen --victim runs/victim --data digits`

    Args:
        surrogate: Directory of a stolen copy.
        victim: Directory of a trained victim, model.toml, victim.toml, model file, or package.module:name.
        data: Data set on whose test part both are judged, or a file or directory of labelled samples.
        network: Network of the weights in a .safetensors file.
        defense: Directory of a fitted defense, or a recipe. Repeat the option for several.
        label: Column of the label in a file (default: label, target, class or y).
        expect_accuracy: Accuracy that the victim has on the data, like 0.93. A lower one is an error; without this
            option, one that is no better than chance, or that another adapter would raise.
        max_calls: Ceiling on the calls to a paid victim.
        threshold: Probability from which on an input counts as positive: how often the surrogate decides as the victim.
        json: Print JSON.
    """
    import json as writer

    from feint import victims
    from feint.defenses.parsing import parse_defense
    from feint.evaluation import metrics
    from feint.evaluation.decisions import check_threshold
    from feint.service import Service

    check_threshold(threshold)
    stolen, model = victims.load(surrogate), load_victim(victim, data, network, label, max_calls=max_calls)
    samples = owner_samples(data, model, label)
    test = samples.split
    check_victim(model, test, victim, data, expect_accuracy, samples.classes, label)
    clean = victims.answers(model, test)
    stolen_answers = metrics.StolenAnswers(victims.answers(stolen, test), clean, test.labels, threshold)
    thefts = metrics.theft(stolen_answers)
    service = Service(model, parse_defense(defense, victim=victims.fingerprint(model)))
    scores = metrics.utility(service, test, clean=clean, threshold=threshold)
    if json:
        print(writer.dumps({**thefts, "n_test": len(test), **scores}, indent=1))
        return
    for name, score in {**thefts, **scores}.items():
        print(_line(name, score, len(test)))


def _line(name: str, score: float, n: int) -> str:
    """Return the line of a score, with its interval where it is a share of the `n` test inputs."""
    from feint.evaluation.intervals import interval
    from feint.evaluation.metrics import metric

    entry = metric(name)
    text = f"{name.replace('_', ' '):26} {format(score, '8.2%' if entry.unit == '%' else '8.4g')}"
    if not entry.counted:
        return text
    low, high = interval([score], n)
    return f"{text}   ({low:.2%} to {high:.2%}, n = {n:,})"
