/** The Runner over an injected ONNX Runtime. It hands the engine bytes or a path, and tensors in and out. */
import { toArray } from '../base/bytes.ts'
import { PareError } from '../base/errors.ts'
import { writeOnnx } from '../formats/onnx/write.ts'
import { allGraphs } from '../ir/graph.ts'
import type { Model, Tensor } from '../types.ts'
import { dtypeFrom, fromEngine, toEngine } from './convert.ts'
import type {
  OrtModule,
  OrtSession,
  OrtSessionOptions,
  OrtTensor,
  OrtValueInfo,
  ScratchFolder,
  ScratchFolders
} from './engine.ts'
import { kernelsOf } from './kernels.ts'
import { kernelTimes, optimizedModel } from './records.ts'
import type { KernelTime, OpenOptions, Runner, Session, Source } from './types.ts'

export type { OrtModule, ScratchFolder, ScratchFolders } from './engine.ts'

/** The package that an ONNX Runtime module is of, and what there is around it. */
export interface Host {
  readonly name: 'onnxruntime-node' | 'onnxruntime-web'
  /** By default what the module says. */
  readonly version?: string
  /** Folders for what the engine writes or reads by path; without them it tells neither kernels nor times. */
  readonly folders?: ScratchFolders
}

/** Models with more constant bytes than this are opened from a scratch file, so that no second copy is in memory. */
const largestInMemory = 256 * 1024 * 1024

/**
 * A Runner over ONNX Runtime, or over a function that loads it for the first session; by default over onnxruntime-web in a browser. Everything that goes wrong in the engine is an
 * `E_RUN` with the engine's message.
 */
export function ortRunner(
  ort: OrtModule | (() => OrtModule),
  { name, version, folders }: Host = { name: 'onnxruntime-web' }
): Runner {
  const module = (): OrtModule => (typeof ort === 'function' ? ort() : ort)
  const hasFiles = folders !== undefined
  return {
    name,
    version: version ?? versionOf(module(), name),
    can: { kernels: hasFiles, profile: hasFiles, external: hasFiles, formats: ['onnx'] },
    open: (source, o = {}) => open(module(), folders, source, o)
  }
}

/** Both packages write into the same object where both are loaded. */
function versionOf({ env }: OrtModule, name: Host['name']): string {
  const { common, node, web } = env.versions
  return (name === 'onnxruntime-node' ? node : web) ?? common
}

const names = { model: 'model.onnx', weights: 'weights.bin', optimized: 'optimized.onnx', profile: 'profile' } as const

async function open(
  ort: OrtModule,
  folders: ScratchFolders | undefined,
  source: Source,
  o: OpenOptions
): Promise<Session> {
  const model = 'graph' in source ? withTaps(source, o.outputs ?? []) : undefined
  if (!model && o.outputs?.length)
    throw new PareError('E_UNSUPPORTED', 'values can be tapped in a Model only, not in a file')
  const isLarge = model !== undefined && constantBytes(model) > largestInMemory
  const folder = o.keepOptimized || o.profile || isLarge ? await folders?.() : undefined
  if (!folders && 'path' in source)
    throw new PareError('E_UNSUPPORTED', 'this runtime opens no files by path', {
      hint: 'give it the bytes or the Model'
    })
  let session: OrtSession | undefined
  try {
    const handed = await prepare(model ?? source, isLarge ? folder : undefined)
    const made = await create(ort, handed, sessionOptions(o, folder))
    session = made.session
    const optimized = folder && o.keepOptimized ? await optimizedModel(folder, names.optimized) : undefined
    if (folder?.removableWhileOpen && !o.profile) await folder.remove()
    return sessionOver(ort, session, { loadMs: made.loadMs, opened: model, optimized, folder, hasProfile: o.profile })
  } catch (e) {
    await session?.release()
    await folder?.remove()
    throw e
  }
}

async function create(
  ort: OrtModule,
  handed: string | Uint8Array,
  options: OrtSessionOptions
): Promise<{ session: OrtSession; loadMs: number }> {
  const start = performance.now()
  try {
    const session =
      typeof handed === 'string'
        ? await ort.InferenceSession.create(handed, options)
        : await ort.InferenceSession.create(handed, options)
    return { session, loadMs: performance.now() - start }
  } catch (e) {
    throw engineError(e, 'open')
  }
}

/** What the engine takes: a path, or bytes. `folder`: where to put a model that is too large for memory. */
async function prepare(source: Source, folder: ScratchFolder | undefined): Promise<string | Uint8Array> {
  if (!('graph' in source)) return 'path' in source ? source.path : toArray(source)
  const { bytes, external } = writeOnnx(source, folder ? { externalName: names.weights } : {})
  if (!folder) {
    if (external) throw new PareError('E_LIMIT', 'the model is too large to be opened without a file system')
    return bytes
  }
  if (external) await folder.write(names.weights, external.parts)
  await folder.write(names.model, [bytes])
  return folder.path(names.model)
}

function constantBytes(model: Model): number {
  let n = 0
  for (const g of allGraphs(model)) for (const v of g.values.values()) n += v.data?.bytes.length ?? 0
  return n
}

