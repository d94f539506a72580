import { expect, it } from 'vitest'
import { noStyle } from '../report/table.ts'
import { display, stageLine } from './progress.ts'

const screen = (isTTY: boolean) => {
  const written: string[] = []
  return { written, isTTY, columns: 100, write: (t: string) => void written.push(t) }
}

it('draws a bar with rate and time left', () => {
  expect(stageLine('measuring the original', 744, 1488, 300, true, noStyle)).toBe(
    '  measuring the original   ━━━━━━━━━━━━━━──────────────  744/1,488   2,480/s   0.30 s left'.replace(
      '0.30 s',
      '300 ms'
    )
  )
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
