/** A run from its folder to a server that answers. */
import { chmodSync, existsSync, mkdirSync, readFileSync } from 'node:fs'
import type { Socket } from 'node:net'
import { join } from 'node:path'
import { toArray } from '../../base/bytes.ts'
import { PareError } from '../../base/errors.ts'
import { fromHex, toHex } from '../../base/hex.ts'
import { metricFor } from '../../data/index.ts'
import {
  type FederationRecipe,
  localFor,
  modelOf,
  parseRecipe,
  sendsDifferences,
  startRun
} from '../../federate/index.ts'
import { fixedOf, type Invitation, invitationForm, type RunInfo, readForm } from '../../federate/net/forms.ts'
import { noiseRatio, noiseWarning, roundsWithin } from '../../federate/privacy/accountant.ts'
import { ruleFor } from '../../federate/robust.ts'
import { secureCrypto } from '../../federate/secure/crypto.ts'
import { modulusBits } from '../../federate/secure/fixed.ts'
import type { SecureCrypto } from '../../federate/secure/types.ts'
import { readModel } from '../../formats/read.ts'
import { meanScore } from '../../train/index.ts'
import type { Dataset } from '../../types.ts'
import { fileBytes, save } from '../files.ts'
import { isLoopback } from '../hosts.ts'
import { type HttpOptions, httpServer } from '../http.ts'
import { nodeRunner } from '../runner.ts'
import { openDataFor } from './data.ts'
import { openEngine } from './engine.ts'
import { readWhole, sha256Of, writeWhole } from './folder.ts'
import { type RunFile, runFileForm, type ServerOptions } from './options.ts'
import type { Shown } from './page.ts'
import { addRoutes } from './routes.ts'

export interface FederateServeOptions {
  /** ONNX. Not needed where the folder holds a run already. */
  readonly model?: string
  readonly folder: string
  readonly recipe: unknown
  readonly server: ServerOptions
  /** How many invitations are made; more where the folder holds fewer. */
  readonly invitations: number
  /** Name of a group for all invitations that are made now. */
  readonly group?: string
  readonly host: string
  readonly port: number
  /** Where clients reach the server, for invitations; by default where it listens. */
  readonly url?: string
  readonly tls?: { readonly cert: string; readonly key: string }
  /** Something in front of the server encrypts. */
  readonly isBehindProxy?: boolean
  readonly origins?: readonly string[]
  /** Labelled data by which models are scored, or its path. */
  readonly score?: Dataset | string
}

export interface FederationServer {
  readonly url: string
  /** Paths of invitations. */
  readonly invitations: readonly string[]
  readonly notes: readonly string[]
  readonly shown: () => Shown
  /** How the run ended; the result is written then. */
  readonly ended: Promise<string>
  close(): Promise<void>
}

/** Starts a run, or goes on with the one in the folder. Throws `E_USAGE` for an address that others reach without encryption. */
export async function serveFederation(o: FederateServeOptions): Promise<FederationServer> {
  refuseOpen(o)
  const crypto = await secureCrypto()
  mkdirSync(o.folder, { recursive: true })
  const { file, secret, isNew } = await runFile(o, crypto)
  const bytes = modelBytes(o.folder)
  const model = readModel(bytes)
  const recipe = parseRecipe(file.recipe)
  const engine = nodeRunner()
  const local = await localFor(model, recipe, engine)
  const { manifest, initial } = local
  await local.close()
  const first = startRun(recipe, manifest, initial, fromHex(file.run))
  const info: RunInfo = {
    ...{ pareFederation: 1, run: file.run, organiser: file.organiser, model: file.model, recipe: file.recipe },
    ...(file.server.secure ? { secure: file.server.secure } : {}),
    ...(file.server.privacy ? { bound: file.server.privacy.bound } : {})
  }
  const held = typeof o.score === 'string' ? await openDataFor(model, o.score) : o.score
  const metric = held && metricFor('top1')
  const rounds = await openEngine({
    ...{ folder: o.folder, crypto, secret, info, options: file.server, first },
    invitation: (token) => invitationOf(o.folder, token),
    failed: (thrown) =>
      process.stderr.write(`${thrown instanceof Error ? (thrown.stack ?? thrown.message) : String(thrown)}\n`),
    ...(held && metric ? { score: (run) => meanScore(modelOf(model, run), { data: held, metric }, { engine }) } : {})
  })
  const http = httpServer({ ...httpOptions(o, manifest.size, recipe), requestTimeoutMs: 120_000 })
  const traffic = countTraffic(http.app.server)
  const shown = (): Shown => {
    const spent = rounds.spent()
    return {
      ...{ run: file.run, rounds: recipe.rounds, clientsPerRound: recipe.clientsPerRound, parameters: manifest.size },
      ...{ told: rounds.told, options: file.server, ...traffic(), ...(metric ? { metric: metric.name } : {}) },
      ...(spent && file.server.privacy
        ? { spent: { epsilon: spent.epsilon, delta: file.server.privacy.delta, budget: file.server.privacy.epsilon } }
        : {})
    }
  }
  addRoutes(http.app, { engine: rounds, crypto, info, model: bytes, origins: o.origins ?? [], shown })
  const url = await http.listen({ host: o.host, port: o.port })
  const made = writeInvitations(o, file, o.url ?? url, crypto)
  return {
    ...{ url, invitations: made.paths, shown },
    notes: [
      ...(isNew ? [] : ['the folder holds this run already: it goes on as it was begun']),
      ...notesOf(file.server, recipe, manifest.size, o.invitations)
    ],
    ended: rounds.ended.then(async (why) => {
      await save(modelOf(model, rounds.run()), join(o.folder, 'result.onnx'), { force: true })
      return why
    }),
    close: async () => {
      await rounds.close()
      await http.close(2000)
    }
  }
}

