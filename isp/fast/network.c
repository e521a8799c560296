/* What stands around a network: its inputs from counts, tile by tile, and its picture from its output.

Included by kernel.c, whose rows of levels, curve and msg these are. What is computed is isp.nets.model.Model on the canvas
of isp.nets.inference, and then isp.stages.network.demosaic_saturated; tests/fast/test_network.py holds them together. */

struct canvas {
    int32_t top, left, height, width; /* in the frame's pixels: its corner, which is red and may lie beyond, and size */
    float shot[4], read[4], gain[4];  /* of the sites of the frame's 2x2 block in reading order; variance shot x + read
                                         before the gain, times the square of the strength */
    float deviation;                  /* of the noise of a sample of 1, before the gain; 0: unknown */
};

/* A part of the canvas: packed samples from its corner. */
struct part { int32_t top, left, height, width; };

/* What the sensor's white has become in row y at columns x .. x + n: the gain of each site, and its shading. */
static void whites(const struct mosaic *m, const struct canvas *c, int y, int x, int n, float *restrict out) {
    y = reflected(y, m->height);
    const float *of_row = c->gain + (y & 1) * 2, here = of_row[x & 1], beside = of_row[~x & 1];
    INDEPENDENT
    for (int i = 0; i < n; i++) out[i] = i & 1 ? beside : here;
    if (!m->map_count) return;
    for (int i = 0; i < n; i++) {
        int inside = reflected(x + i, m->width);
        shade(m, y, inside, inside + 1, out + i);
    }
}

/* read_row on the canvas, which is continued by reflection about its own border. Columns whose reflection is not at hand
lie beyond what any kept value looks at. */
static void read_canvas(struct tile *t, const struct canvas *c, int row) {
    float *restrict linear = LINE(LINEAR, row), *restrict curved = LINE(CURVED, row);
    int first = t->x - MARGIN, n = t->n + 2 * MARGIN;
    int from = first > c->left ? first : c->left, end = c->left + c->width;
    int to = first + n < end ? first + n : end;
    load(t->m, c->top + reflected(row - c->top, c->height), from, to - from, linear + (from - first));
    for (int i = 0; i < n; i++) {
        if (first + i == from) i = to - first;
        if (i >= n) break;
        int inside = c->left + reflected(first + i - c->left, c->width) - first;
        linear[i] = inside >= 0 && inside < n ? linear[inside] : 0;
    }
    float toe = t->m->toe, root = t->root;
    if (toe > 0)
        INDEPENDENT
        for (int i = 0; i < n; i++) curved[i] = to_curve(linear[i], toe, root);
    else
        memcpy(curved, linear, n * sizeof(float));
}

INLINE float signal(float x, float toe, float root) { return toe > 0 ? to_curve(x, toe, root) : x; }

/* The standard deviation of the noise of row `row` on the signal: half the step from one below to one above. */
static void deviations(struct tile *t, const struct canvas *c, int row, float *restrict out) {
    const float *restrict x = LINE(LINEAR, row) + MARGIN;
    float white[STRIDE], toe = t->m->toe, root = t->root;
    int y = reflected(row, t->m->height), n = t->n;
    whites(t->m, c, row, t->x, n, white);
    const float *shot = c->shot + (y & 1) * 2, *read = c->read + (y & 1) * 2;
    const float shot0 = shot[0], shot1 = shot[1], read0 = read[0], read1 = read[1];
    INDEPENDENT
    for (int i = 0; i < n; i++) { /* t->x is even */
        float variance = ((i & 1 ? shot1 : shot0) * most(x[i], 0) + (i & 1 ? read1 : read0) * white[i]) * white[i];
        float deviation = sqrtf(variance);
        out[i] = 0.5f * (signal(x[i] + deviation, toe, root) - signal(x[i] - deviation, toe, root));
    }
}

/* Two samples side by side of a row whose even columns lie in one plane of packed samples and odd ones in another: those of
y and, where there is one, of base together, off the curve where root is not 0. */
INLINE float of_pair(const float *y, const float *base, int i, float root) {
    float x = base ? y[i] + base[i] : y[i];
    return root > 0 ? from_curve(x, root) : x;
}

