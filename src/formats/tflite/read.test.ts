import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { both, distance, readFlatFile } from '../../../test/flat.ts'
import { flatFiles } from '../../../test/shared.ts'
import type { Tensor } from '../../types.ts'

const named = flatFiles().map((path) => [path.split('/').at(-1) ?? '', path] as const)

/** Weights that LiteRT multiplies by activations which it rounds to codes at run time. */
const roundsActivations = ['ds_cnn_float32.tflite']

describe('files of others', () => {
  it.each(named)('%s gives what LiteRT gives', { timeout: 60_000 }, async (name, path) => {
    const { inONNX, inFile } = await both(new Uint8Array(readFileSync(path)))
    for (const [i, x] of inONNX.entries()) {
      const y = inFile[i] as Tensor
      expect(x.shape).toEqual(y.shape)
      const bound = x.dtype === 'int8' ? 1 : roundsActivations.includes(name) ? 0.1 : 1e-4
      expect(distance(x, y)).toBeLessThanOrEqual(bound)
    }
  })

  it.each(named)('%s keeps its inputs and outputs', (_, path) => {
    const { graph, origin } = readFlatFile(new Uint8Array(readFileSync(path)))
    const types = [...graph.inputs, ...graph.outputs].map((id) => graph.values.get(id))
    expect(types.every((v) => v?.dtype && v.shape)).toBe(true)
    expect(origin?.format).toBe('tflite')
    expect(Object.keys(origin?.attachments ?? {})).toContain('min_runtime_version')
  })
})
