/** Ways of kernels: each gives the same numbers, and what was measured of them is kept on disk. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { lower, noteOf, tune, wasmOf } from '../src/compile/index.ts'
import { c99 } from '../src/formats/c99.ts'
import { wasm } from '../src/formats/wasm.ts'
import { tensor } from '../src/ir/tensor.ts'
import { parse } from '../src/ir/text.ts'
import { tuned } from '../src/node/tunings.ts'
import { confined } from './confined.ts'

const onFloats = parse(`opset 21
  input x: f32[1,5,13,9]
  const A: f32[10,5,3,3]
  a = Conv(x, A, pads=[1,1,1,1])
  const B: f32[7,10,1,1]
  y = Conv(a, B)
  output y`)

const codes = (name: string, scale: number, zero: number): string =>
  `${name}q = QuantizeLinear(${name}, s_${name}: f32[] {${scale}}, z_${name}: u8[] {${zero}})
   ${name}d = DequantizeLinear(${name}q, s_${name}, z_${name})`
const onCodes = parse(`opset 21
  input x: f32[1,5,13,9]
  ${codes('x', 0.02, 120)}
  const Wc: i8[10,5,3,3]
  const Ws: f32[10]
  W = DequantizeLinear(Wc, Ws, axis=0)
  y = Conv(xd, W, pads=[1,1,1,1])
  ${codes('y', 0.05, 3)}
  output yd`)

const feeds = {
  x: tensor(
    'float32',
    [1, 5, 13, 9],
    Float32Array.from({ length: 585 }, (_, i) => 2 * Math.sin(i * 7))
  )
}

describe('every way of every kernel gives the same numbers', () => {
  for (const [name, model] of [
    ['floats', onFloats],
    ['codes', onCodes]
  ] as const)
    it(name, () => {
      const usual = confined(model, feeds)
      const kernels = lower(model).kernels.filter((k) => k !== undefined)
      expect(kernels.length).toBe(name === 'floats' ? 2 : 1)
      for (const { key, ways } of kernels) {
        expect(ways.length).toBeGreaterThan(3)
        for (const way of ways) {
          const fastest = { [key]: way }
          expect(lower(model, { fastest }).kernels.some((k) => k?.key === key && k.way === way)).toBe(true)
          expect(confined(model, feeds, { fastest }), way).toEqual(usual)
        }
      }
    })
})

it('without measurements, and with those of other versions, the rule of costs chooses', () => {
  const [kernel] = lower(onFloats).kernels
  expect(kernel?.way).toBe(kernel?.ways[0])
  const old = { [kernel?.key as string]: '9×99' }
  expect(wasmOf(lower(onFloats, { fastest: old }))).toEqual(wasmOf(lower(onFloats)))
})

describe('what was measured', () => {
  const folder = mkdtempSync(join(tmpdir(), 'pare-tune-'))
  const path = join(folder, 'cache', 'tunings.json')
  afterAll(() => rmSync(folder, { recursive: true }))
  const measured = (notes: readonly string[]): string | undefined => notes.find((n) => n.startsWith('kernels measured'))

  it('is kept, known the next time, and told where it cannot be read', { timeout: 60_000 }, async () => {
    const first = await tuned(wasm, onFloats, path)
    expect(measured(first.notes)).toMatch(/: 2;/)
    const kept = JSON.parse(readFileSync(path, 'utf8'))
    expect(Object.values(kept)).toEqual([first.tunings])
    for (const { fastest, ms } of Object.values(first.tunings)) expect(Object.keys(ms)).toContain(fastest)

    const again = await tuned(wasm, onFloats, path)
    expect(measured(again.notes)).toMatch(/: 0;/)
    expect(again.tunings).toEqual(first.tunings)

    writeFileSync(path, '{"half')
    const anew = await tuned(wasm, onFloats, path)
    expect(anew.notes[0]).toContain('is made anew')
    expect(measured(anew.notes)).toMatch(/: 2;/)
    expect(Object.values(JSON.parse(readFileSync(path, 'utf8')))).toEqual([anew.tunings])
  })

  it('is in the module, as far as it is not what the rule says', () => {
    const [{ key, ways } = { key: '', ways: [] as readonly string[] }] = lower(onFloats).kernels.filter((k) => k)
    const ms = Object.fromEntries(ways.map((way) => [way, 1]))
    const { bytes } = wasm.write?.(onFloats, {}, { tunings: { [key]: { fastest: ways[1] as string, ms } } }) ?? {}
    expect(noteOf(bytes as Uint8Array).tuned).toEqual({ [key]: ways[1] })
    expect(tune(onFloats, { [key]: { fastest: ways[1] as string, ms } })).not.toHaveProperty([key])
  })

  it.skipIf(process.platform !== 'linux')(
    'ends where no folder can be made, and says that nothing is kept',
    async () => {
      const nowhere = '/proc/absent/pare/tunings.json'
      const { tunings, notes } = await tuned(wasm, onFloats, nowhere)
      expect(Object.keys(tunings).length).toBeGreaterThan(0)
      expect(notes.at(-1)).toMatch(/^what was measured is not kept in \/proc\/absent/)
    }
  )

  it('is nothing where nothing runs the format', async () => {
    await expect(tuned(c99, onFloats, path)).rejects.toThrow(/C source is not tuned/)
  })
})
