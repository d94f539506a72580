/**
 * What the record of Ethos-U55 says of files of one operator, beside what Arm's compiler makes of them. Needs Python with the
 * package ethos-u-vela: `python3`, or the one that PARE_PYTHON names.
 */
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, expect, it } from 'vitest'
import { operatorsOf } from '../src/formats/tflite/facts.ts'
import { preflight, targetFor } from '../src/targets/index.ts'
import { flatOperator } from './flat-file.ts'
import { limitCases } from './vela.cases.ts'

const python = process.env['PARE_PYTHON'] ?? 'python3'
const found = spawnSync(python, ['-c', 'from ethosu.vela._version import __version__; print(__version__)'], {
  encoding: 'utf8'
})
const reason = found.status === 0 ? '' : ` (skipped: ${python} has no package ethos-u-vela; PARE_PYTHON names another)`

const folder = mkdtempSync(join(tmpdir(), 'pare-vela-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const files = limitCases.map((c, i) => ({ ...c, file: `${`${i}`.padStart(2, '0')}`, bytes: flatOperator(c) }))
/** As they are: what is in float is not taken as what it could be quantized to. */
const { as: _, ...device } = targetFor('ethos-u55').device ?? fail()
const judged = (bytes: Uint8Array) => preflight({ name: 'ethos-u55', device }, operatorsOf(bytes))?.operators[0]

function fail(): never {
  throw new Error('no record of ethos-u55')
}

it('every file is judged, with a reason where the device does not take it', () => {
  expect(files.length).toBeGreaterThanOrEqual(40)
  const verdicts = files.map(({ bytes }) => judged(bytes))
  for (const v of verdicts) expect(v?.verdict === 'runs' || (v?.reasons.length ?? 0) > 0).toBe(true)
  expect(verdicts.filter((v) => v?.verdict === 'runs').length).toBeGreaterThan(15)
  expect(verdicts.filter((v) => v?.verdict === 'elsewhere').length).toBeGreaterThan(10)
})

it.skipIf(reason !== '')(`Vela agrees in all${reason}`, { timeout: 600_000 }, () => {
  const [given, made] = [join(folder, 'given'), join(folder, 'made')]
  mkdirSync(given)
  mkdirSync(made)
  for (const { file, bytes } of files) writeFileSync(join(given, `${file}.tflite`), bytes)
  const script = fileURLToPath(new URL('vela.py', import.meta.url))
  const ran = spawnSync(python, [script, given, made, 'ethos-u55-256'], { encoding: 'utf8' })
  expect(ran.status, ran.stderr).toBe(0)
  const other = files.flatMap(({ file, name, bytes }) => {
    const path = join(made, file, `${file}_vela.tflite`)
    const left = existsSync(path) ? operatorsOf(new Uint8Array(readFileSync(path))).map((o) => o.op) : ['failed']
    const isOn = left.includes('ethos-u') && !left.some((op) => limitCases.some((c) => c.op === op))
    const ours = judged(bytes)
    return (ours?.verdict === 'runs') === isOn ? [] : [`${name}: ${ours?.verdict}, Vela makes ${left.join(', ')}`]
  })
  expect(other).toEqual([])
})
