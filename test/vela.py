"""Compiles TensorFlow Lite files for Ethos-U55 with Arm's Vela, one after the other: the files of a folder into another."""
import contextlib
import io
import sys
from pathlib import Path

from ethosu.vela import vela

given, made, accelerator = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
for file in sorted(given.glob("*.tflite")):
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            vela.main([str(file), "--output-dir", str(made / file.stem), "--accelerator-config", accelerator])
        print(file.stem, "ok")
    except BaseException as error:  # noqa: B902: the compiler also ends the process
        print(file.stem, "failed", type(error).__name__, str(error).replace("\n", " ")[:200])
    (made / f"{file.stem}.txt").write_text(said.getvalue())
