/** Small models, configurations and tokenizers in the layout that transformers.js reads. */
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parse } from '../src/ir/text.ts'
import { save } from '../src/node/files.ts'
import type { Model } from '../src/types.ts'

const hidden = 32
const heads = 2
const side = hidden / heads
const words = ['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]', 'a', 'small', 'model', 'is', 'fast', 'and', 'good']

/** One layer of BERT: three embeddings, attention under a mask, a feed-forward network. */
export function bertModel(): Model {
  const parts = ['q', 'k', 'v'].map(
    (p) => `
      ${p}1 = MatMul(x, W${p}: f32[${hidden},${hidden}])
      ${p}2 = Add(${p}1, B${p}: f32[${hidden}])
      ${p}3 = Reshape(${p}2, split)
      ${p}4 = Transpose(${p}3, perm=[${p === 'k' ? '0,2,3,1' : '0,2,1,3'}])`
  )
  return parse(`
    input input_ids: i64[batch_size,sequence_length]
    input attention_mask: i64[batch_size,sequence_length]
    input token_type_ids: i64[batch_size,sequence_length]
    const split: i64[4] = 0, 0, ${heads}, ${side}
    const merge: i64[3] = 0, 0, ${hidden}
    const axes: i64[2] = 1, 2
    const one: f32[1] = 1.0
    const low: f32[1] = -10000.0
    const root: f32[1] = 0.25
    we = Gather(words: f32[${words.length},${hidden}], input_ids)
    te = Gather(types: f32[2,${hidden}], token_type_ids)
    e = Add(we, te)
    x = LayerNormalization(e, g0: f32[${hidden}], c0: f32[${hidden}], axis=-1)
    kept = Cast(attention_mask, to=1)
    hid = Sub(one, kept)
    far = Mul(hid, low)
    mask = Unsqueeze(far, axes)
    ${parts.join('\n')}
    s1 = MatMul(q4, k4)
    s2 = Mul(s1, root)
    s3 = Add(s2, mask)
    p = Softmax(s3, axis=-1)
    c1 = MatMul(p, v4)
    c2 = Transpose(c1, perm=[0,2,1,3])
    c3 = Reshape(c2, merge)
    o1 = MatMul(c3, Wo: f32[${hidden},${hidden}])
    o2 = Add(o1, Bo: f32[${hidden}])
    o3 = Add(o2, x)
    n = LayerNormalization(o3, g1: f32[${hidden}], c1b: f32[${hidden}], axis=-1)
    f1 = MatMul(n, Wf: f32[${hidden},${2 * hidden}])
    f2 = Add(f1, Bf: f32[${2 * hidden}])
    f3 = Gelu(f2)
    f4 = MatMul(f3, Wg: f32[${2 * hidden},${hidden}])
    f5 = Add(f4, Bg: f32[${hidden}])
    f6 = Add(f5, n)
    last_hidden_state: f32[batch_size,sequence_length,${hidden}] = LayerNormalization(f6, g2: f32[${hidden}], c2b: f32[${hidden}], axis=-1)
    output last_hidden_state
  `)
}

/** The encoder of a sequence to sequence model. */
export function encoderModel(): Model {
  return parse(`
    input input_ids: i64[batch_size,encoder_sequence_length]
    input attention_mask: i64[batch_size,encoder_sequence_length]
    const last: i64[1] = 2
    e = Gather(words: f32[${words.length},${hidden}], input_ids)
    m = MatMul(e, W1: f32[${hidden},${hidden}])
    r = Relu(m)
    kept = Cast(attention_mask, to=1)
    wide = Unsqueeze(kept, last)
    last_hidden_state: f32[batch_size,encoder_sequence_length,${hidden}] = Mul(r, wide)
    output last_hidden_state
  `)
}

