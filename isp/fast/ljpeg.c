/* Lossless JPEG (ITU-T T.81, process 14, SOF3), as DNG stores mosaics: the decoder.
 *
 * What takes time is one code after the other: none can be looked up before the length of the last one is known. So the
 * loop over a row does little else, and two images at once where they are alike, for the one's look-ups fill the time in
 * which the other waits for its own. Bytes are freed of their stuffing ahead of that loop, into a window that holds the
 * longest row there can be, or zeros from where the data end: within a row nothing need be checked, and whether there
 * was enough is asked behind it. Whatever a file says, nothing is read or written outside of what the caller gave. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { LOOK = 10 };           /* bits that are looked up at once: codes of up to 9, and the first bit behind them */
enum { WINDOW = 1 << 12 };    /* bytes of it beyond the longest row */
enum { BITS_OF_SAMPLE = 31 }; /* at most: a code of 16, and 15 of the difference */
enum { CATEGORIES = 17 };     /* SSSS of table H.2: bits of a difference, 0 to 16 */

#define INLINE static inline __attribute__((always_inline))

/* isp.raw.lossless_jpeg.Image. */
struct coded {
    const uint8_t *data, *tables; /* a JPEG stream; one of tables alone (JPEGTables), or nothing */
    int64_t bytes, table_bytes;
    int64_t down, across;         /* the samples, in their order, make `down` lines of `across` ... */
    int64_t rows, cols;           /* ... of which so many are put ... */
    uint16_t *corner;             /* ... here ... */
    int64_t stride;               /* ... with so many samples from line to line */
    const char *wrong;            /* set: in a few words, or NULL */
};

struct table {
    uint32_t look[1 << LOOK]; /* meaning() of the code that begins so; 0: it is longer, or there is none */
    uint8_t counts[16];       /* codes of 1 to 16 bits */
    uint8_t categories[256];  /* of the codes, in their order */
    int known;
};

struct stream {
    const uint8_t *source, *end; /* coded bytes that are not in the window yet */
    uint8_t *window, *filled;    /* bytes free of stuffing, up to here; then zeros */
    ptrdiff_t size;              /* of the window */
    const uint8_t *next;         /* what is taken from here ... */
    uint64_t bits;               /* ... follows these, from the highest down ... */
    unsigned count;              /* ... so many: those below are 0, or what they will be */
};

struct image {
    struct table tables[4];
    int height, width, components, precision; /* 0 components: no frame header yet */
    int interval;                             /* pixels between restart markers, 0: there are none */
    int predictor, point;                     /* Ss; Al, the point transform */
    uint8_t names[4], selected[4];            /* of each component, and of its table */
    struct stream s;
    void *memory;
    uint16_t *line, *above; /* rows of the frame, width x components samples; 4 more stand before each */
    const uint16_t *first;  /* what predicts the next row's first pixel */
    uint16_t half[4];
    int row;                /* the next one ... */
    int begins;             /* ... which is the first of the scan, or behind a restart marker */
    int64_t y, x;           /* the next sample's line and place in it */
    struct coded *io;
};

static int number(const uint8_t *at) { return at[0] << 8 | at[1]; }

/* ------------------------------------------------------------------ codes */

/* What a code and the first bit behind it say: in the lower half, how many bits code and difference have together; in
the upper one what is added to these bits, as a number, to make the difference, modulo 2^16. A difference that does not
begin with a 1 is negative, 2^SSSS - 1 below (T.81, F.1.2.1); category 16 is 32768, without bits (H.1.2.2). */
static uint32_t meaning(unsigned code, int length, int category, int one) {
    int extra = category == 16 ? 0 : category;
    uint32_t base = category == 16 ? 32768 : one ? 0 : 1 - (1u << category);
    return (base - (code << extra)) << 16 | (uint32_t)(length + extra);
}

