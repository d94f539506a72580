import { readFileSync } from 'node:fs'
import { PareError } from '../base/errors.ts'
import { parseRecipe } from '../federate/recipe.ts'
import type { FederateServeOptions, FederationServer } from '../node/federate/serve.ts'
import { readable } from './check.ts'
import { type Command, isOn, number, text } from './command.ts'
import { type Fields, recipeFlags, recipeFrom } from './federate-recipe.ts'
import type { Flag, Parsed } from './flags.ts'

const flag = (group: string, name: string, kind: Flag['kind'], about: string, more: Partial<Flag> = {}): Flag => ({
  ...{ name, kind, about, group },
  ...more
})

const flags: readonly Flag[] = [
  flag('run', 'out', 'text', 'folder of the run; one that holds a run goes on with it', {
    ...{ short: 'o', hint: 'FOLDER', default: 'MODEL.federation' }
  }),
  flag('run', 'clients', 'whole', 'invitations to write, one a client', {
    hint: 'N',
    default: 'clients per round',
    range: { least: 0 }
  }),
  flag('run', 'group', 'text', 'name of a group for the invitations written now', { hint: 'NAME' }),
  flag('run', 'eval-data', 'text', 'labelled data on which the model is scored after every round', { hint: 'PATH' }),
  flag('run', 'seed', 'whole', 'draws who is asked, and masks; not noise', { hint: 'N', default: 0 }),
  ...recipeFlags,
  flag('rounds', 'min-clients', 'whole', 'rounds begin once so many have joined', {
    ...{ default: 'clients per round', range: { least: 1 } }
  }),
  flag('rounds', 'min-updates', 'whole', 'a round with fewer changes nothing', {
    ...{ default: 'two thirds of a round', range: { least: 1 } }
  }),
  flag('rounds', 'over-select', 'number', 'ask so many times the clients that are needed', {
    ...{ default: 1.3, range: { least: 1, most: 10 } }
  }),
  flag('rounds', 'deadline', 'number', 'seconds of a round at most; less once rounds are known to be faster', {
    ...{ hint: 'S', default: 600, range: { above: 0 } }
  }),
  flag('privacy', 'secure', 'boolean', 'secure sums: the server sees no single update, only their sum'),
  flag('privacy', 'secure-bits', 'whole', 'bits of a number in a secure sum', { hint: 'N', default: 12 }),
  flag('privacy', 'secure-clip', 'number', 'larger numbers of an update are clipped in secure sums', {
    ...{ default: 0.25, range: { above: 0 } }
  }),
  flag('privacy', 'secure-weights', 'whole', 'most that a client counts in a secure sum, a batch of samples for one', {
    ...{ hint: 'N', default: 'all count alike', range: { least: 2, most: 4096 } }
  }),
  flag('privacy', 'secure-groups', 'whole', 'secure sums of so many groups, of which --aggregate takes one mean', {
    ...{ hint: 'N', range: { least: 2 } }
  }),
  flag('privacy', 'epsilon', 'number', 'budget of differential privacy of a client: the run ends before it is passed', {
    range: { above: 0 }
  }),
  flag('privacy', 'delta', 'number', 'chance with which the budget may not hold', { default: '1 / (10 clients)' }),
  flag('privacy', 'noise', 'number', 'standard deviation of the noise over the longest update', {
    ...{ default: 1, range: { above: 0 } }
  }),
  flag('privacy', 'update-bound', 'number', 'longest update under a budget; others are scaled down', {
    ...{ default: 1, range: { above: 0 } }
  }),
  flag('address', 'host', 'text', 'address to listen at; beside this machine alone, with certificate or proxy', {
    ...{ hint: 'ADDRESS', default: '127.0.0.1' }
  }),
  flag('address', 'port', 'whole', 'port to listen at; 0 takes any that is free', {
    ...{ hint: 'N', default: 8090, range: { least: 0, most: 65_535 } }
  }),
  flag('address', 'url', 'text', 'where clients reach the server, for invitations', { hint: 'https://…' }),
  flag('address', 'tls-cert', 'text', 'certificate, as PEM', { hint: 'FILE' }),
  flag('address', 'tls-key', 'text', 'its key, as PEM', { hint: 'FILE' }),
  flag('address', 'behind-proxy', 'boolean', 'something in front of the server encrypts'),
  flag('address', 'allow-origin', 'list', 'pages of these origins may take part', { hint: 'https://…,…' }),
  flag('output', 'quiet', 'boolean', 'print nothing but errors'),
  flag('output', 'debug', 'boolean', 'show where an error comes from')
]

