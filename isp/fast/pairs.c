/* What making pairs spends its time on: normal numbers, unprocessing 8-bit pictures, the sensor, blur.
 *
 * Without contraction to fused multiply-adds: every operation is rounded as IEEE 754 says, so that isp.noise.normal and
 * the stages in PyTorch, which do the same operations, give the same bits. */
#ifdef __clang__
#pragma clang fp contract(off)
#else
#pragma GCC optimize("fp-contract=off")
#endif
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define BLOCK 256 /* normal numbers at once: their temporaries stay in the nearest cache */
#define LANES 8
typedef float vector __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

static inline float as_float(int32_t bits) { float x; memcpy(&x, &bits, 4); return x; }
static inline int32_t as_int(float x) { int32_t bits; memcpy(&bits, &x, 4); return bits; }
static inline float largest(float a, float b) { return a > b ? a : b; }
static inline float smallest(float a, float b) { return a < b ? a : b; }
/* The line that stands for line i of `size`, which go on as in a mirror. */
static inline ptrdiff_t mirrored(ptrdiff_t i, ptrdiff_t size) { return i < 0 ? -i : i >= size ? 2 * size - 2 - i : i; }

/* Standard normal numbers in pairs, from 31 bits, and from 30 and two signs: Box and Muller, see isp/noise/normal.py for
 * the constants. */
static void box_muller(const int32_t *restrict low, const int32_t *restrict high, ptrdiff_t count, float *restrict first,
                       float *restrict second)
{
    for (ptrdiff_t i = 0; i < count; i++) {
        float u = (float)low[i] * 0x1p-31f + 0x1p-32f;
        int32_t bits = as_int(u), e = (bits - 0x3f3504f3) >> 23;
        float t = as_float(bits - (e << 23)) - 1.0f, p = -0.10253116488456726f;
        p = p * t + 0.16135278344154358f;
        p = p * t + -0.17156744003295898f;
        p = p * t + 0.1991083323955536f;
        p = p * t + -0.24981249868869781f;
        p = p * t + 0.3333466649055481f;
        float square = t * t, ln = p * (square * t) + (t - 0.5f * square) + (float)e * 0.6931471824645996f;
        float r = __builtin_sqrtf(largest(-2.0f * ln, 0.0f));
        float f = (float)(high[i] & 0x3fffffff) * 0x1p-30f, v = f * f;
        float s = 0.00015167852689046413f, c = -2.3824917661841027e-05f;
        s = s * v + -0.004674157593399286f;
        s = s * v + 0.07968992739915848f;
        s = s * v + -0.6459637880325317f;
        s = s * v + 1.5707963705062866f;
        c = c * v + 0.0009177248575724661f;
        c = c * v + -0.02086268924176693f;
        c = c * v + 0.2536693215370178f;
        c = c * v + -1.2337005138397217f;
        c = c * v + 1.0f;
        first[i] = as_float(as_int(r * c) ^ (high[i] & (int32_t)0x80000000));
        second[i] = as_float(as_int(r * (f * s)) ^ (int32_t)((uint32_t)high[i] << 1 & 0x80000000u));
    }
}

/* The next count <= BLOCK pairs of normal numbers of SFC64 (C. Doty-Humphrey), as NumPy has it, with this state. */
static void draw(uint64_t *restrict state, ptrdiff_t count, float *restrict first, float *restrict second)
{
    int32_t low[BLOCK], high[BLOCK];
    uint64_t a = state[0], b = state[1], c = state[2], counter = state[3];
    for (ptrdiff_t i = 0; i < count; i++) {
        uint64_t raw = a + b + counter++;
        a = b ^ b >> 11;
        b = c + (c << 3);
        c = (c << 24 | c >> 40) + raw;
        low[i] = (int32_t)((uint32_t)raw >> 1), high[i] = (int32_t)(raw >> 32);
    }
    state[0] = a, state[1] = b, state[2] = c, state[3] = counter;
    box_muller(low, high, count, first, second);
}

/* count pairs of standard normal numbers, the first of each in z[i], the second in z[count + i], from count raw numbers
 * of 64 random bits. */
