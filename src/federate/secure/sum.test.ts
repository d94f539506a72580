/** The whole protocol in one process: what it gives, whom it loses, and whom it does not believe. */
import { describe, expect, it } from 'vitest'
import { PareError } from '../../base/errors.ts'
import { rng } from '../../base/random.ts'
import { makeConsistency, makeKeys, makeMasked, makeShares, makeUnmask } from './client.ts'
import { signerOf } from './crypto.ts'
import { unpackWords } from './fixed.ts'
import { type Step, steps, writeList, writeSet } from './messages.ts'
import { neighbourCount } from './neighbours.ts'
import { nobleCrypto } from './noble.ts'
import { readState, takePart, type Vault, writeState } from './part.ts'
import { secureServer } from './server.ts'
import { agreedOf, checkSetup, signRoster, thresholdOf } from './setup.ts'
import { caseOf, plainSum, type Ran, runSum, withSeed } from './sum.cases.ts'
import type { Signer } from './types.ts'
import { webCrypto } from './webcrypto.ts'

const crypto = webCrypto(globalThis.crypto.subtle)

const codeOf = async (run: Promise<unknown>): Promise<string> =>
  run.then(
    () => 'no error',
    (thrown: unknown) => (thrown instanceof PareError ? thrown.code : String((thrown as Error).stack))
  )

describe('the sum', () => {
  it.each([3, 10])('of %d clients is the plain sum of whole numbers', async (n) => {
    const c = await caseOf(crypto, n, 100)
    const { sum, clients } = (await runSum(c)).server.result()
    expect(clients).toEqual(c.setup.cohort)
    expect([...sum]).toEqual([...plainSum(c, clients)])
  })

  it('is exact where words fill their bits', async () => {
    for (const bits of [4, 12, 20]) {
      const c = await caseOf(crypto, 10, 50, bits)
      for (const input of c.inputs) input.fill(2 ** bits - 1)
      const { sum, clients } = (await runSum(c)).server.result()
      expect([...sum]).toEqual([...plainSum(c, clients)])
      expect(sum[0]).toBe(10 * (2 ** bits - 1))
    }
  })

  it.each(steps)('is exact where three of ten drop out before %s', async (at) => {
    const c = await caseOf(crypto, 10, 60)
    const { server } = await runSum(c, (step, client) => step === at && client % 4 === 1)
    const { sum, clients } = server.result()
    const isHeard = at === 'consistency' || at === 'unmask'
    expect(clients).toEqual(isHeard ? c.setup.cohort : [0, 2, 3, 4, 6, 7, 8])
    expect([...sum]).toEqual([...plainSum(c, clients)])
  })

  it.each(['masked', 'unmask'] as const)(
    'of 48 clients with neighbours is exact where 30 percent drop out before %s',
    async (at) => {
      const c = await caseOf(crypto, 48, 20)
      const lost = new Set(rng('lost').permutation(48).slice(0, 14))
      const { server } = await runSum(c, (step, client) => step === at && lost.has(client))
      const { sum, clients } = server.result()
      expect([...sum]).toEqual([...plainSum(c, clients)])
    },
    240_000
  )

  it.each(steps)(
    'is never made where four of ten drop out before %s, and no message unmasks an input',
    async (at) => {
      const c = await caseOf(crypto, 10, 60)
      let server: Ran['server'] | undefined
      const ran = runSum(c, (step, client) => step === at && client < 4).then((r) => {
        server = r.server
      })
      expect(await codeOf(ran)).toBe('E_PRIVACY')
      expect(server).toBeUndefined()
    },
    240_000
  )

  it('gives the same bytes with either implementation', async () => {
    const drops = (step: Step, client: number): boolean => step === 'masked' && client === 2
    const both = await Promise.all(
      [crypto, nobleCrypto].map(async (of) => {
        const { server, sent } = await runSum(await caseOf(withSeed(of, 'same'), 7, 30), drops)
        return {
          sum: [...server.result().sum],
          sent: [...sent].map(([s, m]) => [s, [...m].map(([k, b]) => [k, ...b])])
        }
      })
    )
    expect(both[0]).toEqual(both[1])
  })

  it('asks neighbours alone above 32 clients', () => {
    expect(neighbourCount(32)).toBe(31)
    expect(neighbourCount(100)).toBeLessThan(80)
    expect(neighbourCount(1000)).toBeLessThan(150)
    for (let n = 33; n < 300; n += 13) {
      const k = neighbourCount(n)
      expect(k % 2 === 0 || k === n - 1).toBe(true)
      expect(k).toBeLessThan(255)
    }
  })
})

