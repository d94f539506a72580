/**
 * Models that compute less for easy inputs, on CIFAR-10 as JPEG: the cascade ResNet-20 → ResNet-56, both in float and both in
 * int8, and early exits of ResNet-56. Thresholds are chosen on a seeded half of test_dev.npz and judged on the other half,
 * over 20 splits; CPU time is that of the process, one sample at a time, in blocks that alternate between the models.
 *
 *   node bench/adaptive.mjs DATA --out FOLDER [--only NAME] [--blocks 30] [--target NAME]
 *
 * The target is the one that int8 is written for: ort-cpu, or ort-cpu-avx2 on processors without VNNI. DATA: a folder with cifar10-jpeg/ as described in docs/benchmarks.md. What is done stands in FOLDER/adaptive.jsonl and is not
 * done again: a run that was stopped goes on. Stages: int8, answers, splits, files, cpu, bits, exits. Build first.
 */
import { spawnSync } from 'node:child_process'
import { appendFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import {
  adaptiveOf,
  load,
  lowestKept,
  nodeRunner,
  openDataset,
  rng,
  routed,
  thresholdsFor,
  webRunner
} from '../dist/node/index.js'

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    out: { type: 'string' },
    only: { type: 'string' },
    blocks: { type: 'string', default: '30' },
    target: { type: 'string', default: 'ort-cpu' }
  }
})
const [data] = positionals
if (!data || !values.out) {
  console.error('usage: node bench/adaptive.mjs DATA --out FOLDER [--only NAME] [--blocks 30] [--target NAME]')
  process.exit(2)
}
const out = values.out
mkdirSync(out, { recursive: true })
const log = join(out, 'adaptive.jsonl')
const pare = fileURLToPath(new URL('../dist/cli/main.js', import.meta.url))
const folder = join(data, 'cifar10-jpeg')
const preprocess = join(out, 'cifar.json')
writeFileSync(preprocess, JSON.stringify({ scale: 1 / 255, mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] }))
const test = ['--data', join(folder, 'test_dev.npz'), '--preprocess', preprocess]
const train = join(folder, 'train.npz')

const names = ['resnet20', 'resnet56']
const file = (name, type) => (type === 'float' ? join(folder, `${name}.onnx`) : join(out, `${name}.int8.onnx`))
/** The cascades that are timed, by what they promise. */
const promised = [
  ['10 % disagreement', ['--max-disagreement', '10%']],
  ['2 points', ['--max-drop', '2%']]
]
const cascadeFile = (type, name) => join(out, `cascade.${type}.${name.replaceAll(/[ %]+/g, '-')}.onnx`)
const exitsFile = join(out, 'resnet56.exits.onnx')
const threads = { threads: 1 }

const done = new Map(
  (existsSync(log) ? readFileSync(log, 'utf8').trim().split('\n').filter(Boolean) : []).map((line) => {
    const row = JSON.parse(line)
    return [row.key, row]
  })
)

/** What a stage came to, now or in an earlier run. */
async function stage(key, make) {
  if (done.has(key) || (values.only && !key.startsWith(values.only))) return done.get(key)
  const row = { key, ...(await make()) }
  appendFileSync(log, `${JSON.stringify(row)}\n`)
  done.set(key, row)
  return row
}

function run(args) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [pare, ...args, '--json', '--force'], {
    encoding: 'utf8',
    maxBuffer: 1 << 28
  })
  if (status !== 0) throw new Error(`pare ${args.join(' ')}: status ${status}\n${stderr}`)
  return JSON.parse(stdout)
}

const inputs = [{ name: 'image', dtype: 'float32', shape: ['N', 3, 32, 32] }]
const samples = () => openDataset({ path: join(folder, 'test_dev.npz'), preprocess }, inputs)

// ---------------------------------------------------------------- what the models say

const softmaxMax = (row) => {
  const top = Math.max(...row)
  return 1 / row.reduce((sum, v) => sum + Math.exp(v - top), 0)
}

async function answersOf(path) {
  const session = await nodeRunner().open({ path }, threads)
  const [answers, confidence, labels] = [[], [], []]
  for await (const { inputs: feeds, labels: own } of (await samples()).batches({ batch: 20 })) {
    const [y] = Object.values(await session.run({ image: feeds.image }))
    const v = new Float32Array(y.bytes.slice().buffer)
    for (const [i, label] of own.entries()) {
      const row = [...v.subarray(10 * i, 10 * i + 10)]
      answers.push(row.indexOf(Math.max(...row)))
      confidence.push(Math.fround(softmaxMax(row)))
      labels.push(label)
    }
  }
  await session.close()
  return { answers, confidence, labels }
}

const picked = (r, at) => ({
  n: at.length,
  confidence: r.confidence.map((c) => Float32Array.from(at, (i) => c[i])),
  answers: r.answers.map((a) => Int32Array.from(at, (i) => a[i])),
  labels: Int32Array.from(at, (i) => r.labels[i])
})

