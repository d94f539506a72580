/** What the documents say runs: commands on the bundled input, options as the help has them, code as it is imported. */
import { spawn } from 'node:child_process'
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync
} from 'node:fs'
import { tmpdir } from 'node:os'
import { extname, join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { flatOperator } from './flat-file.ts'
import { type Ended, isBuilt, pare } from './program.ts'

const root = fileURLToPath(new URL('../', import.meta.url))
const network = join(root, 'examples', 'demo', 'digits.onnx')
/** The bundled networks: trained, as a text, and out of DL4J. */
const networks: Readonly<Record<string, string>> = {
  '.onnx': network,
  '.txt': network.replace('.onnx', '.txt'),
  '.zip': join(root, 'examples', 'java', 'digits.zip')
}
/** A TensorFlow Lite file. */
const small = flatOperator({
  op: 'SOFTMAX',
  inputs: [{ shape: [1, 10] }],
  outputs: [{ shape: [1, 10] }],
  options: { table: 'SoftmaxOptions', beta: 1 }
})
const data = join(root, 'examples', 'demo', 'digits-data.mjs')
/** The same for networks of DL4J. */
const dl4jData = join(root, 'examples', 'java', 'digits-data.mjs')

interface Document {
  readonly name: string
  readonly text: string
}

const documents: readonly Document[] = ['README.md', ...readdirSync(join(root, 'docs')).map((name) => `docs/${name}`)]
  .filter((name) => name.endsWith('.md'))
  .map((name) => ({ name, text: readFileSync(join(root, name), 'utf8') }))

/** Fenced blocks of some languages. */
const blocks = ({ text }: Document, languages: readonly string[]): string[] =>
  [...text.matchAll(/^```(\w*)\n(.*?)^```$/gms)].filter((m) => languages.includes(m[1] ?? '')).map((m) => m[2] ?? '')

/** Inline code, as it reads outside a table. */
const inline = ({ text }: Document): string[] =>
  [...text.replace(/^```.*?^```$/gms, '').matchAll(/`([^`]+)`/g)].map((m) =>
    (m[1] ?? '').replaceAll('\\|', '|').replace(/\s+/g, ' ')
  )

/** Command lines: all of a fenced block that begin with `pare`, and inline ones. */
const fenced = documents.flatMap((d) =>
  blocks(d, ['', 'sh', 'bash', 'console']).flatMap((block) =>
    block
      .replaceAll('\\\n', ' ')
      .split('\n')
      .map((line) =>
        line
          .replace(/^\$ /, '')
          .replace(/^npx /, '')
          .replace(/\s+#.*$/, '')
      )
      .filter((line) => line.startsWith('pare '))
  )
)
const lines = [...new Set([...fenced, ...documents.flatMap(inline).filter((code) => /^pare [a-z]/.test(code))])]
const isWhole = (line: string): boolean => !/[|…[\]]| [A-Z]{2,}$/.test(line.replace(/--data [A-Z]+/g, ''))

const words = (line: string): string[] => line.split(/\s+/).slice(1)
const commandsIn = (line: string): string[] =>
  line.includes('|')
    ? words(line).filter((w) => /^[a-z][a-z-]*$/.test(w))
    : [
        words(line)
          .slice(0, helps.has(words(line).slice(0, 2).join(' ')) ? 2 : 1)
          .join(' ')
      ]
const optionsIn = (code: string): string[] => [...code.matchAll(/(?<![\w-])--[a-z][\w.-]*/g)].map((m) => m[0])

const dataFlags = ['--data', '--eval-data', '--calibration-data', '--train-data']

/** The line with the bundled network and data for the files it names; `inputs`: models to put there. */
function onBundled(line: string): { readonly args: readonly string[]; readonly inputs: readonly string[] } {
  const args: string[] = []
  const inputs: string[] = []
  let flag = ''
  for (const word of words(line)) {
    const value = flag
    flag = word.startsWith('-') ? word : ''
    if (word === '--preprocess' || value === '--preprocess') continue
    if (/\.(onnx|txt|tflite|zip)$/.test(word) && value !== '-o' && value !== '--out') inputs.push(word)
    args.push(dataFlags.includes(value) ? data : word)
  }
  const isDl4j = inputs.some((name) => name.endsWith('.zip'))
  return { args: isDl4j ? args.map((a) => (a === data ? dl4jData : a)) : args, inputs }
}

let folder = ''
const helps = new Map<string, string>()
const ask = async (args: readonly string[]): Promise<string> => (await pare(args, { cwd: folder })).out

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'pare-docs-'))
  if (!isBuilt) return
  const overview = await ask(['--help'])
  const names = [...overview.matchAll(/^ {4}([a-z][a-z-]*(?: [a-z-]+)?) {2}/gm)].map((m) => m[1] ?? '')
  const next = async (): Promise<void> => {
    for (let name = names.pop(); name; name = names.pop()) helps.set(name, await ask([...name.split(' '), '--help']))
  }
  await Promise.all([next(), next()])
}, 300_000)

afterAll(() => rmSync(folder, { recursive: true, force: true }))

describe.skipIf(!isBuilt)('the documents (needs npm run build)', () => {
  it('name only commands that there are', () => {
    expect(lines.length).toBeGreaterThan(4)
    expect(lines.flatMap(commandsIn).filter((name) => !helps.has(name))).toEqual([])
  })

  it('give commands only options that they have', () => {
    const wrong = lines.flatMap((line) =>
      commandsIn(line).flatMap((name) =>
        optionsIn(line).filter((o) => o !== '--help' && !has(helps.get(name) ?? '', o))
      )
    )
    expect(wrong).toEqual([])
    const all = [...helps.values()].join('\n')
    const readme = documents.filter((d) => d.name === 'README.md')
    expect(
      readme
        .flatMap(inline)
        .filter((code) => !/^(npm|npx) |npm install/.test(code))
        .flatMap(optionsIn)
        .filter((o) => !has(all, o))
    ).toEqual([])
  })

  it('show commands that run on the bundled input', async () => {
    const queue = [...new Map(lines.filter(isWhole).map((line) => [onBundled(line).args.join(' '), line])).values()]
    const wrong: string[] = []
    const next = async (): Promise<void> => {
      for (let line = queue.shift(); line !== undefined; line = queue.shift()) {
        const { status, err } = await runIn(line)
        if (status !== 0) wrong.push(`${line}: status ${status}\n${err}`)
      }
    }
    await Promise.all([next(), next()])
    expect(wrong).toEqual([])
  }, 900_000)

  it('show code that runs', async () => {
    const snippets = documents.flatMap((d) => blocks(d, ['js', 'mjs']))
    expect(snippets.length).toBeGreaterThan(0)
    for (const code of snippets) expect(await runCode(code)).toEqual({ status: 0, err: '' })
  }, 300_000)
})

const has = (help: string, option: string): boolean =>
  new RegExp(`(?<![\\w-])${option.replace(/[.]/g, '\\$&')}(?![\\w-])`).test(help)

async function runIn(line: string): Promise<Ended> {
  const { args, inputs } = onBundled(line)
  const cwd = mkdtempSync(join(folder, 'run-'))
  for (const name of inputs) {
    if (extname(name) === '.tflite') writeFileSync(join(cwd, name), small)
    // A small model that errs now and then: a cascade with one that never does is refused.
    else if (name === 'small.onnx') await pare(['prune-weights', network, '--ratio', '0.7', '-o', name], { cwd })
    else copyFileSync(networks[extname(name)] ?? network, join(cwd, name))
  }
  return pare(args, { cwd })
}

/** Runs a module that imports the package by its name, beside files of the names it uses. */
async function runCode(code: string): Promise<{ readonly status: number | null; readonly err: string }> {
  const inside = join(root, 'examples', 'demo', 'out')
  mkdirSync(inside, { recursive: true })
  const cwd = mkdtempSync(join(inside, 'docs-'))
  try {
    copyFileSync(network, join(cwd, 'model.onnx'))
    writeFileSync(join(cwd, 'data.mjs'), `export { default } from ${JSON.stringify(pathToFileURL(data))}`)
    writeFileSync(join(cwd, 'code.mjs'), code.replace(/'(photos\/|test\.npz)'/g, "'data.mjs'"))
    return await new Promise((resolve, reject) => {
      const child = spawn(process.execPath, ['code.mjs'], { cwd, stdio: ['ignore', 'ignore', 'pipe'] })
      let err = ''
      child.stderr.on('data', (d: Buffer) => {
        err += d.toString()
      })
      child.on('error', reject)
      child.on('close', (status) => resolve({ status, err }))
    })
  } finally {
    if (existsSync(cwd)) rmSync(cwd, { recursive: true })
  }
}
