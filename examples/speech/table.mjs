/** The results as a table in Markdown. */

const percent = (x) => `${(100 * x).toFixed(1)} %`
const points = (x) => `${x < 0 ? '−' : '+'}${Math.abs(100 * x).toFixed(1)}`
const interval = ({ value, low, high }) => `${percent(value)} [${(100 * low).toFixed(1)}, ${(100 * high).toFixed(1)}]`
const milliseconds = (seconds) => (seconds === undefined ? '–' : `${Math.round(1000 * seconds)} ms`)

const titles = {
  teacher: 'teacher',
  middle: 'middle, distilled',
  alone: 'student, labels alone',
  student: 'student, distilled',
  quantized: 'student, int8',
  small: 'student, int8, weights of 4 bits',
  pruned: 'student, a third pruned',
  prunedSmall: 'the same, int8, 4 bits'
}

export function tableOf({ measured, streams, drops, minutes }, names) {
  const rows = names.map((name) => {
    const [m, s] = [measured[name], streams[name]]
    return [
      titles[name],
      m.parameters.toLocaleString('en'),
      `${(m.bytes / 1000).toFixed(0)} kB`,
      `${(m.peakBytes / 1e6).toFixed(1)} MB`,
      interval(m.metrics.top1),
      `${percent(s.hitRate)} of ${s.said}`,
      s.falseAcceptsPerHour.toFixed(1),
      `${milliseconds(s.latency.p50)} / ${milliseconds(s.latency.p90)}`,
      `${s.look.p50.toFixed(2)} ms`,
      s.look.realTimeFactor.toFixed(4)
    ]
  })
  const head =
    'model, parameters, file, peak memory, top-1, wake word hits, false accepts/h, latency p50 / p90, a look, real time'
  const lines = [head.split(', '), head.split(', ').map(() => '---'), ...rows].map((r) => `| ${r.join(' | ')} |`)
  const said = drops.map(
    ({ from, to, drop, latencyRatio: t }) =>
      `${titles[from]} → ${titles[to]}: top-1 ${points(-drop.value)} points [${points(-drop.high)}, ${points(-drop.low)}], time × ${t.median.toFixed(2)} [${t.low.toFixed(2)}, ${t.high.toFixed(2)}]`
  )
  const spent = Object.entries(minutes).map(([what, m]) => `${what} ${m.toFixed(1)}`)
  return [...lines, '', ...said, '', `minutes: ${spent.join(', ')}`].join('\n')
}