/** `pare federate serve` */
export const command: Command = {
  name: 'federate serve',
  summary: 'train a model with clients that keep their data: the server of such a run',
  positionals: [{ name: 'model.onnx' }],
  flags,
  examples: [
    'pare federate serve model.onnx --rounds 100 --clients-per-round 10 --clients 20',
    'pare federate serve model.onnx --secure --host 0.0.0.0 --tls-cert cert.pem --tls-key key.pem --url https://host:8090'
  ],
  more: 'The folder holds invitations, one file a client: hand them over where nobody else reads them. Ctrl-C ends the server, the same command goes on.',
  run: async (given, at) => {
    const { serveFederation } = await import('../node/federate/serve.ts')
    const server = await serveFederation(optionsOf(given))
    if (!isOn(given, 'quiet')) at.err.write(greeting(server))
    const stopped = new Promise<undefined>((resolve) => {
      if (at.signal.aborted) resolve(undefined)
      at.signal.addEventListener('abort', () => resolve(undefined))
    })
    const why = await Promise.race([server.ended, stopped])
    // Clients that wait are told how it ended.
    if (why !== undefined) await Promise.race([new Promise((resolve) => setTimeout(resolve, 3000)), stopped])
    await server.close()
    if (!isOn(given, 'quiet')) at.err.write(`  ${why ?? 'stopped; the same command goes on'}\n`)
    return 0
  }
}

function greeting({ url, invitations, notes }: FederationServer): string {
  const last = invitations.at(-1)
  const lines = [
    `serving a federation at ${url}`,
    ...(last ? [`${invitations.length} invitations, the last ${last}`] : []),
    ...notes
  ]
  return `${lines.map((l) => `  ${l}`).join('\n')}\n`
}

function optionsOf(given: Parsed): FederateServeOptions {
  const [model = ''] = given.positionals
  readable(model)
  const recipe = recipeFrom(given)
  const perRound = Number(recipe['clientsPerRound'] ?? 10)
  const clients = number(given, 'clients') ?? perRound
  const tls = tlsOf(given)
  const [url, group, data] = ['url', 'group', 'eval-data'].map((f) => text(given, f))
  return {
    ...{ model, recipe, invitations: clients },
    folder: text(given, 'out') ?? `${model.replace(/\.onnx$/, '')}.federation`,
    server: serverOf(given, recipe, perRound, clients),
    host: text(given, 'host') ?? '127.0.0.1',
    port: number(given, 'port') ?? 8090,
    isBehindProxy: isOn(given, 'behind-proxy'),
    origins: (given.values.get('allow-origin') as readonly string[] | undefined) ?? [],
    ...(tls ? { tls } : {}),
    ...(url === undefined ? {} : { url }),
    ...(group === undefined ? {} : { group }),
    ...(data === undefined ? {} : { score: data })
  }
}

function serverOf(given: Parsed, recipe: Fields, perRound: number, clients: number): FederateServeOptions['server'] {
  const { rule, share } = parseRecipe(recipe).aggregate
  const epsilon = number(given, 'epsilon')
  const groups = number(given, 'secure-groups')
  const maxWeight = number(given, 'secure-weights')
  const secure = {
    ...{ bits: number(given, 'secure-bits') ?? 12, clip: number(given, 'secure-clip') ?? 0.25 },
    ...(maxWeight === undefined ? {} : { maxWeight })
  }
  return {
    seed: String(number(given, 'seed') ?? 0),
    minClients: number(given, 'min-clients') ?? perRound,
    minUpdates: number(given, 'min-updates') ?? Math.max(1, Math.ceil((2 * perRound) / 3)),
    overSelect: number(given, 'over-select') ?? 1.3,
    deadline: number(given, 'deadline') ?? 600,
    ...{ rule: text(given, 'aggregate') ?? rule, hostile: share, boundFactor: 2 },
    ...(isOn(given, 'secure') ? { secure } : {}),
    ...(groups === undefined ? {} : { groups }),
    ...(epsilon === undefined
      ? {}
      : {
          privacy: {
            epsilon,
            delta: number(given, 'delta') ?? 1 / (10 * clients),
            noise: number(given, 'noise') ?? 1,
            bound: number(given, 'update-bound') ?? 1
          }
        })
  }
}

function tlsOf(given: Parsed): { readonly cert: string; readonly key: string } | undefined {
  const [cert, key] = [text(given, 'tls-cert'), text(given, 'tls-key')]
  if (cert === undefined && key === undefined) return undefined
  if (cert === undefined || key === undefined) throw new PareError('E_USAGE', '--tls-cert and --tls-key go together')
  return { cert: readFileSync(readable(cert), 'utf8'), key: readFileSync(readable(key), 'utf8') }
}
