"""Static int8 by a peer, in a process of its own.

usage: python quantize.py TOOL MODEL CALIBRATION.npy OUT METHOD ACTIVATIONS BATCH [OPTION …]

TOOL: onnxruntime, onnxsim or neural-compressor. METHOD: as the tool calls it, in lower case. ACTIVATIONS: uint8 or int8.
Weights are int8 per channel, and QuantizeLinear and DequantizeLinear stand in the graph, for every tool. All else is at
the tool's defaults, but for each OPTION, which onnxruntime is given as true.
"""
import os
import sys
import tempfile

import numpy as np
import onnx
from onnx import version_converter


def batches(model, path, size):
    """The calibration samples as the feeds of the model, `size` at a time; the file is mapped, not read."""
    constants = {i.name for i in model.graph.initializer}
    name = next(i.name for i in model.graph.input if i.name not in constants)
    samples = np.load(path, mmap_mode="r")
    for at in range(0, len(samples), size):
        yield {name: np.ascontiguousarray(samples[at : at + size])}


class Reader:
    """A CalibrationDataReader: its methods are all that the tools ask for."""

    def __init__(self, model, path, size):
        self.open = lambda: batches(model, path, size)
        self.rewind()

    def get_next(self):
        return next(self.left, None)

    def rewind(self):
        self.left = self.open()


def raised(path, folder):
    """The model, with an opset that knows scales per channel: these tools refuse older ones."""
    model = onnx.load(path)
    if next(o.version for o in model.opset_import if o.domain in ("", "ai.onnx")) >= 13:
        return path, model
    model = version_converter.convert_version(model, 13)
    newer = os.path.join(folder, "raised.onnx")
    onnx.save(model, newer)
    return newer, model


def by_onnxruntime(path, calibration, out, method, activations, size, options):
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.calibrate import CalibrationDataReader
    from onnxruntime.quantization.shape_inference import quant_pre_process

    CalibrationDataReader.register(Reader)
    with tempfile.TemporaryDirectory() as folder:
        path, model = raised(path, folder)
        prepared = os.path.join(folder, "prepared.onnx")
        quant_pre_process(path, prepared)
        quantize_static(
            prepared,
            out,
            Reader(model, calibration, size),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type={"uint8": QuantType.QUInt8, "int8": QuantType.QInt8}[activations],
            weight_type=QuantType.QInt8,
            calibrate_method={m.name.lower(): m for m in CalibrationMethod}[method],
            extra_options=dict.fromkeys(options, True),
        )


def by_onnxsim(path, calibration, out, method, activations, size, _):
    import onnxsim

    with tempfile.TemporaryDirectory() as folder:
        path, model = raised(path, folder)
    simple, _ = onnxsim.simplify(model)
    data = list(batches(simple, calibration, size))
    made = onnxsim.quantize_static(simple, data, method=method, full_graph=True, activation_type=activations)
    onnx.save(made, out)


def by_neural_compressor(path, calibration, out, method, activations, size, _):
    from onnx_neural_compressor import data_reader, quantization
    from onnx_neural_compressor.quantization import config

    class Own(Reader, data_reader.CalibrationDataReader):
        pass

    kinds = quantization.QuantType
    with tempfile.TemporaryDirectory() as folder:
        path, model = raised(path, folder)
        reader = Own(model, calibration, size)
        quantization.quantize(
            path,
            out,
            config.StaticQuantConfig(
                calibration_data_reader=reader,
                calibrate_method={m.name.lower(): m for m in quantization.CalibrationMethod}[method],
                quant_format=quantization.QuantFormat.QDQ,
                per_channel=True,
                activation_type={"uint8": kinds.QUInt8, "int8": kinds.QInt8}[activations],
                weight_type=kinds.QInt8,
                calibration_sampling_size=len(np.load(calibration, mmap_mode="r")),
                execution_provider="CPUExecutionProvider",
            ),
        )


tools = {"onnxruntime": by_onnxruntime, "onnxsim": by_onnxsim, "neural-compressor": by_neural_compressor}

if __name__ == "__main__":
    tool, model, calibration, out, method, activations, size, *options = sys.argv[1:]
    tools[tool](model, calibration, out, method, activations, int(size), options)
