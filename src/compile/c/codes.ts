/** What C files begin with that compute on codes: lanes of whole numbers, and of bytes and 16-bit numbers in them. */

const signs: Readonly<Record<string, string>> = { add: '+', sub: '-', mul: '*', and: '&', or: '|', xor: '^' }

/** Lane by lane: the text of lane l from lanes of a, b, … */
const lanes: Readonly<Record<string, readonly [params: string, lane: string]>> = {
  evens: ['a', 'A & 0xff00ff'],
  odds: ['a', '(int32_t)((uint32_t)A >> 8) & 0xff00ff'],
  signedEvens: ['a', 'two(signed_byte(A, 0), signed_byte(A, 2))'],
  signedOdds: ['a', 'two(signed_byte(A, 1), signed_byte(A, 3))'],
  dotPairs: ['a, b', 'low(A) * low(B) + high(A) * high(B)'],
  dotBytes: [
    'a, b, c',
    'C + signed_byte(A, 0) * byte_of(B, 0) + signed_byte(A, 1) * byte_of(B, 1) + signed_byte(A, 2) * byte_of(B, 2) + signed_byte(A, 3) * byte_of(B, 3)'
  ],
  maxBytes: ['a, b', 'bytes_of(byte_max(A, B, 0), byte_max(A, B, 1), byte_max(A, B, 2), byte_max(A, B, 3))'],
  bytes: ['a, b, c, d', 'bytes_of(A, B, C, D)']
}

const lane = (name: string): string => `LANES(${name})[l]`
const lanewise = (name: string, params: string, text: string): string => {
  const of = params.split(', ')
  const body = text.replace(/\b[ABCD]\b/g, (v) => lane(v.toLowerCase()))
  const each = `for (int l = 0; l < 4; l++) ${lane('y')} = ${body};`
  return `static inline whole4 whole4_${name}(${of.map((p) => `whole4 ${p}`).join(', ')}) { whole4 y; ${each} return y; }`
}

const across = [0, 1, 2, 3].flatMap((p) => [
  `static inline whole4 whole4_zip${p}(whole4 a, whole4 b) { whole4 y; for (int l = 0; l < 4; l++) ${lane('y')} = two(byte_of(LANES(a)[${p}], l), byte_of(LANES(b)[${p}], l)); return y; }`,
  `static inline whole4 whole4_lane${p}(whole4 a) { return whole4_all(LANES(a)[${p}]); }`
])

const plain = Object.entries(lanes).map(([name, [params, text]]) => lanewise(name, params, text))
const bytesAcross = `static inline whole4 whole4_bytesAcross(whole4 a, whole4 b, whole4 c, whole4 d) {
  whole4 y;
  LANES(y)[0] = bytes_of(LANES(a)[0], LANES(a)[1], LANES(a)[2], LANES(a)[3]);
  LANES(y)[1] = bytes_of(LANES(b)[0], LANES(b)[1], LANES(b)[2], LANES(b)[3]);
  LANES(y)[2] = bytes_of(LANES(c)[0], LANES(c)[1], LANES(c)[2], LANES(c)[3]);
  LANES(y)[3] = bytes_of(LANES(d)[0], LANES(d)[1], LANES(d)[2], LANES(d)[3]);
  return y;
}`

const sse = (name: string, params: string, text: string): string =>
  `static inline whole4 whole4_${name}(${params
    .split(', ')
    .map((p) => `whole4 ${p}`)
    .join(', ')}) { return (whole4)(${text.replace(/\b[abcd]\b/g, (v) => `(__m128i)${v}`)}); }`

/** The same in instructions that every x86-64 has. */
const sse2 = [
  sse('evens', 'a', '_mm_and_si128(a, _mm_set1_epi16(255))'),
  sse('odds', 'a', '_mm_srli_epi16(a, 8)'),
  sse('signedEvens', 'a', '_mm_srai_epi16(_mm_slli_epi16(a, 8), 8)'),
  sse('signedOdds', 'a', '_mm_srai_epi16(a, 8)'),
  sse('dotPairs', 'a, b', '_mm_madd_epi16(a, b)'),
  'static inline whole4 whole4_dotBytes(whole4 a, whole4 b, whole4 c) {',
  '  return c + (whole4_dotPairs(whole4_signedEvens(a), whole4_evens(b)) + whole4_dotPairs(whole4_signedOdds(a), whole4_odds(b)));',
  '}',
  sse('maxBytes', 'a, b', '_mm_max_epu8(a, b)'),
  sse('bytesAcross', 'a, b, c, d', '_mm_packus_epi16(_mm_packs_epi32(a, b), _mm_packs_epi32(c, d))'),
  'static inline whole4 whole4_bytes(whole4 a, whole4 b, whole4 c, whole4 d) {',
  '  __m128i x = (__m128i)whole4_bytesAcross(a, b, c, d), z = _mm_setzero_si128();',
  '  __m128i p = _mm_unpacklo_epi8(x, z), q = _mm_unpackhi_epi8(x, z);',
  '  return (whole4)_mm_or_si128(_mm_or_si128(_mm_unpacklo_epi16(p, z), _mm_slli_epi32(_mm_unpackhi_epi16(p, z), 8)),',
  '    _mm_or_si128(_mm_slli_epi32(_mm_unpacklo_epi16(q, z), 16), _mm_slli_epi32(_mm_unpackhi_epi16(q, z), 24)));',
  '}',
  ...[0, 1, 2, 3].flatMap((p) => {
    const zipped = `_mm_unpack${p < 2 ? 'lo' : 'hi'}_epi8(a, b)`
    return [
      sse(`zip${p}`, 'a, b', `_mm_unpack${p % 2 ? 'hi' : 'lo'}_epi8(${zipped}, _mm_setzero_si128())`),
      sse(`lane${p}`, 'a', `_mm_shuffle_epi32(a, ${p * 0x55})`)
    ]
  })
]

