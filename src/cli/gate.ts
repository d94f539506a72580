/** The gate: bounds on what may get worse since an earlier report, for `verify --baseline` and `compare`. */
import { appendFileSync, readFileSync } from 'node:fs'
import { dirname, resolve } from 'node:path'
import { PareError } from '../base/errors.ts'
import { type GateBounds, gateOf } from '../measure/gate.ts'
import { summaryOf } from '../report/gate.ts'
import type { Gate, Report } from '../report/types.ts'
import { folder, readable } from './check.ts'
import { number, text } from './command.ts'
import { type Flag, kebab, type Parsed } from './flags.ts'

const bound = (name: string, about: string): Flag => ({ name, kind: 'share', hint: '5%', group: 'gate', about })

/** Flags of what may get worse, beside `--max-drop`. */
export const gateFlags: readonly Flag[] = [
  bound('max-bytes', 'the growth of the file since the baseline that is allowed'),
  bound('max-latency', 'the growth of the latency since the baseline that is allowed, both as ratios to the original'),
  {
    name: 'summary',
    kind: 'text',
    hint: 'FILE.md',
    group: 'gate',
    about: 'append what got worse as Markdown, as to $GITHUB_STEP_SUMMARY'
  }
]

/** Flags of `gateFlags` that were given without a baseline are errors. */
export function refuseGateFlags(given: Parsed): void {
  const found = gateFlags.find((f) => given.values.has(f.name))
  if (found)
    throw new PareError('E_USAGE', `--${kebab(found.name)} needs a report to compare with`, {
      hint: '--baseline report.json'
    })
}

export const boundsOf = (given: Parsed): GateBounds => {
  const [maxDrop, maxBytes, maxLatency] = ['max-drop', 'max-bytes', 'max-latency'].map((name) => number(given, name))
  return {
    ...(maxDrop === undefined ? {} : { maxDrop }),
    ...(maxBytes === undefined ? {} : { maxBytes }),
    ...(maxLatency === undefined ? {} : { maxLatency })
  }
}

/** Where the Markdown goes. Throws `E_FILE` where its folder does not exist. */
export function summaryPath(given: Parsed): string | undefined {
  const path = text(given, 'summary')
  if (path !== undefined) folder(dirname(resolve(path)))
  return path
}

/** A report of a compressed model, from JSON or a report's page. Throws `E_FILE`, `E_USAGE`. */
export function baselineOf(path: string): Report {
  const wrong = (why: string, cause?: unknown): PareError =>
    new PareError('E_USAGE', 'this is no report of a compressed model', {
      facts: { file: path, why },
      hint: 'pare verify original.onnx small.onnx --data PATH --report report.json makes one',
      cause
    })
  const raw = readFileSync(readable(path), 'utf8')
  let content: unknown
  try {
    content = JSON.parse(/<script type="application\/json" id="report">(.*?)<\/script>/s.exec(raw)?.[1] ?? raw)
  } catch (cause) {
    throw wrong('it is not JSON', cause)
  }
  const report = content as Partial<Report> | null
  if (typeof report !== 'object' || report?.reportVersion !== 1) throw wrong('it is not of report version 1')
  const { after, model, machine } = report
  if (typeof model?.sha256 !== 'string' || typeof machine !== 'object') throw wrong('it names no model or no machine')
  if (typeof after?.bytes !== 'number' || typeof after.metrics !== 'object')
    throw wrong('it measured no compressed model')
  const numbers = Object.values(after.metrics).flatMap((m) => [m?.value, m?.low, m?.high])
  if (!numbers.every((x) => typeof x === 'number')) throw wrong('a metric has no interval')
  return report as Report
}

/** Compares, and appends the Markdown where that was asked for. */
export function gated(path: string, was: Report, is: Report, given: Parsed): Gate {
  const gate = gateOf(path, was, is, boundsOf(given))
  const summary = text(given, 'summary')
  if (summary !== undefined) appendFileSync(summary, summaryOf(gate))
  return gate
}
