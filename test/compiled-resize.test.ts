/** Compiled Resize gives what ONNX Runtime gives, or is refused by name. */
import fc from 'fast-check'
import { expect, it } from 'vitest'
import { lower } from '../src/compile/index.ts'
import { parse } from '../src/ir/text.ts'
import { apart } from './compiled-apart.ts'

const places = ['half_pixel', 'pytorch_half_pixel', 'asymmetric', 'align_corners', 'half_pixel_symmetric']
const roundings = ['round_prefer_floor', 'round_prefer_ceil', 'floor', 'ceil']
const size = fc.integer({ min: 1, max: 9 })

it('by sizes or by scales, in all ways to place and round, channels first or last', { timeout: 120_000 }, () =>
  fc.assert(
    fc.asyncProperty(
      fc.record({
        ...{
          mode: fc.constantFrom('nearest', 'linear'),
          place: fc.constantFrom(...places),
          rounding: fc.constantFrom(...roundings)
        },
        ...{
          n: fc.integer({ min: 1, max: 2 }),
          c: fc.integer({ min: 1, max: 3 }),
          from: fc.tuple(size, size),
          to: fc.tuple(size, size)
        },
        ...{ last: fc.boolean(), by: fc.constantFrom('sizes', 'scales', 'axes') }
      }),
      async ({ mode, place, rounding, n, c, from, to, last, by }) => {
        const shape = (hw: readonly number[]): readonly number[] => (last ? [n, ...hw, c] : [n, c, ...hw])
        const scales = shape(from).map((d, i) => Math.fround((shape(to)[i] as number) / d))
        const given = {
          sizes: [`const s: i64[4] = ${shape(to).join(', ')}`, 'x, _, _, s', ''],
          // Powers of two alone give the sizes that are meant, whatever is rounded.
          scales: [
            `const s: f32[4] = ${scales
              .map((s) => (s >= 1 ? 2 : 0.5))
              .map((s, i) => (shape([0, 0])[i] === 0 ? s : 1))
              .join(', ')}`,
            'x, _, s',
            ''
          ],
          axes: [`const s: i64[2] = ${to.join(', ')}`, 'x, _, _, s', `, axes=[${last ? '1,2' : '2,3'}]`]
        }[by] as [string, string, string]
        const text = `opset 21
          input x: f32[${shape(by === 'scales' ? from.map((d) => 2 * d) : from)}]
          ${given[0]}
          r = Resize(${given[1]}, mode="${mode}", coordinate_transformation_mode="${place}", nearest_mode="${rounding}"${given[2]})
          y = Relu(r)
          output y`
        expect(await apart(parse(text)), text).toBeLessThan(1e-5)
      }
    ),
    { seed: 18, numRuns: 120 }
  )
)

it.each([
  ['mode="cubic"'],
  ['mode="linear", antialias=1'],
  ['mode="linear", keep_aspect_ratio_policy="not_larger"'],
  ['coordinate_transformation_mode="tf_crop_and_resize"']
])('refuses %s, with the node', (attrs) => {
  const text = `opset 21
    input x: f32[1,2,4,4]
    const s: i64[4] = 1, 2, 8, 6
    y = Resize(x, _, _, s, ${attrs})
    output y`
  expect(() => lower(parse(text))).toThrow(
    expect.objectContaining({
      code: 'E_UNSUPPORTED',
      facts: expect.objectContaining({ Resize: expect.stringContaining('no loops') })
    })
  )
})