/* The samples first .. first + n of such a row. */
INLINE void pack(const float *restrict even, const float *restrict odd, const float *restrict base_even,
                 const float *restrict base_odd, const float root, int first, int n, float *restrict out) {
    if (first & 1) *out++ = of_pair(odd, base_odd, first / 2, root), first++, n--;
    first /= 2;
    INDEPENDENT
    for (int i = 0; i < n / 2; i++) {
        out[2 * i] = of_pair(even, base_even, first + i, root);
        out[2 * i + 1] = of_pair(odd, base_odd, first + i, root);
    }
    if (n & 1) out[n - 1] = of_pair(even, base_even, first + n / 2, root);
}

/* join, on the signal. */
static void join_curved(struct tile *t, int row) {
    const float *restrict x = LINE(CURVED, row) + MARGIN, *restrict d = LINE(BETTER, row) + MARGIN;
    const float *restrict red = LINE(LESS_RED, row) + MARGIN, *restrict red_above = LINE(LESS_RED, row - 1) + MARGIN;
    const float *restrict red_below = LINE(LESS_RED, row + 1) + MARGIN, *restrict blue = LINE(LESS_BLUE, row) + MARGIN;
    const float *restrict blue_above = LINE(LESS_BLUE, row - 1) + MARGIN;
    const float *restrict blue_below = LINE(LESS_BLUE, row + 1) + MARGIN;
    const float *restrict up = LINE(UP, row) + MARGIN, *restrict down = LINE(UP, row + 3) + MARGIN;
    const float *restrict left = LINE(LEFT, row) + MARGIN, *restrict scale = LINE(SCALE, row) + MARGIN;
    const float *restrict green = t->green[(row + t->m->down) & 1] + GUARD + MARGIN;
    float *restrict r = t->rgb[0], *restrict g = t->rgb[1], *restrict b = t->rgb[2];
    INDEPENDENT
    for (int i = 0; i < t->n; i++) {
        float less_red = up[i] * red_above[i] + down[i] * red_below[i];
        less_red += left[i] * red[i - 1] + left[i + 3] * red[i + 1];
        float less_blue = up[i] * blue_above[i] + down[i] * blue_below[i];
        less_blue += left[i] * blue[i - 1] + left[i + 3] * blue[i + 1];
        g[i] = x[i] + d[i];
        r[i] = g[i] - (green[i] > 0 ? less_red * scale[i] : red[i]);
        b[i] = g[i] - (green[i] > 0 ? less_blue * scale[i] : blue[i]);
    }
}

/* The rows of msg behind the row just read; what is then ready to be joined is 14 rows behind. */
static void follow(struct tile *t, int row) {
    differences_and_gradients(t, row - 4);
    sides(t, row - 5);
    first_difference(t, row - 8);
    better_difference(t, row - 10);
    corners(t, row - 13);
}

/* Packed samples of a piece of the columns of a part: with what msg looks at beside them they fill a tile. */
enum { PIECE = TILE / 2 - 16 };

/* Bytes of memory for parts of so many packed columns, in which rows are kept for the part below. */
int64_t isp_inputs_memory(int32_t width) {
    return (int64_t)((width + PIECE - 1) / PIECE) * LINES * STRIDE * (int64_t)sizeof(float);
}

