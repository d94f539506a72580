/** Two pages of Chromium and one client in Node finish a federation of digits. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { toFloats } from '../src/ir/tensor.ts'
import { readWhole } from '../src/node/federate/folder.ts'
import { type Chromium, executable, openChromium } from './browser.ts'
import { begin, dataOf, join1 } from './federation.ts'

/** Images of client `k` as floats; labels are 0 … 9 in turn. */
async function images(k: number): Promise<Uint8Array> {
  for await (const { inputs } of dataOf(k).batches({ batch: 40 }))
    return new Uint8Array(toFloats(inputs['x'] as Parameters<typeof toFloats>[0]).buffer)
  throw new Error('no samples')
}

/** Finds `pare`, `runner` and `bytesAt`. */
const program = (k: number): string => `
  const invitation = JSON.parse(new TextDecoder().decode(await bytesAt('/${k}.json')))
  const values = new Float32Array((await bytesAt('/${k}.f32')).buffer)
  const labels = Array.from({ length: values.length / 196 }, (_, i) => i % 10)
  const data = pare.arrayDataset({ inputs: { x: pare.tensor('float32', [labels.length, 1, 14, 14], values) }, labels })
  const told = []
  const joined = await pare.joinFederation({ invitation, data, engine: runner, told: (e) => told.push(e.kind) })
  const left = await indexedDB.databases()
  return { ...joined, told, databases: left.length }
`

describe.skipIf(!executable)('a federation with headless Chromium (skipped where Chromium is not installed)', () => {
  let browser: Chromium | undefined
  const files: Record<string, Uint8Array> = {}
  beforeAll(async () => {
    for (const k of [0, 1]) files[`/${k}.f32`] = await images(k)
    browser = await openChromium(files)
  }, 60_000)
  afterAll(() => browser?.close())

  it.each([false, true])(
    'two tabs and one Node client end a run; secure sums: %s',
    async (isSecure) => {
      const { server } = await begin({
        clients: 3,
        origins: [browser?.origin ?? ''],
        server: { minClients: 3, minUpdates: 3, ...(isSecure ? { secure: { bits: 12, clip: 0.25 } } : {}) },
        recipe: { rounds: 2, clientsPerRound: 3 }
      })
      for (const k of [0, 1]) files[`/${k}.json`] = readWhole(server.invitations[k] as string) as Uint8Array
      const tabs = [0, 1].map((k) => (browser as Chromium).run(program(k)))
      const [node, ...pages] = await Promise.all([join1(server, 2), ...tabs])
      expect(await server.ended).toBe('all 2 rounds are done')
      for (const page of pages as Record<string, unknown>[]) {
        expect(page).toMatchObject({ rounds: 2, why: 'all 2 rounds are done' })
        expect(page['told']).toContain('sent')
        expect(page['up']).toBeGreaterThan(1000)
        expect(page['databases']).toBeGreaterThan(0)
      }
      expect(node.rounds).toBe(2)
      for (const c of server.shown().told.commits) expect(c.clients).toHaveLength(3)
      console.log(
        `bytes of bodies up and down: ${[node, ...pages].map((p) => `${(p as typeof node).up} ${(p as typeof node).down}`).join(', ')}; on sockets ${server.shown().received} ${server.shown().sent}`
      )
      await server.close()
    },
    180_000
  )
})
