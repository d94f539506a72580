/**
 * Random graphs over all operators, with every pass: each result must be the same object, a refusal with a reason, or a file
 * that opens, runs and stays within its bound of what the original returns (test/random).
 *
 *   node bench/random-graphs.mjs [--runs 20000] [--seed 1] [--log FILE] [--from GRAPH]
 *
 * Prints each new fault with its graph made small, in the text form, and a table in the end; exits with 1 where there are
 * faults. With --log, what is done is kept there after every batch, and a run of the same seed goes on from it.
 */
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { rolldown } from 'rolldown'

const { values } = parseArgs({
  options: {
    runs: { type: 'string', default: '20000' },
    seed: { type: 'string', default: '1' },
    from: { type: 'string', default: '0' },
    log: { type: 'string' }
  }
})
const root = fileURLToPath(new URL('..', import.meta.url)).replace(/\/$/, '')
const hunter = `${root}/node_modules/.cache/pare-hunt-${process.pid}.mjs`
mkdirSync(`${root}/node_modules/.cache`, { recursive: true })
const bundle = await rolldown({
  input: `${root}/test/random/hunt.ts`,
  platform: 'node',
  logLevel: 'silent',
  external: [/^node:/, /^[a-z@][^:]*$/]
})
await bundle.write({ file: hunter, format: 'esm', codeSplitting: false })
await bundle.close()
const { hunt, nothing, spelledFault } = await import(hunter).finally(() => rmSync(hunter))

const seed = Number(values.seed)
const kept = values.log && existsSync(values.log) ? JSON.parse(readFileSync(values.log, 'utf8')) : undefined
if (kept && kept.seed !== seed) throw new Error(`${values.log} holds seed ${kept.seed}: name another log, or that seed`)

function keep(found) {
  if (!values.log) return
  writeFileSync(`${values.log}.new`, JSON.stringify({ seed, found }, null, 1))
  renameSync(`${values.log}.new`, values.log)
}

const found = await hunt({
  root,
  seed,
  runs: Number(values.runs),
  found: kept?.found ?? nothing(Number(values.from)),
  fault: (fault) => console.log(`\n${spelledFault(seed, fault)}`),
  progress: (now) => {
    keep(now)
    console.error(`${now.runs} runs, ${now.graphs} graphs, ${JSON.stringify(now.counts)}, next graph ${now.next}`)
  }
})
const { counts, faults, repeated } = found
console.log(`
seed ${seed}
graphs      ${found.graphs} of ${found.made} made: the others ONNX Runtime does not run
pass runs   ${found.runs}
same        ${counts.same}
good        ${counts.good}
unjudged    ${counts.unjudged}  (open, run and are finite; the graph answers rounding with anything)
refused     ${counts.refused}
faults      ${counts.bad}: ${faults.length} sorts, ${repeated} repeated
`)
for (const [why, n] of Object.entries(found.refusals).sort((a, b) => b[1] - a[1])) console.log(`  ${n} × ${why}`)
process.exitCode = counts.bad > 0 ? 1 : 0