/** Stands behind `prelude`. */
export const preludeOfCodes = `#if defined(__GNUC__) && !defined(PORTABLE)
static inline whole4 whole4_all(int32_t x) { return (whole4){x, x, x, x}; }
${Object.entries(signs)
  .map(([op, sign]) => `static inline whole4 whole4_${op}(whole4 a, whole4 b) { return a ${sign} b; }`)
  .join('\n')}
static inline whole4 whole4_asWhole(float4 a) { return (whole4)a; }
#else
static inline whole4 whole4_all(int32_t x) { whole4 y; for (int l = 0; l < 4; l++) y.l[l] = x; return y; }
${Object.entries(signs)
  .map(
    ([op, sign]) =>
      `static inline whole4 whole4_${op}(whole4 a, whole4 b) { whole4 y; for (int l = 0; l < 4; l++) y.l[l] = a.l[l] ${sign} b.l[l]; return y; }`
  )
  .join('\n')}
static inline whole4 whole4_asWhole(float4 a) { whole4 y; memcpy(&y, &a, 16); return y; }
#endif
static inline int32_t byte_of(int32_t x, int i) { return (int32_t)((uint32_t)x >> 8 * i & 255); }
static inline int32_t signed_byte(int32_t x, int i) { return (int8_t)byte_of(x, i); }
static inline int32_t low(int32_t x) { return (int16_t)x; }
static inline int32_t high(int32_t x) { return (int16_t)((uint32_t)x >> 16); }
static inline int32_t two(int32_t a, int32_t b) { return (int32_t)(((uint32_t)a & 65535) | (uint32_t)b << 16); }
static inline uint32_t held(int32_t x) { return x < 0 ? 0 : x > 255 ? 255 : (uint32_t)x; }
static inline int32_t bytes_of(int32_t a, int32_t b, int32_t c, int32_t d) { return (int32_t)(held(a) | held(b) << 8 | held(c) << 16 | held(d) << 24); }
static inline int32_t byte_max(int32_t a, int32_t b, int i) { return byte_of(a, i) > byte_of(b, i) ? byte_of(a, i) : byte_of(b, i); }
static inline whole4 whole4_load(const byte *p) { whole4 y; memcpy(&y, p, 16); return y; }
static inline void whole4_store(byte *p, whole4 x) { memcpy(p, &x, 16); }
static inline whole4 whole4_shl(whole4 a, int n) { whole4 y; for (int l = 0; l < 4; l++) ${lane('y')} = (int32_t)((uint32_t)${lane('a')} << n); return y; }
static inline whole4 whole4_shr(whole4 a, int n) { whole4 y; for (int l = 0; l < 4; l++) ${lane('y')} = ${lane('a')} >> n; return y; }
static inline whole4 whole4_min(whole4 a, whole4 b) { whole4 y; for (int l = 0; l < 4; l++) ${lane('y')} = ${lane('a')} < ${lane('b')} ? ${lane('a')} : ${lane('b')}; return y; }
static inline whole4 whole4_max(whole4 a, whole4 b) { whole4 y; for (int l = 0; l < 4; l++) ${lane('y')} = ${lane('a')} > ${lane('b')} ? ${lane('a')} : ${lane('b')}; return y; }
static inline float4 float4_float(whole4 a) { float4 y; for (int l = 0; l < 4; l++) ${lane('y')} = (float)${lane('a')}; return y; }
#if defined(__GNUC__) && defined(__SSE2__) && !defined(PORTABLE)
#include <emmintrin.h>
${sse2.join('\n')}
#else
${[...plain, bytesAcross, ...across].join('\n')}
#endif
`