describe('what the server sees', () => {
  it('is uniform: of every masked input, and of the same input in two rounds, which differ', async () => {
    const c = await caseOf(crypto, 5, 8192, 8)
    for (const input of c.inputs) input.fill(0)
    const other = { ...c, setup: { ...c.setup, round: 4 } }
    const rounds = await Promise.all([runSum(c), runSum(other)])
    const seen = rounds.map(({ sent }) => sent.get('masked') as ReadonlyMap<number, Uint8Array>)
    for (const messages of seen)
      for (const message of messages.values()) {
        // Words of 11 bits: their low 8 bits, of which each value should come 32 times.
        const counts = new Float64Array(256)
        for (const w of unpackWords(message, 11, 8192)) counts[w & 255] = (counts[w & 255] as number) + 1
        const chi = counts.reduce((sum, x) => sum + (x - 32) ** 2 / 32, 0)
        // 255 degrees of freedom: mean 255, standard deviation 22.6. Six of them.
        expect(chi).toBeGreaterThan(255 - 6 * 22.6)
        expect(chi).toBeLessThan(255 + 6 * 22.6)
      }
    expect(seen[0]?.get(0)).not.toEqual(seen[1]?.get(0))
  })
})

describe('a client', () => {
  it('leaves where the server gave another model to others', async () => {
    const c = await caseOf(crypto, 5, 10)
    const told = await agreedOf(crypto, c.setup)
    const other = await agreedOf(crypto, { ...c.setup, model: new Uint8Array(32).fill(9) })
    const keys = new Map<number, Uint8Array>()
    for (const client of c.setup.cohort) {
      const agreed = client === 3 ? other : told
      keys.set(client, (await makeKeys({ crypto, agreed }, client, c.signers[client] as Signer)).message)
    }
    const server = secureServer({ crypto, agreed: told })
    expect(await codeOf(server.receive(3, keys.get(3) as Uint8Array))).toBe('E_SIGNATURE')
    // A server that hides it from the others is found out by them, and by the one that was singled out.
    const state = await makeKeys({ crypto, agreed: told }, 0, c.signers[0] as Signer)
    keys.set(0, state.message)
    expect(await codeOf(makeShares({ crypto, agreed: told }, state, writeList(keys)))).toBe('E_SIGNATURE')
    const single = await makeKeys({ crypto, agreed: other }, 3, c.signers[3] as Signer)
    keys.set(3, single.message)
    expect(await codeOf(makeShares({ crypto, agreed: other }, single, writeList(keys)))).toBe('E_SIGNATURE')
  })

  it('leaves where its keys are left out, keys are doubled, or too few sent theirs', async () => {
    const c = await caseOf(crypto, 5, 10)
    const agreed = await agreedOf(crypto, c.setup)
    const o = { crypto, agreed }
    const states = await Promise.all(c.signers.map((s, i) => makeKeys(o, i, s)))
    const list = new Map(states.map((s) => [s.client, s.message]))
    const without = new Map([...list].filter(([k]) => k !== 0))
    const [first] = states
    if (!first) throw new Error('no state')
    expect(await codeOf(makeShares(o, first, writeList(without)))).toBe('E_PRIVACY')
    const few = new Map([...list].slice(0, 3))
    expect(await codeOf(makeShares(o, first, writeList(few)))).toBe('E_PRIVACY')
    const doubled = new Map(list)
    doubled.set(1, list.get(2) as Uint8Array)
    expect(await codeOf(makeShares(o, first, writeList(doubled)))).toBe('E_PRIVACY')
    const forged = new Map(list)
    forged.set(
      1,
      (list.get(1) as Uint8Array).map((b, i) => (i === 100 ? b ^ 1 : b))
    )
    expect(await codeOf(makeShares(o, first, writeList(forged)))).toBe('E_SIGNATURE')
  })

  it('gives no share where clients were told different lists of inputs', async () => {
    const c = await caseOf(crypto, 7, 10)
    const agreed = await agreedOf(crypto, c.setup)
    const o = { crypto, agreed }
    const { states, sent } = await runUntilMasked(c)
    const [all, part] = [writeSet([0, 1, 2, 3, 4, 5, 6]), writeSet([0, 1, 2, 3, 4])]
    const signed = new Map<number, Uint8Array>()
    for (const k of [0, 1, 2, 3, 4, 5, 6]) {
      const list = k === 6 || k === 5 ? all : part
      signed.set(k, (await makeConsistency(o, states[k] as never, list, c.signers[k] as Signer)).message)
    }
    expect(sent.size).toBe(3)
    const zero = await makeConsistency(o, states[0] as never, part, c.signers[0] as Signer)
    expect(await codeOf(makeUnmask(o, zero, writeList(signed)))).toBe('E_SIGNATURE')
    const own = new Map([...signed].filter(([k]) => k < 4))
    expect(await codeOf(makeUnmask(o, zero, writeList(own)))).toBe('E_PRIVACY')
    // One list is signed, whatever the server says later.
    const again = await makeConsistency(o, zero, all, c.signers[0] as Signer)
    expect(again).toBe(zero)
    expect(
      await codeOf(makeConsistency(o, states[0] as never, writeSet([1, 2, 3, 4, 5]), c.signers[0] as Signer))
    ).toBe('E_PRIVACY')
  })

  it('never makes a second masked input, and does no step out of order', async () => {
    const c = await caseOf(crypto, 5, 10)
    const agreed = await agreedOf(crypto, c.setup)
    const o = { crypto, agreed }
    const { states } = await runUntilMasked(c)
    const state = states[0] as Parameters<typeof makeMasked>[1]
    const again = await makeMasked(o, state, writeList(new Map()), Promise.resolve(new Uint32Array(10).fill(5)))
    expect(again).toBe(state)
    const fresh = await makeKeys(o, 0, c.signers[0] as Signer)
    expect(await codeOf(makeMasked(o, fresh, writeList(new Map()), Promise.resolve(new Uint32Array(10))))).toBe(
      'E_PRIVACY'
    )
  })

  it('takes part only in what the organiser signed, and in sums that are large enough', async () => {
    const c = await caseOf(crypto, 5, 10)
    const key = (c.signers[2] as Signer).key
    const terms = { organiser: c.organiser, key, floor: 3 }
    expect(await checkSetup(crypto, c.setup, terms)).toBe(2)
    expect(await codeOf(checkSetup(crypto, c.setup, { ...terms, floor: thresholdOf(5) + 1 }))).toBe('E_PRIVACY')
    expect(await codeOf(checkSetup(crypto, c.setup, { ...terms, organiser: key }))).toBe('E_SIGNATURE')
    expect(await codeOf(checkSetup(crypto, { ...c.setup, cohort: [0, 1, 3, 4] }, terms))).toBe('E_MESSAGE')
    expect(await codeOf(checkSetup(crypto, { ...c.setup, cohort: [0, 1, 2, 2, 4] }, terms))).toBe('E_MESSAGE')
    expect(await codeOf(checkSetup(crypto, { ...c.setup, cohort: [2] }, { ...terms, floor: 1 }))).toBe('E_PRIVACY')
    const [roster, run] = [c.setup.roster, c.setup.run]
    const invented = {
      ...roster,
      keys: [...roster.keys.slice(1), (await signerOf(crypto, new Uint8Array(32).fill(1))).key]
    }
    expect(await codeOf(checkSetup(crypto, { ...c.setup, roster: invented }, terms))).toBe('E_SIGNATURE')
    expect(await codeOf(signRoster(crypto, new Uint8Array(32), run, [key, key]))).toBe('E_SIGNATURE')
  })

  it('that was killed after any message goes on and sends the same bytes again', async () => {
    const c = await caseOf(crypto, 5, 40)
    const agreed = await agreedOf(crypto, c.setup)
    const server = secureServer({ crypto, agreed })
    const waiting = new Set<() => void>()
    const first = new Map<string, string>()
    const kills = new Map<number, number>()
    let isBusy = false
    const advance = async (): Promise<void> => {
      if (isBusy || server.step === 'done' || server.senders.size < 5) return
      isBusy = true
      await server.advance()
      isBusy = false
      for (const wake of waiting) wake()
      waiting.clear()
    }
    const part = (client: number, vault: Vault): Promise<void> =>
      takePart({
        crypto,
        setup: c.setup,
        terms: { organiser: c.organiser, floor: 2 },
        signer: c.signers[client] as Signer,
        input: Promise.resolve(c.inputs[client] as Uint32Array),
        vault,
        channel: {
          send: async (step, message) => {
            const known = first.get(`${client} ${step}`)
            if (known !== undefined) expect(message.join()).toBe(known)
            else {
              first.set(`${client} ${step}`, message.join())
              await server.receive(client, message)
              await advance()
              const killed = kills.get(client) ?? 0
              kills.set(client, killed + 1)
              if ((killed + client) % 2 === 0) throw new Error('killed')
            }
          },
          receive: async (step) => {
            while (server.step !== step) await new Promise<void>((done) => waiting.add(done))
            return server.messageFor(client)
          }
        }
      })
    await Promise.all(
      c.signers.map(async (_, client) => {
        let kept: Uint8Array | undefined
        const vault: Vault = {
          read: async () => kept?.slice(),
          write: async (bytes) => {
            kept = bytes.slice()
          },
          remove: async () => {
            kept = undefined
          }
        }
        for (let tries = 0; tries < 9; tries++) {
          const ended = await codeOf(part(client, vault))
          if (ended === 'no error') break
          expect(ended).toContain('killed')
        }
        expect(kept).toBeUndefined()
      })
    )
    const { sum, clients } = server.result()
    expect([...sum]).toEqual([...plainSum(c, clients)])
  })

  it('keeps its state as bytes, and wipes its secrets in the end', async () => {
    const c = await caseOf(crypto, 5, 10)
    const agreed = await agreedOf(crypto, c.setup)
    const { states } = await runUntilMasked(c)
    const state = states[0] as Parameters<typeof writeState>[0]
    expect(readState(writeState(state, agreed.context), agreed.context)).toEqual(state)
    expect(() => readState(writeState(state, agreed.context), new Uint8Array(32))).toThrow('something else was agreed')
    const { states: ended } = await runSum(c)
    for (const s of ended)
      for (const secret of Object.values(s?.secrets ?? {})) expect(secret.every((b: number) => b === 0)).toBe(true)
  })
})

