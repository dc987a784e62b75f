"""Command `feint fit`."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from feint.cli.app import PROTECT, app
from feint.cli.common import check_victim, file_inputs, load_victim, outlier_inputs, owner_split
from feint.cli.out import is_finished, work_directory
from feint.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import nn

    from feint.data import Split
    from feint.defenses.access import Campaign, SequentialTest

MOST_COLUMNS = 50  # of a table, each of which is tried at one value


@app.command(group=PROTECT)
def fit(
    method: str,
    /,
    *,
    victim: str,
    data: str,
    out: Path,
    label: str | None = None,
    network: str | None = None,
    outliers: str | None = None,
    expect_accuracy: float | None = None,
    max_calls: int | None = None,
    slices: str | None = None,
    clients: str | None = None,
    client: str = "client",
    share: float = 0.01,
    seed: int = 0,
) -> None:
    """Fit a defense to a victim. A boundary defense trains a new victim, which replaces the old one.

    Example: `feint fit "APGP(top=1)" --victim runs/victim --data digits --out runs/apgp`

    Args:
        method: Recipe, as written in Python.
        victim: Directory of a trained victim, model.toml, victim.toml, model file, or package.module:name.
        data: Data set on whose training inputs the defense is fitted. NAME/pool or NAME/test names another part, and
            NAME/test:0/2 the first of its two halves. Or a file or directory of labelled samples.
        out: Directory to write: a recipe and its learned weights.
        label: Column of the label in a file (default: label, target, class or y).
        network: Network of the weights in a .safetensors file.
        outliers: Data set of another task, with images of the same shape, or a file or directory of inputs, for methods
            that learn from outliers; or "marginals" for rows drawn from the means and shares of each column, "uniform"
            for inputs drawn uniformly.
        expect_accuracy: Accuracy that the victim has on the data, like 0.93. A lower one is an error; without this
            option, one that is no better than chance, or that another adapter would raise.
        max_calls: Ceiling on the calls to a paid victim.
        slices: What is ordinary beside the data, for SequentialTest, like "classes,jpeg:75,scale:0.5+jpeg:75": the
            prices of its bets hold for a client who mixes these. For every model: classes, the name of a data set, and
            a file or directory of such clients' inputs. For images: jpeg, scale, noise, brightness, shift, grey. For
            tables: rounded, missing, constant (each column at its commonest value; constant:NAME is one). For texts:
            lower, cut. A plus joins changes that are made one after another.
        clients: File of recorded queries of honest clients, in order of arrival. The alpha of SequentialTest is set so
            that fewer than --share of such clients are ever accused, and the probation of Campaign so that at most
            --share of such a newcomer's answers change during an alarm.
        client: Column of that file with the client's name.
        share: Share of honest clients who may be accused, or of newcomers' answers that may change. It takes
            1/share - 1 clients or more.
        seed: Seed of the fit: same seed, same defense.

    Raises:
        BadInput: For a defense that has nothing to fit, or a watermark that another owner may have.
    """
    import feint
    from feint.cli.terminal import bars
    from feint.defense import Defense
    from feint.defenses.boundary import Boundary
    from feint.fitting import FitContext, Fittable
    from feint.models.networks import Classifier
    from feint.ownership.carried import Watermark, require_own
    from feint.recipes import registry, store
    from feint.recipes.recipe import fingerprint

    recipe = registry.parse(method)
    if slices:
        recipe = _with_slices(recipe, slices)
    if not isinstance(recipe, Boundary | Defense | Fittable):
        raise BadInput(f"{recipe!r}", "a defense that learns, like APGP(top=1)", "use it as it is: nothing to fit")
    if isinstance(recipe, Watermark):
        require_own(recipe)
    model = load_victim(victim, data, network, label, max_calls=max_calls)
    inputs, classes = owner_split(data, model, label)
    if isinstance(recipe, Boundary) and not isinstance(model, Classifier):
        raise BadInput(
            f"{type(recipe).__name__} for {victim}", "a network of Feint, whose weights it trains further",
            "choose a defense of answers, like APGP(top=1)",
        )  # fmt: skip
    options: dict[str, Any] = {"outliers": outliers and outlier_inputs(outliers, inputs, seed), "seed": seed}
    recorded = _recorded(recipe, model, clients, client) if clients else None
    files = {name: file_inputs(name, inputs) for name in _files(recipe, inputs)}
    victim_print = feint.victims.fingerprint(model)
    read = inputs, *options.values(), recorded, *files.values()
    made_of = fingerprint([repr(recipe), victim_print, *map(repr, read), share])
    if is_finished(out, made_of):
        return
    check_victim(model, inputs, victim, data, expect_accuracy, classes, label)
    with bars() as progress, work_directory(out):
        if isinstance(recipe, Boundary):
            assert isinstance(model, Classifier)
            new, record = recipe.retrain(model, inputs, **options, progress=progress)
            feint.victims.save(out, new, data=data, outliers_of=outliers, made_of=made_of, **record)
            print(f"{out}: a new victim by {recipe!r}")
        else:
            fitted = recipe.fit_from(FitContext(model, inputs, **options, progress=progress, slices=files))
            about = {}
            if recorded is not None:
                fitted, level = _for_clients(fitted, model, recorded, share)
                about = {"calibrated_on": clients, **level}
            store.save(out, fitted, data=data, outliers=outliers, victim=victim_print, made_of=made_of, **about)
            print(f"{out}: {fitted!r}")
            print("".join(f"  {name.replace('_', ' ')}: {value}\n" for name, value in about.items()), end="")
            for line in _risks(fitted, model, inputs, classes, files):
                print(line)


def _recorded(recipe: object, model: "nn.Module", place: str, column: str) -> "Split":
    """Return recorded queries of honest clients, each labelled by its client in this column."""
    from feint.data.files import samples_at
    from feint.defenses.access import Campaign, SequentialTest
    from feint.victims import domain_of

    if not isinstance(recipe, SequentialTest | Campaign):
        raise BadInput(
            f"--clients for {recipe!r}", "SequentialTest or Campaign, whose level they set", "leave --clients out"
        )
    return samples_at(place, domain_of(model), label=column).split


def _for_clients(
    recipe: object, model: "nn.Module", recorded: "Split", share: float
) -> "tuple[SequentialTest | Campaign, dict[str, Any]]":
    """Return a test or a campaign with the level that recorded clients set, and notes on it."""
    from feint.defenses.access import Campaign, SequentialTest
    from feint.defenses.access.recorded import for_clients, for_newcomers

    if isinstance(recipe, Campaign):
        fitted, calibrated = for_newcomers(recipe, model, recorded, share)
        promise = {"changed": f"{calibrated.average:.2%} of a newcomer's answers during an alarm, on average"}
    else:
        assert isinstance(recipe, SequentialTest)
        fitted, calibrated = for_clients(recipe, model, recorded, share)
        bound = f"{calibrated.average:.2%} on average, at most {calibrated.bound:.2%} with confidence 95 %"
        promise = {"probability": bound}
    about = {"clients": calibrated.clients, "queries": len(recorded), "share": share}
    return fitted, about | {"level": calibrated.level} | promise


def _with_slices(recipe: object, slices: str) -> "SequentialTest":
    """Return a sequential test with these slices."""
    from dataclasses import replace

    from feint.defenses.access import SequentialTest

    if not isinstance(recipe, SequentialTest):
        raise BadInput(f"--slices for {recipe!r}", "SequentialTest, whose bets they price", "leave --slices out")
    return replace(recipe, slices=tuple(name.strip() for name in slices.split(",")))


def _files(recipe: object, inputs: "Split") -> list[str]:
    """Return the slices of a sequential test that are files or directories."""
    from feint.data.files import is_file
    from feint.defenses.access import SequentialTest
    from feint.defenses.access.slices import is_change

    declared = (recipe.slices or ()) if isinstance(recipe, SequentialTest) else ()
    return [name for name in declared if not is_change(name, inputs.domain) and is_file(name)]


def _risks(
    recipe: object, model: "nn.Module", inputs: "Split", classes: "Sequence[str]", read: "Mapping[str, Split]"
) -> list[str]:
    """Return for each slice of honest inputs whether a client who sends nothing else would be accused."""
    import math

    from feint.defenses.access import SequentialTest
    from feint.signature import Columns
    from feint.victims.remote import FromAnswers

    if not isinstance(recipe, SequentialTest):
        return []
    lines = ["Mean of -log p, and when an honest client who sends nothing else would be accused:"]
    asks_nothing = not isinstance(model, FromAnswers)  # a pass for each column would cost calls
    columns = asks_nothing and isinstance(inputs.domain, Columns) and len(inputs.domain.columns) <= MOST_COLUMNS
    risks = recipe.risks(model, inputs, columns=columns, read=read, classes=classes)
    width = max(len(risk.name) for risk in risks)
    for risk in risks:
        hint = "no slice covers both; --clients does" if risk.of else "" if risk.priced else "not among --slices"
        if risk.undeclared < math.inf:
            hint = f"undeclared, {_after(risk.undeclared)}"
        lines.append(f"  {risk.name:{width}} {risk.surprise:5.2f}  {_after(risk.queries)}{hint and f'   ({hint})'}")
    if any(risk.undeclared < math.inf for risk in risks):
        lines.append("Attackers who send inputs like those of a declared slice are spared as well.")
    return lines


def _after(queries: float) -> str:
    """Return when a client is accused, in words."""
    return "never" if queries == float("inf") else f"after about {queries:,.0f} queries"
