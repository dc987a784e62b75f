"""Command `feint fit`."""

from pathlib import Path

from feint.cli.app import app
from feint.cli.common import require_new, work_directory
from feint.errors import BadInput


@app.command
def fit(method: str, /, *, victim: Path, data: str, out: Path, outliers: str | None = None, seed: int = 0) -> None:
    """Fit a defense to a victim. A boundary defense trains a new victim, which replaces the old one.

    Example: `feint fit "APGP(top=1)" --victim runs/victim --data digits --out runs/apgp`

    Args:
        method: Recipe, as written in Python.
        victim: Directory of a trained victim.
        data: Data set on whose training inputs the defense is fitted. NAME/pool or NAME/test names another part, and
            NAME/test:0/2 the first of its two halves.
        out: Directory to write: a recipe and its learned weights.
        outliers: Data set of another task, with images of the same shape, for methods that learn from outliers.
        seed: Seed of the fit: same seed, same defense.

    Raises:
        BadInput: For a defense that has nothing to fit.
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
    options = {"outliers": pools.parse_split(outliers) if outliers else None, "seed": seed}
    require_new(out)
    with bars() as progress, work_directory(out):
        if isinstance(recipe, Boundary):
            new, record = recipe.retrain(model, inputs, **options, progress=progress)
            feint.victims.save(out, new, data=data, **record)
            print(f"{out}: a new victim by {recipe!r}")
        else:
            fitted = recipe.fit(model, inputs, **options, progress=progress)
            store.save(out, fitted, data=data, outliers=outliers, victim=feint.victims.fingerprint(model))
            print(f"{out}: {fitted!r}")
