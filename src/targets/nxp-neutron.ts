import { compiled, integersOf } from './onnx.ts'
import type { Device, Target } from './types.ts'

const backend = {
  from: 'source',
  ref: 'NXP backend of ExecuTorch cff6f4d',
  url: 'https://github.com/pytorch/executorch/tree/main/backends/nxp'
} as const

const device: Device = {
  read: 'ExecuTorch cff6f4d (2026-08)',
  urls: [backend.url],
  as: 'int8',
  types: [
    {
      ...backend,
      when: [
        ['dtype', '==', 'int8'],
        ['weightType', 'in', ['none', 'int8']]
      ]
    }
  ],
  rules: [
    { ...backend, when: [['openAxes', '==', 0]] },
    { from: 'memory', when: [['batch', '==', 1]] }
  ],
  operators: [
    {
      ...backend,
      take: {
        Softmax: [
          [
            ['channels', '<=', 2040],
            ['elements', '<=', 524_288]
          ]
        ],
        Conv: [
          [
            ['groups', '==', 1],
            ['channels', 'multiple', 8],
            ['outputChannels', 'multiple', 8]
          ],
          [
            ['depthwise', '==', 'yes'],
            ['channels', 'multiple', 8]
          ]
        ]
      }
    }
  ],
  unlisted: { ...backend, ref: 'the record holds limits only, not the list of operators' },
  align: [{ ...backend, of: 'both', multiple: 8, costs: 'the layer is not taken' }],
  rest: { ...backend, to: 'the CPU', parts: 'all' },
  notes: []
}

/** NXP's NPU. Nothing here runs it. */
export const nxpNeutron: Target = {
  ...compiled,
  name: 'nxp-neutron',
  summary: 'NXP eIQ Neutron NPU through ExecuTorch: all int8',
  runtime: 'executorch-neutron',
  integer: integersOf('int8'),
  channelMultiple: 8,
  device
}
