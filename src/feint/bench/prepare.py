"""What a suite needs before its cells run: victims trained and defenses fitted, each once, and kept."""

import functools
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, cast
from urllib.parse import quote

from feint import data, victims
from feint.bench.matrix import Defended, Matrix, through
from feint.bench.suite import Leak, Owned, Suite
from feint.data import pools
from feint.defense import Defense, Ladder
from feint.errors import BadInput
from feint.evaluation.locks import Leases
from feint.models import networks
from feint.models.networks import Classifier
from feint.models.training import Training, train
from feint.progress import NO_PROGRESS, ProgressCallback
from feint.recipes import registry, store
from feint.recipes.recipe import fingerprint, short_hash, to_table
from feint.runners import Runner
from feint.service import Service

LOOK = 1.0  # seconds after which to look again whether others have made something
ArtifactKey = tuple[str, ...]  # (victim,) or (victim, defense)


class Artifact(NamedTuple):
    """What a name came to: a victim, a defense with the victim that it made, or an error."""

    name: ArtifactKey
    model: Classifier | None = None
    defense: Defense | Ladder | None = None
    error: Exception | None = None


@dataclass(frozen=True)
class PrepareJob:
    """How a victim is trained and a defense is fitted, wherever that is done."""

    suite: Suite
    progress: ProgressCallback
    models: Mapping[str, Classifier] = field(default_factory=dict)

    def __call__(self, item: ArtifactKey) -> Artifact:
        try:
            return self._defense(*item) if len(item) == 2 else self._victim(*item)
        except Exception as error:  # the others are made first
            return Artifact(item, error=error)

    def lost(self, item: ArtifactKey, reason: str) -> Artifact:
        """What is said of a name whose process ended."""
        return Artifact(item, error=BadInput(f"{', '.join(item)}: {reason}", "a process that lives", "run it again"))

    def __getstate__(self) -> dict[str, object]:
        """What a pickle carries: a watch that only knows its folder, since no one looks at a worker."""
        return {"suite": self.suite, "progress": ProgressCallback(self.progress.folder), "models": self.models}

    def _victim(self, name: str) -> Artifact:
        entry, images = self.suite.victims[name], data.load(self.suite.victims[name].data)
        network = networks.get(entry.network, images)
        if entry.weights is not None:
            return Artifact((name,), victims.load_published(weights(entry.weights), network))
        training = entry.training or Training()
        return Artifact((name,), train(network, images.train, training=training, progress=self.progress))

    def _defense(self, victim: str, name: str) -> Artifact:
        entry, model = self.suite.defenses[name], self.models[victim]
        inputs = pools.parse_split(f"{self.suite.victims[victim].data}/{entry.learns_from}")
        given = {"outliers": entry.outliers and pools.parse_split(entry.outliers), "progress": self.progress}
        for boundary in self.suite.boundary(name):
            model = boundary.retrain(model, inputs, **given).model
        recipe = self.suite.recipe(name)
        made = model if entry.boundary else None
        return Artifact(
            (victim, name), made, recipe.fit(model, inputs, **given) if isinstance(recipe, Defense) else recipe
        )


class ArtifactStore:
    """Where victims and defenses are kept: a thing that was made of something else is not there."""

    def __init__(self, suite: Suite, work: Path) -> None:
        self._suite, self._work = suite, work

    def has(self, name: ArtifactKey) -> bool:
        """Whether it is there, and was made of what the suite says now."""
        place = self._line(name) if len(name) == 2 else self._model(name)
        if not place.exists():
            return False
        return store.load(place, registry.vocabulary()).about.get("made_of") == self.made_of(name)

    def keep(self, made: Artifact) -> None:
        """Put it there; the defense comes last, and stands for both."""
        images, made_of = self._suite.victims[made.name[0]].data, self.made_of(made.name)
        if made.model is not None:
            victims.save(self._model(made.name), made.model, data=images, made_of=made_of)
        if made.defense is not None:
            store.save(self._line(made.name), made.defense, data=images, made_of=made_of)

    def victim(self, name: str) -> Classifier:
        """The victim of this name."""
        return victims.load(self._model((name,)))

    def defense(self, victim: str, name: str) -> Defended:
        """The fitted defense; before the victim that it made, if it made one."""
        recipe = registry.load(str(self._line((victim, name))))
        if not self._suite.defenses[name].boundary:
            return recipe
        return Service(victims.load(self._model((victim, name))), recipe)

    def made_of(self, name: ArtifactKey) -> str:
        """What stands for all that it depends on."""
        victim = self._suite.victims[name[0]]
        what: list[Any] = [victim.data, victim.network, victim.training and to_table(victim.training)]
        what += [victim.weights, victim.weights and _digest(weights(victim.weights))]
        what += [data.load(victim.data).train.fingerprint]
        if len(name) == 2:
            entry = self._suite.defenses[name[1]]
            what += [to_table(self._suite.recipe(name[1])), to_table(self._suite.boundary(name[1]))]
            what += [entry.learns_from, entry.outliers]
        return fingerprint(what)

    def _model(self, name: ArtifactKey) -> Path:
        return self._work / "victims" / _file(" behind ".join(name))

    def _line(self, name: ArtifactKey) -> Path:
        return self._work / "defenses" / _file(name[0]) / _file(name[1])


