/**
 * What was measured of how files are made best, kept on disk: JSON, by engine and processor, then by what it was measured of. It holds
 * for one version of Pare, as another may make other code.
 */
import { existsSync, mkdirSync } from 'node:fs'
import { homedir } from 'node:os'
import { dirname, join } from 'node:path'
import { z } from 'zod'
import { PareError } from '../base/errors.ts'
import type { Tuning } from '../compile/index.ts'
import type { AnyFormat } from '../formats/types.ts'
import type { Model } from '../types.ts'
import { readText, writeAtomic } from './files.ts'
import { machine } from './machine.ts'
import { version } from './version.ts'

const tunings = z.record(z.string(), z.strictObject({ fastest: z.string(), ms: z.record(z.string(), z.number()) }))
const file = z.record(z.string(), tunings)

export const tuningsPath = (): string =>
  join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'pare', 'tunings.json')

/** `notes`: what was found, and what is wrong with the file. Throws `E_UNSUPPORTED` where the format has no ways to choose from. */
export async function tuned(
  format: AnyFormat,
  model: Model,
  path = tuningsPath()
): Promise<{ readonly tunings: Readonly<Record<string, Tuning>>; readonly notes: readonly string[] }> {
  if (!format.tune)
    throw new PareError('E_UNSUPPORTED', `${format.title} is not tuned: nothing here runs it`, {
      hint: 'leave out --tune, or -o model.wasm'
    })
  const engine = `Pare ${version}, V8 ${process.versions.v8}, ${machine().cpu}`
  const { all, trouble } = known(path)
  const own = all[engine] ?? {}
  const made = format.tune(model, own)
  const count = Object.keys(made).length
  const found = Object.entries(made).map(([key, { fastest, ms }]) => {
    const [usual = ''] = Object.keys(ms)
    const share = ((ms[fastest] as number) / (ms[usual] as number)).toPrecision(2)
    return `${key}: ${fastest}${fastest === usual ? '' : `, ${share} of the time of ${usual}`}`
  })
  const notes = [...(trouble ? [trouble] : []), `kernels measured: ${count}; ${path} keeps what was found`, ...found]
  if (count === 0) return { tunings: own, notes }
  try {
    makeFolders(dirname(path))
    // What another process has measured meanwhile stays.
    const now = known(path).all
    const merged = { ...now, [engine]: { ...now[engine], ...made } }
    await writeAtomic(path, [new TextEncoder().encode(`${JSON.stringify(merged, undefined, 1)}\n`)], { force: true })
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error)
    return { tunings: { ...own, ...made }, notes: [...notes, `what was measured is not kept in ${path}: ${why}`] }
  }
  return { tunings: { ...own, ...made }, notes }
}

/**
 * Makes a folder and the one around it where they are missing, and none above: Node's recursive mkdir never ends where the
 * system answers "no such folder" for every new name, as it does under /proc. Throws what the system says.
 */
function makeFolders(folder: string): void {
  for (const level of [dirname(folder), folder])
    try {
      mkdirSync(level)
    } catch (error) {
      // Another process may have made it just now.
      if (!existsSync(level)) throw error
    }
}

/** What a file holds; one that cannot be read holds nothing, and is said and made anew. */
function known(path: string): { readonly all: z.output<typeof file>; readonly trouble?: string } {
  let text: string
  try {
    text = readText(path)
  } catch {
    return { all: {} }
  }
  try {
    return { all: file.parse(JSON.parse(text)) }
  } catch {
    return { all: {}, trouble: `${path} holds no measurements of kernels that can be read, and is made anew` }
  }
}
