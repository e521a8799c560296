/* The classical render in one pass over the frame: counts to codes, row by row, columns in tiles.

Each step is that of isp/stages, which says why it is so and where it comes from; the numbers here are those there, and
tests/fast holds the two together. Rows of a tile stay in a core's cache from the counts to the codes, so that memory is
read once and written once. Compiled by isp/fast/library.py; structures are mirrored in isp/fast/structures.py.

Linear values: black 0, white 1. Positions are those of the active area. */

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#if defined(__AVX512BW__) || defined(__AVX2__)
#include <immintrin.h>
#endif

/* Columns. A stride of an odd number of cache lines keeps lines from colliding in the cache. */
enum { TILE = 512, MARGIN = 16, WIDE = TILE + 2 * MARGIN, GUARD = 16, STRIDE = WIDE + 3 * GUARD };
enum { BILINEAR, MALVAR2004, MSG };                                                                /* demosaics */
enum { NONE, CLIP, RECONSTRUCT };                                                                  /* highlights */

#define INLINE static inline __attribute__((always_inline))

/* The loop behind it reads nothing that it has written: arrays do not overlap. */
#ifdef __clang__
#define INDEPENDENT _Pragma("clang loop vectorize(assume_safety)")
#else
#define INDEPENDENT _Pragma("GCC ivdep")
#endif

/* One GainMap of OpcodeList2 on the rows top, top + pitch ... before bottom. */
struct gain_map {
    const float *gains;   /* points x width: interpolated along columns; 1 where the map says nothing */
    const int32_t *below; /* for each row, the point at or above it ... */
    const float *share;   /* ... and the weight of the next one */
    int32_t top, bottom, pitch, points;
};

struct mosaic {
    const void *counts;   /* of the active area's top left */
    int64_t stride;       /* samples from row to row */
    int32_t floating;     /* float32 counts; else uint16 */
    int32_t entries;      /* of the linearisation table, 0 without one */
    const float *linear;  /* the table */
    const float *black;   /* black_rows x width: one period of rows */
    const float *black_of_row; /* height, or NULL */
    const float *scale;   /* 2 x width: gain over white less black, rows of even and odd number */
    const struct gain_map *maps;
    int32_t black_rows, map_count;
    int32_t height, width;
    int32_t down, right; /* row and column of the first red */
    int32_t method;
    int32_t pairs;       /* black repeats every two columns */
    float toe; /* of the curve under which the mosaic is interpolated */
};

/* White-balanced camera RGB of some rows of the frame, in three planes of them. */
struct band {
    float *planes;  /* of the first row */
    int64_t plane;  /* samples from one to the next */
    int32_t first;  /* of the frame's rows */
};

/* Hue, saturation and value: (hues + 1) * values rows of `saturations` entries of shift, two scales, and 0. */
struct table {
    const float *entries;
    int32_t hues, saturations, values, srgb;
};

/* A cubic spline: piece i is a t^3 + b t^2 + c t + d with t = x - knots[i]. */
struct spline {
    const float *knots, *coefficients; /* pieces + 1; pieces x 4 */
    const int32_t *first;              /* the piece at the beginning of each of `bins` equal parts of [low, high] */
    int32_t pieces, bins;
    float low, high, slope_low, slope_high;
};

struct colour {
    float first[9], second[9]; /* matrices before the tables and after them, row by row */
    float gains[3];            /* saturation of red, green, blue */
    float exposure;            /* factor between the tables */
    const struct table *hue_sat_map, *look;
    const struct spline *tone;
    const float *around; /* grid of colours for RECONSTRUCT, rows x cols x 4; NULL while it is being gathered */
    int32_t highlights, two_matrices, compress, filmic, bits;
    float slope, knee, scale, exponent, offset; /* isp.primaries.Curve */
    float stretch, shift, pieces[128];          /* the same to codes: isp.fast.structures.pieces, of isp_pieces() */
    float filmic_pieces[6][32];                 /* isp.fast.structures.filmic_pieces */
};

struct picture {
    uint8_t *corner;               /* the pixel of the box's top left */
    int64_t row, column;           /* bytes to the next one down and to the right, as seen by the sensor */
    int32_t top, left, bottom, right;
    float *seen;                   /* RECONSTRUCT: the grid that is gathered, rows x cols x 4, or NULL */
    uint8_t *near;                 /* RECONSTRUCT: height x tiles, 1 where a row of a tile has a nearly clipped pixel */
    int32_t grid_cols, tiles;
};

/* ------------------------------------------------------------------ curves */

INLINE float of_bits(int32_t bits) { float x; memcpy(&x, &bits, 4); return x; }
INLINE int32_t to_bits(float x) { int32_t bits; memcpy(&bits, &x, 4); return bits; }
INLINE float least(float a, float b) { return a < b ? a : b; }
INLINE float most(float a, float b) { return a > b ? a : b; }
INLINE float clamp(float x, float low, float high) { return least(most(x, low), high); }

/* x^p for normal x > 0, within 4e-7 of itself for |p| < 3: exp2(p log2 x). Both polynomials are minimax fits, of
log2(1 + t) / t on [sqrt(1/2) - 1, sqrt(2) - 1] (3e-7) and of 2^t on [-1/2, 1/2] (8e-8). */
INLINE float power(float x, float p) {
    int32_t bits = to_bits(x), e = (bits - 0x3f3504f3) >> 23; /* the power of two nearest on a log scale */
    float t = of_bits(bits - e * (1 << 23)) - 1.0f;
    float log2 = 0.170656821f;
    log2 = log2 * t - 0.272686214f;
    log2 = log2 * t + 0.297250772f;
    log2 = log2 * t - 0.358963247f;
    log2 = log2 * t + 0.480466229f;
    log2 = log2 * t - 0.721375827f;
    log2 = log2 * t + 1.4426997f;
    float z = p * (log2 * t + (float)e);
    float whole = z + 12582912.0f; /* 1.5 * 2^23: rounds to an integer, which stands in the lowest bits */
    float f = z - (whole - 12582912.0f);
    float exp2 = 0.00134100001f;
    exp2 = exp2 * f + 0.00967603636f;
    exp2 = exp2 * f + 0.0555029731f;
    exp2 = exp2 * f + 0.240221074f;
    exp2 = exp2 * f + 0.693147225f;
    exp2 = exp2 * f + 1.00000008f;
    return of_bits(to_bits(exp2) + (int32_t)((uint32_t)to_bits(whole) << 23));
}

/* A guess of x^(-1/3) for normal x > 0, from its exponent: 1 - x r^3 lies within 0.1022. */
INLINE float guessed(float x) { return of_bits((int32_t)(1.4199e9f - (1.0f / 3) * (float)to_bits(x))); }

/* x^(-1/3) for normal x > 0, to rounding: the guess times a minimax fit of (1 - h)^(-1/3) (1e-7), h = 1 - x r^3. */
INLINE float inverse_cbrt(float x) {
    float r = guessed(x), h = 1 - x * r * (r * r);
    return r * (1 + h * (0.333328802f + h * (0.222214149f + h * (0.174526305f + h * 0.145910227f))));
}

/* isp.stages.demosaic.curve. root: the cube root of the toe. That of a is a r^2 times a minimax fit of (1 - h)^(-2/3)
(2e-8). */
INLINE float to_curve(float x, float toe, float root) {
    float a = fabsf(x) + toe, r = guessed(a), s = a * r * r, h = 1 - s * r;
    float fit = 0.459159675f + h * 0.429295602f;
    fit = 1 + h * (0.666666704f + h * (0.555529412f + h * (0.493793925f + h * fit)));
    return copysignf(s * fit - root, x);
}

INLINE float from_curve(float y, float root) {
    float v = fabsf(y);
    return y * (v * (v + 3 * root) + 3 * root * root);
}

/* isp.stages.encode, for x >= 0. */
INLINE float encoded(const struct colour *k, float x) {
    float high = power(most(x, k->knee), k->exponent) * k->scale - k->offset;
    return x < k->knee ? x * k->slope : high;
}

/* The value axis of tables with encoding 1, sRGB (IEC 61966-2-1), odd. */
INLINE float to_srgb(float x) {
    float a = fabsf(x), high = power(most(a, 0.0031308f), 1 / 2.4f) * 1.055f - 0.055f;
    return a < 0.0031308f ? x * 12.92f : copysignf(high, x);
}

INLINE float from_srgb(float y) {
    float a = fabsf(y), high = power((most(a, 0.0404499f) + 0.055f) / 1.055f, 2.4f);
    return a < 0.0404499f ? y / 12.92f : copysignf(high, y);
}

INLINE float smoothstep(float t) {
    t = clamp(t, 0, 1);
    return t * t * (3 - 2 * t);
}

/* ------------------------------------------------------------------ highlights: isp/stages/highlights.py */

static const float NEAR = 0.94f, CLIPPED = 0.985f, FADING = 0.6f, WHITENESS = 0.1f, BRIGHTEST = 2.0f, DEEPEST = 0.1f,
                   PRIOR = 1e-4f;
enum { GRID = 4 };

INLINE float clipping(float share) { return smoothstep((share - NEAR) * (1 / (CLIPPED - NEAR))); }

