/** A federation of digits in one process, for tests: a server with its folder, and clients with theirs. */
import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { subset } from '../src/data/split.ts'
import { writeModel } from '../src/formats/index.ts'
import { writeWhole } from '../src/node/federate/folder.ts'
import { joinFromFile } from '../src/node/federate/join.ts'
import type { ServerOptions } from '../src/node/federate/options.ts'
import { type FederationServer, serveFederation } from '../src/node/federate/serve.ts'
import type { Dataset } from '../src/types.ts'
import { digits, network } from './digits.ts'

export const serverOptions: ServerOptions = {
  seed: 'federation',
  minClients: 4,
  minUpdates: 3,
  overSelect: 1,
  deadline: 60,
  rule: 'mean',
  hostile: 0.2,
  boundFactor: 2
}

export const recipe = { rounds: 3, clientsPerRound: 4, local: { epochs: 1, batch: 10, rate: 0.05 } }

export interface Begun {
  readonly folder: string
  readonly server: FederationServer
}

/** Data of client `k`, none of which another has. */
export const dataOf = (k: number, each = 40): Dataset => {
  const all = digits(10 * each, 'federation')
  return subset(
    all,
    Array.from({ length: each }, (_, i) => k * each + i)
  )
}

export const held = (): Dataset => digits(300, 'held')

export async function begin(
  o: {
    readonly server?: Partial<ServerOptions>
    readonly recipe?: Record<string, unknown>
    readonly clients?: number
    readonly host?: string
    readonly port?: number
    readonly origins?: readonly string[]
    readonly url?: string
  } = {},
  folder = mkdtempSync(join(tmpdir(), 'federation-'))
): Promise<Begun> {
  const model = join(folder, 'first.onnx')
  writeWhole(model, writeModel(network('federation')).bytes as Uint8Array)
  const server = await serveFederation({
    ...{ model, folder: join(folder, 'run'), host: o.host ?? '127.0.0.1', port: o.port ?? 0 },
    recipe: { ...recipe, ...o.recipe },
    server: { ...serverOptions, ...o.server },
    invitations: o.clients ?? 4,
    score: held(),
    origins: o.origins ?? [],
    ...(o.url === undefined ? {} : { url: o.url })
  })
  return { folder, server }
}

/** Client `k` from its invitation to the end of the run. */
export const join1 = (
  server: FederationServer,
  k: number,
  o: Partial<Parameters<typeof joinFromFile>[0]> = {}
): ReturnType<typeof joinFromFile> =>
  joinFromFile({ invitation: server.invitations[k] as string, data: dataOf(k), seed: `client ${k}`, ...o })
