/** What a server knows of a model and of a request, free of HTTP and of threads. */
import type { Dim, DType, Tensor } from '../types.ts'

/** An input or an output. `shape` absent: not even its rank is known. */
export interface Port {
  readonly name: string
  readonly dtype: DType
  readonly shape?: readonly Dim[]
}

/** What a model takes and gives. */
export interface Signature {
  readonly inputs: readonly Port[]
  readonly outputs: readonly Port[]
}

/** An output that was asked for, in the bytes of its tensor or as JSON. */
export interface Asked {
  readonly name: string
  readonly isBinary: boolean
}

/** A request that fits its model. */
export interface InferRequest {
  readonly id?: string
  readonly inputs: ReadonlyMap<string, Tensor>
  /** In the order of the reply. */
  readonly outputs: readonly Asked[]
  /** How long the client waits, ms. */
  readonly timeoutMs?: number
}

/** What became of a request. */
export interface InferReply {
  readonly model: string
  readonly version: string
  readonly id?: string
  readonly outputs: readonly { readonly name: string; readonly isBinary: boolean; readonly tensor: Tensor }[]
}
