import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { writeModel } from '../../formats/index.ts'
import { parse } from '../../ir/text.ts'
import type { Recipe } from '../../passes/types.ts'
import type { Model } from '../../types.ts'
import { standard } from '../catalog.ts'
import { save } from '../files.ts'
import type { Job } from '../job.ts'
import { openJob } from './open.ts'
import { checkOf } from './written.ts'

let folder = ''
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'pare-written-'))
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const net = (w: readonly number[], y = 'MatMul(x, w)'): Model =>
  parse(`opset 21\ninput x: f32[N,4]\nconst w: f32[4,4] = ${w.join(', ')}\ny: f32[N,4] = ${y}\noutput y`)
const waves = Array.from({ length: 16 }, (_, i) => Math.sin(i + 1))
const hooks = { signal: new AbortController().signal, progress: () => {} }

/** Saves a model as the result of a job on another; returns the notes, and the names in the folder that were added. */
async function saved(original: Model, made: Model, o: { recipe?: Recipe; check?: false } = {}) {
  const path = join(folder, 'model.onnx')
  writeFileSync(path, writeModel(original).bytes)
  const job: Job = { command: 'apply', line: '', model: path, ...(o.check === undefined ? {} : { check: o.check }) }
  const opened = await openJob(job, standard)
  const { check, notes } = checkOf(job, opened, hooks, { recipe: o.recipe ?? [] })
  const out = join(folder, 'out.onnx')
  const error = await save(made, out, { force: true, ...(check ? { check } : {}) }).then(
    () => undefined,
    (e) => e
  )
  const names = readdirSync(folder).filter((n) => n !== 'model.onnx')
  rmSync(out, { force: true })
  return { error, notes, names }
}

/** Opening it ends the process: ONNX Runtime joins the Transpose with the product. */
const crash = parse(`opset 21
  input x: f16[2,4,8]
  const w: f16[8,8] = ${Array.from({ length: 64 }, (_, i) => i / 64).join(', ')}
  t: f16[4,2,8] = Transpose(x, perm=[1,0,2])
  y: f16[4,2,8] = MatMul(t, w)
  output y`)
const noCrash = parse(`opset 21
  input x: f16[2,4,8]
  y: f16[4,2,8] = Transpose(x, perm=[1,0,2])
  output y`)

describe('the last look at a file', () => {
  it('runs a result of fixed sizes on inputs of those', async () => {
    const fixed = (w: readonly number[]): Model =>
      parse(`opset 21\ninput x: f32[8,4]\nconst w: f32[4,4] = ${w.join(', ')}\ny: f32[8,4] = MatMul(x, w)\noutput y`)
    expect(await saved(net(waves), fixed(waves))).toEqual({ error: undefined, notes: [], names: ['out.onnx'] })
    expect((await saved(net(waves), fixed(waves.map((w) => -w)))).error.facts.why).toContain('cosine')
    const huge = parse('opset 21\ninput x: f32[9000000,4]\ny: f32[9000000,4] = Relu(x)\noutput y')
    const { error, notes } = await saved(parse('opset 21\ninput x: f32[N,4]\ny: f32[N,4] = Relu(x)\noutput y'), huge)
    expect([error, notes]).toEqual([undefined, [expect.stringContaining('not compared')]])
  })

  it('lets a near result pass, without a word', async () => {
    const { error, notes, names } = await saved(net(waves), net(waves.map((w) => w * 1.01)))
    expect([error, notes, names]).toEqual([undefined, [], ['out.onnx']])
  })

  it.each([
    ['far off', net(waves.map((_, i) => Math.cos(3 * i))), /cosine/],
    ['not finite', net(waves, 'Log(x)'), /NaN/]
  ])('refuses a result that is %s, and leaves nothing behind', async (_, made, why) => {
    const { error, names } = await saved(net(waves), made)
    expect(error).toMatchObject({ code: 'E_CONSTRAINT', where: 'y' })
    expect(error.facts.why).toMatch(why)
    expect(names).toEqual([])
  })

  it('refuses a file that does not open, and one that ends the process', async () => {
    const broken = await saved(net(waves), net(waves, 'Reshape(x, w)'))
    expect(broken.error).toMatchObject({ code: 'E_CONSTRAINT' })
    expect(broken.names).toEqual([])
    const dead = await saved(noCrash, crash)
    expect(dead.error.facts.why).toContain('SIGSEGV')
    expect(dead.names).toEqual([])
  })

  it('does not compare where a recipe trains or stores 3 bits and fewer, nor where nothing is to be looked at', async () => {
    const far = net(waves.map((_, i) => Math.cos(3 * i)))
    for (const recipe of [[['finetune', {}]], [['quantize-weights', { bits: 2 }]]] as Recipe[])
      expect((await saved(net(waves), far, { recipe })).error).toBeUndefined()
    const { error, notes } = await saved(net(waves), far, { check: false })
    expect([error, notes]).toEqual([undefined, ['the file written was not opened or compared: --no-check']])
  })

  it('compares nothing with a network in words', async () => {
    const words: Model = { ...net(waves), origin: { format: 'text', untrained: true } }
    const { error, notes } = await saved(net(waves), words)
    expect([error, notes]).toEqual([undefined, []])
  })

  it('says why it could not compare', async () => {
    const odd = net(waves, 'Reshape(x, w)')
    const { error, notes } = await saved(odd, net(waves))
    expect(error).toBeUndefined()
    expect(notes.join()).toContain('the original does not run on the sample')
  })
})
