"""Formats that are converted first: each with its command."""

import json
import re
import shlex
import zipfile
from itertools import islice
from pathlib import Path

from feint.errors import BadInput

TF = "pip install tf2onnx && python -m tf2onnx.convert"
COREML = "coremltools.utils.load_spec({name!r})"
KERAS = ("a Keras model", f"convert it: {TF} --keras {{name}} --output {{stem:.onnx}}")
PADDLE = "convert it: pip install paddle2onnx && paddle2onnx --model_dir {folder} --save_file {stem:.onnx}"
TENSORRT = ("a TensorRT engine", "name the ONNX file that it was built from")
BOOSTER = (
    "a booster in an old form",
    "convert it: booster = xgboost.Booster(model_file={name!r}); booster.save_model({stem:'.ubj})",
)
CODE = "load it in a function of yours, and name that: package.module:function"
SERVED = "or serve it, and audit the server: feint audit --url URL --model NAME"
SERVICE = "serve it, and describe its API in a victim.toml"
API = f"{CODE}; or {SERVICE}"
DEVICE = ("a model compiled for a device", "name the ONNX file that it was built from")
ARCHIVE = "unpack it: tar -xf {name}"
SOURCE = "name a function or factory in it, in a folder on the path of Python: {stem}:FUNCTION"
DATA = ("data", "name the model here, and the data as --data {name}")
FORMATS = {  # by suffix, of a file or directory
    ".keras": (
        "a Keras model",
        "convert it: keras.models.load_model({name!r}).export({stem:'.onnx}, format='onnx') in Python; in older Keras "
        f".export('saved_model'), then {TF} --saved-model saved_model --output {{stem:.onnx}}",
    ),
    ".weights.h5": ("weights of Keras alone", "write the whole model: model.export({stem:'.onnx}, format='onnx')"),
    ".h5": KERAS, ".hdf5": KERAS,
    ".tflite": ("a TensorFlow Lite model", f"convert it: {TF} --tflite {{name}} --output {{stem:.onnx}}"),
    ".pb": (
        "a TensorFlow graph",
        f"convert it: {TF} --graphdef {{name}} --output {{stem:.onnx}} --inputs NAME:0 --outputs NAME:0",
    ),
    ".mlmodel": (
        "a Core ML model",
        "convert it: pip install onnxmltools coremltools, then onnxmltools.utils.save_model("
        f"onnxmltools.convert_coreml({COREML}), {{stem:'.onnx}}) in Python",
    ),
    ".mlpackage": (
        "a Core ML program",
        "export the original model: torch.onnx.export; coremltools cannot convert back",
    ),
    ".pmml": ("a PMML file", "write the estimator itself: skops.io.dump(model, {stem:'.skops})"),
    ".mar": ("an archive of TorchServe", "unzip it, and name the TorchScript file within"),
    ".engine": TENSORRT, ".trt": TENSORRT, ".plan": TENSORRT,
    ".pdmodel": ("a Paddle model", PADDLE), ".pdiparams": ("weights of Paddle", PADDLE),
    ".pdparams": ("weights of Paddle", "write the model: paddle.onnx.export(model, {stem!r}, input_spec)"),
    ".caffemodel": ("a Caffe model", CODE), ".prototxt": ("a Caffe model", CODE),
    ".ckpt": ("a checkpoint", f"export its model with torch.export or torch.onnx; or {CODE}"),
    ".msgpack": ("weights of Flax", CODE),
    ".gguf": ("a language model for llama.cpp", f"{CODE}, which returns the scores of its classes"),
    ".xml": ("an OpenVINO model", f"name the file that it was converted from; {SERVED}"),
    ".rds": ("an object of R", "write the booster itself: xgb.save, lgb.save or catboost.save_model"),
    ".model": BOOSTER, ".bst": BOOSTER,
    ".ort": ("a model of ONNX Runtime's own format", "name the ONNX file that it was converted from"),
    ".gz": ("a compressed file", "unpack it: gunzip {name}"),
    ".bz2": ("a compressed file", "unpack it: bunzip2 {name}"),
    ".xz": ("a compressed file", "unpack it: unxz {name}"), ".zip": ("an archive", "unpack it: unzip {name}"),
    ".tar": ("an archive", ARCHIVE), ".tgz": ("an archive", ARCHIVE), ".tar.gz": ("an archive", ARCHIVE),
    ".tar.bz2": ("an archive", ARCHIVE), ".tar.xz": ("an archive", ARCHIVE), ".nemo": ("an archive of NeMo", ARCHIVE),
    ".bento": ("an archive of BentoML", API), ".bentomodel": ("an archive of BentoML", ARCHIVE),
    ".7z": ("an archive", "unpack it: 7z x {name}"), ".whl": ("a package of Python", f"install it; {CODE}"),
    ".mlmodelc": ("a Core ML program", "export the original model: torch.onnx.export"),
    ".pte": ("a program of ExecuTorch", "write the module it was made of: torch.export.save, as .pt2"),
    ".rknn": DEVICE, ".mnn": DEVICE, ".dlc": DEVICE, ".om": DEVICE, ".hef": DEVICE, ".tmfile": DEVICE,
    ".vw": ("a model of Vowpal Wabbit", CODE), ".ftz": ("a model of fastText", CODE),
    ".rdata": ("objects of R", "write the booster itself: xgb.save, lgb.save or catboost.save_model"),
    ".data": ("tensors of an ONNX file", "name that file: {name} is read with it"),
    ".dvc": ("a pointer of DVC", "dvc pull {name}, and name the file that it stands for"),
    ".js": ("JavaScript", SERVICE), ".mjs": ("JavaScript", SERVICE), ".wasm": ("a program of WebAssembly", SERVICE),
    ".py": ("source code", SOURCE), ".ipynb": ("a notebook", f"write a module that loads its model; {CODE}"),
    ".csv": DATA, ".parquet": DATA, ".jsonl": DATA, ".npz": DATA, ".npy": DATA,
}  # fmt: skip
FOLDERS = {  # by a file within
    "saved_model.pb": ("a TensorFlow SavedModel", f"convert it: {TF} --saved-model {{name}} --output {{stem:.onnx}}"),
    "MLmodel": ("a model of MLflow", f"name the model's own file{{within}}; {SERVED}"),
    "config.pbtxt": ("a model of Triton", f"name the model's own file{{within}}; {SERVED}"),
    "openvino_model.xml": FORMATS[".xml"], "inference.pdmodel": FORMATS[".pdmodel"],
    "adapter_config.json": (
        "an adapter of PEFT (LoRA)",
        "merge it: peft.AutoPeftModelForSequenceClassification.from_pretrained({name!r}).merge_and_unload()"
        ".save_pretrained({stem:'-merged}), with the tokenizer beside it",
    ),
    "bento.yaml": ("a Bento", API), "model.yaml": ("a model of BentoML", "name the model's own file{within}"),
    "config.cfg": ("a pipeline of spaCy", f"{CODE}, which returns doc.cats"),
    "predictor.pkl": ("a predictor of AutoGluon", f"{CODE}, which returns predict_proba"),
    "model.json": ("a model of TensorFlow.js", "convert the Keras or SavedModel that it was made of, by tf2onnx"),
    "model.tar.gz": ("an archive of SageMaker", "unpack it: tar -xf {name:/model.tar.gz}"),
}  # fmt: skip
ARCHIVES = {  # of ZIP, by a file within
    "model.ini": ("a MOJO of H2O", f"with h2o.import_mojo {API}"),
}
STARTS = {  # by the first bytes of a file
    b"": ("an empty file", "write or download it again"),
    b"version https://git-lfs": ("a pointer of Git LFS", "fetch the file: git lfs pull"),
    b"<!doctype html": ("a page of HTML", "download the file itself"),
    b"<html": ("a page of HTML", "download the file itself"),
    b"\xba\x16o/": ("a model of fastText", CODE),
}  # fmt: skip
LIGHTGBM = "a model of LightGBM", "name it so: cp {name} {stem:.txt}"
CONTENTS = {  # by the first bytes of a file whose name says nothing, or what it is not
    rb"GGUF": FORMATS[".gguf"], rb"\x89HDF": KERAS,
    rb"tree\r?\nversion": LIGHTGBM,
    rb"(svm|solver)_type ": ("a model of LIBSVM or LIBLINEAR", CODE),
    rb"(?s:.{4})TFL3": FORMATS[".tflite"], rb"(?s:.{4})ORTM": FORMATS[".ort"],  # FlatBuffers
}  # fmt: skip
LOADED = (
    ".onnx", ".skops", ".pt2", ".pt", ".pth", ".ubj", ".cbm", ".safetensors", ".joblib", ".pkl", ".sav", ".ckpt",
    ".keras", ".h5", ".tflite", ".bin",
)  # fmt: skip
HEAD = 64  # bytes by which a file is known
SEEN = 1000  # files of a directory among which a model's is looked for
JSON = {  # by a key within
    "tree_info": ("a dump of LightGBM, which it cannot read back", "write the model: booster.save_model({stem:'.txt})"),
    "oblivious_trees": ("a model of CatBoost in JSON", "write it so: model.save_model({stem:'.cbm})"),
    "trees": ("a model of CatBoost in JSON", "write it so: model.save_model({stem:'.cbm})"),
    "modelTopology": FOLDERS["model.json"],
    "nodeid": ("a dump of XGBoost, which it cannot read back", "write the model: booster.save_model({stem:'.ubj})"),
}


