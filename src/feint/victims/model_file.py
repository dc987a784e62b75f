"""`model.toml`: where a model is, how it is adapted, and the evidence for that."""

import tomllib
from dataclasses import dataclass
from pathlib import Path

import tomli_w

from feint.errors import BadInput, DamagedFile, MissingData
from feint.models.networks import VOCABULARY, Network
from feint.recipes import recipe as recipes
from feint.recipes.field_types import check_types
from feint.recipes.store import atomic_write
from feint.victims.adapter import Adapter
from feint.victims.inputs import ColumnInputs, PixelInputs, TextInputs, TokenInputs
from feint.victims.outputs import ClassOutputs

FORMAT = 1
NAME = "model.toml"
PARTS = (Adapter, PixelInputs, ColumnInputs, TokenInputs, TextInputs, ClassOutputs)


@dataclass(frozen=True)
class ModelFile:
    """Content of a `model.toml`.

    Args:
        model: The raw model: a path relative to the file, or package.module:name.
        adapter: Its adapter, with domain and classes.
        network: Network of a file of weights; None for all others.
        evidence: Lines that say why this adapter: what was measured.
    """

    model: str
    adapter: Adapter
    network: Network | None = None
    evidence: tuple[str, ...] = ()

    def write(self, path: Path | str) -> None:
        """Write the file `path`, atomically. Failures raise `NotWritten`."""
        with atomic_write(Path(path)) as partial:
            partial.write_text(tomli_w.dumps({"format": FORMAT} | recipes.to_table(self)))

    @classmethod
    def read(cls, path: Path | str) -> "ModelFile":
        """Read the file `path`. Its `model` is relative to the current directory, or absolute.

        A field that is unknown or has a value that does not fit raises `BadInput`.

        Args:
            path: The file.

        Returns:
            Its content.

        Raises:
            MissingData: There is no such file.
            DamagedFile: It is no TOML, or of another format.
        """
        path = Path(path)
        if not path.is_file():
            raise MissingData(
                f"{path}, which is not there", f"a {NAME}", "feint inspect MODEL --data SAMPLES writes it"
            )
        try:
            table = tomllib.loads(path.read_text())
        except (OSError, ValueError) as error:
            raise DamagedFile(f"{path} ({error})", f"a {NAME}", "mend it, or let feint inspect write it") from error
        if table.pop("format", FORMAT) != FORMAT:
            raise DamagedFile(f"{path} of another format", f"format {FORMAT}", "feint inspect writes it anew")
        words = recipes.joined({kind.__name__: kind for kind in (cls, *PARTS)}, VOCABULARY)
        try:
            content = recipes.from_table({"kind": cls.__name__} | table, words)
            check_types(content)
        except BadInput as error:
            raise error.with_context(str(path)) from error
        place = content.model if ":" in content.model else str(path.parent / content.model)
        return cls(place, content.adapter, content.network, content.evidence)
