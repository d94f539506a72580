/** Figures as Prometheus reads them (text format 0.0.4): counters, gauges and histograms, by labels. */

export type Labels = Readonly<Record<string, string>>

/** One figure under its labels. */
export type Sample = readonly [labels: Labels, value: number]

/** Figures of one name; histograms come as what `histogram` gives. */
export interface Family {
  readonly name: string
  readonly help: string
  readonly type: 'counter' | 'gauge' | 'histogram'
  readonly samples: readonly Sample[]
  /** What stands behind the name, by sample: `_bucket`, `_sum`, `_count`. */
  readonly endings?: readonly string[]
}

/** A counter by labels that is added to. */
export interface Counter {
  add(labels: Labels, n?: number): void
  family(name: string, help: string): Family
}

export function counter(): Counter {
  const all = new Map<string, { readonly labels: Labels; value: number }>()
  return {
    add: (labels, n = 1) => {
      const key = spelled(labels)
      const known = all.get(key)
      if (known) known.value += n
      else all.set(key, { labels, value: n })
    },
    family: (name, help) => ({
      name,
      help,
      type: 'counter',
      samples: [...all.values()].map((c) => [c.labels, c.value])
    })
  }
}

/** How often values were at most each bound, by labels. */
export interface Histogram {
  see(labels: Labels, value: number): void
  family(name: string, help: string): Family
}

export function histogram(bounds: readonly number[]): Histogram {
  const all = new Map<string, { readonly labels: Labels; readonly counts: number[]; sum: number; count: number }>()
  return {
    see: (labels, value) => {
      const key = spelled(labels)
      const h = all.get(key) ?? { labels, counts: bounds.map(() => 0), sum: 0, count: 0 }
      all.set(key, h)
      h.sum += value
      h.count++
      const at = bounds.findIndex((b) => value <= b)
      if (at >= 0) (h.counts[at] as number)++
    },
    family: (name, help) => {
      const rows = [...all.values()].flatMap((h): readonly (readonly [string, Sample])[] => {
        let sum = 0
        const buckets = bounds.map((b, i) => {
          sum += h.counts[i] as number
          return ['_bucket', [{ ...h.labels, le: String(b) }, sum]] as const
        })
        return [
          ...buckets,
          ['_bucket', [{ ...h.labels, le: '+Inf' }, h.count]],
          ['_sum', [h.labels, h.sum]],
          ['_count', [h.labels, h.count]]
        ]
      })
      return { name, help, type: 'histogram', samples: rows.map((r) => r[1]), endings: rows.map((r) => r[0]) }
    }
  }
}

const spelled = (labels: Labels): string =>
  Object.entries(labels)
    .map(([name, text]) => `${name}="${text.replaceAll('\\', '\\\\').replaceAll('\n', '\\n').replaceAll('"', '\\"')}"`)
    .join(',')

/** All families as text. */
export const exposition = (families: readonly Family[]): string =>
  families
    .map(({ name, help, type, samples, endings }) => {
      const lines = samples.map(([labels, value], i) => {
        const all = spelled(labels)
        return `${name}${endings?.[i] ?? ''}${all && `{${all}}`} ${value}\n`
      })
      return `# HELP ${name} ${help}\n# TYPE ${name} ${type}\n${lines.join('')}`
    })
    .join('')