/* A row's part in the sums of its row of the grid: every second pixel of every second row, weighted; means over
GRID x GRID pixels. */
static void gather(float *seen, const float *r, const float *g, const float *b, const float (*limit)[STRIDE], int n) {
    float sums[4][TILE / 2 + 2];
    int half = (n + 1) / 2;
    INDEPENDENT
    for (int i = 0; i < half; i++) {
        float red = r[2 * i], green = g[2 * i], blue = b[2 * i];
        float lr = red / limit[0][2 * i], lg = green / limit[1][2 * i], lb = blue / limit[2][2 * i];
        float trust = (1 - clipping(lr)) * (1 - clipping(lg)) * (1 - clipping(lb));
        float weight = trust * most((lr + lg + lb) * (1.0f / 3), 0) * (4.0f / (GRID * GRID));
        sums[0][i] = most(red, 0) * weight;
        sums[1][i] = most(green, 0) * weight;
        sums[2][i] = most(blue, 0) * weight;
        sums[3][i] = weight;
    }
    for (int c = 0; c < 4; c++) sums[c][half] = 0;
    for (int i = 0; i < (half + 1) / 2; i++)
        for (int c = 0; c < 4; c++) seen[4 * i + c] += sums[c][2 * i] + sums[c][2 * i + 1];
}

INLINE int any_near(const float *r, const float *g, const float *b, const float (*limit)[STRIDE], int n) {
    int any = 0;
    INDEPENDENT
    for (int i = 0; i < n; i++)
        any |= (r[i] > NEAR * limit[0][i]) | (g[i] > NEAR * limit[1][i]) | (b[i] > NEAR * limit[2][i]);
    return any;
}

/* The pixel y, x with its clipped channels estimated. */
static void raise(const struct colour *k, const struct picture *p, int rows, int y, int x, float *pixel[3],
                  const float *saturation) {
    float at_y = clamp(y / (float)GRID - (GRID / 2 - 1) / (float)GRID, 0, rows - 1);
    float at_x = clamp(x / (float)GRID - (GRID / 2 - 1) / (float)GRID, 0, p->grid_cols - 1);
    int top = (int)at_y, left = (int)at_x;
    int bottom = top + 1 < rows ? top + 1 : top, right = left + 1 < p->grid_cols ? left + 1 : left;
    float v[3], colour[3], clipped[3], light[3], trust[3], largest = 0, brightest = 1e-6f;
    for (int c = 0; c < 3; c++) {
        const float *upper = k->around + (int64_t)top * p->grid_cols * 4 + c;
        const float *lower = k->around + (int64_t)bottom * p->grid_cols * 4 + c;
        float above = upper[left * 4] + (at_x - left) * (upper[right * 4] - upper[left * 4]);
        float under = lower[left * 4] + (at_x - left) * (lower[right * 4] - lower[left * 4]);
        colour[c] = above + (at_y - top) * (under - above);
        v[c] = least(*pixel[c], saturation[c]);
        clipped[c] = clipping(v[c] / saturation[c]);
        largest = most(largest, colour[c]);
    }
    for (int c = 0; c < 3; c++) {
        light[c] = most(v[c] / most(colour[c], DEEPEST * largest), 1e-6f);
        brightest = most(brightest, light[c]);
    }
    float shares = 0, n = 0, tc = 0, cc = 0, cx = 0, sx = 0, last = INFINITY, limit = 0;
    for (int c = 0; c < 3; c++) {
        float share = light[c] / brightest; /* to the 16th: a softmax of LAST log(light) */
        share *= share, share *= share, share *= share, share *= share;
        shares += light[c] = share;
    }
    for (int c = 0; c < 3; c++) {
        trust[c] = 1 - clipped[c] + 1e-3f * light[c] / shares;
        n += trust[c];
        tc += trust[c] * colour[c];
        last = least(last, v[c] / saturation[c]);
        limit = most(limit, saturation[c]);
    }
    for (int c = 0; c < 3; c++) {
        colour[c] *= n / tc;
        cc += trust[c] * colour[c] * colour[c];
        cx += trust[c] * colour[c] * v[c];
        sx += trust[c] * v[c];
    }
    float white = most((cc * sx - n * cx) / (cc * n * (1 + WHITENESS) - n * n), 0);
    float fading = smoothstep((last - FADING) / (CLIPPED - FADING));
    float estimate[3], neutral = -INFINITY;
    for (int c = 0; c < 3; c++) {
        estimate[c] = (cx - n * white) / cc * colour[c] + white;
        neutral = most(neutral, most(estimate[c], v[c]));
    }
    for (int c = 0; c < 3; c++) {
        float e = least(estimate[c] + fading * (neutral - estimate[c]), BRIGHTEST * limit);
        *pixel[c] = v[c] + clipped[c] * most(e - v[c], 0);
    }
}

/* The sums of a grid, rows x cols x 4, become the mean colours around, in its first three planes: pulled up a pyramid
of halves, pushed down again. Returns 0, or 1 for want of memory. */
int isp_surroundings(float *grid, int32_t rows, int32_t cols) {
    enum { LEVELS = 32 };
    float *level[LEVELS];
    int h[LEVELS], w[LEVELS], n = 1, failed = 0;
    level[0] = grid, h[0] = rows, w[0] = cols;
    for (; h[n - 1] > 1 || w[n - 1] > 1; n++) {
        int down = h[n - 1] < 2 ? 1 : 2, across = w[n - 1] < 2 ? 1 : 2;
        h[n] = (h[n - 1] + down - 1) / down, w[n] = (w[n - 1] + across - 1) / across;
        level[n] = calloc((size_t)h[n] * w[n], 4 * sizeof(float));
        if (!level[n]) { failed = 1; break; }
        for (int y = 0; y < h[n - 1]; y++)
            for (int x = 0; x < w[n - 1]; x++)
                for (int c = 0; c < 4; c++)
                    level[n][((int64_t)(y / down) * w[n] + x / across) * 4 + c] +=
                        level[n - 1][((int64_t)y * w[n - 1] + x) * 4 + c] * (1.0f / (down * across));
    }
    for (int i = n - 1; i >= 0 && !failed; i--) {
        int down = h[i] < 2 ? 1 : 2, across = w[i] < 2 ? 1 : 2;
        for (int y = 0; y < h[i]; y++) {
            float at_y = most((y + 0.5f) / down - 0.5f, 0);
            int top = (int)at_y;
            for (int x = 0; x < w[i]; x++) {
                float at_x = most((x + 0.5f) / across - 0.5f, 0);
                int left = (int)at_x;
                float *cell = level[i] + ((int64_t)y * w[i] + x) * 4;
                for (int c = 0; c < 3; c++) {
                    float mean = 1;
                    if (i < n - 1) {
                        int bottom = top + 1 < h[i + 1] ? top + 1 : top, right = left + 1 < w[i + 1] ? left + 1 : left;
                        const float *upper = level[i + 1] + (int64_t)top * w[i + 1] * 4 + c;
                        const float *lower = level[i + 1] + (int64_t)bottom * w[i + 1] * 4 + c;
                        float above = upper[left * 4] + (at_x - left) * (upper[right * 4] - upper[left * 4]);
                        float under = lower[left * 4] + (at_x - left) * (lower[right * 4] - lower[left * 4]);
                        mean = above + (at_y - top) * (under - above);
                    }
                    cell[c] = (cell[c] + PRIOR * mean) / (cell[3] + PRIOR);
                }
            }
        }
    }
    for (int i = 1; i < n; i++) free(level[i]);
    return failed;
}

/* ------------------------------------------------------------------ colour: from camera RGB to codes */

static void apply_matrix(const float *m, float *restrict r, float *restrict g, float *restrict b, int n) {
    INDEPENDENT
    for (int i = 0; i < n; i++) {
        float x = r[i], y = g[i], z = b[i];
        r[i] = m[0] * x + m[1] * y + m[2] * z;
        g[i] = m[3] * x + m[4] * y + m[5] * z;
        b[i] = m[6] * x + m[7] * y + m[8] * z;
    }
}

INLINE void read_table(const struct table *t, float row, float saturation, float *found) {
    float at = saturation * (t->saturations - 1);
    int last_row = (t->hues + 1) * t->values - 1, top = (int)row, left = (int)at;
    int bottom = top < last_row ? top + 1 : top, right = left < t->saturations - 1 ? left + 1 : left;
    float down = row - top, across = at - left;
    const float *upper = t->entries + (int64_t)top * t->saturations * 4;
    const float *lower = t->entries + (int64_t)bottom * t->saturations * 4;
    for (int c = 0; c < 4; c++) {
        float above = upper[left * 4 + c] + across * (upper[right * 4 + c] - upper[left * 4 + c]);
        float under = lower[left * 4 + c] + across * (lower[right * 4 + c] - lower[left * 4 + c]);
        found[c] = above + down * (under - above);
    }
}

/* isp/stages/hue_sat_map.py. Loops of few steps: all but the look into the table is done in vectors. */
static void apply_table(const struct table *t, float *restrict r, float *restrict g, float *restrict b, int n) {
    const float tiny = 1e-6f;
    const int srgb = t->srgb && t->values > 1, hues = t->hues, values = t->values;
    float hue[TILE], chroma[TILE], value[TILE], coded[TILE], saturation[TILE], shift[TILE], wider[TILE], higher[TILE];
    INDEPENDENT
    for (int i = 0; i < n; i++) {
        float largest = most(most(r[i], g[i]), b[i]), span = largest - least(least(r[i], g[i]), b[i]);
        float over = 1 / (span == 0 ? 1 : span); /* grey has hue 0 */
        float of_green = (b[i] - r[i]) * over + 2, of_blue = (r[i] - g[i]) * over + 4, angle = (g[i] - b[i]) * over;
        angle = largest == r[i] ? angle : largest == g[i] ? of_green : of_blue;
        hue[i] = angle < 0 ? angle + 6 : angle;
        chroma[i] = span;
        value[i] = largest;
        float of_black = span > 0 ? 1 : 0, share = span / most(largest, tiny);
        saturation[i] = least(largest > tiny ? share : of_black, 1);
        coded[i] = largest;
    }
    if (srgb) {
        INDEPENDENT
        for (int i = 0; i < n; i++) coded[i] = to_srgb(coded[i]);
    }
    for (int i = 0; i < n; i++) {
        float row = hue[i] * hues * (1.0f / 6), found[4];
        if (values == 1) {
            read_table(t, row, saturation[i], found);
        } else {
            float level = clamp(coded[i], 0, 1) * (values - 1), upper[4];
            int below = (int)least(level, values - 2);
            row += below * (hues + 1);
            read_table(t, row, saturation[i], found);
            read_table(t, row + (hues + 1), saturation[i], upper);
            for (int c = 0; c < 4; c++) found[c] += (level - below) * (upper[c] - found[c]);
        }
        shift[i] = found[0], wider[i] = found[1], higher[i] = found[2];
    }
    INDEPENDENT
    for (int i = 0; i < n; i++) coded[i] = least(coded[i] * higher[i], most(coded[i], 1));
    if (srgb) {
        INDEPENDENT
        for (int i = 0; i < n; i++) coded[i] = from_srgb(coded[i]);
    }
    INDEPENDENT
    for (int i = 0; i < n; i++) {
        float new_value = coded[i];
        float ratio = value[i] > tiny ? new_value / most(value[i], tiny) : higher[i];
        float grown = least(chroma[i] * wider[i], most(chroma[i], value[i])) * ratio;
        float angle = hue[i] + shift[i] * (1.0f / 60);
        angle -= 6 * floorf(angle * (1.0f / 6));
        r[i] = new_value - grown * clamp(2 - fabsf(angle - 3), 0, 1);
        g[i] = new_value - grown * clamp(fabsf(angle - 2) - 1, 0, 1);
        b[i] = new_value - grown * clamp(fabsf(angle - 4) - 1, 0, 1);
    }
}