/* A part's planes of packed samples on the signal: packed 4 h w, deviation of its noise 4 h w, and the picture of msg
12 h w, as torch.pixel_unshuffle has it; any may be NULL. m->toe: of the curve, 0 for linear light. memory: of
isp_inputs_memory. more: the last part with this memory was the one above, of the same columns. */
void isp_inputs(const struct mosaic *m, const struct canvas *c, const struct part *p, float *memory, int32_t more,
                float *packed, float *sigma, float *base) {
    int top = c->top + 2 * p->top, left = c->left + 2 * p->left, halo = base ? 14 : 0;
    int odd = left & 1; /* tiles begin at even columns */
    int64_t plane = (int64_t)p->height * p->width;
    for (int at = 0; at < p->width; at += PIECE) {
        int n = p->width - at < PIECE ? p->width - at : PIECE;
        struct tile *t = own_tile(m, left - odd + 2 * at, 2 * n + odd);
        t->lines = memory + (int64_t)(at / PIECE) * LINES * STRIDE;
        for (int ahead = more ? top + halo : top - halo; ahead < top + 2 * p->height + halo; ahead++) {
            int row = ahead - halo, here = row - top;
            read_canvas(t, c, ahead);
            if (base) follow(t, ahead);
            if (here < 0) continue;
            int64_t start = (here & 1) * 2 * plane + (int64_t)(here / 2) * p->width + at;
            if (packed) unpack(LINE(CURVED, row) + MARGIN + odd, n, packed + start, packed + start + plane);
            if (sigma) {
                float line[STRIDE];
                deviations(t, c, row, line);
                unpack(line + odd, n, sigma + start, sigma + start + plane);
            }
            if (base) join_curved(t, row);
            for (int channel = 0; base && channel < 3; channel++) {
                float *to = base + channel * 4 * plane + start;
                unpack(t->rgb[channel] + odd, n, to, to + plane);
            }
        }
    }
}

/* The frame's pixels top .. bottom, left .. right of rgb, linear, from a network's output on a part that holds them: y, on
the signal, 3 2h 2w, or 12 h w as torch.pixel_unshuffle has it where packed is not 0; to which base, 12 h w, is added where
it is not NULL. */
void isp_developed(const struct mosaic *m, const struct canvas *c, const struct part *p, const float *y, int32_t packed,
                   const float *base, const struct band *rgb, int32_t top, int32_t bottom, int32_t left, int32_t right) {
    int64_t plane = (int64_t)p->height * p->width;
    float root = m->toe > 0 ? cbrtf(m->toe) : 0;
    int across = left - c->left - 2 * p->left, n = right - left;
    if (n <= 0) return; /* of tiles beyond the frame */
    for (int channel = 0; channel < 3; channel++)
        for (int row = top; row < bottom; row++) {
            int here = row - c->top - 2 * p->top;
            int64_t even = channel * 4 * plane + (here & 1) * 2 * plane + (int64_t)(here / 2) * p->width, odd = even + plane;
            float *restrict to = row_of_band(rgb, m, channel, row) + left;
            if (packed && base && root > 0) {
                pack(y + even, y + odd, base + even, base + odd, root, across, n, to);
            } else if (packed && base) {
                pack(y + even, y + odd, base + even, base + odd, 0, across, n, to);
            } else if (packed) {
                pack(y + even, y + odd, NULL, NULL, root, across, n, to);
            } else {
                const float *from = y + (channel * 2 * p->height + here) * 2 * (int64_t)p->width + across;
                for (int i = 0; i < n; i++) {
                    int64_t at = (across + i) / 2 + ((across + i) & 1 ? odd : even);
                    to[i] = from[i] + (base ? base[at] : 0);
                    if (root > 0) to[i] = from_curve(to[i], root);
                }
            }
        }
}

/* The saturation of each sample of row y at columns x - 1 .. x + n and how far it is clipped, 0 to 1; both 0 beyond the
frame. Returns whether any is. */
static int clips(struct tile *t, const struct canvas *c, int y, int n, float *restrict white, float *restrict out) {
    const float *restrict x = LINE(LINEAR, y) + MARGIN - 1;
    int any = 0;
    if (y < 0 || y >= t->m->height) {
        memset(white, 0, (n + 2) * sizeof(float));
        memset(out, 0, (n + 2) * sizeof(float));
        return 0;
    }
    whites(t->m, c, y, t->x - 1, n + 2, white);
    INDEPENDENT
    for (int i = 0; i < n + 2; i++) {
        out[i] = clipping(x[i] / white[i]);
        any |= out[i] > 0;
    }
    if (t->x == 0) white[0] = out[0] = 0;
    for (int i = t->m->width - t->x + 1; i < n + 2; i++) white[i] = out[i] = 0;
    return any;
}

