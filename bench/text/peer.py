"""Dynamic int8 by onnxruntime's Python tools: peer.py dynamic|optimized MODEL OUT (bench/text.mjs runs it)."""
import os
import sys
import tempfile

from onnxruntime.quantization import QuantType, quantize_dynamic

FLOAT = 1

way, source, out = sys.argv[1:]
with tempfile.TemporaryDirectory() as folder:
    if way == "optimized":
        from onnxruntime.transformers import optimizer

        model = optimizer.optimize_model(source, model_type="bert", num_heads=0, hidden_size=0, opt_level=0)
        source = os.path.join(folder, "optimized.onnx")
        model.save_model_to_file(source)
    options = {"DefaultTensorType": FLOAT}
    quantize_dynamic(source, out, per_channel=True, weight_type=QuantType.QInt8, extra_options=options)
