"""tritonclient's HTTP client against a server, by every call that it has; what went over the wire is kept where a file is named.

usage: serve-client.py HOST:PORT [RECORD.json]
The server has the models echo, dynamic and net (test/serve-models.ts). Prints one line of JSON for each call.
"""
import base64
import json
import socket
import sys
import threading

import numpy as np
import tritonclient.http as http
from tritonclient.utils import InferenceServerException

address, *record = sys.argv[1:]
kept = []


def relay(target):
    """Listens on a free port, passes bytes on, and keeps those of each connection in order."""
    listener = socket.create_server(("127.0.0.1", 0))

    def pass_on(source, sink, name, log):
        while data := source.recv(65536):
            log.append((name, data))
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)

    def accept():
        while True:
            client, _ = listener.accept()
            server = socket.create_connection(target.split(":"))
            log = []
            kept.append(log)
            for pair in ((client, server, "request"), (server, client, "reply")):
                threading.Thread(target=pass_on, args=(*pair, log), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    return "127.0.0.1:%d" % listener.getsockname()[1]


def say(name, value):
    print(json.dumps({"call": name, "value": value}, ensure_ascii=False))


def tensors(binary):
    arrays = {
        "fp32": np.array([[0.5, -2]], np.float32),
        "int64": np.array([[2**62, -5]], np.int64),
        "flag": np.array([[True, False]]),
        "text": np.array([["ä", ""]], dtype=object),
        "fp16": np.array([[0.25, 8]], np.float16),
    }
    types = {"fp32": "FP32", "int64": "INT64", "flag": "BOOL", "text": "BYTES", "fp16": "FP16"}
    made = []
    for name, array in arrays.items():
        one = http.InferInput(name, array.shape, types[name])
        # The client itself sends FP16 as bytes alone.
        data = np.array([[2**40, -5]]) if name == "int64" and not binary else array
        one.set_data_from_numpy(data, binary_data=binary or name == "fp16")
        made.append(one)
    return made


def plain(array):
    return [v.decode() if isinstance(v, bytes) else v for v in array.ravel().tolist()]


client = http.InferenceServerClient(relay(address) if record else address)
say("live", client.is_server_live())
say("ready", client.is_server_ready())
say("model ready", client.is_model_ready("echo"))
say("server", client.get_server_metadata()["extensions"])
say("metadata", client.get_model_metadata("echo"))
say("config", client.get_model_config("echo")["input"])
outputs = ["out_fp32", "out_int64", "out_flag", "out_text", "out_fp16"]
for name, binary, more in (
    ("binary", True, {}),
    ("json", False, {"outputs": [http.InferRequestedOutput(o, binary_data=o == "out_fp16") for o in outputs]}),
    ("gzip", True, {"request_compression_algorithm": "gzip", "response_compression_algorithm": "gzip"}),
    ("deflate", True, {"request_compression_algorithm": "deflate", "response_compression_algorithm": "deflate"}),
    ("some", True, {"outputs": [http.InferRequestedOutput("out_text", binary_data=False), http.InferRequestedOutput("out_fp32")]}),
):
    result = client.infer("echo", tensors(binary), request_id=name, **more)
    given = [o["name"] for o in result.get_response()["outputs"]]
    say(name, {"id": result.get_response().get("id"), **{o: plain(result.as_numpy(o)) for o in given}})
many = [http.InferInput(n, [400, 2], d) for n, d in (("fp32", "FP32"), ("int64", "INT64"), ("flag", "BOOL"), ("text", "BYTES"), ("fp16", "FP16"))]
for one, dtype in zip(many, (np.float32, np.int64, bool, object, np.float16)):
    one.set_data_from_numpy(np.full((400, 2), b"long" if dtype is object else 1, dtype))
large = client.infer("echo", many, request_compression_algorithm="gzip", response_compression_algorithm="gzip")
say("large", [int(large.as_numpy("out_int64").sum()), float(large.as_numpy("out_fp32").sum()), set(plain(large.as_numpy("out_text"))) == {"long"}])
wrong = http.InferInput("x", [1, 3], "FP32")
wrong.set_data_from_numpy(np.zeros((1, 3), np.float32))
for name in ("dynamic", "absent"):
    try:
        client.infer(name, [wrong])
    except InferenceServerException as e:
        say("error", str(e))
say("stats", client.get_inference_statistics("echo")["model_stats"][0]["inference_count"])
say("index", sorted(m["name"] for m in client.get_model_repository_index()))
client.unload_model("net")
say("unloaded", client.is_model_ready("net"))
client.load_model("net")
say("loaded", client.is_model_ready("net"))
client.close()
if record:
    all_of = [{"from": name, "base64": base64.b64encode(data).decode()} for log in kept for name, data in log]
    with open(record[0], "w") as file:
        json.dump(all_of, file)