INLINE float on_spline(const struct spline *s, float x) {
    float inside = clamp(x, s->low, s->high);
    int bin = (int)((inside - s->low) / (s->high - s->low) * s->bins);
    int i = s->first[bin < s->bins ? bin : s->bins - 1];
    while (i > 0 && inside < s->knots[i]) i--;
    while (i < s->pieces - 1 && inside > s->knots[i + 1]) i++;
    const float *c = s->coefficients + 4 * i;
    float t = inside - s->knots[i];
    return ((c[0] * t + c[1]) * t + c[2]) * t + c[3] + (x < inside ? s->slope_low : s->slope_high) * (x - inside);
}

/* isp/stages/tone.py: the filmic curve. From 1e10 on it is 1 in float32, and its powers would overflow. */
INLINE float filmic(float x) {
    const float gain = 1.75f, contrast = 1.16f, toe = 0.004f, toe_raised = 0.00165344438f;
    float u = gain * (power(least(fabsf(x), 1e10f) + toe, contrast) - toe_raised);
    u = copysignf(most(u, 0), x);
    return u * inverse_cbrt(1 + fabsf(u) * u * u);
}

/* A curve on the largest and the smallest channel; the middle one keeps its place between them. */
INLINE void between(float *r, float *g, float *b, float smallest, float largest, float bottom, float top) {
    float span = largest - smallest, slope = span < 1e-9f ? 0 : (top - bottom) / span;
    *r = bottom + (*r - smallest) * slope;
    *g = bottom + (*g - smallest) * slope;
    *b = bottom + (*b - smallest) * slope;
}

static void apply_spline(const struct spline *s, float *restrict r, float *restrict g, float *restrict b, int n) {
    INDEPENDENT
    for (int i = 0; i < n; i++) {
        float largest = most(most(r[i], g[i]), b[i]), smallest = least(least(r[i], g[i]), b[i]);
        between(r + i, g + i, b + i, smallest, largest, on_spline(s, smallest), on_spline(s, largest));
    }
}

#ifdef __AVX512BW__

/* A polynomial of u whose coefficients stand at the lowest five bits of piece. */
INLINE __m512 on_piece(const __m512 (*table)[2], const int degree, __m512i piece, __m512 u) {
    __m512 y = _mm512_permutex2var_ps(table[degree][0], piece, table[degree][1]);
    for (int i = degree - 1; i >= 0; i--)
        y = _mm512_fmadd_ps(y, u, _mm512_permutex2var_ps(table[i][0], piece, table[i][1]));
    return y;
}

INLINE void load_pieces(const float *pieces, const int terms, __m512 (*table)[2]) {
    for (int i = 0; i < terms; i++)
        for (int half = 0; half < 2; half++) table[i][half] = _mm512_loadu_ps(pieces + 32 * i + 16 * half);
}

/* filmic, by isp.fast.structures.filmic_pieces. */
INLINE __m512 filmic_16(const __m512 (*table)[2], __m512 x) {
    const __m512 toe = _mm512_set1_ps(0.004f), most = _mm512_set1_ps(255.99998f), sign = _mm512_set1_ps(-0.0f);
    __m512 u = _mm512_min_ps(most, _mm512_add_ps(_mm512_abs_ps(x), toe));
    __m512 y = on_piece(table, 5, _mm512_srli_epi32(_mm512_castps_si512(u), 22), u);
    return _mm512_castsi512_ps(_mm512_ternarylogic_epi32(_mm512_castps_si512(sign), _mm512_castps_si512(x),
                                                        _mm512_castps_si512(y), 0xca)); /* the sign of x on y */
}

static void apply_filmic(const struct colour *k, float *restrict r, float *restrict g, float *restrict b, int n) {
    __m512 table[6][2];
    load_pieces(k->filmic_pieces[0], 6, table);
    for (int i = 0; i < n; i += 16) {
        __m512 x[3] = {_mm512_loadu_ps(r + i), _mm512_loadu_ps(g + i), _mm512_loadu_ps(b + i)};
        __m512 largest = _mm512_max_ps(_mm512_max_ps(x[0], x[1]), x[2]);
        __m512 smallest = _mm512_min_ps(_mm512_min_ps(x[0], x[1]), x[2]);
        __m512 top = filmic_16(table, largest), bottom = filmic_16(table, smallest);
        __m512 span = _mm512_sub_ps(largest, smallest);
        __mmask16 coloured = _mm512_cmp_ps_mask(span, _mm512_set1_ps(1e-9f), _CMP_NLT_US); /* between */
        __m512 slope = _mm512_maskz_div_ps(coloured, _mm512_sub_ps(top, bottom), span);
        float *to[3] = {r + i, g + i, b + i};
        for (int c = 0; c < 3; c++)
            _mm512_storeu_ps(to[c], _mm512_fmadd_ps(_mm512_sub_ps(x[c], smallest), slope, bottom));
    }
}

#else

static void apply_filmic(const struct colour *k, float *restrict r, float *restrict g, float *restrict b, int n) {
    INDEPENDENT
    for (int i = 0; i < n; i++) {
        float largest = most(most(r[i], g[i]), b[i]), smallest = least(least(r[i], g[i]), b[i]);
        between(r + i, g + i, b + i, smallest, largest, filmic(smallest), filmic(largest));
    }
}
#endif

/* isp/stages/gamut.py */
static const float THRESHOLD = 0.85f, BLACK = 2e-3f;

static void compress_some(float *restrict r, float *restrict g, float *restrict b, int n) {
    INDEPENDENT
    for (int i = 0; i < n; i++) {
        float largest = most(most(r[i], g[i]), b[i]), smallest = least(least(r[i], g[i]), b[i]);
        float distance = (largest - smallest) / (fabsf(largest) + BLACK);
        float excess = most(distance - THRESHOLD, 0) * (1 / (1 - THRESHOLD));
        float wanted = least(distance, THRESHOLD) + (1 - THRESHOLD) * excess / sqrtf(1 + excess * excess);
        float factor = distance > THRESHOLD ? wanted / distance : 1;
        r[i] = largest + (r[i] - largest) * factor;
        g[i] = largest + (g[i] - largest) * factor;
        b[i] = largest + (b[i] - largest) * factor;
    }
}

/* Only where a pixel in so many is beyond the threshold: roots and divisions cost more than all the rest. */
static void compress_gamut(float *restrict r, float *restrict g, float *restrict b, int n) {
    enum { SOME = 32 };
    for (int first = 0; first < n; first += SOME) {
        int count = n - first < SOME ? n - first : SOME, any = 0;
        INDEPENDENT
        for (int i = first; i < first + count; i++) {
            float largest = most(most(r[i], g[i]), b[i]), smallest = least(least(r[i], g[i]), b[i]);
            any |= largest - smallest >= 0.999f * THRESHOLD * (fabsf(largest) + BLACK); /* whatever rounding does */
        }
        if (any) compress_some(r + first, g + first, b + first, count);
    }
}

/* Highlights of a row of a tile, in its order; limit: what saturation is. */
static void mend_highlights(const struct colour *k, const struct picture *p, int rows, int y, int x, int n, float *r,
                            float *g, float *b, const float (*limit)[STRIDE]) {
    if (!k->around) {
        if (y % 2 == 0) gather(p->seen + ((int64_t)(y / GRID) * p->grid_cols + x / GRID) * 4, r, g, b, limit, n);
        p->near[(int64_t)y * p->tiles + x / TILE] |= any_near(r, g, b, limit, n);
    } else if (any_near(r, g, b, limit, n)) {
        for (int i = 0; i < n; i++) {
            float saturation[3] = {limit[0][i], limit[1][i], limit[2][i]};
            if (r[i] > NEAR * saturation[0] || g[i] > NEAR * saturation[1] || b[i] > NEAR * saturation[2])
                raise(k, p, rows, y, x + i, (float *[]){r + i, g + i, b + i}, saturation);
        }
    }
}

