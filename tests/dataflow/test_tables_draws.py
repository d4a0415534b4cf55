"""Rows of all tables against the libraries: calls are run, and which global generators they move is measured."""

from __future__ import annotations

import re
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import measured
import pytest

pytestmark = pytest.mark.filterwarnings("ignore")

STANDARD = """\
import email.mime.multipart, email.utils, random, secrets, statistics, tempfile, uuid
numbers = [1, 2, 3]
normal = statistics.NormalDist()
own = random.Random(1)
message = email.mime.multipart.MIMEMultipart()
| uuid.uuid4()
| uuid.uuid1()
| secrets.token_hex()
| tempfile.mkdtemp()
| own.random()
| random.Random().random()
| normal.samples(2, seed=1)
random | normal.samples(2)
random | uuid.uuid1(node=1)
random | email.utils.make_msgid()
random | message.as_string()
random | random.shuffle(numbers)
"""

SKLEARN = """\
import numpy as np
from sklearn import base, calibration, cluster, compose, covariance, datasets, decomposition, dummy, ensemble, \\
    feature_selection, gaussian_process, linear_model, manifold, metrics, model_selection, multioutput, neighbors, \\
    neural_network, preprocessing, svm, tree, utils
from sklearn.pipeline import make_pipeline
from sklearn.utils.extmath import randomized_svd
X, y = datasets.make_classification(n_samples=60, n_features=6, n_informative=4, random_state=0)
z = X[:, 0] * 2 + y
forest = ensemble.RandomForestClassifier(n_estimators=2)
| linear_model.LinearRegression().fit(X, z)
| linear_model.LogisticRegression().fit(X, y)
| linear_model.LogisticRegression(solver="newton-cg").fit(X, y)
| linear_model.Ridge(solver="svd").fit(X, z)
| linear_model.Lasso(random_state=0).fit(X, z)
| linear_model.LassoLars().fit(X, z)
| linear_model.HuberRegressor().fit(X, z)
| linear_model.Perceptron().fit(X, y)
| svm.SVC(random_state=0).fit(X, y)
| decomposition.PCA(2, svd_solver="full").fit(X)
| decomposition.FactorAnalysis(2).fit(X)
| dummy.DummyClassifier(strategy="most_frequent").fit(X, y).predict(X)
| gaussian_process.GaussianProcessRegressor().fit(X, z)
| multioutput.RegressorChain(linear_model.Ridge()).fit(X, np.column_stack([z, z]))
| neighbors.KNeighborsClassifier().fit(X, y).predict(X)
| metrics.silhouette_score(X, y)
| model_selection.cross_val_score(linear_model.LogisticRegression(), X, y)
| list(model_selection.KFold(3).split(X))
| model_selection.permutation_test_score(linear_model.LogisticRegression(), X, y, n_permutations=2)
| feature_selection.SelectKBest(k=2).fit(X, y)
| base.clone(svm.SVC(random_state=0)).fit(X, y)
| utils.check_random_state(0).rand()
numpy | linear_model.LogisticRegression(solver="liblinear").fit(X, y)
numpy | linear_model.Ridge(solver="sag").fit(X, z)
numpy | linear_model.Lasso().fit(X, z)
numpy | linear_model.ElasticNetCV().fit(X, z)
numpy | linear_model.lasso_path(X, z)
numpy | linear_model.SGDClassifier().fit(X, y)
numpy | svm.SVC().fit(X, y)
numpy | svm.SVC(probability=False).fit(X, y)
numpy | svm.SVR().fit(X, z)
numpy | svm.NuSVR().fit(X, z)
numpy | svm.OneClassSVM().fit(X)
numpy | svm.LinearSVC().fit(X, y)
numpy | make_pipeline(preprocessing.StandardScaler(), svm.SVC()).fit(X, y)
numpy | model_selection.GridSearchCV(svm.SVC(), {"C": [1.0]}, cv=2).fit(X, y)
numpy | model_selection.cross_val_score(svm.SVC(), X, y, cv=2)
numpy | model_selection.cross_val_score(forest, X, y, cv=2)
numpy | model_selection.permutation_test_score(svm.SVC(random_state=0), X, y, n_permutations=2, random_state=None)
numpy | model_selection.LearningCurveDisplay.from_estimator(forest, X, y, cv=2)
numpy | model_selection.train_test_split(X)
numpy | list(model_selection.KFold(3, shuffle=True).split(X))
numpy | ensemble.VotingClassifier([("a", svm.SVC())]).fit(X, y)
numpy | calibration.CalibratedClassifierCV(svm.SVC()).fit(X, y)
numpy | compose.TransformedTargetRegressor(svm.SVR()).fit(X, z)
numpy | feature_selection.SelectFromModel(linear_model.Lasso()).fit(X, z)
numpy | feature_selection.SelectKBest(feature_selection.mutual_info_classif, k=2).fit(X, y)
numpy | base.clone(forest).fit(X, y)
numpy | tree.DecisionTreeClassifier().fit(X, y)
numpy | decomposition.TruncatedSVD(2).fit(X)
numpy | decomposition.PCA(2, svd_solver="arpack").fit(X)
numpy | decomposition.fastica(X, n_components=2)
numpy | decomposition.sparse_encode(X, X[:3], algorithm="lasso_cd", alpha=0.1)
numpy | covariance.graphical_lasso(np.cov(X[:, :3].T) + np.eye(3), 0.1)
numpy | cluster.k_means(X, 2)
numpy | manifold.spectral_embedding(np.exp(-metrics.pairwise_distances(X)))
numpy | metrics.silhouette_score(X, y, sample_size=20)
numpy | dummy.DummyClassifier(strategy="uniform").fit(X, y).predict(X)
numpy | neighbors.KernelDensity().fit(X).sample()
numpy | datasets.make_spd_matrix(3)
numpy | randomized_svd(X, 2)
numpy | utils.check_random_state(None).rand()
numpy | utils.check_random_state(np.random).rand()
"""