/** Its decoder with and without past in one graph: keys and values come from an If. */
export function mergedDecoderModel(): Model {
  const past = (kind: string): string => `f32[batch_size,${heads},${kind},${side}]`
  const [own, far] = [past('past_decoder_sequence_length'), past('encoder_sequence_length_out')]
  const cross = ['k', 'v'].map(
    (p) => `
        e${p}1 = MatMul(encoder_hidden_states, We${p}); e${p}2 = Reshape(e${p}1, split); e${p} = Transpose(e${p}2, perm=[0,2,1,3])
        o${p} = Identity(${p}3)`
  )
  return parse(`
    input encoder_attention_mask: i64[batch_size,encoder_sequence_length]
    input input_ids: i64[batch_size,decoder_sequence_length]
    input encoder_hidden_states: f32[batch_size,encoder_sequence_length,${hidden}]
    input past_key_values.0.decoder.key: ${own}
    input past_key_values.0.decoder.value: ${own}
    input past_key_values.0.encoder.key: ${far}
    input past_key_values.0.encoder.value: ${far}
    input use_cache_branch: bool[1]
    const split: i64[4] = 0, 0, ${heads}, ${side}
    const merge: i64[3] = 0, 0, ${hidden}
    const axes: i64[2] = 1, 2
    const one: f32[1] = 1.0
    const low: f32[1] = -10000.0
    const Wek: f32[${hidden},${hidden}]
    const Wev: f32[${hidden},${hidden}]
    kept = Cast(encoder_attention_mask, to=1)
    hid = Sub(one, kept)
    farther = Mul(hid, low)
    mask = Unsqueeze(farther, axes)
    x = Gather(words: f32[${words.length},${hidden}], input_ids)
    q1 = MatMul(x, Wq: f32[${hidden},${hidden}])
    q2 = Reshape(q1, split)
    q3 = Transpose(q2, perm=[0,2,1,3])
    k1 = MatMul(x, Wk: f32[${hidden},${hidden}])
    k2 = Reshape(k1, split)
    k3 = Transpose(k2, perm=[0,2,1,3])
    v1 = MatMul(x, Wv: f32[${hidden},${hidden}])
    v2 = Reshape(v1, split)
    v3 = Transpose(v2, perm=[0,2,1,3])
    present.0.decoder.key: f32[batch_size,${heads},?,${side}], present.0.decoder.value: f32[batch_size,${heads},?,${side}], present.0.encoder.key: f32[batch_size,${heads},?,${side}], present.0.encoder.value: f32[batch_size,${heads},?,${side}] = If(use_cache_branch, then_branch={
        tk = Concat(past_key_values.0.decoder.key, k3, axis=2)
        tv = Concat(past_key_values.0.decoder.value, v3, axis=2)
        fk = Identity(past_key_values.0.encoder.key)
        fv = Identity(past_key_values.0.encoder.value)
        output tk, tv, fk, fv
      }, else_branch={
        ${cross.join('\n').replaceAll(';', '\n')}
        output ok, ov, ek, ev
      })
    kt = Transpose(present.0.decoder.key, perm=[0,1,3,2])
    s1 = MatMul(q3, kt)
    s2 = Softmax(s1, axis=-1)
    a1 = MatMul(s2, present.0.decoder.value)
    et = Transpose(present.0.encoder.key, perm=[0,1,3,2])
    s3 = MatMul(q3, et)
    s4 = Add(s3, mask)
    s5 = Softmax(s4, axis=-1)
    a2 = MatMul(s5, present.0.encoder.value)
    a3 = Add(a1, a2)
    a4 = Transpose(a3, perm=[0,2,1,3])
    a5 = Reshape(a4, merge)
    logits: f32[batch_size,decoder_sequence_length,${words.length}] = MatMul(a5, Wl: f32[${hidden},${words.length}])
    output logits, present.0.decoder.key, present.0.decoder.value, present.0.encoder.key, present.0.encoder.value
  `)
}

const special = words.slice(0, 5).map((content, id) => ({
  ...{ id, content, single_word: false, lstrip: false, rstrip: false, normalized: false, special: true }
}))

const tokenizer = {
  version: '1.0',
  truncation: null,
  padding: null,
  added_tokens: special,
  normalizer: {
    type: 'BertNormalizer',
    clean_text: true,
    handle_chinese_chars: true,
    strip_accents: null,
    lowercase: true
  },
  pre_tokenizer: { type: 'BertPreTokenizer' },
  post_processor: {
    type: 'TemplateProcessing',
    single: [
      { SpecialToken: { id: '[CLS]', type_id: 0 } },
      { Sequence: { id: 'A', type_id: 0 } },
      { SpecialToken: { id: '[SEP]', type_id: 0 } }
    ],
    pair: [],
    special_tokens: {
      '[CLS]': { id: '[CLS]', ids: [2], tokens: ['[CLS]'] },
      '[SEP]': { id: '[SEP]', ids: [3], tokens: ['[SEP]'] }
    }
  },
  decoder: { type: 'WordPiece', prefix: '##', cleanup: true },
  model: {
    type: 'WordPiece',
    unk_token: '[UNK]',
    continuing_subword_prefix: '##',
    max_input_chars_per_word: 100,
    vocab: Object.fromEntries(words.map((w, i) => [w, i]))
  }
}

const tokenizerConfig = {
  tokenizer_class: 'BertTokenizer',
  model_max_length: 64,
  cls_token: '[CLS]',
  sep_token: '[SEP]',
  pad_token: '[PAD]',
  unk_token: '[UNK]',
  mask_token: '[MASK]'
}

const bertConfig = {
  ...{ model_type: 'bert', architectures: ['BertModel'], vocab_size: words.length, hidden_size: hidden },
  ...{ num_hidden_layers: 1, num_attention_heads: heads, pad_token_id: 0, max_position_embeddings: 64 }
}

const t5Config = {
  ...{ model_type: 't5', architectures: ['T5ForConditionalGeneration'], vocab_size: words.length, d_model: hidden },
  ...{ d_kv: side, num_heads: heads, num_layers: 1, num_decoder_layers: 1, is_encoder_decoder: true },
  ...{ pad_token_id: 0, eos_token_id: 3, decoder_start_token_id: 0, use_cache: true }
}

async function folderOf(folder: string, config: object, models: Readonly<Record<string, Model>>): Promise<void> {
  mkdirSync(join(folder, 'onnx'), { recursive: true })
  const files = { 'config.json': config, 'tokenizer.json': tokenizer, 'tokenizer_config.json': tokenizerConfig }
  for (const [name, content] of Object.entries(files)) writeFileSync(join(folder, name), JSON.stringify(content))
  for (const [name, model] of Object.entries(models)) await save(model, join(folder, 'onnx', `${name}.onnx`))
}

/** An encoder alone, in `onnx/model.onnx`. */
export const bertFolder = (folder: string): Promise<void> => folderOf(folder, bertConfig, { model: bertModel() })

/** Encoder and merged decoder. */
export const seq2seqFolder = (folder: string): Promise<void> =>
  folderOf(folder, t5Config, { encoder_model: encoderModel(), decoder_model_merged: mergedDecoderModel() })
