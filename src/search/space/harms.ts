/** The change of the output, e², of every choice alone, which adds up over units while it is small. */
import { PareError, stopIfAborted } from '../../base/errors.ts'
import type { Context } from '../../passes/types.ts'
import { masked } from './build.ts'
import { choicesOf, type Material } from './material.ts'
import type { Maker } from './weights.ts'

/** Choices after which the time that all of them take is told. */
const paceChoices = 8

/** e² by unit and choice, on so many samples; 0 for the last choice of each. Throws `E_DATA` where nothing can be measured, `E_CONSTRAINT` where all would take longer than `mostMs`. */
export async function harmsOf(
  m: Material,
  maker: Maker,
  samples: number,
  ctx: Pick<Context, 'measure' | 'signal' | 'progress'>,
  mostMs?: number
): Promise<readonly (readonly number[])[]> {
  const { measure } = ctx
  if (!measure) throw new PareError('E_DATA', 'a search measures models: it needs samples', { hint: '--data PATH' })
  const sizes = choicesOf(m)
  const all = sizes.map((n) => n - 1)
  const total = all.reduce((a, b) => a + b, 0)
  const began = performance.now()
  let done = 0
  const out: number[][] = []
  for (const [unit, size] of sizes.entries()) {
    const own: number[] = []
    for (let choice = 0; choice < size - 1; choice++) {
      stopIfAborted(ctx.signal)
      if (done === paceChoices) refuseLong((total / done) * (performance.now() - began), mostMs)
      ctx.progress('measuring choices alone', done++, total)
      const point = all.with(unit, choice)
      own.push((await measure(masked(m, maker, point), { beside: m.model, samples })).error)
    }
    out.push([...own, 0])
  }
  return out
}

function refuseLong(ms: number, most = Number.POSITIVE_INFINITY): void {
  if (ms <= most) return
  throw new PareError('E_CONSTRAINT', 'there is no time for a search', {
    facts: { 'single choices take': `${Math.round(ms / 1000)} s`, allowed: `${Math.round(most / 1000)} s` },
    hint: 'a longer --max-time'
  })
}
