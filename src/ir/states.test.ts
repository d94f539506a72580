import { expect, it } from 'vitest'
import { statePairs } from './states.ts'

const ports = (...names: string[]) => names.map((name) => ({ name, dtype: 'float32' as const, shape: [2, 'N', 8] }))
const pairs = (inputs: string[], outputs: string[]): string[] =>
  statePairs({ inputs: ports(...inputs), outputs: ports(...outputs) }).map((p) => `${p.input}>${p.output}`)

it('states are inputs that come back as outputs', () => {
  expect(pairs(['input', 'h', 'c'], ['output', 'hn', 'cn'])).toEqual(['h>hn', 'c>cn'])
  expect(pairs(['input', 'state'], ['output', 'stateN'])).toEqual(['state>stateN'])
  expect(pairs(['x', 'h0'], ['y', 'hn'])).toEqual(['h0>hn'])
  expect(pairs(['ids', 'past_key_values.0.key'], ['logits', 'present.0.key'])).toEqual([
    'past_key_values.0.key>present.0.key'
  ])
  expect(pairs(['image_in'], ['image_out'])).toEqual([])
})
