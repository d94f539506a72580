/** Runtimes: what opens and runs models, and what it tells of them. Types only. */
import type { Bytes, Dim, DType, Model, Node, Tensor } from '../types.ts'

export type Source = Model | Bytes | { readonly path: string }

export interface OpenOptions {
  /** Default 1: reproducible and comparable. */
  readonly threads?: number
  readonly optimization?: 'disabled' | 'basic' | 'extended' | 'layout' | 'all'
  /** Values to return beside the graph's outputs (Model sources only). */
  readonly outputs?: readonly string[]
  /** Keep the engine's optimised graph for `Session.optimized()` and `Session.kernels()`. */
  readonly keepOptimized?: boolean
  /** Record the time of every kernel for `Session.profile()`. */
  readonly profile?: boolean
  /** `asFloat`: QuantizeLinear and DequantizeLinear run as they stand; by default they are fused into integer kernels. */
  readonly quantization?: 'asFloat'
  /** `sleep`: threads without work leave the cores to others; by default they spin, which is faster alone. */
  readonly idleThreads?: 'sleep'
  /** Plan memory after the first run, for speed; on by default. Off, a session holds about half as much. */
  readonly plansMemory?: boolean
}

/** Time of one kernel in one profiled run. `node` is the engine's node name. */
export interface KernelTime {
  readonly node: string
  readonly op: string
  readonly ms: number
}

/** What really runs in place of a node. */
export interface Kernel {
  /** Name of the engine's node, as its profile gives it; absent where there is none. */
  readonly at?: string
  /** The engine's operator, such as `QLinearConv` or `Conv (nchwc)`; `folded` where it became a constant; `'?'` where it cannot be told. */
  readonly kernel: string
  /** Does it compute on integers? False also where it cannot be told. */
  readonly integer: boolean
}

/** A node that was given quantized inputs and is still computed in float. */
export interface FloatIsland {
  readonly node: Node
  readonly kernel: string
  readonly reason: string
}

/** What an engine made of a model. */
export interface Kernels {
  /** By name of the node in the model that was opened; every node of it has an entry, subgraphs included. */
  readonly byNode: ReadonlyMap<string, Kernel>
  readonly islands: readonly FloatIsland[]
  /** Integer kernels by operator of the engine, such as `{ QLinearConv: 9 }`. */
  readonly integer: Readonly<Record<string, number>>
}

export interface Session {
  readonly inputs: readonly { readonly name: string; readonly dtype?: DType; readonly shape?: readonly Dim[] }[]
  readonly outputs: readonly { readonly name: string; readonly dtype?: DType; readonly shape?: readonly Dim[] }[]
  readonly loadMs: number
  run(feeds: Readonly<Record<string, Tensor>>): Promise<Record<string, Tensor>>
  /**
   * ms that all runs so far took by the clock of the process that the runtime lives in; absent where that is the caller's
   * own, whose clock tells.
   */
  spentMs?(): number
  /** The engine's graph after its own optimisation; absent without `keepOptimized` and where the engine cannot tell. */
  optimized?(): Promise<Model>
  /** What became of every node; absent without `keepOptimized`, for sources other than a Model, and where the engine cannot tell. */
  kernels?(): Promise<Kernels>
  /** Kernel times of all runs so far; ends recording. Absent without `profile` and where the engine cannot tell. */
  profile?(): Promise<readonly KernelTime[]>
  close(): Promise<void>
}

/** What a runtime can do beside running models. */
export interface Abilities {
  /** It tells what it made of a model: `Session.optimized` and `Session.kernels`. */
  readonly kernels: boolean
  /** It tells the time of every kernel: `Session.profile`. */
  readonly profile: boolean
  /** It opens files by path with the weights beside them, and so models larger than its memory has room for twice. */
  readonly external: boolean
  /** Threads that it computes with at most, however many are asked for; absent: as many as are asked for. */
  readonly threads?: number
  /** Names of the formats whose files it opens as they are; models read from others are handed over in memory. */
  readonly formats: readonly string[]
  /** A file runs at the sizes that stand in it: at others it is another file. */
  readonly fixedSizes?: true
}

/** A runtime. `name`: its package, such as `onnxruntime-node`; what targets call it. */
export interface Runner {
  readonly name: string
  readonly version: string
  readonly can: Abilities
  open(source: Source, o?: OpenOptions): Promise<Session>
}
