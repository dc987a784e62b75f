"""`feint fit`."""

from pathlib import Path

from feint.cli.app import app
from feint.cli.common import require_new, work_directory
from feint.errors import BadInput


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
    from feint.cli.terminal import bars
    from feint.data import pools
    from feint.defense import Defense
    from feint.defenses.boundary import Boundary
    from feint.fitting import Fittable
    from feint.recipes import registry, store

    recipe = registry.parse(method)
    if not isinstance(recipe, Boundary | Defense | Fittable):
        raise BadInput(f"{recipe!r}", "a defense that learns, like APGP(top=1)", "use it as it is: nothing to fit")
    model, inputs = feint.victims.load(victim), pools.parse_split(data)
    given = {"outliers": pools.parse_split(outliers) if outliers else None, "seed": seed}
    require_new(out)
    with bars() as progress, work_directory(out) as folder:
        progress.folder = folder
        if isinstance(recipe, Boundary):
            new, record = recipe.retrain(model, inputs, **given, progress=progress)
            feint.victims.save(out, new, data=data, **record)
            print(f"{out}: a new victim by {recipe!r}")
        else:
            fitted = recipe.fit(model, inputs, **given, progress=progress)
            store.save(out, fitted, data=data, outliers=outliers, victim=feint.victims.fingerprint(model))
            print(f"{out}: {fitted!r}")
