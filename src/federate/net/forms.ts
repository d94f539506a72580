/** What server and clients tell each other as JSON, with limits: what is read was written by others. */
import { z } from 'zod'
import { PareError } from '../../base/errors.ts'
import type { FixedPoint } from '../secure/fixed.ts'
import { steps } from '../secure/messages.ts'

const hex = (bytes: number): z.ZodString => z.string().regex(new RegExp(`^[0-9a-f]{${2 * bytes}}$`))
const count = z
  .int()
  .min(0)
  .max(2 ** 31)

/** A place in a run, handed to one client by its organiser outside of the federation. */
export const invitationForm = z.strictObject({
  pareInvitation: z.literal(1),
  url: z.string().max(2000),
  run: hex(16),
  organiser: hex(32),
  token: hex(16),
  group: z.string().max(40).optional()
})
export type Invitation = z.output<typeof invitationForm>

/** How updates become words that a secure sum hides. */
const secureForm = z.strictObject({
  bits: z.int().min(1).max(24),
  clip: z.number().positive().max(1e6),
  /** Most that a client counts, a batch of its samples for one; absent: all count alike. */
  maxWeight: z.int().min(2).max(4096).optional()
})
export type SecureOptions = z.output<typeof secureForm>

export const fixedOf = ({ bits, clip, maxWeight = 1 }: SecureOptions): FixedPoint => ({ bits, clip, maxWeight })

/** What a run is, told to whoever joins. */
export const runForm = z.strictObject({
  pareFederation: z.literal(1),
  run: hex(16),
  organiser: hex(32),
  model: z.strictObject({ sha256: hex(32), bytes: count }),
  recipe: z.record(z.string(), z.unknown()),
  secure: secureForm.optional(),
  /** Clients bound the norm of their update by this themselves. */
  bound: z.number().positive().optional()
})
export type RunInfo = z.output<typeof runForm>

const mine = z.strictObject({ round: count, attempt: count, isIncluded: z.boolean() }).optional()

/** What goes on for one client. */
export const roundForm = z.discriminatedUnion('state', [
  z.strictObject({ state: z.literal('wait'), version: count, why: z.string().max(500), mine }),
  z.strictObject({ state: z.literal('done'), version: count, why: z.string().max(500), mine }),
  z.strictObject({
    state: z.literal('open'),
    version: count,
    round: count,
    attempt: count,
    base: hex(32),
    bytes: count,
    leftMs: z.number(),
    secure: z
      .strictObject({
        roster: z.array(hex(32)).max(100_000),
        signature: hex(64),
        cohort: z.array(count).max(4096)
      })
      .optional(),
    mine
  })
])
export type RoundInfo = z.output<typeof roundForm>
export type OpenRound = Extract<RoundInfo, { readonly state: 'open' }>

export const receiptForm = z.strictObject({
  round: count,
  attempt: count,
  key: hex(32),
  sha256: hex(32),
  signature: hex(64)
})

export const stepForm = z.enum(steps)

/** Reads JSON of a form. Throws `E_MESSAGE` for anything else. */
export function readForm<T>(form: z.ZodType<T>, bytes: Uint8Array, what: string): T {
  let given: unknown
  try {
    given = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes))
  } catch (cause) {
    throw new PareError('E_MESSAGE', `${what} is no JSON`, { cause })
  }
  const parsed = form.safeParse(given)
  if (parsed.success) return parsed.data
  const issue = parsed.error.issues[0]
  throw new PareError(
    'E_MESSAGE',
    `${what}: ${issue?.path.join('.') || 'all of it'}: ${issue?.message ?? 'does not fit'}`
  )
}
