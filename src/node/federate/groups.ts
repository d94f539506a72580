/**
 * Secure sums of groups: clients are dealt into groups at random, each group has a sum of its own, and a rule that stands hostile
 * clients is applied to the groups' means. The server sees sums of whole groups alone; a rule that stands a share of hostile
 * updates now stands that share of groups with a hostile client in them.
 */
import { PareError } from '../../base/errors.ts'
import { rng } from '../../base/random.ts'
import { ruleFor } from '../../federate/robust.ts'
import { thresholdOf } from '../../federate/secure/setup.ts'
import type { OpenTold } from './events.ts'
import { type SumOfRound, type SumSetup, startSum } from './sum.ts'

/** A client is told of its own group alone. */
export type ToldOf = (key: string) => OpenTold

/** Groups of the clients of a round, by their places among them; the same for the same try of a round. */
export function groupsOf(clients: number, count: number, draw: string): number[][] {
  const order = rng(draw).permutation(clients)
  return Array.from({ length: count }, (_, g) => order.filter((_, i) => i % count === g).sort((a, b) => a - b))
}

/** The sums of all groups as one. Throws `E_PRIVACY` for groups so small that a sum could be over one client. */
export async function startGroups(
  s: SumSetup,
  count: number
): Promise<{ readonly sum: SumOfRound; readonly toldOf: ToldOf }> {
  if (thresholdOf(Math.floor(s.cohort.length / count)) < 2)
    throw new PareError('E_PRIVACY', `${s.cohort.length} clients are too few for ${count} groups`, {
      hint: 'ask more clients, or make fewer groups'
    })
  const secure = s.told.secure as NonNullable<OpenTold['secure']>
  const draw = `${s.info.run} ${s.told.attempt}`
  const groups = await Promise.all(
    groupsOf(s.cohort.length, count, draw).map(async (places) => {
      const told = { ...s.told, secure: { ...secure, cohort: places.map((p) => secure.cohort[p] as number) } }
      const sum = await startSum({ ...s, told, cohort: places.map((p) => s.cohort[p] as string) })
      return { places, told, sum, isLost: false }
    })
  )
  const placeOf = (key: string): number => {
    const place = s.cohort.indexOf(key)
    if (place >= 0) return place
    throw new PareError('E_LATE', `this client is not asked in round ${s.told.round}`)
  }
  const groupOf = (place: number): (typeof groups)[number] =>
    groups.find((g) => g.places.includes(place)) as (typeof groups)[number]
  const there = (): (typeof groups)[number][] => groups.filter((g) => !g.isLost)
  const own = (key: string): (typeof groups)[number] => {
    const group = groupOf(placeOf(key))
    if (group.isLost) throw new PareError('E_LATE', 'too few of the group of this client are left')
    return group
  }
  const receive: SumOfRound['receive'] = async (client, step, body, sha256) => {
    const group = own(s.cohort[client] as string)
    return group.sum.receive(group.places.indexOf(client), step, body, sha256)
  }
  const advance = async (): Promise<void> => {
    for (const group of there())
      try {
        await group.sum.advance()
      } catch (thrown) {
        if (!(thrown instanceof PareError && thrown.code === 'E_PRIVACY')) throw thrown
        group.isLost = true
      }
    if (there().length === 0) throw new PareError('E_PRIVACY', 'no group has enough clients left for a sum')
  }
  const sum: SumOfRound = {
    clientOf: placeOf,
    receive,
    advance,
    messageFor: (key, step) => own(key).sum.messageFor(key, step),
    replay: async (e, read) => {
      if (e.kind === 'step') await receive(e.client, e.step, read(e.sha256), e.sha256)
      if (e.kind === 'advanced') await advance()
    },
    step: () => there()[0]?.sum.step() ?? 'done',
    isWhole: () => there().every((g) => g.sum.isWhole()),
    isOver: (key) => groupOf(placeOf(key)).isLost || groupOf(placeOf(key)).sum.isOver(key),
    clients: () =>
      there()
        .flatMap((g) => g.sum.clients())
        .sort(),
    combined: (o, previous) => {
      const means = there().map((g) => g.sum.combined(o).mean)
      return {
        mean: ruleFor(o.rule).combine(means, { share: o.hostile, ...(previous ? { previous } : {}) }),
        bounded: 0
      }
    }
  }
  return { sum, toldOf: (key) => groupOf(placeOf(key)).told }
}
