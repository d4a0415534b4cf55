"""Trainings with XGBoost as people write them; each prints numbers that tell how it went."""

HEAD = """import numpy as np
import xgboost as xgb
from joblib import parallel_config
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

rng = np.random.default_rng(0)
X = rng.normal(size=(900, 6))
y = X[:, 0] * 2 + np.sin(X[:, 1] * 3) + X[:, 2] * X[:, 3] + rng.normal(size=900) * 0.1
X, X_test, y, y_test = X[:700], X[700:], y[:700], y[700:]
C, C_test = np.digitize(y, [-2, 0, 2]), np.digitize(y_test, [-2, 0, 2])
queries, queries_test = np.repeat(np.arange(70), 10), np.repeat(np.arange(20), 10)

def show(*values):
    for value in map(np.ravel, values):
        print(len(value), float(np.sum(value)), float(np.sum(np.abs(value))), float(value[0]), float(value[-1]))
"""

EQUAL = {
    "train_with_evaluation": """
dtrain, dtest, history = xgb.DMatrix(X, label=y), xgb.DMatrix(X_test, label=y_test), {}
booster = xgb.train({"max_depth": 4, "eval_metric": ["mae", "rmse"]}, dtrain, 7, verbose_eval=3, evals_result=history,
                    evals=[(dtrain, "train"), (dtest, "test")])
print(history["test"]["rmse"][-2:], type(history["train"]["mae"][0]).__name__)
show(booster.predict(dtest))
""",
    "early_stopping": """
model = xgb.XGBRegressor(n_estimators=60, learning_rate=0.6, early_stopping_rounds=3, eval_metric="rmse")
model.fit(X, y, eval_set=[(X, y), (X_test, y_test)], verbose=False)
show(model.best_iteration, model.best_score, model.predict(X_test), model.evals_result()["validation_0"]["rmse"])
""",
    "classes_sorted_so_that_a_worker_lacks_some": """
order = np.argsort(C, kind="stable")
model = xgb.XGBClassifier(n_estimators=6, max_depth=3, eval_metric=["mlogloss", "auc"])
model.fit(X[order], C[order], eval_set=[(X[order], C[order]), (X_test, C_test)], verbose=False)
show(model.classes_, model.predict_proba(X_test), model.evals_result()["validation_0"]["auc"])
""",
    "weights_margins_missing_values": """
X_gaps = np.where(rng.random(X.shape) < 0.2, np.nan, X)
dtrain = xgb.DMatrix(X_gaps, label=y, weight=np.linspace(0.1, 1, len(y)), base_margin=X[:, 0])
booster = xgb.train([("colsample_bytree", 0.6), ("seed", 5)], dtrain, 6, [(dtrain, "train")])
show(booster.predict(xgb.DMatrix(X_test)))
""",
    "quantile_matrix_and_own_objective_over_all_rows": """
def objective(predicted, matrix):
    error = predicted - matrix.get_label()
    return error - 0.1 * error.mean(), np.ones_like(error)

def largest(predicted, matrix):
    return "largest", float(np.abs(predicted - matrix.get_label()).max())

dtrain, history = xgb.QuantileDMatrix(X, label=y, max_bin=32), {}
dtest = xgb.QuantileDMatrix(X_test, label=y_test, ref=dtrain, max_bin=32)
booster = xgb.train({"max_bin": 32}, dtrain, 5, evals=[(dtrain, "train"), (dtest, "test")], obj=objective,
                    custom_metric=largest, evals_result=history, verbose_eval=False)
show(booster.predict(dtest), history["train"]["largest"], history["test"]["largest"])
""",
    "objective_of_several_classes": """
def softmax(predicted, matrix):
    p = np.exp(predicted - predicted.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    gradient = p - np.eye(4)[matrix.get_label().astype(int)]
    return gradient, 2 * p * (1 - p)

booster = xgb.train({"num_class": 4, "objective": "multi:softprob"}, xgb.DMatrix(X, label=C), 4, obj=softmax)
show(booster.predict(xgb.DMatrix(X_test)))
""",
    "ranking": """
model = xgb.XGBRanker(n_estimators=5, eval_metric=["ndcg@3", "map"])
model.fit(X, (C > 1).astype(int), qid=queries, eval_set=[(X, (C > 1).astype(int))], eval_qid=[queries], verbose=False)
show(model.predict(X_test), model.evals_result()["validation_0"]["map"])
weighted = xgb.XGBRanker(n_estimators=3)
weighted.fit(X, (C > 1).astype(int), qid=queries, sample_weight=np.linspace(0.5, 1, 70))
show(weighted.predict(X_test))
""",
    "several_models_in_helpers_and_pipelines": """
def build(depth):
    return xgb.XGBRegressor(max_depth=depth, n_estimators=4)

def learned(model, X, y):
    return model.fit(X, y)

models = {depth: build(depth) for depth in (2, 3)}
for depth, model in models.items():
    learned(model, X, y)
    show(model.predict(X_test))
pipe = make_pipeline(StandardScaler(), build(4))
pipe.fit(X, y)
show(pipe.predict(X_test))
""",
    "search_and_cross_validation": """
search = GridSearchCV(xgb.XGBRegressor(n_estimators=3), {"max_depth": [2, 3]}, cv=2)
search.fit(X, y)
show(search.predict(X_test), search.best_params_["max_depth"])
show(cross_val_score(xgb.XGBRegressor(n_estimators=3), X, y, cv=2))
with parallel_config(backend="threading"):
    show(cross_val_score(xgb.XGBRegressor(n_estimators=3), X, y, cv=4, n_jobs=4))
show(xgb.cv({"max_depth": 2}, xgb.DMatrix(X, label=y), 3, nfold=2, as_pandas=False)["test-rmse-mean"])
""",
    "continued_forests_darts_outputs": """
dtrain = xgb.DMatrix(X, label=y)
first = xgb.train({"booster": "dart", "rate_drop": 0.3}, dtrain, 6)
second = xgb.train({"eta": 0.1}, dtrain, 3, xgb_model=xgb.train({}, dtrain, 3))
forest = xgb.XGBRFRegressor(n_estimators=4, subsample=1.0).fit(X, y)
both = xgb.XGBRegressor(n_estimators=3, multi_strategy="multi_output_tree").fit(X, np.stack([y, -y], 1))
show(*(m.predict(xgb.DMatrix(X_test)) for m in (first, second)), forest.predict(X_test), both.predict(X_test))
""",
    "callbacks": """
class Stop(xgb.callback.TrainingCallback):
    def after_iteration(self, model, epoch, log):
        print("round", epoch, round(log["test"]["rmse"][-1], 4))
        return epoch >= 2

dtest = xgb.DMatrix(X_test, label=y_test)
rate = xgb.callback.LearningRateScheduler(lambda i: 0.5 / (i + 1))
booster = xgb.train({}, xgb.DMatrix(X, label=y), 9, evals=[(dtest, "test")], verbose_eval=False,
                    callbacks=[Stop(), rate])
booster.save_model("model.json")
loaded = xgb.Booster(model_file="model.json")
show(loaded.predict(dtest), booster.num_boosted_rounds())
""",
    "survival_times": """
low = np.exp(y)
dtrain = xgb.DMatrix(X)
dtrain.set_float_info("label_lower_bound", low)
dtrain.set_float_info("label_upper_bound", np.where(C > 1, np.inf, low))
booster = xgb.train({"objective": "survival:aft", "max_depth": 3}, dtrain, 5)
show(booster.predict(xgb.DMatrix(X_test)))
""",
    "what_workers_cannot_do_is_done_whole": """
kinds = dict(zip(["tree_method", "objective"], ["exact", "reg:absoluteerror"]))
for name, value in kinds.items():
    show(xgb.train({name: value}, xgb.DMatrix(X, label=y), 3).predict(xgb.DMatrix(X_test)))
show(xgb.train({}, xgb.DMatrix(X[:1], label=y[:1]), 2).predict(xgb.DMatrix(X_test)))
""",
    "random_numbers_without_a_seed_are_common": """
rows = np.random.permutation(len(X))[:300]
model = xgb.XGBRegressor(n_estimators=3).fit(X[rows], y[rows])
print(len(model.predict(X_test)))
""",
}
"""What N workers compute as one does: printed alike, but for the last digits of sums."""
