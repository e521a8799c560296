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

static inline float as_float(int32_t bits) { float x; memcpy(&x, &bits, 4); return x; }
static inline int32_t as_int(float x) { int32_t bits; memcpy(&bits, &x, 4); return bits; }
static inline float largest(float a, float b) { return a > b ? a : b; }
static inline float smallest(float a, float b) { return a < b ? a : b; }

/* count pairs of standard normal numbers, the first of each in z[i], the second in z[count + i], from count raw numbers
 * of 64 random bits: Box and Muller, see isp/noise/normal.py for the constants. */
void isp_normals(const uint64_t *restrict raw, ptrdiff_t count, float *restrict z)
{
    for (ptrdiff_t i = 0; i < count; i++) {
        int32_t low = (int32_t)((uint32_t)raw[i] >> 1), high = (int32_t)(raw[i] >> 32);
        float u = (float)low * 0x1p-31f + 0x1p-32f;
        int32_t bits = as_int(u), e = (bits - 0x3f3504f3) >> 23;
        float t = as_float(bits - (e << 23)) - 1.0f, p = -0.10253116488456726f;
        p = p * t + 0.16135278344154358f;
        p = p * t + -0.17156744003295898f;
        p = p * t + 0.1991083323955536f;
        p = p * t + -0.24981249868869781f;
        p = p * t + 0.3333466649055481f;
        float square = t * t, ln = p * (square * t) + (t - 0.5f * square) + (float)e * 0.6931471824645996f;
        float r = __builtin_sqrtf(largest(-2.0f * ln, 0.0f));
        float f = (float)(high & 0x3fffffff) * 0x1p-30f, v = f * f;
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
        z[i] = as_float(as_int(r * c) ^ (high & (int32_t)0x80000000));
        z[count + i] = as_float(as_int(r * (f * s)) ^ (int32_t)((uint32_t)high << 1 & 0x80000000u));
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
    for (ptrdiff_t y = 0; y < height; y++) {
        float *restrict r = out + y * width, *restrict g = r + plane, *restrict b = g + plane;
        for (int channel = 0; channel < 3; channel++) {
            const uint8_t *from = picture + channel * strides[0] + y * strides[1];
            float *to = r + channel * plane;
            if (strides[2] == 1)
                for (ptrdiff_t x = 0; x < width; x++) to[x] = table[from[x]];
            else
                for (ptrdiff_t x = 0; x < width; x++) to[x] = table[from[x * strides[2]]];
        }
        for (ptrdiff_t x = 0; x < width; x++) {
            float u = r[x], v = g[x], w = b[x];
            float p = m[0] * u + m[1] * v + m[2] * w;
            float q = m[3] * u + m[4] * v + m[5] * w;
            float s = m[6] * u + m[7] * v + m[8] * w;
            float share = smallest(largest((p + q + s) * third - near, 0.0f) * over, 1.0f);
            share *= share;
            r[x] = p * largest(1.0f + share * lift[0], 1.0f) * back[0];
            g[x] = q * largest(1.0f + share * lift[1], 1.0f) * back[1];
            b[x] = s * largest(1.0f + share * lift[2], 1.0f) * back[2];
        }
    }
}

/* A sensor's whole counts of a mosaic, linear again: x / gain, noise of variance shot x + read, clipped and rounded, times
 * gain. shot, read: 4, of the sites of each 2x2 block in reading order. z: standard normal numbers. */
void isp_expose(const float *restrict x, const float *restrict z, ptrdiff_t height, ptrdiff_t width,
                const float *restrict shot, const float *restrict read, float gain, float scale, float black,
                float *restrict out)
{
    for (ptrdiff_t row = 0; row < height; row++) {
        const float *s = shot + 2 * (row & 1), *o = read + 2 * (row & 1);
        const float *from = x + row * width, *noise = z + row * width;
        float *to = out + row * width;
        for (ptrdiff_t i = 0; i < width; i++) {
            float light = from[i] / gain;
            float variance = s[i & 1] * largest(light, 0.0f) + o[i & 1];
            float noisy = light + __builtin_sqrtf(variance) * noise[i];
            float counts = smallest(largest(noisy * scale, -black), scale);
            to[i] = __builtin_rintf(counts) / scale * gain;
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

/* Planes height width convolved with a kernel down across (odd sizes, not turned: the kernel's last row meets the first
 * row of a window), continued by mirror images. buffer: width + across numbers. */
void isp_blur(const float *restrict x, ptrdiff_t planes, ptrdiff_t height, ptrdiff_t width, const float *restrict kernel,
              ptrdiff_t down, ptrdiff_t across, float *restrict buffer, float *restrict out)
{
    const ptrdiff_t over = down / 2, side = across / 2;
    for (ptrdiff_t row = 0; row < planes * height; row++) {
        const float *frame = x + row / height * height * width;
        float *restrict to = out + row * width;
        memset(to, 0, (size_t)width * sizeof(float));
        for (ptrdiff_t i = 0; i < down; i++) {
            ptrdiff_t y = row % height + i - over;
            y = y < 0 ? -y : y >= height ? 2 * height - 2 - y : y;
            const float *from = frame + y * width;
            if (side) {
                for (ptrdiff_t j = 1; j <= side; j++) {
                    buffer[side - j] = from[j];
                    buffer[side + width - 1 + j] = from[width - 1 - j];
                }
                memcpy(buffer + side, from, (size_t)width * sizeof(float));
                from = buffer;
            }
            for (ptrdiff_t j = 0; j < across; j++) {
                const float weight = kernel[(down - 1 - i) * across + across - 1 - j];
                const float *shifted = from + j;
                for (ptrdiff_t k = 0; k < width; k++) to[k] += weight * shifted[k];
            }
        }
    }
}
