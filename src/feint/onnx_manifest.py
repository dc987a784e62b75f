"""Manifest of an exported ONNX file, in its metadata: recipe, digest, and the rules that run beside the graph."""

import base64
import binascii
import contextlib
import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import safetensors
import safetensors.numpy

from feint import __version__
from feint.defenses.served_mark import ServedMark
from feint.errors import BadInput, BadRecipe
from feint.openinference.model_spec import domain_of_table
from feint.recipes.recipe import PLUGINS, from_table, joined, to_table
from feint.signature import Domain

PLAIN, MARKED = "1", "2"  # formats: a gateway that knows the first alone would serve answers without their marks
DIGEST = re.compile(rb"sha256:[0-9a-f]{64}")  # of the file, in which this digest itself counts as zeros
NO_DIGEST = "sha256:" + "0" * 64

Array = np.ndarray


class ServableRules(Mapping[str, Callable[..., Any]]):
    """Access rules that run without torch, by name: Feint's own and those of other packages with `servable = True`."""

    def __getitem__(self, name: str) -> Callable[..., Any]:
        from feint.defenses import access

        if name not in self._names:
            raise KeyError(name)
        try:
            kind = getattr(access, name, None) or PLUGINS[name]
        except ModuleNotFoundError as error:  # torch, where a gateway is installed without it
            raise KeyError(name) from error
        if not getattr(kind, "servable", False):
            raise KeyError(name)
        return kind

    def __iter__(self) -> Iterator[str]:
        for name in self._names:
            with contextlib.suppress(KeyError, BadRecipe):  # a package whose class does not load
                self[name]
                yield name

    def __len__(self) -> int:
        return sum(1 for _ in self)

    @property
    def _names(self) -> list[str]:
        from feint.defenses import access

        return [*dir(access), *PLUGINS]


class LearnedTensors(NamedTuple):
    """Tensors that an access rule has learned, under their fingerprint: `feint.recipes.store.Weights` without torch."""

    fingerprint: str
    tensors: Mapping[str, Array]


@dataclass(frozen=True)
class RungSpec:
    """Rung of an exported ladder.

    Attributes:
        at: The evidence from which a client stands on it.
        access: Its access rules.
        marks: Marks of its answers, which follow the graph; locked, until the gateway has their key.
    """

    at: float = 0.0
    access: tuple[Any, ...] = ()
    marks: tuple[ServedMark, ...] = ()


@dataclass(frozen=True)
class Manifest:
    """Metadata of an exported file.

    Attributes:
        takes: "x" for inputs, "p" for undefended answers.
        fingerprint: That of the victim, or of what the defense learned where there is no victim.
        version: The version of Feint that wrote the file.
        domain: Domain of the inputs; None for undefended answers, and for images in files until 0.2.
        labels: Names of the classes, where they are known.
        recipe: The table of the Defense or Ladder.
        access: Access rules for everybody.
        rungs: The rungs of a ladder; a plain defense has one.
        detectors: The e-processes that turn scores into evidence.
        campaign: Evidence over many accounts, if the ladder has one.
    """

    takes: str = "x"
    fingerprint: str = ""
    version: str = ""
    domain: Domain | None = None
    labels: tuple[str, ...] = ()
    recipe: Mapping[str, Any] | None = None
    access: tuple[Any, ...] = ()
    rungs: tuple[RungSpec, ...] = (RungSpec(),)
    detectors: tuple[Any, ...] = ()
    campaign: Any = None


def to_metadata(
    *,
    takes: str,
    fingerprint: str,
    recipe: Mapping[str, Any],
    learned: Mapping[str, Array],
    domain: Domain | None = None,
    labels: Sequence[str] = (),
) -> dict[str, str]:
    """Return the metadata that `from_metadata` reads, with a digest that `sign` fills in."""
    return {
        "feint.format": MARKED if any(map(_marks, _rungs(recipe))) else PLAIN,
        "feint.version": __version__,
        "feint.takes": takes,
        "feint.fingerprint": fingerprint,
        "feint.domain": json.dumps(to_table(domain.published()) if domain else None),
        "feint.labels": json.dumps(list(labels)),
        "feint.recipe": json.dumps(recipe),
        "feint.learned": base64.b64encode(safetensors.numpy.save(dict(learned))).decode(),
        "feint.digest": NO_DIGEST,
    }