describe('the server of a sum', () => {
  it('refuses what is doubled, late, cut short, too long or forged, each by its code, and goes on', async () => {
    const c = await caseOf(crypto, 5, 10)
    const agreed = await agreedOf(crypto, c.setup)
    const o = { crypto, agreed }
    const server = secureServer(o)
    const [zero] = await Promise.all([makeKeys(o, 0, c.signers[0] as Signer)])
    const message = zero?.message as Uint8Array
    expect(await codeOf(server.receive(0, message.subarray(1)))).toBe('E_MESSAGE')
    expect(await codeOf(server.receive(0, Uint8Array.from([...message, 0])))).toBe('E_MESSAGE')
    expect(await codeOf(server.receive(1, message))).toBe('E_SIGNATURE')
    await server.receive(0, message)
    expect(await codeOf(server.receive(0, message))).toBe('E_CONFLICT')
    expect(await codeOf(server.receive(7, message))).toBe('E_LATE')
    expect(await codeOf(server.advance())).toBe('E_PRIVACY')
    expect(() => server.result()).toThrow('not there yet')
  })

  it('takes 2,000 mutated messages without any harm: each is refused by a code, or is what was sent', async () => {
    const random = rng('mutated')
    const c = await caseOf(crypto, 5, 12)
    const agreed = await agreedOf(crypto, c.setup)
    const { sent } = await runSum(c)
    const codes = new Map<string, number>()
    for (let i = 0; i < 2000; i++) {
      const at = random.below(steps.length)
      const step = steps[at] as Step
      // A server at the step: it takes the messages of the steps before, which were good.
      const server =
        i % 200 < 5 || i < 5
          ? await serverAt(agreed, sent, at)
          : (servers.get(at) ?? (await serverAt(agreed, sent, at)))
      servers.set(at, server)
      const good = sent.get(step)?.get(0) as Uint8Array
      const code = await codeOf(server.receive(0, mutated(good, random)))
      if (code === 'no error') servers.delete(at)
      expect(code).toMatch(/^E_(MESSAGE|SIGNATURE|CONFLICT)$|^no error$/)
      codes.set(code, (codes.get(code) ?? 0) + 1)
    }
    expect(codes.get('E_MESSAGE')).toBeGreaterThan(500)
    expect(codes.get('E_SIGNATURE')).toBeGreaterThan(250)
  })

  it('finds the share that is wrong and does without it', async () => {
    const c = await caseOf(crypto, 7, 12)
    const agreed = await agreedOf(crypto, c.setup)
    const { sent } = await runSum(c)
    const server = await serverAt(agreed, sent, 4)
    for (const [client, message] of sent.get('unmask') ?? []) {
      const wrong = message.slice()
      // The first share of a seed that client 6 gives, of client 0.
      if (client === 6) wrong[4 + 2 + 2] = (wrong[4 + 2 + 2] as number) ^ 1
      await server.receive(client, wrong)
    }
    await server.advance()
    expect([...server.result().sum]).toEqual([...plainSum(c, server.result().clients)])
  })
})