/* Whether counts and categories make a prefix code (T.81, annex C) of differences; then it can be looked up. */
static int prepare(struct table *t) {
    unsigned code = 0;
    const uint8_t *category = t->categories;
    memset(t->look, 0, sizeof t->look);
    for (int length = 1; length <= 16; length++) {
        code <<= 1;
        for (int k = 0; k < t->counts[length - 1]; k++, category++, code++) {
            if (*category >= CATEGORIES || code >> length) return 0;
            if (length >= LOOK) continue;
            const int half = 1 << (LOOK - length - 1);
            const uint32_t zero = meaning(code, length, *category, 0), one = meaning(code, length, *category, 1);
            uint32_t *to = t->look + ((ptrdiff_t)code << (LOOK - length));
            for (int j = 0; j < half; j++) to[j] = zero, to[half + j] = one;
        }
    }
    return 1;
}

/* meaning() of the code that the bits begin with, found length by length; 0: there is none. */
static __attribute__((noinline)) uint32_t search(const struct table *t, uint64_t bits) {
    unsigned first = 0; /* code of a length */
    const uint8_t *categories = t->categories;
    for (int length = 1; length <= 16; length++) {
        unsigned code = (unsigned)(bits >> (64 - length)), count = t->counts[length - 1];
        first <<= 1;
        if (code - first < count) return meaning(code, length, categories[code - first], bits >> (63 - length) & 1);
        first += count, categories += count;
    }
    return 0;
}

/* ------------------------------------------------------------------ rows */

INLINE uint64_t highest_first(const uint8_t *at) {
    uint64_t word;
    memcpy(&word, at, 8);
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    word = __builtin_bswap64(word);
#endif
    return word;
}

/* At least 56 bits: two looks of up to 24 each, or the 31 of a search and a look. */
#define REFILL(s) ((s).bits |= highest_first((s).next) >> ((s).count & 63), (s).next += ~(s).count >> 3 & 7, (s).count |= 56)

/* The predictors of table H.1, from the samples left, above, and above left. */
INLINE int predicted(int predictor, int a, int b, int c) {
    switch (predictor) {
    case 2: return b;
    case 3: return c;
    case 4: return a + b - c;
    case 5: return a + ((b - c) >> 1);
    case 6: return b + ((a - c) >> 1);
    case 7: return (a + b) >> 1;
    default: return a;
    }
}

/* The next row of each image. Returns a bit for every image that has a code without a meaning. Only the lowest six bits
of stream.count count in here. */
INLINE unsigned decode(struct image *const *images, const int together, const int components, const int left_alone) {
    struct stream s[2];
    const struct table *tables[2][4];
    uint16_t *line[2];
    unsigned unknown = 0;
    for (int i = 0; i < together; i++) {
        s[i].next = images[i]->s.next, s[i].bits = images[i]->s.bits, s[i].count = images[i]->s.count;
        line[i] = images[i]->line;
        for (int c = 0; c < components; c++) {
            tables[i][c] = images[i]->tables + images[i]->selected[c];
            line[i][c - components] = images[i]->first[c]; /* the first pixel is predicted by it as by a left one */
        }
    }
    const uint16_t *above = images[0]->above - components; /* and to the left */
    const int width = images[0]->width, predictor = images[0]->predictor;
    for (int x = 0; x < width; x++) {
        for (int c = 0; c < components; c++)
            for (int i = 0; i < together; i++) {
                if (c % 2 == 0) REFILL(s[i]);
                uint32_t found = tables[i][c]->look[s[i].bits >> (64 - LOOK)];
                if (__builtin_expect(!found, 0)) {
                    REFILL(s[i]);
                    found = search(tables[i][c], s[i].bits);
                    unknown |= (unsigned)!found << i;
                }
                uint32_t difference = (uint32_t)(s[i].bits >> (-found & 63)) + (found >> 16);
                s[i].bits <<= found & 63, s[i].count -= found;
                int guess = line[i][c - components];
                if (!left_alone && x > 0) guess = predicted(predictor, guess, above[c + components], above[c]);
                line[i][c] = (uint16_t)((uint32_t)guess + difference);
            }
        for (int i = 0; i < together; i++) line[i] += components;
        above += components;
    }
    for (int i = 0; i < together; i++)
        images[i]->s.next = s[i].next, images[i]->s.bits = s[i].bits, images[i]->s.count = s[i].count & 63;
    return unknown;
}

