/**
 * A secure sum over HTTP: one server and `--clients` client processes, LeNet on digits of the `mnist` package, `--epochs` epochs
 * of `--samples` samples each in a round. Prints how long rounds take and how much of that the sum takes once all have trained, and
 * checks the model of every round against the plain sum of what the clients put in, which is read from their folders.
 *
 *     node bench/federated-secure.mjs --clients 10 --rounds 3 --samples 600 --epochs 5
 */
import { spawn } from 'node:child_process'
import { existsSync, linkSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { zipSync } from 'fflate'

const { values: given } = parseArgs({
  options: {
    clients: { type: 'string', default: '10' },
    rounds: { type: 'string', default: '3' },
    samples: { type: 'string', default: '600' },
    epochs: { type: 'string', default: '5' }
  }
})
const [clients, rounds, samples, epochs] = [given.clients, given.rounds, given.samples, given.epochs].map(Number)
const program = fileURLToPath(new URL('../dist/cli/main.js', import.meta.url))
const work = mkdtempSync(join(tmpdir(), 'federated-secure-'))
const [bits, clip] = [12, 0.25]

const npy = (descr, shape, bytes) => {
  const text = `{'descr': '${descr}', 'fortran_order': False, 'shape': (${shape.join(', ')},), }`
  const head = Buffer.from(`\x93NUMPY\x01\x00..${text.padEnd(117)}\n`, 'latin1')
  head.writeUInt16LE(118, 8)
  return new Uint8Array(Buffer.concat([head, bytes]))
}

/** Digits for client `k`; with many clients some are shared. */
function dataFor(k) {
  const sets = createRequire(import.meta.url)('mnist')
  const x = new Float32Array(samples * 784)
  const y = new BigInt64Array(samples)
  for (let i = 0; i < samples; i++) {
    const { raw } = sets[i % 10]
    const from = ((k * Math.ceil(samples / 10) + Math.floor(i / 10)) % (raw.length / 784)) * 784
    x.set(raw.slice(from, from + 784), i * 784)
    y[i] = BigInt(i % 10)
  }
  const parts = {
    'x.npy': npy('<f4', [samples, 1, 28, 28], Buffer.from(x.buffer)),
    'y.npy': npy('<i8', [samples], Buffer.from(y.buffer))
  }
  const path = join(work, `data-${k}.npz`)
  writeFileSync(path, zipSync(parts, { level: 0 }))
  return path
}

const port = await new Promise((resolve) => {
  const server = createServer().listen(0, '127.0.0.1', () => {
    const { port } = server.address()
    server.close(() => resolve(port))
  })
})
const start = (words) => {
  const child = spawn(process.execPath, [program, ...words], { stdio: ['ignore', 'ignore', 'pipe'] })
  let said = ''
  child.stderr.on('data', (d) => {
    said += d
  })
  return new Promise((resolve) => child.on('exit', (code) => resolve({ code, said })))
}
const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms))

const { parse, initialise, writeModel } = await import(new URL('../dist/index.js', import.meta.url))
const model = join(work, 'model.onnx')
writeFileSync(
  model,
  writeModel(initialise(parse(readFileSync(new URL('lenet.txt', import.meta.url), 'utf8')), 'secure').model).bytes
)
writeFileSync(
  join(work, 'recipe.json'),
  JSON.stringify({
    rounds,
    clientsPerRound: clients,
    local: { epochs, batch: 50, rate: 0.05 },
    down: { codec: 'float' }
  })
)
const run = join(work, 'run')
const server = start([
  'federate',
  'serve',
  model,
  '--out',
  run,
  '--recipe',
  join(work, 'recipe.json'),
  '--port',
  String(port),
  '--clients',
  String(clients),
  '--over-select',
  '1',
  '--secure',
  '--secure-bits',
  String(bits),
  '--secure-clip',
  String(clip)
])
const invitations = join(run, 'invitations')
while (!existsSync(invitations) || readdirSync(invitations).filter((f) => f.endsWith('.json')).length < clients)
  await wait(50)
const ends = Array.from({ length: clients }, (_, k) =>
  start([
    'federate',
    'join',
    `http://127.0.0.1:${port}`,
    '--data',
    dataFor(k),
    '--invite',
    join(invitations, `${String(k + 1).padStart(3, '0')}.json`)
  ])
)

/** A record of a client or of the server: JSON in the first line, then the parts. */
function record(bytes) {
  const end = bytes.indexOf(10)
  const { told, lengths } = JSON.parse(bytes.subarray(0, end).toString())
  const parts = {}
  let at = end + 1
  for (const [name, length] of lengths) {
    parts[name] = Uint8Array.from(bytes.subarray(at, at + length))
    at += length
  }
  return { told, parts }
}

// What clients put in, kept by a second name before they remove it; and the states of the server.
mkdirSync(join(work, 'kept'))
let isOver = false
const copies = (async () => {
  while (!isOver) {
    for (let k = 0; k < clients; k++)
      try {
        const path = join(invitations, `${String(k + 1).padStart(3, '0')}.json.client`, 'input')
        const { told } = record(readFileSync(path))
        linkSync(path, join(work, 'kept', `${told.attempt}-${k}`))
      } catch {
        // None yet, or kept already.
      }
    for (const name of existsSync(join(run, 'states')) ? readdirSync(join(run, 'states')) : [])
      try {
        linkSync(join(run, 'states', name), join(work, 'kept', name))
      } catch {
        // Kept already.
      }
    await wait(20)
  }
})()
await Promise.all(
  [server, ...ends].map(async (e) => {
    const { code, said } = await e
    if (code !== 0) throw new Error(said)
  })
)
isOver = true
await copies

const commits = readFileSync(join(run, 'journal'), 'utf8')
  .trim()
  .split('\n')
  .map((l) => JSON.parse(l))
  .filter((e) => e.kind === 'commit')
const floats = (bytes) => new Float32Array(bytes.buffer)
let before
console.log(
  '| round | clients | seconds | of these the sum | share | model is that of the plain sum |\n| --- | --- | --- | --- | --- | --- |'
)
for (const c of commits) {
  const after = floats(record(readFileSync(join(work, 'kept', c.state))).parts.model)
  const inputs = readdirSync(join(work, 'kept')).filter((f) => f.startsWith(`${c.attempt}-`))
  let isSame = before ? inputs.length === c.clients.length : undefined
  if (before && isSame) {
    const words = inputs.map((f) => new Uint32Array(record(readFileSync(join(work, 'kept', f))).parts.words.buffer))
    for (let i = 0; i < after.length; i++) {
      const sum = words.reduce((n, w) => n + w[i], 0)
      const mean = Math.fround((sum / inputs.length) * ((2 * clip) / (2 ** bits - 1)) - clip)
      if (Math.fround(before[i] + mean) !== after[i]) isSame = false
    }
  }
  before = after
  const { ms, sumMs } = c.entry
  const told = isSame === undefined ? 'the first is not compared' : isSame ? 'yes' : 'NO'
  console.log(
    `| ${c.round + 1} | ${c.clients.length} | ${(ms / 1000).toFixed(2)} | ${(sumMs / 1000).toFixed(2)} | ${((100 * sumMs) / ms).toFixed(1)} % | ${told} |`
  )
  if (isSame === false) process.exitCode = 1
}
rmSync(work, { recursive: true })
