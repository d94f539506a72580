/**
 * MLPerf Tiny's int8 models as C (`pare compile -o model.c`, gcc) beside TensorFlow Lite Micro: least time of a run, memory, bytes of
 * code, and by how many codes the outputs differ at most on the same inputs. The Python package `tflite-micro` has TensorFlow's plain
 * reference kernels, not those that are tuned for a microcontroller: its times say what portable C of both gives.
 *
 *   node bench/compiled-micro.mjs DATA PYTHON
 *
 * DATA: the folder that docs/benchmarks.md describes; PYTHON: a Python with `pip install tflite-micro`. Needs gcc. Build first.
 */
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const [data, python] = process.argv.slice(2)
if (!data || !python) {
  console.error('usage: node bench/compiled-micro.mjs DATA PYTHON')
  process.exit(2)
}
const pare = fileURLToPath(new URL('../dist/cli/main.js', import.meta.url))
const folder = mkdtempSync(join(os.tmpdir(), 'pare-micro-'))
const samples = 20
const seconds = 5

/** Inputs on standard input, outputs on standard output, then the least time of a run in ms. */
const main = (takes, gives, inputs, outputs) => `#define _POSIX_C_SOURCE 199309L
#include <stdio.h>
#include <time.h>
#include "m.h"
static double now(void) { struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t); return t.tv_sec * 1e3 + t.tv_nsec / 1e6; }
int main(void) {
  for (int i = 0; i < ${samples}; i++) {
    if (fread(${takes}(), 1, ${inputs}, stdin) != ${inputs}) return 1;
    m_run();
    fwrite(${gives}(), 1, ${outputs}, stdout);
  }
  double least = 1e9, end = now() + ${seconds * 1000};
  while (now() < end) { double a = now(); m_run(); double b = now(); if (b - a < least) least = b - a; }
  printf("%f", least);
  return 0;
}`
const micro = `
import sys, time, numpy as np
from tflite_micro.python.tflite_micro import runtime
i = runtime.Interpreter.from_file(sys.argv[1])
shape = i.get_input_details(0)['shape']
count = int(np.prod(shape))
for n in range(${samples}):
    i.set_input(np.frombuffer(sys.stdin.buffer.read(count), dtype=np.int8).reshape(shape), 0)
    i.invoke()
    sys.stdout.buffer.write(i.get_output(0).tobytes())
least, end = 1e9, time.perf_counter() + ${seconds}
while time.perf_counter() < end:
    a = time.perf_counter(); i.invoke(); least = min(least, time.perf_counter() - a)
sys.stdout.buffer.write(b'%f' % (least * 1000))
sys.stdout.flush()
i.print_allocations()
`

console.log(`${os.cpus()[0].model}, gcc ${execFileSync('gcc', ['-dumpversion']).toString().trim()}\n`)
for (const file of ['kws/ds_cnn_int8_reference.tflite', 'tflite/resnet8_int8_reference.tflite']) {
  const model = join(data, file)
  execFileSync(process.execPath, [
    pare,
    'compile',
    model,
    '-o',
    join(folder, 'm.c'),
    '--force',
    '--quiet',
    '--no-check'
  ])
  const [source, header] = ['m.c', 'm.h'].map((name) => readFileSync(join(folder, name), 'utf8'))
  const [constants, memory] = source.match(/\d+(?= bytes of)/g).map(Number)
  const [takes, gives] = ['input', 'output'].map((kind) => new RegExp(`m_${kind}_\\w+(?=\\(void\\))`).exec(header)[0])
  const [inputs, outputs] = header.match(/(?<=_COUNT )\d+/g).map(Number)
  writeFileSync(join(folder, 'main.c'), main(takes, gives, inputs, outputs))
  const input = Buffer.from(
    Int8Array.from({ length: samples * inputs }, (_, i) => (Math.imul(i, 2654435761) >>> 13) % 256)
  )
  const results = {}
  for (const [what, flags] of Object.entries({
    '-O3 -march=native': ['-O3', '-march=native'],
    '-O3': ['-O3'],
    '-O3 -DPORTABLE': ['-O3', '-DPORTABLE']
  })) {
    execFileSync('gcc', ['-std=c99', ...flags, '-o', 'm', 'main.c', 'm.c', '-lm'], { cwd: folder })
    results[what] = execFileSync(join(folder, 'm'), { input })
  }
  execFileSync('gcc', ['-std=c99', '-Os', '-c', 'm.c'], { cwd: folder })
  const code = Number(
    execFileSync('size', ['-A', 'm.o'], { cwd: folder })
      .toString()
      .match(/\.text\s+(\d+)/)[1]
  )
  writeFileSync(join(folder, 'micro.py'), micro)
  const told = execFileSync('sh', ['-c', '"$0" micro.py "$1" 2>micro.log', python, model], { cwd: folder, input })
  const least = (out) => Number.parseFloat(out.subarray(samples * outputs).toString())
  const codes = (out) => new Int8Array(out.buffer, out.byteOffset, samples * outputs)
  const ours = codes(results['-O3'])
  const far = codes(told).reduce((most, q, i) => Math.max(most, Math.abs(q - ours[i])), 0)
  const arena = /Arena allocation total (\d+)/.exec(`${told}${readFileSync(join(folder, 'micro.log'), 'utf8')}`)?.[1]
  console.log(file)
  for (const [what, out] of Object.entries(results))
    console.log(`  C, gcc ${what.padEnd(18)} ${least(out).toFixed(3)} ms`)
  console.log(`  TensorFlow Lite Micro     ${least(told).toFixed(3)} ms, outputs at most ${far} codes apart`)
  console.log(`  memory ${memory} B beside ${arena} B; constants ${constants} B; code ${code} B (-Os)\n`)
}
rmSync(folder, { recursive: true })
