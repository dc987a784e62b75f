"""Command `feint steal`."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from feint.cli.app import STUDY, ApiKeys, app
from feint.cli.common import limit_calls, load_victim
from feint.cli.out import continued, is_finished, work_directory
from feint.errors import BadInput

if TYPE_CHECKING:
    from torch import nn

    from feint.data import Split
    from feint.models.networks import Network
    from feint.oracle import Oracle
    from feint.signature import Domain
    from feint.transcript import Transcript


@app.command(group=STUDY)
def steal(
    attack: str = "KnockoffNets",
    /,
    *,
    victim: str | None = None,
    network: str | None = None,
    url: str | None = None,
    model: str | None = None,
    input: str | None = None,
    output: str | None = None,
    classes: int = 0,
    key: ApiKeys = (),
    pool: str | None = None,
    budget: int,
    out: Path,
    defense: tuple[str, ...] = (),
    lens: tuple[str, ...] = (),
    surrogate: str | None = None,
    training: str | None = None,
    price_per_1000: float = 0.0,
    currency: str = "",
    max_calls: int | None = None,
    seed: int = 0,
) -> None:
    """Steal a victim: query it, train a surrogate on the answers, and store both.

    Run the same command again to continue after an interruption: answered queries are not sent again.

    Example: `feint steal --victim runs/victim --pool digits --budget 600 --lens HardLabels --out runs/stolen`

    Args:
        attack: Recipe, or a TOML file with one. The pool, surrogate and training given here apply unless the recipe
            names its own.
        victim: Directory of a trained victim, model.toml, victim.toml, model file, or package.module:name, attacked in
            this process.
        network: Network of the weights in a .safetensors file.
        url: Address of an Open Inference Protocol v2 server, like http://localhost:8080, instead of a victim. Attack
            only models of your own, or with their owner's permission.
        model: Name of the model at --url. What its metadata leave open of its inputs is read from --pool.
        input: The model's input at --url, where its metadata name several or none.
        output: The output at --url that holds the probabilities, where its metadata name several or none.
        classes: Number of classes of the model at --url, where its metadata leave it open.
        key: API key of the server. Several keys are several accounts of the attacker.
        pool: Data set whose pool the attacker asks about, NAME/train for another part, or a file or directory. Attacks
            without a pool, like DFME, need none.
        budget: Number of queries.
        out: Directory to write: the surrogate, and the transcript of queries and answers.
        defense: Directory of a fitted defense, or a recipe that needs no fitting, like "APMSA(gap=0.01)". Repeat the
            option for several, in the order in which they apply.
        lens: Lens through which the attacker reads answers, like HardLabels or "Averaged(repeats=3)". Repeat the option
            for several. A lens that trains models uses the pool, surrogate and training given here unless it names its
            own.
        surrogate: Network of the surrogate (default: the victim's, where it is known).
        training: Training of the surrogate, like "Training(epochs=20)" (default: as many steps as its network needs).
        price_per_1000: Price of 1,000 queries to --url.
        currency: Currency of the price, like USD.
        max_calls: Ceiling on the calls to a paid victim; of --url it is the budget.
        seed: Seed of the attack and of the surrogate: same seed, same surrogate.

    Raises:
        BadInput: The budget of --url is above the ceiling.
    """
    from feint import victims
    from feint.attacks import Attack
    from feint.cli.terminal import bars
    from feint.data.files import pool_at
    from feint.paid.meter import Meter
    from feint.recipes import registry
    from feint.recipes.recipe import fingerprint

    if victim is not None and url is None and model is None:
        loaded = load_victim(victim, pool, network, max_calls=max_calls)
        domain = victims.domain_of(loaded)
        images = {"pool": pool_at(pool, domain).split} if pool is not None else {}
        target = _local_target(loaded, images.get("pool"), defense)
    else:
        if max_calls is not None and max_calls < budget:
            got = f"--budget {budget} with --max-calls {max_calls}"
            raise BadInput(got, "a budget within the ceiling", "lower it, or raise the ceiling")
        inputs = pool_at(pool).split.domain if pool is not None else None
        target = _remote_target(victim, url, model, defense, key, input, output, inputs, classes)
        limit_calls(f"{url}", Meter(price_per_1000, currency), budget)
        images = {"pool": pool_at(pool, target.domain).split} if pool is not None else {}
    learned = _network(
        surrogate or target.network, target.domain or (images["pool"].domain if images else None), target.classes
    )
    defaults = {**images, "surrogate": learned}
    if training is not None:
        defaults["training"] = registry.parse(training)
    recipe = (registry.resolve if Path(attack).exists() else registry.parse)(attack, whole=(Attack,), **defaults)
    recipe = recipe.through(*(registry.parse(name, **defaults) for name in lens)) if lens else recipe
    made_of = fingerprint([repr(recipe), target.source, budget, seed])
    if is_finished(out, made_of):
        return
    with bars() as progress, work_directory(out) as folder:
        transcript = folder / "transcript.safetensors"
        with continued(partial(target.oracle, budget), transcript, target.source) as oracle:
            stolen = recipe.steal(oracle, seed=seed, progress=progress)
        victims.save(out, stolen, attack=repr(recipe), asked=oracle.asked, seed=seed, made_of=made_of, **target.about)
        transcript.replace(out / transcript.name)
    if oracle.refusal is not None:
        print(f"refused on the way: {oracle.refusal}")
    print(f"{out}: {stolen.network.name}, learned from {oracle.asked:,} of {budget:,} queries")


def _network(name: str | None, domain: "Domain | None", classes: int) -> "Network":
    from feint.models.networks import Network

    if name is None or domain is None:
        got = "a victim whose network is not known" if name is None else "a victim whose inputs are not known"
        raise BadInput(
            got, "the surrogate's and a pool", "name them: --surrogate lenet, mlp, linear, tree …, --pool NAME"
        )
    return Network(name, domain, classes)


class _Target(NamedTuple):
    """Victim of a theft.

    Attributes:
        oracle: Makes an oracle of a budget and of the transcript of an interrupted run.
        network: Name of the victim's network, None where it is unknown.
        domain: Domain of the inputs, None where it is unknown.
        classes: Number of classes.
        about: Notes that are stored with the surrogate.
        source: Who answers, for the transcript.
    """

    oracle: "Callable[[int, Transcript | None], Oracle]"
    network: str | None
    domain: "Domain | None"
    classes: int
    about: dict[str, str]
    source: str


def _remote_target(
    victim: str | None,
    url: str | None,
    model: str | None,
    defense: Sequence[str],
    keys: Sequence[str],
    input: str | None,
    output: str | None,
    domain: "Domain | None",
    classes: int,
) -> _Target:
    from feint.client import RemoteService

    if url is None or model is None or victim is not None or defense:
        expected = "--victim, with a --defense or without, or --url URL --model NAME"
        raise BadInput("no victim" if victim is None else "two victims", expected, "name one of them, whole")
    server = RemoteService(url, model=model, keys=keys, input=input, output=output, domain=domain, classes=classes)
    return _Target(
        lambda budget, past: server.oracle(budget=budget, past=past),
        None,
        server.domain,
        server.classes,
        {"victim": f"{server.url}, {model}"},
        server.name,
    )


def _local_target(model: "nn.Module", pool: "Split | None", defense: Sequence[str]) -> _Target:
    from feint import victims
    from feint.defenses.parsing import parse_defense
    from feint.models.networks import Classifier
    from feint.service import Service

    service = Service(model, parse_defense(defense, victim=victims.fingerprint(model)))
    domain = victims.domain_of(model) or (pool.domain if pool else None)
    if domain is None:
        raise BadInput("a victim whose inputs are not known", "a pool that shows them", "name one: --pool NAME")
    return _Target(
        lambda budget, past: service.oracle(client="attacker", budget=budget, past=past),
        model.network.name if isinstance(model, Classifier) else None,
        domain,
        victims.classes_of(model, domain),
        {"defense": repr(service.defense)},
        f"{victims.fingerprint(model)} behind {service.defense!r}",
    )
