/** A peer of train.mjs in a process of its own: asked by lines of standard input, answering in lines of JSON. */
import { spawn } from 'node:child_process'
import { createInterface } from 'node:readline'

/** Single-threaded by what every library reads. */
const env = { ...process.env, OMP_NUM_THREADS: '1', MKL_NUM_THREADS: '1' }

export function startWorker([command, ...args]) {
  const child = spawn(command, args, { env, stdio: ['pipe', 'pipe', 'pipe'] })
  let errors = ''
  child.stderr.on('data', (d) => {
    errors = (errors + d).slice(-10_000)
  })
  const failed = new Promise((_, reject) => {
    child.on('error', reject)
    child.on('close', (status) => reject(new Error(errors.trim().split('\n').at(-1) || `status ${status}`)))
  })
  // What nobody waits for any more is no error, nor is a question to one that has ended: its answer is the failure.
  failed.catch(() => {})
  child.stdin.on('error', () => {})
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
  const answer = async () => {
    const { value, done } = await lines.next()
    return done ? failed : JSON.parse(value)
  }
  const next = () => Promise.race([answer(), failed])
  return {
    /** The first line: which version answers. */
    next,
    /** Runs steps: the last loss, seconds of wall and of processor time a step. */
    steps: (n) => {
      child.stdin.write(`${n}\n`)
      return next()
    },
    stop: () => child.stdin.end()
  }
}
