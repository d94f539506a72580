/** The other end of a pool of trials: opens the model and the data as the search does, and answers jobs one after the other. */
import { parentPort } from 'node:worker_threads'
import { PareError } from '../../base/errors.ts'
import type { TrialJob, Trials } from '../../search/space/trial.ts'
import { standard } from '../catalog.ts'
import { type TrialAnswer, trialSetup } from '../trial-pool.ts'
import { openSearch } from './search-open.ts'

/** Answers until it is ended. */
export async function serveTrials(): Promise<void> {
  const port = parentPort
  if (!port) throw new PareError('E_INTERNAL', 'not a thread of trials')
  const { job, facts, problem } = trialSetup()
  const hooks = { signal: new AbortController().signal, progress: () => {} }
  const opened = (async (): Promise<Trials> => {
    const { prepared } = await openSearch(job, hooks, standard, facts)
    if (prepared.problem !== problem)
      throw new PareError('E_DATA', 'the model or the data changed since the search began', {
        facts: { problem: `${problem}, now ${prepared.problem}` }
      })
    return prepared.open()
  })()
  let last: Promise<unknown> = Promise.resolve()
  port.on('message', ({ id, job: asked }: { readonly id: number; readonly job: TrialJob }) => {
    last = last.then(async () => {
      const answer = await answerTo(id, async () => (await opened).run(asked, hooks.signal))
      port.postMessage(answer)
    })
  })
}

async function answerTo(id: number, run: () => ReturnType<Trials['run']>): Promise<TrialAnswer> {
  try {
    return { id, result: await run() }
  } catch (e) {
    const code = e instanceof PareError ? e.code : 'E_INTERNAL'
    return { id, code, message: e instanceof Error ? e.message : String(e) }
  }
}
