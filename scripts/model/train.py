#!/usr/bin/env python3
"""Owns the training of the card-risk model: the exported feature matrix in, model.onnx and metadata.json out.

    python3 train.py EXPORT_DIRECTORY MODEL_DIRECTORY [--until 2018-07-31] [--days 60] [--name card-risk] [--version 1]

Needs numpy, pandas, scikit-learn, xgboost and onnx (Debian: python3-{pandas,sklearn,xgboost,onnx}). The same input and
library versions give the same bytes. Neighbours: export-features.ts makes the matrix, src/fraud/scoring reads both files.

Protocol (Fraud Detection Handbook, chapter 5): trained on days up to `until`; a delay of 7 days, in which labels are not
known yet; tested on the 7 days after it. Of a test day's payments those are left out whose card is known to be
compromised by then: it had a fraud in the last 7 training days, or on a test-period day at least 7 days before.
Average precision is over all test payments together. Card precision@100: each day the 100 cards with the highest score,
the share of them with a fraud that day; cards found so are not listed on later days; mean of the 7 days.
"""
import argparse
import datetime
import hashlib
import json
import pathlib
import sys

import numpy
import onnx
import pandas
import sklearn
import xgboost
from onnx import TensorProto, helper
from sklearn.metrics import average_precision_score, roc_auc_score

DELAY_DAYS = 7
TEST_DAYS = 7
KNOWN_FROM_DAYS = 7
CARDS_A_DAY = 100
SAMPLES = 8
SEED = 1
PARAMETERS = {
    "n_estimators": 100,
    "max_depth": 4,
    "learning_rate": 0.1,
    "subsample": 0.8,
    "colsample_bytree": 0.8,
    # 256 bins, the default, cost 0.04 of average precision.
    "tree_method": "hist",
    "max_bin": 4096,
    # A margin of 0: the trees' sum is the whole log-odds.
    "base_score": 0.5,
    # A riskier merchant never lowers a score, whatever a passing attack in the training data would teach.
    "monotone_constraints": {"merchantRisk": 1},
    "random_state": SEED,
    # One thread: sums in a fixed order, so that the same input gives the same bytes.
    "n_jobs": 1,
}


class Export:
    """The exported rows: features (rows × features, float32), and per row fraud (0/1), day (since 1970) and card."""

    def __init__(self, directory):
        self.about = json.loads((directory / "export.json").read_text())
        names, rows = self.about["featureNames"], self.about["rows"]
        self.features = numpy.fromfile(directory / "features.f32", "<f4").reshape(-1, len(names))
        self.fraud = numpy.fromfile(directory / "labels.u8", "u1")
        self.day = numpy.fromfile(directory / "days.i32", "<i4")
        self.card = numpy.fromfile(directory / "cards.i32", "<i4")
        lengths = {len(self.features), len(self.fraud), len(self.day), len(self.card)}
        if lengths != {rows}:
            sys.exit(f"{directory} is incomplete: export.json says {rows} rows, the files have {sorted(lengths)}")


def day_number(text):
    return (datetime.date.fromisoformat(text) - datetime.date(1970, 1, 1)).days


def day_text(number):
    return (datetime.date(1970, 1, 1) + datetime.timedelta(days=int(number))).isoformat()


def test_rows_by_day(export, last_training_day):
    """Row numbers of each test day, without the payments of cards known to be compromised by then."""
    is_fraud = export.fraud == 1
    in_training = (export.day > last_training_day - KNOWN_FROM_DAYS) & (export.day <= last_training_day)
    known = set(export.card[in_training & is_fraud].tolist())
    days = []
    for i in range(TEST_DAYS):
        day = last_training_day + DELAY_DAYS + 1 + i
        known |= set(export.card[(export.day == day - DELAY_DAYS - 1) & is_fraud].tolist())
        rows = numpy.flatnonzero(export.day == day)
        days.append(rows[~numpy.isin(export.card[rows], list(known))])
    return days


def card_precisions(export, days, score):
    """Per test day: of the 100 cards with the highest score, the share with a fraud; found cards leave the list."""
    found, shares = set(), []
    for rows in days:
        rows = rows[~numpy.isin(export.card[rows], list(found))]
        table = pandas.DataFrame({"card": export.card[rows], "score": score[rows], "fraud": export.fraud[rows]})
        top = table.groupby("card").max().sort_values("score", ascending=False, kind="stable")[:CARDS_A_DAY]
        found |= set(top.index[top.fraud == 1])
        shares.append(float(top.fraud.mean()))
    return shares


def evaluate(export, days, score):
    rows = numpy.concatenate(days)
    fraud, shares = export.fraud[rows], card_precisions(export, days, score)
    return {
        "testFrom": day_text(export.day[rows].min()),
        "testTo": day_text(export.day[rows].max()),
        "testPayments": len(rows),
        "testFrauds": int(fraud.sum()),
        "averagePrecision": round(float(average_precision_score(fraud, score[rows])), 4),
        "cardPrecisionAt100": round(float(numpy.mean(shares)), 4),
        "cardPrecisionAt100ByDay": shares,
        "rocAuc": round(float(roc_auc_score(fraud, score[rows])), 4),
    }