const promises = [
  ...[0.01, 0.02, 0.05, 0.1].map((most) => ({ kind: 'disagreement', most, risk: 0.05 })),
  ...[0.01, 0.02].map((most) => ({ kind: 'drop', most, risk: 0.05 }))
]
const promiseName = (p) => `${p.kind} ${100 * p.most} %`
const splits = 20
const mean = (all) => all.reduce((a, b) => a + b, 0) / all.length

/** The other half of every split at the threshold that the first half promises. */
function judged(r, promise) {
  const rows = []
  for (let seed = 0; seed < splits; seed++) {
    const order = rng(seed).fork('half').permutation(r.labels.length)
    const half = order.length / 2
    const kept = lowestKept(picked(r, order.slice(0, half)), promise, thresholdsFor(10))
    if (!kept) continue
    const other = routed(picked(r, order.slice(half)), kept.threshold)
    const [lost, won] = [(other.lost + 1) / (half + 2), (other.won + 1) / (half + 2)]
    const spread = 1.96 * Math.sqrt((lost + won - (lost - won) ** 2) / (half + 2))
    rows.push({
      share: other.counts.at(-1) / half,
      changed: other.changed / half,
      drop: (other.lost - other.won) / half,
      holdsNone: lost - won - spread <= 0,
      isKept:
        promise.kind === 'drop' ? (other.lost - other.won) / half <= promise.most : other.changed / half <= promise.most
    })
  }
  if (rows.length === 0) return { promise: promiseName(promise), splits: 0 }
  return {
    promise: promiseName(promise),
    splits: rows.length,
    share: mean(rows.map((x) => x.share)),
    shares: [Math.min(...rows.map((x) => x.share)), Math.max(...rows.map((x) => x.share))],
    changed: mean(rows.map((x) => x.changed)),
    drop: mean(rows.map((x) => x.drop)),
    holdsNone: rows.filter((x) => x.holdsNone).length,
    kept: rows.filter((x) => x.isKept).length
  }
}

// ---------------------------------------------------------------- CPU time

const samplesInBlock = 25

/** CPU ms a sample, of blocks of samples that every session runs in turn; the same samples for all within a block. */
async function cpuOf(files) {
  const runner = nodeRunner()
  const sessions = await Promise.all(files.map(([, path]) => runner.open({ path }, threads)))
  const random = rng('cpu')
  const dataset = await samples()
  const order = random.permutation(dataset.size)
  const times = files.map(() => [])
  for (let block = -1; block < Number(values.blocks); block++) {
    const feeds = []
    const indices = order.slice((block + 1) * samplesInBlock, (block + 2) * samplesInBlock)
    for await (const b of dataset.batches({ batch: 1, indices })) feeds.push({ image: b.inputs.image })
    for (const i of random.permutation(files.length)) {
      const before = process.cpuUsage()
      for (const f of feeds) await sessions[i].run(f)
      const { user, system } = process.cpuUsage(before)
      if (block >= 0) times[i].push((user + system) / 1000 / samplesInBlock)
    }
  }
  for (const s of sessions) await s.close()
  const median = (all) => [...all].sort((a, b) => a - b)[Math.floor(all.length / 2)]
  return {
    blocks: Number(values.blocks),
    ms: Object.fromEntries(files.map(([name], i) => [name, median(times[i])])),
    means: Object.fromEntries(files.map(([name], i) => [name, mean(times[i])])),
    // The first is what the others are compared with, block by block.
    less: Object.fromEntries(files.map(([name], i) => [name, median(times[i].map((t, k) => times[0][k] / t))]))
  }
}

// ---------------------------------------------------------------- bits

async function bitsOf(path) {
  const dataset = await samples()
  const feeds = []
  for await (const b of dataset.batches({ batch: 8, indices: Array.from({ length: 200 }, (_, i) => i) }))
    feeds.push(b.inputs.image)
  const [node, web] = [await nodeRunner().open({ path }, threads), await (await webRunner()).open({ path }, threads)]
  const floats = async (session, image) => {
    const [y] = Object.values(await session.run({ image }))
    return new Float32Array(y.bytes.slice().buffer)
  }
  const row = { batches: feeds.length, sameBits: 0, largest: 0, sameAnswers: 0, alone: 0, aloneLargest: 0, answers: 0 }
  const best = (v, i) => v.subarray(10 * i, 10 * i + 10).reduce((b, x, k, all) => (x > all[b] ? k : b), 0)
  for (const image of feeds) {
    const [a, b] = [await floats(node, image), await floats(web, image)]
    if (a.every((x, i) => Object.is(x, b[i]))) row.sameBits++
    for (const [i, x] of a.entries()) row.largest = Math.max(row.largest, Math.abs(x - b[i]))
    for (let i = 0; i < 8; i++) {
      row.answers++
      if (best(a, i) === best(b, i)) row.sameAnswers++
      const size = image.bytes.length / 8
      const one = await floats(node, {
        dtype: 'float32',
        shape: [1, 3, 32, 32],
        bytes: image.bytes.slice(i * size, (i + 1) * size)
      })
      const row8 = a.subarray(10 * i, 10 * i + 10)
      if (one.every((x, k) => Object.is(x, row8[k]))) row.alone++
      for (const [k, x] of one.entries()) row.aloneLargest = Math.max(row.aloneLargest, Math.abs(x - row8[k]))
    }
  }
  await node.close()
  await web.close()
  return row
}

