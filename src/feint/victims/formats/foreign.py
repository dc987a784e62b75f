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
    known = (_foreign_folder(path) if path.is_dir() else None) or FORMATS.get(path.suffix.lower())
    if known is not None and path.exists():
        raise _refusal(path, *known)


def refuse_foreign_json(path: Path) -> None:
    """Raise `BadInput` for a JSON file of another booster; nothing is raised for any other file."""
    try:
        content = json.loads(path.read_bytes()) if path.suffix.lower() == ".json" else None
    except ValueError:
        return
    first = content[0] if isinstance(content, list) and content else content
    keys = first if isinstance(first, dict) else {}
    known = next((entry for key, entry in JSON.items() if key in keys), None)
    if known is not None:
        raise _refusal(path, *known)


def _foreign_folder(path: Path) -> tuple[str, str] | None:
    """Return what a directory is by a file within, None for one of Hugging Face or of no known kind."""
    if (path / "config.json").is_file():
        return None
    return next((entry for file, entry in FOLDERS.items() if (path / file).is_file()), None)


def _refusal(path: Path, kind: str, command: str) -> BadInput:
    folder = path if path.is_dir() else path.parent
    remedy = command.format(name=path, stem=path.with_suffix("").name, folder=folder)
    return BadInput(f"{path}, {kind}", "ONNX or another format that Feint loads", remedy)
