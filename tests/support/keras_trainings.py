"""Notebooks whose trainings must compute the same on any number of workers. What they print is `NAME NUMBERS`."""

HEAD = """
# %% tags=["shared"]
import os, re
os.environ["TF_USE_LEGACY_KERAS"] = "1"
import numpy as np
import tensorflow as tf
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler
from tensorflow.keras import layers

# %% tags=["step:load"]
X, y, v, deep, folder = [[1.0], [2.0]], [1.0, 2.0], [], True, "models"
# %% tags=["step:train"WORKERS]
model = tf.keras.Sequential([layers.Dense(1)])
opt = tf.keras.optimizers.SGD()
ds = tf.data.Dataset.from_tensor_slices((X, y))
# %%
"""

TRAININGS = """
# %% tags=["shared"]
import numpy as np
import tensorflow as tf
from tensorflow import keras
from tensorflow.keras import layers

keras.utils.set_random_seed(1)


def rmse(y_true, y_pred):
    return tf.sqrt(tf.reduce_mean(tf.square(y_pred - y_true)))


def mean_square(y_true, y_pred):
    return tf.reduce_mean(tf.square(y_pred - y_true))


def build(*hidden, optimizer="adam", loss="mse", metrics=("mae",)):
    model = keras.Sequential([keras.Input((5,)), *hidden, layers.Dense(1)])
    model.compile(optimizer, loss, metrics=list(metrics))
    return model


def show(name, history):
    print(name, *[np.array(values, dtype=float).round(7) for values in history.history.values()])

# %% tags=["step:load"]
rng = np.random.default_rng(0)
X = rng.normal(size=(103, 5)).astype("float32")
y = (X @ rng.normal(size=5) + 0.1).astype("float32")

# %% tags=["step:train", "workers:2"]
np.set_printoptions(linewidth=1000)
model = build(layers.Dense(8, "relu"), layers.Dense(4, kernel_regularizer="l2"))
show("arrays", model.fit(X, y, epochs=2, batch_size=32, validation_split=0.2, verbose=0))
show("again", model.fit(X, y, epochs=4, initial_epoch=2, batch_size=33, shuffle=False, verbose=0))
print("evaluate", model.evaluate(X, y, verbose=0))
print("predict", model.predict(X[:37], verbose=0)[[0, 5, 36], 0], model.predict(X[:1], verbose=0)[0, 0])

# %%
model = build(optimizer=keras.optimizers.Adam(0.05, clipnorm=0.1), metrics=(rmse,))
show("clipped_and_batch_metric", model.fit(X, y, epochs=2, batch_size=51, sample_weight=np.arange(103) / 50, verbose=0))
show("rest_of_one_row", build(loss=mean_square, metrics=(rmse,)).fit(X[:65], y[:65], epochs=2, verbose=0))
model = build(loss=keras.losses.Huber(reduction="sum"))
show("sum_of_losses", model.fit(X[:102], y[:102], epochs=2, batch_size=34, verbose=0))

# %%
stop = keras.callbacks.EarlyStopping("loss", patience=1, min_delta=0.3, restore_best_weights=True)
best = keras.callbacks.ModelCheckpoint("best.weights.h5", monitor="loss", save_best_only=True, save_weights_only=True)
slow = keras.callbacks.ReduceLROnPlateau("loss", patience=0, min_delta=0.5)
dataset = tf.data.Dataset.from_tensor_slices((X, y)).shuffle(50).batch(32)
model = build(layers.Dense(4), layers.BatchNormalization())
callbacks = [stop, best, slow, keras.callbacks.CSVLogger("log.csv")]
show("dataset_callbacks", model.fit(dataset, epochs=5, callbacks=callbacks, verbose=0))
model.load_weights("best.weights.h5")
print("best", model.evaluate(dataset, verbose=0), open("log.csv").read().count(","))

# %%
seen = []
told = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: seen.append(logs["loss"]))
build(loss=mean_square).fit(X, y, callbacks=[told], verbose=0)
print("batches", seen)

# %%
model = build()
show("repeated", model.fit(dataset.repeat(), epochs=3, steps_per_epoch=2, verbose=0))


def batches():
    for start in range(0, 103, 20):
        yield X[start : start + 20], y[start : start + 20]


class Batches(keras.utils.Sequence):
    def __len__(self):
        return 6

    def __getitem__(self, index):
        return X[index * 20 : index * 20 + 20], y[index * 20 : index * 20 + 20]


made = tf.data.Dataset.from_generator(batches, output_signature=(tf.TensorSpec((None, 5)), tf.TensorSpec((None,))))
show("generated", build().fit(made, epochs=2, verbose=0))
show("generator", build().fit(batches(), verbose=0))
show("sequence", build().fit(Batches(), epochs=2, verbose=0))
"""

TRAVELS = """
# %% tags=["shared"]
import numpy as np
import tensorflow as tf
keras = tf.keras
layers = keras.layers
keras.utils.set_random_seed(3)

# %% tags=["step:build"]
rng = np.random.default_rng(0)
X = rng.normal(size=(97, 4)).astype("float32")
y = (X.sum(axis=1) > 0).astype("float32")
inputs = keras.Input((4,))
norm = layers.Normalization()
norm.adapt(X)
hidden = layers.BatchNormalization()(norm(inputs))
model = keras.Model(inputs, layers.Dense(1, activation="sigmoid")(hidden))
model.compile(keras.optimizers.SGD(0.1, momentum=0.9), "binary_crossentropy", metrics=["accuracy", keras.metrics.AUC()])

# %% tags=["step:train", "workers:2"]
data = tf.data.Dataset.from_tensor_slices((X, y)).shuffle(97, seed=5).batch(16)
history = model.fit(data, epochs=2, verbose=0, validation_data=(X, y), class_weight={0: 1.0, 1: 2.0})
print("before", *[np.array(values).round(7) for values in history.history.values()])
seen = keras.metrics.AUC()
seen.update_state(y, model.predict(X, verbose=0)[:, 0])
print("by_hand", float(seen.result()))
model.save("kept.keras")
again = keras.models.load_model("kept.keras")
print("again", again.predict(X[:3], verbose=0)[:, 0])

# %% tags=["step:evaluate"]
print("after", model.evaluate(X, y, verbose=0))
model.fit(X, y, epochs=1, verbose=0)
print("more", model.evaluate(X, y, verbose=0))
"""

FAILS = """
# %% tags=["step:train", "workers:2"]
import tensorflow as tf
model = tf.keras.Sequential([tf.keras.layers.Conv1D(2, 2, input_shape=(4, 1)), tf.keras.layers.GlobalMaxPooling1D()])
model.compile(loss="mse")
model.fit(tf.zeros((9, 4, 1)), tf.zeros((9, 2)), batch_size=4, verbose=0)
"""
