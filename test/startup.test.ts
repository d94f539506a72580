/** What commands load before they work: nothing here is timed, but files of the built program are counted. */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { afterAll, expect, it } from 'vitest'

const here = (path: string): string => fileURLToPath(new URL(`../${path}`, import.meta.url))
const folder = mkdtempSync(join(tmpdir(), 'pare-startup-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

/** Files of the built program that a command loads, each once. */
function loadedBy(...words: readonly string[]): ReadonlySet<string> {
  const [log, hooks, hook] = ['log.txt', 'hooks.mjs', 'hook.mjs'].map((name) => join(folder, name)) as [
    string,
    string,
    string
  ]
  writeFileSync(log, '')
  writeFileSync(
    hooks,
    `import { appendFileSync } from 'node:fs'
     export const load = (url, context, next) => { appendFileSync(${JSON.stringify(log)}, url + '\\n'); return next(url, context) }`
  )
  writeFileSync(hook, `import { register } from 'node:module'; register(${JSON.stringify(pathToFileURL(hooks).href)})`)
  const done = spawnSync(process.execPath, ['--import', pathToFileURL(hook).href, here('dist/cli/main.js'), ...words], {
    encoding: 'utf8'
  })
  expect(done.status, done.stderr).toBe(0)
  const urls = readFileSync(log, 'utf8').split('\n')
  return new Set(
    urls.filter((url) => url.includes('/dist/') && url.startsWith('file:')).map((url) => fileURLToPath(url))
  )
}

const bytesOf = (files: ReadonlySet<string>): number => [...files].reduce((sum, file) => sum + statSync(file).size, 0)

it.each([
  ['--help', ['--help'], 130_000],
  ['help of a command', ['compress', '--help'], 400_000],
  ['inspect', ['inspect', here('examples/demo/digits.onnx')], 2_300_000]
] as const)('%s loads no passes, and few bytes', { timeout: 60_000 }, (_, words, most) => {
  const files = loadedBy(...words)
  expect([...files].map((file) => basename(file)).filter((name) => /^passes-/.test(name))).toEqual([])
  expect(bytesOf(files)).toBeLessThan(most)
  expect(bytesOf(files)).toBeGreaterThan(50_000)
})
