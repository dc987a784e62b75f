"""Models behind a JSON API."""

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from feint.client.json_transport import JsonTransport
from feint.errors import BadInput
from feint.paid.meter import Meter
from feint.signature import Columns, Domain, Pixels, Text
from feint.victims.adapter import Adapter, Inputs
from feint.victims.inputs import ColumnInputs, PixelInputs, TextInputs
from feint.victims.json_api.answers import AnswerReader
from feint.victims.json_api.template import Template
from feint.victims.json_api.victim_file import VictimFile
from feint.victims.outputs import ClassOutputs
from feint.victims.raw import Metadata, RawModel, TensorSpec

DOMAINS = {"row": Columns, "text": Text, "image": Pixels}


class JsonApiModel(RawModel):
    """Model behind a JSON API. Its output are the scores (N, K) in the order of `classes`.

    Args:
        file: Content of its `victim.toml`.

    Raises:
        BadInput: The template does not fit.
    """

    def __init__(self, file: VictimFile) -> None:
        self.place = str(file.path)
        try:
            self._template = Template(file.template, file.image, file.batch)
        except BadInput as error:
            raise error.with_context(self.place) from error
        kind = self._template.kind
        shape = (None, None, None, None) if kind == "image" else ()
        self.inputs = (TensorSpec(kind, {"row": "any", "text": "string", "image": "uint8"}[kind], shape),)
        self.outputs = (TensorSpec("scores", "float32", (None, len(file.classes))),)
        self._values = "logits" if file.answer.values == "logits" else "probabilities"
        self.metadata = Metadata(file.classes, values=self._values)
        about = (file.url, file.method, file.template, file.image, file.batch, file.classes, file.answer)
        self.digest = hashlib.sha256(repr(about).encode()).hexdigest()
        self.meter = meter = Meter(file.price_per_1000, file.currency, size=file.batch)
        self._charge = meter.charge
        self._reader = AnswerReader(file.answer, file.classes)
        self._file, self._transport = file, None

    @property
    def remarks(self) -> Mapping[str, str]:
        return self._reader.remarks

    def stated_adapter(self, domain: Domain | None) -> Adapter | None:
        name = self.inputs[0].name
        if domain is None:
            return None
        if not isinstance(domain, DOMAINS[name]):
            raise BadInput(
                f"{domain.noun} for the placeholder ${name} of {self.place}", DOMAINS[name].noun,
                "give data of the API's own kind, or mend template",
            )  # fmt: skip
        inputs: dict[str, Inputs] = {
            "row": ColumnInputs(name, "rows", "names"),
            "text": TextInputs(name),
            "image": PixelInputs(name, "NHWC", high=255.0),
        }
        outputs = ClassOutputs("scores", self._values)
        return Adapter(domain, self.metadata.classes, inputs[name], outputs)

    def run(self, arrays: Mapping[str, Any]) -> dict[str, np.ndarray]:
        x, size = arrays[self.inputs[0].name], self._template.batch
        batches = [self._ask(x[start : start + size]) for start in range(0, len(x), size)]
        return {"scores": np.concatenate(batches)}

    def _ask(self, x: Any) -> np.ndarray:
        """Return the scores of the inputs of one request."""
        if self._transport is None:
            file = self._file
            self._transport = JsonTransport(
                file.url, method=file.method, headers=file.filled_headers(), rate=file.rate, retries=file.retries,
                timeout=file.timeout,
            )  # fmt: skip
        document = self._transport(self._template.fill(x), on_repeat=lambda: self._charge(len(x)))
        try:
            return self._reader.read(document, len(x))
        except BadInput as error:
            raise error.with_context(self.place) from error