/** The model with more values as outputs, after its own; the same model when all are outputs already. */
export function withTaps(model: Model, taps: readonly string[]): Model {
  const { graph } = model
  const added = [...new Set(taps)].filter((id) => !graph.outputs.includes(id))
  for (const id of added)
    if (!graph.values.has(id)) throw new PareError('E_RUN', `there is no value ${id} to return`, { where: graph.name })
  return added.length ? { ...model, graph: { ...graph, outputs: [...graph.outputs, ...added] } } : model
}

function sessionOptions(o: OpenOptions, folder: ScratchFolder | undefined): OrtSessionOptions {
  return {
    intraOpNumThreads: o.threads ?? 1,
    interOpNumThreads: 1,
    executionMode: 'sequential',
    graphOptimizationLevel: o.optimization ?? 'all',
    logSeverityLevel: 4,
    extra: {
      ...(o.quantization === 'asFloat' ? { 'session.disable_quant_qdq': '1' } : {}),
      ...(o.idleThreads === 'sleep' ? { 'session.intra_op.allow_spinning': '0' } : {}),
      // It takes a Cast away between Transpose and MatMul whose result is an output too; the run then ends the process (1.30).
      ...(o.outputs?.length ? { 'optimization.disable_specified_optimizers': 'MatmulTransposeFusion' } : {})
    },
    enableMemPattern: o.plansMemory ?? true,
    ...(folder && o.keepOptimized ? { optimizedModelFilePath: folder.path(names.optimized) } : {}),
    ...(folder && o.profile ? { enableProfiling: true, profileFilePrefix: folder.path(names.profile) } : {})
  }
}

interface Records {
  readonly loadMs: number
  /** As it was opened, with the values to return; absent for bytes and files. */
  readonly opened: Model | undefined
  readonly optimized: Model | undefined
  readonly folder: ScratchFolder | undefined
  readonly hasProfile: boolean | undefined
}

function sessionOver(ort: OrtModule, session: OrtSession, records: Records): Session {
  const { loadMs, opened, optimized, folder, hasProfile } = records
  let times: Promise<readonly KernelTime[]> | undefined
  let closed: Promise<void> | undefined
  const close = async (): Promise<void> => {
    await session.release()
    await folder?.remove()
  }
  return {
    // The engine tells no scalar from a value of any rank; an input of either is told as a scalar.
    inputs: session.inputMetadata.map((i) => ({ shape: [], ...valueInfo(i) })),
    outputs: tensorsOf(session.outputMetadata).map(valueInfo),
    loadMs,
    run: async (feeds) => {
      if (closed) throw new PareError('E_INTERNAL', 'a closed session was run')
      return run(ort, session, feeds)
    },
    ...(optimized ? { optimized: async () => optimized } : {}),
    ...(optimized && opened ? { kernels: async () => kernelsOf(opened, optimized) } : {}),
    ...(folder && hasProfile
      ? {
          profile: async () => {
            times ??= kernelTimes(session, folder, names.profile)
            return times
          }
        }
      : {}),
    close: () => {
      closed ??= close()
      return closed
    }
  }
}

/** The engine hands over no sequences and maps, such as ZipMap gives: they are not asked for. */
const tensorsOf = (all: readonly OrtValueInfo[]): readonly OrtValueInfo[] => all.filter((v) => v.isTensor)

function valueInfo(info: OrtValueInfo): Session['inputs'][number] {
  const dtype = dtypeFrom(info.type)
  const shape = info.shape?.map((d) => (d === '' ? '?' : d))
  return {
    name: info.name,
    ...(dtype === undefined ? {} : { dtype }),
    ...(shape?.length ? { shape } : {})
  }
}

async function run(
  ort: OrtModule,
  session: OrtSession,
  feeds: Readonly<Record<string, Tensor>>
): Promise<Record<string, Tensor>> {
  const given: Record<string, OrtTensor> = {}
  for (const name of session.inputNames) {
    const t = Object.hasOwn(feeds, name) ? feeds[name] : undefined
    if (!t)
      throw new PareError('E_RUN', `input ${name} is missing`, { facts: { given: Object.keys(feeds).join(', ') } })
    given[name] = toEngine(ort, name, t)
  }
  for (const name of Object.keys(feeds))
    if (!session.inputNames.includes(name))
      throw new PareError('E_RUN', `the model has no input ${name}`, {
        facts: { inputs: session.inputNames.join(', ') }
      })
  try {
    const wanted = tensorsOf(session.outputMetadata).map(({ name }) => name)
    const results = await session.run(given, wanted, { logSeverityLevel: 4 })
    return Object.fromEntries(wanted.map((name) => [name, fromEngine(name, results[name])]))
  } catch (e) {
    throw engineError(e, 'run')
  }
}

/** The engine's error as ours, with the node it names. */
function engineError(e: unknown, what: string): PareError {
  if (e instanceof PareError) return e
  const message = (e instanceof Error ? e.message : String(e)).trim()
  const node = /Node:? ?\(([^)]*)\)|Name:'([^']*)'/.exec(message)
  const name = node?.[1] ?? node?.[2]
  return new PareError('E_RUN', `the runtime cannot ${what} the model: ${message}`, {
    ...(name ? { where: name } : {}),
    cause: e
  })
}
