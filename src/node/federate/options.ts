/** What `pare federate serve` is told, as it stands in the run's folder. */
import { z } from 'zod'

/** How updates of a round come together, and how long it takes. */
export const serverForm = z.strictObject({
  /** Draws cohorts and masks; not noise, which nothing repeats. */
  seed: z.string(),
  /** Rounds begin once so many have joined. */
  minClients: z.int().min(1),
  /** A round with fewer updates changes nothing. */
  minUpdates: z.int().min(1),
  /** Clients that are asked over those that are needed. */
  overSelect: z.number().min(1).max(10),
  /** Seconds of a round at most. */
  deadline: z.number().positive(),
  rule: z.string(),
  /** Share of clients that may be hostile, of rules that ask. */
  hostile: z.number().min(0).max(0.5),
  /** Norms are bounded by so many times their median. */
  boundFactor: z.number().positive(),
  secure: z.strictObject({ bits: z.int(), clip: z.number(), maxWeight: z.int().optional() }).optional(),
  /** Secure sums of so many groups of clients, of whose means the rule takes one. */
  groups: z.int().min(2).optional(),
  privacy: z
    .strictObject({
      noise: z.number().positive(),
      bound: z.number().positive(),
      epsilon: z.number().positive(),
      delta: z.number()
    })
    .optional()
})
export type ServerOptions = z.output<typeof serverForm>

/** `run.json` */
export const runFileForm = z.strictObject({
  pareRun: z.literal(1),
  run: z.string(),
  organiser: z.string(),
  model: z.strictObject({ sha256: z.string(), bytes: z.int() }),
  recipe: z.record(z.string(), z.unknown()),
  server: serverForm
})
export type RunFile = z.output<typeof runFileForm>
