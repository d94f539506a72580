import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { PareError } from '../base/errors.ts'
import { type Command, isOn, number, text } from './command.ts'

/** `pare worker` */
export const command: Command = {
  name: 'worker',
  summary: 'run trials of searches that other machines put into Redis or Valkey',
  positionals: [{ name: 'redis://HOST:PORT' }],
  flags: [
    {
      name: 'slots',
      kind: 'whole',
      hint: 'N',
      group: 'target',
      about: 'trials at the same time, each in a thread',
      default: 1
    },
    {
      name: 'lease',
      kind: 'whole',
      hint: 'S',
      group: 'target',
      about: 'seconds after which the trials of a lost worker go to another',
      default: 30
    },
    {
      name: 'folder',
      kind: 'text',
      hint: 'DIR',
      group: 'target',
      about: 'where files are kept; by default they are removed in the end'
    },
    { name: 'quiet', kind: 'boolean', group: 'output', about: 'print nothing but errors' }
  ],
  examples: ['pare worker redis://10.0.0.5:6379 --slots 2'],
  more: 'Whoever may write to the queue can make a worker compute, and run nothing else. Needs the packages bullmq and ioredis.',
  run: async (given, at) => {
    const { serveTrialsOver } = await import('../node/jobs/search-remote.ts')
    const program = process.argv[1]
    if (program === undefined) throw new PareError('E_INTERNAL', 'the program does not know its own path')
    const own = text(given, 'folder')
    const folder = own ?? mkdtempSync(join(tmpdir(), 'pare-worker-'))
    const say = (line: string): void => {
      if (!isOn(given, 'quiet')) at.out.write(`${line}\n`)
    }
    try {
      await serveTrialsOver(
        {
          ...{ url: given.positionals[0] ?? '', program, folder },
          ...{ slots: number(given, 'slots') ?? 1, lease: number(given, 'lease') ?? 30 },
          ready: () => say('ready'),
          done: (id, code) => say(`${id} ${code}`)
        },
        at.signal
      )
    } finally {
      if (own === undefined) rmSync(folder, { recursive: true, force: true })
    }
    return 0
  }
}
