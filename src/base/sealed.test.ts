import { describe, expect, it } from 'vitest'
import { seal, unseal } from './sealed.ts'

const kind = 'PARE-XX1'
const whole = seal(kind, { round: 3 }, Uint8Array.of(1, 2, 3))
const read = (bytes: Uint8Array): unknown => unseal(kind, bytes, (why) => new Error(why))
const withHeader = (json: string): Uint8Array => {
  const text = new TextEncoder().encode(json)
  return Uint8Array.from([...new TextEncoder().encode(kind), text.length, 0, 0, 0, ...text])
}

describe('a sealed file', () => {
  it('gives its header and body again', () => {
    expect(read(whole)).toMatchObject({ header: { round: 3 }, body: Uint8Array.of(1, 2, 3) })
  })

  it.each([
    ['nothing', new Uint8Array(0), /does not begin/],
    ['another kind', seal('PARE-YY1', {}, new Uint8Array(0)), /does not begin/],
    ['a cut header', whole.subarray(0, 20), /shorter than its header/],
    ['a cut body', whole.subarray(0, -1), /hash/],
    ['a changed body', whole.map((b, i) => (i === whole.length - 1 ? b + 1 : b)), /hash/],
    ['a header that is no JSON', withHeader('{'), /no JSON/],
    ['a header that is null', withHeader('null'), /hash/]
  ])('is refused: %s', (_, bytes, why) => expect(() => read(bytes)).toThrow(why))
})
