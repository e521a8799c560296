/* What integers.c does with a vector of sums: with AVX-512 VNNI, or with AVX-VNNI, whose vectors are half as long and half
as many, or with AVX2. Included by it; RUNS: whether there is one of them, LONG: the first, PAIRS: the last, which has
products of words only, in pairs, so that bytes lie in words too. */

#define FORCED static inline __attribute__((always_inline))
#define UNROLLED _Pragma("GCC unroll 24")

#if defined(__AVX512VNNI__) && defined(__AVX512BW__) && defined(__AVX512VL__) && defined(__AVX512DQ__)
#include <immintrin.h>
#define RUNS 1
#define LONG 1
#define PAIRS 0
/* Whether bytes are better off as words by fewer products too, which add a half as much again in other instructions. They
are on AMD's, which have other units for these; Intel's have two units of 512 bits for all. Compilers that are older than
a processor take it for a Zen 3. */
#if defined(__znver3__) || defined(__znver4__) || defined(__znver5__)
#define FEWER 1
#else
#define FEWER 0
#endif

enum { LANES = 16, MOST_VECTORS = 4 };         /* sums in a vector; vectors of a step */
enum { P1 = 24, P2 = 14, P3 = 9, P4 = 6 };     /* columns at once, of so many vectors: as many as there are registers for */
typedef __m512i ints;
typedef __m512 floats;

FORCED ints none(void) { return _mm512_setzero_si512(); }
FORCED ints all_of(int32_t x) { return _mm512_set1_epi32(x); }
FORCED ints load_ints(const void *from) { return _mm512_load_si512(from); }
FORCED floats same(float x) { return _mm512_set1_ps(x); }
FORCED floats load(const float *from) { return _mm512_loadu_ps(from); }
FORCED floats load_halves(const void *from) { return _mm512_cvtph_ps(_mm256_loadu_si256(from)); }
FORCED floats of_ints(ints x) { return _mm512_cvtepi32_ps(x); }
FORCED ints nearest(floats x) { return _mm512_cvtps_epi32(x); }
FORCED ints sum_of(ints a, ints b) { return _mm512_add_epi32(a, b); }
FORCED ints less(ints a, ints b) { return _mm512_sub_epi32(a, b); }
FORCED ints product(ints a, ints b) { return _mm512_mullo_epi32(a, b); }
FORCED ints four_times(ints x) { return _mm512_slli_epi32(x, 2); }
FORCED ints halved(ints x, const int times) { return _mm512_srai_epi32(x, times); }
FORCED floats plus(floats a, floats b) { return _mm512_add_ps(a, b); }
FORCED floats times(floats a, floats b) { return _mm512_mul_ps(a, b); }
FORCED floats times_plus(floats a, floats b, floats c) { return _mm512_fmadd_ps(a, b, c); }
FORCED floats larger(floats a, floats b) { return _mm512_max_ps(a, b); }
FORCED floats smaller(floats a, floats b) { return _mm512_min_ps(a, b); }

/* sum += the products of four bytes, or two words, of each lane. As a builtin, gcc 12 keeps sums in memory. */
FORCED void add_products(const int words, ints *sum, ints all, ints weight) {
    if (words)
        __asm__("vpdpwssd %2, %1, %0" : "+v"(*sum) : "v"(all), "v"(weight));
    else
        __asm__("vpdpbusd %2, %1, %0" : "+v"(*sum) : "v"(all), "v"(weight));
}

FORCED __mmask16 first_of(int count) { return count >= LANES ? 0xffff : (1 << count) - 1; }

/* The first ones, and no byte behind them: as bytes from 0 to 255, and as words. */
FORCED void store_bytes(uint8_t *to, ints x, int count) {
    _mm_mask_storeu_epi8(to, first_of(count), _mm512_cvtusepi32_epi8(_mm512_max_epi32(x, none())));
}

FORCED void store_words(uint8_t *to, ints x, int count) {
    _mm256_mask_storeu_epi16(to, first_of(count), _mm512_cvtepi32_epi16(x));
}