/* Whether samples of row y at columns x .. x + n can be nearly clipped: 0 where the largest count says that none is. */
static int near_white(const struct mosaic *m, const struct canvas *c, int y, int x, int n) {
    if (y < 0 || y >= m->height) return 0;
    if (m->floating || m->entries || !m->pairs) return 1;
    const float *black = m->black + (int64_t)(y % m->black_rows) * m->width;
    const uint16_t *counts = (const uint16_t *)m->counts + y * m->stride;
    const float white = c->gain[(y & 1) * 2] / m->scale[(int64_t)(y & 1) * m->width]; /* less black */
    const float dark = least(black[0], black[1]) + (m->black_of_row ? m->black_of_row[y] : 0);
    uint16_t largest = 0;
    for (int i = x < 0 ? 0 : x; i < x + n && i < m->width; i++) largest = counts[i] > largest ? counts[i] : largest;
    return largest > dark + 0.99f * NEAR * white;
}

/* isp.stages.network.explained, with its EXPLAINED. */
static float explained(float z) {
    float up = (z - 0.8f) / 0.8f, down = (7.0f - z) / 2.0f;
    return most(0, least(up, 1)) * most(0, least(down, 1));
}

/* The rows first .. last of a tile of rgb, with what is saturated demosaicked as ever. */
static void restore(struct tile *t, const struct canvas *c, const struct band *rgb, int first, int last, int n) {
    float white[3][STRIDE], clip[3][STRIDE];
    for (int row = first - 14; row <= last + 14; row++) {
        read_row(t, row);
        follow(t, row);
        int y = row - 14, any = 0;
        if (y < first) continue;
        for (int i = 0; i < 3; i++) any |= clips(t, c, y - 1 + i, n, white[i], clip[i]);
        if (!any) continue;
        join(t, y);
        for (int channel = 0; channel < 3; channel++) {
            float *restrict to = row_of_band(rgb, t->m, channel, y) + t->x;
            for (int i = 0; i < n; i++) {
                float share = 0, limit = 0;
                for (int row_ = 0; row_ < 3; row_++)
                    for (int at = i; at < i + 3; at++) {
                        int red_row = ((y - 1 + row_ + t->m->down) & 1) == 0, red_col = ((t->x - 1 + at + t->m->right) & 1) == 0;
                        int own = red_row != red_col ? 1 : red_row ? 0 : 2;
                        if (own != channel) continue;
                        share = most(share, clip[row_][at]);
                        limit = most(limit, white[row_][at]);
                    }
                if (share > 0 && c->deviation > 0) share *= 1 - explained((1 - to[i] / limit) / c->deviation);
                to[i] += share * (t->rgb[channel][i] - to[i]);
            }
        }
    }
}

/* The rows top .. bottom of rgb, of which those that hold saturated samples are demosaicked as ever, by msg at m->toe. */
void isp_saturated(const struct mosaic *m, const struct canvas *c, const struct band *rgb, int32_t top, int32_t bottom) {
    float white[STRIDE], clip[STRIDE];
    for (int x = 0; x < m->width; x += TILE) {
        int n = m->width - x < TILE ? m->width - x : TILE, first = bottom, last = top - 1;
        struct tile *t = own_tile(m, x, n);
        for (int row = top - 1; row <= bottom + 1; row++) { /* clipped samples reach a row further */
            int any = 0;
            if (row <= bottom && near_white(m, c, row, x - 1, n + 2)) {
                load(m, row, x - 2, n + 4, LINE(LINEAR, row) + MARGIN - 2);
                any = clips(t, c, row, n, white, clip);
            }
            if (first <= last && (row > bottom || (any && row - 1 > last + 28))) { /* a gap worth a new start */
                restore(t, c, rgb, first, last, n);
                first = bottom, last = top - 1;
            }
            if (!any) continue;
            if (row - 1 < first) first = row - 1 < top ? top : row - 1;
            if (row + 1 > last) last = row + 1 < bottom ? row + 1 : bottom - 1;
        }
    }
}
