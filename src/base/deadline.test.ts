import { expect, it } from 'vitest'
import { deadlineIn, within } from './deadline.ts'
import { PareError, stopIfAborted } from './errors.ts'

const forever = async (signal: AbortSignal): Promise<never> => {
  for (;;) {
    stopIfAborted(signal)
    await new Promise((resolve) => setTimeout(resolve, 1))
  }
}

it('gives what work gives, and nothing of work that is late', async () => {
  const { signal } = new AbortController()
  expect(await within(60_000, signal, async () => 1)).toBe(1)
  expect(await within(undefined, signal, async () => 2)).toBe(2)
  expect(await within(5, signal, forever)).toBeUndefined()
  expect(await within(-1, signal, forever)).toBeUndefined()
})

it('throws what is no lateness: the request to stop, other errors', async () => {
  const caller = new AbortController()
  caller.abort()
  await expect(within(60_000, caller.signal, forever)).rejects.toMatchObject({ code: 'E_ABORTED' })
  const broken = async (): Promise<never> => {
    throw new PareError('E_RUN', 'broken')
  }
  await expect(within(-1, new AbortController().signal, broken)).rejects.toMatchObject({ code: 'E_RUN' })
})

it('stops work that never waits, between its steps', async () => {
  const busy = async (signal: AbortSignal): Promise<never> => {
    for (;;) stopIfAborted(signal)
  }
  expect(await within(5, new AbortController().signal, busy)).toBeUndefined()
})

it('counts down', () => {
  let now = 100
  const ends = deadlineIn(2, () => now)
  now = 600
  expect(ends.left()).toBe(1500)
})