/* Each by itself, so that its variables have the registers. */
#define ROW(name, together, components, left_alone) \
    static __attribute__((noinline)) unsigned name(struct image *const *images) { \
        return decode(images, together, components, left_alone); \
    }
ROW(left_1, 1, 1, 1) ROW(left_2, 1, 2, 1) ROW(left_3, 1, 3, 1) ROW(left_4, 1, 4, 1)
ROW(any_1, 1, 1, 0) ROW(any_2, 1, 2, 0) ROW(any_3, 1, 3, 0) ROW(any_4, 1, 4, 0)
ROW(pair_1, 2, 1, 1) ROW(pair_2, 2, 2, 1) ROW(pair_3, 2, 3, 1) ROW(pair_4, 2, 4, 1)
static unsigned (*const ROWS[3][4])(struct image *const *) = {
    {left_1, left_2, left_3, left_4}, {any_1, any_2, any_3, any_4}, {pair_1, pair_2, pair_3, pair_4}};

/* ------------------------------------------------------------------ bytes */

/* At a 0xff: step over more of them, which may fill up the space before a marker, and tell whether the last one is
data, stuffed with a 0. Else there is a marker, or the end. */
static int stuffed(struct stream *s) {
    while (s->source + 1 < s->end && s->source[1] == 0xff) s->source++;
    return s->source + 1 < s->end && s->source[1] == 0;
}

/* Let the window hold `most` bytes from the next one on, zeros from where the data end. */
static void fetch(struct stream *s, ptrdiff_t most) {
    ptrdiff_t rest = s->filled - s->next; /* negative where bits hold zeros from behind the end */
    if (rest >= most) return;
    if (rest > 0) memmove(s->window, s->next, (size_t)rest);
    s->next = s->window + (rest < 0 ? -rest : 0);
    s->filled = s->window + (rest > 0 ? rest : 0);
    uint8_t *full = s->window + s->size;
    while (s->filled < full && s->source < s->end) {
        ptrdiff_t size = s->end - s->source < full - s->filled ? s->end - s->source : full - s->filled;
        const uint8_t *mark = memchr(s->source, 0xff, (size_t)size);
        if (mark) size = mark - s->source;
        memcpy(s->filled, s->source, (size_t)size);
        s->filled += size, s->source += size;
        if (!mark) continue;
        if (!stuffed(s)) break;
        *s->filled++ = 0xff, s->source += 2;
    }
    if (s->filled - s->next < most) memset(s->filled, 0, (size_t)most);
}

/* Begin anew behind the next marker, if that is restart marker n of 0 to 7. */
static int restart(struct stream *s, int n) {
    do {
        s->source = s->source < s->end ? memchr(s->source, 0xff, (size_t)(s->end - s->source)) : NULL;
        if (!s->source) return s->source = s->end, 0;
    } while (stuffed(s) && (s->source += 2));
    if (s->end - s->source < 2 || s->source[1] != 0xd0 + n) return 0;
    s->source += 2;
    s->next = s->filled = s->window;
    s->bits = 0, s->count = 0;
    return 1;
}

/* ------------------------------------------------------------------ headers */

