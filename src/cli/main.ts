#!/usr/bin/env node
/** The program `pare`. A worker thread starts with this module too, and then runs its job. */
import { setFlagsFromString } from 'node:v8'
import { isTrialThread } from '../node/trial-pool.ts'
import { isJobThread, serveJob } from '../node/worker.ts'
import type { FormatCard } from './cards.ts'
import type { Command, Surroundings } from './command.ts'

interface Entry {
  readonly name: string
  readonly summary: string
  load(): Promise<Command>
}

const entry = (name: string, summary: string, load: () => Promise<{ readonly command: Command }>): Entry => ({
  name,
  summary,
  load: async () => (await load()).command
})

/** Commands by what users look for. */
const groups: readonly { readonly title: string; readonly commands: readonly Entry[] }[] = [
  {
    title: 'make a model smaller and faster',
    commands: [
      entry('compress', 'make a model smaller and faster, and prove what that cost', () => import('./compress.ts')),
      entry(
        'search',
        'search channels and types of weights, within budgets or a drop, by solving, evolution or learning',
        () => import('./search.ts')
      ),
      entry(
        'quantize-for',
        'make the files that a library loads by name, for every model of a folder',
        () => import('./quantize-for.ts')
      )
    ]
  },
  {
    title: 'look and compare',
    commands: [
      entry('inspect', 'show what is in a model, what it costs, what could be saved', () => import('./inspect.ts')),
      entry(
        'verify',
        'compare a compressed model with its original: metrics, layers, speed, load time, memory',
        () => import('./verify.ts')
      ),
      entry(
        'compare',
        'compare two reports: what got worse since, with intervals; nothing is run',
        () => import('./compare.ts')
      ),
      entry('bench', 'measure the latency of a model, or of two in one interleaved run', () => import('./bench.ts')),
      entry(
        'calibrate-target',
        'time a few dozen kernels of a target on this machine, and write the cost model that predicts latency',
        () => import('./calibrate-target.ts')
      )
    ]
  },
  {
    title: 'convert',
    commands: [
      entry(
        'convert',
        'write a model in the format of its target, raised to the opset that Pare works in',
        () => import('./convert.ts')
      )
    ]
  },
  {
    title: 'compile',
    commands: [
      entry(
        'compile',
        'turn a model into one WebAssembly module, or one C file, that needs no runtime',
        () => import('./compile.ts')
      )
    ]
  },
  {
    title: 'serve',
    commands: [
      entry(
        'serve',
        'answer requests over HTTP (Open Inference Protocol), several in one run of a model',
        () => import('./serve.ts')
      )
    ]
  },
  {
    title: 'train where the data is',
    commands: [
      entry(
        'federate serve',
        'train a model with clients that keep their data: the server of such a run',
        () => import('./federate-serve.ts')
      ),
      entry('federate join', 'take part in a federation with data that stays here', () => import('./federate-join.ts')),
      entry(
        'federate simulate',
        'train a model with virtual clients that each have a part of your data, and count what is sent',
        () => import('./federate-simulate.ts')
      )
    ]
  },
  {
    title: 'find a name',
    commands: [
      entry(
        'worker',
        'run trials of searches that other machines put into Redis or Valkey',
        () => import('./worker.ts')
      ),
      entry('passes', 'list every pass and what it needs', () => import('./passes.ts')),
      entry('targets', 'list the places that a model can be made for', () => import('./targets.ts'))
    ]
  }
]

const entries = groups.flatMap((g) => g.commands)

async function commandFor(name: string, next = ''): Promise<Command> {
  const known = entries.find((e) => e.name === name)
  if (known) return known.load()
  const { passCommand } = await import('./pass.ts')
  const pass = passCommand(name)
  if (pass) return pass
  const [{ unknownCommand }, { passList }] = await Promise.all([import('./check.ts'), import('./lists.ts')])
  throw unknownCommand(
    familyOf(name) ? `${name} ${next}` : name,
    [...entries, ...passList].map((e) => e.name)
  )
}

async function showOverview(out: NodeJS.WriteStream): Promise<void> {
  const [{ overview, passGroups }, { passList }, { styleFor }, { version }] = await Promise.all([
    import('./help.ts'),
    import('./lists.ts'),
    import('./style.ts'),
    import('../node/version.ts')
  ])
  out.write(overview([...groups, ...passGroups(passList)], styleFor(out), version))
}

/** The commands of two words that begin with this one. */
const familyOf = (name: string) => groups.find((g) => g.commands.some((c) => c.name.startsWith(`${name} `)))

async function showFamily(name: string, out: NodeJS.WriteStream): Promise<void> {
  const [{ familyHelp }, { styleFor }] = await Promise.all([import('./help.ts'), import('./style.ts')])
  const { title = '', commands = [] } = familyOf(name) ?? {}
  const own = commands.filter((c) => c.name.startsWith(`${name} `))
  out.write(familyHelp({ name, title, commands: own }, styleFor(out)))
}

