import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { PareError } from '../base/errors.ts'
import { formats, readModel as read, writeModel } from './index.ts'

const readModel = (content: Uint8Array) => read(content, { formats })

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text)
const net = `# a comment first
opset 21
input x: f32[N,4]
h = Gemm(x, W: f32[4,8], B: f32[8])
r = Relu(h)
y = If(c: bool[]{1}, then_branch={ a = Neg(r); output a }, else_branch={ output r })
output y
`

describe('the text form as a file', () => {
  it('is told by its content, and its nodes are called as what they make', () => {
    const made = readModel(bytes(net))
    expect(made.graph.nodes.map((n) => n.name)).toEqual(['h', 'r', 'y'])
    expect(readModel(writeModel(made).bytes).graph.nodes.map((n) => n.name)).toEqual(['h', 'r', 'y'])
    expect(readModel(bytes(`\ufeff${net}`)).graph.nodes.length).toBe(3)
  })

  it.each([
    ['a value that nothing makes', net.replace('Relu(h)', 'Relu(q)'), 'E_MODEL'],
    ['a constant larger than the memory', net.replace('f32[4,8]', 'f32[40000,80000]'), 'E_LIMIT'],
    ['graphs in graphs without end', `opset 21\ny = ${'If(c, a={ b = '.repeat(5000)}`, 'E_LIMIT'],
    ['half a statement', net.slice(0, 60), 'E_FORMAT'],
    ['a shape below zero', net.replace('f32[4,8]', 'f32[-4,8]'), 'E_FORMAT'],
    ['an opset that is not raised', net.replace('opset 21', 'opset 13'), 'E_OPSET'],
    ['an opset that is not there yet', net.replace('opset 21', 'opset 99'), 'E_OPSET'],
    ['other text', 'hello\n', 'E_FORMAT']
  ])('refuses %s', (_, text, code) => {
    expect(() => readModel(bytes(text))).toThrow(expect.objectContaining({ code }))
  })

  it('never fails in another way than with an error of its own', () => {
    const change = fc.record({ at: fc.nat(net.length), cut: fc.nat(12), put: fc.string({ maxLength: 6 }) })
    fc.assert(
      fc.property(fc.array(change, { maxLength: 4 }), (changes) => {
        let text = net
        for (const { at, cut, put } of changes) text = text.slice(0, at) + put + text.slice(at + cut)
        try {
          readModel(bytes(text))
        } catch (e) {
          if (!(e instanceof PareError)) throw e
        }
      }),
      { numRuns: 2000, seed: 1 }
    )
  })
})