/* From white-balanced camera RGB to linear RGB of the output, n pixels in any order. */
static void develop(const struct colour *k, float *r, float *g, float *b, int n) {
    if (k->highlights == CLIP)
        INDEPENDENT
        for (int i = 0; i < n; i++) r[i] = least(r[i], 1), g[i] = least(g[i], 1), b[i] = least(b[i], 1);
    apply_matrix(k->first, r, g, b, n);
    if (k->hue_sat_map) apply_table(k->hue_sat_map, r, g, b, n);
    if (k->exposure != 1)
        INDEPENDENT
        for (int i = 0; i < n; i++) r[i] *= k->exposure, g[i] *= k->exposure, b[i] *= k->exposure;
    if (k->look) apply_table(k->look, r, g, b, n);
    if (k->tone) apply_spline(k->tone, r, g, b, n);
    if (k->two_matrices) apply_matrix(k->second, r, g, b, n);
    if (k->compress) compress_gamut(r, g, b, n);
    if (k->filmic) apply_filmic(k, r, g, b, n);
}

/* ------------------------------------------------------------------ from linear RGB to the bytes of pixels

Rows of a tile come in two orders: as they lie, or split, those of even columns apart from those of odd ones. half:
where both begin; of rows as they lie, the first and the second 16 of 32 pixels. */

/* How many pieces of a curve there are in an octave; 0: none. */
#if defined(__AVX512BW__)
int isp_pieces(void) { return 4; }
#elif defined(__AVX2__) && defined(__FMA__)
int isp_pieces(void) { return 1; }
#else
int isp_pieces(void) { return 0; }
#endif

#ifdef __AVX512BW__

/* isp.fast.structures.pieces: codes of stretched numbers, of which those under 0 are left to saturation. NaN becomes
one of them. */
INLINE __m512i codes(const __m512 (*table)[2], __m512 u, const int bits) {
    const __m512 below_one = _mm512_set1_ps(0.99999994f);
    const __m512i first = _mm512_set1_epi32((127 - 8) << 2); /* 2^-8, by its exponent and two bits of the mantissa */
    u = _mm512_min_ps(below_one, u);
    __m512i piece = _mm512_max_epi32(_mm512_srai_epi32(_mm512_castps_si512(u), 21), first);
    return _mm512_cvtps_epi32(on_piece(table, bits == 8 ? 2 : 3, piece, u));
}

/* How 32 pixels are packed: two vectors of 16 of each colour are joined lane by lane, so that a lane holds four of one
vector and four of the other; `within` orders the bytes of a lane, `place` those of the vectors, in groups of four bytes
(8 bits) or eight (16 bits). */
struct packer {
    __m512i within[3], place[3];
    __mmask8 third[3]; /* 16 bits: groups that come from the third vector */
    int split;
};

static struct packer packer_of(int bits, int split) {
    struct packer p = {.split = split};
    int half = bits == 8 ? 1 : 2;
    for (int v = 0; v < 3; v++) {
        uint8_t within[64] = {0};
        uint32_t place[16] = {0};
        for (int i = 0; i < 64; i++) {
            int number = (v * 16 + i % 16) / half, pixel = number / 3 % 8;
            int at = split ? pixel % 2 * 4 + pixel / 2 : pixel;
            within[i] = bits == 16 ? 2 * at + i % 2 : number % 3 == 1 ? 8 + at : at; /* green lies behind red */
        }
        for (int i = 0; i < 16 / half; i++) { /* a lane fills six groups, or three and three */
            int to = v * 16 / half + i, lane = split ? to / 6 % 4 : to % 12 / 3;
            int group = split ? to % 6 : to / 12 % 2 * 3 + to % 3, groups = 4 / half;
            int from = group / groups * (16 / half) + lane * groups + group % groups;
            place[i * half] = from;
            if (from >= 2 * (16 / half)) p.third[v] |= 1 << i;
        }
        p.within[v] = _mm512_loadu_si512(within);
        p.place[v] = _mm512_loadu_si512(place);
    }
    return p;
}

INLINE void pack_8(const struct packer *p, const __m512i c[3][2], uint8_t *out) {
    __m512i r = _mm512_packus_epi32(c[0][0], c[0][1]), g = _mm512_packus_epi32(c[1][0], c[1][1]);
    __m512i b = _mm512_packus_epi32(c[2][0], c[2][1]), rg = _mm512_packus_epi16(r, g);
    b = _mm512_packus_epi16(b, b);
    __m512i begin = _mm512_shuffle_epi8(rg, p->within[0]), end = _mm512_shuffle_epi8(rg, p->within[1]);
    begin = _mm512_mask_shuffle_epi8(begin, 0x4924492449244924, b, p->within[0]);
    end = _mm512_mask_shuffle_epi8(end, 0x2492249224922492, b, p->within[1]);
    __m512i last = _mm512_permutex2var_epi32(begin, p->place[1], end);
    _mm512_storeu_si512(out, _mm512_permutex2var_epi32(begin, p->place[0], end));
    _mm256_storeu_si256((__m256i *)(out + 64), _mm512_castsi512_si256(last));
}

INLINE void pack_16(const struct packer *p, const __m512i c[3][2], uint8_t *out) {
    const __mmask32 green[3] = {0x92929292, 0x24242424, 0x49494949}, blue[3] = {0x24242424, 0x49494949, 0x92929292};
    __m512i r = _mm512_packus_epi32(c[0][0], c[0][1]), g = _mm512_packus_epi32(c[1][0], c[1][1]);
    __m512i b = _mm512_packus_epi32(c[2][0], c[2][1]), part[3];
    for (int i = 0; i < 3; i++) {
        __m512i mixed = _mm512_mask_blend_epi16(green[i], _mm512_shuffle_epi8(r, p->within[i]),
                                                _mm512_shuffle_epi8(g, p->within[i]));
        part[i] = _mm512_mask_blend_epi16(blue[i], mixed, _mm512_shuffle_epi8(b, p->within[i]));
    }
    for (int i = 0; i < 3; i++) {
        __m512i two = _mm512_permutex2var_epi64(part[0], p->place[i], part[1]);
        _mm512_storeu_si512(out + 64 * i, _mm512_mask_permutexvar_epi64(two, p->third[i], p->place[i], part[2]));
    }
}

INLINE void encode(const struct colour *k, const struct packer *packer, const float *m, const float *const half[2][3],
                   int from, int to, const int bits, uint8_t *out) {
    const struct packer copy = *packer, *p = &copy; /* which no store to pixels can change */
    const __m512 stretch = _mm512_set1_ps(k->stretch), shift = _mm512_set1_ps(k->shift);
    const __m512 limit = _mm512_set1_ps(k->highlights == CLIP ? 1 : INFINITY);
    const float *const x_of[2][3] = {{half[0][0], half[0][1], half[0][2]}, {half[1][0], half[1][1], half[1][2]}};
    __m512 by[9], table[4][2];
    load_pieces(k->pieces, 4, table);
    if (m)
        for (int i = 0; i < 9; i++) by[i] = _mm512_set1_ps(m[i] * k->stretch);
    for (int i = from / 32; i < to / 32; i++, out += 12 * bits) {
        __m512i c[3][2];
        for (int odd = 0; odd < 2; odd++) {
            __m512 x[3], u[3];
            for (int j = 0; j < 3; j++) {
                x[j] = _mm512_loadu_ps(x_of[odd][j] + i * (p->split ? 16 : 32));
                if (m) x[j] = _mm512_min_ps(limit, x[j]);
            }
            for (int j = 0; j < 3; j++) {
                u[j] = _mm512_fmadd_ps(m ? by[3 * j] : stretch, m ? x[0] : x[j], shift);
                if (m) u[j] = _mm512_fmadd_ps(by[3 * j + 2], x[2], _mm512_fmadd_ps(by[3 * j + 1], x[1], u[j]));
                c[j][odd] = codes(table, u[j], bits);
            }
        }
        if (bits == 8) pack_8(p, c, out);
        else pack_16(p, c, out);
    }
}

#elif defined(__AVX2__) && defined(__FMA__)

/* The same, with a piece for each octave. */
INLINE __m256i codes(const __m256 *table, __m256 u, const int bits) {
    const __m256i first = _mm256_set1_epi32(127 - 8); /* 2^-8, by its exponent */
    u = _mm256_min_ps(_mm256_set1_ps(0.99999994f), u);
    const __m256i piece = _mm256_max_epi32(_mm256_srai_epi32(_mm256_castps_si256(u), 23), first);
    const int degree = bits == 8 ? 5 : 6;
    __m256 y = _mm256_permutevar8x32_ps(table[degree], piece);
    for (int i = degree - 1; i >= 0; i--) y = _mm256_fmadd_ps(y, u, _mm256_permutevar8x32_ps(table[i], piece));
    return _mm256_cvtps_epi32(y);
}

/* How the bytes of three colours are packed: of 16 bytes of each, those of each third of the pixels that they make. */
struct packer {
    __m256i within[3][3]; /* third, colour */
    int split;
};

static struct packer packer_of(int bits, int split) {
    struct packer p = {.split = split};
    const int size = bits / 8;
    for (int v = 0; v < 3; v++)
        for (int colour = 0; colour < 3; colour++) {
            uint8_t within[32];
            for (int i = 0; i < 32; i++) {
                const int number = (v * 16 + i % 16) / size;
                within[i] = number % 3 == colour ? number / 3 * size + i % size : 0x80; /* 0x80: 0 */
            }
            p.within[v][colour] = _mm256_loadu_si256((const void *)within);
        }
    return p;
}

/* 32 bytes of each colour to 96 of pixels. */
INLINE void mix(const struct packer *p, const __m256i *colour, uint8_t *out) {
    __m256i part[3]; /* thirds of what the first 16 bytes make, and of the others */
    for (int v = 0; v < 3; v++) {
        const __m256i red = _mm256_shuffle_epi8(colour[0], p->within[v][0]);
        const __m256i green = _mm256_shuffle_epi8(colour[1], p->within[v][1]);
        part[v] = _mm256_or_si256(_mm256_or_si256(red, green), _mm256_shuffle_epi8(colour[2], p->within[v][2]));
    }
    _mm256_storeu_si256((void *)out, _mm256_permute2x128_si256(part[0], part[1], 0x20));
    _mm256_storeu_si256((void *)(out + 32), _mm256_permute2x128_si256(part[2], part[0], 0x30));
    _mm256_storeu_si256((void *)(out + 64), _mm256_permute2x128_si256(part[1], part[2], 0x31));
}