def matrices(
    suite: Suite, work: Path | str, *, progress: ProgressCallback = NO_PROGRESS, map: Runner = map, only: str = ""
) -> list[Matrix]:
    """Build a matrix for each victim of a suite.

    Victims are trained and defenses fitted where `work` does not hold them yet. Several processes may share `work`:
    each artifact is made once. With `only`, an expression over cells, what its cells do not need is left out.

    Raises:
        FeintError: the first error of a training or fitting, once all others are done.
    """
    work = Path(work)
    progress.folder = progress.folder or work / "trainings"
    shelf, needed = ArtifactStore(suite, work), {}
    for cell in suite.cells(only):
        needed.setdefault(cell.victim, {})[cell.defense] = True
    build(shelf, [(it,) for it in needed], PrepareJob(suite, progress), work, map)
    models = {name: shelf.victim(name) for name in needed}
    pairs = [(victim, it) for victim, defenses in needed.items() for it in defenses]
    build(shelf, pairs, PrepareJob(suite, progress, models), work, map)
    return [_matrix(suite, shelf, name, models[name], list(needed[name]), only) for name in needed]


def build(shelf: ArtifactStore, names: Sequence[ArtifactKey], job: PrepareJob, work: Path, map: Runner) -> None:
    """Make what the shelf does not have; what another process makes is waited for. Raises the first error."""
    errors: dict[ArtifactKey, Exception] = {}
    left = [it for it in names if not shelf.has(it)]
    if not left:
        return
    with Leases(work / ".leases") as leases:
        while left := [it for it in left if it not in errors and not shelf.has(it)]:
            before = len(errors)
            for made in map(job, _claimed(left, shelf, leases)):
                if made.error is None:
                    shelf.keep(made)
                else:
                    errors[made.name] = made.error
                leases.release(_lease(made.name))
                job.progress.step("preparing", len(names) - len(left) + 1, len(names))
            if len(errors) == before and any(not shelf.has(it) for it in left):
                time.sleep(LOOK)
    for error in errors.values():
        raise error


def _claimed(names: Iterable[ArtifactKey], shelf: ArtifactStore, leases: Leases) -> Iterator[ArtifactKey]:
    """Those that no other is making, each claimed when there is room for it."""
    for name in names:
        if leases.claim(_lease(name)):
            if shelf.has(name):  # made in the meantime
                leases.release(_lease(name))
            else:
                yield name


def _matrix(
    suite: Suite, shelf: ArtifactStore, name: str, victim: Classifier, defenses: list[str], only: str
) -> Matrix:
    entry = suite.victims[name]
    images = data.load(entry.data)
    pool = images.pool if entry.pool is None else pools.parse_pool(entry.pool).scaled(images.shape)
    owned = Owned(pool, networks.get(entry.surrogate or entry.network, images), suite.training_on(name))
    defended = {it: shelf.defense(name, it) for it in defenses}
    return Matrix(
        victim,
        images.test,
        attacks={},
        against={
            it: through(
                suite.attacks_on(name, it, owned),
                suite.lenses_on(it, owned, _leak(defended[it], victim)),
                suite.combined(),
            )
            for it in defenses
        },
        defenses=defended,
        budgets=suite.budgets_on(name),
        seeds=range(suite.seeds),
        name=name,
        only=only,
        springboard=suite.springboard_on(name, images.train),
    )


def _leak(defended: Defended, victim: Classifier) -> Leak:
    """The secrets of an owner; a boundary defense has a model of its own."""
    if isinstance(defended, Service):
        return Leak(defended.defense, cast(Classifier, defended.model))
    return Leak(defended, victim)


def weights(name: str) -> Path:
    """The file of published weights: as it is named, or under FEINT_DATA."""
    beside = Path(os.environ.get("FEINT_DATA", "")).expanduser() / name
    return beside if not Path(name).is_file() and beside.is_file() else Path(name)


@functools.cache
def _digest(file: Path) -> str:
    if not file.is_file():
        return ""  # loading it will say so
    return short_hash(file.read_bytes())


def _lease(name: ArtifactKey) -> str:
    return short_hash("\0".join(name))


def _file(name: str) -> str:
    """A name of a file that no two names share."""
    return quote(name, safe=" ,+()=").replace(".", "%2E")