class CommandWord(str):
    """Word of a printed command, formatted with the rest of it: `{x:.onnx}` for a shell, `{x:'.onnx}` for Python."""

    def __format__(self, rest: str) -> str:
        return repr(self + rest[1:]) if rest.startswith("'") else shlex.quote(self + rest)


def refuse_foreign(path: Path) -> None:
    """Raise `BadInput` for a file or directory of a format that is converted first."""
    if path.is_file() and path.name in FOLDERS and path.suffix != ".json":  # an XGBoost model may be called model.json
        refuse_foreign(path.parent)
    within = _model_within(path) if path.is_dir() else None
    known = (_foreign_folder(path, within) if path.is_dir() else _foreign_archive(path)) or _by_name(path)
    if known is not None and path.exists():
        raise _refusal(path, *known, within=within)


def refuse_content(path: Path) -> None:
    """Raise `BadInput` for a file that is of another format by its content, or a part of a directory that is one."""
    known = _by_content(path)
    if known is not None and not (known is LIGHTGBM and path.suffix.lower() == ".txt"):  # but damaged
        raise _refusal(path, *known)
    for folder in list(path.parents)[:2]:
        if any((folder / file).is_file() for file in FOLDERS):
            refuse_foreign(folder)


def _by_name(path: Path) -> tuple[str, str] | None:
    """Return what a file or directory is by its last two suffixes or the last one."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    known = FORMATS.get("".join(suffixes[-2:])) or FORMATS.get("".join(suffixes[-1:]))
    return _by_content(path) or known if known is BOOSTER else known  # many libraries call their files .model


def _by_content(path: Path) -> tuple[str, str] | None:
    """Return what a file is by its first bytes."""
    if not path.is_file():
        return None
    with path.open("rb") as file:
        head = file.read(HEAD)
    return next((entry for start, entry in CONTENTS.items() if re.match(start, head)), None)


def refuse_start(path: Path) -> None:
    """Raise `BadInput` for a file that is no model by its first bytes, whatever its name."""
    if not path.is_file():
        return
    with path.open("rb") as file:
        head = file.read(HEAD).lower()
    known = next((entry for start, entry in STARTS.items() if (head.startswith(start) if start else not head)), None)
    if known is not None:
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


def _foreign_folder(path: Path, within: Path | None) -> tuple[str, str] | None:
    """Return what a directory is by a file within, None for one of Hugging Face or without a model's file."""
    if (path / "config.json").is_file() and not (path / "adapter_config.json").is_file():
        foreign = within is not None and within.suffix == ".onnx" and not any(path.glob("*.safetensors"))
        return ("a directory with an ONNX file", "name that file{within}") if foreign else None
    known = next((entry for file, entry in FOLDERS.items() if (path / file).is_file()), None)
    return known or (("a directory", "name the model's file{within}") if within is not None else None)


def _model_within(path: Path) -> Path | None:
    """Return the file of a model in a directory: the one that Feint loads with least ado, and the highest one."""
    files = [file for file in islice(path.rglob("*"), SEEN) if file.suffix.lower() in LOADED]
    return min(files, key=lambda file: (LOADED.index(file.suffix.lower()), len(file.parts), file), default=None)


def _foreign_archive(path: Path) -> tuple[str, str] | None:
    """Return what an archive of ZIP is by a file within, None where that tells nothing."""
    if path.suffix.lower() != ".zip" or not zipfile.is_zipfile(path):
        return None
    with zipfile.ZipFile(path) as archive:
        names = {Path(name).name for name in archive.namelist()}
    return next((entry for file, entry in ARCHIVES.items() if file in names), None)


def _refusal(path: Path, kind: str, command: str, *, within: Path | None = None) -> BadInput:
    folder = path if path.is_dir() else path.parent
    file = "" if within is None else f": {within}"
    name, stem = CommandWord(path), CommandWord(path.with_suffix("").name)
    remedy = command.format(name=name, stem=stem, folder=CommandWord(folder), within=file)
    return BadInput(f"{path}, {kind}", "ONNX or another format that Feint loads", remedy)
