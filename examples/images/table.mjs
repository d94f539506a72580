/** The results as a table in Markdown, beside the figures of the case that this example is about. */

const megabytes = (bytes) => (bytes === undefined ? '–' : `${(bytes / 1e6).toFixed(2)} MB`)
const milliseconds = (ms) => (ms === undefined ? '–' : `${ms.toPrecision(3)} ms`)
const percent = ({ value, low, high }) =>
  `${(100 * value).toFixed(1)} % [${(100 * low).toFixed(1)}, ${(100 * high).toFixed(1)}]`
/** What was lost, with the sign of a change. */
const change = (lost) => `${lost > 0 ? '−' : '+'}${Math.abs(100 * lost).toFixed(1)}`
const times = (a, b) => (a === undefined || b === undefined ? '–' : `${(a / b).toFixed(2)} ×`)

export function tableOf({ pictures, before, after, ratios, drop }) {
  const { latency } = ratios
  const rows = [
    [pictures, 'before', 'after', 'before / after', 'the case: a classifier on a phone'],
    ['file', megabytes(before.bytes), megabytes(after.bytes), times(before.bytes, after.bytes), '9.2 → 2.1 MB, 4.4 ×'],
    ['gzip', megabytes(before.gzipBytes), megabytes(after.gzipBytes), times(before.gzipBytes, after.gzipBytes), ''],
    [
      'load',
      milliseconds(before.loadMs),
      milliseconds(after.loadMs),
      times(before.loadMs, after.loadMs),
      '3.2 → 0.8 s first load, 4.0 ×'
    ],
    [
      'a picture',
      milliseconds(before.latencyMs?.p50),
      milliseconds(after.latencyMs?.p50),
      latency ? `${(1 / latency.median).toFixed(2)} ×` : '–',
      ''
    ],
    [
      'peak memory',
      megabytes(before.peakBytes),
      megabytes(after.peakBytes),
      times(before.peakBytes, after.peakBytes),
      ''
    ],
    [
      'top-1',
      percent(before.metrics.top1),
      percent(after.metrics.top1),
      `${change(drop.top1.value)} points [${change(drop.top1.high)}, ${change(drop.top1.low)}]`,
      'accuracy kept'
    ]
  ]
  const [head, ...rest] = rows
  return [head, head.map(() => '---'), ...rest].map((r) => `| ${r.join(' | ')} |`).join('\n')
}
