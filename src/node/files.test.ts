import { spawn, spawnSync } from 'node:child_process'
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeEach, describe, expect, it } from 'vitest'
import { testContext } from '../../test/compare.ts'
import { floatBytes, withExternal } from '../../test/corpus.ts'
import type { PareError } from '../base/errors.ts'
import { formatFor } from '../formats/index.ts'
import { print } from '../ir/print.ts'
import { toNumbers } from '../ir/tensor.ts'
import { parse } from '../ir/text.ts'
import { parseOptions } from '../passes/pass.ts'
import { pruneWeights } from '../passes/prune/prune-weights.ts'
import { targets } from '../targets/index.ts'
import { fileBytes, load, save, sha256File, writeAtomic } from './files.ts'

const root = mkdtempSync(join(tmpdir(), 'pare-files-'))
afterAll(() => rmSync(root, { recursive: true, force: true }))
let folder = root
let count = 0
beforeEach(() => {
  folder = join(root, String(count++))
  mkdirSync(folder)
})
const at = (name: string): string => join(folder, name)

const m = parse('input x: f32[N,64]\ny = MatMul(x, a: f32[64,32])\noutput y')

/** Code and message of what a promise is rejected with. */
async function failure(run: Promise<unknown>): Promise<string> {
  try {
    await run
    return 'none'
  } catch (error) {
    const { code, message } = error as PareError
    return `${code} ${message}`
  }
}

describe('loading', () => {
  it('names what is wrong with a file', async () => {
    writeFileSync(at('empty.onnx'), '')
    writeFileSync(at('text.onnx'), 'this is no model')
    expect(await failure(load(at('none.onnx')))).toBe('E_FILE cannot read this file: no such file or folder')
    expect(await failure(load(folder))).toBe('E_FILE this is a folder, not a file')
    expect(await failure(load(at('empty.onnx')))).toBe('E_FORMAT the file is empty')
    expect(await failure(load(at('text.onnx')))).toBe('E_FORMAT not a model')
  })
  it('says which file, and where in it', async () => {
    writeFileSync(at('m.onnx'), withExternal())
    writeFileSync(at('weights.bin'), new Uint8Array(12))
    await expect(load(at('m.onnx'))).rejects.toMatchObject({ where: `${at('m.onnx')}: w` })
  })
  it('reads external weights only from inside the folder', async () => {
    const values = async (): Promise<unknown> => {
      const t = (await load(at('in/m.onnx'))).graph.values.get('w')?.data
      return t && Array.from(toNumbers(t))
    }
    mkdirSync(at('in'))
    writeFileSync(at('in/m.onnx'), withExternal())
    expect(await failure(values())).toMatch('E_FILE cannot read this file: no such file')
    writeFileSync(at('outside.bin'), Uint8Array.from([...new Uint8Array(8), ...floatBytes(1, 2)]))
    symlinkSync(at('outside.bin'), at('in/weights.bin'))
    expect(await failure(values())).toBe("E_FILE external weights outside the model's folder")
    rmSync(at('in/weights.bin'))
    writeFileSync(at('in/weights.bin'), readFileSync(at('outside.bin')))
    expect(await values()).toEqual([1, 2])
    symlinkSync(at('in'), at('link'))
    expect((await load(at('link/m.onnx'))).graph.values.get('w')?.data?.bytes.length).toBe(8)
  })
  it('reads a model and weights that are links into one store of files, and nothing outside of it', async () => {
    for (const name of ['blobs', 'blobs/deeper', 'snapshot', 'elsewhere']) mkdirSync(at(name))
    const weights = Uint8Array.from([...new Uint8Array(8), ...floatBytes(1, 2)])
    writeFileSync(at('blobs/1f'), withExternal())
    for (const name of ['blobs/2a', 'blobs/weights.bin', 'blobs/deeper/3c', 'elsewhere/2a'])
      writeFileSync(at(name), weights)
    symlinkSync('../blobs/1f', at('snapshot/m.onnx'))
    const values = async (name = 'snapshot/m.onnx') => (await load(at(name))).graph.values.get('w')?.data?.bytes.length
    expect(await failure(values())).toMatch('E_FILE cannot read this file: no such file')
    for (const [to, wanted] of [
      ['../blobs/2a', '8'],
      ['../blobs/deeper/3c', '8'],
      ['../elsewhere/2a', "E_FILE external weights outside the model's folder"]
    ] as const) {
      symlinkSync(to, at('snapshot/weights.bin'))
      const found = await values().then(String, (e: PareError) => `${e.code} ${e.message}`)
      expect(found).toBe(wanted)
      rmSync(at('snapshot/weights.bin'))
    }
    // A link named by the user is followed once more through a folder that is a link itself.
    symlinkSync('../blobs/2a', at('snapshot/weights.bin'))
    symlinkSync(at('snapshot'), at('latest'))
    expect(await values('latest/m.onnx')).toBe(8)
  })
})

describe('file bytes', () => {
  it('of a large file are read where asked, and not after a change', () => {
    const size = 80 * 1024 * 1024
    writeFileSync(at('big'), Uint8Array.from([1, 2, 3]))
    truncateSync(at('big'), size)
    const bytes = fileBytes(at('big'))
    expect(bytes).not.toBeInstanceOf(Uint8Array)
    expect([...bytes.slice(1, 4)]).toEqual([2, 3, 0])
    expect(bytes.slice(size - 2, size + 9)).toHaveLength(2)
    truncateSync(at('big'), size - 1)
    expect(() => bytes.slice(0, 1)).toThrow('changed while it was in use')
  })
})

