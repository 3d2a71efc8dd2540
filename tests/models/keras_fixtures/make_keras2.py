"""Makes the genuine Keras 2 files of this folder. Only TensorFlow can write them, and no test needs it.

    python3 -m venv keras2 && keras2/bin/pip install tensorflow-cpu==2.15.1
    keras2/bin/python make_keras2.py nested mobilenet efficientnet inception_resnet shared with_code weights_only
    python3 -m venv older && older/bin/pip install tensorflow-cpu==2.12.1
    older/bin/python make_keras2.py inception_resnet_lambda

Run a copy in a folder of its own: Lambda layers keep the path of the script. Every file gets a .npy beside it, what
Keras itself says about the pictures of `pictures()`.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from tensorflow import keras
from tensorflow.keras import layers

HERE = Path(__file__).parent
SIDE = 48


def settle(model: keras.Model, rng: np.random.Generator) -> keras.Model:
    """Give a model seeded weights that keep its activations in a sane range."""
    for weight in model.weights:
        shape = tuple(weight.shape)
        if weight.name.endswith(("gamma:0", "variance:0")):
            weight.assign(rng.uniform(0.5, 1.5, shape))
        elif weight.name.endswith(("beta:0", "mean:0", "bias:0")):
            weight.assign(rng.normal(0, 0.2, shape))
        elif weight.name.endswith("kernel:0"):
            inputs = np.prod(shape[:2]) if "depthwise" in weight.name else np.prod(shape[:-1])
            weight.assign(rng.normal(0, np.sqrt(2 / inputs), shape))
    return model


def base(name: str) -> keras.Model:
    """A small trunk of its own: padding of both kinds, depthwise, separable, pooling, a branch."""
    image = keras.Input((SIDE, SIDE, 3))
    x = layers.ZeroPadding2D(((0, 1), (0, 1)))(image)
    x = layers.Conv2D(8, 3, strides=2, use_bias=False)(x)
    x = layers.BatchNormalization(scale=False)(x)
    x = layers.ReLU(6.0)(x)
    x = layers.DepthwiseConv2D(3, strides=2, padding="same", depth_multiplier=2)(x)
    x = layers.SeparableConv2D(12, 3, padding="same", activation="swish")(x)
    y = layers.AveragePooling2D(3, strides=1, padding="same")(x)
    z = layers.MaxPooling2D(3, strides=1, padding="same")(x)
    x = layers.Concatenate()([y, z])
    x = layers.MaxPooling2D(3, strides=2, padding="same")(x)
    x = layers.AveragePooling2D(3, strides=2, padding="same")(x)
    return keras.Model(image, x, name=name)


def nested() -> keras.Model:
    """What transfer learning looks like: a base, pooling, two units."""
    return keras.Sequential(
        [
            base("base"),
            layers.GlobalAveragePooling2D(),
            layers.Dropout(0.3),
            layers.Dense(2, activation="softmax"),
        ]
    )


def mobilenet() -> keras.Model:
    """The first blocks of the real MobileNet behind arithmetic on the pixels, nested in a functional model."""
    whole = keras.applications.MobileNet(alpha=0.25, input_shape=(SIDE, SIDE, 3), weights=None, include_top=False)
    trunk = keras.Model(whole.input, whole.get_layer("conv_pw_4_relu").output, name="mobilenet")
    image = keras.Input((SIDE, SIDE, 3))
    x = keras.applications.mobilenet.preprocess_input(image)
    x = layers.GlobalAveragePooling2D()(trunk(x, training=False))
    return keras.Model(image, layers.Dense(1, activation="sigmoid")(x))


def efficientnet() -> keras.Model:
    """The first blocks of the real EfficientNet-B0, which brings its Rescaling and Normalization."""
    whole = keras.applications.EfficientNetB0(input_shape=(SIDE, SIDE, 3), weights=None, include_top=False)
    x = layers.GlobalAveragePooling2D()(whole.get_layer("block2b_add").output)
    return keras.Model(whole.input, layers.Dense(1)(x))


def inception_resnet() -> keras.Model:
    """A real block of Inception-ResNet-V2, which scales its branch in a layer of its own."""
    application = sys.modules[keras.applications.InceptionResNetV2.__module__]
    application.layers = layers  # as the application's own function does
    image = keras.Input((SIDE, SIDE, 3))
    x = layers.Conv2D(8, 7, strides=4, padding="same", activation="relu")(image)
    x = application.inception_resnet_block(x, scale=0.17, block_type="block35", block_idx=1)
    x = layers.GlobalMaxPooling2D()(x)
    return keras.Model(image, layers.Dense(1, activation="sigmoid")(x))


def inception_resnet_lambda() -> keras.Model:
    """The same as Keras wrote it until 2.11, for which Python 3.11 has no TensorFlow: with a Lambda that has a name."""

    def scale_layer(scale: float) -> layers.Layer:
        return layers.Lambda(
            lambda inputs, scale: inputs[0] + inputs[1] * scale, arguments={"scale": scale}, name="block35_1"
        )

    sys.modules[keras.applications.InceptionResNetV2.__module__].CustomScaleLayer = scale_layer
    return inception_resnet()


def shared() -> keras.Model:
    """A nested model and a layer that are called twice each, and a Sequential in a Sequential."""
    tower = keras.Sequential([layers.Conv2D(4, 3, strides=2, padding="same", activation="relu")], name="tower")
    tower.build((None, SIDE, SIDE, 3))
    image = keras.Input((SIDE, SIDE, 3))
    flipped = layers.Rescaling(-1.0, offset=1.0)(image)
    first, second = tower(image), tower(flipped)
    squeeze = layers.Conv2D(4, 1)
    x = layers.Add()([squeeze(first), squeeze(second)])
    inner = keras.Sequential([layers.Flatten(), layers.Dense(3, activation="tanh")], name="inner")
    outer = keras.Sequential([layers.AveragePooling2D(8), inner], name="outer")
    return keras.Model(image, layers.Dense(1)(outer(x)))


def with_code() -> keras.Model:
    """A Lambda layer with a function of the author's own: it must be refused."""
    image = keras.Input((SIDE, SIDE, 3))
    x = layers.Lambda(lambda pixels: pixels / 127.5 - 1.0, name="own_code")(image)
    return keras.Model(image, layers.Dense(1)(layers.GlobalAveragePooling2D()(x)))


def pictures() -> np.ndarray:
    """Two pictures of noise, values 0 to 255."""
    return np.random.default_rng(1).integers(0, 256, (2, SIDE, SIDE, 3)).astype("f4")


def main(names: list[str]) -> None:
    """Write files and what Keras says; those that do not scale by themselves are asked about pictures / 255."""
    for name in names:
        keras.backend.clear_session()
        if name == "weights_only":
            settle(shared(), np.random.default_rng(2)).save_weights(HERE / f"{name}.h5")
            continue
        model = settle(globals()[name](), np.random.default_rng(2))
        model.save(HERE / f"{name}.h5", include_optimizer=False)
        model = keras.models.load_model(HERE / f"{name}.h5")  # Normalization learns of its new arrays only here
        divisor = np.float32(1 if name in ("mobilenet", "efficientnet") else 255)
        np.save(HERE / f"{name}.npy", model.predict(pictures() / divisor, verbose=0))


if __name__ == "__main__":
    main(sys.argv[1:])
