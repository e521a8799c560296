/* Deflate (P. Deutsch, RFC 1951) for what PNG's filters leave of pictures: Huffman codes, and runs of one byte.
 *
 * Filtered rows of photographs have next to no repeats but runs, and a search for others is most of what takes time in
 * compressors for everything. Codes are made anew for every BLOCK bytes, from their own counts. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCK = 1 << 17 };
enum { SYMBOLS = 286, END = 256, LONGEST = 15 };      /* of bytes, the end and lengths of runs (3.2.5); bits of a code */
enum { LENGTHS = 19, LONGEST_LENGTH = 7 };            /* of the code in which code lengths are written (3.2.7) */
enum { LEAST_RUN = 3, LONGEST_RUN = 258, ROOM = 512 }; /* ROOM: bytes that a block's tables may take beyond its data */

struct code { uint16_t bits[SYMBOLS]; uint8_t length[SYMBOLS]; };
struct stream { uint8_t *next; uint64_t bits; unsigned count; }; /* bits that are not written yet, from the lowest up */

static inline void put(struct stream *s, uint64_t value, unsigned length) {
    s->bits |= value << s->count;
    s->count += length;
}

/* Writes whole bytes; up to 56 bits may be put before the next time. */
static inline void flush(struct stream *s) {
    memcpy(s->next, &s->bits, 8);
    s->next += s->count >> 3;
    s->bits >>= s->count & 56;
    s->count &= 7;
}

struct leaf { uint32_t weight; uint16_t symbol; };

static int by_weight(const void *a, const void *b) {
    const struct leaf *x = a, *y = b;
    return x->weight != y->weight ? (x->weight < y->weight ? -1 : 1) : (int)x->symbol - (int)y->symbol;
}

/* Huffman code of n symbols by their counts, of at most `limit` bits; canonical (3.2.2), bits reversed as they are put. */
static void make_code(const uint32_t *counts, int n, int limit, struct code *code) {
    struct leaf leaves[SYMBOLS];
    uint32_t weights[2 * SYMBOLS];
    uint16_t parent[2 * SYMBOLS], first[LONGEST + 2] = {0};
    int used = 0, of_length[LONGEST + 2] = {0};
    memset(code->length, 0, n);
    for (int i = 0; i < n; i++)
        if (counts[i]) leaves[used++] = (struct leaf){counts[i], (uint16_t)i};
    if (used == 1) leaves[used++] = (struct leaf){0, leaves[0].symbol == 0}; /* a code of one bit wants a second one */
    qsort(leaves, used, sizeof *leaves, by_weight);
    for (int i = 0; i < used; i++) weights[i] = leaves[i].weight;
    for (int node = used, leaf = 0, inner = used; node < 2 * used - 1; node++) { /* the two lightest join */
        weights[node] = 0;
        for (int child = 0; child < 2; child++) {
            int i = leaf < used && (inner >= node || weights[leaf] <= weights[inner]) ? leaf++ : inner++;
            weights[node] += weights[i];
            parent[i] = (uint16_t)node;
        }
    }
    uint8_t depth[2 * SYMBOLS];
    depth[2 * used - 2] = 0;
    for (int i = 2 * used - 3; i >= 0; i--) {
        depth[i] = depth[parent[i]] < 255 ? depth[parent[i]] + 1 : 255;
        if (i < used) of_length[depth[i] < limit ? depth[i] : limit]++;
    }
    int64_t taken = 0; /* of the 2^limit codes of the longest length */
    for (int i = 1; i <= limit; i++) taken += (int64_t)of_length[i] << (limit - i);
    for (; taken > (int64_t)1 << limit; taken--) { /* codes that were cut: a shorter one makes room for two */
        int i = limit - 1;
        while (!of_length[i]) i--;
        of_length[limit]--, of_length[i]--, of_length[i + 1] += 2;
    }
    for (int i = limit, leaf = 0; i > 0; i--)
        for (int k = 0; k < of_length[i]; k++) code->length[leaves[leaf++].symbol] = (uint8_t)i;
    for (int i = 1, next = 0; i <= limit; i++) {
        first[i] = (uint16_t)next;
        next = (next + of_length[i]) << 1;
    }
    for (int i = 0; i < n; i++) {
        unsigned bits = code->length[i] ? first[code->length[i]]++ : 0, reversed = 0;
        for (int k = 0; k < code->length[i]; k++) reversed |= (bits >> k & 1) << (code->length[i] - 1 - k);
        code->bits[i] = (uint16_t)reversed;
    }
}

/* The symbol of a run's length, and the bits that follow it (3.2.5). */
static int symbol_of(int length, unsigned *extra, unsigned *extra_bits) {
    int n = length - LEAST_RUN;
    *extra = *extra_bits = 0;
    if (length == LONGEST_RUN) return 285;
    if (n < 8) return 257 + n;
    *extra_bits = 31 - __builtin_clz(n) - 2;
    *extra = n & ((1 << *extra_bits) - 1);
    return 257 + 4 * (int)*extra_bits + (n >> *extra_bits);
}