/* Seven bits of words, and what is above them, as bytes. */
FORCED void store_low_and_high(uint8_t *low, uint8_t *high, ints x, int count) {
    _mm_mask_storeu_epi8(low, first_of(count), _mm512_cvtepi32_epi8(_mm512_and_epi32(x, _mm512_set1_epi32(127))));
    _mm_mask_storeu_epi8(high, first_of(count), _mm512_cvtepi32_epi8(_mm512_srai_epi32(x, 7)));
}

FORCED void store_two_bytes(uint8_t *to, ints a, ints b) {} /* one vector at a time */
FORCED void store_two_words(uint8_t *to, ints a, ints b) {}

FORCED void store_halves(uint8_t *to, floats x) {
    _mm256_storeu_si256((void *)to, _mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}

/* Up to 16 columns of so many channels, to a plane for each of these. */
FORCED void store_planes(const floats *column, const int columns, int channels, float *to, int64_t plane, int spread) {
    if (spread != 1) {
        const __m512i place = _mm512_mullo_epi32(_mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15),
                                                 _mm512_set1_epi32((int)plane));
        const __mmask16 mask = channels < LANES ? (1 << channels) - 1 : 0xffff;
        for (int p = 0; p < columns; p++) _mm512_mask_i32scatter_ps(to + p * spread, mask, place, column[p], 4);
        return;
    }
    __m512i a[LANES], b[LANES];
    UNROLLED for (int p = 0; p < LANES; p++) a[p] = _mm512_castps_si512(p < columns ? column[p] : _mm512_setzero_ps());
    UNROLLED for (int p = 0; p < LANES; p += 2) { /* in each quarter of a vector, four channels */
        b[p] = _mm512_unpacklo_epi32(a[p], a[p + 1]);
        b[p + 1] = _mm512_unpackhi_epi32(a[p], a[p + 1]);
    }
    UNROLLED for (int p = 0; p < LANES; p += 4) UNROLLED for (int i = 0; i < 2; i++) { /* channel 2 i, and 2 i + 1 */
        a[p + 2 * i] = _mm512_unpacklo_epi64(b[p + i], b[p + 2 + i]);
        a[p + 2 * i + 1] = _mm512_unpackhi_epi64(b[p + i], b[p + 2 + i]);
    }
    UNROLLED for (int c = 0; c < 4; c++) { /* channels c, c + 4, c + 8 and c + 12, of four columns in each quarter */
        b[0] = _mm512_shuffle_i32x4(a[c], a[4 + c], 0x44), b[1] = _mm512_shuffle_i32x4(a[c], a[4 + c], 0xee);
        b[2] = _mm512_shuffle_i32x4(a[8 + c], a[12 + c], 0x44), b[3] = _mm512_shuffle_i32x4(a[8 + c], a[12 + c], 0xee);
        UNROLLED for (int i = 0; i < 4; i++) {
            const __m512i line = i & 1 ? _mm512_shuffle_i32x4(b[i / 2], b[2 + i / 2], 0xdd)
                                       : _mm512_shuffle_i32x4(b[i / 2], b[2 + i / 2], 0x88);
            if (c + 4 * i < channels)
                _mm512_mask_storeu_epi32(to + (c + 4 * i) * plane, (1 << columns) - 1, line);
        }
    }
}

#elif defined(__AVX2__) && defined(__FMA__) && defined(__F16C__)
#include <immintrin.h>
#define RUNS 1
#define LONG 0
#ifdef __AVXVNNI__
#define PAIRS 0
#define FEWER 0
enum { LANES = 8, MOST_VECTORS = 3 };
#else
#define PAIRS 1
#define FEWER 1
enum { LANES = 8, MOST_VECTORS = 2 };
#endif

enum { P1 = 12, P2 = 6, P3 = 4, P4 = 2 };
typedef __m256i ints;
typedef __m256 floats;