/* Of four vectors of codes the words in order, 16 in each; of split rows from both halves in turn. */
INLINE void in_order(const __m256i *c, int split, __m256i *words) {
    const __m256i a = _mm256_permute4x64_epi64(_mm256_packus_epi32(c[0], c[1]), 0xd8);
    const __m256i b = _mm256_permute4x64_epi64(_mm256_packus_epi32(c[2], c[3]), 0xd8);
    const __m256i low = _mm256_unpacklo_epi16(a, b), high = _mm256_unpackhi_epi16(a, b);
    words[0] = split ? _mm256_permute2x128_si256(low, high, 0x20) : a;
    words[1] = split ? _mm256_permute2x128_si256(low, high, 0x31) : b;
}

INLINE void encode(const struct colour *k, const struct packer *packer, const float *m, const float *const half[2][3],
                   int from, int to, const int bits, uint8_t *out) {
    const struct packer copy = *packer, *p = &copy; /* which no store to pixels can change */
    const __m256 stretch = _mm256_set1_ps(k->stretch), shift = _mm256_set1_ps(k->shift);
    const __m256 limit = _mm256_set1_ps(k->highlights == CLIP ? 1 : INFINITY);
    const int split = p->split;
    __m256 by[9], table[7];
    for (int i = 0; i < 7; i++) table[i] = _mm256_loadu_ps(k->pieces + 8 * i);
    if (m)
        for (int i = 0; i < 9; i++) by[i] = _mm256_set1_ps(m[i] * k->stretch);
    for (int i = from; i < to; i += 32, out += 12 * bits) {
        __m256i c[3][4], words[3][2];
        for (int part = 0; part < 4; part++) {
            __m256 x[3];
            for (int j = 0; j < 3; j++) {
                x[j] = _mm256_loadu_ps(half[part / 2][j] + (split ? i / 2 : i) + part % 2 * 8);
                if (m) x[j] = _mm256_min_ps(limit, x[j]);
            }
            for (int j = 0; j < 3; j++) {
                __m256 u = _mm256_fmadd_ps(m ? by[3 * j] : stretch, m ? x[0] : x[j], shift);
                if (m) u = _mm256_fmadd_ps(by[3 * j + 2], x[2], _mm256_fmadd_ps(by[3 * j + 1], x[1], u));
                c[j][part] = codes(table, u, bits);
            }
        }
        for (int j = 0; j < 3; j++) in_order(c[j], split, words[j]);
        if (bits == 8) {
            __m256i bytes[3];
            for (int j = 0; j < 3; j++)
                bytes[j] = _mm256_permute4x64_epi64(_mm256_packus_epi16(words[j][0], words[j][1]), 0xd8);
            mix(p, bytes, out);
        } else {
            for (int v = 0; v < 2; v++) mix(p, (const __m256i[]){words[0][v], words[1][v], words[2][v]}, out + 96 * v);
        }
    }
}

#endif

#if defined(__AVX512BW__) || (defined(__AVX2__) && defined(__FMA__))

/* The codes of pixels from .. to, multiples of 32, of a row; with a matrix of those clipped and multiplied. */
static void encode_row(const struct colour *k, const struct packer *p, const float *m, const float *const half[2][3],
                       int from, int to, uint8_t *out) {
    if (k->bits == 8 && m) encode(k, p, m, half, from, to, 8, out);
    else if (k->bits == 8) encode(k, p, NULL, half, from, to, 8, out);
    else if (m) encode(k, p, m, half, from, to, 16, out);
    else encode(k, p, NULL, half, from, to, 16, out);
}

#else

struct packer { int split; };

static struct packer packer_of(int bits, int split) { return (struct packer){split}; }

INLINE uint32_t code(const struct colour *k, float x, float top) {
    x = clamp(x, 0, 1);
    return (uint32_t)(int32_t)(encoded(k, x) * top + 0.5f);
}

/* Codes of n pixels whose samples lie side by side: 8 bits each in narrow, or 16 in wide. */
INLINE void encode_half(const struct colour *k, const float *m, const float *r, const float *g, const float *b, int n,
                        uint32_t *restrict narrow, uint64_t *restrict wide) {
    const float limit = k->highlights == CLIP ? 1 : INFINITY;
    float by[9];
    if (m) memcpy(by, m, sizeof by);
    INDEPENDENT
    for (int i = 0; i < n; i++) {
        float x = r[i], y = g[i], z = b[i];
        if (m) {
            float red = x > limit ? limit : x, green = y > limit ? limit : y; /* NaN stays */
            float blue = z > limit ? limit : z;
            x = by[0] * red + by[1] * green + by[2] * blue;
            y = by[3] * red + by[4] * green + by[5] * blue;
            z = by[6] * red + by[7] * green + by[8] * blue;
        }
        if (narrow)
            narrow[i] = code(k, x, 255) | code(k, y, 255) << 8 | code(k, z, 255) << 16;
        else
            wide[i] = code(k, x, 65535) | (uint64_t)code(k, y, 65535) << 16 | (uint64_t)code(k, z, 65535) << 32;
    }
}

/* Three bytes of each of four numbers at a time, the last four apart: sixteen bytes are stored. */
static void pack_8(const uint32_t *pixels, int n, uint8_t *out) {
    int i = 0;
#if (defined(__SSSE3__) || defined(__ARM_NEON)) && (defined(__clang__) || __GNUC__ >= 12)
    typedef uint8_t bytes __attribute__((vector_size(16)));
    for (; i + 4 < n; i += 4) {
        bytes four;
        memcpy(&four, pixels + i, 16);
        four = __builtin_shufflevector(four, four, 0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14, 3, 7, 11, 15);
        memcpy(out + 3 * i, &four, 16);
    }
#endif
    for (; i + 2 < n; i += 2) { /* two pixels in a store of eight bytes */
        uint64_t two;
        memcpy(&two, pixels + i, 8);
        two = (two & 0xffffff) | (two >> 8 & 0xffffff000000);
        memcpy(out + 3 * i, &two, 8);
    }
    for (; i < n; i++)
        for (int c = 0; c < 3; c++) out[3 * i + c] = (uint8_t)(pixels[i] >> 8 * c);
}

static void encode_row(const struct colour *colour, const struct packer *p, const float *m,
                       const float *const half[2][3], int from, int to, uint8_t *out) {
    const struct colour copy = *colour, *k = &copy; /* which no store to pixels can change */
    uint32_t narrow[TILE], narrow_joined[TILE];
    uint64_t wide[TILE], wide_joined[TILE];
    int n = to - from, parts = p->split ? 2 : 1, each = n / parts;
    for (int i = 0; i < parts; i++) {
        const float *r = half[i][0] + from / parts, *g = half[i][1] + from / parts, *b = half[i][2] + from / parts;
        if (k->bits == 8 && m) encode_half(k, m, r, g, b, each, narrow + i * each, NULL);
        else if (k->bits == 8) encode_half(k, NULL, r, g, b, each, narrow + i * each, NULL);
        else if (m) encode_half(k, m, r, g, b, each, NULL, wide + i * each);
        else encode_half(k, NULL, r, g, b, each, NULL, wide + i * each);
    }
    if (k->bits == 8) {
        for (int i = 0; p->split && i < each; i++)
            narrow_joined[2 * i] = narrow[i], narrow_joined[2 * i + 1] = narrow[each + i];
        pack_8(p->split ? narrow_joined : narrow, n, out);
    } else if (n) {
        for (int i = 0; p->split && i < each; i++)
            wide_joined[2 * i] = wide[i], wide_joined[2 * i + 1] = wide[each + i];
        const uint64_t *pixels = p->split ? wide_joined : wide;
        for (int i = 0; i + 1 < n; i++) memcpy(out + 6 * i, pixels + i, 8);
        memcpy(out + 6 * (n - 1), pixels + (n - 1), 6);
    }
}
#endif

/* Pixels from .. to of a row of a tile, n long, at out, out + step ... */
static void write_row(const struct colour *k, const struct packer *p, const float *m, const float *const half[2][3],
                      int n, int from, int to, uint8_t *out, int64_t step) {
    int size = k->bits / 8 * 3, whole = step == size && from == 0 ? to / 32 * 32 : 0; /* of these, vectors in place */
    encode_row(k, p, m, half, 0, whole, out);
    if (whole == to) return;
    uint8_t rest[6 * TILE];
    encode_row(k, p, m, half, whole, n, rest);
    for (int i = whole > from ? whole : from; i < to; i++)
        memcpy(out + (i - from) * step, rest + (i - whole) * size, size);
}

/* ------------------------------------------------------------------ levels: from counts to the linear mosaic */

/* Positions reflected about the first and the last of n, as often as it takes: what lies beyond a border. */
static int reflected(int at, int n) {
    int period = 2 * n - 2, rest = ((at % period) + period) % period;
    return rest < n ? rest : period - rest;
}

/* The gains of row y at columns from .. to, multiplied into out. */
static void shade(const struct mosaic *m, int y, int from, int to, float *restrict out) {
    for (int i = 0; i < m->map_count; i++) {
        const struct gain_map *map = m->maps + i;
        if (y < map->top || y >= map->bottom || (y - map->top) % map->pitch) continue;
        int below = map->below[y];
        const float *upper = map->gains + (int64_t)below * m->width;
        const float *lower = below + 1 < map->points ? upper + m->width : upper;
        float share = map->share[y];
        INDEPENDENT
        for (int x = from; x < to; x++) out[x - from] *= upper[x] + share * (lower[x] - upper[x]);
    }
}

