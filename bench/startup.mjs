/**
 * How long the program takes to start: `pare --help`, `pare compress --help` and `pare inspect` of a small model, as
 * ratios to `node -e 0`. Fresh processes, by turns, after one round that fills the system's cache; medians over the rounds
 * and their quartiles.
 *
 *   node bench/startup.mjs [--rounds 21]
 */
import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'

const { values } = parseArgs({ options: { rounds: { type: 'string', default: '21' } } })
const rounds = Number(values.rounds)
const at = (path) => fileURLToPath(new URL(path, import.meta.url))
const program = at('../dist/cli/main.js')
const model = at('../examples/demo/digits.onnx')

const commands = {
  'node -e 0': ['-e', '0'],
  'pare --help': [program, '--help'],
  'pare compress --help': [program, 'compress', '--help'],
  'pare inspect digits.onnx': [program, 'inspect', model]
}

/** Milliseconds until the process has ended. */
function timeOf(args) {
  const from = performance.now()
  const { status, stderr } = spawnSync(process.execPath, args)
  if (status !== 0) throw new Error(`${args.join(' ')} ended with status ${status}: ${stderr}`)
  return performance.now() - from
}

const times = Object.keys(commands).map(() => [])
for (let round = -1; round < rounds; round++)
  for (const [i, args] of Object.values(commands).entries()) {
    const ms = timeOf(args)
    if (round >= 0) times[i].push(ms)
  }

const quantile = (sorted, share) => sorted[Math.round(share * (sorted.length - 1))]
const ratios = times.map((own) => own.map((ms, round) => ms / times[0][round]).sort((a, b) => a - b))
process.stdout.write('| command | median ms | ratio to `node -e 0` | quartiles |\n| --- | --- | --- | --- |\n')
for (const [i, name] of Object.keys(commands).entries()) {
  const ms = quantile(
    [...times[i]].sort((a, b) => a - b),
    0.5
  )
  const [low, middle, high] = [0.25, 0.5, 0.75].map((share) => quantile(ratios[i], share).toFixed(2))
  process.stdout.write(`| \`${name}\` | ${ms.toFixed(0)} | ${middle} | ${low} … ${high} |\n`)
}