// ---------------------------------------------------------------- stages

for (const name of names)
  await stage(`int8 ${name}`, () => {
    const report = run([
      'quantize-static',
      file(name, 'float'),
      '--data',
      train,
      '--preprocess',
      preprocess,
      '--target',
      values.target,
      '-o',
      file(name, 'int8')
    ])
    return { bytes: report.after.bytes }
  })
for (const type of ['float', 'int8'])
  for (const name of names) await stage(`answers ${name} ${type}`, () => answersOf(file(name, type)))
for (const type of ['float', 'int8']) {
  const [early, late] = names.map((name) => done.get(`answers ${name} ${type}`))
  if (!early || !late) continue
  const r = { confidence: [early.confidence], answers: [early.answers, late.answers], labels: early.labels }
  await stage(`splits ${type}`, () => ({ rows: promises.map((p) => judged(r, p)) }))
  for (const [name, flags] of promised)
    await stage(`files ${type} ${name}`, async () => {
      const path = cascadeFile(type, name)
      const report = run(['cascade', ...names.map((n) => file(n, type)), ...test, ...flags, '-o', path])
      return { stages: report.stages, said: adaptiveOf(await load(path)) }
    })
}
for (const type of ['float', 'int8'])
  await stage(`cpu ${type}`, () =>
    cpuOf([
      ['resnet56 float', file('resnet56', 'float')],
      ...(type === 'int8' ? [['resnet56 int8', file('resnet56', 'int8')]] : []),
      [`resnet20 ${type}`, file('resnet20', type)],
      ...promised.map(([name]) => [`cascade ${type}, ${name}`, cascadeFile(type, name)])
    ])
  )
for (const type of ['float', 'int8']) await stage(`bits ${type}`, () => bitsOf(cascadeFile(type, promised[0][0])))
await stage('exits file', () => {
  const { stages, steps, notes } = run([
    ...['early-exit', file('resnet56', 'float'), '--train-data', train, ...test],
    ...['--max-drop', '2%', '-o', exitsFile, '--resume']
  ])
  return { stages, plan: steps.at(-1)?.plan, notes }
})
await stage('exits cpu', () =>
  cpuOf([
    ['resnet56 float', file('resnet56', 'float')],
    ['early exits', exitsFile]
  ])
)

// ---------------------------------------------------------------- the table

const percent = (x) => `${(100 * x).toFixed(1)} %`
for (const type of ['float', 'int8']) {
  const row = done.get(`splits ${type}`)
  if (!row) continue
  console.log(
    `\n| ResNet-20 → ResNet-56, ${type}: promised | splits | reach the large one | other answers | accuracy lost | interval holds 0 | kept |`
  )
  console.log('|---|---|---|---|---|---|---|')
  for (const r of row.rows)
    console.log(
      r.splits === 0
        ? `| ${r.promise} | 0 | cannot be promised | | | | |`
        : `| ${r.promise} | ${r.splits} | ${percent(r.share)} (${percent(r.shares[0])} to ${percent(r.shares[1])}) | ${percent(r.changed)} | ${(100 * r.drop).toFixed(2)} points | ${r.holdsNone} | ${r.kept} |`
    )
}
for (const key of ['cpu float', 'cpu int8', 'exits cpu']) {
  const cpu = done.get(key)
  if (!cpu) continue
  console.log(`\n| CPU of one sample, ${cpu.blocks} blocks of ${samplesInBlock} | median ms | less than the first |`)
  console.log('|---|---|---|')
  for (const [name, ms] of Object.entries(cpu.ms))
    console.log(`| ${name} | ${ms.toFixed(2)} | ${cpu.less[name].toFixed(2)} × |`)
}
for (const type of ['float', 'int8']) {
  const b = done.get(`bits ${type}`)
  if (b)
    console.log(
      `\ncascade ${type}: ${b.sameBits} of ${b.batches} batches of 8 the same bits in node and web, largest difference ${b.largest.toExponential(1)}, ${b.sameAnswers} of ${b.answers} answers the same; ${b.alone} of ${b.answers} samples the same bits alone and in a batch, largest difference ${b.aloneLargest.toExponential(1)}`
    )
}
const exits = done.get('exits file')?.stages
if (exits) {
  console.log('\n| early exits of ResNet-56 | answers | ms |\n|---|---|---|')
  for (const s of exits.stages) console.log(`| ${s.name} | ${percent(s.share)} | ${s.ms?.toFixed(2) ?? '?'} |`)
  console.log(`top-1 ${percent(exits.chosen.score)}, all stages ${percent(exits.curve[0].score)}`)
  for (const p of exits.curve)
    console.log(`  reach the last ${percent(p.share)}: ${percent(p.score)} at ${p.ms?.toFixed(2) ?? '?'} ms`)
}
