import { describe, expect, it } from 'vitest'
import { tensor, toFloats } from '../ir/tensor.ts'
import type { Batch } from '../types.ts'
import { type Augmentation, augmenter } from './augment.ts'

const at = (step: number) => ({ epoch: 1, step, indices: [0, 1] })

function batchOf(shape: readonly number[]): Batch {
  const size = shape.reduce((a, b) => a * b, 1)
  const x = tensor(
    'float32',
    shape,
    Float32Array.from({ length: size }, (_, i) => i)
  )
  return { n: shape[0] as number, inputs: { x }, labels: [0, 1] }
}

const changed = (a: Augmentation, shape: readonly number[], step = 0): number[] => {
  const made = augmenter(a, 'seed')(batchOf(shape), at(step))
  const x = made.inputs['x']
  if (!x) throw new Error('no input')
  expect(x.shape).toEqual(shape)
  return Array.from(toFloats(x))
}

describe('augmentation', () => {
  it('is drawn from the seed and the place in the run', () => {
    const a: Augmentation = { kind: 'image', flip: true, shift: 0.3, rotate: 20, scale: 0.2, mask: 0.5, noise: 0.1 }
    const shape = [2, 3, 6, 6]
    expect(changed(a, shape)).toEqual(changed(a, shape))
    expect(changed(a, shape)).not.toEqual(changed(a, shape, 1))
    const other = augmenter(a, 'other')(batchOf(shape), at(0)).inputs['x']
    expect(Array.from(toFloats(other ?? tensor('float32', [], [0])))).not.toEqual(changed(a, shape))
  })

  it('changes nothing by amounts of 0', () => {
    expect(changed({ kind: 'image' }, [2, 1, 3, 4])).toEqual(Array.from({ length: 24 }, (_, i) => i))
    expect(changed({ kind: 'features' }, [2, 3, 4])).toEqual(Array.from({ length: 24 }, (_, i) => i))
  })

  it('mirrors whole pictures, whichever axis the channels lie on', () => {
    const rows = (values: number[], from: number): number[] => values.slice(from, from + 6)
    const seen = Array.from({ length: 20 }, (_, step) =>
      rows(changed({ kind: 'image', flip: true }, [2, 2, 1, 3], step), 0).join()
    )
    expect(new Set(seen)).toEqual(new Set(['0,1,2,3,4,5', '2,1,0,5,4,3']))
    const last = Array.from({ length: 20 }, (_, step) =>
      changed({ kind: 'image', flip: true }, [2, 5, 3, 2], step).slice(0, 6).join()
    )
    expect(new Set(last)).toEqual(new Set(['0,1,2,3,4,5', '4,5,2,3,0,1']))
  })

  it('moves by whole pixels and repeats the edge', () => {
    const seen = new Set(
      Array.from({ length: 40 }, (_, step) =>
        changed({ kind: 'image', shift: 0.25 }, [2, 1, 1, 4], step).slice(0, 4).join()
      )
    )
    expect(seen).toEqual(new Set(['0,1,2,3', '0,0,1,2', '1,2,3,3']))
  })

  it('masks stretches of time and of frequency with the mean', () => {
    const values = changed({ kind: 'features', mask: 0.5 }, [1, 1, 6, 8], 5)
    const mean = 47 / 2
    const masked = (i: number): boolean => values[i] === mean
    const rows = Array.from({ length: 6 }, (_, r) => Array.from({ length: 8 }, (_, c) => masked(8 * r + c)))
    const full = rows.filter((r) => r.every(Boolean)).length
    expect(full).toBeLessThanOrEqual(3)
    const rest = rows.filter((r) => !r.every(Boolean))
    expect(new Set(rest.map((r) => r.join())).size).toBe(1)
    expect(rest[0]?.filter(Boolean).length).toBeLessThanOrEqual(4)
  })

  it('leaves inputs of other kinds alone', () => {
    const ids = tensor('int64', [2, 3], [1, 2, 3, 4, 5, 6])
    const batch: Batch = { n: 2, inputs: { ids } }
    expect(augmenter({ kind: 'image', flip: true }, 0)(batch, at(0)).inputs['ids']).toBe(ids)
  })
})
