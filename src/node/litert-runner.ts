/**
 * The Runner over LiteRT (`@litertjs/core`) in Node: its WebAssembly kernels, XNNPACK among them, on one thread. Its loader
 * changes the globals of a process, so all sessions of a Runner share a process of their own, in which they are also timed.
 */
import { createRequire } from 'node:module'
import { concat, toArray } from '../base/bytes.ts'
import { PareError } from '../base/errors.ts'
import { writeIn } from '../formats/index.ts'
import { decode } from '../formats/tflite/decode.ts'
import { encode } from '../formats/tflite/encode.ts'
import { tflite } from '../formats/tflite/format.ts'
import { readFlat } from '../formats/tflite/read.ts'
import { bind } from '../ir/bind.ts'
import { bytesOf, tensorOf, typedValues } from '../ir/tensor.ts'
import { inferShapes } from '../ops/infer.ts'
import { bytesText } from '../report/words.ts'
import { withTaps } from '../runtime/index.ts'
import type { Runner, Session, Source } from '../runtime/types.ts'
import type { Dim, DType, Model, Tensor } from '../types.ts'
import { fileBytes } from './files.ts'
import { type Answer, type Service, service } from './service.ts'

const name = '@litertjs/core'

/** A WebAssembly engine addresses 4 GB, and holds the file and what it makes of the weights. */
const mostBytes = 1e9

/**
 * A Runner over LiteRT's build for WebAssembly. Users install the package if they want it; `undefined` where it is not
 * installed. It opens TensorFlow Lite files, whatever the types of their inputs and outputs, their bytes, and models in memory.
 *
 *     const session = await liteRtRunner()?.open({ path: 'model.tflite' })
 */
export function liteRtRunner(): Runner | undefined {
  const version = installed()
  if (version === undefined) return undefined
  let process: Service | undefined
  return {
    name,
    version,
    can: { kernels: false, profile: false, external: false, threads: 1, formats: ['tflite'], fixedSizes: true },
    open: async (source, o = {}) => {
      const bytes = bytesIn(source, o.outputs ?? [])
      if (!process?.isAlive) process = service(name, program)
      return sessionIn(process, bytes)
    }
  }
}

/** The version that is installed here. */
function installed(): string | undefined {
  try {
    return (createRequire(import.meta.url)(`${name}/package.json`) as { readonly version: string }).version
  } catch {
    return undefined
  }
}

/** A model in memory is written, with the values that are to be returned as outputs. */
function bytesIn(source: Source, taps: readonly string[]): Uint8Array {
  if (!('graph' in source) && taps.length > 0)
    throw new PareError('E_UNSUPPORTED', 'values can be tapped in a Model only, not in a file')
  const bytes =
    'graph' in source
      ? writeIn(tflite, withTaps(source, taps), {}).bytes
      : 'path' in source
        ? fileBytes(source.path)
        : source
  if (bytes.length > mostBytes)
    throw new PareError('E_LIMIT', `the model takes ${bytesText(bytes.length)}, more than a WebAssembly engine holds`)
  return toArray(bytes)
}

/** The program of the process: it answers requests in order. */
const program = `
const sessions = new Map()
let count = 0
const tasks = {
  open: async ({ bytes }) => {
    await start()
    const begun = performance.now()
    const session = await openBytes(bytes)
    const loadMs = performance.now() - begun
    sessions.set(++count, session)
    return { id: count, loadMs, inputs: session.inputs, outputs: session.outputs }
  },
  run: async ({ id, feeds }) => {
    const begun = performance.now()
    const outputs = await sessions.get(id).run(feeds)
    return { ms: performance.now() - begun, outputs }
  },
  close: async ({ id }) => {
    sessions.get(id)?.close()
    sessions.delete(id)
    return {}
  }
}
`

interface Told {
  readonly name: string
  readonly dtype: string
  readonly shape: readonly number[]
}

/** A file that the process has open. */
interface Opened {
  readonly id: number
  readonly loadMs: number
  readonly inputs: readonly Told[]
  readonly outputs: readonly Told[]
}

async function sessionIn(process: Service, bytes: Uint8Array): Promise<Session> {
  const opened = (content: Uint8Array): Promise<Opened> => asked(process, 'open', { bytes: content }) as Promise<Opened>
  const drop = async (id: number): Promise<void> => {
    if (process.isAlive) await process.ask('close', { id })
  }
  const asIs = await opened(bytes)
  const model = inferShapes(readFlat(bytes).model)
  const named = namesOf(model)
  const shapeOf = (name: string): readonly Dim[] | undefined => model.graph.values.get(name)?.shape
  let other: { readonly key: string; readonly at: Opened } | undefined
  /** The file, or one of the sizes that are fed; of those the last one stays open. */
  const fitting = async (feeds: readonly Fed[]): Promise<Opened> => {
    const isOpen = feeds.every((f, i) => isSize(f.shape, shapeOf(named(f.name)) ?? asIs.inputs[i]?.shape ?? []))
    if (!isOpen || feeds.every((f, i) => `${f.shape}` === `${asIs.inputs[i]?.shape}`)) return asIs
    const key = feeds.map((f) => f.shape).join(' ')
    if (other?.key === key) return other.at
    if (other) await drop(other.at.id)
    const sizes = new Map(feeds.map((f) => [named(f.name), f.shape]))
    other = {
      key,
      at: await opened(resized(bytes, model, sizes))
    }
    return other.at
  }
  let closed: Promise<void> | undefined
  let spent = 0
  const run = async (feeds: Readonly<Record<string, Tensor>>): Promise<Ran> => {
    if (closed) throw new PareError('E_INTERNAL', 'a closed session was run')
    const given = fed(asIs.inputs, feeds, named)
    return (await asked(process, 'run', { id: (await fitting(given)).id, feeds: given })) as Ran
  }
  return {
    inputs: asIs.inputs.map((i) => ioOf(i, named, shapeOf(named(i.name)))),
    outputs: asIs.outputs.map((o) => ioOf(o, named)),
    loadMs: asIs.loadMs,
    run: async (feeds) => {
      const ran = await run(feeds)
      spent += ran.ms
      return Object.fromEntries(ran.outputs.map((t) => [named(t.name), tensorOf(t.dtype as DType, t.shape, t.data)]))
    },
    spentMs: () => spent,
    close: () => {
      closed ??= drop(asIs.id).then(() => other && drop(other.at.id))
      return closed
    }
  }
}

