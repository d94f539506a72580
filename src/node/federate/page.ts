/** A run as a page and as metrics. Neither shows a client's key, and neither loads anything. */
import { greatest, least } from '../../base/extremes.ts'
import { noiseWarning } from '../../federate/privacy/accountant.ts'
import type { CommitEvent, Told } from './events.ts'
import type { ServerOptions } from './options.ts'

export interface Shown {
  readonly run: string
  readonly rounds: number
  readonly clientsPerRound: number
  readonly parameters: number
  readonly told: Told
  readonly options: ServerOptions
  readonly spent?: { readonly epsilon: number; readonly delta: number; readonly budget: number }
  /** Bytes on the sockets, since the server started. */
  readonly received: number
  readonly sent: number
  readonly metric?: string
}

const escaped = (text: string): string => text.replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`)

const row = (label: string, text: string): string => `<tr><th>${escaped(label)}</th><td>${escaped(text)}</td></tr>`

const megabytes = (bytes: number): string => `${(bytes / 1e6).toFixed(bytes < 1e7 ? 2 : 0)} MB`

/** Clients by group, those who joined and those who are in rounds. */
export function groupsOf({
  members,
  commits
}: Told): { readonly group: string; readonly joined: number; readonly updates: number }[] {
  const of = new Map(members.map((m) => [m.key, m.group ?? 'all']))
  const names = [...new Set(of.values())].sort()
  const updates = new Map<string, number>()
  for (const c of commits)
    for (const key of c.clients) {
      const group = of.get(key) ?? 'all'
      updates.set(group, (updates.get(group) ?? 0) + 1)
    }
  return names.map((group) => ({
    group,
    joined: [...of.values()].filter((g) => g === group).length,
    updates: updates.get(group) ?? 0
  }))
}

export function stateOf({ told, options }: Pick<Shown, 'told' | 'options'>): string {
  if (told.ended !== undefined) return told.ended
  if (told.open)
    return `round ${told.open.round + 1} is open: ${told.open.accepted.size} of ${told.open.cohort.length} have answered`
  return `${told.members.length} of ${options.minClients} clients have joined`
}

function curve(commits: readonly CommitEvent[]): string {
  const points = commits.flatMap((c) => (c.entry.score === undefined ? [] : [{ x: c.round, y: c.entry.score }]))
  if (points.length < 2) return ''
  const [low, high] = [least(points.map((p) => p.y)), greatest(points.map((p) => p.y))]
  const last = Math.max(1, points.at(-1)?.x ?? 1)
  const place = ({ x, y }: { x: number; y: number }): string =>
    `${(40 + (540 * x) / last).toFixed(1)},${(150 - (130 * (y - low)) / (high - low || 1)).toFixed(1)}`
  return `<svg viewBox="0 0 600 170" role="img" aria-label="score by round"><polyline fill="none" stroke="currentColor" stroke-width="2" points="${points.map(place).join(' ')}"/><text x="0" y="24">${high.toFixed(3)}</text><text x="0" y="154">${low.toFixed(3)}</text></svg>`
}

export function pageOf(s: Shown): string {
  const { told, options } = s
  const last = told.commits.at(-1)
  const warning = options.privacy && noiseWarning(options.privacy.noise, s.parameters, s.clientsPerRound)
  const rows = [
    row('now', stateOf(s)),
    row('rounds', `${told.commits.length} of ${s.rounds}`),
    row('tries given up', String(told.attempts - told.commits.length - (told.open ? 1 : 0))),
    ...(last?.entry.score === undefined ? [] : [row(s.metric ?? 'score', last.entry.score.toFixed(4))]),
    row('received', megabytes(s.received)),
    row('sent', megabytes(s.sent)),
    row('updates are combined by', options.secure ? 'a secure sum: the server sees no single update' : options.rule),
    ...(s.spent
      ? [row('privacy spent', `ε = ${s.spent.epsilon.toFixed(3)} of ${s.spent.budget} at δ = ${s.spent.delta}`)]
      : []),
    ...(warning ? [row('warning', warning)] : [])
  ]
  const groups = groupsOf(told).map((g) =>
    row(g.group, `${g.joined} joined, ${g.updates} ${g.updates === 1 ? 'update' : 'updates'} in the model`)
  )
  return `<!doctype html><html lang="en"><meta charset="utf-8"><meta http-equiv="refresh" content="5"><meta name="viewport" content="width=device-width"><title>Federation ${escaped(s.run.slice(0, 8))}</title><style>body{font:16px/1.5 system-ui;max-width:44rem;margin:2rem auto;padding:0 1rem;color-scheme:light dark}th{text-align:left;padding-right:2rem;font-weight:normal;opacity:.7}svg{width:100%;font-size:12px;fill:currentColor}</style><h1>Federation ${escaped(s.run.slice(0, 8))}</h1>${curve(told.commits)}<table>${rows.join('')}</table><h2>Who takes part</h2><table>${groups.join('')}</table></html>`
}

/** In the text format of Prometheus. */
export function metricsOf(s: Shown): string {
  const { told } = s
  const last = told.commits.at(-1)?.entry
  const lines: (string | undefined)[] = [
    metric('rounds_total', 'counter', 'Rounds that changed the model', told.commits.length),
    metric('attempts_total', 'counter', 'Rounds that were opened', told.attempts),
    metric('clients', 'gauge', 'Clients that have joined', told.members.length),
    metric('answers_in_round', 'gauge', 'Updates of the open round', told.open?.accepted.size ?? 0),
    metric('received_bytes_total', 'counter', 'Bytes that came in since the start', s.received),
    metric('sent_bytes_total', 'counter', 'Bytes that went out since the start', s.sent),
    last && metric('round_seconds', 'gauge', 'Time of the last round', last.ms / 1000),
    last?.score === undefined ? undefined : metric('score', 'gauge', 'Score of the model', last.score),
    s.spent && metric('epsilon', 'gauge', 'Privacy spent', s.spent.epsilon),
    ...groupsOf(told).map((g) => `pare_federation_updates_total{group="${label(g.group)}"} ${g.updates}`)
  ]
  return `${lines.filter((l) => l !== undefined).join('\n')}\n`
}

const label = (text: string): string => text.replace(/[\\"\n]/g, '_')

const metric = (name: string, type: string, about: string, value: number): string =>
  `# HELP pare_federation_${name} ${about}\n# TYPE pare_federation_${name} ${type}\npare_federation_${name} ${value}`
