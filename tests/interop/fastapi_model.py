"""A FastAPI service with a pipeline of scikit-learn: python fastapi_model.py PORT SAMPLES.

SAMPLES is a CSV with the columns age, income, city and label. `POST /predict` takes a row, and returns its label with
the probability of that label.
"""

import sys
from typing import Literal

import pandas
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

PORT, SAMPLES = int(sys.argv[1]), sys.argv[2]
frame = pandas.read_csv(SAMPLES)
encoded = make_column_transformer((StandardScaler(), ["age", "income"]), (OneHotEncoder(), ["city"]))
model = make_pipeline(encoded, LogisticRegression()).fit(frame[["age", "income", "city"]], frame["label"])
app = FastAPI()


class Row(BaseModel):
    """What a request holds."""

    age: int
    income: float
    city: Literal["Oslo", "Wien", "Rom"]


class Prediction(BaseModel):
    """What an answer holds."""

    label: str
    score: float


@app.post("/predict")
def predict(row: Row) -> Prediction:
    (p,) = model.predict_proba(pandas.DataFrame([row.model_dump()]))
    return Prediction(label=model.classes_[p.argmax()], score=p.max())


uvicorn.run(app, host="127.0.0.1", port=PORT, log_level="warning")