describe('saving', () => {
  it('gives back the model, its size and its hash', async () => {
    const { bytes, sha256 } = await save(m, at('m.onnx'))
    expect(readFileSync(at('m.onnx'))).toHaveLength(bytes)
    expect(await sha256File(at('m.onnx'))).toBe(sha256)
    expect(print(await load(at('m.onnx')))).toBe(print(m))
  })
  it('puts weights into a file named by their hash', async () => {
    const { bytes } = await save(m, at('m.onnx'), { write: { external: true } })
    const [model, weights] = [
      readFileSync(at('m.onnx')),
      readdirSync(folder).find((name) => name.endsWith('.weights')) ?? ''
    ]
    expect(weights).toBe(`m.${(await sha256File(at(weights))).slice(0, 16)}.weights`)
    expect(bytes).toBe(model.length + readFileSync(at(weights)).length)
    expect((await load(at('m.onnx'))).graph.values.get('a')?.data?.bytes).toEqual(m.graph.values.get('a')?.data?.bytes)
  })
  it('writes pruned weights for every target: in the smallest form that its files have, else as they are, with a note', async () => {
    const net = parse(`opset 21
      input x: f32[1,64]
      y = Gemm(x, W: f32[64,32], B: f32[32])
      output y`)
    const pruned = await pruneWeights.run(net, parseOptions(pruneWeights, { ratio: 0.9 }), testContext())
    for (const target of targets.filter((t) => t.format === 'onnx' || t.format === 'tflite')) {
      const format = formatFor(target.format)
      const path = at(`${target.name}${format.extensions[0]}`)
      const { bytes, notes } = await save(pruned, path, { target })
      const isSmall = bytes < 0.6 * 64 * 32 * 4
      expect([target.name, isSmall, notes.join()]).toEqual([
        target.name,
        target.forms.includes('auto'),
        isSmall ? '' : expect.stringContaining(`W: pruned or of few values, stored as files of ${target.name} hold`)
      ])
    }
  })
  it('replaces only when told to', async () => {
    await save(m, at('m.onnx'))
    expect(await failure(save(m, at('m.onnx')))).toBe('E_EXISTS the output exists already')
    await save(m, at('m.onnx'), { force: true })
    expect(await failure(save(m, folder, { force: true }))).toBe('E_FILE this is a folder')
  })
  it('writes through a link to what it points to', async () => {
    writeFileSync(at('real.onnx'), 'old')
    symlinkSync(at('real.onnx'), at('link.onnx'))
    await save(m, at('link.onnx'), { force: true })
    expect(print(await load(at('real.onnx')))).toBe(print(m))
  })
  it('into a folder that is not there is one clear error', async () => {
    expect(await failure(save(m, at('no/m.onnx')))).toBe('E_FILE cannot write this file: no such file or folder')
  })
})

/** A part whose reading fails after some bytes are written. */
const broken = {
  length: 2,
  slice: (): Uint8Array => {
    throw new Error('broken part')
  }
}

describe('a write that fails', () => {
  it('leaves the old file and nothing else', async () => {
    writeFileSync(at('m.onnx'), 'old')
    expect(await failure(writeAtomic(at('m.onnx'), [new Uint8Array(9), broken], { force: true }))).toContain(
      'broken part'
    )
    expect(readdirSync(folder)).toEqual(['m.onnx'])
    expect(readFileSync(at('m.onnx'), 'utf8')).toBe('old')
  })

  const full = '/dev/full'
  it.skipIf(!existsSync('/proc/self'))('because of a limit of the system says so and cleans up', async () => {
    expect(await failure(writeAtomic(full, [new Uint8Array(1)], { force: true }))).toBe(
      'E_FILE this is not a regular file'
    )
    writeFileSync(at('m.onnx'), 'old')
    const script = `
      import { writeAtomic } from ${JSON.stringify(await bundled())}
      try { await writeAtomic(${JSON.stringify(at('m.onnx'))}, [new Uint8Array(4e6)], { force: true }) }
      catch (error) { console.log(error.code, error.message) }`
    writeFileSync(at('run.mjs'), script)
    const ran = spawnSync('bash', ['-c', `ulimit -f 1000; exec "${process.execPath}" "${at('run.mjs')}"`], {
      encoding: 'utf8'
    })
    expect(ran.stdout.trim()).toBe('E_FILE cannot write this file: the file would be larger than the system allows')
    expect(readdirSync(folder).filter((name) => name !== 'run.mjs')).toEqual(['m.onnx'])
    expect(readFileSync(at('m.onnx'), 'utf8')).toBe('old')
  })

  it('killed while writing leaves the old file intact', async () => {
    writeFileSync(at('m.onnx'), 'old')
    const script = `
      import { writeAtomic } from ${JSON.stringify(await bundled())}
      const endless = { length: 2 ** 40, slice: (a, b) => { process.stdout.write('.'); return new Uint8Array(b - a) } }
      await writeAtomic(${JSON.stringify(at('m.onnx'))}, [endless], { force: true })`
    writeFileSync(at('run.mjs'), script)
    for (const signal of ['SIGKILL', 'SIGINT'] as const) {
      const child = spawn(process.execPath, [at('run.mjs')])
      await new Promise((resolve) => child.stdout.once('data', resolve))
      const ended = new Promise((resolve) => child.once('exit', resolve))
      child.kill(signal)
      await ended
      expect(readFileSync(at('m.onnx'), 'utf8')).toBe('old')
    }
  })
})

/** The module under test as plain JavaScript, for a process of its own. */
async function bundled(): Promise<string> {
  const out = join(root, 'files.mjs')
  if (!existsSync(out)) {
    const { rolldown } = await import('rolldown')
    const made = await rolldown({ input: new URL('./files.ts', import.meta.url).pathname, platform: 'node' })
    await made.write({ file: out, format: 'esm', codeSplitting: false })
    await made.close()
  }
  return out
}
