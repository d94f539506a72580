/**
 * Which operators of a file a device takes, which run elsewhere, which keep it from loading: an evaluator of the facts that
 * targets state (`Target.device`). Three values: a fact that is not known makes a verdict unknown, never favourable.
 */
import { featureWords, isMet } from '../ir/rows.ts'
import type { OperatorVerdict, Preflight, Reason } from '../report/types.ts'
import type { DType } from '../types.ts'
import { changesOf } from './changes.ts'
import { memoryOf, rooflineOf } from './roofline.ts'
import type { Condition, Device, Fact, Facts, FileOperator, Sourced, Target } from './types.ts'

/** `undefined` for a target that runs all that it loads. */
export function preflight(
  target: Pick<Target, 'name' | 'device'>,
  operators: readonly FileOperator[]
): Preflight | undefined {
  const { device } = target
  if (!device) return undefined
  const as = operators.some(isCoded) ? undefined : device.as
  const seen = as ? operators.map((op) => ({ ...op, facts: quantized(op.facts, as) })) : operators
  const alone = seen.map((op) => judged(device, op))
  const { verdicts, parts } = placed(device, operators, alone)
  const all = operators.map(
    (op, i): OperatorVerdict => ({
      ...{ name: op.name, op: op.op },
      ...(verdicts[i] as Judged),
      ...(op.macs === undefined ? {} : { macs: op.macs })
    })
  )
  const macs = operators.map((op) => op.macs)
  return {
    target: target.name,
    read: device.read,
    urls: device.urls,
    ...(as ? { as } : {}),
    operators: all,
    parts,
    gains: device.rest.parts === 'all' ? [] : gainsOf(device, operators, alone),
    changes: changesOf(device, seen, alone, (op) => isOn(judged(device, op))),
    memory: memoryOf(device, operators, as),
    ...estimated(device, seen, verdicts, as),
    ...(macs.every((n) => n !== undefined) ? { share: shareOf(all, macs as readonly number[]) } : {}),
    ...(device.rest.to === undefined ? {} : { elsewhere: device.rest.to }),
    notes: [
      ...(device.rest.note === undefined ? [] : [said(device.rest, device.rest.note)]),
      ...device.notes.map((n) => said(n, n.says))
    ]
  }
}

/** The sum over what runs on the device, where its rates and all figures are known. */
function estimated(
  device: Device,
  operators: readonly FileOperator[],
  verdicts: readonly Judged[],
  as: DType | undefined
): Pick<Preflight, 'estimate'> {
  const on = operators.filter((_, i) => isOn(verdicts[i] as Judged))
  const ms = rooflineOf(device.rates, on, as)
  const { configuration } = device.rates ?? {}
  return ms === undefined ? {} : { estimate: { ms, ...(configuration === undefined ? {} : { configuration }) } }
}

type Judged = Pick<OperatorVerdict, 'verdict' | 'reasons'>

const isCoded = ({ facts }: FileOperator): boolean => ['int8', 'uint8', 'int16'].includes(`${facts('dtype')}`)

/** Of the multiply-adds, on the device. */
function shareOf(all: readonly OperatorVerdict[], macs: readonly number[]): number {
  const total = macs.reduce((n, m) => n + m, 0)
  const runs = all.reduce((n, o, i) => n + (isOn(o) ? (macs[i] as number) : 0), 0)
  return total === 0 ? 1 : runs / total
}

const isOn = ({ verdict }: Pick<OperatorVerdict, 'verdict'>): boolean => verdict === 'runs' || verdict === 'slow'

/** Facts of an operator once its floats are codes of a type. */
const quantized =
  (facts: Facts, as: DType): Facts =>
  (feature) => {
    const fact = facts(feature)
    if (feature === 'quantized') return 'yes'
    // Codes of a filter are at most 127, each.
    if (feature === 'weightSum' && fact === undefined) return 0
    if ((feature === 'dtype' || feature === 'weightType') && fact === 'float32')
      return as === 'int16' && feature === 'weightType' ? 'int8' : as
    return fact
  }

// ---------------------------------------------------------------- one operator

