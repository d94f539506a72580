import { microKernels } from './cmsis-nn.ts'
import { int8Rows, plainly, tfLite } from './tflite.ts'
import type { Device, Target } from './types.ts'

const espNn = { from: 'source', ref: 'ESP-NN d45b843', url: 'https://github.com/espressif/esp-nn' } as const
const readme = { from: 'documentation', ref: 'README of ESP-NN', url: espNn.url } as const

const shared = {
  read: 'ESP-NN d45b843 (2026-04)',
  urls: [espNn.url, 'https://github.com/tensorflow/tflite-micro'],
  as: 'int8',
  types: [
    {
      ...espNn,
      when: [
        ['dtype', '==', 'int8'],
        ['weightType', 'in', ['none', 'int8']],
        ['weightZeroPoint', '==', 0]
      ]
    },
    { from: 'memory', when: [['dtype', 'in', ['int32', 'int64', 'bool']]] }
  ],
  rules: [{ from: 'documentation', when: [['openAxes', '==', 0]] }],
  operators: [
    {
      ...espNn,
      of: ['int8'],
      take: plainly(
        'ADD MUL CONV_2D DEPTHWISE_CONV_2D FULLY_CONNECTED AVERAGE_POOL_2D MAX_POOL_2D RELU RELU6 SOFTMAX HARD_SWISH'
      )
    },
    microKernels
  ],
  rest: { from: 'source', parts: 'all', note: 'an operator without a kernel is an error when the model starts' }
} as const

const s3: Device = {
  ...shared,
  fast: [
    { ...espNn, op: 'CONV_2D', when: [['channels', 'multiple', 8]], costs: 'plain C, 5.6 to 14 times as long' },
    {
      ...espNn,
      op: 'DEPTHWISE_CONV_2D',
      when: [
        ['depthMultiplier', '==', 1],
        ['channels', 'multiple', 16]
      ],
      costs: 'plain C, 4.5 to 6.3 times as long'
    },
    {
      ...espNn,
      op: 'DEPTHWISE_CONV_2D',
      when: [
        ['depthMultiplier', '==', 1],
        ['channels', 'multiple', 8],
        ['channels', '>=', 12]
      ],
      costs: 'plain C, 4.5 to 6.3 times as long'
    },
    {
      ...espNn,
      op: 'DEPTHWISE_CONV_2D',
      when: [['depthMultiplier', 'multiple', 4]],
      costs: 'plain C, 4.5 to 6.3 times as long'
    }
  ],
  align: [{ ...espNn, of: 'in', multiple: 8, costs: 'plain C instead of vectors, 5 to 14 times as long' }],
  memory: [
    { from: 'memory', holds: 'activations', bytes: 524_288, beyond: 'the arena goes to slower external memory' },
    {
      from: 'memory',
      ref: 'of most modules',
      holds: 'weights',
      bytes: 8_388_608,
      beyond: 'the model does not fit the flash'
    }
  ],
  notes: [
    { ...readme, says: 'person detection 96×96: 54 ms (2300 in plain C); MobileNetV3-small 224: 1434 ms (26,000)' }
  ]
}

const p4: Device = {
  ...shared,
  notes: [
    {
      ...readme,
      says: 'against plain C: 1×1 convolutions 7 times as fast, 3×3 1.5 times, depthwise 2 times; person detection 96×96: 73 ms'
    }
  ]
}

const both = { ...tfLite, runtime: 'tflite-micro', integer: int8Rows(['tensor']), channelMultiple: 8 } as const

/** Nothing here runs it. */
export const esp32S3: Target = {
  ...both,
  name: 'esp32-s3',
  summary: 'ESP32-S3: TensorFlow Lite Micro with ESP-NN',
  device: s3
}

/** Nothing here runs it. */
export const esp32P4: Target = {
  ...both,
  name: 'esp32-p4',
  summary: 'ESP32-P4: TensorFlow Lite Micro with ESP-NN',
  device: p4
}