/* How many bytes from p on are as the one before it: 0 where they are too few to be worth a code. */
static inline int run(const uint8_t *p, const uint8_t *end) {
    uint32_t four;
    if (end - p < LEAST_RUN) return 0;
    memcpy(&four, p - 1, 4);
    if (four != (four & 0xff) * 0x01010101u) return 0;
    int most = end - p < LONGEST_RUN ? (int)(end - p) : LONGEST_RUN, n = LEAST_RUN;
    while (n < most && p[n] == p[-1]) n++;
    return n;
}

/* The tables of a block: lengths of the codes of bytes and runs, and of the one distance there is, in a code of their own
(3.2.7). */
static void put_tables(struct stream *s, const struct code *code) {
    static const uint8_t order[LENGTHS] = {16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15};
    uint8_t lengths[SYMBOLS + 1], symbols[SYMBOLS + 1], extra[SYMBOLS + 1];
    uint32_t counts[LENGTHS] = {0};
    int n = SYMBOLS, written = 0, last = LENGTHS;
    while (!code->length[n - 1]) n--; /* END at least has one */
    memcpy(lengths, code->length, n);
    lengths[n] = 1; /* distance 1 */
    for (int i = 0; i <= n;) {
        int same = 1;
        while (i + same <= n && lengths[i + same] == lengths[i]) same++;
        int symbol = lengths[i], more = 0, taken = 1;
        if (!symbol && same >= 3) {
            taken = same < 138 ? same : 138;
            symbol = taken < 11 ? 17 : 18, more = taken - (taken < 11 ? 3 : 11);
        } else if (i && symbol == lengths[i - 1] && same >= 3) {
            taken = same < 6 ? same : 6;
            symbol = 16, more = taken - 3;
        }
        symbols[written] = (uint8_t)symbol, extra[written++] = (uint8_t)more;
        counts[symbol]++;
        i += taken;
    }
    struct code of_lengths;
    make_code(counts, LENGTHS, LONGEST_LENGTH, &of_lengths);
    while (!of_lengths.length[order[last - 1]]) last--;
    put(s, n - 257, 5), put(s, 0, 5), put(s, last - 4, 4);
    for (int i = 0; i < last; i++) {
        put(s, of_lengths.length[order[i]], 3);
        flush(s);
    }
    for (int i = 0; i < written; i++) {
        put(s, of_lengths.bits[symbols[i]], of_lengths.length[symbols[i]]);
        if (symbols[i] >= 16) put(s, extra[i], symbols[i] == 16 ? 2 : symbols[i] == 17 ? 3 : 7);
        flush(s);
    }
}

static void put_block(struct stream *s, const uint8_t *begin, const uint8_t *from, const uint8_t *end, int last) {
    uint32_t counts[2][SYMBOLS] = {{0}};
    struct code code;
    unsigned extra, extra_bits;
    for (const uint8_t *p = from; p < end;) {
        int n = p > begin ? run(p, end) : 0;
        if (n) {
            counts[0][symbol_of(n, &extra, &extra_bits)]++;
            p += n;
        } else {
            counts[(p - from) & 1][*p]++;
            p++;
        }
    }
    for (int i = 0; i < SYMBOLS; i++) counts[0][i] += counts[1][i];
    counts[0][END] = 1;
    make_code(counts[0], SYMBOLS, LONGEST, &code);
    put(s, last | 2 << 1, 3); /* BFINAL, and BTYPE 2: codes of its own */
    put_tables(s, &code);
    for (const uint8_t *p = from; p < end;) {
        int n = p > begin ? run(p, end) : 0;
        if (n) {
            int symbol = symbol_of(n, &extra, &extra_bits);
            put(s, code.bits[symbol], code.length[symbol]);
            put(s, extra, extra_bits);
            put(s, 0, 1); /* distance 1 */
            p += n;
        } else {
            put(s, code.bits[*p], code.length[*p]);
            p++;
            if (p < end && !run(p, end)) put(s, code.bits[*p], code.length[*p]), p++;
            if (p < end && !run(p, end)) put(s, code.bits[*p], code.length[*p]), p++;
        }
        flush(s);
    }
    put(s, code.bits[END], code.length[END]);
    flush(s);
}

/* Deflate data of n bytes, at least one, to out, which has room for 2 n + ROOM (n / BLOCK + 2); returns how many it takes.
last: the stream ends; otherwise its data end on a whole byte and any others may follow. */
int64_t isp_deflate(const uint8_t *data, int64_t n, int32_t last, uint8_t *out) {
    struct stream s = {out, 0, 0};
    for (int64_t at = 0; at < n; at += BLOCK) {
        int64_t end = n - at < BLOCK ? n : at + BLOCK;
        put_block(&s, data, data + at, data + end, last && end == n);
    }
    if (!last) put(&s, 0, 3); /* a block of 0 bytes as they are (3.2.4), whose length stands on whole bytes */
    s.count = (s.count + 7) / 8 * 8;
    flush(&s);
    if (!last) {
        memcpy(s.next, "\0\0\xff\xff", 4);
        s.next += 4;
    }
    return s.next - out;
}
