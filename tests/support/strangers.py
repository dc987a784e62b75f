"""Models that other people made or could have made, each with samples and its accuracy by its own library.

The builders know nothing of Feint. The packages are extras or lie in `.venv/strangers`; a test is skipped without.
"""

import fcntl
import json
import os
import pickle
import sys
import sysconfig
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
ROWS = 400  # samples of a model


@dataclass(frozen=True)
class Stranger:
    """Model as its owner has it.

    Attributes:
        model: File or directory of the model.
        data: File or directory of labelled samples.
        accuracy: Accuracy on the samples by the model's own library.
        noun: What the samples are called.
        options: Further options of `feint inspect`: what the owner knows and no file tells.
    """

    model: Path
    data: Path
    accuracy: float
    noun: str
    options: str = ""


def strangers(package: str) -> Path:
    """Return the directory of a package of `.venv/strangers`, or of this environment; skip the test without it."""
    sites = [*(ROOT / ".venv" / "strangers").glob("lib/python*/site-packages"), *map(Path, sys.path)]
    place = next((site / package for site in sites if (site / package).is_dir()), None)
    if place is None:
        pytest.skip(f"no {package}: make .venv/strangers")
    return place


def data_folder(name: str) -> Path:
    """Return the directory of a data set; skip the test without it."""
    root = os.environ.get("FEINT_DATA")
    if not root or not (Path(root) / name).is_dir():
        pytest.skip(f"no FEINT_DATA/{name}")
    return Path(root) / name


def frame(name: str, part: str) -> Any:
    """Return a part of a table as a pandas DataFrame."""
    import pandas as pd

    table = pd.concat([pd.read_parquet(file) for file in sorted(data_folder(name).glob(f"{part}*.parquet"))])
    return table.sample(frac=1, random_state=0, ignore_index=True)  # some sets are sorted by their labels


def write_csv(path: Path, table: Any) -> Path:
    table.to_csv(path, index=False)
    return path


def named(table: Any, classes: tuple[str, ...]) -> Any:
    """Return the table with names in place of the numbers of its labels."""
    return table.assign(label=[classes[label] for label in table.label])


# Tables


INCOME = "<=50K", ">50K"
CREDIT = "good", "bad"


def boosted(library: str, name: str) -> Callable[[Path], Stranger]:
    """Return the builder of a boosted model of a table, with categories of its own, in its library's own file.

    Args:
        library: "xgboost" or "lightgbm".
        name: "adult", whose samples are CSV with names of classes, or "german_credit": Parquet with numbers as labels.
    """

    def build(folder: Path) -> Stranger:
        stem = name.removeprefix("german_")
        boosting = pytest.importorskip(library)
        train, test = frame(name, "train"), frame(name, "test")[:ROWS]
        categories = [column for column in train if train[column].dtype.kind not in "if"]
        x = train.drop(columns="label").astype(dict.fromkeys(categories, "category"))
        if library == "xgboost":
            model = boosting.XGBClassifier(n_estimators=60, max_depth=5, enable_categorical=True, n_jobs=1)
            model.fit(x, train.label).save_model(path := folder / f"{stem}.json")
        else:
            model = boosting.LGBMClassifier(n_estimators=60, num_leaves=15, n_jobs=1, verbose=-1)
            model.fit(x, train.label).booster_.save_model(path := folder / f"{stem}.txt")
        y = test.drop(columns="label").astype({column: x[column].dtype for column in categories})
        accuracy = float((model.predict(y) == test.label).mean())
        if name == "adult":
            return Stranger(path, write_csv(folder / "adult.csv", named(test, INCOME)), accuracy, "rows")
        test.to_parquet(data := folder / "credit.parquet", index=False)
        return Stranger(path, data, accuracy, "rows")

    return build


def pipeline_adult(folder: Path) -> Stranger:
    """A pipeline of scikit-learn with encoder and scaler, written by skops; classes are strings."""
    skops = pytest.importorskip("skops.io")
    from sklearn.compose import ColumnTransformer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    train, test = named(frame("adult", "train"), INCOME), named(frame("adult", "test")[:ROWS], INCOME)
    names = [name for name in train if name != "label"]
    categories = [name for name in names if train[name].dtype.kind not in "if"]
    columns = ColumnTransformer(
        [
            ("categories", OneHotEncoder(handle_unknown="ignore"), categories),
            ("numbers", StandardScaler(), [name for name in names if name not in categories]),
        ]
    )
    model = make_pipeline(columns, LogisticRegression(max_iter=300)).fit(train[names], train.label)
    skops.dump(model, folder / "adult.skops")
    accuracy = float((model.predict(test[names]) == test.label).mean())
    return Stranger(folder / "adult.skops", write_csv(folder / "adult.csv", test), accuracy, "rows")


