import { expect, it } from 'vitest'
import { noStyle } from '../report/table.ts'
import { display, stageLine } from './progress.ts'

const screen = (isTTY: boolean) => {
  const written: string[] = []
  return { written, isTTY, columns: 100, write: (t: string) => void written.push(t) }
}

it('draws a bar with rate and time left', () => {
  expect(stageLine('measuring the original', { done: 744, total: 1488 }, 300, true, noStyle)).toBe(
    '  measuring the original   ━━━━━━━━━━━━━━──────────────  744/1,488   2,480/s   0.30 s left'.replace(
      '0.30 s',
      '300 ms'
    )
  )
})

it('tells speed and time left by what it is given, whatever the time since the stage began', () => {
  const s = screen(false)
  let now = 0
  const d = display(s, noStyle, () => now)
  d.update('epoch 1/2', 5000, 10_000, { perSecond: 50, leftMs: 104_000 })
  d.update('epoch 2/2', 5050, 10_000, { perSecond: 50, leftMs: 103_000 })
  now = 1
  d.clear()
  expect(s.written.map((l) => l.trim())).toEqual([
    expect.stringMatching(/^epoch 1\/2 +5,000\/10,000 +50\/s +1 min 44 s left$/),
    expect.stringMatching(/^epoch 2\/2 +5,050\/10,000 +50\/s +1 min 43 s left$/)
  ])
})

it('prints one plain line per stage where there is no terminal', () => {
  const s = screen(false)
  let now = 0
  const d = display(s, noStyle, () => now)
  for (let i = 0; i <= 100; i++) {
    now += 10
    d.update('one', i, 100)
  }
  d.update('two', 0, undefined)
  d.clear()
  expect(s.written.map((l) => l.trim())).toEqual([expect.stringMatching(/^one +100\/100 +10\d\/s$/)])
})

it('keeps one live line on a terminal and takes it away', () => {
  const s = screen(true)
  let now = 0
  const d = display(s, noStyle, () => now)
  for (let i = 0; i <= 10; i++) {
    now += 50
    d.update('one', i, 10)
  }
  d.clear()
  expect(s.written.every((t) => t.startsWith('\r\u001b[2K') && !t.includes('\n'))).toBe(true)
  expect(s.written.at(-1)).toBe('\r\u001b[2K')
  expect(s.written.length).toBeLessThan(9)
})

it('names a stage that tells nothing, once it has lasted two seconds, and how long it has lasted', () => {
  const s = screen(false)
  let now = 0
  const d = display(s, noStyle, () => now)
  d.tick()
  d.update('running both models', 0, 500)
  for (; now < 20_000; now += 500) d.tick()
  expect(s.written.map((l) => l.trim())).toEqual([
    expect.stringMatching(/^running both models +0\/500 +2\.00 s so far$/),
    expect.stringMatching(/^running both models +0\/500 +17 s so far$/)
  ])
})
