import { readdirSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { defineConfig } from 'tsdown'
import * as lists from './src/cli/lists.ts'

/** Puts the lists in place of the module that makes them from passes, formats and strategies. */
const listsAsData = {
  name: 'lists-as-data',
  load: {
    filter: { id: /[\\/]src[\\/]cli[\\/]lists\.ts$/ },
    handler: () =>
      Object.entries(lists)
        .map(([name, list]) => `export const ${name} = ${JSON.stringify(list)}`)
        .join('\n')
  }
}

/** Packages that are part of the result: of a hundred small files each, they would make up most of the time to start. */
const bundled = [
  '@bufbuild/protobuf',
  '@noble/ciphers',
  '@noble/curves',
  '@noble/hashes',
  'fflate',
  'flatbuffers',
  'onnx-buf',
  'zod'
]

/** Packages that stand in the result with all that they need: these would install 46 of them, 14 MB. */
const withTheirs = ['fastify', 'pino']

/** Their forms for browsers: what is bundled into the core runs there too, and those for Node begin with node:module. */
const alias = {
  '@noble/ciphers/crypto': fileURLToPath(new URL('node_modules/@noble/ciphers/esm/crypto.js', import.meta.url)),
  '@noble/hashes/crypto': fileURLToPath(new URL('node_modules/@noble/hashes/esm/crypto.js', import.meta.url)),
  fflate: 'fflate/browser',
  flatbuffers: fileURLToPath(new URL('node_modules/flatbuffers/mjs/flatbuffers.js', import.meta.url))
}

/** Folders of the packages that modules are from. */
const foldersOf = (modules: readonly string[]): readonly string[] => [
  ...new Set(modules.flatMap((id) => /^.*\/node_modules\/(?:@[^/]+\/)?[^/]+\//.exec(id.replace(/^\0/, ''))?.[0] ?? []))
]

/** Writes the licences of what is bundled beside it. */
const licences = {
  name: 'licences',
  generateBundle(
    this: { emitFile(file: { type: 'asset'; fileName: string; source: string }): void },
    _options: unknown,
    bundle: Readonly<Record<string, { readonly moduleIds?: readonly string[] }>>
  ) {
    const modules = Object.values(bundle).flatMap((chunk) => chunk.moduleIds ?? [])
    const source = foldersOf(modules)
      .toSorted()
      .map((folder) => {
        const { name, version, license } = JSON.parse(readFileSync(`${folder}package.json`, 'utf8'))
        const text = readdirSync(folder).find((f) => /^licen[cs]e/i.test(f))
        return `${name} ${version}, ${license}\n\n${text ? readFileSync(`${folder}${text}`, 'utf8') : ''}`
      })
    this.emitFile({ type: 'asset', fileName: 'licences.txt', source: source.join(`\n${'-'.repeat(80)}\n`) })
  }
}

/** `read` is an entry so that what reading needs is a file of its own: a page that only reads models bundles that alone. */
const shared = {
  entry: {
    index: 'src/index.ts',
    read: 'src/formats/read.ts',
    'node/index': 'src/node/index.ts',
    'node/federate-worker': 'src/node/federate/worker.ts',
    'cli/main': 'src/cli/main.ts'
  },
  format: 'esm',
  platform: 'node',
  target: 'node20',
  fixedExtension: false
} as const

/** Declarations name the types of packages, so that those of a user's own schemas fit. */
export default defineConfig([
  {
    ...shared,
    dts: false,
    clean: true,
    alias,
    noExternal: [...bundled, ...withTheirs].map((name) => new RegExp(`^${name}(/|$)`)),
    plugins: [listsAsData, licences],
    // By itself the bundler puts it beside recipes, which bring all passes: `inspect` needs none of them.
    outputOptions: {
      advancedChunks: {
        includeDependenciesRecursively: false,
        groups: [{ name: 'owners', test: /[\\/]src[\\/]ops[\\/]owners\.ts$/ }]
      }
    }
  },
  { ...shared, dts: { emitDtsOnly: true }, clean: false }
])
