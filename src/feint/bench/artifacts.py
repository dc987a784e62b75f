"""Artifacts of a suite: trained victims and fitted defenses, each made once and stored."""

import functools
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from feint import data, victims
from feint.bench.locks import Leases
from feint.bench.matrix import Defended
from feint.bench.schema import DefenseEntry, VictimEntry
from feint.bench.suite import Suite
from feint.data import Split, pools
from feint.defense import Defense, Ladder
from feint.errors import BadInput
from feint.models import networks
from feint.models.cache import cached_in
from feint.models.networks import Classifier
from feint.models.training import Training, train
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
        learned = inputs_of(entry, entry.learns_from)
        return Artifact((name,), train(network, learned, training=training, progress=self.progress))

    def _defense(self, victim: str, name: str) -> Artifact:
        entry, model = self.suite.defenses[name], self.models[victim]
        inputs = inputs_of(self.suite.victims[victim], entry.learns_from)
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
        inputs += [inputs_of(victim, victim.learns_from).fingerprint]
        if len(name) == 2:
            entry = self._suite.defenses[name[1]]
            inputs += [to_table(self._suite.recipe(name[1])), to_table(self._suite.boundary(name[1]))]
            inputs += [entry.learns_from, entry.outliers]
        return fingerprint(inputs)

    def _model_file(self, name: ArtifactKey) -> Path:
        return self._work / "victims" / file_name(" behind ".join(name))

    def _defense_file(self, name: ArtifactKey) -> Path:
        return self._work / "defenses" / file_name(name[0]) / file_name(name[1])


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


def outliers_of(entry: DefenseEntry, inputs: Split) -> Split | None:
    """Return the outliers of a defense; images in the size and the colours of the inputs."""
    if entry.outliers is None:
        return None
    outliers = pools.parse_split(entry.outliers)
    return outliers.scaled(inputs.shape) if isinstance(outliers.domain, Pixels) else outliers


def inputs_of(victim: VictimEntry, part: str) -> Split:
    """Return a part of a victim's data set."""
    return pools.parse_split(f"{victim.data}/{part}")


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


def file_name(name: str) -> str:
    """Return a file name that no two names share."""
    return quote(name, safe=" ,+()=").replace(".", "%2E")