enum { AHEAD = 6 }; /* rows */

/* Rows of a tile are too short for the processor to see where the next one lies. */
INLINE void fetch(const void *begin, int64_t bytes) {
    for (int64_t i = 0; i < bytes; i += 64) __builtin_prefetch((const char *)begin + i);
}

static void level(const struct mosaic *m, int y, int from, int to, float *restrict out) {
    const float *black = m->black + (int64_t)(y % m->black_rows) * m->width;
    const float *scale = m->scale + (int64_t)(y & 1) * m->width;
    float of_row = m->black_of_row ? m->black_of_row[y] : 0;
    int64_t start = y * m->stride;
    if (m->floating) {
        const float *counts = (const float *)m->counts + start;
        INDEPENDENT
        for (int x = from; x < to; x++) out[x - from] = (counts[x] - (black[x] + of_row)) * scale[x];
    } else if (m->entries) {
        const uint16_t *counts = (const uint16_t *)m->counts + start;
        INDEPENDENT
        for (int x = from; x < to; x++) {
            int count = counts[x] < m->entries ? counts[x] : m->entries - 1;
            out[x - from] = (m->linear[count] - (black[x] + of_row)) * scale[x];
        }
    } else if (m->pairs) {
        const uint16_t *counts = (const uint16_t *)m->counts + start + from;
        const float scale0 = scale[from & 1], dark0 = (black[from & 1] + of_row) * scale0;
        const float scale1 = scale[~from & 1], dark1 = (black[~from & 1] + of_row) * scale1;
        int n = to - from;
        if (n > 1 && y + AHEAD < m->height) fetch(counts + AHEAD * m->stride, 2 * n);
        INDEPENDENT
        for (int i = 0; i < n / 2; i++) {
            out[2 * i] = (float)(int32_t)counts[2 * i] * scale0 - dark0;
            out[2 * i + 1] = (float)(int32_t)counts[2 * i + 1] * scale1 - dark1;
        }
        if (n & 1) out[n - 1] = (float)(int32_t)counts[n - 1] * scale0 - dark0;
    } else {
        const uint16_t *counts = (const uint16_t *)m->counts + start;
        INDEPENDENT
        for (int x = from; x < to; x++) out[x - from] = ((float)(int32_t)counts[x] - (black[x] + of_row)) * scale[x];
    }
    shade(m, y, from, to, out);
}

/* Row y of the white-balanced mosaic at columns x .. x + n, some of which may lie beyond the frame. */
static void load(const struct mosaic *m, int y, int x, int n, float *out) {
    y = reflected(y, m->height);
    int from = x < 0 ? 0 : x, to = x + n > m->width ? m->width : x + n;
    if (from < to) level(m, y, from, to, out + (from - x));
    for (int i = x; i < x + n; i++) {
        if (i == from && from < to) i = to;
        if (i >= x + n) break;
        int inside = reflected(i, m->width);
        level(m, y, inside, inside + 1, out + (i - x));
    }
}

/* A row's samples in even columns and in odd ones, and back. */
static void unpack(const float *restrict x, int n, float *restrict even, float *restrict odd) {
    for (int i = 0; i < n; i++) even[i] = x[2 * i], odd[i] = x[2 * i + 1];
}

static void repack(const float *restrict even, const float *restrict odd, int n, float *restrict x) {
    for (int i = 0; i < n; i++) x[2 * i] = even[i], x[2 * i + 1] = odd[i];
}

/* load, n pairs from an even column x on, even columns apart from odd ones. edge: the pair before them and that
behind. */
static void load_pairs(const struct mosaic *m, int y, int x, int n, float *restrict even, float *restrict odd,
                       float *restrict edge) {
    float line[STRIDE];
    if (!m->pairs || m->floating || m->entries || m->map_count) {
        load(m, y, x - 2, 2 * n + 4, line);
        unpack(line + 2, n, even, odd);
        memcpy(edge, line, 2 * sizeof(float));
        memcpy(edge + 2, line + 2 + 2 * n, 2 * sizeof(float));
        return;
    }
    int inside = x + 2 * n > m->width ? (m->width - x) / 2 : n;
    if (x < 2) load(m, y, x - 2, 2, edge);
    if (x + 2 * n + 2 > m->width) {
        load(m, y, x + 2 * inside, 2 * (n - inside) + 2, line);
        unpack(line, n - inside, even + inside, odd + inside);
        memcpy(edge + 2, line + 2 * (n - inside), 2 * sizeof(float));
    }
    y = reflected(y, m->height);
    const float *black = m->black + (int64_t)(y % m->black_rows) * m->width;
    const float *scale = m->scale + (int64_t)(y & 1) * m->width;
    const float of_row = m->black_of_row ? m->black_of_row[y] : 0;
    const float scale0 = scale[0], dark0 = (black[0] + of_row) * scale0;
    const float scale1 = scale[1], dark1 = (black[1] + of_row) * scale1;
    const uint16_t *counts = (const uint16_t *)m->counts + y * m->stride + x;
    if (y + AHEAD < m->height) fetch(counts + AHEAD * m->stride, 4 * inside);
    INDEPENDENT
    for (int i = 0; i < inside; i++) {
        uint32_t two; /* of which the lower half comes first in memory */
        memcpy(&two, counts + 2 * i, 4);
        even[i] = (float)(int32_t)(two & 0xffff) * scale0 - dark0;
        odd[i] = (float)(int32_t)(two >> 16) * scale1 - dark1;
    }
    for (int i = 0; i < 2; i++) {
        if (i ? x + 2 * n + 2 > m->width : x < 2) continue;
        const uint16_t *two = counts + (i ? 2 * n : -2);
        edge[2 * i] = (float)(int32_t)two[0] * scale0 - dark0;
        edge[2 * i + 1] = (float)(int32_t)two[1] * scale1 - dark1;
    }
}

/* What saturation is after the gain maps: their factor at the samples of each colour, averaged over 3 x 3 sites. */
static void limits(const struct mosaic *m, const float *gains, int y, int x, int n, float (*limit)[STRIDE]) {
    float total[3][STRIDE] = {{0}}, count[3][STRIDE] = {{0}}, line[STRIDE];
    for (int row = y - 1; row <= y + 1; row++) {
        if (row < 0 || row >= m->height) continue;
        int from = x > 0 ? x - 1 : 0, to = x + n < m->width ? x + n + 1 : m->width;
        INDEPENDENT
        for (int i = from; i < to; i++) line[i - from] = 1;
        shade(m, row, from, to, line);
        for (int i = from; i < to; i++) {
            int red_row = ((row + m->down) & 1) == 0, red_col = ((i + m->right) & 1) == 0;
            int channel = red_row != red_col ? 1 : red_row ? 0 : 2, at = i - x + 1; /* 0 is a column before the tile */
            total[channel][at] += line[i - from];
            count[channel][at] += 1;
        }
    }
    for (int c = 0; c < 3; c++)
        INDEPENDENT
        for (int i = 0; i < n; i++)
            limit[c][i] = gains[c] * (total[c][i] + total[c][i + 1] + total[c][i + 2]) /
                          (count[c][i] + count[c][i + 1] + count[c][i + 2]);
}

/* ------------------------------------------------------------------ demosaics: rows of a tile in, rows of RGB out */

struct tile {
    const struct mosaic *m;
    const struct colour *k;
    const struct picture *p;
    int x, n;   /* the first column (without margin), and how many */
    float root; /* of the toe */
    float limit[3][STRIDE], rgb[3][STRIDE] __attribute__((aligned(64)));
    float green[2][STRIDE]; /* 1 at green sites, for red and for blue rows */
    const float *half[2][3]; /* split rows: where the colours of even columns stand, and of odd ones */
    struct packer packer;
    float *lines;           /* what the method keeps, STRIDE numbers each, column x - MARGIN at GUARD */
};

/* Rings of 16, 8 and 4 lines, as many as are looked back at, by the number of their first line. */
enum { LINEAR = 0, CURVED = 16, UP = 32, LEFT = 48, DIFFERENCE = 64, BETTER = 72, SCALE = 80, DIFF_V = 88, GRAD_V = 96,
       VERTICAL = 104, HORIZONTAL = 112, GRAD_H = 120, DIFF_H = 124, LESS_RED = 128, LESS_BLUE = 132, LINES = 136 };
#define LAST(ring) ((ring) < DIFFERENCE ? 15 : (ring) < GRAD_H ? 7 : 3)
#define LINE(ring, row) (t->lines + ((ring) + ((row) & LAST(ring))) * STRIDE + GUARD)

/* The calling thread's tile of columns x .. x + n. Its memory is kept: fresh memory costs as much as the work on it. */
static __attribute__((noinline)) struct tile *own_tile(const struct mosaic *m, int x, int n) {
    static _Thread_local float lines[LINES * STRIDE] __attribute__((aligned(64)));
    static _Thread_local struct tile tile;
    struct tile *t = &tile;
    t->m = m, t->x = x, t->lines = lines;
    t->n = (n + 31) / 32 * 32; /* whole pairs of vectors; what is too much lies beyond the frame */
    t->root = cbrtf(m->toe);
    for (int i = 0; i < STRIDE; i++) /* GUARD, MARGIN and x are even */
        for (int blue_row = 0; blue_row < 2; blue_row++) t->green[blue_row][i] = ((i + m->right) & 1) != blue_row;
    return t;
}

static void read_row(struct tile *t, int row) {
    float *restrict linear = LINE(LINEAR, row), *restrict curved = LINE(CURVED, row);
    int n = t->n + 2 * MARGIN;
    load(t->m, row, t->x - MARGIN, n, linear);
    float toe = t->m->toe, root = t->root;
    INDEPENDENT
    for (int i = 0; i < n; i++) curved[i] = to_curve(linear[i], toe, root);
}

