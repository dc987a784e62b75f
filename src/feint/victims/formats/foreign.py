"""Formats that are converted first: each with its command."""

from pathlib import Path

from feint.errors import BadInput

TF = "pip install tf2onnx && python -m tf2onnx.convert"
FORMATS = {
    ".keras": ("a Keras model", f"keras.models.load_model('{{name}}').export('saved_model'), then {TF} "
               "--saved-model saved_model --output {stem}.onnx"),
    ".h5": ("a Keras model", f"{TF} --keras {{name}} --output {{stem}}.onnx"),
    ".tflite": ("a TensorFlow Lite model", f"{TF} --tflite {{name}} --output {{stem}}.onnx"),
    ".pb": ("a TensorFlow graph", f"{TF} --graphdef {{name}} --output {{stem}}.onnx --inputs NAME:0 --outputs NAME:0"),
    ".mlmodel": ("a Core ML model", "pip install onnxmltools coremltools && python -c \"import coremltools, onnxmltools; "
                 "onnxmltools.utils.save_model(onnxmltools.convert_coreml(coremltools.utils.load_spec('{name}')), "
                 "'{stem}.onnx')\""),
    ".mlpackage": ("a Core ML package", "Core ML programs do not convert back: export the original model with "
                   "torch.onnx.export"),
    ".pmml": ("a PMML file", "export the estimator itself: skops.io.dump(model, '{stem}.skops')"),
    ".mar": ("an archive of TorchServe", "unzip it, and name the TorchScript or module within"),
    ".engine": ("a TensorRT engine", "name the ONNX file it was built from"),
}  # fmt: skip
SAVED_MODEL = ("a TensorFlow SavedModel", f"{TF} --saved-model {{name}} --output {{stem}}.onnx")


def foreign_format(path: Path) -> BadInput | None:
    """Return the error for a file or directory of a format that is converted first, or None for any other one."""
    known = SAVED_MODEL if (path / "saved_model.pb").is_file() else FORMATS.get(path.suffix.lower())
    if known is None or not path.exists():
        return None
    kind, command = known
    return BadInput(f"{path}, {kind}", "ONNX", "convert it: " + command.format(name=path, stem=path.with_suffix("").name))
