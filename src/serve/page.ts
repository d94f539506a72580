/** The page of a server: what its models do now. It asks `stats` again every second. */
import { style } from '../report/html.style.ts'
import { html } from '../report/markup.ts'

const own = `
.models{display:grid;gap:1rem;margin-top:2.4rem}.model{margin:0;padding:1.1rem 1.25rem;background:var(--card);border-radius:.8rem}
.model h2{margin:0 0 .2rem;font-size:1.05rem;overflow-wrap:anywhere}.model h2 small{font-weight:400;color:var(--faint)}
.figures{display:grid;grid-template-columns:repeat(auto-fit,minmax(7.2rem,1fr));gap:.8rem 1rem;margin:.9rem 0 0}
.figures div{min-width:0}.figures dt{color:var(--soft);font-size:.8rem}.figures dd{margin:0;font-size:1.2rem;font-weight:600;letter-spacing:-.01em}
.spark{display:block;width:100%;height:2.6rem;margin-top:.8rem}.spark path{fill:none;stroke:var(--accent);stroke-width:1.5;vector-effect:non-scaling-stroke}
.stages{margin:.7rem 0 0}.why{color:var(--soft);font-size:.85rem;margin:.7rem 0 0}
`

/** Text goes in as text alone: names of models never become elements. */
const script = `'use strict'
const at = (id) => document.getElementById(id)
const seen = new Map()
const figure = (n, unit = '') => n === undefined || !Number.isFinite(n) ? '–' : (n >= 100 ? Math.round(n).toLocaleString('en') : n.toPrecision(3)) + unit
const make = (name, text, cls) => { const e = document.createElement(name); if (text !== undefined) e.textContent = text; if (cls) e.className = cls; return e }
function spark(values) {
  const ns = 'http://www.w3.org/2000/svg', svg = document.createElementNS(ns, 'svg'), path = document.createElementNS(ns, 'path')
  const most = Math.max(1, ...values)
  svg.setAttribute('class', 'spark'); svg.setAttribute('viewBox', '0 0 119 40'); svg.setAttribute('preserveAspectRatio', 'none')
  svg.setAttribute('role', 'img'); svg.setAttribute('aria-label', 'requests per second over the last two minutes, at most ' + Math.round(most))
  path.setAttribute('d', values.map((v, i) => (i ? 'L' : 'M') + (120 - values.length + i) + ' ' + (38 - 36 * v / most).toFixed(1)).join(''))
  svg.append(path); return svg
}
function show(m, now) {
  const key = m.name + '/' + m.version, before = seen.get(key), rates = before?.rates ?? []
  const s = before ? (now - before.now) / 1000 : 0, box = make('section', undefined, 'model')
  const title = make('h2', m.name + ' '); title.append(make('small', 'version ' + m.version + (m.state === 'READY' ? '' : ', ' + m.state.toLowerCase()))); box.append(title)
  if (m.requests === undefined) { box.append(make('p', m.reason, 'why')); return box }
  const d = (k) => before ? m[k] - before.m[k] : 0
  const rate = s > 0 ? Math.max(0, d('requests')) / s : 0, runs = d('runs')
  rates.push(rate); if (rates.length > 120) rates.shift()
  seen.set(key, { m, now, rates })
  const list = make('dl', undefined, 'figures')
  for (const [label, value] of [
    ['requests per second', figure(rate)], ['p50', figure(m.latency_ms.p50, ' ms')], ['p99', figure(m.latency_ms.p99, ' ms')],
    ['samples a run', figure(runs > 0 ? d('samples') / runs : m.runs ? m.samples / m.runs : undefined)], ['waiting', String(m.waiting)], ['answered', m.requests.toLocaleString('en')], ['failed', m.failed.toLocaleString('en')]
  ]) { const e = make('div'); e.append(make('dt', label), make('dd', value)); list.append(e) }
  const several = m.stages.length > 1, all = m.stages.reduce((n, s) => n + s.answered, 0)
  if (several) box.append(make('p', 'Answered by ' + m.stages.map((s) => s.name + ': ' + (all ? Math.round(100 * s.answered / all) + ' %' : '–') + (s.waiting ? ', ' + s.waiting + ' waiting' : '')).join(' · '), 'stages'))
  const batches = m.stages.map((s) => (several ? s.name + ', batches' : 'Batches') + ' of ' + s.batch.size + ': ' + s.batch.why).join('. ')
  box.append(list, spark(rates), make('p', batches + '. ' + m.checked + '.' + (m.reason ? ' Last load failed: ' + m.reason : ''), 'why'))
  return box
}
async function look() {
  try {
    const reply = await fetch('stats'), now = performance.now()
    if (!reply.ok) throw new Error((await reply.json()).error)
    const { server, workers, models } = await reply.json()
    at('state').textContent = server.ready ? 'ready' : 'not ready'; at('state').className = server.ready ? 'verdict' : 'verdict bad'
    at('about').textContent = workers.alive + ' of ' + workers.wanted + ' workers, ' + workers.busy + ' computing; up for ' + server.uptime_s + ' s; ' + Math.round(server.rss_bytes / 1e6) + ' MB of memory'
    at('models').replaceChildren(...models.map((m) => show(m, now)))
  } catch (e) { at('state').textContent = 'no answer: ' + e.message; at('state').className = 'verdict bad' }
}
look(); setInterval(look, 1000)
`

/** The page as HTML. `nonce` lets its own style and script run, and no others. */
export const page = (version: string, nonce: string): string =>
  html`<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1"><title>pare serve</title>
<style nonce="${nonce}">${{ markup: style + own }}</style></head>
<body><main><p class="kicker">pare serve ${version}</p><h1>Models that are served here</h1>
<p class="lead" id="about">…</p><p class="verdict" id="state" role="status">…</p>
<div class="models" id="models"></div>
<footer>Figures of the last second; latencies of the last 1,024 requests. <a href="v2">v2</a> · <a href="metrics">metrics</a> · <a href="stats">stats</a></footer>
</main><script nonce="${nonce}">${{ markup: script }}</script></body></html>
`.markup
