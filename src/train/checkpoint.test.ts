import { describe, expect, it } from 'vitest'
import { equalTensors, tensor } from '../ir/tensor.ts'
import type { Tensor } from '../types.ts'
import { type Checkpoint, decodeCheckpoint, encodeCheckpoint } from './checkpoint.ts'

const shared = tensor('float32', [2, 2], [1, Number.NaN, -0, 3.5])
const state = {
  step: 12,
  feeds: { p: shared, m: tensor('float32', [], [7]) },
  running: new Map([['mean', tensor('float32', [3], [1, 2, 3])]])
}
const checkpoint: Checkpoint = {
  key: 'finetune-1',
  epoch: 3,
  history: [{ epoch: 1, loss: 0.1 + 0.2, rate: 0.01, ms: 5 }],
  state,
  best: { epoch: 2, score: 1 / 3, state: { step: 8, feeds: { p: shared }, running: new Map() } }
}

describe('a checkpoint', () => {
  it('is read as it was written, to the bit', () => {
    const bytes = encodeCheckpoint(checkpoint)
    const read = decodeCheckpoint(bytes)
    const { state: _s, best: _b, ...plain } = checkpoint
    expect(read).toMatchObject(plain)
    expect(read.best?.score).toBe(1 / 3)
    expect([...read.state.running.keys()]).toEqual(['mean'])
    const pairs: [Tensor | undefined, Tensor][] = [
      [read.state.feeds['p'], shared],
      [read.best?.state.feeds['p'], shared],
      [read.state.feeds['m'], state.feeds.m]
    ]
    for (const [a, b] of pairs) expect(a && equalTensors(a, b)).toBe(true)
    expect(encodeCheckpoint(read).length).toBeGreaterThan(bytes.length)
  })

  it('is refused where it is cut, changed or something else', () => {
    const bytes = encodeCheckpoint(checkpoint)
    const flipped = bytes.slice()
    flipped[bytes.length - 1] = 1 ^ (bytes.at(-1) as number)
    const badHeader = bytes.slice()
    badHeader[12] = 0
    for (const wrong of [
      bytes.subarray(0, bytes.length - 1),
      bytes.subarray(0, 10),
      new Uint8Array(40),
      flipped,
      badHeader
    ])
      expect(() => decodeCheckpoint(wrong)).toThrow(expect.objectContaining({ code: 'E_FORMAT' }))
  })
})