function judged(device: Device, op: FileOperator): Judged {
  const out = outside(device)
  if (device.absent?.names.includes(op.op))
    return { verdict: out, reasons: [{ ...source(device.absent), says: 'the device does not have it' }] }
  const groups = device.operators.filter((g) => op.op in g.take)
  if (groups.length === 0 && device.unlisted)
    return {
      verdict: 'unknown',
      reasons: [{ ...source(device.unlisted), says: 'it is not known which operators the device takes' }]
    }
  if (groups.length === 0 && !device.open)
    return { verdict: out, reasons: [{ says: 'it is none of the operators that the device takes' }] }
  const found = [typesOf(device, op), ...rulesOf(device, op), taken(device, groups, op)]
  const misses = found.flatMap((f) => (f.holds === false ? f.reasons : []))
  if (misses.length > 0) return { verdict: out, reasons: misses }
  const open = found.flatMap((f) => (f.holds === undefined ? f.reasons : []))
  if (open.length > 0) return { verdict: 'unknown', reasons: open }
  const doubts = doubtsOf(device, op)
  if (doubts.length > 0) return { verdict: 'unknown', reasons: doubts }
  const slow = slowBy(device, op)
  if (slow) return { verdict: 'slow', reasons: [slow] }
  const by = groups.find((g) => conditionsOf(g, op).some((all) => every(op.facts, all).holds === true))
  return by?.kernels === 'reference'
    ? { verdict: 'slow', reasons: [{ ...source(by), says: 'it has a kernel written for clarity, not for speed' }] }
    : { verdict: 'runs', reasons: [] }
}

const outside = ({ rest }: Device): 'elsewhere' | 'blocks' => (rest.to === undefined ? 'blocks' : 'elsewhere')

/** `holds` undefined: a fact is not known. */
interface Found {
  readonly holds: boolean | undefined
  readonly reasons: readonly Reason[]
}

function typesOf({ types }: Device, { facts }: FileOperator): Found {
  const all = types.map((t) => ({ type: t, ...every(facts, t.when) }))
  if (all.some((f) => f.holds)) return { holds: true, reasons: [] }
  const holds = all.some((f) => f.holds === undefined) ? undefined : false
  const isData = ([feature]: Condition): boolean => feature === 'dtype'
  const near = all.find(({ type }) => type.when.some((c) => isData(c) && isMet(facts, c)))
  if (near) return { holds, reasons: near.reasons.map((r) => ({ ...source(near.type), ...r })) }
  const want = [...new Set(types.flatMap((t) => t.when.filter(isData).flatMap(([, , v]) => v)))]
  return { holds, reasons: reasonsOf(facts, [['dtype', 'in', want]]).map((r) => ({ ...source(types[0]), ...r })) }
}

const rulesOf = ({ rules }: Device, { facts }: FileOperator): Found[] =>
  rules.map((rule) => {
    const { holds, reasons } = every(facts, rule.when)
    return { holds, reasons: reasons.map((r) => ({ ...source(rule), ...r })) }
  })

/** What is known to go wrong now and then with such an operator. */
const doubtsOf = ({ doubtful = [] }: Device, { op, facts }: FileOperator): Reason[] =>
  doubtful.flatMap(({ ops, when, ...from }) => {
    if (ops && !ops.includes(op)) return []
    if (!when) return [{ ...source(from), says: 'it is known to run elsewhere now and then' }]
    const { holds, reasons } = every(facts, when)
    return holds === false ? reasons.map((r) => ({ ...source(from), ...r })) : []
  })

/** The rule that an operator with fast kernels does not meet; `undefined` where it meets one, or has none. */
function slowBy({ fast = [] }: Device, { op, facts }: FileOperator): Reason | undefined {
  const rows = fast.filter((row) => row.op === op).map((row) => ({ row, ...every(facts, row.when) }))
  const [first] = rows.toSorted((a, b) => a.reasons.length - b.reasons.length)
  if (!first || rows.some((r) => r.holds !== false)) return undefined
  const [reason] = first.reasons
  return { ...source(first.row), ...reason, says: `${reason?.says}: ${first.row.costs}` }
}

type Group = Device['operators'][number]

const conditionsOf = (group: Group, { op, facts }: FileOperator): readonly (readonly Condition[])[] => {
  const take = group.take[op]
  const type = facts('dtype')
  if (take === undefined || (group.of && !group.of.some((t) => t === type))) return []
  return take === true ? [[]] : take
}

/** One set of conditions of one group must hold; the reasons are those of the set that misses the least. */
function taken({ open }: Device, groups: readonly Group[], op: FileOperator): Found {
  const all = groups.flatMap((group) => conditionsOf(group, op).map((when) => ({ group, ...every(op.facts, when) })))
  if (all.some((f) => f.holds)) return { holds: true, reasons: [] }
  const types = [...groups.flatMap((g) => g.of ?? []), ...(open?.of ?? [])]
  if (all.length === 0) {
    const type = op.facts('dtype')
    if (open && (!open.of || type === undefined || open.of.some((t) => t === type))) return { holds: true, reasons: [] }
    return {
      holds: false,
      reasons: [{ ...source(groups[0] ?? open), says: `its data is ${type}; it takes it in ${types.join(', ')}` }]
    }
  }
  const [best] = all.toSorted((a, b) => a.reasons.length - b.reasons.length)
  return {
    holds: all.some((f) => f.holds === undefined) ? undefined : false,
    reasons: (best?.reasons ?? []).map((r) => ({ ...source(best?.group), ...r }))
  }
}

