/** The part of ONNX Runtime's JavaScript interface that Pare uses; onnxruntime-node and onnxruntime-web both fit it. */
import type { Bytes } from '../types.ts'

/** A tensor of the engine. `data`: a typed array, or strings. */
export interface OrtTensor {
  readonly type: string
  readonly dims: readonly number[]
  readonly data: unknown
}

/** How Pare calls the tensor class. */
export type OrtTensorClass = new (type: string, data: ArrayBufferView | string[], dims: readonly number[]) => OrtTensor

export interface OrtValueInfo {
  readonly name: string
  readonly isTensor: boolean
  readonly type?: string
  /** Empty also where the rank is unknown. */
  readonly shape?: readonly (number | string)[]
}

export interface OrtSession {
  readonly inputNames: readonly string[]
  readonly outputNames: readonly string[]
  readonly inputMetadata: readonly OrtValueInfo[]
  readonly outputMetadata: readonly OrtValueInfo[]
  run(
    feeds: Readonly<Record<string, OrtTensor>>,
    fetches: readonly string[],
    options?: { readonly logSeverityLevel?: 0 | 1 | 2 | 3 | 4 }
  ): Promise<Readonly<Record<string, OrtTensor>>>
  release(): Promise<void>
  endProfiling(): void
}

export interface OrtSessionOptions {
  readonly executionProviders?: readonly string[]
  readonly intraOpNumThreads?: number
  readonly interOpNumThreads?: number
  readonly graphOptimizationLevel?: 'disabled' | 'basic' | 'extended' | 'layout' | 'all'
  readonly executionMode?: 'sequential' | 'parallel'
  readonly optimizedModelFilePath?: string
  readonly enableMemPattern?: boolean
  readonly enableProfiling?: boolean
  readonly profileFilePrefix?: string
  readonly logSeverityLevel?: 0 | 1 | 2 | 3 | 4
  readonly extra?: Record<string, unknown>
}

/** The module itself: `import * as ort from 'onnxruntime-node'`. */
export interface OrtModule {
  readonly InferenceSession: {
    create(path: string, options?: OrtSessionOptions): Promise<OrtSession>
    create(bytes: Uint8Array, options?: OrtSessionOptions): Promise<OrtSession>
  }
  /** The tensor class, an `OrtTensorClass`; its overloads by element type differ between the packages. */
  readonly Tensor: object
  readonly env: { readonly versions: { readonly common: string; readonly node?: string; readonly web?: string } }
}

/** A folder for what the engine can only write or read by path; whoever made it removes it. */
export interface ScratchFolder {
  /** Path of a file in it, whether there or not. */
  path(name: string): string
  write(name: string, parts: readonly Bytes[]): Promise<void>
  read(name: string): Promise<Bytes>
  names(): Promise<readonly string[]>
  /** Removes the folder with all in it; once removed, nothing happens. */
  remove(): Promise<void>
  /** Files can be removed while the engine has them open, as POSIX allows. */
  readonly removableWhileOpen: boolean
}

/** Makes an empty folder of its own for each call. */
export type ScratchFolders = () => Promise<ScratchFolder>
