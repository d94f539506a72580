/**
 * Deep deterministic policy gradient (Lillicrap et al., 2016), with the actions of AMC (channels) and HAQ (bits) in one space:
 * an episode goes through the units and gives each a number in [0, 1]; the projection makes a point of them. The reward is
 * dense: each step gets −harm of its choice by the additive guess, the last one also what the measured harm is off by.
 *
 *   critic  (Q(s, a) − y)²,  y = r − b + Q'(s', μ'(s')),  b the moving average of rewards
 *   actor   μ(s) towards μ(s) + η·∂Q/∂a: the gradient of this square is that of −Q
 *
 * It learns in the order of the trials, from finished ones alone, so that a replay gives the same networks.
 */
import { greatest, least } from '../../../base/extremes.ts'
import { type Rng, rng as seeded } from '../../../base/random.ts'
import { type Explorer, type ExplorerRecord, type SeenPoint, startAt, type Task } from '../explorer.ts'
import { type Network, openNetwork, towards, type Weights } from '../networks.ts'
import { costing, costNames, kinds } from '../space.ts'

const batch = 64
const hidden = [64, 64]
const rates = { actor: 1e-3, critic: 2e-3 }
const tau = 0.01
const mostWarmUp = 40
/** Deviation of the noise on actions: at the end of the warm-up, and its factor from episode to episode. */
const noise = { first: 0.5, decay: 0.97, least: 0.03 }
/** Episodes that are remembered. */
const remembered = 128
/** A step of the actor's target along ∂Q/∂a, and the distance over which that is measured. */
const [eta, distance] = [0.5, 0.02]
/** Rewards are clipped to ± this many typical harms. */
const mostReward = 4

interface Transition {
  readonly state: Float32Array
  readonly action: number
  readonly reward: number
  readonly next: Float32Array | undefined
}

interface Agent {
  readonly actor: Network
  readonly critic: Network
  weights: { actor: Weights; critic: Weights; slowActor: Weights; slowCritic: Weights }
  memory: Transition[][]
  baseline: number | undefined
  /** Trials that it has learned from. */
  learned: SeenPoint[]
}

export const ddpg: ExplorerRecord = {
  name: 'ddpg',
  summary: 'reinforcement learning: an actor and a critic, which learn from every finished trial (DDPG)',
  make: (task) => explorer(task)
}

function explorer(task: Task): Explorer {
  const warmUp = Math.min(mostWarmUp, Math.ceil(task.trials / 4))
  const view = viewOf(task)
  let agent: Agent | undefined
  return {
    async next(history, pending, rng) {
      const start = startAt(task, history, pending)
      if (start) return start
      if (history.length < warmUp) return task.space.units.map(() => rng.next())
      if (!agent || !startsWith(history, agent.learned)) {
        await closed(agent)
        agent = await opened(task, view.width)
      }
      const scale = typical(task, history.slice(0, warmUp))
      for (const s of history.slice(agent.learned.length)) {
        await learn(agent, view, s, scale)
        agent.learned.push(s)
      }
      const episode = history.length + pending.length - warmUp
      return act(agent, view, Math.max(noise.least, noise.first * noise.decay ** episode), rng)
    },
    close: async () => closed(agent)
  }
}

const startsWith = (history: readonly SeenPoint[], learned: readonly SeenPoint[]): boolean =>
  learned.every((s, i) => history[i]?.k === s.k)

async function closed(agent: Agent | undefined): Promise<void> {
  await agent?.actor.close()
  await agent?.critic.close()
}

async function opened({ engine }: Task, width: number): Promise<Agent> {
  const rng = seeded('ddpg')
  const actor = await openNetwork(
    engine,
    { name: 'actor', inputs: { s: width }, hidden, ends: 'sigmoid' },
    batch,
    rng.fork('actor')
  )
  const critic = await openNetwork(
    engine,
    { name: 'critic', inputs: { s: width, a: 1 }, hidden, ends: 'linear' },
    batch,
    rng.fork('critic')
  )
  const weights = { actor: actor.first, critic: critic.first, slowActor: actor.first, slowCritic: critic.first }
  return { actor, critic, weights, memory: [], baseline: undefined, learned: [] }
}

// ---------------------------------------------------------------- what an agent sees

interface View {
  readonly width: number
  readonly steps: number
  /** Before the action of a step: what is known of its unit, and of the actions so far. */
  state(step: number, actions: readonly number[]): Float32Array
  /** Guessed harm of the choice of a unit. */
  harm(step: number, choice: number): number
}

