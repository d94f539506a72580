/** The tokenizer of a model, out of the files that lie beside it: `tokenizer.json`, or the `vocab.txt` of a BERT. */
import { createHash } from 'node:crypto'
import { existsSync, statSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { PareError } from '../base/errors.ts'
import type { Encoder, Tokens } from '../data/text.ts'
import { readText } from './files.ts'

/** What the user says of tokens. */
export interface TokenizerOptions {
  /** A tokenizer.json or vocab.txt; by default the one beside the model. */
  readonly path?: string | undefined
  readonly maxLength?: number | undefined
  /** The model's file. */
  readonly model?: string | undefined
}

type Json = Readonly<Record<string, unknown>>

const files = ['tokenizer.json', 'vocab.txt']
/** Exporters write this and more where there is no limit. */
const unlimited = 1e6
const usualMost = 512

/** Opens a tokenizer. Throws `E_FILE`, `E_DATA`, `E_LIMIT`. */
export async function openTokenizer(o: TokenizerOptions): Promise<Encoder> {
  const path = o.path ?? besideModel(o.model)
  const folder = dirname(path)
  const config = optionalJson(join(folder, 'tokenizer_config.json'))
  const content = readText(path)
  const isVocabulary = /\.txt$/i.test(path)
  const json = isVocabulary ? wordPiece(content, config, path) : parseJson(content, path)
  if (typeof fields(json['model'])['type'] !== 'string' && fields(json['model'])['vocab'] === undefined)
    throw new PareError('E_DATA', 'this is no tokenizer', {
      where: path,
      hint: 'tokenizer.json, or the vocab.txt of a BERT'
    })
  const { Tokenizer } = await import('@huggingface/tokenizers')
  const tokenizer = made(() => new Tokenizer(json, { ...config }), path)
  const most = mostTokens(json, config, folder, o.maxLength)
  const padding = paddingToken(json, config, (token) => tokenizer.token_to_id(token))
  return {
    title: `${basename(path)}${isVocabulary ? `, as WordPiece of a BERT, ${lowers(config, content) ? 'lower case' : 'case kept'}` : ''}`,
    padding,
    marks: marksOf(json, padding, (token) => tokenizer.token_to_id(token)),
    padsLeft: fields(json['padding'])['direction'] === 'Left' || config['padding_side'] === 'left',
    most,
    sha256: createHash('sha256').update(content).update(JSON.stringify(config)).digest('hex'),
    encode(text, pair, limit) {
      const whole = made(() => encode(tokenizer, text, pair, true), path)
      if (whole.ids.length <= limit) return whole
      const bodies = [text, ...(pair === undefined ? [] : [pair])].map(
        (t) => encode(tokenizer, t, undefined, false).ids
      )
      return shortened(whole, bodies, limit)
    }
  }
}

interface Library {
  encode(
    text: string,
    options: { text_pair?: string | null; add_special_tokens: boolean; return_token_type_ids: true }
  ): { ids: number[]; token_type_ids: number[] }
}

function encode(tokenizer: Library, text: string, pair: string | undefined, isMarked: boolean): Tokens {
  const { ids, token_type_ids: types } = tokenizer.encode(text, {
    ...(pair === undefined ? {} : { text_pair: pair }),
    add_special_tokens: isMarked,
    return_token_type_ids: true
  })
  return { ids, segments: ids.map((_, i) => types[i] ?? 0) }
}

/** What the library throws says nothing of the file. */
function made<T>(make: () => T, where: string): T {
  try {
    return make()
  } catch (cause) {
    throw new PareError('E_DATA', 'the tokenizer cannot be used', { where, cause, facts: { why: String(cause) } })
  }
}

/** A text cut to `most` tokens: from the end of the longest of its texts, so that the marks around them stay. */
export function shortened(whole: Tokens, bodies: readonly (readonly number[])[], most: number): Tokens {
  const kept = bodies.map((b) => b.length)
  let over = whole.ids.length - most
  for (; over > 0 && Math.max(...kept) > 0; over--) {
    const longest = kept.lastIndexOf(Math.max(...kept))
    kept[longest] = (kept[longest] as number) - 1
  }
  const gone = new Set<number>()
  let from = 0
  for (const [i, body] of bodies.entries()) {
    const at = placeOf(body, whole.ids, from)
    if (at === undefined) return { ids: whole.ids.slice(0, most), segments: whole.segments.slice(0, most) }
    for (let k = kept[i] as number; k < body.length; k++) gone.add(at + k)
    from = at + body.length
  }
  const stay = <T>(list: readonly T[]): T[] => list.filter((_, i) => !gone.has(i)).slice(0, most)
  return { ids: stay(whole.ids), segments: stay(whole.segments) }
}

/** Where a run of ids begins among others. */
function placeOf(some: readonly number[], all: readonly number[], from: number): number | undefined {
  for (let at = from; at + some.length <= all.length; at++) if (some.every((id, k) => all[at + k] === id)) return at
  return undefined
}

/** The tokenizer beside the model, or in the folder above a folder `onnx`. Throws `E_DATA` where there is none. */
function besideModel(model: string | undefined): string {
  const own = dirname(model ?? '.')
  const folders = basename(own) === 'onnx' ? [own, dirname(own)] : [own]
  const found = folders.flatMap((f) => files.map((name) => join(f, name))).find(isFile)
  if (found !== undefined) return found
  throw new PareError('E_DATA', 'texts need a tokenizer, and none lies beside the model', {
    where: own,
    facts: { 'looked for': files.join(', ') },
    hint: '--tokenizer FILE names a tokenizer.json or the vocab.txt of a BERT'
  })
}

const isFile = (path: string): boolean => existsSync(path) && statSync(path).isFile()
const fields = (x: unknown): Json => (typeof x === 'object' && x !== null ? (x as Json) : {})

function parseJson(content: string, where: string): Json {
  try {
    return fields(JSON.parse(content))
  } catch (cause) {
    throw new PareError('E_DATA', 'not a JSON file', { where, cause, facts: { why: String(cause) } })
  }
}

const optionalJson = (path: string): Json => (isFile(path) ? parseJson(readText(path), path) : {})

// ---------------------------------------------------------------- the vocabulary of a BERT

/** Is text made lower case? As the configuration says, else where no word of the vocabulary has a capital. */
const lowers = (config: Json, vocabulary: string): boolean =>
  typeof config['do_lower_case'] === 'boolean'
    ? config['do_lower_case']
    : !vocabulary.split('\n').some((word) => !word.startsWith('[') && word !== word.toLowerCase())

/**
 * The tokenizer.json of a list of word pieces, one a line, the line number from 0 is the id. Throws `E_DATA` where the
 * marks of a BERT are missing. Source: BertTokenizerFast of transformers.
 */
function wordPiece(content: string, config: Json, where: string): Json {
  const words = content.replace(/^\uFEFF/, '').split(/\r?\n/)
  if (words.at(-1) === '') words.pop()
  const vocab = Object.fromEntries(words.map((word, i) => [word, i]))
  const named = (key: string, usual: string): string => (typeof config[key] === 'string' ? config[key] : usual)
  const [unknown, start, end, padding] = [
    named('unk_token', '[UNK]'),
    named('cls_token', '[CLS]'),
    named('sep_token', '[SEP]'),
    named('pad_token', '[PAD]')
  ]
  const missing = [unknown, start, end].filter((mark) => !Object.hasOwn(vocab, mark))
  if (missing.length > 0)
    throw new PareError('E_DATA', `the vocabulary has no ${missing.join(', ')}`, {
      where,
      hint: 'the vocab.txt of a BERT has one word piece a line; for other tokenizers give tokenizer.json'
    })
  const isLower = lowers(config, content)
  return {
    version: '1.0',
    added_tokens: [padding, unknown, start, end, named('mask_token', '[MASK]')]
      .filter((mark) => Object.hasOwn(vocab, mark))
      .map((mark) => ({ id: vocab[mark], content: mark, special: true, normalized: false })),
    normalizer: {
      type: 'BertNormalizer',
      clean_text: true,
      handle_chinese_chars: config['tokenize_chinese_chars'] ?? true,
      strip_accents: config['strip_accents'] ?? null,
      lowercase: isLower
    },
    pre_tokenizer: { type: 'BertPreTokenizer' },
    post_processor: {
      type: 'BertProcessing',
      sep: [end, vocab[end]],
      cls: [start, vocab[start]]
    },
    decoder: { type: 'WordPiece', prefix: '##', cleanup: true },
    model: {
      type: 'WordPiece',
      unk_token: unknown,
      continuing_subword_prefix: '##',
      max_input_chars_per_word: 100,
      vocab
    }
  }
}

// ---------------------------------------------------------------- lengths and padding

/** The longest text: as asked, else the least that the files beside the tokenizer say. */
function mostTokens(json: Json, config: Json, folder: string, asked: number | undefined): Encoder['most'] {
  if (asked !== undefined) return { tokens: asked, by: '--max-length' }
  const said: readonly (readonly [string, unknown])[] = [
    ['tokenizer.json', fields(json['truncation'])['max_length']],
    ['sentence_bert_config.json', optionalJson(join(folder, 'sentence_bert_config.json'))['max_seq_length']],
    ['tokenizer_config.json', config['model_max_length']],
    ['config.json', optionalJson(join(folder, 'config.json'))['max_position_embeddings']]
  ]
  const limits = said.flatMap(([by, n]) =>
    typeof n === 'number' && Number.isSafeInteger(n) && n > 0 && n < unlimited ? [{ tokens: n, by }] : []
  )
  return limits.sort((a, b) => a.tokens - b.tokens)[0] ?? { tokens: usualMost, by: 'default' }
}

function paddingToken(json: Json, config: Json, idOf: (token: string) => number | undefined): number {
  const own = fields(json['padding'])['pad_id']
  if (typeof own === 'number') return own
  const named = typeof config['pad_token'] === 'string' ? config['pad_token'] : fields(config['pad_token'])['content']
  const tokens = [...(typeof named === 'string' ? [named] : []), '[PAD]', '<pad>', '<|endoftext|>']
  return tokens.map(idOf).find((id) => id !== undefined) ?? 0
}

/** Special tokens, and the one for what is unknown. */
function marksOf(json: Json, padding: number, idOf: (token: string) => number | undefined): Encoder['marks'] {
  const { added_tokens: added } = json
  const special = (Array.isArray(added) ? added.map(fields) : []).flatMap(({ id, special: isMark }) =>
    isMark === true && typeof id === 'number' && Number.isSafeInteger(id) && id >= 0 ? [id] : []
  )
  const { unk_token: name, unk_id: id } = fields(json['model'])
  const unknown = typeof name === 'string' ? idOf(name) : typeof id === 'number' ? id : undefined
  const ids = [...new Set([padding, ...special, ...(unknown === undefined ? [] : [unknown])])].sort((a, b) => a - b)
  return { ids, ...(unknown === undefined ? {} : { unknown }) }
}
