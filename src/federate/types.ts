/**
 * The concepts of a federation, types only. A model is trained by clients that keep their data: a round sends the
 * model down to some of them, each trains it on what it has and sends back the difference, and the server adds the mean
 * of the differences to its model. Model, difference and sums are one vector of numbers, in the order of the Manifest.
 */

/** Where the numbers of one constant lie in the vector. */
export interface Part {
  /** Id of the constant in the model. */
  readonly name: string
  readonly shape: readonly number[]
  readonly offset: number
  readonly size: number
  /** Statistics of normalization are averaged as they are, and never made sparse. */
  readonly role: 'weight' | 'statistic'
}

/** What the vector of a model holds, by name in order; names are not sent, so both sides make it from the same model. */
export interface Manifest {
  readonly parts: readonly Part[]
  readonly size: number
}

/**
 * How numbers become bits.
 * - `float`: 32 bits each.
 * - `quantize`: `bits` each, in groups that share a scale; at random to one of the two nearest codes, so that the mean is kept.
 * - `top-k`: of each tensor the share of largest numbers, with 8 bits each, and their positions.
 * - `stc`: of each tensor the share of largest numbers, all with their mean size, their signs and positions (sparse
 *   ternary compression, Sattler 2019).
 */
export type Codec =
  | { readonly codec: 'float' }
  | {
      readonly codec: 'quantize'
      /** 2 to 8. */
      readonly bits: number
      /** Numbers that share a scale; default 256, with 4 bits and fewer 64. */
      readonly group?: number
      /** Default true for what clients send; the model that goes down is rounded to the nearest. */
      readonly random?: boolean
    }
  | { readonly codec: 'top-k'; readonly share: number }
  | { readonly codec: 'stc'; readonly share: number }

/** How the mean of a round changes the server's model. */
export type ServerRule =
  | { readonly rule: 'fedavg'; readonly rate: number }
  | { readonly rule: 'fedavgm'; readonly rate: number; readonly momentum: number }
  | {
      readonly rule: 'fedadam' | 'fedyogi'
      readonly rate: number
      readonly betas: readonly [number, number]
      /** Added to the root of the second moment; its square is what that begins with. */
      readonly tau: number
    }

/** How a client trains in a round. */
export interface LocalOptions {
  /** Times that its samples are seen. */
  readonly epochs: number
  readonly batch: number
  readonly rate: number
  /** Of plain gradient descent; it starts at zero in every round. */
  readonly momentum: number
  readonly decay: number
  /** FedProx: weight μ of ½‖w − w₀‖² beside the loss; 0: FedAvg. */
  readonly proximal: number
  /** Longest gradient; absent: not clipped. */
  readonly clip?: number
}

/** What a message says beside its numbers. */
export interface Header {
  readonly kind: 'model' | 'update' | 'scores'
  /** 16 bytes. */
  readonly run: Uint8Array
  readonly round: number
  /** SHA-256: an update, and scores, name the model message that they were trained from, a model message the manifest. */
  readonly base: Uint8Array
  /** 8 bytes, drawn by the sender: no two messages are alike. */
  readonly nonce: Uint8Array
  /** Samples that an update or scores stand for, 1 to 65,535; 0 in a model message. */
  readonly weight: number
}

/** A message as it was read. */
export interface Message {
  readonly header: Header
  /** The model, a difference, or class scores; zeros where the support has none. */
  readonly values: Float32Array
  /** The values are a difference to the model that the last message held. Of model messages. */
  readonly isDifference?: true
  /** 1 where the model may differ from zero; absent: everywhere. Of model messages. */
  readonly support?: Uint8Array
  /** 1 where updates hold numbers; absent: where the support is. Of model messages. */
  readonly mask?: Uint8Array
}
