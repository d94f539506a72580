"""Checks each ONNX file of a folder, fully and with strict shape inference; prints what fails as JSON: name -> message."""

import json
import pathlib
import sys

import onnx

failed = {}
for path in sorted(pathlib.Path(sys.argv[1]).glob("*.onnx")):
    try:
        model = onnx.load(path)
        onnx.checker.check_model(model, full_check=True)
        onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
    except Exception as error:  # whatever the checker raises is its verdict
        failed[path.name] = f"{type(error).__name__}: {error}"
json.dump(failed, sys.stdout)
