"""Recorded services: a transcript of inputs and answers as a model."""

import numpy as np
import torch
from torch import Tensor

from feint.data.files import samples_at
from feint.data.parts import converted, table_part
from feint.data.tables import cells, read_table
from feint.errors import BadInput, MissingData, Refused
from feint.recipes.store import fingerprint
from feint.signature import Domain, domain_like, mark
from feint.transcript import Transcript
from feint.victims.json_api.answers import AnswerReader
from feint.victims.json_api.victim_file import VictimFile
from feint.victims.remote import Ask, FromAnswers

Recording = tuple[np.ndarray, Domain, np.ndarray]  # inputs (N, …), their domain, and answers (N, K)


def load_recorded(file: VictimFile) -> FromAnswers:
    """Return a recorded service as a model, which answers what was recorded and nothing else.

    Args:
        file: Content of its `victim.toml`: `answers` names a transcript of Feint, or a table with columns of inputs and
            the `label` or the `scores` that were answered.

    Returns:
        The model.

    Raises:
        MissingData: The recording is not there.
        BadInput: It has no answers, or those of other classes.
    """
    path = file.path.parent / file.answers
    if not path.exists():
        raise MissingData(f"{path}, which is not there", f"the recording that {file.path} names", "check answers")
    reader = AnswerReader(file.answer, file.classes)
    if path.suffix == ".safetensors":
        x, domain, p = _transcript(file)
    elif file.scores:
        x, domain, p = _table(file, reader)
    else:
        reading = samples_at(str(path), classes=file.classes, label=file.label or None)
        x, domain = reading.split.inputs().numpy(), reading.split.domain
        p = np.eye(len(file.classes), dtype=np.float32)[reading.split.labels.numpy()]
        reader.remarks["labels"] = "the recording has labels alone"
    if p.shape[1] != len(file.classes):
        raise BadInput(
            f"answers of {p.shape[1]} classes in {path}", f"{len(file.classes)}, as in {file.path}", "mend it"
        )
    model = FromAnswers(
        _refuse(len(x), domain), name=f"{file.path.name} {_digest(x, p)}", domain=domain, classes=len(file.classes),
        class_names=file.classes, recorded=True,
    )  # fmt: skip
    model.cache.add(mark(x), p, reader.remarks)
    return model


def _transcript(file: VictimFile) -> Recording:
    transcript = Transcript.load(file.path.parent / file.answers)
    x = transcript.x.numpy()
    return x, domain_like(x), transcript.p.numpy()


def _table(file: VictimFile, reader: AnswerReader) -> Recording:
    path = file.path.parent / file.answers
    table = read_table(path)
    absent = [name for name in file.scores if name not in table.column_names]
    if absent or len(file.scores) != len(file.classes):
        got = f"no column {absent[0]!r}" if absent else f"{len(file.scores)} columns of scores"
        raise BadInput(f"{got} in {path}", f"one for each of {len(file.classes)} classes", "mend scores")
    columns = [cells(table, name) for name in file.scores]
    part = table_part(table.drop_columns(list(file.scores)), label=file.label or None, labelled=False)
    stored, domain, _ = converted(part, None)
    p = np.concatenate([reader.read(list(row), 1) for row in zip(*columns, strict=True)])
    return domain.decode(stored), domain, p


def _refuse(count: int, domain: Domain) -> Ask:
    """Return the predictor of inputs that were not recorded."""

    def ask(x: Tensor) -> tuple[Tensor, Refused | None]:
        raise BadInput(
            f"{len(x)} {domain.noun} that were not recorded", f"some of the {count:,} that were",
            "draw the pool and the samples from the recording",
        )  # fmt: skip

    return ask


def _digest(x: np.ndarray, p: np.ndarray) -> str:
    return fingerprint({"x": torch.from_numpy(x), "p": torch.from_numpy(p)})
