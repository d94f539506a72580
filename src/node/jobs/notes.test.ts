import { expect, it } from 'vitest'
import { model } from '../../ir/text.ts'
import { targetFor } from '../../targets/index.ts'
import { slowNotes } from './staged.ts'
import { targetNotes } from './verify.ts'

it('says that stages do not pay where they take longer than the original', () => {
  const chosen = { threshold: 0.5, share: 0.5, score: 1, ms: 1.5 }
  expect(slowNotes({ kind: 'early-exit', chosen }, 1)).toEqual([
    'the model with exits is slower than the original: 1.5 ms a sample on average, and the original takes 1 ms'
  ])
  expect(slowNotes({ kind: 'early-exit', chosen }, 2)).toEqual([])
  expect(slowNotes({ kind: 'early-exit', chosen }, undefined)).toEqual([])
})

it('asks no opset of compiled models', () => {
  const made = {
    ...model`input x: f32[1,2]
y = Relu(x)
output y`,
    opset: 1
  }
  const wasm = targetFor('wasm')
  expect(targetNotes(made, wasm).join()).toMatch(/opset 1$/)
  expect(targetNotes({ ...made, origin: { format: 'wasm', version: '1', compiled: true } }, wasm)).toEqual([])
})