FORCED ints none(void) { return _mm256_setzero_si256(); }
FORCED ints all_of(int32_t x) { return _mm256_set1_epi32(x); }
FORCED ints load_ints(const void *from) { return _mm256_load_si256(from); }
FORCED floats same(float x) { return _mm256_set1_ps(x); }
FORCED floats load(const float *from) { return _mm256_loadu_ps(from); }
FORCED floats load_halves(const void *from) { return _mm256_cvtph_ps(_mm_loadu_si128(from)); }
FORCED floats of_ints(ints x) { return _mm256_cvtepi32_ps(x); }
FORCED ints nearest(floats x) { return _mm256_cvtps_epi32(x); }
FORCED ints sum_of(ints a, ints b) { return _mm256_add_epi32(a, b); }
FORCED ints less(ints a, ints b) { return _mm256_sub_epi32(a, b); }
FORCED ints product(ints a, ints b) { return _mm256_mullo_epi32(a, b); }
FORCED ints four_times(ints x) { return _mm256_slli_epi32(x, 2); }
FORCED ints halved(ints x, const int times) { return _mm256_srai_epi32(x, times); }
FORCED floats plus(floats a, floats b) { return _mm256_add_ps(a, b); }
FORCED floats times(floats a, floats b) { return _mm256_mul_ps(a, b); }
FORCED floats times_plus(floats a, floats b, floats c) { return _mm256_fmadd_ps(a, b, c); }
FORCED floats larger(floats a, floats b) { return _mm256_max_ps(a, b); }
FORCED floats smaller(floats a, floats b) { return _mm256_min_ps(a, b); }

#if PAIRS

FORCED void add_products(const int words, ints *sum, ints all, ints weight) {
    ints products;
    __asm__("vpmaddwd %3, %2, %1\n\tvpaddd %1, %0, %0" : "+x"(*sum), "=&x"(products) : "x"(all), "x"(weight));
}

#else

FORCED void add_products(const int words, ints *sum, ints all, ints weight) {
    if (words)
        __asm__("%{vex%} vpdpwssd %2, %1, %0" : "+x"(*sum) : "x"(all), "x"(weight));
    else
        __asm__("%{vex%} vpdpbusd %2, %1, %0" : "+x"(*sum) : "x"(all), "x"(weight));
}

#endif

FORCED __m128i eight_words(ints x) {
    return _mm_packs_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1));
}

FORCED void store_eight(uint8_t *to, __m128i words, int count) {
    if (count >= LANES)
        _mm_storeu_si128((__m128i *)to, words);
    else
        memcpy(to, &words, 2 * count);
}

FORCED void store_words(uint8_t *to, ints x, int count) { store_eight(to, eight_words(x), count); }

FORCED void store_bytes(uint8_t *to, ints x, int count) {
    if (PAIRS) {
        const __m128i words = _mm_max_epi16(eight_words(x), _mm_setzero_si128());
        store_eight(to, _mm_min_epi16(words, _mm_set1_epi16(255)), count);
        return;
    }
    __m128i bytes = eight_words(x);
    bytes = _mm_packus_epi16(bytes, bytes);
    memcpy(to, &bytes, count >= LANES ? LANES : count);
}

/* Of two vectors side by side, all. */
FORCED void store_two_words(uint8_t *to, ints a, ints b) {
    _mm256_storeu_si256((__m256i *)to, _mm256_permute4x64_epi64(_mm256_packs_epi32(a, b), 0xd8));
}

FORCED void store_two_bytes(uint8_t *to, ints a, ints b) {
    const __m256i words = _mm256_min_epu16(_mm256_packus_epi32(a, b), _mm256_set1_epi16(255));
    _mm256_storeu_si256((__m256i *)to, _mm256_permute4x64_epi64(words, 0xd8));
}

FORCED void store_low_and_high(uint8_t *low, uint8_t *high, ints x, int count) {} /* no matrices */

FORCED void store_halves(uint8_t *to, floats x) {
    _mm_storeu_si128((void *)to, _mm256_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT));
}

FORCED void store_planes(const floats *column, const int columns, int channels, float *to, int64_t plane, int spread) {
    float lines[LANES][LANES];
    UNROLLED for (int p = 0; p < columns; p++) _mm256_storeu_ps(lines[p], column[p]);
    for (int c = 0; c < channels; c++)
        for (int p = 0; p < columns; p++) to[c * plane + p * spread] = lines[p][c];
}

#else
#define RUNS 0
#endif
