/** A server and a client that are killed in the middle of a round, as processes: what comes out is what an undisturbed run gives. */
import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, it } from 'vitest'
import { writeModel } from '../src/formats/index.ts'
import { joinFromFile } from '../src/node/federate/join.ts'
import { network } from './digits.ts'
import { begin, dataOf, join1 } from './federation.ts'

const program = fileURLToPath(new URL('../dist/cli/main.js', import.meta.url))
const wait = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

const freePort = (): Promise<number> =>
  new Promise((resolve) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address() as { readonly port: number }
      server.close(() => resolve(port))
    })
  })

/** A process that is started again whenever it was killed. */
function kept(words: readonly string[]): { kill(): void; readonly ended: Promise<number | null> } {
  let child: ChildProcess
  const ended = new Promise<number | null>((resolve) => {
    const start = (): void => {
      child = spawn(process.execPath, [program, ...words, '--quiet'], { stdio: 'ignore' })
      child.on('exit', (code, signal) => (signal === 'SIGKILL' ? start() : resolve(code)))
    }
    start()
  })
  return { kill: () => void child.kill('SIGKILL'), ended }
}

const dataModule = `
export default {
  size: 20,
  labelled: true,
  async *batches({ batch, indices = Array.from({ length: 20 }, (_, i) => i) }) {
    for (let at = 0; at < indices.length; at += batch) {
      const labels = indices.slice(at, at + batch).map((i) => i % 10)
      const pixels = Float32Array.from({ length: labels.length * 196 }, (_, k) => (k % 196) / 196)
      yield { n: labels.length, inputs: { x: { dtype: 'float32', shape: [labels.length, 1, 14, 14], bytes: new Uint8Array(pixels.buffer) } }, labels }
    }
  }
}
`

it('a server and a client that were killed come to the same bytes', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'kills-'))
  const [module, model, run] = ['data.mjs', 'model.onnx', 'run'].map((name) => join(folder, name)) as [
    ...[string, string, string]
  ]
  writeFileSync(module, dataModule)
  writeFileSync(model, writeModel(network('federation')).bytes as Uint8Array)
  const recipe = { rounds: 3, clientsPerRound: 3, local: { epochs: 1, batch: 10, rate: 0.05 }, up: { codec: 'stc' } }
  writeFileSync(join(folder, 'recipe.json'), JSON.stringify(recipe))

  const { server: plain } = await begin({ clients: 3, recipe, server: { seed: '7', minClients: 3, minUpdates: 3 } })
  await Promise.all([join1(plain, 0), join1(plain, 1), join1(plain, 2, { data: module, seed: '2' })])
  await plain.ended
  const wanted = plain.shown().told.commits.map((c) => c.state)
  await plain.close()

  const port = await freePort()
  const url = `http://127.0.0.1:${port}`
  const server = kept([
    ...['federate', 'serve', model, '--out', run, '--recipe', join(folder, 'recipe.json'), '--port', String(port)],
    ...['--clients', '3', '--min-clients', '3', '--min-updates', '3', '--over-select', '1', '--seed', '7']
  ])
  const invitations = join(run, 'invitations')
  const invitation = (k: number): string => join(invitations, `00${k + 1}.json`)
  while (!existsSync(invitations) || readdirSync(invitations).length < 3) await wait(20)
  const client = kept(['federate', 'join', url, '--data', module, '--invite', invitation(2), '--seed', '2'])
  const kills = new Map([
    ['sent 0', server.kill],
    ['trains 1', client.kill],
    ['sent 1', server.kill]
  ])
  const here = [0, 1].map((k) =>
    joinFromFile({
      ...{ invitation: invitation(k), url, data: dataOf(k), seed: `client ${k}` },
      told: (e) => {
        const moment = k === 0 && 'round' in e ? `${e.kind} ${e.round}` : ''
        kills.get(moment)?.()
        kills.delete(moment)
      }
    })
  )
  await Promise.all(here)
  expect(await client.ended).toBe(0)
  expect(await server.ended).toBe(0)
  expect(kills.size).toBe(0)
  const journal = readFileSync(join(run, 'journal'), 'utf8').trim().split('\n')
  const events = journal.map((line) => JSON.parse(line) as { readonly kind: string; readonly state?: string })
  expect(events.flatMap((e) => (e.kind === 'commit' ? [e.state] : []))).toEqual(wanted)
}, 240_000)
