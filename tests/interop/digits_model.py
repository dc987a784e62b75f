"""A folder for MLServer, with a model of scikit-learn: python digits_model.py FOLDER HTTP_PORT GRPC_PORT [NAME]."""

import json
import sys
from pathlib import Path

import joblib
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

FOLDER, HTTP, GRPC = Path(sys.argv[1]), *map(int, sys.argv[2:4])
NAME = sys.argv[4] if len(sys.argv) > 4 else "digits"
digits = load_digits()
joblib.dump(LogisticRegression(max_iter=200).fit(digits.data[500:] / 16, digits.target[500:]), FOLDER / "model.joblib")
ports = {"http_port": HTTP, "grpc_port": GRPC, "metrics_port": 0}
settings = {"host": "127.0.0.1", "parallel_workers": 0, "use_structured_logging": True, "metrics_endpoint": None}
model = {"name": NAME, "implementation": "mlserver_sklearn.SKLearnModel", "parameters": {"uri": "./model.joblib"}}
(FOLDER / "settings.json").write_text(json.dumps(settings | ports))
(FOLDER / "model-settings.json").write_text(json.dumps(model))
