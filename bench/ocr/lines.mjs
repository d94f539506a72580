/**
 * Rendered lines of text as a recogniser of the PP-OCR family reads them: a tight box as a detector cuts it out, 48
 * pixels high, at most 320 wide, blue first, (x / 255 − 0.5) / 0.5, padded with 0 on the right.
 *
 * Parts are disjoint: each has words of its own (every third of the list), numbers of its own (by their remainder) and a
 * seed of its own.
 */
import sharp from 'sharp'
import { rng, tensor } from '../../dist/index.js'

/** Families that Debian's fonts-dejavu and fonts-liberation bring; another one takes the place of what is absent. */
export const fonts = [
  'DejaVu Sans',
  'DejaVu Serif',
  'DejaVu Sans Mono',
  'Liberation Sans',
  'Liberation Serif',
  'Liberation Mono',
  'Liberation Sans Narrow'
]

export const parts = ['calibration', 'selection', 'test']
const [height, width] = [48, 320]

const words = `about above acid across action album amber anchor angle answer apple april arrow artist august autumn
badge bakery balance ballet bamboo banner barley basket beacon bicycle biscuit blanket blossom border bottle bridge
bronze bucket butter button cabin cactus camera candle canvas carbon carpet castle cedar cherry circle citrus cliff
clover coffee comet copper coral cotton cradle crayon cricket crystal current daisy danger december desert diamond
dolphin donkey double dragon drawer eagle early eclipse effort eleven ember empire engine entry equal evening exit
fabric falcon family feather fiddle figure filter finger flower folder forest fossil fountain frozen future galaxy
garden garlic gentle ginger glacier global golden gravel guitar hammer harbor harvest hazel heavy helmet hidden hockey
honey horizon hotel hunter island ivory jacket jaguar january jelly jewel jigsaw journey juice jungle kettle keyboard
kingdom kitchen ladder lagoon lantern laptop lemon letter library lizard lobster lunar magnet mango marble market
meadow melon mineral mirror monday morning mosaic motor mountain museum napkin nature needle night noble north nutmeg
oasis object ocean october olive orange orchard oxygen oyster paddle palace panda paper parrot pebble pencil pepper
piano picnic pillow pirate planet plaza pocket polar pollen potato powder prairie prize puzzle quartz queen quick quiet
rabbit radar radio railway rapid raven record ribbon river robin rocket rubber saddle saffron salmon sample saturn
school season seven shadow silver sketch sparrow spiral square stadium station stone stream studio summer sunset
symbol table talent teapot temple thunder ticket timber tomato tower tractor travel tulip tunnel turtle twelve umbrella
uncle upper urban valley vanilla velvet violet violin voyage wagon walnut water weather wedding whale willow window
winter wizard wolf wooden yellow yogurt young zebra zenith zero zipper`.split(/\s+/)

/** `n` lines of a part. */
export async function linesOf(part, n) {
  const at = parts.indexOf(part)
  const random = rng(`ocr ${part}`)
  const own = words.filter((_, i) => i % parts.length === at)
  const lines = []
  while (lines.length < n) {
    const text = textOf(own, at, random)
    const pixels = await drawn(text, random)
    if (pixels) lines.push({ text, pixels })
  }
  return { texts: lines.map((l) => l.text), x: inputOf(lines.map((l) => l.pixels)) }
}

/** One to three words or numbers, in the case and with the marks of signs, labels and receipts. */
function textOf(own, at, random) {
  const pick = (list) => list[random.below(list.length)]
  const number = () => String(parts.length * random.below(30000) + at)
  const cased = (word) =>
    pick([word, word, word[0].toUpperCase() + word.slice(1), word[0].toUpperCase() + word.slice(1), word.toUpperCase()])
  const token = () => (random.next() < 0.25 ? number() : cased(pick(own)))
  const text = Array.from({ length: 1 + random.below(3) }, token).join(' ')
  return random.next() < 0.2 ? text + pick(['.', '!', '?', ':', ',']) : text
}

/** Pixels of a line, blue first; nothing where it would have to be squeezed. */
async function drawn(text, random) {
  const between = (low, high) => low + (high - low) * random.next()
  const size = Math.round(between(18, 44))
  const style = [random.next() < 0.25 ? 'font-weight="bold"' : '', random.next() < 0.15 ? 'font-style="italic"' : '']
  const font = fonts[random.below(fonts.length)]
  const [ink, ground] = [grey(between(0, 90), random), grey(between(180, 255), random)]
  const [wide, high] = [Math.ceil(size * (text.length + 2)), size * 3]
  const turn = `rotate(${between(-1, 1).toFixed(2)} ${wide / 2} ${high / 2})`
  const svg = `<svg xmlns="http://www.w3.org/2000/svg" width="${wide}" height="${high}"><rect width="100%" height="100%" fill="${ground}"/><text x="${size}" y="${2 * size}" font-family="${font}" font-size="${size}" fill="${ink}" ${style.join(' ')} transform="${turn}">${text}</text></svg>`
  const margin = Math.round(size * between(0.06, 0.16))
  const whole = sharp(Buffer.from(svg)).trim({ threshold: 20 })
  const box = await whole
    .extend({ top: margin, bottom: margin, left: margin, right: margin, background: ground })
    .removeAlpha()
    .png()
    .toBuffer({ resolveWithObject: true })
  const scaled = Math.ceil((height * box.info.width) / box.info.height)
  if (scaled > width) return undefined
  const { data } = await sharp(box.data)
    .resize(scaled, height, { fit: 'fill', kernel: 'linear' })
    .raw()
    .toBuffer({ resolveWithObject: true })
  return { data: noisy(data, between(0, 8), random), width: scaled }
}

/** A colour near a grey. */
function grey(level, random) {
  const channel = () => Math.round(Math.min(255, Math.max(0, level + 30 * (random.next() - 0.5))))
  return `rgb(${channel()},${channel()},${channel()})`
}

const noisy = (data, deviation, random) =>
  Float32Array.from(data, (v) => Math.min(255, Math.max(0, Math.round(v + deviation * random.normal()))))

function inputOf(lines) {
  const values = new Float32Array(lines.length * 3 * height * width)
  for (const [n, line] of lines.entries())
    for (let c = 0; c < 3; c++)
      for (let y = 0; y < height; y++)
        for (let x = 0; x < line.width; x++)
          values[((n * 3 + c) * height + y) * width + x] =
            (line.data[(y * line.width + x) * 3 + 2 - c] / 255 - 0.5) / 0.5
  return tensor('float32', [lines.length, 3, height, width], values)
}
