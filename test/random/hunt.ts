/**
 * Runs recipes over random graphs in processes that a crash cannot take along, batch by batch, and keeps what went wrong:
 * one fault of each sort with its graph made as small as it stays wrong.
 */
import { spawn, spawnSync } from 'node:child_process'
import { mkdirSync, rmSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { rolldown } from 'rolldown'
import type { Outcome } from './judge.ts'
import type { Trial } from './recipes.ts'
import { shrunk } from './shrink.ts'
import type { Spelling } from './subject.ts'

export interface Fault {
  readonly graph: number
  readonly trial: Trial
  readonly why: string
  readonly spelling: Spelling
  readonly text: string
}

export interface Found {
  /** Graphs that ONNX Runtime runs, and all that were made. */
  graphs: number
  made: number
  /** The first graph that was not tried. */
  next: number
  runs: number
  readonly counts: Record<Outcome['is'], number>
  readonly refusals: Record<string, number>
  readonly faults: Fault[]
  /** Faults of a sort that is in `faults` already. */
  repeated: number
}

export const nothing = (next = 0): Found => ({
  graphs: 0,
  made: 0,
  next,
  runs: 0,
  counts: { same: 0, good: 0, unjudged: 0, refused: 0, bad: 0 },
  refusals: {},
  faults: [],
  repeated: 0
})

export interface HuntOptions {
  /** The root of the repository. */
  readonly root: string
  readonly seed: number
  readonly runs: number
  /** Graphs in a process. */
  readonly batch?: number
  /** Where to go on from. */
  readonly found?: Found
  /** Told after each batch. */
  readonly progress?: (found: Found) => void
  /** Told of each new fault, made small. */
  readonly fault?: (fault: Fault) => void
  /** Are graphs of faults made small? */
  readonly shrink?: boolean
}

/** A run that says nothing for so long is taken for one that never ends. */
const patienceMs = 180_000

export async function hunt(o: HuntOptions): Promise<Found> {
  const folder = `${o.root}/node_modules/.cache`
  const child = `${folder}/pare-random-${process.pid}.mjs`
  mkdirSync(folder, { recursive: true })
  await bundle(o.root, child)
  const found = o.found ?? nothing()
  const known = new Set(found.faults.map(sortOf))
  try {
    while (found.runs < o.runs) {
      for (const fault of await batchOf(child, o, found)) {
        if (known.has(sortOf(fault))) {
          found.repeated++
          continue
        }
        known.add(sortOf(fault))
        const small = o.shrink === false ? fault : await smaller(child, fault)
        found.faults.push(small)
        o.fault?.(small)
      }
      o.progress?.(found)
    }
  } finally {
    rmSync(child, { force: true })
  }
  return found
}

async function bundle(root: string, to: string): Promise<void> {
  const made = await rolldown({
    input: `${root}/test/random/child.ts`,
    platform: 'node',
    logLevel: 'silent',
    external: [/^node:/, /^[a-z@][^:]*$/]
  })
  await made.write({ file: to, format: 'esm', codeSplitting: false })
  await made.close()
}

/** Faults of one sort differ in names and numbers only. */
export const sortOf = (f: Fault): string =>
  `${f.trial.recipe.map(([name]) => name).join()} ${f.why.replaceAll(/[\w.~/]*\d[\w.~/]*/g, '#').slice(0, 160)}`

/** A fault with all that makes it happen again. */
export const spelledFault = (seed: number, { graph, trial, why, spelling, text }: Fault): string =>
  [
    `graph ${graph} of seed ${seed}: ${JSON.stringify(trial)}, spelled ${JSON.stringify(spelling)}`,
    `  ${why}`,
    text.replaceAll(/^/gm, '    ')
  ].join('\n')

// ---------------------------------------------------------------- one process

interface Line {
  readonly number?: number
  readonly graph?: string
  readonly trial?: number
  readonly begins?: Trial
  readonly text?: string
  readonly spelling?: Spelling
  readonly is?: Outcome['is']
  readonly why?: string
}

/** What one process did; `found` grows by it. */
async function batchOf(child: string, o: HuntOptions, found: Found): Promise<readonly Fault[]> {
  const batch = o.batch ?? 40
  const from = found.next
  const args = ['graphs', o.seed, from, batch].map(String)
  const running = spawn(process.execPath, [child, ...args], { stdio: ['ignore', 'pipe', 'pipe'] })
  let wakes = setTimeout(() => running.kill('SIGKILL'), patienceMs)
  let said = ''
  running.stderr.on('data', (chunk: Buffer) => {
    said = (said + chunk.toString('utf8')).slice(-2000)
  })
  const faults: Fault[] = []
  let open: Line | undefined
  const ended = new Promise<string>((done) => running.once('close', (code, signal) => done(signal ?? String(code))))
  for await (const text of createInterface({ input: running.stdout })) {
    clearTimeout(wakes)
    wakes = setTimeout(() => running.kill('SIGKILL'), patienceMs)
    const line = JSON.parse(text) as Line
    open = take(line, open, found, faults)
    if (found.runs >= o.runs && open === undefined) running.kill('SIGTERM')
  }
  const status = await ended
  clearTimeout(wakes)
  if (found.runs >= o.runs) return faults
  if (status === '0') found.next = from + batch
  else if (open?.begins) {
    found.runs++
    found.counts.bad++
    faults.push(faultOf(open, `${crash}: ${status} ${said}`))
  }
  return faults
}

function take(line: Line, open: Line | undefined, found: Found, faults: Fault[]): Line | undefined {
  if (line.begins) {
    if (line.trial === 0) found.graphs++
    return line
  }
  if (line.is && open) {
    found.runs++
    found.counts[line.is]++
    if (line.is === 'refused') {
      const why = `${open.begins?.recipe.map(([name]) => name).join()}: ${(line.why ?? '').replaceAll(/[\w.~/]*\d[\w.~/]*/g, '#')}`
      found.refusals[why] = (found.refusals[why] ?? 0) + 1
    }
    if (line.is === 'bad') faults.push(faultOf(open, line.why ?? ''))
    return undefined
  }
  if (line.number !== undefined) {
    found.made++
    found.next = line.number + 1
  }
  return open
}

const faultOf = (line: Line, why: string): Fault => ({
  graph: line.number ?? 0,
  trial: line.begins as Trial,
  why,
  spelling: line.spelling ?? {},
  text: line.text ?? ''
})

// ---------------------------------------------------------------- smaller

/** A fault with its graph made small: in one process, unless the graph takes the process down. */
export async function smaller(child: string, fault: Fault): Promise<Fault> {
  const isCrash = fault.why.startsWith(crash)
  const text = isCrash
    ? await shrunk(fault.text, async (t) => whyOf(child, { ...fault, text: t })?.startsWith(crash) ?? false)
    : lastText(child, fault)
  return { ...fault, text, why: whyOf(child, { ...fault, text }) ?? fault.why }
}

const crash = 'takes the process down'

/** The last text that a process which shrinks has said. */
function lastText(child: string, { text, spelling, trial, why }: Fault): string {
  const { stdout } = spawnSync(process.execPath, [child, 'shrink'], {
    input: JSON.stringify({ text, spelling, trial, why }),
    encoding: 'utf8',
    timeout: patienceMs
  })
  const lines = (stdout ?? '').split('\n').flatMap((line) => {
    try {
      return [JSON.parse(line) as { readonly smaller?: string }]
    } catch {
      return [] // cut off
    }
  })
  return lines.findLast((l) => l.smaller !== undefined)?.smaller ?? text
}

/** Why a graph fails; `undefined` where it does not. */
export function whyOf(child: string, { text, spelling, trial }: Omit<Fault, 'why' | 'graph'>): string | undefined {
  const { stdout, status, signal } = spawnSync(process.execPath, [child, 'one'], {
    input: JSON.stringify({ text, spelling, trial }),
    encoding: 'utf8',
    timeout: patienceMs
  })
  if (status !== 0) return `${crash}: ${signal ?? status}`
  const { is, why } = JSON.parse(stdout.trim().split('\n').at(-1) ?? '{}') as { is?: string; why?: string }
  return is === 'bad' ? why : undefined
}