void isp_normals(const uint64_t *restrict raw, ptrdiff_t count, float *restrict z)
{
    int32_t low[BLOCK], high[BLOCK];
    for (ptrdiff_t at = 0; at < count; at += BLOCK) {
        ptrdiff_t size = count - at < BLOCK ? count - at : BLOCK;
        for (ptrdiff_t i = 0; i < size; i++)
            low[i] = (int32_t)((uint32_t)raw[at + i] >> 1), high[i] = (int32_t)(raw[at + i] >> 32);
        box_muller(low, high, size, z + at, z + count + at);
    }
}

/* Sensor-linear camera RGB, 3 height width, of a picture of 8 bits, 3 height width with these strides in bytes.
 * table: 256, the display-linear value of each byte. numbers: matrix 3x3 to balanced camera RGB; lift - 1 of each
 * channel; what undoes white balance and exposure, of each channel; 1 / (3 white); the grey from which whites saturate,
 * 1 / its distance from white. */
void isp_unprocess(const uint8_t *picture, const ptrdiff_t *strides, ptrdiff_t height, ptrdiff_t width,
                   const float *restrict table, const float *restrict numbers, float *restrict out)
{
    const float *m = numbers, *lift = numbers + 9, *back = numbers + 12;
    const float third = numbers[15], near = numbers[16], over = numbers[17];
    const ptrdiff_t plane = height * width;
    float light[3][BLOCK];
    for (ptrdiff_t at = 0; at < plane;) {
        const ptrdiff_t y = at / width, x = at % width, size = width - x < BLOCK ? width - x : BLOCK;
        const uint8_t *from = picture + y * strides[1] + x * strides[2];
        float *restrict r = out + at, *restrict g = r + plane, *restrict b = g + plane;
        for (ptrdiff_t i = 0; i < size; i++)
            for (int channel = 0; channel < 3; channel++)
                light[channel][i] = table[from[channel * strides[0] + i * strides[2]]];
        for (ptrdiff_t i = 0; i < size; i++) {
            float u = light[0][i], v = light[1][i], w = light[2][i];
            float p = m[0] * u + m[1] * v + m[2] * w;
            float q = m[3] * u + m[4] * v + m[5] * w;
            float s = m[6] * u + m[7] * v + m[8] * w;
            float share = smallest(largest((p + q + s) * third - near, 0.0f) * over, 1.0f);
            share *= share;
            r[i] = p * largest(1.0f + share * lift[0], 1.0f) * back[0];
            g[i] = q * largest(1.0f + share * lift[1], 1.0f) * back[1];
            b[i] = s * largest(1.0f + share * lift[2], 1.0f) * back[2];
        }
        at += size;
    }
}

/* Light with noise of variance shot x + read. */
static inline float noisy(float light, float shot, float read, float z)
{
    return light + __builtin_sqrtf(shot * largest(light, 0.0f) + read) * z;
}

/* A mosaic height width, of even sizes, with noise of variance shot x + read; with scale > 0 what a sensor's counts say of
 * it, linear again: light / gain, noise, clipped and rounded, times gain. x: a mosaic, or, with 3 planes, RGB, of which it
 * sees RGGB. shot, read: 4, of the sites of each 2x2 block in reading order. Normal numbers in the order of isp_normals:
 * the lower half of the frame gets the second ones. */
void isp_expose(const float *restrict x, ptrdiff_t planes, ptrdiff_t height, ptrdiff_t width, uint64_t *restrict state,
                const float *restrict shot, const float *restrict read, float gain, float scale, float black,
                float *restrict out)
{
    const ptrdiff_t plane = planes == 3 ? height * width : 0;
    float light[BLOCK], z[2][BLOCK], s[2][BLOCK], o[2][BLOCK]; /* shot and read of a row's sites, even and odd rows */
    for (int site = 0; site < 4; site++)
        for (ptrdiff_t i = site & 1; i < BLOCK; i += 2) s[site / 2][i] = shot[site], o[site / 2][i] = read[site];
    for (ptrdiff_t row = 0; row < height / 2; row++)
        for (ptrdiff_t at = 0; at < width; at += BLOCK) {
            ptrdiff_t size = width - at < BLOCK ? width - at : BLOCK;
            draw(state, size, z[0], z[1]);
            for (int half = 0; half < 2; half++) {
                const ptrdiff_t y = row + half * height / 2, site = y & 1, place = y * width + at;
                const float *even = x + site * plane + place, *odd = even + plane;
                float *restrict to = out + place;
                for (ptrdiff_t i = 0; i < size; i += 2) light[i] = even[i], light[i + 1] = odd[i + 1];
                if (scale > 0)
                    for (ptrdiff_t i = 0; i < size; i++) {
                        float dn = noisy(light[i] / gain, s[site][i], o[site][i], z[half][i]) * scale;
                        to[i] = __builtin_rintf(smallest(largest(dn, -black), scale)) / scale * gain;
                    }
                else
                    for (ptrdiff_t i = 0; i < size; i++) to[i] = noisy(light[i], s[site][i], o[site][i], z[half][i]);
            }
        }
}

