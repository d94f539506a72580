/** The Runner of Node: onnxruntime-node, with a folder of its own for what the engine passes by file. */
import { mkdtempSync, rmSync } from 'node:fs'
import { open, readdir, readFile, rm } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { PareError } from '../base/errors.ts'
import { type OrtModule, ortRunner, type ScratchFolder, type ScratchFolders } from '../runtime/index.ts'
import type { Runner } from '../runtime/types.ts'
import type { Bytes } from '../types.ts'

/**
 * A Runner over onnxruntime-node.
 *
 *     const session = await nodeRunner().open({ path: 'model.onnx' })
 *     const { logits } = await session.run({ image })
 *     await session.close()
 */
export function nodeRunner(): Runner {
  keepSilent()
  const { version } = require(`${packageName}/package.json`) as { readonly version: string }
  return ortRunner(loaded, { name: packageName, version, folders: scratchFolders(tmpdir()) })
}

const packageName = 'onnxruntime-node'
const require = createRequire(import.meta.url)
let module: OrtModule | undefined

/** The package, loaded with the first session: commands that open none start without it. */
function loaded(): OrtModule {
  if (module) return module
  const ort = require(packageName) as OrtModule & { readonly env: { logLevel?: string } }
  // Warnings of the engine's own logger are about its loading, and go to standard error whatever a session asks.
  if (ort.env.logLevel === 'warning') ort.env.logLevel = 'error'
  module = ort
  return ort
}

/**
 * Builds of ONNX Runtime for Linux and Windows report their use to Microsoft and leave logs in the temporary folder,
 * unless this variable is set before the first session of the process. What the user has set stays. In a worker thread
 * the variables are a copy: whoever starts one calls this first.
 */
export function keepSilent(): void {
  process.env['ORT_DISABLE_TELEMETRY'] ??= '1'
}

/** Folders under `parent`. Those that sessions still hold when the process ends go with it. */
export function scratchFolders(parent: string): ScratchFolders {
  const held = new Set<string>()
  const clean = (): void => {
    for (const left of held) rmSync(left, { recursive: true, force: true })
  }
  return async () => {
    const folder = inTemporary(parent, () => mkdtempSync(join(parent, 'pare-')))
    if (held.size === 0) process.once('exit', clean)
    held.add(folder)
    return scratchFolder(folder, async () => {
      await rm(folder, { recursive: true, force: true })
      if (held.delete(folder) && held.size === 0) process.off('exit', clean)
    })
  }
}

function scratchFolder(folder: string, remove: () => Promise<void>): ScratchFolder {
  return {
    path: (name) => join(folder, name),
    write: (name, parts) => writeParts(join(folder, name), parts),
    read: (name) => readFile(join(folder, name)),
    names: () => readdir(folder),
    remove,
    removableWhileOpen: process.platform !== 'win32'
  }
}

const chunkBytes = 16 * 1024 * 1024

async function writeParts(path: string, parts: readonly Bytes[]): Promise<void> {
  const file = await open(path, 'wx', 0o600).catch((e) => temporaryError(path, e))
  try {
    for (const p of parts)
      for (let at = 0; at < p.length; at += chunkBytes)
        await file.writeFile(p.slice(at, Math.min(at + chunkBytes, p.length)))
  } catch (e) {
    temporaryError(path, e)
  } finally {
    await file.close()
  }
}

function inTemporary<T>(where: string, make: () => T): T {
  try {
    return make()
  } catch (e) {
    return temporaryError(where, e)
  }
}

/** Says that it is the temporary folder which failed. */
export function temporaryError(where: string, e: unknown): never {
  if (e instanceof PareError && e.code !== 'E_FILE') throw e
  throw new PareError('E_FILE', `temporary files cannot be written: ${e instanceof Error ? e.message : String(e)}`, {
    where,
    hint: 'free some space there, or name another folder in TMPDIR',
    cause: e
  })
}
