"""PyTorch's side of train.mjs: the same model, weights and batch.

    python train.py MODEL FOLDER BATCH RATE

FOLDER holds weights.f32 (the layers' parameters in order), x.f32 and labels.i64. Every line `N` on standard input is
answered by the JSON of N steps: the loss before the last update, seconds of wall and of processor time a step.
"""

import json
import sys
import time

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F


class LeNet(nn.Sequential):
    shape = (1, 28, 28)

    def __init__(self):
        super().__init__(
            *[nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2)],
            *[nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()],
            *[nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10)],
        )


class Residual(nn.Module):
    """Two convolutions beside a shortcut that drops every second position and pads channels with zeros."""

    def __init__(self, inputs, outputs):
        super().__init__()
        self.stride = outputs // inputs
        self.more = (outputs - inputs) // 2
        self.first = nn.Conv2d(inputs, outputs, 3, self.stride, 1)
        self.second = nn.Conv2d(outputs, outputs, 3, padding=1)

    def forward(self, x):
        y = self.second(F.relu(self.first(x)))
        if self.more:
            x = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.more, self.more))
        return F.relu(y + x)


class ResNet20(nn.Sequential):
    """As the file has it: normalization folded into the convolutions."""

    shape = (3, 32, 32)

    def __init__(self):
        widths = [16, 16, 16, 16, 32, 32, 32, 64, 64, 64]
        super().__init__(
            *[nn.Conv2d(3, 16, 3, padding=1), nn.ReLU()],
            *[Residual(*pair) for pair in zip(widths, widths[1:])],
            *[nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10)],
        )


def normalized(inputs, outputs, kernel, stride, groups=1):
    """Convolution, normalization by batch statistics, ReLU6. Stride 2 pads at the end alone, as TensorFlow does."""
    pad = [nn.ZeroPad2d((0, 1, 0, 1))] if stride == 2 else []
    padding = 0 if stride == 2 else kernel // 2
    conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, groups=groups, bias=False)
    return [*pad, conv, nn.BatchNorm2d(outputs, eps=1e-3), nn.ReLU6()]


class MobileNet(nn.Sequential):
    """MobileNetV1-0.25."""

    shape = (3, 224, 224)

    def __init__(self):
        widths = [8, 16, 32, 32, 64, 64, 128, 128, 128, 128, 128, 128, 256, 256]
        strides = [1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1]
        blocks = [
            layer
            for inputs, outputs, stride in zip(widths, widths[1:], strides)
            for layer in [*normalized(inputs, inputs, 3, stride, inputs), *normalized(inputs, outputs, 1, 1)]
        ]
        super().__init__(
            *normalized(3, 8, 3, 2), *blocks, nn.AdaptiveAvgPool2d(1), nn.Conv2d(256, 1000, 1), nn.Flatten()
        )


def load(model, folder):
    values = torch.from_numpy(np.fromfile(f"{folder}/weights.f32", np.float32))
    parameters = list(model.parameters())
    parts = values.split([p.numel() for p in parameters])
    with torch.no_grad():
        for parameter, part in zip(parameters, parts):
            parameter.copy_(part.view_as(parameter))


def main(name, folder, batch, rate):
    torch.set_num_threads(1)
    model = {"lenet": LeNet, "resnet20": ResNet20, "mobilenet": MobileNet}[name]().train()
    load(model, folder)
    x = torch.from_numpy(np.fromfile(f"{folder}/x.f32", np.float32)).view(batch, *model.shape)
    labels = torch.from_numpy(np.fromfile(f"{folder}/labels.i64", np.int64))
    optimizer = torch.optim.SGD(model.parameters(), lr=rate, momentum=0.9)
    print(json.dumps({"version": torch.__version__}), flush=True)
    for line in sys.stdin:
        steps = int(line)
        wall, cpu = time.perf_counter(), time.process_time()
        for _ in range(steps):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), labels)
            loss.backward()
            optimizer.step()
        made = {"loss": loss.item(), "wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
        print(json.dumps({**made, "wall": made["wall"] / steps, "cpu": made["cpu"] / steps}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4]))