/* The packed planes, 4 height/2 width/2, of a mosaic in the whole counts that its file holds, linear again. */
void isp_pack(const float *restrict x, ptrdiff_t height, ptrdiff_t width, float scale, float black, float *restrict out)
{
    const ptrdiff_t half = width / 2, plane = height / 2 * half;
    for (ptrdiff_t row = 0; row < height; row++) {
        const float *from = x + row * width;
        float *restrict even = out + (row & 1) * 2 * plane + row / 2 * half, *restrict odd = even + plane;
        for (ptrdiff_t i = 0; i < half; i++) {
            even[i] = __builtin_rintf(smallest(largest(from[2 * i] * scale, -black), scale)) / scale;
            odd[i] = __builtin_rintf(smallest(largest(from[2 * i + 1] * scale, -black), scale)) / scale;
        }
    }
}

/* The counts that linear numbers stand for. */
void isp_counts(const float *restrict x, ptrdiff_t size, float scale, float black, uint16_t *restrict out)
{
    for (ptrdiff_t i = 0; i < size; i++) out[i] = (uint16_t)(int32_t)__builtin_rintf(x[i] * scale + black);
}

/* Sums of `count` rows times a weight each, added to what is in `to` if `more`: `width` numbers. */
static void weigh(const float *const *from, const float *weights, ptrdiff_t count, ptrdiff_t width, int more, float *to)
{
    ptrdiff_t x = 0;
    for (; x + 4 * LANES <= width; x += 4 * LANES) {
        vector a = {0}, b = {0}, c = {0}, d = {0}, *sum = (vector *)(to + x);
        if (more) a = sum[0], b = sum[1], c = sum[2], d = sum[3];
        for (ptrdiff_t i = 0; i < count; i++) {
            const vector *part = (const vector *)(from[i] + x);
            a += weights[i] * part[0], b += weights[i] * part[1], c += weights[i] * part[2], d += weights[i] * part[3];
        }
        sum[0] = a, sum[1] = b, sum[2] = c, sum[3] = d;
    }
    for (; x < width; x++) {
        float sum = more ? to[x] : 0.0f;
        for (ptrdiff_t i = 0; i < count; i++) sum += weights[i] * from[i][x];
        to[x] = sum;
    }
}

/* Planes height width convolved with a column and then with a kernel rows across (odd sizes, turned already: the first
 * weight meets the first of a window), continued by mirror images. buffer: width + across numbers. */
void isp_blur(const float *restrict x, ptrdiff_t planes, ptrdiff_t height, ptrdiff_t width, const float *restrict column,
              ptrdiff_t down, const float *restrict kernel, ptrdiff_t rows, ptrdiff_t across, float *restrict buffer,
              float *restrict out)
{
    const ptrdiff_t side = across / 2;
    const float *above[down], *beside[across];
    float *middle = buffer + side;
    for (ptrdiff_t j = 0; j < across; j++) beside[j] = buffer + j;
    for (ptrdiff_t row = 0; row < planes * height; row++) {
        const float *frame = x + row / height * height * width;
        for (ptrdiff_t i = 0; i < rows; i++) {
            ptrdiff_t y = mirrored(row % height + i - rows / 2, height);
            for (ptrdiff_t k = 0; k < down; k++) above[k] = frame + mirrored(y + k - down / 2, height) * width;
            weigh(above, column, down, width, 0, middle);
            for (ptrdiff_t j = 1; j <= side; j++) {
                middle[-j] = middle[j];
                middle[width - 1 + j] = middle[width - 1 - j];
            }
            weigh(beside, kernel + i * across, across, width, i > 0, out + row * width);
        }
    }
}