/* A row of the tile, from white-balanced camera RGB (which it overwrites) to the picture. */
static void finish_row(struct tile *t, int row) {
    const struct colour *k = t->k;
    const struct picture *p = t->p;
    float *r = t->rgb[0], *g = t->rgb[1], *b = t->rgb[2];
    int n = t->m->width - t->x < t->n ? t->m->width - t->x : t->n;
    if (k->highlights == RECONSTRUCT) {
        if (t->m->map_count) limits(t->m, k->gains, row, t->x, t->n, t->limit);
        int rows = (t->m->height + GRID - 1) / GRID;
        mend_highlights(k, p, rows, row, t->x, n, r, g, b, (const float (*)[STRIDE])t->limit);
    }
    if (row < p->top || row >= p->bottom) return;
    int from = t->x < p->left ? p->left - t->x : 0, to = t->x + n > p->right ? p->right - t->x : n;
    if (from >= to) return;
    int only_matrix = !k->hue_sat_map && k->exposure == 1 && !k->look && !k->tone && !k->two_matrices && !k->compress &&
                      !k->filmic;
    if (!t->packer.split)
        for (int c = 0; c < 3; c++) t->half[0][c] = t->rgb[c], t->half[1][c] = t->rgb[c] + 16;
    if (!only_matrix) {
        for (int odd = 0; odd < 2 && t->packer.split; odd++)
            for (int c = 0; c < 3; c++) {
                float *here = t->rgb[c] + odd * (t->n / 2);
                if (t->half[odd][c] != here) memcpy(here, t->half[odd][c], t->n / 2 * sizeof(float));
                t->half[odd][c] = here;
            }
        develop(k, r, g, b, t->n);
    }
    write_row(k, &t->packer, only_matrix ? k->first : NULL, (const float *const(*)[3])t->half, t->n, from, to,
              p->corner + (row - p->top) * p->row + (t->x + from - p->left) * p->column, p->column);
}

/* Rows split into even columns and odd ones, for demosaics that do the same in every second column: five are looked at
on the curve, one in linear light. Number 0 is the column x of the tile, or the one beside it. */
enum { HALF = WIDE / 2 + GUARD };
#define SPLIT_CURVED(row) (t->lines + ((row) & 7) * STRIDE + GUARD)
#define SPLIT_LINEAR(row) (t->lines + (8 + ((row) & 3)) * STRIDE + GUARD)

static void read_split(struct tile *t, int row) {
    float *restrict linear = SPLIT_LINEAR(row), *restrict curved = SPLIT_CURVED(row), edge[4];
    const float toe = t->m->toe, root = t->root;
    int n = t->n / 2;
    load_pairs(t->m, row, t->x, n, linear, linear + HALF, edge);
    for (int odd = 0; odd < 2; odd++)
        INDEPENDENT
        for (int i = 0; i < n; i++) curved[odd * HALF + i] = to_curve(linear[odd * HALF + i], toe, root);
    for (int i = 0; i < 4; i++) edge[i] = to_curve(edge[i], toe, root);
    for (int odd = 0; odd < 2; odd++) curved[odd * HALF - 1] = edge[odd], curved[odd * HALF + n] = edge[2 + odd];
}

/* The means of the nearest, and isp/stages/demosaic/malvar2004.py, at the sites of every second column. At a site that
measures red or blue: green and the other one; at green: the colour of its own row and the other one. x: the row; above1:
the sum of those above and below; a2, b2: those two above and two below. Both estimates are `scale` times too large, so
that most weights are 1, until they leave the curve. */
INLINE void estimate(const int method, const int at_green, const int odd, const float *restrict x,
                     const float *restrict above1, const float *restrict a2, const float *restrict b2, float root, int n,
                     float *restrict first, float *restrict second) {
    const int here = odd ? HALF : 0, left = odd ? 0 : HALF - 1;
    const float scale = method == MALVAR2004 && at_green ? 8 : 4;
    const float cubic = 1 / (scale * scale * scale), square = 3 * root / (scale * scale), line = 3 * root * root / scale;
    INDEPENDENT
    for (int i = 0; i < n; i++) {
        float c = x[i + here], beside = x[i + left] + x[i + left + 1], above = above1[i + here], own, other;
        float corners = above1[i + left] + above1[i + left + 1];
        float beside2 = x[i + here - 1] + x[i + here + 1], above2 = a2[i + here] + b2[i + here];
        if (method == BILINEAR) {
            own = at_green ? 2 * beside : beside + above;
            other = at_green ? 2 * above : corners;
        } else if (at_green) {
            float from_green = 5 * c - corners; /* what the two estimates share */
            own = from_green + 4 * beside - beside2 + 0.5f * above2;
            other = from_green + 4 * above - above2 + 0.5f * beside2;
        } else {
            own = 2 * c + (beside + above) - 0.5f * (beside2 + above2);
            other = 3 * c + corners - 0.75f * (beside2 + above2);
        }
        float v = fabsf(own), w = fabsf(other); /* from_curve */
        first[i] = own * (v * (v * cubic + square) + line);
        second[i] = other * (w * (w * cubic + square) + line);
    }
}

/* A row of the tile, split. */
static void interpolate(struct tile *t, int row) {
    const float *x = SPLIT_CURVED(row), *a1 = SPLIT_CURVED(row - 1) - GUARD, *b1 = SPLIT_CURVED(row + 1) - GUARD;
    const float *a2 = SPLIT_CURVED(row - 2), *b2 = SPLIT_CURVED(row + 2);
    float sums[STRIDE] __attribute__((aligned(64)));
    INDEPENDENT
    for (int i = 0; i < STRIDE; i++) sums[i] = a1[i] + b1[i];
    int blue_row = (row + t->m->down) & 1, own = blue_row ? 2 : 0, n = t->n / 2;
    for (int odd = 0; odd < 2; odd++) {
        int at_green = ((odd + t->m->right) & 1) != blue_row, first = at_green ? own : 1;
        float *to_first = t->rgb[first] + odd * n, *to_second = t->rgb[2 - own] + odd * n;
        t->half[odd][first] = to_first;
        t->half[odd][2 - own] = to_second;
        t->half[odd][at_green ? 1 : own] = SPLIT_LINEAR(row) + odd * HALF;
#define ESTIMATE(method, at_green, odd) \
    estimate(method, at_green, odd, x, sums + GUARD, a2, b2, t->root, n, to_first, to_second)
#define BOTH(method) \
    if (at_green && odd) ESTIMATE(method, 1, 1); \
    else if (at_green) ESTIMATE(method, 1, 0); \
    else if (odd) ESTIMATE(method, 0, 1); \
    else ESTIMATE(method, 0, 0)
        if (t->m->method == BILINEAR) {
            BOTH(BILINEAR);
        } else {
            BOTH(MALVAR2004);
        }
#undef BOTH
#undef ESTIMATE
    }
}

/* Rows of RGB as they lie, from split ones. */
static void join_halves(struct tile *t) {
    for (int c = 0; c < 3; c++) {
        float joined[TILE];
        repack(t->half[0][c], t->half[1][c], t->n / 2, joined);
        memcpy(t->rgb[c], joined, t->n * sizeof(float));
    }
}

/* isp/stages/demosaic/msg.py, one step for each plane that it names; how far each lags behind the row just read is what
it looks down. */
static void differences_and_gradients(struct tile *t, int row) {
    const float *restrict x[9];
    for (int i = 0; i < 9; i++) x[i] = LINE(CURVED, row + i - 4);
    float *restrict diff_h = LINE(DIFF_H, row), *restrict diff_v = LINE(DIFF_V, row);
    float *restrict grad_h = LINE(GRAD_H, row), *restrict grad_v = LINE(GRAD_V, row), raw[STRIDE];
    const float *restrict green = t->green[(row + t->m->down) & 1] + GUARD;
    const float *restrict c = x[4];
    int n = t->n + 2 * MARGIN;
    INDEPENDENT
    for (int i = 0; i < n; i++) {
        float sign = 1 - 2 * green[i];
        diff_h[i] = (0.5f * (c[i - 1] + c[i + 1]) - 0.5f * c[i] - 0.25f * (c[i - 2] + c[i + 2])) * sign;
        diff_v[i] = (0.5f * (x[3][i] + x[5][i]) - 0.5f * c[i] - 0.25f * (x[2][i] + x[6][i])) * sign;
        grad_h[i] = fabsf(0.5f * (c[i + 1] - c[i - 1]) - 0.25f * (c[i + 2] - c[i - 2]) + 0.125f * (c[i + 3] - c[i - 3]) -
                          0.0625f * (c[i + 4] - c[i - 4]));
        raw[i + 1] = fabsf(0.5f * (x[5][i] - x[3][i]) - 0.25f * (x[6][i] - x[2][i]) + 0.125f * (x[7][i] - x[1][i]) -
                           0.0625f * (x[8][i] - x[0][i]));
    }
    raw[0] = raw[n + 1] = 0;
    INDEPENDENT
    for (int i = 0; i < n; i++) grad_v[i] = raw[i] + raw[i + 1] + raw[i + 2];
}

