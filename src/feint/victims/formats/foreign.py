"""Formats that are converted first: each with its command."""

import json
from pathlib import Path

from feint.errors import BadInput

TF = "pip install tf2onnx && python -m tf2onnx.convert"
COREML = "coremltools.utils.load_spec('{name}')"
KERAS = ("a Keras model", f"convert it: {TF} --keras {{name}} --output {{stem}}.onnx")
PADDLE = "convert it: pip install paddle2onnx && paddle2onnx --model_dir {folder} --save_file {stem}.onnx"
TENSORRT = ("a TensorRT engine", "name the ONNX file that it was built from")
BOOSTER = "convert it: booster = xgboost.Booster(model_file='{name}'); booster.save_model('{stem}.ubj')"
CODE = "load it in a function of yours, and name that: package.module:function"
SERVED = "or serve it, and audit the server: feint audit --url URL --model NAME"
FORMATS = {
    ".keras": (
        "a Keras model",
        "convert it: keras.models.load_model('{name}').export('saved_model') in Python, then "
        f"{TF} --saved-model saved_model --output {{stem}}.onnx",
    ),
    ".h5": KERAS, ".hdf5": KERAS,
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
    ".engine": TENSORRT, ".trt": TENSORRT, ".plan": TENSORRT,
    ".pdmodel": ("a Paddle model", PADDLE), ".pdiparams": ("weights of Paddle", PADDLE),
    ".pdparams": ("weights of Paddle", "write the model: paddle.onnx.export(model, '{stem}', input_spec)"),
    ".caffemodel": ("a Caffe model", CODE), ".prototxt": ("a Caffe model", CODE),
    ".ckpt": ("a checkpoint", f"export its model with torch.export or torch.onnx; or {CODE}"),
    ".msgpack": ("weights of Flax", CODE),
    ".gguf": ("a language model for llama.cpp", f"{CODE}, which returns the scores of its classes"),
    ".xml": ("an OpenVINO model", f"name the file that it was converted from; {SERVED}"),
    ".rds": ("an object of R", "write the booster itself: xgb.save, lgb.save or catboost.save_model"),
    ".model": ("a booster in an old form", BOOSTER), ".bst": ("a booster in an old form", BOOSTER),
    ".ort": ("a model of ONNX Runtime's own format", "name the ONNX file that it was converted from"),
    ".gz": ("a compressed file", "unpack it: gunzip {name}"), ".zip": ("an archive", "unpack it: unzip {name}"),
}  # fmt: skip
FOLDERS = {  # by a file within
    "saved_model.pb": ("a TensorFlow SavedModel", f"convert it: {TF} --saved-model {{name}} --output {{stem}}.onnx"),
    "MLmodel": ("a model of MLflow", f"name the model's own file; {SERVED}"),
    "config.pbtxt": ("a model of Triton", f"name the model's own file; {SERVED}"),
    "openvino_model.xml": FORMATS[".xml"], "inference.pdmodel": FORMATS[".pdmodel"],
    "model.safetensors": ("weights alone", "add the config.json of Hugging Face, or name the file itself"),
}  # fmt: skip
JSON = {  # by a key within
    "tree_info": ("a dump of LightGBM, which it cannot read back", "write the model: booster.save_model('{stem}.txt')"),
    "oblivious_trees": ("a model of CatBoost in JSON", "write it so: model.save_model('{stem}.cbm')"),
    "trees": ("a model of CatBoost in JSON", "write it so: model.save_model('{stem}.cbm')"),
    "nodeid": ("a dump of XGBoost, which it cannot read back", "write the model: booster.save_model('{stem}.ubj')"),
}


def refuse_foreign(path: Path) -> None:
    """Raise `BadInput` for a file or directory of a format that is converted first."""
    if path.is_dir():
        known = next((entry for file, entry in FOLDERS.items() if (path / file).is_file()), None)
        known = None if (path / "config.json").is_file() else known
    else:
        known = FORMATS.get(path.suffix.lower()) or _foreign_json(path)
    known = known or FORMATS.get(path.suffix.lower())
    if known is None or not path.exists():
        return
    kind, command = known
    folder = path if path.is_dir() else path.parent
    stem = path.with_suffix("").name
    raise BadInput(
        f"{path}, {kind}",
        "ONNX or another format that Feint loads",
        command.format(name=path, stem=stem, folder=folder),
    )


def _foreign_json(path: Path) -> tuple[str, str] | None:
    """Return what a JSON file of another booster is, None for any other file."""
    if path.suffix.lower() != ".json" or not path.is_file():
        return None
    try:
        content = json.loads(path.read_bytes())
    except ValueError:
        return None
    first = content[0] if isinstance(content, list) and content else content
    keys = first if isinstance(first, dict) else {}
    return next((entry for key, entry in JSON.items() if key in keys), None)