def zipmap_adult(folder: Path) -> Stranger:
    """skl2onnx's default export, with label and ZipMap, on the numbers of Adult; an .npz file with X and y."""
    skl2onnx = pytest.importorskip("skl2onnx")
    from skl2onnx.common.data_types import FloatTensorType
    from sklearn.ensemble import RandomForestClassifier

    train, test = frame("adult", "train")[:5000], frame("adult", "test")[:ROWS]
    names = [name for name in train if train[name].dtype.kind in "if" and name != "label"]
    model = RandomForestClassifier(50, max_depth=8, random_state=0).fit(train[names].to_numpy(np.float32), train.label)
    graph = skl2onnx.to_onnx(model, initial_types=[("X", FloatTensorType([None, len(names)]))])
    (folder / "adult.onnx").write_bytes(graph.SerializeToString())
    accuracy = float((model.predict(test[names].to_numpy(np.float32)) == test.label).mean())
    np.savez(folder / "adult.npz", X=test[names].to_numpy(float), y=test.label.to_numpy())
    return Stranger(folder / "adult.onnx", folder / "adult.npz", accuracy, "rows")


def xgboost_onnx(folder: Path) -> Stranger:
    """onnxmltools' export of XGBoost, on the numbers of Adult."""
    xgboost = pytest.importorskip("xgboost")
    onnxmltools = pytest.importorskip("onnxmltools")
    from onnxmltools.convert.common.data_types import FloatTensorType

    train, test = frame("adult", "train"), frame("adult", "test")[:ROWS]
    names = [name for name in train if train[name].dtype.kind in "if" and name != "label"]
    model = xgboost.XGBClassifier(n_estimators=30, max_depth=4, n_jobs=1)
    model.fit(train[names].to_numpy(np.float32), train.label)
    graph = onnxmltools.convert_xgboost(model, initial_types=[("x", FloatTensorType([None, len(names)]))])
    (folder / "adult.onnx").write_bytes(graph.SerializeToString())
    accuracy = float((model.predict(test[names].to_numpy(np.float32)) == test.label).mean())
    write_csv(folder / "adult.csv", test[[*names, "label"]])
    return Stranger(folder / "adult.onnx", folder / "adult.csv", accuracy, "rows")


# Texts


def tfidf(folder: Path, name: str, classes: tuple[str, ...]) -> Stranger:
    """A TF-IDF pipeline of scikit-learn, written by skops; CSV with a column of texts."""
    skops = pytest.importorskip("skops.io")
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    train, test = frame(name, "train")[:2000], frame(name, "test")[:ROWS]
    vectorizer = TfidfVectorizer(ngram_range=(1, 2), min_df=3, max_features=10_000, dtype=np.float32)
    model = make_pipeline(vectorizer, LogisticRegression(C=10, max_iter=300)).fit(train.text, train.label)
    skops.dump(model, folder / f"{name}.skops")
    accuracy = float((model.predict(test.text) == test.label).mean())
    path = write_csv(folder / f"{name}.csv", named(test, classes))
    return Stranger(folder / f"{name}.skops", path, accuracy, "texts")


def tfidf_imdb(folder: Path) -> Stranger:
    """Sentiment of film reviews."""
    return tfidf(folder, "imdb", ("negative", "positive"))


def tfidf_sms(folder: Path) -> Stranger:
    """Spam among short messages."""
    return tfidf(folder, "sms_spam", ("ham", "spam"))


def profanity(folder: Path) -> Stranger:
    """alt-profanity-check: a vectorizer and a calibrated SVM, which its owner converts from joblib to skops."""
    place = strangers("profanity_check") / "data"
    skops = pytest.importorskip("skops.io")
    import joblib
    from sklearn.pipeline import make_pipeline

    model = make_pipeline(joblib.load(place / "vectorizer.joblib"), joblib.load(place / "model.joblib"))
    skops.dump(model, folder / "profanity.skops")
    texts = [text[:400] for text in frame("sms_spam", "train").text[:600]] + [
        f"{text[:200]} you {word} {word}"
        for word in ("idiot", "bastard", "asshole")
        for text in frame("imdb", "test").text[:80]
    ]
    labels = [0] * 600 + [1] * 240
    with (folder / "texts.jsonl").open("w") as file:
        file.writelines(
            json.dumps({"text": text, "label": label}) + "\n" for text, label in zip(texts, labels, strict=True)
        )
    accuracy = float((model.predict(texts) == np.array(labels)).mean())
    return Stranger(folder / "profanity.skops", folder / "texts.jsonl", accuracy, "texts")


