/**
 * Reads long JSON in a thread of its own: 150,000 numbers would hold up for 30 ms whoever else is served. Lists of numbers come back
 * packed, as they would cost as much to hand over as to read.
 */
import { Worker as Thread } from 'node:worker_threads'
import { PareError } from '../../base/errors.ts'
import { notJson } from '../../serve/request.ts'

/** Shorter JSON is read where it comes in, bytes: handing it over costs more. */
export const longJson = 64 * 1024

export interface Reader {
  /** What JSON says; lists of numbers under `data` of its `inputs` are `Packed`. Throws `E_REQUEST` for what is no JSON. */
  read(bytes: Uint8Array): Promise<unknown>
  end(): Promise<void>
}

/** The program, as text: it is the same whether Pare runs from source or built. */
const program = `
const { parentPort } = require('node:worker_threads')
const utf8 = new TextDecoder('utf-8', { fatal: true })
// A list of numbers, or of lists of the same length of them, and so on. Each takes at least two characters.
function packed(data, most) {
  const sizes = []
  for (let list = data; Array.isArray(list) && sizes.length <= 32; list = list[0]) sizes.push(list.length)
  const count = sizes.reduce((a, b) => a * b, 1)
  if (sizes.length === 0 || sizes.length > 32 || count === 0 || count > most) return undefined
  const values = new Float64Array(count)
  let at = 0
  const take = (list, axis) => {
    if (!Array.isArray(list) || list.length !== sizes[axis]) return false
    if (axis + 1 < sizes.length) return list.every((inner) => take(inner, axis + 1))
    for (const v of list) {
      if (typeof v !== 'number') return false
      values[at++] = v
    }
    return true
  }
  return take(data, 0) ? { values, sizes } : undefined
}
// What is nested deeper could not be handed over.
function isDeep(bytes) {
  let [depth, isText] = [0, false]
  for (let i = 0; i < bytes.length; i++) {
    const b = bytes[i]
    if (isText) {
      if (b === 92) i++
      else if (b === 34) isText = false
    } else if (b === 34) isText = true
    else if (b === 91 || b === 123) depth++
    else if (b === 93 || b === 125) depth--
    if (depth > 100) return true
  }
  return false
}
parentPort.on('message', ({ n, bytes }) => {
  if (isDeep(bytes)) return parentPort.postMessage({ n, isDeep: true })
  try {
    const text = utf8.decode(bytes)
    const json = JSON.parse(text)
    const moved = []
    for (const input of Array.isArray(json?.inputs) ? json.inputs : []) {
      const short = packed(input?.data, text.length)
      if (!short) continue
      input.data = short
      moved.push(short.values.buffer)
    }
    parentPort.postMessage({ n, json }, moved)
  } catch {
    parentPort.postMessage({ n })
  }
})
`

interface Told {
  readonly n: number
  /** Absent where there is none. */
  readonly json?: unknown
  readonly isDeep?: boolean
}

interface Pending {
  done(json: unknown): void
  fail(error: PareError): void
}

/** A reader; its thread is there from the first long request on. */
export function reader(): Reader {
  const pending = new Map<number, Pending>()
  let count = 0
  let thread: Thread | undefined
  const start = (): Thread => {
    const fresh = new Thread(program, { eval: true })
    fresh.unref()
    fresh.on('message', ({ n, ...told }: Told) => {
      const p = pending.get(n)
      pending.delete(n)
      if ('json' in told) p?.done(told.json)
      else if (told.isDeep) p?.fail(new PareError('E_REQUEST', 'the body is nested more than 100 deep'))
      else p?.fail(notJson())
    })
    const lose = (): void => {
      if (thread === fresh) thread = undefined
      for (const p of pending.values()) p.fail(new PareError('E_BUSY', 'the thread that reads requests was lost'))
      pending.clear()
    }
    fresh.on('error', lose)
    fresh.on('exit', lose)
    return fresh
  }
  return {
    read: (bytes) =>
      new Promise((done, fail) => {
        thread ??= start()
        const own = new Uint8Array(bytes)
        pending.set(++count, { done, fail })
        thread.postMessage({ n: count, bytes: own }, [own.buffer])
      }),
    end: async () => {
      await thread?.terminate()
    }
  }
}
