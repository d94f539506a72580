/** What a search came to, as reports hold it. Types only. */

/** What budgets may bound, and what can be least. */
export type CostName = 'bytes' | 'macs' | 'latency'

/** Costs as shares of the original's. */
export type CostShares = Readonly<Partial<Record<CostName, number>>>

/** What a bound on the drop was found to mean, before any trial. */
export interface SearchEdge {
  /** What is to be least. */
  readonly cost: CostName
  /** Greatest e² that is allowed. */
  readonly harm: number
  /** Least share of the cost at which a solution of the additive guess keeps the bound. */
  readonly share: number
}

/** One strategy under one seed. */
export interface SearchRun {
  readonly strategy: string
  readonly seed: number
  readonly trials: number
  /** Of these: measured on all samples; of a point that was known already; dropped by the additive guess; whose model did not run. */
  readonly whole: number
  readonly known: number
  readonly guessed: number
  readonly failed: number
  /** Of making and running models. */
  readonly msPerTrial: number
  /** Harm of the points that every strategy begins with: the uniform ratio, and the solution of the additive guess. */
  readonly starts: readonly number[]
  /** Number of its best trial, the harm of that (e², mean over the samples that choose), and its costs. */
  readonly best?: number
  readonly harm?: number
  readonly costs?: CostShares
  /** The same on samples that no trial was measured on; `dropError`: standard error of the drop. */
  readonly fresh?: { readonly harm: number; readonly drop: number; readonly dropError: number; readonly n: number }
  /** Trials so far, and the least so far of what is minimised. */
  readonly curve: readonly (readonly [trials: number, least: number])[]
}

/** A strategy against random at the same seeds: the ratio of what is minimised. */
export interface SearchComparison {
  readonly strategy: string
  readonly what: 'harm' | CostName
  readonly seeds: number
  readonly ratio?: number
  /** 95 % over seeds; absent with one seed. */
  readonly low?: number
  readonly high?: number
  readonly wins?: number
  /** `same`: the interval contains 1; `unknown`: one seed or none. */
  readonly verdict: 'better' | 'worse' | 'same' | 'unknown'
}

/** A trial in pictures. */
export interface SearchPoint {
  readonly strategy: string
  readonly seed: number
  readonly k: number
  readonly harm: number
  readonly costs: CostShares
  /** Choice of every unit, by number. */
  readonly point: readonly number[]
  readonly isWhole: boolean
}

/** A point that was made by its recipe and measured on samples that no trial was measured on. */
export interface SearchFinalist {
  readonly strategy: string
  readonly seed: number
  readonly k: number
  readonly costs: CostShares
  readonly harm: number
  readonly drop: number
  readonly dropError: number
  /** Bytes of the file over the original's; the guess is in `costs`. */
  readonly bytes: number
  readonly chosen: boolean
}

export interface SearchReport {
  readonly budgets: CostShares
  readonly maxDrop?: number
  /** Where there are no budgets. */
  readonly edge?: SearchEdge
  readonly ahead: number
  readonly workers: number
  /** Samples that each rung goes up to, and how many no rung used. */
  readonly rungs: readonly number[]
  readonly freshN: number
  readonly units: readonly {
    readonly id: string
    readonly kind: string
    readonly choices: readonly string[]
    /** Share of what tells the best tenth of the trials from all of them. */
    readonly importance?: number
  }[]
  readonly runs: readonly SearchRun[]
  readonly comparisons: readonly SearchComparison[]
  readonly points: readonly SearchPoint[]
  readonly finalists: readonly SearchFinalist[]
  /** What the chosen point says of units that are not as in the original. */
  readonly chosen: Readonly<Record<string, string>>
  readonly prepareMs: number
}
