/** Progress on stderr: a live line with rate and time left on a terminal, plain lines elsewhere, nothing when quiet. */

import { pad, type Style } from '../report/table.ts'
import { msText, plain, whole } from '../report/words.ts'
import type { Pace, Progress } from '../types.ts'

/** Where progress is shown. */
export interface Display {
  readonly update: Progress
  /** Shows that a stage goes on which has told nothing for a while. */
  tick(): void
  /** Takes the live line away, so that other text can be printed. */
  clear(): void
}

interface Screen {
  readonly isTTY: boolean
  readonly columns: number
  write(text: string): void
}

const barSize = 28
const liveEvery = 80
const plainEvery = 15_000
/** A stage is named without a terminal once it has lasted so long, in ms. */
const plainFirst = 2000

/** Shows nothing. */
export const silence: Display = { update: () => {}, tick: () => {}, clear: () => {} }

/** A display over a screen; `now` in ms. */
export function display(screen: Screen, style: Style, now: () => number = () => performance.now()): Display {
  let stage = ''
  let began = 0
  let printed = Number.NEGATIVE_INFINITY
  let last: Told = { done: 0, total: undefined }
  let live = false
  let isNamed = false
  const clear = (): void => {
    if (live) screen.write('\r\u001b[2K')
    live = false
  }
  const line = (): string => stageLine(stage, last, now() - began, screen.isTTY, style)
  const finish = (): void => {
    if (stage && !screen.isTTY && (last.done > 0 || isNamed)) screen.write(`${line()}\n`)
    clear()
  }
  const show = (): void => {
    const every = screen.isTTY ? liveEvery : isNamed ? plainEvery : plainFirst
    if (now() - printed < every) return
    printed = now()
    isNamed = true
    if (screen.isTTY) {
      screen.write(`\r\u001b[2K${line()}`)
      live = true
    } else screen.write(`${line()}\n`)
  }
  return {
    clear: () => {
      finish()
      stage = ''
    },
    update: (name, done, total, pace) => {
      if (name !== stage) {
        finish()
        stage = name
        began = now()
        printed = screen.isTTY ? Number.NEGATIVE_INFINITY : now()
        isNamed = false
      }
      last = { done, total, ...(pace ? { pace } : {}) }
      show()
    },
    tick: () => {
      if (stage) show()
    }
  }
}

/** How far a stage is. */
interface Told {
  readonly done: number
  readonly total: number | undefined
  /** Speed and time left, where they are not to be told by the time since the stage began. */
  readonly pace?: Pace
}

/** `measuring the original   ━━━━━━━━━━  1,488/1,488   2,610/s   12 s left` */
export function stageLine(
  stage: string,
  { done, total, pace }: Told,
  ms: number,
  hasBar: boolean,
  style: Style
): string {
  const share = total ? Math.min(1, done / total) : 0
  const filled = Math.round(share * barSize)
  const drawn = hasBar && total ? `${style.accent('━'.repeat(filled))}${style.dim('─'.repeat(barSize - filled))}  ` : ''
  const count = total === undefined ? (done > 0 ? whole(done) : '') : `${whole(done)}/${whole(total)}`
  const rate = pace?.perSecond ?? (done > 0 && ms > 200 ? (done / ms) * 1000 : 0)
  const speed = rate >= 10 ? `${whole(rate)}/s` : rate > 0 ? `${rate.toFixed(1)}/s` : ''
  const lasted = done === 0 && ms >= 1000 ? `${msText(ms)} so far` : ''
  const isOpen = rate > 0 && total !== undefined && done < total
  const left = isOpen ? `${msText(pace?.leftMs ?? ((total - done) / rate) * 1000)} left` : ''
  return `  ${pad(plain(stage, 40), 24)} ${drawn}${[count, speed, left, lasted].filter(Boolean).join('   ')}`.trimEnd()
}
