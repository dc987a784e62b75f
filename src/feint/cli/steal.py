"""`feint steal`."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

from cyclopts import Parameter

from feint.cli.app import Defenses, app
from feint.cli.common import load_victim, require_new, work_directory
from feint.errors import BadInput

if TYPE_CHECKING:
    from torch import nn

    from feint.data import Split
    from feint.models.networks import Network
    from feint.oracle import Oracle
    from feint.transcript import Transcript

Lenses = Annotated[tuple[str, ...], Parameter(name="--lens", negative=(), consume_multiple=False)]


@app.command
def steal(
    attack: str = "KnockoffNets",
    /,
    *,
    victim: str | None = None,
    network: str | None = None,
    probabilities: bool = False,
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
        The directory of a trained victim, NAME.onnx, NAME.skops (scikit-learn), NAME.safetensors with its --network, or
        package.module:factory, to be attacked in this process.
    network
        The network that weights in a .safetensors file belong to.
    probabilities
        The victim returns probabilities, not logits.
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
    from feint import victims
    from feint.cli.terminal import bars
    from feint.data import pools
    from feint.recipes import registry
    from feint.transcript import Transcript

    own = {"pool": pools.parse_pool(pool)} if pool is not None else {}
    if victim is not None and url is None and model is None:
        target = _here(load_victim(victim, pool, network, probabilities), own.get("pool"), defense)
    else:
        target = _behind(victim, url, model, defense, key)
    learned = _network(
        surrogate or target.network, target.shape or (own["pool"].shape if own else None), target.classes
    )
    given = {**own, "surrogate": learned, "training": registry.parse(training)}
    recipe = (registry.resolve if Path(attack).exists() else registry.parse)(attack, **given)
    recipe = recipe.through(*(registry.parse(it, **given) for it in lens)) if lens else recipe
    require_new(out)
    with bars() as progress, work_directory(out) as folder:
        progress.folder = folder
        kept = folder / "transcript.safetensors"
        oracle = target.oracle(budget, Transcript.load(kept) if kept.exists() else None)
        try:
            stolen = recipe.steal(oracle, seed=seed, progress=progress)
        except BaseException:
            if len(oracle.transcript):
                oracle.transcript.save(kept)
            raise
        victims.save(out, stolen, attack=repr(recipe), asked=oracle.asked, seed=seed, **target.about)
        oracle.transcript.save(out / kept.name)
    if oracle.refusal is not None:
        print(f"refused on the way: {oracle.refusal}")
    print(f"{out}: {stolen.network.name}, learned from {oracle.asked:,} of {budget:,} queries")


def _network(name: str | None, shape: tuple[int, int, int] | None, classes: int) -> "Network":
    from feint.models.networks import Network

    if name is None or shape is None:
        got = "a victim whose network is not known" if name is None else "a victim whose inputs are not known"
        raise BadInput(
            got, "the surrogate's and a pool", "name them: --surrogate lenet, mlp, linear, tree …, --pool NAME"
        )
    return Network(name, shape, classes)


class _Target(NamedTuple):
    """What is stolen: an oracle for a budget and a past, what is known of the model, and how the victim is called."""

    oracle: "Callable[[int, Transcript | None], Oracle]"
    network: str | None
    shape: tuple[int, int, int] | None
    classes: int
    about: dict[str, str]


def _behind(
    victim: str | None, url: str | None, model: str | None, defense: Sequence[str], keys: Sequence[str]
) -> _Target:
    from feint.client import RemoteService

    if url is None or model is None or victim is not None or defense:
        known = "--victim, with a --defense or without, or --url URL --model NAME"
        raise BadInput("no victim" if victim is None else "two victims", known, "name one of them, whole")
    server = RemoteService(url, model=model, keys=keys)
    channels, height, width = server.shape
    return _Target(
        lambda budget, past: server.oracle(budget=budget, past=past),
        None,
        (channels, height, width),
        server.classes,
        {"victim": f"{server.url}, {model}"},
    )


def _here(model: "nn.Module", pool: "Split | None", defense: Sequence[str]) -> _Target:
    from feint import victims
    from feint.defenses.parsing import parse_defense
    from feint.models.networks import Classifier
    from feint.service import Service

    service = Service(model, parse_defense(defense, victim=victims.fingerprint(model)))
    shape = victims.shape_of(model) or (pool.shape if pool else None)
    if shape is None:
        raise BadInput("a victim whose inputs are not known", "a pool that shows them", "name one: --pool NAME")
    return _Target(
        lambda budget, past: service.oracle(client="thief", budget=budget, past=past),
        model.network.name if isinstance(model, Classifier) else None,
        shape,
        victims.classes_of(model, shape),
        {"defense": repr(service.defense)},
    )
