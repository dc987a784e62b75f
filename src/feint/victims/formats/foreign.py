"""Formats that are converted first: each with its command."""

from pathlib import Path

from feint.errors import BadInput

TF = "pip install tf2onnx && python -m tf2onnx.convert"
COREML = "coremltools.utils.load_spec('{name}')"
FORMATS = {
    ".keras": (
        "a Keras model",
        "convert it: keras.models.load_model('{name}').export('saved_model') in Python, then "
        f"{TF} --saved-model saved_model --output {{stem}}.onnx",
    ),
    ".h5": ("a Keras model", f"convert it: {TF} --keras {{name}} --output {{stem}}.onnx"),
    ".tflite": ("a TensorFlow Lite model", f"convert it: {TF} --tflite {{name}} --output {{stem}}.onnx"),
    ".pb": (
        "a TensorFlow graph",
        f"convert it: {TF} --graphdef {{name}} --output {{stem}}.onnx --inputs NAME:0 --outputs NAME:0",
    ),
    ".mlmodel": (
        "a Core ML model",
        "convert it: pip install onnxmltools coremltools, then onnxmltools.utils.save_model("
        f"onnxmltools.convert_coreml({COREML}), '{{stem}}.onnx') in Python",
    ),
    ".mlpackage": (
        "a Core ML program",
        "export the original model: torch.onnx.export; coremltools cannot convert back",
    ),
    ".pmml": ("a PMML file", "write the estimator itself: skops.io.dump(model, '{stem}.skops')"),
    ".mar": ("an archive of TorchServe", "unzip it, and name the TorchScript file within"),
    ".engine": ("a TensorRT engine", "name the ONNX file that it was built from"),
}
SAVED_MODEL = ("a TensorFlow SavedModel", f"convert it: {TF} --saved-model {{name}} --output {{stem}}.onnx")


def refuse_foreign(path: Path) -> None:
    """Raise `BadInput` for a file or directory of a format that is converted first."""
    known = SAVED_MODEL if (path / "saved_model.pb").is_file() else FORMATS.get(path.suffix.lower())
    if known is None or not path.exists():
        return
    kind, command = known
    raise BadInput(f"{path}, {kind}", "ONNX", command.format(name=path, stem=path.with_suffix("").name))
