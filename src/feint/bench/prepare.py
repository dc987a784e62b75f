"""Trained victims and fitted defenses of a suite, each made once and stored."""

import functools
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, cast
from urllib.parse import quote

from feint import data, victims
from feint.bench.locks import Leases
from feint.bench.matrix import Defended, Matrix, through
from feint.bench.schema import DefenseEntry, VictimEntry
from feint.bench.suite import AttackerResources, Leak, Suite
from feint.data import Split, pools
from feint.defense import Defense, Ladder
from feint.defenses.boundary import MarginWatermark
from feint.errors import BadInput
from feint.models import networks
from feint.models.cache import cache_directory, cached_in
from feint.models.networks import Classifier
from feint.models.training import Training, train
from feint.ownership.carried import Watermark, trained_mark
from feint.ownership.survival import SurvivalTest
from feint.progress import NO_PROGRESS, ProgressCallback
from feint.recipes import registry, store
from feint.recipes.recipe import fingerprint, short_hash, to_table
from feint.runners import Runner
from feint.service import Service
from feint.signature import Pixels

POLL = 1.0  # seconds between two checks whether other processes have made their artifacts
ArtifactKey = tuple[str, ...]  # (victim,) or (victim, defense)


class Artifact(NamedTuple):
    """A trained victim, a fitted defense (with the victim that it retrained, if it did), or an error."""

    name: ArtifactKey
    model: Classifier | None = None
    defense: Defense | Ladder | None = None
    error: Exception | None = None


@dataclass(frozen=True)
class PrepareJob:
    """The function that trains a victim or fits a defense, in this process or in a worker.

    Attributes:
        suite: The suite.
        cache: Cache directory of trainings, for this process and for workers.
        progress: Progress callback. A pickle carries none, since workers show no progress.
        models: Trained victims by name, which defenses are fitted on.
    """

    suite: Suite
    cache: Path
    progress: ProgressCallback = NO_PROGRESS
    models: Mapping[str, Classifier] = field(default_factory=dict)

    def __call__(self, item: ArtifactKey) -> Artifact:
        try:
            with cached_in(self.cache):
                return self._defense(*item) if len(item) == 2 else self._victim(*item)
        except Exception as error:  # raised after all other artifacts are made
            return Artifact(item, error=error)

    def lost(self, item: ArtifactKey, reason: str) -> Artifact:
        """Return the error of an artifact whose process ended."""
        return Artifact(item, error=BadInput(f"{', '.join(item)}: {reason}", "a process that lives", "run it again"))

    def __getstate__(self) -> dict[str, object]:
        return {"suite": self.suite, "cache": self.cache, "progress": NO_PROGRESS, "models": self.models}

    def _victim(self, name: str) -> Artifact:
        entry, images = self.suite.victims[name], data.load(self.suite.victims[name].data)
        network = networks.get(entry.network, images)
        if entry.weights is not None:
            return Artifact((name,), victims.load_published(weights(entry.weights), network))
        training = entry.training or Training()
        learned = _learned(entry, entry.learns_from)
        return Artifact((name,), train(network, learned, training=training, progress=self.progress))

    def _defense(self, victim: str, name: str) -> Artifact:
        entry, model = self.suite.defenses[name], self.models[victim]
        inputs = _learned(self.suite.victims[victim], entry.learns_from)
        options = {"outliers": outliers_of(entry, inputs), "progress": self.progress}
        for boundary in self.suite.boundary(name):
            model = boundary.retrain(model, inputs, **options).model
        recipe = self.suite.recipe(name)
        retrained = model if entry.boundary else None
        fitted = recipe.fit(model, inputs, **options) if isinstance(recipe, Defense) else recipe
        return Artifact((victim, name), retrained, fitted)