SCIPY = """\
import numpy as np
from scipy import cluster, linalg, optimize, sparse, spatial, stats
v = np.random.RandomState(0).rand(30)
w = np.random.RandomState(1).rand(30)
m = v.reshape(6, 5)
def square(x):
    return float(np.sum(np.asarray(x) ** 2))
| stats.norm.rvs(size=2, random_state=0)
| stats.norm.cdf(0.5)
| stats.gaussian_kde(v)(0.5)
| stats.gaussian_kde(v).resample(2, seed=1)
| stats.bootstrap((v,), np.mean, n_resamples=9, rng=1)
| stats.mannwhitneyu(v, w, method="exact")
| stats.pearsonr(v, w)
| optimize.minimize(square, [1.0])
| optimize.differential_evolution(square, [(0, 1)], maxiter=1, rng=1)
| sparse.random(3, 3, density=0.5, rng=1)
| cluster.vq.kmeans2(m, m[:2], minit="matrix")
| np.random.default_rng().random()
| np.random.RandomState().rand()
numpy | stats.skewnorm.rvs(1, size=2)
numpy | stats.wishart.rvs(3, np.eye(2))
numpy | stats.rv_discrete(values=([1, 2], [0.5, 0.5])).rvs()
numpy | stats.multivariate_normal.cdf([0, 0, 0], mean=[0, 0, 0], cov=np.eye(3))
numpy | stats.gaussian_kde(v).resample(2)
numpy | stats.permutation_test((v, w), lambda a, b: a.mean() - b.mean(), n_resamples=9)
numpy | stats.mannwhitneyu(v, w, method=stats.PermutationMethod(n_resamples=9))
numpy | stats.goodness_of_fit(stats.norm, v, n_mc_samples=9)
numpy | optimize.dual_annealing(square, [(0, 1)], maxiter=2)
numpy | optimize.basinhopping(square, [0.5], niter=1)
numpy | sparse.random(3, 3, density=0.5, random_state=np.random)
numpy | sparse.random_array((3, 3), density=0.5)
numpy | linalg.clarkson_woodruff_transform(m, 3)
numpy | cluster.vq.kmeans(m, 2)
numpy | spatial.transform.Rotation.random()
"""

FRAMES = """\
import matplotlib
matplotlib.use("Agg")
import matplotlib.pyplot as plt
import pandas as pd
df = pd.DataFrame({"x": [1.0, 2.0, 3.0, 4.0], "k": ["a", "b", "a", "b"]})
ax = plt.figure().add_subplot()
| df.sample(2, random_state=1)
| plt.boxplot(df["x"])
| ax.boxplot(df["x"], notch=True)
| df.plot.box()
| df.style.to_html()
| pd.plotting.parallel_coordinates(df, "k")
numpy | df.sample(2)
numpy | df.groupby("k").sample(1)
numpy | plt.boxplot(df["x"], bootstrap=5)
numpy | ax.boxplot(df["x"], bootstrap=5)
numpy | df.plot.box(bootstrap=5)
random | pd.plotting.bootstrap_plot(df["x"], size=2, samples=2)
"""

GRAPHS = """\
import networkx as nx
graph = nx.path_graph(6)
| nx.circular_layout(graph)
| nx.pagerank(graph)
| nx.spring_layout(graph, seed=1)
| nx.erdos_renyi_graph(5, 0.5, seed=1)
| nx.betweenness_centrality(graph)
numpy | nx.spring_layout(graph)
numpy | nx.random_layout(graph)
random | nx.erdos_renyi_graph(5, 0.5)
random | nx.barabasi_albert_graph(5, 2)
random | nx.community.louvain_communities(graph)
random | nx.betweenness_centrality(graph, k=2)
"""

BOOSTING = """\
import lightgbm as lgb
import numpy as np
import xgboost as xgb
X, y = np.arange(40.0).reshape(20, 2), np.arange(20) % 2
| xgb.XGBClassifier(n_estimators=1).fit(X, y)
| xgb.train({}, xgb.DMatrix(X, y), 1)
| lgb.LGBMClassifier(n_estimators=1, verbose=-1).fit(X, y)
| lgb.cv({"verbose": -1, "min_data_in_leaf": 1}, lgb.Dataset(X, y), 1, nfold=2)
numpy | lgb.cv({"verbose": -1, "min_data_in_leaf": 1}, lgb.Dataset(X, y), 1, nfold=2, seed=None)
numpy | xgb.cv({}, xgb.DMatrix(X, y), 1, nfold=2)
numpy | xgb.cv({}, xgb.DMatrix(X, y), 1, nfold=2, seed=1)
"""

