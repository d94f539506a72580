/**
 * Operators with kernels on codes, and what those ask for, by the int8 specification
 * (https://ai.google.dev/edge/litert/models/quantization_spec).
 */
export interface Kernel {
  /** Data and outputs are under one scale and zero point. */
  readonly sameScale?: true
  /** Bounds of the output, which are spread over all codes: scale (high − low) / codes. */
  readonly fixed?: readonly [low: number, high: number]
  /** Places of the weight and of the bias. */
  readonly weight?: number
  readonly bias?: number
  /** It also takes weights of codes with data in float, which it rounds while it runs. */
  readonly dynamic?: true
}

const moving =
  'RESHAPE TRANSPOSE SLICE STRIDED_SLICE PAD PADV2 MIRROR_PAD GATHER GATHER_ND TILE SPLIT SPLIT_V SQUEEZE EXPAND_DIMS BROADCAST_TO DEPTH_TO_SPACE SPACE_TO_DEPTH RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR REDUCE_MAX REDUCE_MIN MAX_POOL_2D AVERAGE_POOL_2D CONCATENATION MAXIMUM MINIMUM SELECT_V2 PACK UNPACK REVERSE_V2'
const free =
  'ADD SUB MUL MEAN SUM RELU RELU6 RELU_N1_TO_1 RELU_0_TO_1 LEAKY_RELU PRELU HARD_SWISH GELU BATCH_MATMUL SQUARED_DIFFERENCE ABS NEG EXP LOG RSQRT EQUAL LESS LESS_EQUAL GREATER GREATER_EQUAL ARG_MAX ARG_MIN TOPK_V2'

const each = (names: string, kernel: Kernel): readonly (readonly [string, Kernel])[] =>
  names.split(' ').map((name) => [name, kernel])

const kernels: ReadonlyMap<string, Kernel> = new Map([
  ...each(moving, { sameScale: true }),
  ...each(free, {}),
  ...each('LOGISTIC SOFTMAX', { fixed: [0, 1] }),
  ...each('TANH L2_NORMALIZATION', { fixed: [-1, 1] }),
  ...each('LOG_SOFTMAX', { fixed: [-16, 0] }),
  ...each('CONV_2D FULLY_CONNECTED', { weight: 1, bias: 2, dynamic: true }),
  ...each('DEPTHWISE_CONV_2D', { weight: 1, bias: 2 }),
  ...each('TRANSPOSE_CONV', { weight: 1, bias: 3 })
])

export const kernelOf = (op: string): Kernel | undefined => kernels.get(op)