/** Numbers of a unit that do not change, each between 0 and 1 over all units, then those of the episode. */
function viewOf({ space }: Task): View {
  const names = costNames.filter((n) => space.original[n] !== undefined && space.loads.some((l) => l.cost === n))
  const { of } = costing(space, names)
  const top = space.units.map((u) => u.choices.length - 1)
  const full = Array.from(of(top))
  const lowest = Array.from(of(top.map(() => 0)))
  const spans = space.units.map((_, i) => {
    const low = of(top.with(i, 0))
    return names.map((_, c) => (full[c] as number) - (low[c] as number))
  })
  const logs = (u: { readonly harm: readonly number[] }, at: number): number =>
    Math.log10(1e-8 + (u.harm[Math.round(at * (u.harm.length - 1))] as number))
  // Columns of the first three kinds are there in every space; the others where it has such units.
  const shown = kinds.filter((k, i) => i < 3 || space.units.some((u) => u.kind === k))
  const rows = space.units.map((u, i) => [
    i / space.units.length,
    ...shown.map((k) => Number(k === u.kind)),
    u.choices.length,
    ...(spans[i] as number[]).map((s) => Math.sqrt(Math.max(0, s))),
    ...[0, 0.34, 0.67].map((at) => logs(u, at))
  ])
  const columns = (rows[0] ?? []).map((_, c) => {
    const all = rows.map((r) => r[c] as number)
    const low = least(all)
    return { low, width: greatest(all) - low || 1 }
  })
  const scaled = rows.map((r) => r.map((x, c) => (x - (columns[c]?.low as number)) / (columns[c]?.width as number)))
  return {
    width: (scaled[0]?.length ?? 0) + names.length + 1,
    steps: space.units.length,
    state: (step, actions) => {
      // What is decided as it would be chosen, the rest at its least: how much of the whole range is taken.
      const point = top.map((n, i) => (i < step ? Math.round((actions[i] as number) * n) : 0))
      const now = of(point)
      const taken = names.map(
        (_, c) =>
          ((now[c] as number) - (lowest[c] as number)) / Math.max(1e-9, (full[c] as number) - (lowest[c] as number))
      )
      return Float32Array.from([...(scaled[step] as number[]), ...taken, actions[step - 1] ?? 0])
    },
    harm: (step, choice) => space.units[step]?.harm[choice] as number
  }
}

/** Harm that is usual in the first trials: the unit of rewards. */
function typical({ space }: Task, first: readonly SeenPoint[]): number {
  const sums = first
    .map((s) => Math.max(s.score, 0) || s.point.reduce((sum, c, i) => sum + (space.units[i]?.harm[c] as number), 0))
    .sort((a, b) => a - b)
  return Math.max(sums[Math.floor(sums.length / 4)] ?? 1, 1e-9)
}

// ---------------------------------------------------------------- acting and learning

async function act(agent: Agent, view: View, sigma: number, rng: Rng): Promise<readonly number[]> {
  const actions: number[] = []
  for (let step = 0; step < view.steps; step++) {
    const [mean = 0.5] = await agent.actor.run(agent.weights.actor, { s: view.state(step, actions) })
    actions.push(truncated(mean, sigma, rng))
  }
  return actions
}

/** Normal around a mean, drawn again until it lies in [0, 1]. */
function truncated(mean: number, sigma: number, rng: Rng): number {
  for (let i = 0; i < 100; i++) {
    const x = mean + sigma * rng.normal()
    if (x >= 0 && x <= 1) return x
  }
  return Math.min(1, Math.max(0, mean))
}

const clipped = (reward: number): number => Math.max(-mostReward, Math.min(mostReward, reward))

/** The transitions of a trial, and an update for each. */
async function learn(agent: Agent, view: View, seen: SeenPoint, scale: number): Promise<void> {
  const guessed = seen.point.map((c, i) => view.harm(i, c))
  const off = seen.score - guessed.reduce((a, b) => a + b, 0)
  const states = seen.point.map((_, i) => view.state(i, seen.raw))
  const episode = states.map((state, i): Transition => {
    const isLast = i === states.length - 1
    return {
      state,
      action: seen.raw[i] as number,
      reward: clipped(-(guessed[i] as number) / scale) - (isLast ? clipped(off / scale) : 0),
      next: states[i + 1]
    }
  })
  agent.memory = [...agent.memory.slice(1 - remembered), episode]
  const all = agent.memory.flat()
  if (all.length < batch) return
  const rng = seeded(`ddpg/${seen.k}`)
  for (let i = 0; i < view.steps; i++) {
    const rows = Array.from({ length: batch }, () => all[rng.below(all.length)] as Transition)
    await update(agent, rows, view.width)
  }
}

async function update(agent: Agent, rows: readonly Transition[], width: number): Promise<void> {
  const { actor, critic, weights } = agent
  const s = stacked(
    rows.map((r) => r.state),
    width
  )
  const a = Float32Array.from(rows, (r) => r.action)
  const after = stacked(
    rows.map((r) => r.next ?? new Float32Array(width)),
    width
  )
  const later = await critic.run(weights.slowCritic, { s: after, a: await actor.run(weights.slowActor, { s: after }) })
  const mean = rows.reduce((sum, r) => sum + r.reward, 0) / rows.length
  agent.baseline = agent.baseline === undefined ? mean : 0.95 * agent.baseline + 0.05 * mean
  const b = agent.baseline
  const y = Float32Array.from(rows, (r, i) => r.reward - b + (r.next ? (later[i] as number) : 0))
  const nowCritic = await critic.step({ s, a }, y, rates.critic)
  const mu = await actor.run(weights.actor, { s })
  const [up, down] = [mu.map((m) => Math.min(1, m + distance)), mu.map((m) => Math.max(0, m - distance))]
  const [high, low] = [await critic.run(nowCritic, { s, a: up }), await critic.run(nowCritic, { s, a: down })]
  const wanted = mu.map(
    (m, i) => m + (eta * ((high[i] as number) - (low[i] as number))) / ((up[i] as number) - (down[i] as number))
  )
  const nowActor = await actor.step({ s }, wanted, rates.actor)
  agent.weights = {
    actor: nowActor,
    critic: nowCritic,
    slowActor: towards(weights.slowActor, nowActor, tau),
    slowCritic: towards(weights.slowCritic, nowCritic, tau)
  }
}

function stacked(rows: readonly Float32Array[], width: number): Float32Array {
  const out = new Float32Array(rows.length * width)
  for (const [i, row] of rows.entries()) out.set(row, i * width)
  return out
}