TORCH = """\
import copy
import torch
from torch import nn
from torch.nn import functional as F
x, v = torch.ones(6, 3), torch.ones(3)
drop = nn.Dropout(0.5)
normal = torch.distributions.Normal(0.0, 1.0)
| normal.log_prob(v)
| copy.deepcopy(drop).eval()(x)
| nn.Softmax(1)(x)
torch | normal.sample()
torch | normal.rsample((2,))
torch | torch.distributions.Categorical(probs=v).sample()
torch | copy.deepcopy(drop)(x)
torch | copy.deepcopy(nn.Sequential(drop))(x)
torch | torch.randint_like(v, 3)
torch | torch.poisson(v)
torch | torch.pca_lowrank(x)
torch | v.bernoulli()
torch | v.exponential_()
torch | v.multinomial(2)
torch | F.fractional_max_pool2d(torch.ones(1, 1, 4, 4), 2, output_size=2)
torch | nn.Linear(2, 2).reset_parameters()
torch | torch.random.manual_seed(1)
"""

KERAS = """\
import numpy as np
import tensorflow as tf
from tensorflow import keras
x = np.ones((4, 3), dtype="float32")
images = np.ones((2, 4, 4, 3), dtype="float32")
data = tf.data.Dataset.range(4)
keras.utils.set_random_seed(0)
| keras.layers.Dropout(0.5, seed=1)
| keras.initializers.GlorotUniform(seed=1)
| keras.utils.split_dataset(x, left_size=0.5)
| tf.data.Dataset.from_tensor_slices(x)
| tf.data.Dataset.sample_from_datasets([data, data], seed=1)
random | keras.layers.Dropout(0.5)
random | keras.utils.split_dataset(x, left_size=0.5, shuffle=True)
random | keras.utils.split_dataset(x, left_size=0.5, shuffle=True, seed=1)
random | tf.initializers.GlorotUniform()
numpy | next(keras.preprocessing.image.ImageDataGenerator().flow(images, batch_size=1))
numpy | next(keras.preprocessing.image.ImageDataGenerator().flow(images, batch_size=1, seed=1))
tensorflow | tf.data.Dataset.sample_from_datasets([data, data])
tensorflow | tf.data.Dataset.random()
tensorflow | data.rejection_resample(lambda v: 0, [1.0])
"""

OLD_KERAS = """\
import tensorflow as tf
import tf_keras
x = tf.ones((2, 3))
tf.random.set_seed(0)
random tensorflow | tf_keras.layers.Dense(2)(x)
random tensorflow | tf_keras.initializers.GlorotUniform()((2, 2))
"""

TABLES = {
    "email": STANDARD,
    "sklearn": SKLEARN,
    "scipy": SCIPY,
    "matplotlib": FRAMES,
    "networkx": GRAPHS,
    "lightgbm": BOOSTING,
    "torch": TORCH,
    "tensorflow": KERAS,
    "tf_keras": OLD_KERAS,
}
"""Set-ups and rows `GENERATORS | EXPRESSION`, by the library that they need."""


def _states(library: str) -> dict[str, Any]:
    if library == "torch":
        import torch

        return {"torch": lambda: torch.get_rng_state().tolist()}
    if library in ("tensorflow", "tf_keras"):
        return {"tensorflow": _tensorflow_state}
    return {}


def _tensorflow_state() -> Any:
    from tensorflow.python.eager import context

    return context.context()._rng.getstate()


_ROW = re.compile(r"([a-z ]*)\| (.*)")


def _cases() -> list[tuple[str, str, frozenset[str], str]]:
    found = []
    for library, text in TABLES.items():
        lines = [(line, _ROW.fullmatch(line)) for line in text.splitlines()]
        setup = "".join(line + "\n" for line, row in lines if row is None)
        found += [(library, setup, frozenset(row[1].split()), row[2]) for _, row in lines if row is not None]
    return found


@pytest.mark.parametrize(("library", "setup", "drawn", "expression"), _cases(), ids=[c[3][:70] for c in _cases()])
def test_draws(library: str, setup: str, drawn: frozenset[str], expression: str, tmp_path: Path) -> None:
    """Each generator that a call moves is in its row, and no other."""
    if find_spec(library) is None or (library == "tensorflow" and find_spec("keras") is None):
        pytest.skip(f"{library} is not installed")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        kit = measured.Library(setup, lambda value: b"", _states(library))
        seen, _ = kit.measured(expression, tmp_path)
    said, _, _ = kit.said(expression)
    assert said.drawn - {"system"} == drawn
    # What layers of Keras 2 draw from depends on which of the seeds was set.
    assert seen.drawn == drawn or (library == "tf_keras" and seen.drawn and seen.drawn < drawn)
