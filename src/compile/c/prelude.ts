/** What every C file begins with. */

const binary: Readonly<Record<string, string>> = { add: '+', sub: '-', mul: '*', div: '/' }
const relations: Readonly<Record<string, string>> = { eq: '==', ne: '!=', lt: '<', le: '<=', gt: '>', ge: '>=' }
const byLane: Readonly<Record<string, string>> = {
  abs: 'fabsf',
  sqrt: 'sqrtf',
  floor: 'floorf',
  ceil: 'ceilf',
  nearest: 'rintf',
  exp2: 'power_of_two'
}

const gnu = [
  'typedef float float4 __attribute__((vector_size(16)));',
  'typedef int32_t whole4 __attribute__((vector_size(16)));',
  '#define LANES(v) (v)',
  'static inline float4 float4_all(float x) { return (float4){x, x, x, x}; }',
  'static inline float4 float4_neg(float4 a) { return -a; }',
  ...Object.entries(binary).map(
    ([op, sign]) => `static inline float4 float4_${op}(float4 a, float4 b) { return a ${sign} b; }`
  ),
  ...Object.entries(relations).map(
    ([op, sign]) => `static inline whole4 float4_${op}(float4 a, float4 b) { return a ${sign} b; }`
  ),
  'static inline float4 float4_select(whole4 m, float4 a, float4 b) { return (float4)((m & (whole4)a) | (~m & (whole4)b)); }'
]

const each = (text: string): string => `for (int l = 0; l < 4; l++) y.l[l] = ${text};`
const plain = [
  'typedef struct { float l[4]; } float4;',
  'typedef struct { int32_t l[4]; } whole4;',
  '#define LANES(v) (v).l',
  `static inline float4 float4_all(float x) { float4 y; ${each('x')} return y; }`,
  `static inline float4 float4_neg(float4 a) { float4 y; ${each('-a.l[l]')} return y; }`,
  ...Object.entries(binary).map(
    ([op, sign]) =>
      `static inline float4 float4_${op}(float4 a, float4 b) { float4 y; ${each(`a.l[l] ${sign} b.l[l]`)} return y; }`
  ),
  ...Object.entries(relations).map(
    ([op, sign]) =>
      `static inline whole4 float4_${op}(float4 a, float4 b) { whole4 y; ${each(`-(a.l[l] ${sign} b.l[l])`)} return y; }`
  ),
  `static inline float4 float4_select(whole4 m, float4 a, float4 b) { float4 y; ${each('m.l[l] ? a.l[l] : b.l[l]')} return y; }`
]

/**
 * Memory is bytes, and is read and written by memcpy, which compilers know as plain loads. Vectors are GCC's (and Clang's), or,
 * with `-DPORTABLE` and elsewhere, structs of four floats.
 */
export const prelude = `#include <math.h>
#include <stdint.h>
#include <string.h>

typedef unsigned char byte;

static inline float load_f32(const byte *p) { float x; memcpy(&x, p, 4); return x; }
static inline int32_t load_i32(const byte *p) { int32_t x; memcpy(&x, p, 4); return x; }
static inline void store_f32(byte *p, float x) { memcpy(p, &x, 4); }
static inline void store_i32(byte *p, int32_t x) { memcpy(p, &x, 4); }
static inline float least(float a, float b) { return b < a ? b : a; }
static inline float greatest(float a, float b) { return a < b ? b : a; }
static inline int32_t whole(float x) {
  if (!(x > -2147483648.0f)) return x == x ? INT32_MIN : 0;
  return x < 2147483648.0f ? (int32_t)x : INT32_MAX;
}
static inline float as_float(int32_t x) { float y; memcpy(&y, &x, 4); return y; }
static inline int32_t as_whole(float x) { int32_t y; memcpy(&y, &x, 4); return y; }
static inline float power_of_two(float n) { return as_float((int32_t)((uint32_t)(whole(n) + 127) << 23)); }
static inline int32_t absolute(int32_t x) { return x < 0 ? -x : x; }

/* Four floats; four whole numbers, of which a mask has all bits of a lane or none. */
#if defined(__GNUC__) && !defined(PORTABLE)
${gnu.join('\n')}
#else
${plain.join('\n')}
#endif
static inline float4 float4_load(const byte *p) { float4 y; memcpy(&y, p, 16); return y; }
static inline void float4_store(byte *p, float4 x) { memcpy(p, &x, 16); }
static inline float4 float4_min(float4 a, float4 b) { return float4_select(float4_lt(b, a), b, a); }
static inline float4 float4_max(float4 a, float4 b) { return float4_select(float4_lt(a, b), b, a); }
${Object.entries(byLane)
  .map(
    ([op, of]) =>
      `static inline float4 float4_${op}(float4 a) { float4 y; for (int l = 0; l < 4; l++) LANES(y)[l] = ${of}(LANES(a)[l]); return y; }`
  )
  .join('\n')}
`