def transformer_news(folder: Path) -> Stranger:
    """A small BERT of `transformers`, trained for a minute on AG News, saved with its tokenizer."""
    transformers = pytest.importorskip("transformers")
    tokenizers = pytest.importorskip("tokenizers")
    import torch

    train, test = frame("ag_news", "train"), frame("ag_news", "test")[:ROWS]
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = tokenizers.normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    tokenizer.train_from_iterator(
        train.text, tokenizers.trainers.WordPieceTrainer(vocab_size=4000, special_tokens=special)
    )
    fast = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]",
        model_max_length=64,
    )  # fmt: skip
    names = ("World", "Sports", "Business", "Sci/Tech")
    config = transformers.BertConfig(
        vocab_size=4000, hidden_size=64, num_hidden_layers=1, num_attention_heads=2, intermediate_size=128,
        max_position_embeddings=64, num_labels=4, id2label=dict(enumerate(names)),
        label2id={name: i for i, name in enumerate(names)},
    )  # fmt: skip
    torch.manual_seed(0)
    model = transformers.BertForSequenceClassification(config).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    tokens = fast([*train.text], padding="max_length", truncation=True, max_length=64, return_tensors="pt")
    labels = torch.from_numpy(train.label.to_numpy().copy())
    for _ in range(3):
        for rows in torch.randperm(len(labels)).split(64):
            batch = {name: tokens[name][rows] for name in ("input_ids", "attention_mask")}
            optimizer.zero_grad()
            model(**batch, labels=labels[rows]).loss.backward()
            optimizer.step()
    place = folder / "news"
    model.eval().save_pretrained(place)
    fast.save_pretrained(place)
    with torch.no_grad():
        batch = fast([*test.text], padding=True, truncation=True, max_length=64, return_tensors="pt")
        z = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
    accuracy = float((z.argmax(-1).numpy() == test.label).mean())
    return Stranger(place, write_csv(folder / "news.csv", named(test, names)), accuracy, "texts")


# Bytes


def magika(folder: Path) -> Stranger:
    """Google's classifier of file types: 2,048 bytes of a file as int32."""
    place = strangers("magika") / "models" / "standard_v3_3"
    import onnxruntime

    config = json.loads((place / "config.min.json").read_text())
    names = config["target_labels_space"]
    rows, labels = [], []
    for suffix, label, limit in (
        (".py", "python", 250),
        (".txt", "txt", 80),
        (".so", "elf", 60),
        (".json", "json", 60),
    ):
        count = 0
        for file in sorted(Path(sysconfig.get_paths()["purelib"]).rglob(f"*{suffix}")):
            content = file.read_bytes()
            if len(content) < 64 or count == limit:
                continue
            rows.append(magika_features(content, config))
            labels.append(names.index(label))
            count += 1
    x = np.array(rows, np.int32)
    session = onnxruntime.InferenceSession(str(place / "model.onnx"), providers=["CPUExecutionProvider"])
    p = session.run(None, {"bytes": x})[0]
    np.savez(folder / "files.npz", X=x, y=np.array(labels))
    (folder / "classes.txt").write_text("\n".join(names))
    accuracy = float((p.argmax(1) == labels).mean())
    options = f"--classes {folder}/classes.txt --padding {config['padding_token']}"
    return Stranger(place / "model.onnx", folder / "files.npz", accuracy, "sequences", options)


def magika_features(content: bytes, config: dict[str, Any]) -> np.ndarray:
    """Return the first and the last 1,024 bytes without white space, padded by 256, as magika 1.0 takes them."""
    begin, end, block = config["beg_size"], config["end_size"], config["block_size"]
    first, last = content[:block].lstrip()[:begin], content[-block:].rstrip()[-end:]
    x = np.full(begin + end, config["padding_token"], np.int32)
    x[: len(first)] = np.frombuffer(first, np.uint8)
    x[begin + end - len(last) :] = np.frombuffer(last, np.uint8)
    return x


# Images