def read_trees(classifier):
    """XGBoost's trees in columns, nodes by number: feature (-1 at a leaf), threshold (left if below), left, right and
    margin: a leaf's value, an inner node's mean over the training rows (weighted by hessian) that came by."""
    model = json.loads(classifier.get_booster().save_raw(raw_format="json"))
    trees = []
    for dump in model["learner"]["gradient_booster"]["model"]["trees"]:
        left, right = dump["left_children"], dump["right_children"]
        weight = numpy.array(dump["sum_hessian"], dtype="f8")
        value = numpy.float32(dump["split_conditions"]).astype("f8")
        margin = value.copy()
        # Children have higher numbers than their parents.
        for node in reversed(range(len(left))):
            if left[node] != -1:
                pair = [left[node], right[node]]
                margin[node] = numpy.average(margin[pair], weights=weight[pair])
        leaf = [child == -1 for child in left]
        trees.append(
            {
                "feature": [-1 if leaf[i] else dump["split_indices"][i] for i in range(len(left))],
                "threshold": [0.0 if leaf[i] else shortest(value[i]) for i in range(len(left))],
                "left": [max(child, 0) for child in left],
                "right": [max(child, 0) for child in right],
                "margin": [shortest(x) for x in margin],
            }
        )
    return trees


def shortest(value):
    """The shortest decimal that is this single-precision number again."""
    return float(str(numpy.float32(value)))


def samples(export, rows, score):
    """Rows from the lowest to the highest score with XGBoost's own: who loads the model checks itself against them."""
    by_score = rows[numpy.argsort(score[rows], kind="stable")]
    picked = by_score[numpy.linspace(0, len(rows) - 1, SAMPLES).astype(int)]
    return [{"features": [shortest(x) for x in export.features[i]], "score": shortest(score[i])} for i in picked]


def build_onnx(trees, feature_count):
    """Outputs `score` (0 to 1) and `margin` (log-odds) for `features` [rows, feature_count]."""
    columns = {name: [] for name in ("treeids", "nodeids", "featureids", "values", "modes", "truenodeids", "falsenodeids")}
    target = {name: [] for name in ("treeids", "nodeids", "ids", "weights")}
    for tree_id, tree in enumerate(trees):
        for node, feature in enumerate(tree["feature"]):
            is_leaf = feature < 0
            columns["treeids"].append(tree_id)
            columns["nodeids"].append(node)
            columns["featureids"].append(max(feature, 0))
            columns["values"].append(tree["threshold"][node])
            columns["modes"].append("LEAF" if is_leaf else "BRANCH_LT")
            columns["truenodeids"].append(tree["left"][node])
            columns["falsenodeids"].append(tree["right"][node])
            if is_leaf:
                target["treeids"].append(tree_id)
                target["nodeids"].append(node)
                target["ids"].append(0)
                target["weights"].append(tree["margin"][node])
    attributes = {f"nodes_{name}": values for name, values in columns.items()}
    attributes |= {f"target_{name}": values for name, values in target.items()}
    ensemble = helper.make_node(
        "TreeEnsembleRegressor", ["features"], ["margin"], domain="ai.onnx.ml", n_targets=1, **attributes
    )
    sigmoid = helper.make_node("Sigmoid", ["margin"], ["score"])
    graph = helper.make_graph(
        [ensemble, sigmoid],
        "card-risk",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, [None, feature_count])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, 1]) for name in ("score", "margin")],
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 15), helper.make_opsetid("ai.onnx.ml", 3)], ir_version=8
    )
    onnx.checker.check_model(model)
    return model.SerializeToString()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("export", type=pathlib.Path)
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("--until", default="2018-07-31")
    parser.add_argument("--days", type=int, default=60)
    parser.add_argument("--name", default="card-risk")
    parser.add_argument("--version", default="1")
    options = parser.parse_args()
    export = Export(options.export)
    until = day_number(options.until)
    training = numpy.flatnonzero((export.day > until - options.days) & (export.day <= until))
    table = pandas.DataFrame(export.features, columns=export.about["featureNames"], copy=False)
    classifier = xgboost.XGBClassifier(**PARAMETERS).fit(table.iloc[training], export.fraud[training])
    days = test_rows_by_day(export, until)
    rows = numpy.concatenate(days)
    score = numpy.zeros(len(export.fraud))
    score[rows] = classifier.predict_proba(table.iloc[rows])[:, 1]
    trees = read_trees(classifier)
    onnx_bytes = build_onnx(trees, export.features.shape[1])
    metadata = {
        "name": options.name,
        "version": options.version,
        "sha256": hashlib.sha256(onnx_bytes).hexdigest(),
        "featureNames": export.about["featureNames"],
        "featuresHash": export.about["featuresHash"],
        "training": {
            "from": day_text(export.day[training].min()),
            "to": day_text(export.day[training].max()),
            "payments": len(training),
            "frauds": int(export.fraud[training].sum()),
            "merchantRisk": export.about["merchantRisk"],
            "parameters": PARAMETERS,
            "libraries": {m.__name__: m.__version__ for m in (numpy, onnx, pandas, sklearn, xgboost)},
        },
        "metrics": evaluate(export, days, score),
        "samples": samples(export, rows, score),
        "trees": trees,
    }
    options.model.mkdir(parents=True, exist_ok=True)
    (options.model / "model.onnx").write_bytes(onnx_bytes)
    (options.model / "metadata.json").write_text(json.dumps(metadata, separators=(",", ":")) + "\n")
    print(json.dumps({"sha256": metadata["sha256"], **metadata["metrics"]}, indent=2))


if __name__ == "__main__":
    main()
