/**
 * A one-dimensional detector of 4.3 G multiply-adds a sample, made here: when `verify`, `bench` and `compress` first say
 * something, and whether they end in the time that `--max-time` allows, from the start of the process on.
 *
 *   node bench/slow-model.mjs [--max-time 60s] [--samples 200]
 *
 * Build first. On a machine with other work the first words come later.
 */
import { spawn } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { cpus, tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { rng } from '../dist/index.js'
import { save } from '../dist/node/index.js'

const { values: given } = parseArgs({
  options: { 'max-time': { type: 'string', default: '60s' }, samples: { type: 'string', default: '200' } }
})
const folder = mkdtempSync(join(tmpdir(), 'pare-slow-'))
const pare = fileURLToPath(new URL('../dist/cli/main.js', import.meta.url))
const [model, other, data] = ['detector.onnx', 'detector.other.onnx', 'x.npy'].map((name) => join(folder, name))
const [count, length] = [Number(given.samples), 16_384]

try {
  await save(detector(), model)
  await save(detector(), other)
  writeFileSync(data, npy([count, 1, length]))
  const bound = ['--data', data, '--max-time', given['max-time']]
  const rows = [
    await watched('bench', [model, '--vs', other, ...bound]),
    await watched('verify', [model, other, ...bound]),
    await watched('verify --layers', [model, other, ...bound]),
    await watched('compress', [model, '--max-drop', '5%', ...bound, '-o', join(folder, 'out.onnx')])
  ]
  console.table(rows.map(({ said: _, ...row }) => row))
  for (const { command, said } of rows) for (const line of said) console.log(`${command}: ${line}`)
  console.log(`node ${process.version}, ${cpus()[0]?.model}, ${cpus().length} cores`)
} finally {
  rmSync(folder, { recursive: true })
}

/** Runs a command, and tells when it first said something, when it ended, and what it says of the time. */
function watched(name, args) {
  const [command, ...flags] = name.split(' ')
  const began = performance.now()
  const seconds = () => ((performance.now() - began) / 1000).toFixed(1)
  return new Promise((resolve) => {
    const child = spawn(process.execPath, [pare, command, ...args, ...flags])
    let first
    let text = ''
    for (const stream of [child.stdout, child.stderr])
      stream.on('data', (d) => {
        first ??= seconds()
        text += d
      })
    child.on('close', (status) => {
      const said = text.split('\n').filter((line) => /allowed/.test(line))
      resolve({ command: name, status, 'first words, s': first, 'end, s': seconds(), said: said.map((l) => l.trim()) })
    })
  })
}

/** Windows of one channel → boxes and scores; convolutions of 256 channels over 4,096 positions do the work. */
function detector() {
  const random = rng('slow')
  const values = new Map()
  const nodes = []
  const value = (id, shape, data) => values.set(id, { id, type: 'tensor', dtype: 'float32', shape, ...data })
  const layer = (op, inputs, out, attrs = {}) => {
    nodes.push({ name: `${op}_${out}`, op, inputs, outputs: [out], attrs })
    if (!values.has(out)) values.set(out, { id: out, type: 'tensor' })
    return out
  }
  const convolve = (x, id, [to, from, kernel], stride = 1) => {
    const scale = Math.sqrt(2 / (from * kernel))
    const numbers = Float32Array.from({ length: to * from * kernel }, () => scale * random.normal())
    const data = { dtype: 'float32', shape: [to, from, kernel], bytes: new Uint8Array(numbers.buffer) }
    value(`w_${id}`, data.shape, { data })
    const side = (kernel - stride) >> 1
    return layer('Conv', [x, `w_${id}`], id, {
      strides: { kind: 'ints', value: [stride] },
      pads: { kind: 'ints', value: [side, kernel - stride - side] }
    })
  }
  value('x', ['N', 1, length])
  let at = layer('Relu', [convolve('x', 'c0', [256, 1, 16], 4)], 'r0')
  for (let i = 1; i <= 3; i++) at = layer('Relu', [convolve(at, `c${i}`, [256, 256, 5])], `r${i}`)
  value('boxes', ['N', 2, length / 64])
  value('scores', ['N', 1, length / 64])
  convolve(at, 'boxes', [2, 256, 16], 16)
  layer('Sigmoid', [convolve(at, 'logits', [1, 256, 16], 16)], 'scores')
  return {
    graph: { name: 'detector', inputs: ['x'], outputs: ['boxes', 'scores'], nodes, values },
    opset: 21,
    domains: {},
    meta: {}
  }
}

function npy(shape) {
  const random = rng('samples')
  const numbers = Float32Array.from({ length: shape.reduce((a, b) => a * b) }, () => random.normal())
  const header = `{'descr': '<f4', 'fortran_order': False, 'shape': (${shape.join(', ')}), }`
  const padded = `${header.padEnd(Math.ceil((header.length + 11) / 64) * 64 - 11)}\n`
  const head = Buffer.alloc(10)
  head.write('\x93NUMPY\x01\x00', 'latin1')
  head.writeUInt16LE(padded.length, 8)
  return Buffer.concat([head, Buffer.from(padded), Buffer.from(numbers.buffer)])
}
