/**
 * What a Java program gains by ONNX Runtime: latency of the same network in DL4J and in ONNX Runtime's Java artifact, one sample, one
 * thread, arrays made and read as a program does. Medians of 2,000 runs, five processes of each, taken in turns.
 *
 *   node bench/java.mjs [MODEL.zip:SHAPE …] [--runs 2000] [--rounds 5]
 *
 * By default examples/java/digits.zip:1,28,28. Each model is also timed as `pare convert` writes it and in int8 weights. It needs a
 * JDK and the jars that examples/java/README.md fetches. Build first. Rows are printed as they are done.
 */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { runs: { type: 'string', default: '2000' }, rounds: { type: 'string', default: '5' } }
})
const root = fileURLToPath(new URL('..', import.meta.url))
const example = join(root, 'examples', 'java')
const models = positionals.length > 0 ? positionals : [`${join(example, 'digits.zip')}:1,28,28`]
const folder = mkdtempSync(join(tmpdir(), 'pare-java-bench-'))

function run(command, args) {
  const ran = spawnSync(command, args, { encoding: 'utf8', env: { ...process.env, OMP_NUM_THREADS: '1' } })
  if (ran.status === 0) return ran.stdout
  throw new Error(`${command} ${args.join(' ')}: ${ran.stderr || ran.error}`)
}
const pare = (...args) => run(process.execPath, [join(root, 'dist', 'cli', 'main.js'), ...args, '--force', '--quiet'])
const java = (lib, program, args) =>
  Number(/latency +([\d.]+)/.exec(run('java', ['-cp', join(example, lib, '*'), join(example, program), ...args]))?.[1])
const median = (all) => all.sort((a, b) => a - b)[Math.floor(all.length / 2)]
const us = (ms) => `${(1000 * ms).toFixed(0)} µs`.padStart(9)

console.log('model                     DL4J   ONNX Runtime     ratio   int8 weights     ratio')
try {
  for (const model of models) {
    const [path, shape] = [model.slice(0, model.lastIndexOf(':')), model.slice(model.lastIndexOf(':') + 1)]
    const [float, small] = ['float.onnx', 'small.onnx'].map((name) => join(folder, name))
    pare('convert', path, '-o', float)
    pare('quantize-weights', path, '-o', small)
    const size = shape.split(',').reduce((n, d) => n * Number(d), 1)
    const made = join(folder, 'sample.f32')
    writeFileSync(made, Buffer.from(Float32Array.from({ length: size }, (_, i) => Math.sin(i)).buffer))
    const times = { dl4j: [], float: [], small: [] }
    for (let i = 0; i < Number(values.rounds); i++) {
      times.dl4j.push(java('lib-dl4j', 'RunDl4j.java', [path, shape, made, values.runs]))
      times.float.push(java('lib', 'RunModel.java', [float, made, values.runs]))
      times.small.push(java('lib', 'RunModel.java', [small, made, values.runs]))
    }
    const [a, b, c] = [times.dl4j, times.float, times.small].map(median)
    console.log(
      `${basename(path).padEnd(18)} ${us(a)}      ${us(b)} ${(a / b).toFixed(1).padStart(7)} ×      ${us(c)} ${(a / c).toFixed(1).padStart(7)} ×`
    )
  }
} finally {
  rmSync(folder, { recursive: true, force: true })
}