const servers = new Map<number, ReturnType<typeof secureServer>>()

async function serverAt(
  agreed: Awaited<ReturnType<typeof agreedOf>>,
  sent: Ran['sent'],
  at: number
): Promise<ReturnType<typeof secureServer>> {
  const server = secureServer({ crypto, agreed })
  for (const step of steps.slice(0, at)) {
    for (const [client, message] of sent.get(step) ?? []) await server.receive(client, message)
    await server.advance()
  }
  return server
}

function mutated(good: Uint8Array, random: ReturnType<typeof rng>): Uint8Array {
  const kind = random.below(4)
  if (kind === 0) return good.slice(0, random.below(good.length))
  if (kind === 1)
    return Uint8Array.from([...good, ...Array.from({ length: 1 + random.below(5) }, () => random.below(256))])
  const out = good.slice()
  for (let k = 0; k <= random.below(3); k++) out[random.below(out.length)] = kind === 2 ? random.below(256) : 255
  return out
}

/** States of clients whose masked inputs were sent. */
async function runUntilMasked(c: Awaited<ReturnType<typeof caseOf>>): Promise<Pick<Ran, 'states' | 'sent'>> {
  const agreed = await agreedOf(crypto, c.setup)
  const o = { crypto, agreed }
  const server = secureServer(o)
  const states: Ran['states'][number][] = []
  const sent = new Map<Step, ReadonlyMap<number, Uint8Array>>()
  for (const step of steps.slice(0, 3)) {
    for (const client of c.setup.cohort) {
      const told = server.messageFor(client)
      const before = states[client] as Parameters<typeof makeShares>[1]
      const after =
        step === 'keys'
          ? await makeKeys(o, client, c.signers[client] as Signer)
          : step === 'shares'
            ? await makeShares(o, before, told)
            : await makeMasked(o, before, told, Promise.resolve(c.inputs[client] as Uint32Array))
      states[client] = after
      await server.receive(client, after.message)
    }
    sent.set(step, new Map())
    await server.advance()
  }
  return { states, sent }
}
