"""Matrices of a suite, with the artifacts that their cells need."""

from collections.abc import Mapping
from pathlib import Path
from typing import cast

from feint import data
from feint.bench.artifacts import ArtifactStore, PrepareJob, build, file_name, inputs_of, outliers_of
from feint.bench.matrix import Defended, Matrix
from feint.bench.suite import AttackerResources, Leak, Suite
from feint.data import Split, pools
from feint.defense import Ladder
from feint.defenses.boundary import MarginWatermark
from feint.models import networks
from feint.models.cache import cache_directory, cached_in
from feint.models.networks import Classifier
from feint.ownership.carried import Watermark, trained_mark
from feint.ownership.survival import SurvivalTest
from feint.progress import NO_PROGRESS, ProgressCallback
from feint.runners import Runner
from feint.service import Service


def matrices(
    suite: Suite, work: Path | str, *, progress: ProgressCallback = NO_PROGRESS, map: Runner = map, only: str = ""
) -> list[Matrix]:
    """Build a matrix for each victim of a suite.

    Victims are trained and defenses fitted where `work` does not hold them yet. Several processes may share `work`:
    each artifact is made once. The first error of a training or fitting is raised after all others are done.

    Args:
        suite: The suite.
        work: Working directory of the artifacts, and of trainings unless `cached_in` names another.
        progress: Progress callback.
        map: The runner of trainings and fittings.
        only: Regular expression over cells (`Matrix`). Artifacts that no matching cell needs are not made.

    Returns:
        A matrix for each victim with cells.
    """
    work = Path(work)
    cache = cache_directory() or work / "trainings"
    artifacts, needed = ArtifactStore(suite, work), {}
    for cell in suite.cells(only):
        needed.setdefault(cell.victim, {})[cell.defense] = True
    build(artifacts, [(victim,) for victim in needed], PrepareJob(suite, cache, progress), work, map)
    models = {name: artifacts.victim(name) for name in needed}
    pairs = [(victim, defense) for victim, defenses in needed.items() for defense in defenses]
    build(artifacts, pairs, PrepareJob(suite, cache, progress, models), work, map)
    built = []
    for name in needed:
        defended = {defense: artifacts.defense(name, defense) for defense in needed[name]}
        with cached_in(cache):
            claims = survival_tests(suite, name, models[name], defended, work / "controls" / file_name(name), progress)
        built.append(_matrix(suite, name, models[name], defended, claims, only))
    return built


def survival_tests(
    suite: Suite,
    victim: str,
    model: Classifier,
    defended: Mapping[str, Defended],
    controls: Path,
    progress: ProgressCallback = NO_PROGRESS,
) -> dict[str, SurvivalTest]:
    """Make the marks and train the controls of the claims against a victim's copies.

    Args:
        suite: The suite.
        victim: Name of the victim.
        model: The victim.
        defended: Its fitted defenses by name.
        controls: Directory of the controls.
        progress: Progress callback.

    Returns:
        The claims by the defense that copies are stolen from; none where the suite makes no claims.
    """
    trial, images = suite.ownership_on(victim), data.load(suite.victims[victim].data)
    if trial is None:
        return {}
    innocents = trial.trained_controls(controls, model.network, images, progress=progress)
    marks = trial.marks(model, images, progress=progress)
    tests = {}
    for name, defense in defended.items():
        trained = [
            trained_mark(recipe, _marked_inputs(suite, victim, name, recipe), model.network.classes)
            for recipe in suite.boundary(name) if isinstance(recipe, Watermark)
        ]  # fmt: skip
        retrained = isinstance(defense, Service)  # another model, with other mistakes
        tests[name] = SurvivalTest(trial, trained if retrained else marks, innocents)
    return tests


def _marked_inputs(suite: Suite, victim: str, defense: str, recipe: Watermark) -> Split:
    """Return the inputs of which a boundary defense chose its mark: of the training, or of the outliers."""
    entry = suite.defenses[defense]
    inputs = pools.parse_split(f"{suite.victims[victim].data}/{entry.learns_from}")
    if isinstance(recipe, MarginWatermark):
        return inputs
    outliers = outliers_of(entry, inputs)
    assert outliers is not None  # without any it was not trained
    return outliers


def _matrix(
    suite: Suite,
    name: str,
    victim: Classifier,
    defended: Mapping[str, Defended],
    ownership: Mapping[str, SurvivalTest],
    only: str,
) -> Matrix:
    entry = suite.victims[name]
    images = data.load(entry.data)
    pool = images.pool if entry.pool is None else pools.parse_pool(entry.pool).scaled(images.shape)
    surrogate = networks.get(entry.surrogate or entry.network, images)
    resources = AttackerResources(pool, surrogate, suite.training_on(name, surrogate))
    return Matrix(
        victim,
        images.test,
        attacks={},
        against={
            defense: suite.thefts_on(name, defense, resources, _leak(defended[defense], victim)) for defense in defended
        },
        defenses=defended,
        budgets=suite.budgets_on(name),
        seeds=range(suite.seeds),
        name=name,
        only=only,
        springboard=suite.springboard_on(name, inputs_of(entry, entry.learns_from)),
        threshold=entry.threshold,
        fitted_on={defense: _fitted_on(suite, name, defense) for defense in defended},
        ownership=ownership,
        most_seeds=suite.most_seeds(),
        defense_budgets=suite.defense_budgets(),
    )


def _fitted_on(suite: Suite, victim: str, defense: str) -> list[Split]:
    """Return the data that a defense of a victim was fitted on; none if it learns nothing."""
    entry, recipe = suite.defenses[defense], suite.recipe(defense)
    if not (entry.boundary or isinstance(recipe, Ladder) or recipe.learns):
        return []
    inputs = inputs_of(suite.victims[victim], entry.learns_from)
    return [split for split in (inputs, outliers_of(entry, inputs)) if split is not None]


def _leak(defended: Defended, victim: Classifier) -> Leak:
    """Return the secrets of an owner. A boundary defense has retrained the model."""
    if isinstance(defended, Service):
        return Leak(defended.defense, cast(Classifier, defended.model))
    return Leak(defended, victim)
