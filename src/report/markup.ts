/** HTML and SVG text in which whatever is not `Markup` is escaped: a name from a model can never become an element. */
import { plain } from './words.ts'

/** Text that is markup already. */
export interface Markup {
  readonly markup: string
}

type Part = string | number | undefined | Markup | readonly Part[]

/** The five characters that mean something in HTML, and control characters, made harmless. */
export function escapeText(text: string, longest = 4000): string {
  return plain(text, longest)
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
    .replaceAll('"', '&quot;')
    .replaceAll("'", '&#39;')
}

function spell(part: Part): string {
  if (part === undefined) return ''
  if (typeof part === 'string') return escapeText(part)
  if (typeof part === 'number') return String(part)
  return 'markup' in part ? part.markup : part.map(spell).join('')
}

/** A template tag: strings are escaped, numbers printed, `undefined` left out, lists joined, `Markup` kept. */
export function html(strings: TemplateStringsArray, ...parts: readonly Part[]): Markup {
  return { markup: strings.reduce((out, s, i) => out + s + (i < parts.length ? spell(parts[i]) : ''), '') }
}

/** JSON that cannot end the `<script>` it stands in, and in which no character is invisible. */
export const scriptJson = (data: unknown): Markup => ({
  markup: JSON.stringify(data).replace(
    /[<>&\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g,
    (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`
  )
})

/** A number as a CSS or SVG percentage with at most three decimals. */
export const percent = (share: number): string => `${Number((share * 100).toFixed(3))}%`

/** A part of the page under its own title. */
export const section = (title: string, ...content: readonly (Markup | undefined)[]): Markup =>
  html`<section><h2>${title}</h2>${content}</section>
`
