import { expect, it } from 'vitest'
import { service } from './service.ts'

const program = `
const tasks = {
  double: async ({ x }) => ({ y: x * 2 }),
  fail: async () => { throw new Error('not today') },
  die: async () => { process.stderr.write('out of luck\\n', () => process.exit(3)); await new Promise(() => undefined) }
}
`

it('answers in order, tells what failed, and that it ended', { timeout: 60_000 }, async () => {
  const s = service('onnxruntime-node', program)
  const asked = [s.ask('double', { x: 2 }), s.ask('fail', {}), s.ask('double', { x: Float32Array.of(3)[0] })]
  expect(await Promise.all(asked)).toEqual([{ done: { y: 4 } }, { failed: 'not today' }, { done: { y: 6 } }])
  expect(s.isAlive).toBe(true)
  await expect(s.ask('die', {})).rejects.toMatchObject({
    code: 'E_RUN',
    message: 'the process of onnxruntime-node ended: out of luck'
  })
  expect(s.isAlive).toBe(false)
  await expect(s.ask('double', { x: 1 })).rejects.toMatchObject({ code: 'E_RUN' })
})
