/** STRIDED_SLICE: Slice, and axes that come and go by masks of bits. */
import { type Call, range } from '../call.ts'

/** To the end, in `Slice`. */
const far = 2 ** 31 - 1

const bit = (mask: number, i: number): boolean => ((mask >> i) & 1) === 1

/** What one entry of begin, end and strides is about. `axis`: of the data; a new axis has none. */
interface Entry {
  readonly i: number
  readonly axis: number
}

export function stridedSlice(c: Call): string {
  const mask = (name: string): number => c.number(`${name}_mask`)
  const entries = c.shape(1)[0] ?? 0
  const strides = c.fixed(3, 'its stride')
  const created = mask('new_axis')
  // An ellipsis stands for as many axes as are left over.
  const ellipsis = range(0, entries).find((i) => bit(mask('ellipsis'), i))
  const isAxis = (i: number): boolean => i !== ellipsis && !bit(created, i)
  const cut: Entry[] = []
  const added: number[] = []
  const removed: number[] = []
  const skipped = c.rank() - range(0, entries).filter(isAxis).length
  if (skipped < 0) c.refuse('it cuts more axes than there are')
  let [axis, place] = [0, 0]
  for (const i of range(0, entries)) {
    if (i === ellipsis) {
      axis += skipped
      place += skipped
    } else if (bit(created, i)) added.push(place++)
    else {
      if (bit(mask('shrink_axis'), i)) removed.push(axis)
      else place++
      cut.push({ i, axis: axis++ })
    }
  }
  const sliced = cutAxes(c, cut, strides)
  const squeezed = removed.length > 0 ? c.op('Squeeze', [sliced, c.ints(removed)]) : sliced
  return added.length > 0 ? c.op('Unsqueeze', [squeezed, c.ints(added)]) : squeezed
}

function cutAxes(c: Call, cut: readonly Entry[], strides: readonly number[]): string {
  if (cut.length === 0) return c.value()
  const [begins, ends] = [c.content(1), c.content(2)]
  const axes = c.ints(cut.map((e) => e.axis))
  const steps = cut.map(({ i }) => (bit(c.number('shrink_axis_mask'), i) ? 1 : (strides[i] ?? 1)))
  if (steps.includes(0)) c.refuse('its stride is 0')
  const bounds = begins && ends ? knownBounds(c, cut, steps, begins, ends) : computedBounds(c, cut, steps)
  return c.op('Slice', [c.value(), ...bounds, axes, c.ints(steps)])
}

function knownBounds(
  c: Call,
  cut: readonly Entry[],
  steps: readonly number[],
  begins: readonly number[],
  ends: readonly number[]
): readonly [string, string] {
  const offset = c.flag('offset')
  const pairs = cut.map(({ i }, k) => {
    const [begin, last] = [begins[i] ?? 0, ends[i] ?? 0]
    if (bit(c.number('shrink_axis_mask'), i)) return [begin, begin === -1 ? far : begin + 1] as const
    const isBack = (steps[k] ?? 1) < 0
    return [
      bit(c.number('begin_mask'), i) ? (isBack ? far : 0) : begin,
      bit(c.number('end_mask'), i) ? (isBack ? -far : far) : offset ? begin + last : last
    ] as const
  })
  return [c.ints(pairs.map(([b]) => b)), c.ints(pairs.map(([, e]) => e))]
}

/** The same where begin or end is computed: entries that a mask covers are replaced. */
function computedBounds(c: Call, cut: readonly Entry[], steps: readonly number[]): readonly [string, string] {
  const picked = c.ints(cut.map(({ i }) => i))
  const begin = c.op('Gather', [c.int64(1), picked], { axis: 0 })
  const given = c.op('Gather', [c.int64(2), picked], { axis: 0 })
  const last = c.flag('offset') ? c.op('Add', [begin, given]) : given
  const covered = (name: string): string =>
    c.constant(
      'bool',
      [cut.length],
      cut.map(({ i }) => Number(bit(c.number(`${name}_mask`), i)))
    )
  const start = c.op('Where', [covered('begin'), c.ints(steps.map((s) => (s < 0 ? far : 0))), begin])
  const stop = c.op('Where', [covered('end'), c.ints(steps.map((s) => (s < 0 ? -far : far))), last])
  // A single position ends behind itself; behind -1 is the end.
  const next = c.op('Add', [begin, c.ints([1])])
  const single = c.op('Where', [c.op('Equal', [next, c.ints([0])]), c.ints([far]), next])
  const shrunk = covered('shrink_axis')
  return [c.op('Where', [shrunk, begin, start]), c.op('Where', [shrunk, single, stop])]
}