def rapidocr(folder: Path) -> Stranger:
    """RapidOCR's classifier of the direction of a line of text: any size, values in [-1, 1]."""
    model = strangers("rapidocr_onnxruntime") / "models" / "ch_ppocr_mobile_v2.0_cls_infer.onnx"
    import onnxruntime
    from PIL import Image, ImageDraw, ImageFont

    random = np.random.default_rng(0)
    right, images = 0, []
    words = " ".join(frame("sms_spam", "test").text[:300]).split()
    for i in range(ROWS // 2):
        image = Image.new("RGB", (192, 48), tuple(random.integers(180, 255, 3).tolist()))
        line = " ".join(random.choice(words, 4))[:14]
        ImageDraw.Draw(image).text((6, 10), line, fill=(20, 20, 20), font=ImageFont.load_default(24))
        direction = i % 2
        image = image.rotate(180) if direction else image
        place = folder / "lines" / ("180" if direction else "0")
        place.mkdir(parents=True, exist_ok=True)
        image.save(place / f"{i:03}.png")
        images.append((np.asarray(image, np.float32).transpose(2, 0, 1) / 255 - 0.5) / 0.5)
    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    for i, image in enumerate(images):
        right += int(session.run(None, {"x": image[None]})[0][0].argmax() == i % 2)
    return Stranger(model, folder / "lines", right / len(images), "images")


def cifar_network() -> Any:
    """The published ResNet-20 of CIFAR-10 without its normalisation, or skip the test."""
    import torch

    from feint.models.networks import Network  # the network is Feint's, the weights are published

    data_folder("cifar10")
    weights = Path(os.environ["FEINT_DATA"]) / "weights_cifar10_resnet20.npz"
    if not weights.is_file():
        pytest.skip(f"no FEINT_DATA/{weights.name}")
    from feint.victims import load_published

    model = load_published(weights, Network("resnet20", (3, 32, 32), 10))
    assert isinstance(model.body, torch.nn.Module)
    return model.body.eval()


def cifar_samples(folder: Path) -> tuple[Path, np.ndarray, np.ndarray]:
    """Write samples of CIFAR-10 as an .npz file and return them, (N, 32, 32, 3) uint8."""
    import io

    from PIL import Image

    table = frame("cifar10", "test")[:ROWS]
    column = next(name for name in table if name in ("image", "img"))
    images = np.stack([np.asarray(Image.open(io.BytesIO(image["bytes"])).convert("RGB")) for image in table[column]])
    labels = table.label.to_numpy()
    np.savez(folder / "cifar.npz", images=images, labels=labels)
    return folder / "cifar.npz", images, labels


def cifar_onnx(change: str) -> Callable[[Path], Stranger]:
    """Return the builder of an ONNX file of the CIFAR-10 network.

    Args:
        change: "imagenet" leaves normalisation outside, "nhwc" takes uint8 (N, H, W, C), "half" float16 in and out,
            "one" batches of 1 only.
    """

    def build(folder: Path) -> Stranger:
        import torch

        pytest.importorskip("onnxscript")
        body = cifar_network()
        mean = torch.tensor([0.485, 0.456, 0.406]).view(-1, 1, 1)
        deviation = torch.tensor([0.229, 0.224, 0.225]).view(-1, 1, 1)

        class Changed(torch.nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.body = body

            def forward(self, x: Any) -> Any:
                if change == "imagenet":
                    return self.body(x)
                if change == "nhwc":
                    x = x.permute(0, 3, 1, 2).float() / 255
                return self.body((x.float() - mean) / deviation).to(
                    torch.float16 if change == "half" else torch.float32
                )

        path, images, labels = cifar_samples(folder)
        plain = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
        example = {
            "imagenet": (plain - mean) / deviation,
            "nhwc": torch.from_numpy(images),
            "half": plain.half(),
            "one": plain,
        }[change]
        model = Changed().eval()
        with torch.no_grad():
            z = torch.cat([model(batch) for batch in example.split(250)])
        size = 1 if change == "one" else 2
        dynamic = None if change == "one" else ({0: torch.export.Dim("batch")},)
        with warnings.catch_warnings():  # of the exporter
            warnings.simplefilter("ignore")
            torch.onnx.export(
                model, (example[:size],), folder / f"{change}.onnx", dynamo=True, dynamic_shapes=dynamic, verbose=False,
                external_data=False,
            )  # fmt: skip
        accuracy = float((z.argmax(-1).numpy() == labels).mean())
        return Stranger(folder / f"{change}.onnx", path, accuracy, "images")

    return build


BUILDERS: dict[str, Callable[[Path], Stranger]] = {
    "xgboost-adult": boosted("xgboost", "adult"),
    "xgboost-credit": boosted("xgboost", "german_credit"),
    "lightgbm-adult": boosted("lightgbm", "adult"),
    "lightgbm-credit": boosted("lightgbm", "german_credit"),
    "pipeline-adult": pipeline_adult,
    "skl2onnx-zipmap": zipmap_adult,
    "onnxmltools-xgboost": xgboost_onnx,
    "tfidf-imdb": tfidf_imdb,
    "tfidf-sms": tfidf_sms,
    "alt-profanity-check": profanity,
    "transformers-news": transformer_news,
    "magika": magika,
    "rapidocr": rapidocr,
    "cifar-imagenet": cifar_onnx("imagenet"),
    "cifar-nhwc-uint8": cifar_onnx("nhwc"),
    "cifar-float16": cifar_onnx("half"),
    "cifar-batch-of-1": cifar_onnx("one"),
}


def built(name: str, place: Path) -> Stranger:
    """Return the model of a name, whose files are in `place`; the first process that asks builds it."""
    files, record = place / "files", place / "stranger.pickle"
    files.mkdir(parents=True, exist_ok=True)
    with (place / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not record.exists():
            record.write_bytes(pickle.dumps(BUILDERS[name](files)))
    return pickle.loads(record.read_bytes())