function every(facts: Facts, when: readonly Condition[]): Found {
  const met = when.map((c) => isMet(facts, c))
  if (met.includes(false))
    return {
      holds: false,
      reasons: reasonsOf(
        facts,
        when.filter((_, i) => met[i] === false)
      )
    }
  if (met.includes(undefined))
    return {
      holds: undefined,
      reasons: reasonsOf(
        facts,
        when.filter((_, i) => met[i] === undefined)
      )
    }
  return { holds: true, reasons: [] }
}

const relationWords: Readonly<Record<Condition[1], string>> = {
  '==': 'it takes',
  '!=': 'it does not take',
  '<=': 'at most',
  '>=': 'at least',
  in: 'it takes',
  multiple: 'it takes multiples of'
}

const spelled = (value: Fact | Condition[2]): string => (typeof value === 'object' ? value.join(', ') : `${value}`)

const reasonsOf = (facts: Facts, when: readonly Condition[]): Reason[] =>
  when.map(([feature, relation, value]) => {
    const have = facts(feature)
    const says = `${featureWords[feature]} is ${have === undefined ? 'not known' : spelled(have)}; ${relationWords[relation]} ${spelled(value)}`
    return { says, feature, relation, want: value, ...(have === undefined ? {} : { have }) }
  })

const source = (s: Sourced | undefined): Partial<Sourced> =>
  s
    ? {
        from: s.from,
        ...(s.ref === undefined ? {} : { ref: s.ref }),
        ...(s.url === undefined ? {} : { url: s.url })
      }
    : {}

const said = (s: Sourced, says: string): Reason => ({ ...source(s), says })

// ---------------------------------------------------------------- parts

/** Connected parts that the device takes, and what becomes of operators that would run in another place. */
function placed(
  { rest }: Device,
  operators: readonly FileOperator[],
  alone: readonly Judged[]
): { readonly verdicts: readonly Judged[]; readonly parts: number } {
  const part = partsOf(operators, alone)
  const count = new Set(part.filter((p) => p !== undefined)).size
  if (rest.parts === 'all' || (count <= 1 && rest.parts === 'largest')) return { verdicts: alone, parts: count }
  const stays = (i: number): boolean => (rest.parts === 'first' ? isClear[i] === true : part[i] === largest)
  const isClear: boolean[] = []
  for (const [i, op] of operators.entries())
    isClear.push(isOn(alone[i] as Judged) && op.reads.every((r) => isClear[r] === true))
  const sizes = new Map<number, number>()
  for (const p of part) if (p !== undefined) sizes.set(p, (sizes.get(p) ?? 0) + 1)
  const largest = [...sizes].toSorted((a, b) => b[1] - a[1])[0]?.[0]
  const verdicts = alone.map((j, i): Judged => {
    if (!isOn(j) || stays(i)) return j
    const says =
      rest.parts === 'first'
        ? `it would be taken, and is behind ${blocker(operators, alone, i)}`
        : 'it would be taken, and is not in the largest part'
    return { verdict: 'behind', reasons: [said(rest, says)] }
  })
  return { verdicts, parts: count }
}

/** Runs of operators that are taken, in the order of the file: each is a part. */
function partsOf(operators: readonly FileOperator[], alone: readonly Judged[]): readonly (number | undefined)[] {
  let at = 0
  let wasOn = false
  return operators.map((_, i) => {
    const on = isOn(alone[i] as Judged)
    if (on && !wasOn) at++
    wasOn = on
    return on ? at : undefined
  })
}

/** The first operator in the file that is not taken and that this one depends on. */
function blocker(operators: readonly FileOperator[], alone: readonly Judged[], from: number): string {
  const seen = new Set<number>()
  const queue = [...(operators[from]?.reads ?? [])]
  for (let i = queue.pop(); i !== undefined; i = queue.pop()) {
    if (seen.has(i)) continue
    seen.add(i)
    queue.push(...(operators[i]?.reads ?? []))
  }
  const first = operators.find((_, i) => seen.has(i) && !isOn(alone[i] as Judged))
  return `${first?.op} ${first?.name}`.trim()
}

/** Kinds of operators that are not taken, with how many operators the device would run if it took them; the most first. */
function gainsOf(device: Device, operators: readonly FileOperator[], alone: readonly Judged[]): Preflight['gains'] {
  const count = (all: readonly Judged[]): number => placed(device, operators, all).verdicts.filter(isOn).length
  const now = count(alone)
  const names = new Set(operators.flatMap(({ op }, i) => (isOn(alone[i] as Judged) ? [] : [op])))
  return [...names]
    .map((op) => ({
      op,
      operators: count(alone.map((j, i) => (operators[i]?.op === op ? { verdict: 'runs', reasons: [] } : j)))
    }))
    .filter((g) => g.operators > now)
    .toSorted((a, b) => b.operators - a.operators)
}