function refuseOpen({ host, tls, isBehindProxy }: FederateServeOptions): void {
  if (isLoopback(host) || tls || isBehindProxy) return
  throw new PareError('E_USAGE', `others would reach ${host} without encryption`, {
    hint: '--tls-cert and --tls-key, or --behind-proxy where something in front encrypts'
  })
}

function httpOptions(o: FederateServeOptions, size: number, recipe: FederationRecipe): HttpOptions {
  // An update is at most 8 bytes a number, and shares for every client of a sum some 100 each.
  const most = 1024 * 1024 + 8 * size + 200 * Math.ceil(o.server.overSelect * recipe.clientsPerRound)
  const hosts = [o.host, ...(o.url !== undefined && URL.canParse(o.url) ? [new URL(o.url).hostname] : [])]
  return { maxBodyBytes: most, origins: o.origins ?? [], hosts, moreHosts: '--url', ...(o.tls ? { tls: o.tls } : {}) }
}

// ---------------------------------------------------------------- the folder

function modelBytes(folder: string): Uint8Array {
  const bytes = readWhole(join(folder, 'model.onnx'))
  if (bytes) return bytes
  throw new PareError('E_FILE', 'the model of the run is gone', { where: join(folder, 'model.onnx') })
}

async function runFile(
  o: FederateServeOptions,
  crypto: SecureCrypto
): Promise<{ file: RunFile; secret: Uint8Array; isNew: boolean }> {
  const [path, keyPath] = [join(o.folder, 'run.json'), join(o.folder, 'key')]
  const old = readWhole(path)
  if (old) {
    const secret = fromHex(readFileSync(keyPath, 'utf8').trim())
    return { file: readForm(runFileForm, old, 'run.json'), secret, isNew: false }
  }
  if (o.model === undefined)
    throw new PareError('E_USAGE', 'the folder holds no run: name a model to begin with', { where: o.folder })
  ruleFor(o.server.rule)
  refuseGroups(o.server)
  refuseWeights(o.server)
  const recipe = parseRecipe(o.recipe)
  refuseSimulated(recipe)
  if (o.server.secure) modulusBits(fixedOf(o.server.secure), Math.ceil(o.server.overSelect * recipe.clientsPerRound))
  const bytes = toArray(fileBytes(o.model))
  const secret = crypto.random(32)
  writeWhole(keyPath, new TextEncoder().encode(`${toHex(secret)}\n`), 0o600)
  chmodSync(keyPath, 0o600)
  writeWhole(join(o.folder, 'model.onnx'), bytes)
  const file: RunFile = {
    ...{ pareRun: 1, run: toHex(crypto.random(16)), organiser: toHex(await crypto.signingKey(secret)) },
    ...{ model: { sha256: sha256Of(bytes), bytes: bytes.length }, server: o.server },
    recipe: { ...recipe }
  }
  writeWhole(path, new TextEncoder().encode(`${JSON.stringify(file, null, 2)}\n`))
  return { file, secret, isNew: true }
}

/** The bound of what a client can change holds for clients that count alike. */
function refuseWeights({ secure, privacy }: ServerOptions): void {
  if (secure?.maxWeight !== undefined && privacy)
    throw new PareError('E_USAGE', 'with a budget of privacy all clients count alike in a secure sum', {
      hint: 'leave --secure-weights out'
    })
}

