/** What the engine writes to files: its optimised graph and its profile. */
import { toArray } from '../base/bytes.ts'
import { PareError } from '../base/errors.ts'
import { readOnnx } from '../formats/onnx/read.ts'
import type { Bytes, Model } from '../types.ts'
import type { OrtSession, ScratchFolder } from './engine.ts'
import type { KernelTime } from './types.ts'

/** The optimised graph that the engine saved; the file may go. Constants that the opened file kept beside it cannot be read. */
export async function optimizedModel(folder: ScratchFolder, name: string): Promise<Model> {
  return readOnnx(toArray(await folder.read(name)), { external: () => gone }).model
}

const gone: Bytes = {
  length: Number.MAX_SAFE_INTEGER,
  slice: () => {
    throw new PareError('E_LIMIT', 'constants beside the opened file are not part of its optimised graph')
  }
}

/** Ends recording and reads the times; the engine names its file by the prefix and the time of day. */
export async function kernelTimes(
  session: OrtSession,
  folder: ScratchFolder,
  prefix: string
): Promise<readonly KernelTime[]> {
  session.endProfiling()
  const names = (await folder.names()).filter((name) => name.startsWith(prefix))
  const out: KernelTime[] = []
  for (const name of names)
    for (const time of parseProfile(new TextDecoder().decode(toArray(await folder.read(name))))) out.push(time)
  return out
}

const kernelSuffix = '_kernel_time'

/**
 * Kernel times of a profile in Chrome's trace format; `dur` is in microseconds. The engine does not escape the names in
 * it: they are escaped here. One that imitates the text around it makes the profile unreadable, and nothing is known.
 */
export function parseProfile(json: string): KernelTime[] {
  const out: KernelTime[] = []
  for (const event of eventsOf(json)) {
    if (event.cat !== 'Node' || !event.name?.endsWith(kernelSuffix) || event.dur === undefined) continue
    out.push({
      node: event.name.slice(0, -kernelSuffix.length),
      op: event.args?.op_name ?? '',
      ms: event.dur / 1000
    })
  }
  return out
}

const rawName = /("name" ?: ?")([\s\S]*?)(","args" ?: ?\{)/g

function eventsOf(json: string): readonly TraceEvent[] {
  const escaped = json.replace(rawName, (_, before: string, name: string, after: string) =>
    [before, JSON.stringify(name).slice(1, -1), after].join('')
  )
  try {
    return JSON.parse(escaped) as readonly TraceEvent[]
  } catch (e) {
    if (e instanceof SyntaxError) return []
    throw e
  }
}

interface TraceEvent {
  readonly cat?: string
  readonly name?: string
  readonly dur?: number
  readonly args?: { readonly op_name?: string }
}