/* Marker segments up to the scan's data, which `from` then points at, or all of a stream of tables. Returns what is
wrong, or NULL. */
static const char *read_header(struct image *m, const uint8_t **from, const uint8_t *end, int only_tables) {
    const char *ends = only_tables ? NULL : "the data end before the scan";
    const uint8_t *at = *from;
    if (end - at < 2 || number(at) != 0xffd8) return "no JPEG";
    for (at += 2;;) {
        while (end - at >= 2 && at[0] == 0xff && at[1] == 0xff) at++; /* they may fill up the space before a marker */
        if (end - at < 2) return ends;
        if (at[0] != 0xff) return "no marker where one should be";
        const int marker = at[1];
        at += 2;
        if (marker == 0xd9) return ends;
        if (end - at < 2 || number(at) < 2 || number(at) > end - at) return "a marker segment beyond the end";
        const uint8_t *body = at + 2, *stop = at + number(at);
        at = stop;
        if (marker == 0xc4) { /* DHT, B.2.4.2 */
            while (body < stop) {
                const int what = *body++;
                int size = 0;
                if (stop - body < 16) return "a Huffman table that is cut off";
                for (int i = 0; i < 16; i++) size += body[i];
                if (size > 256 || size > stop - body - 16) return "a Huffman table that is cut off";
                if (what < 4) { /* the others are of AC coefficients */
                    memcpy(m->tables[what].counts, body, 16);
                    memcpy(m->tables[what].categories, body + 16, (size_t)size);
                    m->tables[what].known = 1;
                }
                body += 16 + size;
            }
        } else if (marker == 0xdd) { /* DRI, B.2.4.4 */
            if (stop - body < 2) return "a restart interval that is cut off";
            m->interval = number(body);
        } else if (marker == 0xc3) { /* SOF3, B.2.2 */
            if (m->components) return "two frame headers";
            if (stop - body < 6 || stop - body < 6 + 3 * body[5]) return "a frame header that is cut off";
            m->precision = body[0], m->height = number(body + 1), m->width = number(body + 3), m->components = body[5];
            if (m->precision < 2 || m->precision > 16) return "samples of less than 2 or more than 16 bits";
            if (m->components < 1 || m->components > 4) return "no component, or more than 4";
            for (int c = 0; c < m->components; c++) {
                m->names[c] = body[6 + 3 * c];
                if (m->components > 1 && body[7 + 3 * c] != 0x11) return "components that are subsampled";
            }
        } else if (marker >= 0xc0 && marker <= 0xcf && marker != 0xc8 && marker != 0xcc) {
            return "another process than SOF3";
        } else if (marker == 0xda) { /* SOS, B.2.3 */
            if (only_tables) return "a scan among the tables";
            if (!m->components) return "a scan without a frame";
            if (stop - body < 1 || stop - body < 4 + 2 * body[0]) return "a scan header that is cut off";
            if (*body++ != m->components) return "a scan of some of the components";
            for (int c = 0; c < m->components; c++, body += 2) {
                if (body[0] != m->names[c]) return "components in another order than the frame's";
                m->selected[c] = body[1] >> 4;
                if (m->selected[c] > 3 || !m->tables[m->selected[c]].known) return "a Huffman table that is not there";
                if (!prepare(m->tables + m->selected[c])) return "a Huffman table that is no code of differences";
            }
            m->predictor = body[0], m->point = body[2] & 15;
            if (m->predictor < 1 || m->predictor > 7) return "a predictor that is none of 1 to 7";
            if (m->point >= m->precision) return "a point transform of all bits";
            *from = at;
            return NULL;
        }
    }
}

/* ------------------------------------------------------------------ images */

static ptrdiff_t samples_of(const struct image *m) { return (ptrdiff_t)m->width * m->components; }
static ptrdiff_t most_of(const struct image *m) { return samples_of(m) * BITS_OF_SAMPLE / 8 + 16; } /* bytes of a row */

