import { describe, expect, it } from 'vitest'
import { cheapestSides, type Link, type Side } from './min-cut.ts'
import { rng } from './random.ts'

function costOf(nodes: readonly Side[], links: readonly Link[], sides: readonly boolean[]): number {
  const own = nodes.reduce((n, s, i) => n + (sides[i] ? s.second : s.first), 0)
  return own + links.reduce((n, l) => n + (sides[l.a] === sides[l.b] ? 0 : sides[l.b] ? l.cost : (l.back ?? l.cost)), 0)
}

describe('cheapestSides', () => {
  it('is as cheap as the best of all labellings', () => {
    const random = rng(5)
    for (let round = 0; round < 30; round++) {
      const n = 1 + random.below(7)
      const nodes = Array.from({ length: n }, () => ({ first: random.next(), second: random.next() }))
      const links = Array.from({ length: n }, () => ({
        a: random.below(n),
        b: random.below(n),
        cost: random.next() / 2,
        ...(round % 2 === 0 ? {} : { back: random.next() / 2 })
      }))
      let best = Number.POSITIVE_INFINITY
      for (let bits = 0; bits < 2 ** n; bits++)
        best = Math.min(
          best,
          costOf(
            nodes,
            links,
            nodes.map((_, i) => ((bits >> i) & 1) === 1)
          )
        )
      expect(costOf(nodes, links, cheapestSides(nodes, links))).toBeCloseTo(best, 9)
    }
  })
  it('keeps a cheap island off when the links cost more', () => {
    const side = { first: 1, second: 2 }
    const island = { first: 2, second: 1 }
    const links = (cost: number): Link[] => [
      { a: 0, b: 1, cost },
      { a: 1, b: 2, cost }
    ]
    expect(cheapestSides([side, island, side], links(0.4))).toEqual([false, true, false])
    expect(cheapestSides([side, island, side], links(0.6))).toEqual([false, false, false])
  })
  it('prefers the first side of two alike', () => {
    expect(cheapestSides([{ first: 1, second: 1 }], [])).toEqual([false])
  })
})