/** `pare help COMMAND` is `pare COMMAND --help`. */
const wordsOf = ([first, ...rest]: readonly string[]): readonly string[] =>
  joined(first === 'help' ? [...rest, '--help'] : first === undefined ? [] : [first, ...rest])

/** The two words of commands such as `federate simulate` are one name. */
const joined = ([first, second, ...rest]: readonly string[]): readonly string[] =>
  entries.some((e) => e.name === `${first} ${second}`)
    ? [`${first} ${second}`, ...rest]
    : [first, second, ...rest].filter((w) => w !== undefined)

const formatsListed = async (): Promise<readonly FormatCard[]> => (await import('./lists.ts')).formatList

const places: Surroundings['places'] = async () => ({
  formats: await formatsListed(),
  targets: (await import('../targets/index.ts')).targets
})

/** Is a word none of the flags that come with formats? `--help` shows those too. */
const isOwn = ({ flags }: Command, word: string): boolean =>
  !word.startsWith('-') ||
  flags.some(
    ({ name, short }) => word === `-${short}` || word.replace(/=.*/, '').replace('--no-', '--') === `--${name}`
  )

/** Runs a command line; gives the exit status. */
async function main(argv: readonly string[], signal: AbortSignal, takeSignals: () => void): Promise<number> {
  const { stdout, stderr } = process
  try {
    const [name, ...args] = wordsOf(argv)
    if (name === undefined || name === '--help' || name === '-h') {
      await showOverview(stdout)
      return name === undefined ? 2 : 0
    }
    if (name === '--version' || name === '-v') {
      stdout.write(`${(await import('../node/version.ts')).version}\n`)
      return 0
    }
    if (familyOf(name) && args.every((a) => a === '--help' || a === '-h')) {
      await showFamily(name, stdout)
      return args.length === 0 ? 2 : 0
    }
    const command = await commandFor(name, args[0])
    const asked = command.writes || (command.opens && args.some((a) => !isOwn(command, a)))
    const [{ flagsFor, readChoices, writeOptions }, formats] = await Promise.all([
      import('./format-flags.ts'),
      asked ? formatsListed() : []
    ])
    const flags = flagsFor(command, formats)
    if (args.includes('--help') || args.includes('-h')) {
      const [{ commandHelp }, { styleFor }] = await Promise.all([import('./help.ts'), import('./style.ts')])
      stdout.write(commandHelp({ ...command, flags }, styleFor(stdout)))
      return 0
    }
    const { parseFlags } = await import('./flags.ts')
    const given = parseFlags(args, flags, command.positionals, name)
    const write = command.writes ? writeOptions(given, formats) : {}
    const read = readChoices(given, formats)
    const program = new URL(import.meta.url)
    const start: Surroundings['start'] = async (job, hooks) =>
      (await import('../node/worker.ts')).startJob(job, program, hooks)
    return await command.run(given, {
      argv,
      out: stdout,
      err: stderr,
      signal,
      takeSignals,
      places,
      write,
      read,
      start
    })
  } catch (thrown) {
    const [{ asPareError, printError, statusOf }, { styleFor }] = await Promise.all([
      import('./fault.ts'),
      import('./style.ts')
    ])
    const error = asPareError(thrown)
    stderr.write(printError(error, styleFor(stderr), argv.includes('--debug')))
    return statusOf(error)
  }
}

const interrupts = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const

/** Ctrl-C asks the work to stop; pressed again, or when the work does not stop, the process ends. */
function stopOnInterrupt(): { readonly stop: AbortSignal; leave(): void } {
  const stop = new AbortController()
  const interrupted = (signal: NodeJS.Signals): void => {
    if (stop.signal.aborted) end(signal)
    stop.abort(signal)
    setTimeout(() => end(signal), 5000).unref()
  }
  for (const signal of interrupts) process.on(signal, interrupted)
  return {
    stop: stop.signal,
    leave: () => {
      for (const signal of interrupts) process.off(signal, interrupted)
    }
  }
}

/** Ends the process by the signal itself. `process.exit` would wait for the engine, which cannot be interrupted. */
function end(signal: NodeJS.Signals): void {
  process.emit('exit', 130)
  process.removeAllListeners(signal)
  process.kill(process.pid, signal)
}

// New objects get 2 MB before they are collected, where V8 lets that grow to 16: a tenth less peak memory for 3 % of processor time.
setFlagsFromString('--max-semi-space-size=2')

if (isTrialThread()) {
  const { serveTrials } = await import('../node/jobs/trial-thread.ts')
  await serveTrials()
} else if (isJobThread()) {
  const { runJob } = await import('../node/jobs.ts')
  await serveJob(runJob)
} else {
  // A reader such as `head` may close the pipe before all is written.
  process.stdout.on('error', (e: NodeJS.ErrnoException) => process.exit(e.code === 'EPIPE' ? 0 : 1))
  const { stop, leave } = stopOnInterrupt()
  process.exitCode = await main(process.argv.slice(2), stop, leave)
  // A thread that the engine keeps would hold the process.
  if (stop.aborted) setTimeout(() => end(stop.reason as NodeJS.Signals), 300).unref()
}