static const char *begin(struct image *m) {
    const struct coded *io = m->io;
    const uint8_t *tables = io->tables;
    const char *wrong = NULL;
    for (int i = 0; i < 4; i++) m->tables[i].known = 0;
    m->components = m->interval = m->row = 0;
    m->y = m->x = 0;
    m->memory = NULL;
    m->s.source = io->data, m->s.end = io->data + io->bytes;
    if (io->table_bytes) wrong = read_header(m, &tables, tables + io->table_bytes, 1);
    if (!wrong) wrong = read_header(m, &m->s.source, m->s.end, 0);
    if (wrong) return wrong;
    if (m->width < 1 || (int64_t)m->height * samples_of(m) != io->down * io->across) return "another number of samples";
    if (m->interval % m->width) return "restarts within a row"; /* not allowed by T.81, H.1.1 */

    m->s.size = WINDOW + most_of(m);
    size_t lines = 2 * ((size_t)samples_of(m) + 4) * sizeof(uint16_t);
    m->memory = malloc(lines + (size_t)m->s.size + (size_t)most_of(m));
    if (!m->memory) return "not enough memory";
    m->line = (uint16_t *)m->memory + 4, m->above = m->line + samples_of(m) + 4;
    m->s.window = m->s.filled = (uint8_t *)m->memory + lines;
    m->s.next = m->s.window, m->s.bits = 0, m->s.count = 0;
    for (int c = 0; c < 4; c++) m->half[c] = (uint16_t)(1u << (m->precision - m->point - 1));
    return NULL;
}

/* The first row of a scan, or behind a restart, knows nothing but what is left of a sample (H.1.1, H.1.2.1). */
static void before_row(struct image *m) {
    const int rows = m->interval / m->width;
    m->begins = m->row == 0 || (rows && m->row % rows == 0);
    m->first = m->begins ? m->half : m->above;
    if (m->begins && m->row && !restart(&m->s, (m->row / rows - 1) % 8)) m->io->wrong = "a restart marker is missing";
    fetch(&m->s, most_of(m));
}

static void after_row(struct image *m, unsigned unknown) {
    struct coded *io = m->io;
    if (io->wrong) return;
    if ((m->s.next - m->s.filled) * 8 > (ptrdiff_t)m->s.count)
        io->wrong = "the data end before the last row";
    else if (unknown)
        io->wrong = "a code that is in no table";
    if (io->wrong) return;
    for (int64_t done = 0, size; done < samples_of(m); done += size) {
        size = samples_of(m) - done < io->across - m->x ? samples_of(m) - done : io->across - m->x;
        int64_t seen = m->y >= io->rows || m->x >= io->cols ? 0 : size < io->cols - m->x ? size : io->cols - m->x;
        if (seen) {
            const uint16_t *from = m->line + done;
            uint16_t *to = io->corner + m->y * io->stride + m->x;
            if (m->point)
                for (int64_t j = 0; j < seen; j++) to[j] = (uint16_t)(from[j] << m->point);
            else
                memcpy(to, from, (size_t)seen * sizeof *to);
        }
        m->x += size;
        if (m->x == io->across) m->x = 0, m->y++;
    }
    uint16_t *line = m->line;
    m->line = m->above, m->above = line;
    m->row++;
}

static int unfinished(const struct image *m) { return !m->io->wrong && m->row < m->height; }

/* One image, or two: `second` may be NULL. */
void isp_lossless_jpeg(struct coded *first, struct coded *second) {
    struct image images[2], *const both[2] = {images, images + 1};
    const int count = second ? 2 : 1;
    for (int i = 0; i < count; i++) {
        images[i].io = i ? second : first;
        images[i].io->wrong = begin(images + i);
    }
    if (count == 2 && unfinished(both[0]) && unfinished(both[1]) && both[0]->width == both[1]->width &&
        both[0]->components == both[1]->components && both[0]->predictor == 1 && both[1]->predictor == 1)
        while (unfinished(both[0]) && unfinished(both[1])) {
            for (int i = 0; i < 2; i++) before_row(both[i]);
            unsigned unknown = ROWS[2][both[0]->components - 1](both);
            for (int i = 0; i < 2; i++) after_row(both[i], unknown >> i & 1);
        }
    for (int i = 0; i < count; i++) {
        struct image *m = both[i];
        while (unfinished(m)) {
            before_row(m);
            const int general = !m->begins && m->predictor != 1;
            after_row(m, ROWS[general][m->components - 1](&m));
        }
        free(m->memory);
    }
}
