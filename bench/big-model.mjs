/**
 * A model with 1.2 GB of external weights: what `inspect` and `quantize-weights` take of time and memory, each command
 * in a process of its own.
 *
 *   node bench/big-model.mjs [--keep FOLDER]
 *
 * Build first. Needs 2 GB of disk in the temporary folder, or in FOLDER.
 */
import { mkdirSync, mkdtempSync, rmSync, statSync } from 'node:fs'
import os from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { save } from '../dist/node/index.js'
import { watch } from './peers/watch.mjs'

const { values: given } = parseArgs({ options: { keep: { type: 'string' } } })
const folder = given.keep ?? mkdtempSync(join(os.tmpdir(), 'pare-big-'))
mkdirSync(folder, { recursive: true })
const big = join(folder, 'big.onnx')
const small = join(folder, 'small.onnx')
const pare = fileURLToPath(new URL('../dist/cli/main.js', import.meta.url))

try {
  const { bytes } = await save(bigModel(12, 5000), big, { write: { external: true }, force: true })
  console.log(`${(bytes / 1e9).toFixed(2)} GB written`)
  const rows = []
  for (const [command, ...flags] of [['inspect'], ['quantize-weights', '--out', small, '--force']])
    rows.push(await measured(command, [big, ...flags]))
  console.table(rows)
  console.log(`quantize-weights wrote ${(statSync(small).size / 1e9).toFixed(2)} GB`)
  console.log(`node ${process.version}, ${os.cpus()[0].model}, ${os.cpus().length} cores`)
} finally {
  if (given.keep === undefined) rmSync(folder, { recursive: true })
}

async function measured(command, args) {
  const { status, seconds, cpuSeconds, peakBytes, output } = await watch(process.execPath, [pare, command, ...args])
  if (status !== 0) throw new Error(`${command} ended with status ${status}: ${output}`)
  const peak = peakBytes === undefined ? '?' : Math.round(peakBytes / 1e6)
  return { command, s: seconds.toFixed(1), 'cpu s': cpuSeconds?.toFixed(1) ?? '?', 'peak MB': peak }
}

/** A chain of `layers` MatMul and Relu over `width` features; the weights are made as they are written. */
function bigModel(layers, width) {
  const values = new Map([['x', { id: 'x', type: 'tensor', dtype: 'float32', shape: ['N', width] }]])
  const nodes = []
  let at = 'x'
  for (let i = 0; i < layers; i++) {
    const data = { dtype: 'float32', shape: [width, width], bytes: noise(width * width * 4, i + 1) }
    values.set(`w${i}`, { id: `w${i}`, type: 'tensor', dtype: 'float32', shape: data.shape, data })
    for (const [op, inputs, id] of [
      ['MatMul', [at, `w${i}`], `h${i}`],
      ['Relu', [`h${i}`], `y${i}`]
    ]) {
      nodes.push({ name: `${op}_${i}`, op, inputs, outputs: [id], attrs: {} })
      values.set(id, { id, type: 'tensor' })
    }
    at = `y${i}`
  }
  return { graph: { name: 'big', inputs: ['x'], outputs: [at], nodes, values }, opset: 21, domains: {}, meta: {} }
}

/** float32 numbers in ±1/64, the same for the same place and seed. */
function noise(length, seed) {
  return {
    length,
    slice: (from = 0, to = length) => {
      const out = new Float32Array(Math.ceil((to - from) / 4))
      for (let i = 0; i < out.length; i++) {
        const h = Math.imul(i + from / 4 + 1, 0x9e3779b1 ^ (seed * 0x85ebca6b))
        out[i] = (Math.imul(h ^ (h >>> 15), 0x2c1b3c6d) >> 16) / 2 ** 21
      }
      return new Uint8Array(out.buffer, 0, to - from)
    }
  }
}
