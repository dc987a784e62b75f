"""The commands: each a few lines over the library. Nothing heavy is imported before a command runs."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import cyclopts
from cyclopts import App, Parameter

from feint import __version__
from feint.errors import BadInput, FeintError

if TYPE_CHECKING:
    from feint.data import Split
    from feint.networks import Network
    from feint.oracle import Oracle
    from feint.transcript import Transcript

app = App(
    name="feint",
    version=__version__,
    help="How easily is a classifier behind a prediction API stolen, and what stops it?",
    help_format="markdown",
    suppress_keyboard_interrupt=False,
    result_action="return_value",
)

Defenses = Annotated[tuple[str, ...], Parameter(name="--defense", negative=(), consume_multiple=False)]
Lenses = Annotated[tuple[str, ...], Parameter(name="--lens", negative=(), consume_multiple=False)]


@app.command
def demo(*, data: str = "digits", out: Path | None = None, weights: Path | None = None, seeds: int = 3) -> None:
    """Train a victim, defend it, steal it, and see what came of it: a table here and a report to open.

    Example: `feint demo`

    Parameters
    ----------
    data
        digits (ships with Feint), fashion_mnist or cifar10.
    out
        Where everything is kept (default: feint-demo/DATA). What is there is not made again.
    weights
        An .npz of published weights for the victim, instead of training one.
    seeds
        How many times each theft is repeated.
    """
    from feint import demo
    from feint.evaluation import report
    from feint.evaluation.summary import sentences
    from feint.progress import bars, print_results
    from feint.service import Service

    report.check()
    out = out or Path("feint-demo") / data
    with bars() as watch:
        done = demo.run(data, out, weights=weights, seeds=range(_at_least(1, seeds, "seeds")), watch=watch)
        watch.step("report", 0, 1)
        services = {name: Service(done.victim, defense) for name, defense in done.defenses.items()}
        title = f"What a thief gets: {done.setting.network} on {data}"
        report.write(out / "report.html", done.results, services, done.data.test, title=title)
        watch.step("report", 1, 1)
    print_results(done.results)
    for sentence in sentences(done.results):
        print(f"\n{sentence}")
    print(f"\nThe report, with curves, pictures and every recipe: {out / 'report.html'}")


@app.command
def train(
    *,
    data: str,
    network: str,
    out: Path,
    training: str = "Training",
    weights: Path | None = None,
    seed: int = 0,
) -> None:
    """Train a victim, or take published weights for one.

    Interrupted, the same command continues with the epoch that it was in.

    Example: `feint train --data digits --network mlp --out runs/victim`

    Parameters
    ----------
    data
        A named data set, or a directory of that name under FEINT_DATA.
    network
        mlp, lenet, resnet20, resnet18, …
    out
        The directory to write: a recipe and the weights.
    training
        A recipe, like "Training(epochs=30, crop=4, flip=True)".
    weights
        An .npz of published weights; nothing is trained then.
    seed
        Same seed, same weights.
    """
    import feint
    from feint import networks, victims
    from feint.evaluation import metrics
    from feint.progress import bars

    images = feint.data.load(data)
    net = networks.get(network, images)
    recipe = _parse(training)
    _free(out)
    if weights is not None:
        victim = victims.load_published(weights, net)
    else:
        with bars() as watch, _working(out) as watch.folder:
            victim = feint.train(net, images.train, training=recipe, seed=seed, watch=watch)
    victims.save(out, victim, data=data, **({"weights": weights.name} if weights else {"training": repr(recipe)}))
    print(f"{out}: {network}, right on {metrics.stealer_accuracy(victim, images.test):.2%} of the test set")


@app.command
def fit(method: str, /, *, victim: Path, data: str, out: Path, outliers: str | None = None, seed: int = 0) -> None:
    """Fit a defense to a victim. A defense of the decision boundary makes a new victim, to be used in its place.

    Example: `feint fit "APGP(top=1)" --victim runs/victim --data digits --out runs/apgp`

    Parameters
    ----------
    method
        A recipe, as it is written in Python.
    victim
        The directory of a trained victim.
    data
        The data set on whose training inputs the defense is fitted. NAME/pool or NAME/test names another
        part, and NAME/test:0/2 the first of its two halves.
    out
        The directory to write: a recipe and what was learned.
    outliers
        A data set of another task, with images of the same shape, for the methods that learn what is out of place.
    seed
        Same seed, same defense.
    """
    import feint
    from feint import store
    from feint.defenses.boundary import Boundary
    from feint.progress import bars

    recipe = _parse(method)
    if not isinstance(recipe, Boundary) and not hasattr(recipe, "fit"):
        raise BadInput(f"{recipe!r}", "a defense that learns, like APGP(top=1)", "use it as it is: nothing to fit")
    model, inputs = feint.victims.load(victim), _part(data)
    given = {"outliers": _part(outliers) if outliers else None, "seed": seed}
    _free(out)
    with bars() as watch, _working(out) as watch.folder:
        if isinstance(recipe, Boundary):
            new, record = recipe.retrain(model, inputs, **given, watch=watch)
            feint.victims.save(out, new, data=data, **record)
            print(f"{out}: a new victim by {recipe!r}")
        else:
            fitted = recipe.fit(model, inputs, **given, watch=watch)
            store.save(out, fitted, data=data, outliers=outliers, victim=feint.victims.fingerprint(model))
            print(f"{out}: {fitted!r}")


@app.command
def steal(
    attack: str = "KnockoffNets",
    /,
    *,
    victim: Path | None = None,
    url: str | None = None,
    model: str | None = None,
    key: Annotated[tuple[str, ...], Parameter(negative=(), consume_multiple=False, env_var="FEINT_KEY")] = (),
    pool: str | None = None,
    budget: int,
    out: Path,
    defense: Defenses = (),
    lens: Lenses = (),
    surrogate: str | None = None,
    training: str = "Training",
    seed: int = 0,
) -> None:
    """Steal a victim: ask it, train a surrogate on the answers, and keep both.

    Interrupted, the same command continues: what was asked is not asked again.

    Example: `feint steal --victim runs/victim --pool digits --budget 600 --lens HardLabels --out runs/stolen`

    Parameters
    ----------
    attack
        A recipe, or a TOML file with one; its pool, surrogate and training are those given here unless it names its
        own.
    victim
        The directory of a trained victim, or a scikit-learn classifier that skops wrote, NAME.skops, to be attacked
        in this process.
    url
        Instead of a victim, an Open Inference Protocol v2 server, like http://localhost:8080, and its
    model
        by its name there. You may only attack what is yours, or whose owner asked you to.
    key
        An API key of the server; several are the attacker's accounts. FEINT_KEY in the environment says the same.
    pool
        The data set whose victim is attacked: its pool is asked about. NAME/train names a part of a set. Attacks
        without images, like DFME, need none.
    budget
        How many queries may be asked.
    out
        The directory to write: the surrogate, and the transcript of what was asked and answered.
    defense
        The directory of a fitted defense, or a recipe of one that needs no fitting, like "APMSA(gap=0.01)". Can be
        given several times, in the order on the line.
    lens
        How the attacker looks at the answers, like HardLabels or "Averaged(repeats=3)". Can be given several times.
        A lens that trains models uses the pool, surrogate and training given here unless it names its own.
    surrogate
        The surrogate's network (default: the victim's, where that is known).
    training
        How the surrogate is trained, like "Training(epochs=20)".
    seed
        Same seed, same surrogate.
    """
    from feint import victims, words
    from feint.progress import bars
    from feint.transcript import Transcript

    target = _target(victim, url, model, defense, key)
    own = {"pool": _pool(pool)} if pool is not None else {}
    network = _network(
        surrogate or target.network, target.shape or (own["pool"].shape if own else None), target.classes
    )
    given = {**own, "surrogate": network, "training": _parse(training)}
    recipe = (words.found if Path(attack).exists() else words.parse)(attack, **given)
    recipe = recipe.through(*(_parse(it, **given) for it in lens)) if lens else recipe
    _free(out)
    with bars() as watch, _working(out) as watch.folder:
        kept = watch.folder / "transcript.safetensors"
        oracle = target.oracle(budget, Transcript.load(kept) if kept.exists() else None)
        try:
            stolen = recipe.steal(oracle, seed=seed, watch=watch)
        except BaseException:
            if len(oracle.transcript):
                oracle.transcript.save(kept)
            raise
        victims.save(out, stolen, attack=repr(recipe), asked=oracle.asked, seed=seed, **target.about)
        oracle.transcript.save(out / kept.name)
    if oracle.refusal is not None:
        print(f"refused on the way: {oracle.refusal}")
    print(f"{out}: {stolen.network.name}, learned from {oracle.asked:,} of {budget:,} queries")


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


def _network(name: str | None, shape: tuple[int, int, int] | None, classes: int) -> "Network":
    from feint.networks import Network

    if name is None or shape is None:
        got = "a victim whose network is not known" if name is None else "a victim whose inputs are not known"
        raise BadInput(
            got, "the surrogate's and a pool", "name them: --surrogate lenet, mlp, linear, tree …, --pool NAME"
        )
    return Network(name, shape, classes)


def _parse(text: str, **given: object) -> Any:
    from feint import words

    return words.parse(text, **given)


def _pool(name: str) -> "Split":
    from feint import data

    name, _, part = name.partition("/")
    images = data.load(name)
    if part not in ("", "train", "pool"):
        raise BadInput(f"the part {part!r} of {name}", "NAME, NAME/train or NAME/pool", "a thief has no test set")
    return images.train if part == "train" else images.pool


def _part(name: str) -> "Split":
    """The inputs that an owner names: the training part, unless it is NAME/PART or, of that, NAME/PART:I/OF."""
    import re

    from feint import data

    name, _, part = name.partition("/")
    found = re.fullmatch(r"(train|pool|test)(?::(\d+)/(\d+))?", part or "train")
    if found is None:
        known = "NAME, NAME/train, NAME/pool or NAME/test, or a share of one like NAME/test:0/2"
        raise BadInput(f"the part {part!r} of {name}", known, "name one of these")
    split: Split = getattr(data.load(name), found[1])
    return split.share(int(found[2]), int(found[3])) if found[2] else split


class _Target(NamedTuple):
    """What is stolen: an oracle for a budget and a past, what is known of the model, and how the victim is called."""

    oracle: "Callable[[int, Transcript | None], Oracle]"
    network: str | None
    shape: tuple[int, int, int] | None
    classes: int
    about: dict[str, str]


def _target(
    victim: Path | None, url: str | None, model: str | None, defense: Sequence[str], keys: Sequence[str]
) -> _Target:
    if url is not None and model is not None and victim is None and not defense:
        return _behind(url, model, keys)
    if victim is not None and url is None and model is None:
        return _here(victim, defense)
    known = "--victim DIR, with a --defense or without, or --url URL --model NAME"
    raise BadInput("no victim" if victim is None else "two victims", known, "name one of them, whole")


def _behind(url: str, model: str, keys: Sequence[str]) -> _Target:
    from feint.gateway import Connection

    server = Connection(url, model=model, keys=keys)
    channels, height, width = server.shape
    return _Target(
        lambda budget, past: server.oracle(budget=budget, past=past),
        None,
        (channels, height, width),
        server.classes,
        {"victim": f"{server.url}, {model}"},
    )


def _here(victim: Path, defense: Sequence[str]) -> _Target:
    from feint import victims, words
    from feint.networks import Classifier
    from feint.service import Service

    model = victims.load_any(victim)
    service = Service(model, words.defense(defense, victim=victims.fingerprint(model)))
    known = (model.network.name, model.network.shape) if isinstance(model, Classifier) else (None, None)
    classes = model.network.classes if isinstance(model, Classifier) else model.classes
    return _Target(
        lambda budget, past: service.oracle(client="thief", budget=budget, past=past),
        *known,
        classes,
        {"defense": repr(service.defense)},
    )


def _free(out: Path) -> None:
    if out.exists():
        raise BadInput(f"--out {out}, which exists", "a new directory", "choose another, or delete it to run again")


def _at_least(least: int, number: int, name: str) -> int:
    if number < least:
        raise BadInput(f"{number} {name}", f"{least} or more", "raise it")
    return number


class _working:  # noqa: N801
    """A directory beside `out` for what an interrupted job continues from; it goes when the job is done."""

    def __init__(self, out: Path) -> None:
        self.folder = out.with_name(f".{out.name}.partial")

    def __enter__(self) -> Path:
        return self.folder

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        import shutil

        if kind is None:
            shutil.rmtree(self.folder, ignore_errors=True)


def main(words: Sequence[str] | None = None) -> None:
    """Run the command line: exit code 0, 2 for an error that is said in one line, 130 for Ctrl-C."""
    try:
        app(sys.argv[1:] if words is None else words, exit_on_error=False, print_error=False)
    except (FeintError, cyclopts.CycloptsError) as error:
        _fail(" ".join(str(error).split()))
    except KeyboardInterrupt:
        print("\nfeint: interrupted. What was finished is kept; the same command continues.", file=sys.stderr)
        sys.exit(130)


def _fail(reason: str) -> None:
    print(f"feint: {reason}", file=sys.stderr)
    sys.exit(2)