def from_metadata(metadata: Mapping[str, str]) -> Manifest:
    """Return the manifest in metadata; raise `ValueError` where `to_metadata` did not write them."""
    try:
        if metadata["feint.format"] not in (PLAIN, MARKED):
            raise ValueError(f"format {metadata['feint.format']}, not {PLAIN} or {MARKED}")
        recipe = json.loads(metadata["feint.recipe"])
        learned = safetensors.numpy.load(base64.b64decode(metadata["feint.learned"], validate=True))
        ladder = recipe["kind"] == "Ladder"
        rungs = tuple(
            RungSpec(float(at), _rules(rung, learned), _marks(rung))
            for at, rung in zip(recipe["at"] if ladder else [0.0], _rungs(recipe), strict=True)
        )
        return Manifest(
            metadata["feint.takes"],
            metadata["feint.fingerprint"],
            metadata["feint.version"],
            domain_of_table(domain) if (domain := json.loads(metadata.get("feint.domain", "null"))) else None,
            tuple(json.loads(metadata.get("feint.labels", "[]"))),
            recipe,
            _rules(recipe, learned) if ladder else (),
            rungs,
            tuple(_process(i, learned) for i in range(len(recipe.get("detectors", ())))),
            _cohort(recipe["campaign"], learned) if recipe.get("campaign") else None,
        )
    except (KeyError, TypeError, AttributeError, BadInput, binascii.Error, safetensors.SafetensorError) as error:
        raise ValueError(f"metadata that cannot be read ({type(error).__name__}: {error})") from error


def sign(content: bytes) -> bytes:
    """Return a file's content with its digest filled in."""
    return content.replace(NO_DIGEST.encode(), digest(content), 1)


def verify(content: bytes) -> bool:
    """Return whether a file is byte for byte as it was signed."""
    return DIGEST.findall(content) == [digest(content)]


def digest(content: bytes) -> bytes:
    """Return the SHA-256 of a file, in which the digest itself counts as zeros."""
    return b"sha256:" + hashlib.sha256(DIGEST.sub(NO_DIGEST.encode(), content)).hexdigest().encode()


def _rules(table: Mapping[str, Any], learned: Mapping[str, Array]) -> tuple[Any, ...]:
    """Return the access rules in the table of a defense or a ladder."""
    weights = {"Weights": lambda fingerprint: LearnedTensors(fingerprint, _under(f"{fingerprint}/", learned))}
    words = joined(weights, ServableRules())
    return tuple(from_table(rule, words) for rule in table["access"])


def _rungs(recipe: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """Return the tables of a ladder's rungs; a plain defense is a ladder of one rung."""
    return recipe["rungs"] if recipe["kind"] == "Ladder" else [recipe]


def _marks(rung: Mapping[str, Any]) -> tuple[ServedMark, ...]:
    """Return the marks among the output defenses in the table of a rung."""
    words = {ServedMark.__name__: ServedMark}
    return tuple(from_table(step, words) for step in rung.get("outputs", ()) if step["kind"] in words)


def _process(i: int, learned: Mapping[str, Array]) -> Any:
    """Return the e-process of the i-th detector."""
    from feint.defenses.access.mixture import process_of

    return process_of(_under(f"detector_{i}/", learned))


def _cohort(settings: Mapping[str, Any], learned: Mapping[str, Array]) -> Any:
    """Return the running part of a ladder's campaign."""
    from feint.defenses.access.cohort import Cohort
    from feint.defenses.access.martingale import Martingale

    return Cohort.of(settings, Martingale.of(_under("campaign/", learned)))


def _under(prefix: str, learned: Mapping[str, Array]) -> dict[str, Array]:
    return {name.removeprefix(prefix): array for name, array in learned.items() if name.startswith(prefix)}