/** Differences going down, and what comes behind the last round, are for simulations alone. */
function refuseSimulated({ distil, compress, ...rest }: FederationRecipe): void {
  if (sendsDifferences(rest))
    throw new PareError('E_OPTION', 'a server sends whole models, as clients may miss a round', {
      where: 'down',
      hint: '"down": { "codec": "quantize", "bits": 4 }'
    })
  if (!distil && !compress) return
  throw new PareError('E_OPTION', `a server does not ${distil ? 'distil' : 'compress'} behind the last round`, {
    where: distil ? 'distil' : 'compress',
    hint: 'leave it out of the recipe, and do it with the result'
  })
}

/** Groups are of secure sums, and their rule has no noise that an accountant knows. */
function refuseGroups({ groups, secure, privacy }: ServerOptions): void {
  if (groups === undefined || (secure && !privacy)) return
  throw new PareError(
    'E_USAGE',
    secure ? 'groups and a budget of privacy do not go together' : 'groups are groups of secure sums',
    {
      hint: secure ? 'leave one of them out' : '--secure'
    }
  )
}

const nameOf = (n: number): string => String(n).padStart(3, '0')

/** What was made before; only their tokens count, wherever they were meant to lead. */
function* invitationFiles(
  folder: string
): Generator<{ readonly name: string; readonly path: string; readonly invitation: Invitation }> {
  for (let n = 1; ; n++) {
    const path = join(folder, 'invitations', `${nameOf(n)}.json`)
    const bytes = readWhole(path)
    if (!bytes) return
    yield { name: nameOf(n), path, invitation: readForm(invitationForm, bytes, 'an invitation') }
  }
}

/** Looked up as requests come: invitations are made behind the start of the rounds. */
function invitationOf(folder: string, token: string): { readonly name: string; readonly group?: string } | undefined {
  for (const { name, invitation } of invitationFiles(folder)) {
    const { group } = invitation
    if (invitation.token === token) return { name, ...(group === undefined ? {} : { group }) }
  }
  return undefined
}

function writeInvitations(
  o: FederateServeOptions,
  file: RunFile,
  url: string,
  crypto: SecureCrypto
): { readonly paths: string[] } {
  const folder = join(o.folder, 'invitations')
  if (!existsSync(folder)) mkdirSync(folder, { mode: 0o700 })
  const paths = [...invitationFiles(o.folder)].map((i) => i.path)
  while (paths.length < o.invitations) {
    const path = join(folder, `${nameOf(paths.length + 1)}.json`)
    const invitation: Invitation = {
      ...{ pareInvitation: 1, url, run: file.run, organiser: file.organiser, token: toHex(crypto.random(16)) },
      ...(o.group === undefined ? {} : { group: o.group })
    }
    writeWhole(path, new TextEncoder().encode(`${JSON.stringify(invitation, null, 2)}\n`), 0o600)
    paths.push(path)
  }
  return { paths }
}

/** What whoever starts a run should know. */
function notesOf(o: ServerOptions, recipe: FederationRecipe, size: number, clients: number): string[] {
  const { privacy } = o
  const notes: string[] = []
  if (privacy) {
    const { noise } = privacy
    const sampling = Math.min(1, recipe.clientsPerRound / Math.max(1, clients))
    const rounds = roundsWithin({ sampling, noise }, privacy, recipe.rounds)
    notes.push(
      `noise is ${noiseRatio(noise, size, recipe.clientsPerRound).toPrecision(3)} times the largest mean update; the budget has room for ${rounds} of ${recipe.rounds} rounds with ${clients} clients`
    )
    const warning = noiseWarning(noise, size, recipe.clientsPerRound)
    if (warning) notes.push(`warning: ${warning}`)
    if (privacy.delta * clients >= 1) notes.push(`warning: δ = ${privacy.delta} is not below 1 / ${clients} clients`)
  }
  if (o.secure && !o.groups && o.rule !== 'mean')
    notes.push(`the rule ${o.rule} sees no single update in secure sums: the mean is taken`)
  return notes
}

/** Bytes of all connections. */
function countTraffic(server: {
  on(event: 'connection', listener: (socket: Socket) => void): unknown
}): () => { received: number; sent: number } {
  const live = new Set<Socket>()
  let [received, sent] = [0, 0]
  server.on('connection', (socket) => {
    live.add(socket)
    socket.once('close', () => {
      live.delete(socket)
      received += socket.bytesRead
      sent += socket.bytesWritten
    })
  })
  return () => {
    const now = { received, sent }
    for (const s of live) {
      now.received += s.bytesRead
      now.sent += s.bytesWritten
    }
    return now
  }
}