class ArtifactStore:
    """On-disk store of victims and defenses. An artifact whose inputs have changed counts as missing.

    Args:
        suite: The suite.
        work: Working directory of the store.
    """

    def __init__(self, suite: Suite, work: Path) -> None:
        self._suite, self._work = suite, work

    def has(self, name: ArtifactKey) -> bool:
        """Return whether an artifact is stored, and was made of the suite's present entries."""
        file = self._defense_file(name) if len(name) == 2 else self._model_file(name)
        if not file.exists():
            return False
        return store.load(file, registry.vocabulary()).about.get("made_of") == self.made_of(name)

    def save(self, artifact: Artifact) -> None:
        """Store an artifact. The defense is written last, since `has` looks for it alone."""
        images, made_of = self._suite.victims[artifact.name[0]].data, self.made_of(artifact.name)
        if artifact.model is not None:
            victims.save(self._model_file(artifact.name), artifact.model, data=images, made_of=made_of)
        if artifact.defense is not None:
            store.save(self._defense_file(artifact.name), artifact.defense, data=images, made_of=made_of)

    def victim(self, name: str) -> Classifier:
        """Return the victim of this name."""
        return victims.load(self._model_file((name,)))

    def defense(self, victim: str, name: str) -> Defended:
        """Return the fitted defense, as a service with the victim that it retrained if it did."""
        recipe = registry.load(str(self._defense_file((victim, name))))
        if not self._suite.defenses[name].boundary:
            return recipe
        return Service(victims.load(self._model_file((victim, name))), recipe)

    def made_of(self, name: ArtifactKey) -> str:
        """Return the fingerprint of everything that an artifact depends on."""
        victim = self._suite.victims[name[0]]
        inputs: list[Any] = [victim.data, victim.network, victim.training and to_table(victim.training)]
        inputs += [victim.weights, victim.weights and _digest(weights(victim.weights))]
        inputs += [_learned(victim, victim.learns_from).fingerprint]
        if len(name) == 2:
            entry = self._suite.defenses[name[1]]
            inputs += [to_table(self._suite.recipe(name[1])), to_table(self._suite.boundary(name[1]))]
            inputs += [entry.learns_from, entry.outliers]
        return fingerprint(inputs)

    def _model_file(self, name: ArtifactKey) -> Path:
        return self._work / "victims" / _file(" behind ".join(name))

    def _defense_file(self, name: ArtifactKey) -> Path:
        return self._work / "defenses" / _file(name[0]) / _file(name[1])


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
            claims = survival_tests(suite, name, models[name], defended, work / "controls" / _file(name), progress)
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


def build(artifacts: ArtifactStore, names: Sequence[ArtifactKey], job: PrepareJob, work: Path, map: Runner) -> None:
    """Make the artifacts that are missing, and wait for those that another process makes. Raises the first error."""
    errors: dict[ArtifactKey, Exception] = {}
    left = [name for name in names if not artifacts.has(name)]
    if not left:
        return
    with Leases(work / ".leases") as leases:
        while left := [name for name in left if name not in errors and not artifacts.has(name)]:
            before = len(errors)
            for artifact in map(job, _claimed(left, artifacts, leases)):
                if artifact.error is None:
                    artifacts.save(artifact)
                else:
                    errors[artifact.name] = artifact.error
                leases.release(_lease(artifact.name))
                job.progress.step("preparing", len(names) - len(left) + 1, len(names))
            if len(errors) == before and any(not artifacts.has(name) for name in left):
                time.sleep(POLL)
    for error in errors.values():
        raise error


def _claimed(names: Iterable[ArtifactKey], artifacts: ArtifactStore, leases: Leases) -> Iterator[ArtifactKey]:
    """Yield the artifacts that no other process is making, each claimed when the runner takes it."""
    for name in names:
        if leases.claim(_lease(name)):
            if artifacts.has(name):  # made in the meantime
                leases.release(_lease(name))
            else:
                yield name


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
            defense: through(
                suite.attacks_on(name, defense, resources),
                suite.lenses_on(defense, resources, _leak(defended[defense], victim)),
                suite.combined(),
            )
            for defense in defended
        },
        defenses=defended,
        budgets=suite.budgets_on(name),
        seeds=range(suite.seeds),
        name=name,
        only=only,
        springboard=suite.springboard_on(name, _learned(entry, entry.learns_from)),
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
    inputs = _learned(suite.victims[victim], entry.learns_from)
    return [split for split in (inputs, outliers_of(entry, inputs)) if split is not None]


def outliers_of(entry: DefenseEntry, inputs: Split) -> Split | None:
    """Return the outliers of a defense; images in the size and the colours of the inputs."""
    if entry.outliers is None:
        return None
    outliers = pools.parse_split(entry.outliers)
    return outliers.scaled(inputs.shape) if isinstance(outliers.domain, Pixels) else outliers


def _learned(victim: VictimEntry, part: str) -> Split:
    """Return a part of a victim's data set."""
    return pools.parse_split(f"{victim.data}/{part}")


def _leak(defended: Defended, victim: Classifier) -> Leak:
    """Return the secrets of an owner. A boundary defense has retrained the model."""
    if isinstance(defended, Service):
        return Leak(defended.defense, cast(Classifier, defended.model))
    return Leak(defended, victim)


def weights(name: str) -> Path:
    """Return the file of published weights: at the path as written, or under FEINT_DATA."""
    beside = Path(os.environ.get("FEINT_DATA", "")).expanduser() / name
    return beside if not Path(name).is_file() and beside.is_file() else Path(name)


@functools.cache
def _digest(file: Path) -> str:
    if not file.is_file():
        return ""  # loading the weights raises the error
    return short_hash(file.read_bytes())


def _lease(name: ArtifactKey) -> str:
    return short_hash("\0".join(name))


def _file(name: str) -> str:
    """Return a file name that no two names share."""
    return quote(name, safe=" ,+()=").replace(".", "%2E")