static void sides(struct tile *t, int row) {
    const float *restrict h0 = LINE(GRAD_H, row - 1), *restrict h1 = LINE(GRAD_H, row), *restrict h2 = LINE(GRAD_H, row + 1);
    const float *restrict v0 = LINE(GRAD_V, row - 3), *restrict v1 = LINE(GRAD_V, row - 2);
    const float *restrict v2 = LINE(GRAD_V, row - 1), *restrict v3 = LINE(GRAD_V, row);
    const float *restrict d0 = LINE(DIFF_V, row - 3), *restrict d1 = LINE(DIFF_V, row - 2);
    const float *restrict d2 = LINE(DIFF_V, row - 1), *restrict d3 = LINE(DIFF_V, row), *restrict dh = LINE(DIFF_H, row);
    float *restrict up = LINE(UP, row), *restrict left = LINE(LEFT, row);
    float *restrict vertical = LINE(VERTICAL, row), *restrict horizontal = LINE(HORIZONTAL, row), grad[STRIDE];
    const float floor = 0.04f;
    int n = t->n + 2 * MARGIN;
    INDEPENDENT
    for (int i = 0; i < n; i++) grad[i + 3] = h0[i] + h1[i] + h2[i];
    grad[0] = grad[1] = grad[2] = 0;
    INDEPENDENT
    for (int i = 0; i < n; i++) {
        float v = v0[i] + v1[i] + v2[i] + v3[i] + floor, h = grad[i] + grad[i + 1] + grad[i + 2] + grad[i + 3] + floor;
        up[i] = 1 / (v * v);
        left[i] = 1 / (h * h);
        vertical[i] = up[i] * (d0[i] + d1[i] + d2[i] + d3[i]);
        horizontal[i] = left[i] * (dh[i - 3] + dh[i - 2] + dh[i - 1] + dh[i]);
    }
}

static void first_difference(struct tile *t, int row) {
    const float *restrict up = LINE(UP, row), *restrict down = LINE(UP, row + 3), *restrict left = LINE(LEFT, row);
    const float *restrict above = LINE(VERTICAL, row), *restrict below = LINE(VERTICAL, row + 3);
    const float *restrict beside = LINE(HORIZONTAL, row);
    float *restrict scale = LINE(SCALE, row), *restrict difference = LINE(DIFFERENCE, row);
    int n = t->n + 2 * MARGIN;
    INDEPENDENT
    for (int i = 0; i < n; i++) {
        scale[i] = 1 / (up[i] + down[i] + left[i] + left[i + 3]);
        difference[i] = (above[i] + below[i] + beside[i] + beside[i + 3]) * scale[i] * 0.25f;
    }
}

/* The weights of what lies above, below, to the left and to the right of site i are up[i], down[i], left[i] and
left[i + 3], times scale[i]. */
static void better_difference(struct tile *t, int row) {
    const float *restrict d = LINE(DIFFERENCE, row), *restrict above = LINE(DIFFERENCE, row - 2);
    const float *restrict below = LINE(DIFFERENCE, row + 2), *restrict green = t->green[(row + t->m->down) & 1] + GUARD;
    const float *restrict up = LINE(UP, row), *restrict down = LINE(UP, row + 3), *restrict left = LINE(LEFT, row);
    const float *restrict scale = LINE(SCALE, row);
    float *restrict better = LINE(BETTER, row);
    const float update = 0.7f;
    int n = t->n + 2 * MARGIN;
    INDEPENDENT
    for (int i = 0; i < n; i++) {
        float around = up[i] * above[i] + down[i] * below[i] + left[i] * d[i - 2] + left[i + 3] * d[i + 2];
        better[i] = (d[i] + update * (around * scale[i] - d[i])) * (1 - green[i]);
    }
}

static void corners(struct tile *t, int row) {
    const float *restrict d = LINE(BETTER, row), *restrict a1 = LINE(BETTER, row - 1), *restrict b1 = LINE(BETTER, row + 1);
    const float *restrict a3 = LINE(BETTER, row - 3), *restrict b3 = LINE(BETTER, row + 3);
    int blue_row = (row + t->m->down) & 1;
    float *restrict own = LINE(blue_row ? LESS_BLUE : LESS_RED, row);
    float *restrict other = LINE(blue_row ? LESS_RED : LESS_BLUE, row);
    float sum1[STRIDE] __attribute__((aligned(64))), sum3[STRIDE] __attribute__((aligned(64)));
    int n = t->n + 2 * MARGIN;
    INDEPENDENT
    for (int i = -GUARD; i < n + GUARD; i++) sum1[i + GUARD] = a1[i] + b1[i], sum3[i + GUARD] = a3[i] + b3[i];
    INDEPENDENT
    for (int i = 0; i < n; i++) {
        const float *near = sum1 + GUARD + i, *far = sum3 + GUARD + i;
        own[i] = d[i];
        other[i] = (10 * (near[-1] + near[1]) - (near[-3] + near[3] + far[-1] + far[1])) * (1.0f / 32);
    }
}

static void join(struct tile *t, int row) {
    const float *restrict linear = LINE(LINEAR, row) + MARGIN, *restrict x = LINE(CURVED, row) + MARGIN;
    const float *restrict d = LINE(BETTER, row) + MARGIN;
    const float *restrict red = LINE(LESS_RED, row) + MARGIN, *restrict red_above = LINE(LESS_RED, row - 1) + MARGIN;
    const float *restrict red_below = LINE(LESS_RED, row + 1) + MARGIN, *restrict blue = LINE(LESS_BLUE, row) + MARGIN;
    const float *restrict blue_above = LINE(LESS_BLUE, row - 1) + MARGIN;
    const float *restrict blue_below = LINE(LESS_BLUE, row + 1) + MARGIN;
    const float *restrict up = LINE(UP, row) + MARGIN, *restrict down = LINE(UP, row + 3) + MARGIN;
    const float *restrict left = LINE(LEFT, row) + MARGIN, *restrict scale = LINE(SCALE, row) + MARGIN;
    int blue_row = (row + t->m->down) & 1;
    const float *restrict green = t->green[blue_row] + GUARD + MARGIN;
    float *restrict r = t->rgb[0], *restrict g = t->rgb[1], *restrict b = t->rgb[2], *own = t->rgb[blue_row ? 2 : 0];
    float root = t->root;
    INDEPENDENT
    for (int i = 0; i < t->n; i++) {
        float less_red = up[i] * red_above[i] + down[i] * red_below[i];
        less_red += left[i] * red[i - 1] + left[i + 3] * red[i + 1];
        float less_blue = up[i] * blue_above[i] + down[i] * blue_below[i];
        less_blue += left[i] * blue[i - 1] + left[i + 3] * blue[i + 1];
        less_red = green[i] > 0 ? less_red * scale[i] : red[i];
        less_blue = green[i] > 0 ? less_blue * scale[i] : blue[i];
        float middle = x[i] + d[i], measured = from_curve(middle, root);
        g[i] = green[i] > 0 ? linear[i] : measured;
        r[i] = from_curve(middle - less_red, root);
        b[i] = from_curve(middle - less_blue, root);
    }
    INDEPENDENT
    for (int i = 0; i < t->n; i++) own[i] = green[i] > 0 ? own[i] : linear[i];
}

/* Rows top .. bottom of the columns x .. x + n of the active area (both counted in multiples of 4 from its corner, but
for the ends of the frame), from counts to codes. */
static void render_tile(const struct mosaic *m, const struct colour *k, const struct picture *p, int top, int bottom, int x,
                       int n) {
    struct tile *t = own_tile(m, x, n);
    t->k = k, t->p = p, t->packer = packer_of(k->bits, m->method != MSG && k->highlights != RECONSTRUCT);
    for (int c = 0; c < 3; c++)
        for (int i = 0; i < STRIDE; i++) t->limit[c][i] = k->gains[c];
    if (m->method == MSG) {
        for (int row = top - 14; row < bottom + 14; row += 2) { /* two at a time: both look at nearly the same rows */
            for (int y = row; y < row + 2; y++) read_row(t, y);
            for (int y = row - 4; y < row - 2; y++) differences_and_gradients(t, y);
            for (int y = row - 5; y < row - 3; y++) sides(t, y);
            for (int y = row - 8; y < row - 6; y++) first_difference(t, y);
            for (int y = row - 10; y < row - 8; y++) better_difference(t, y);
            for (int y = row - 13; y < row - 11; y++) corners(t, y);
            for (int y = row - 14; y < row - 12; y++) {
                if (y < top || y >= bottom) continue;
                join(t, y);
                finish_row(t, y);
            }
        }
    } else {
        for (int row = top - 2; row < bottom + 2; row++) {
            read_split(t, row);
            if (row - 2 >= top) {
                interpolate(t, row - 2);
                if (!t->packer.split) join_halves(t);
                finish_row(t, row - 2);
            }
        }
    }
}

int isp_render(const struct mosaic *m, const struct colour *k, const struct picture *p, int32_t top, int32_t bottom,
               int32_t left, int32_t right) {
    for (int x = left; x < right; x += TILE)
        render_tile(m, k, p, top, bottom, x, right - x < TILE ? right - x : TILE);
    return 0;
}

INLINE float *row_of_band(const struct band *b, const struct mosaic *m, int channel, int row) {
    return b->planes + channel * b->plane + (int64_t)(row - b->first) * m->width;
}

/* The same from white-balanced camera RGB. m: size, phase and gain maps of the active area. */
int isp_display(const struct band *rgb, const struct mosaic *m, const struct colour *k, const struct picture *p,
                int32_t top, int32_t bottom, int32_t left, int32_t right) {
    struct tile tile = {0}, *t = &tile;
    t->m = m, t->k = k, t->p = p, t->packer = packer_of(k->bits, 0);
    for (int c = 0; c < 3; c++)
        for (int i = 0; i < STRIDE; i++) t->limit[c][i] = k->gains[c];
    for (t->x = left; t->x < right; t->x += TILE) {
        int n = right - t->x < TILE ? right - t->x : TILE;
        t->n = (n + 31) / 32 * 32;
        for (int y = top; y < bottom; y++) {
            for (int c = 0; c < 3; c++)
                memcpy(t->rgb[c], row_of_band(rgb, m, c, y) + t->x, n * sizeof(float));
            finish_row(t, y);
        }
    }
    return 0;
}

#include "network.c"