interface Ran {
  readonly ms: number
  readonly outputs: readonly (Told & { readonly data: Uint8Array })[]
}

async function asked(process: Service, task: 'open' | 'run', what: object): Promise<unknown> {
  const answer: Answer = await process.ask(task, what)
  if ('failed' in answer) throw new PareError('E_RUN', `LiteRT cannot ${task} the model: ${answer.failed}`)
  return answer.done
}

/** Names of tensors by those of the file's signature, under which LiteRT tells them where there is one. */
type Named = (name: string) => string

function namesOf({ origin }: Model): Named {
  const [first] = origin?.signatures ?? []
  const ids = new Map(Object.entries({ ...first?.inputs, ...first?.outputs }))
  return (name) => ids.get(name) ?? name
}

/** Sizes behind the first that the model leaves open are those of each run; LiteRT tells what stands in the file. */
const ioOf = ({ name, dtype, shape }: Told, named: Named, open?: readonly Dim[]): Session['inputs'][number] => ({
  name: named(name),
  dtype: dtype as DType,
  shape: shape.map((d, i) => (i > 0 && typeof open?.[i] === 'string' ? (open[i] as string) : d < 0 ? '?' : d))
})

/** Is it a size of a shape whose sizes behind the first may be open? */
const isSize = (size: readonly number[], shape: readonly Dim[]): boolean =>
  size.length === shape.length && size.every((d, i) => i === 0 || typeof shape[i] === 'string' || d === shape[i])

/**
 * The file with other sizes of its inputs, and with those of its outputs that follow: LiteRT gives results as much room as the file
 * says. What is between them it works out when it opens the file.
 */
function resized(bytes: Uint8Array, model: Model, sizes: ReadonlyMap<string, readonly number[]>): Uint8Array {
  const symbols = [...sizes].flatMap(([id, size]) =>
    (model.graph.values.get(id)?.shape ?? []).flatMap((d, i) =>
      typeof d === 'string' ? [[d, size[i] as number] as const] : []
    )
  )
  const { graph } = inferShapes(bind(model, Object.fromEntries(symbols)))
  const file = decode(bytes)
  const [main, ...rest] = file.subgraphs ?? []
  const ids = new Map([
    ...(main?.inputs ?? []).map((t, i) => [t, graph.inputs[i]] as const),
    ...(main?.outputs ?? []).map((t, i) => [t, graph.outputs[i]] as const)
  ])
  const tensors = main?.tensors?.map((t, at) => {
    if (!ids.has(at)) return t
    const shape = graph.values.get(ids.get(at) ?? '')?.shape
    if (!shape?.every((d) => typeof d === 'number'))
      throw new PareError('E_RUN', `the size of ${ids.get(at)} does not follow from those of the inputs`)
    return { ...t, shape: shape.map(Number) }
  })
  return concat(encode({ ...file, subgraphs: [{ ...main, ...(tensors ? { tensors } : {}) }, ...rest] }).map(toArray))
}

interface Fed {
  readonly name: string
  readonly shape: readonly number[]
  readonly data: Uint8Array
}

/** Feeds as the process takes them. Throws `E_RUN` for what is missing or of another type. */
function fed(inputs: readonly Told[], feeds: Readonly<Record<string, Tensor>>, named: Named): readonly Fed[] {
  const names = inputs.map((i) => named(i.name))
  for (const given of Object.keys(feeds))
    if (!names.includes(given))
      throw new PareError('E_RUN', `the model has no input ${given}`, { facts: { inputs: names.join(', ') } })
  return inputs.map(({ name: own, dtype }) => {
    const name = named(own)
    const t = Object.hasOwn(feeds, name) ? feeds[name] : undefined
    if (!t)
      throw new PareError('E_RUN', `input ${name} is missing`, { facts: { given: Object.keys(feeds).join(', ') } })
    if (t.dtype !== dtype) throw new PareError('E_RUN', `input ${name} takes ${dtype}, and was given ${t.dtype}`)
    return { name: own, shape: t.shape, data: bytesOf(typedValues(t)) }
  })
}
