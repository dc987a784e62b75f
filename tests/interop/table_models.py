"""A folder for MLServer with a pipeline of a table and one of texts: python table_models.py FOLDER HTTP GRPC SAMPLES.

SAMPLES is a CSV with the columns age, income, city and label; the pipelines are fitted to it.
"""

import json
import sys
from pathlib import Path

import joblib
import pandas
from sklearn.compose import make_column_transformer
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

FOLDER, HTTP, GRPC, SAMPLES = Path(sys.argv[1]), *map(int, sys.argv[2:4]), Path(sys.argv[4])
frame = pandas.read_csv(SAMPLES)
encoded = make_column_transformer((StandardScaler(), ["age", "income"]), (OneHotEncoder(), ["city"]))
table = make_pipeline(encoded, LogisticRegression()).fit(frame[["age", "income", "city"]], frame["label"])
words = frame["city"] + " " + frame["label"]
text = make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(words, frame["label"])
proba = [{"name": "predict_proba", "datatype": "FP64", "shape": [-1, 2]}]
columns = [("age", "FP64", {}), ("income", "FP64", {}), ("city", "BYTES", {"content_type": "str"})]
models = {
    "table": (table, "pd", [{"name": n, "datatype": d, "shape": [-1, 1], "parameters": p} for n, d, p in columns]),
    "text": (text, "str", [{"name": "text", "datatype": "BYTES", "shape": [-1, 1]}]),
}
for name, (model, content_type, inputs) in models.items():
    (FOLDER / name).mkdir()
    joblib.dump(model, FOLDER / name / "model.joblib")
    parameters = {"uri": "./model.joblib", "content_type": content_type}
    settings = {"name": name, "implementation": "mlserver_sklearn.SKLearnModel", "inputs": inputs, "outputs": proba}
    (FOLDER / name / "model-settings.json").write_text(json.dumps(settings | {"parameters": parameters}))
settings = {"host": "127.0.0.1", "parallel_workers": 0, "http_port": HTTP, "grpc_port": GRPC, "metrics_port": 0}
(FOLDER / "settings.json").write_text(json.dumps(settings | {"metrics_endpoint": None}))
