import type { Conf } from '../conf.ts'
import type { Json } from '../json.ts'
import type { Net, Signal } from '../net.ts'

/** Shape of a parameter's constant in a model that is to be written; `undefined` where the model has none of that key. */
export type ShapeOf = (key: string) => readonly number[] | undefined

/** Fields of a layer's configuration with new values. */
export type Fields = Readonly<Record<string, Json>>

/** What is known of a class of layers. */
export interface Layer {
  /** Axes of its input as DL4J has them; absent or `undefined`: any. */
  readonly takes?: (c: Conf) => string | undefined
  /** Channels or features of its input; absent or `undefined`: any. */
  readonly width?: (c: Conf) => number | undefined
  /** Places along an axis behind it, of `n` before it; absent: as many. `undefined`: it does not fit, `null`: it has no such axis. */
  readonly size?: (c: Conf, n: number, axis: string) => number | null | undefined
  /** Adds the nodes that compute it. */
  build(net: Net, x: Signal, c: Conf): Signal
  /** Channels behind it for one before it; absent: one, or those of its own. */
  readonly channels?: (c: Conf) => number
  /** The step at the end of its result, where that is not simply the last one. */
  readonly last?: (net: Net, x: Signal, c: Conf) => Signal
  /** The fields that hold its widths, for parameters of these shapes; absent: its widths stay. */
  readonly narrow?: (c: Conf, shape: ShapeOf) => Fields
}

export type Layers = Readonly<Record<string, Layer>>
