/** Runs a job in its thread, shows its progress and prints what came out. */
import type { Job, JobResult } from '../node/job.ts'
import { printFamily } from '../report/family.ts'
import { printGate } from '../report/gate.ts'
import { printGroups } from '../report/groups.ts'
import { printInspection } from '../report/inspection.ts'
import { printPreflight } from '../report/preflight-text.ts'
import { printOpening, printReport } from '../report/text.ts'
import type { Gate, Report } from '../report/types.ts'
import { isOn, type Surroundings } from './command.ts'
import type { Parsed } from './flags.ts'
import { display, silence } from './progress.ts'
import { styleFor } from './style.ts'

/** What is to come out beside the terminal's text. */
export interface Outcome {
  /** Where the report goes, if it is asked for. */
  readonly report: string | undefined
  /** A command worth running next. */
  next?(report: Report): Promise<string | undefined>
  readonly wrote?: boolean
  /** What got worse since a baseline: it joins the report and decides the status. */
  gate?(report: Report): Gate
  /** Print the table of layers. */
  readonly layers?: boolean
  /** The command that does it again from the report's recipe; by default the command itself. */
  readonly replay?: string | undefined
}

/** Exit status: 0, or 3 when a constraint was not met. */
export async function runInWorker(job: Job, given: Parsed, at: Surroundings, outcome: Outcome): Promise<number> {
  const isJson = isOn(given, 'json')
  const isQuiet = isOn(given, 'quiet') || isJson
  const style = styleFor(at.out)
  const shown = isQuiet
    ? silence
    : display(
        { isTTY: at.err.isTTY === true, columns: at.err.columns ?? 100, write: (t) => void at.err.write(t) },
        styleFor(at.err)
      )
  const began = performance.now()
  const ticks = setInterval(shown.tick, 500)
  let result: JobResult
  try {
    result = await at.start(job, {
      signal: at.signal,
      progress: shown.update,
      ...(isQuiet
        ? {}
        : {
            opened: (report, facts) => {
              shown.clear()
              at.out.write(printOpening(report, style, facts))
            }
          })
    })
  } finally {
    clearInterval(ticks)
    shown.clear()
  }
  const { unmet, inspection, text, groups } = result
  const gate = outcome.gate?.(result.report)
  const report = gate ? { ...result.report, gate } : result.report
  if (outcome.report !== undefined) await writeReport(outcome.report, report, job, outcome.replay)
  if (isJson) at.out.write(`${JSON.stringify(report, null, 2)}\n`)
  else if (!isQuiet && inspection)
    at.out.write(
      [
        text ?? '',
        printInspection(inspection, style),
        ...(groups ? [printGroups(groups, style)] : []),
        ...(report.preflight ? [printPreflight(report.preflight, style)] : [])
      ].join('')
    )
  else if (!isQuiet && report.family) at.out.write(printFamily(report, report.family, style, performance.now() - began))
  else if (!isQuiet) {
    const next = unmet ? undefined : await outcome.next?.(report)
    const ms = performance.now() - began
    const wrote = outcome.wrote === true && !unmet
    at.out.write(
      printReport(report, style, {
        ms,
        wrote,
        layers: outcome.layers === true,
        ...(next === undefined ? {} : { next })
      })
    )
  }
  if (gate && !isQuiet) at.out.write(printGate(gate, style))
  return unmet || gate?.failed ? 3 : 0
}

async function writeReport(path: string, report: Report, job: Job, replay: string | undefined): Promise<void> {
  const [{ printPage }, { writeAtomic }] = await Promise.all([import('../report/html.ts'), import('../node/files.ts')])
  const content = /\.html$/i.test(path) ? printPage(report, replay) : `${JSON.stringify(report, null, 2)}\n`
  await writeAtomic(path, [new TextEncoder().encode(content)], { force: job.force ?? false })
}
