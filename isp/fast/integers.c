/* Convolutional networks in integers, for processors with AVX-512 VNNI, AVX-VNNI or AVX2: bytes times bytes, and 16 bits
times 16 bits where bytes are too coarse. Where there is AMX besides, sums are products of matrices of bytes; elsewhere
convolutions 3x3 of 16 bits, and in part those of bytes, take fewer products. All give the same, to the bit.

Tensors hold their channels side by side, site after site. They lie in memory in up to three forms: bytes and words for
convolutions to read, halves (IEEE 754, 16 bits) to be added to what others make. Of each form there are as many rows as
are still to be read: all convolutions go down the picture together, each as far as what it reads allows, so that rows
are read while they are in a core's cache. isp/fast/integers.py says which network becomes which steps, and how many
rows it takes; structures are mirrored there. */

#include <stdint.h>
#include <string.h>

#include "lanes.c"

enum { BYTES, WORDS, WORDS_BY_BYTES }; /* what a convolution reads, and its weights where they are of another kind */
enum { WORD = 8191, INPUT = 4095 }; /* the largest words, and the smallest below 0: of results, and of the input */
enum { MOST_COLUMNS = 24 }; /* of sums at once: as many as there are registers for */
enum { TURN = 8 };          /* rows of the input, or as much of what is made of it, before it is the next one's turn */

/* The rows of one form of a tensor: row y in place y % rows; behind the last a row of what stands for zero, and a site of
that at either end of each. */
struct form {
    uint8_t *data;     /* site 0 of place 0; NULL: no such form */
    int64_t row, high; /* bytes from row to row, and of words for matrices from their lower halves to the upper ones */
    int32_t site, rows; /* bytes from site to site */
};

/* One convolution to at most 64 channels, from its sums to the forms that others read. Rows are those of the sums. */
struct step {
    const void *weights;        /* taps x groups x vectors x LANES channels x 4 bytes, of one group of input channels; for
                                   matrices, groups of each row of taps are filled up to chunks x span */
    const float *scale, *bias;  /* of each channel: a sum's worth, and what is added to it */
    const float *fine;          /* of each channel: words for 1 */
    struct form source, added[2], bytes, words, halves;
    float *planes[2];           /* the network's output, channel by channel, or NULL: its rows, TURN in one, TURN in the other */
    int64_t plane;              /* floats from channel to channel */
    int32_t makes;              /* number of the result, from 1 on; what is joined makes one together */
    int32_t reads, adds[2];     /* numbers of results; 0: the network's input */
    int32_t wide;               /* reads BYTES or WORDS; for matrices, weights may be bytes */
    int32_t kernel, groups;     /* taps in a row; input channels in fours or, of words for vectors and by fewer products, in twos */
    int32_t height, width;      /* sites of sums */
    int32_t stride;             /* sites of the source from one sum to the next */
    int32_t spread;             /* sites of the result from one sum to the next: 2 for a quarter of a shuffle */
    int32_t down, right;        /* where that quarter lies */
    int32_t vectors, channels;  /* of LANES channels; of these, how many there are */
    int32_t chunks, span;       /* of groups in a row of taps, and groups in each, for matrices; 0: for vectors */
    int32_t together;           /* rows of sums at once: 1, or 2 or 4 by fewer products */
    int32_t joined;             /* works on the rows of the step before it, one after the other */
    float coarse, zero;         /* bytes for 1, and the byte for 0 */
    float slope;                /* of what is below 0: 1 for no activation */
};

#if RUNS
#if LONG && defined(__AMX_INT8__) && defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#define MATRICES 1
#else
#define MATRICES 0
#endif

/* Lanes of a vector and vectors of a step; 0 where nothing runs. Whether bytes lie in words, and take fewer products. */
int isp_integers_lanes(void) { return LANES; }
int isp_integers_vectors(void) { return MOST_VECTORS; }
int isp_integers_pairs(void) { return PAIRS; }
int isp_integers_fewer(void) { return FEWER; }

/* Whether there are matrices too, for which a process has to ask Linux. */
int isp_integers_matrices(void) {
#if MATRICES
    const int request = 0x1023, data = 18; /* ARCH_REQ_XCOMP_PERM, XTILEDATA */
    return syscall(SYS_arch_prctl, request, data) == 0;
#else
    return 0;
#endif
}

FORCED uint8_t *row_at(const struct form *f, int y) { return f->data ? f->data + y % f->rows * f->row : NULL; }

/* Where a row of a step lies. */
struct rows {
    const uint8_t *source[3], *added[2];
    uint8_t *bytes, *words, *halves;
    float *planes;
};

/* A row of what a step reads, from where its first sum begins. */
FORCED const uint8_t *source_at(const struct step *s, int y) {
    const int beyond = y < 0 || y >= s->height * s->stride;
    const uint8_t *row = beyond ? s->source.data + s->source.rows * s->source.row : row_at(&s->source, y);
    return row - (s->kernel == 3) * s->source.site;
}

static struct rows rows_at(const struct step *s, int y) {
    struct rows r;
    const int below = y * s->spread + s->down;
    for (int i = 0; i < s->kernel; i++) r.source[i] = source_at(s, y * s->stride - (s->kernel == 3) + i);
    for (int i = 0; i < 2; i++) r.added[i] = row_at(&s->added[i], below);
    r.bytes = row_at(&s->bytes, below), r.words = row_at(&s->words, below), r.halves = row_at(&s->halves, below);
    r.planes = s->planes[0] ? s->planes[below / TURN & 1] + (int64_t)(below % TURN) * s->width * s->spread : NULL;
    return r;
}

/* Products of so many groups that follow each other, of P columns from one on, with those of V vectors of channels. */
FORCED void add_row(const uint8_t *first, int64_t pitch, int groups, const ints *w, const int V, const int P,
                    const int wide, ints (*restrict sum)[4]) {
    const uint8_t *from[MOST_COLUMNS / 3]; /* of three columns each: what an address can add to */
    UNROLLED for (int i = 0; i < (P + 2) / 3; i++) from[i] = first + 3 * i * pitch;
    for (int i = 0; i < groups; i++) {
        ints weight[4];
        UNROLLED for (int v = 0; v < V; v++) weight[v] = load_ints(w + v);
        w += V;
        UNROLLED for (int p = 0; p < P; p++) {
            int32_t group;
            memcpy(&group, from[p / 3] + p % 3 * pitch + 4 * i, 4);
            const ints all = all_of(group);
            UNROLLED for (int v = 0; v < V; v++) add_products(wide, &sum[p][v], all, weight[v]);
        }
    }
}

/* P sums side by side from column x on, of V vectors of channels. */
FORCED void sums(const struct step *s, const struct rows *r, const int V, const int P, const int wide, int x,
                 ints (*restrict sum)[4]) {
    const int64_t pitch = (int64_t)s->source.site * s->stride;
    const int groups = s->kernel * s->groups; /* the channels of neighbouring sites follow each other */
    UNROLLED for (int p = 0; p < P; p++) UNROLLED for (int v = 0; v < V; v++) sum[p][v] = none();
    for (int down = 0; down < s->kernel; down++)
        add_row(r->source[down] + x * pitch, pitch, groups, (const ints *)s->weights + down * groups * V, V, P, wide, sum);
}

FORCED ints word(floats value, floats fine, const int largest) {
    return nearest(larger(smaller(times(value, fine), same(largest)), same(-largest)));
}

/* What becomes of P sums of V vectors of channels from v on: from column to column and from vector to vector so many apart. */
FORCED void finish_sums(const struct step *s, const struct rows *r, int v, const int V, const int P, int x, const ints *sum,
                        const int column_apart, const int vector_apart) {
    const int column = x * s->spread + s->right, left = s->channels - v * LANES, both = V == 2 && PAIRS && left >= 2 * LANES;
    const floats coarse = same(s->coarse), zero = same(s->zero), slope = same(s->slope);
    floats value[MOST_VECTORS][MOST_COLUMNS];
    UNROLLED for (int i = 0; i < V; i++) {
        const floats scale = load(s->scale + (v + i) * LANES), bias = load(s->bias + (v + i) * LANES);
        UNROLLED for (int p = 0; p < P; p++)
            value[i][p] = times_plus(of_ints(sum[p * column_apart + i * vector_apart]), scale, bias);
    }
    for (int j = 0; j < 2 && r->added[j]; j++) {
        const int64_t pitch = (int64_t)s->spread * s->added[j].site;
        const uint8_t *at = r->added[j] + (int64_t)column * s->added[j].site + v * 2 * LANES;
        UNROLLED for (int p = 0; p < P; p++) UNROLLED for (int i = 0; i < V; i++)
            value[i][p] = plus(value[i][p], load_halves(at + p * pitch + i * 2 * LANES));
    }
    if (s->slope != 1)
        UNROLLED for (int i = 0; i < V; i++) UNROLLED for (int p = 0; p < P; p++)
            value[i][p] = larger(value[i][p], times(value[i][p], slope));
    if (r->bytes) {
        const int64_t pitch = (int64_t)s->spread * s->bytes.site, next = (1 + PAIRS) * LANES;
        uint8_t *at = r->bytes + (int64_t)column * s->bytes.site + v * next;
        UNROLLED for (int p = 0; p < P; p++) {
            ints code[MOST_VECTORS];
            UNROLLED for (int i = 0; i < V; i++) code[i] = nearest(times_plus(value[i][p], coarse, zero));
            if (both) {
                store_two_bytes(at + p * pitch, code[0], code[1]);
            } else {
                UNROLLED for (int i = 0; i < V; i++) store_bytes(at + p * pitch + i * next, code[i], left - i * LANES);
            }
        }
    }
    if (r->words) {
        const int64_t pitch = (int64_t)s->spread * s->words.site, high = s->words.high, next = (high ? 1 : 2) * LANES;
        uint8_t *at = r->words + (int64_t)column * s->words.site + v * next;
        floats fine[MOST_VECTORS];
        UNROLLED for (int i = 0; i < V; i++) fine[i] = load(s->fine + (v + i) * LANES);
        UNROLLED for (int p = 0; p < P; p++) {
            ints code[MOST_VECTORS];
            UNROLLED for (int i = 0; i < V; i++) code[i] = word(value[i][p], fine[i], WORD);
            if (both) {
                store_two_words(at + p * pitch, code[0], code[1]);
                continue;
            }
            UNROLLED for (int i = 0; i < V; i++) {
                uint8_t *to = at + p * pitch + i * next;
                if (high)
                    store_low_and_high(to, to + high, code[i], left - i * LANES);
                else
                    store_words(to, code[i], left - i * LANES);
            }
        }
    }
    if (r->halves) {
        const int64_t pitch = (int64_t)s->spread * s->halves.site;
        uint8_t *at = r->halves + (int64_t)column * s->halves.site + v * 2 * LANES;
        UNROLLED for (int p = 0; p < P; p++) UNROLLED for (int i = 0; i < V; i++)
            store_halves(at + p * pitch + i * 2 * LANES, value[i][p]);
    }
    if (r->planes)
        UNROLLED for (int i = 0; i < V; i++) {
            float *to = r->planes + (int64_t)(v + i) * LANES * s->plane + column;
            for (int first = 0; first < P; first += LANES)
                store_planes(value[i] + first, P - first < LANES ? P - first : LANES,
                             left - i * LANES < LANES ? left - i * LANES : LANES, to + first * s->spread, s->plane, s->spread);
        }
}

/* Of P sums of V vectors: as many at once as there are instructions for. */
FORCED void finish_all(const struct step *s, const struct rows *r, const int V, const int P, int x, ints (*restrict sum)[4]) {
    if (PAIRS && V == 2)
        finish_sums(s, r, 0, 2, P, x, &sum[0][0], 4, 1);
    else
        UNROLLED for (int v = 0; v < V; v++) finish_sums(s, r, v, 1, P, x, &sum[0][v], 4, 1);
}

FORCED void piece(const struct step *s, const struct rows *r, const int V, const int P, const int wide, int x) {
    ints sum[MOST_COLUMNS][4];
    sums(s, r, V, P, wide, x, sum);
    finish_all(s, r, V, P, x, sum);
}

/* A row of sums; the last piece begins earlier and makes some of them again. */
FORCED void row_of(const struct step *s, const int V, const int P, const int wide, int y) {
    const struct rows r = rows_at(s, y);
    if (s->width < P) {
        for (int x = 0; x < s->width; x++) piece(s, &r, V, 1, wide, x);
        return;
    }
    for (int x = 0; x < s->width; x += P) piece(s, &r, V, P, wide, x + P > s->width ? s->width - P : x);
}

#define ROW_OF(V, P)                                                                                                    \
    static __attribute__((noinline)) void bytes_##V(const struct step *s, int y) { row_of(s, V, P, 0, y); }             \
    static __attribute__((noinline)) void words_##V(const struct step *s, int y) { row_of(s, V, P, 1, y); }
ROW_OF(1, P1)
ROW_OF(2, P2)
ROW_OF(3, P3)
ROW_OF(4, P4)

/* Convolutions 3x3 by fewer products: F(4x4, 3x3) and F(2x2, 3x3) of Lavin and Gray (CVPR 2016), 36 for 16 sums and 16 for
4, where there were 144 and 36; from the points 0, 1, -1, 2, -2 and infinity, or 0, 1, -1 and infinity. All in whole
numbers: what is read becomes words of at most 100 or 4 times as much (bytes, or words up to WORD), weights come multiplied
by what their fractions divide by, and sums, modulo 2^32, are divided by that in the end, which leaves no rest. So they are
the same. Words take the second everywhere but in matrices, bytes either where they are FEWER. */
enum { TILES = 12, APART = 2, MOST_MADE = 4, MOST_POINTS = 6 }; /* of a piece, tiles times vectors at once, at most */
enum { MOST_SIXTEENS = 8, MOST_MADE_ACROSS = 24 };              /* channels that are read, in sixteens; columns of a piece */

/* Samples from + at, + at + next, ... of one sixteen at the points. each: bytes of a sample. */
FORCED void at_points(const int M, const int each, const uint8_t *const *from, int64_t at, __m256i *to, int64_t next) {
    __m256i x[MOST_POINTS];
    UNROLLED for (int i = 0; i < M + 2; i++)
        x[i] = each == 2 ? _mm256_loadu_si256((const void *)(from[i] + at))
                         : _mm256_cvtepu8_epi16(_mm_loadu_si128((const void *)(from[i] + at)));
    if (M == 2) {
        to[0] = _mm256_sub_epi16(x[0], x[2]);
        to[next] = _mm256_add_epi16(x[1], x[2]);
        to[2 * next] = _mm256_sub_epi16(x[2], x[1]);
        to[3 * next] = _mm256_sub_epi16(x[1], x[3]);
        return;
    }
    const __m256i c = _mm256_sub_epi16(x[4], x[2]), e = _mm256_sub_epi16(x[1], x[3]), twice = _mm256_add_epi16(e, e);
    const __m256i a = _mm256_sub_epi16(x[4], _mm256_slli_epi16(x[2], 2));
    const __m256i b = _mm256_sub_epi16(x[3], _mm256_slli_epi16(x[1], 2));
    to[0] = _mm256_add_epi16(_mm256_slli_epi16(_mm256_sub_epi16(x[0], x[2]), 2), c);
    to[next] = _mm256_add_epi16(a, b);
    to[2 * next] = _mm256_sub_epi16(a, b);
    to[3 * next] = _mm256_sub_epi16(c, twice);
    to[4 * next] = _mm256_add_epi16(c, twice);
    to[5 * next] = _mm256_add_epi16(_mm256_slli_epi16(e, 2), _mm256_sub_epi16(x[5], x[3]));
}

/* Sums of products at the points to those at columns or rows, times 24, 12, 6 and 6, or 2 and 2. */
FORCED void from_points(const int M, const ints *m, int64_t apart, ints *to) {
    const ints m1 = m[apart], m2 = m[2 * apart], m3 = m[3 * apart], plus12 = sum_of(m1, m2), minus12 = less(m1, m2);
    if (M == 2) {
        to[0] = sum_of(m[0], plus12);
        to[1] = less(minus12, m3);
        return;
    }
    const ints m4 = m[4 * apart], plus34 = sum_of(m3, m4), minus34 = less(m3, m4);
    to[0] = sum_of(sum_of(m[0], plus34), four_times(plus12));
    to[1] = sum_of(sum_of(minus12, minus12), minus34);
    to[2] = sum_of(plus12, plus34);
    to[3] = sum_of(sum_of(minus34, minus34), sum_of(minus12, m[5 * apart]));
}

/* Sum (k, i) of a tile: less the factors of from_points. */
FORCED ints divided(const int M, ints x, int k, int i) {
    const int shift[MOST_MADE] = {3, 2, 1, 1};
    if (M == 2) return halved(x, 2);
    return halved(product(x, all_of(0x38e38e39)), shift[k] + shift[i]); /* times 9: 1 */
}

/* The sites of a piece at the points, to points x tiles x sixteens of channels. rows: of M + 2, its first site. */
FORCED void take_points(const int M, const int tiles, const int each, const uint8_t *const *rows, int64_t site, int sixteens,
                        __m256i *to) {
    __m256i lines[(MOST_MADE_ACROSS + 2) * MOST_POINTS];
    for (int g = 0; g < sixteens; g++) {
        for (int i = 0; i < tiles * M + 2; i++) at_points(M, each, rows, i * site + 16 * each * g, lines + i * (M + 2), 1);
        for (int t = 0; t < tiles; t++)
            for (int j = 0; j < M + 2; j++) {
                const uint8_t *columns[MOST_POINTS];
                UNROLLED for (int i = 0; i < M + 2; i++) columns[i] = (const uint8_t *)(lines + (M * t + i) * (M + 2));
                at_points(M, 2, columns, 32 * j, to + (j * (M + 2) * tiles + t) * sixteens + g, tiles * sixteens);
            }
    }
}

/* Tiles of a piece, of 2 columns for a vector that is alone 12, and 6 for two; of 4 columns 6 are 24 already. */
#define TILES_OF(M, V) ((M) == 2 ? TILES / (V) : TILES / APART)

/* Products at all points with the weights of V vectors of channels, to points x tiles x V. */
FORCED void multiply_points(const int M, const int V, const __m256i *samples, int sixteens, int groups, const ints *w,
                            ints *restrict products) {
    const int tiles = TILES_OF(M, V);
    for (int i = 0; i < (M + 2) * (M + 2); i++) {
        ints sum[TILES][4];
        UNROLLED for (int t = 0; t < tiles; t++) UNROLLED for (int v = 0; v < V; v++) sum[t][v] = none();
        add_row((const uint8_t *)(samples + i * tiles * sixteens), 32 * sixteens, groups, w, V, tiles, 1, sum);
        UNROLLED for (int t = 0; t < tiles; t++) UNROLLED for (int v = 0; v < V; v++) *products++ = sum[t][v];
        w += groups * V;
    }
}

/* Of one of these vectors the sums, to M rows of tiles times M. */
FORCED void give_points(const int M, const int V, const ints *restrict products, ints (*restrict to)[MOST_MADE_ACROSS]) {
    const int apart = TILES_OF(M, V) * V;
    for (int t = 0; t < TILES_OF(M, V); t++) {
        ints halfway[MOST_POINTS * MOST_MADE], across[MOST_MADE];
        UNROLLED for (int i = 0; i < M + 2; i++)
            from_points(M, products + i * apart + t * V, (M + 2) * apart, halfway + i * M);
        UNROLLED for (int k = 0; k < M; k++) {
            from_points(M, halfway + k, M, across);
            UNROLLED for (int i = 0; i < M; i++) to[k][M * t + i] = divided(M, across[i], k, i);
        }
    }
}

#define TAKE(M, V, KIND, EACH)                                                                                          \
    static __attribute__((noinline)) void take_##KIND##_##M##_##V(const uint8_t *const *rows, int64_t site,             \
                                                                  int sixteens, __m256i *to) {                          \
        take_points(M, TILES_OF(M, V), EACH, rows, site, sixteens, to);                                                 \
    }
#define BY_POINTS(M, V)                                                                                                 \
    TAKE(M, V, words, 2)                                                                                                \
    TAKE(M, V, bytes, 1 + PAIRS)                                                                                        \
    static __attribute__((noinline)) void multiply_points_##M##_##V(const __m256i *samples, int sixteens, int groups,   \
                                                                    const ints *w, ints *products) {                    \
        multiply_points(M, V, samples, sixteens, groups, w, products);                                                  \
    }                                                                                                                   \
    static __attribute__((noinline)) void give_points_##M##_##V(const ints *products, ints (*to)[MOST_MADE_ACROSS]) {   \
        give_points(M, V, products, to);                                                                                \
    }
BY_POINTS(2, 1)
BY_POINTS(2, 2)
BY_POINTS(4, 1)
BY_POINTS(4, 2)

/* What a piece is made by. */
struct by_points {
    void (*take[2])(const uint8_t *const *rows, int64_t site, int sixteens, __m256i *to); /* bytes, words */
    void (*multiply)(const __m256i *samples, int sixteens, int groups, const ints *w, ints *products);
    void (*give)(const ints *products, ints (*to)[MOST_MADE_ACROSS]);
    int columns;
};

static const struct by_points BY_POINTS_2_1 = {{take_bytes_2_1, take_words_2_1}, multiply_points_2_1, give_points_2_1, 24},
                              BY_POINTS_2_2 = {{take_bytes_2_2, take_words_2_2}, multiply_points_2_2, give_points_2_2, 12},
                              BY_POINTS_4_1 = {{take_bytes_4_1, take_words_4_1}, multiply_points_4_1, give_points_4_1, 24},
                              BY_POINTS_4_2 = {{take_bytes_4_2, take_words_4_2}, multiply_points_4_2, give_points_4_2, 24};

/* What becomes of 12 sums of a vector, or of 6 of two. What is most often asked for has code of its own, in which values
stay in registers. */
typedef void finish(const struct step *s, const struct rows *r, int v, int x, const ints *sum);

#define FINISH(NAME, ...)                                                                                               \
    static __attribute__((noinline)) void twelve_##NAME(const struct step *s, const struct rows *r, int v, int x,       \
                                                        const ints *sum) {                                              \
        const struct rows these = __VA_ARGS__;                                                                          \
        finish_sums(s, &these, v, 1, 12, x, sum, 1, 0);                                                                 \
    }                                                                                                                   \
    static __attribute__((noinline)) void two_sixes_##NAME(const struct step *s, const struct rows *r, int v, int x,    \
                                                           const ints *sum) {                                           \
        const struct rows these = __VA_ARGS__;                                                                          \
        finish_sums(s, &these, v, 2, 6, x, sum, 1, MOST_MADE * MOST_MADE_ACROSS);                                       \
    }
FINISH(bytes, {.bytes = r->bytes})
FINISH(bytes_halves, {.bytes = r->bytes, .halves = r->halves})
FINISH(added_bytes, {.added = {r->added[0]}, .bytes = r->bytes})
FINISH(added_bytes_halves, {.added = {r->added[0]}, .bytes = r->bytes, .halves = r->halves})
FINISH(added_words, {.added = {r->added[0]}, .words = r->words})
FINISH(all, *r)

enum { ADDED = 1, TO_BYTES = 2, TO_WORDS = 4, TO_HALVES = 8, OTHERS = 16 };
#define FINISHED_BY(NAME) {twelve_##NAME, two_sixes_##NAME}
static finish *const FINISH_OF[16][2] = {
    [TO_BYTES] = FINISHED_BY(bytes),
    [TO_BYTES + TO_HALVES] = FINISHED_BY(bytes_halves),
    [ADDED + TO_BYTES] = FINISHED_BY(added_bytes),
    [ADDED + TO_BYTES + TO_HALVES] = FINISHED_BY(added_bytes_halves),
    [ADDED + TO_WORDS] = FINISHED_BY(added_words),
};

static finish *finish_of(const struct rows *r, int two_sixes) {
    const int what = !!r->added[0] * ADDED + !!r->bytes * TO_BYTES + !!r->words * TO_WORDS + !!r->halves * TO_HALVES
                   + (r->added[1] || r->planes) * OTHERS;
    finish *const found = what < OTHERS ? FINISH_OF[what][two_sixes] : NULL;
    return found ? found : two_sixes ? two_sixes_all : twelve_all;
}

/* Up to M = s->together rows of sums, from y on. */
static void rows_by_points(const struct step *s, int y, int count) {
    const struct by_points *by = s->together == 4 ? s->vectors == 1 ? &BY_POINTS_4_1 : &BY_POINTS_4_2
                                                  : s->vectors == 1 ? &BY_POINTS_2_1 : &BY_POINTS_2_2;
    const int M = s->together, columns = by->columns, sixteens = (2 * s->groups + 15) / 16;
    const uint8_t *source[MOST_POINTS], *first[MOST_POINTS];
    struct rows r[MOST_MADE];
    __m256i samples[MOST_POINTS * MOST_POINTS * TILES / APART * MOST_SIXTEENS];
    for (int i = 0; i < M + 2; i++) source[i] = source_at(s, y - 1 + i);
    for (int i = 0; i < count; i++) r[i] = rows_at(s, y + i);
    for (int at = 0; at < s->width; at += columns) {
        const int x = at + columns <= s->width || s->width < columns ? at : s->width - columns;
        for (int i = 0; i < M + 2; i++) first[i] = source[i] + (int64_t)x * s->source.site;
        by->take[s->wide != BYTES](first, s->source.site, sixteens, samples);
        for (int v = 0; v < s->vectors; v += APART) {
            ints products[MOST_POINTS * MOST_POINTS * TILES], made[APART][MOST_MADE][MOST_MADE_ACROSS];
            const ints *w = (const ints *)s->weights + (int64_t)v * (M + 2) * (M + 2) * s->groups;
            const int vectors = s->vectors - v < APART ? s->vectors - v : APART;
            by->multiply(samples, sixteens, s->groups, w, products);
            for (int i = 0; i < vectors; i++) by->give(products + i, made[i]);
            for (int i = 0; i < count; i++) {
                if (s->width < columns) {
                    for (int k = 0; k < s->width; k++)
                        for (int j = 0; j < vectors; j++) finish_sums(s, &r[i], v + j, 1, 1, k, made[j][i] + k, 1, 0);
                    continue;
                }
                const int two_sixes = PAIRS && vectors == 2;
                finish *const done = finish_of(&r[i], two_sixes);
                for (int j = 0; j < vectors; j += 1 + two_sixes)
                    for (int k = 0; k < columns; k += two_sixes ? 6 : 12) done(s, &r[i], v + j, x + k, made[j][i] + k);
            }
        }
    }
}

#if MATRICES

/* What the processor is told of the eight registers of matrices: 0 to 3 hold sums, 16 channels of 16 columns each; 4 and 5
a chunk of a row of taps at those columns, as it lies in memory; 6 and 7 its weights. */
struct registers {
    uint8_t palette, start, none[14];
    uint16_t bytes[16]; /* in a row of each */
    uint8_t rows[16];
};

static void arrange(int columns, int span) {
    struct registers r = {.palette = 1};
    for (int i = 0; i < 8; i++) {
        r.rows[i] = i < 6 ? columns : span;
        r.bytes[i] = i == 4 || i == 5 ? 4 * span : 4 * LANES;
    }
    __asm__ volatile("" : : "r"(&r) : "memory"); /* gcc 12 believes that the next line reads no more than 8 bytes */
    _tile_loadconfig(&r);
}

/* Products at the columns that follow x[0] and x[1], of one or two vectors from v on. plane: bytes from rows to those of
upper halves. */
FORCED void add_matrices(const struct step *s, const struct rows *r, int64_t plane, const uint8_t *w, const int two,
                         const int wide, const int *x, int v) {
    const int64_t pitch = (int64_t)s->source.site * s->stride, next = (int64_t)s->vectors * 4 * LANES;
    w += v * 4 * LANES;
    for (int down = 0; down < s->kernel; down++) {
        const uint8_t *from = r->source[down] + plane;
        for (int i = 0; i < s->chunks; i++, from += 4 * s->span, w += s->span * next) {
            _tile_loadd(4, from + x[0] * pitch, pitch);
            _tile_loadd(6, w, next);
            if (wide) _tile_dpbssd(0, 4, 6); else _tile_dpbusd(0, 4, 6);
            _tile_loadd(5, from + x[1] * pitch, pitch);
            if (wide) _tile_dpbssd(1, 5, 6); else _tile_dpbusd(1, 5, 6);
            if (!two) continue;
            _tile_loadd(7, w + 4 * LANES, next);
            if (wide) _tile_dpbssd(2, 4, 7); else _tile_dpbusd(2, 4, 7);
            if (wide) _tile_dpbssd(3, 5, 7); else _tile_dpbusd(3, 5, 7);
        }
    }
}

FORCED void zero_sums(void) {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
}

FORCED void store_sums(const int two, __m512i (*restrict sum)[4]) {
    _tile_stored(0, &sum[0][0], sizeof *sum);
    _tile_stored(1, &sum[LANES][0], sizeof *sum);
    if (!two) return;
    _tile_stored(2, &sum[0][1], sizeof *sum);
    _tile_stored(3, &sum[LANES][1], sizeof *sum);
}

/* Words lie as l + 128 h, in seven bits each, and so do weights of words: sums of l l, of l h + h l and of h h. Where
weights are bytes there are no h among them. */
FORCED void matrix_sums(const struct step *s, const struct rows *r, const int V, const int wide, const int *x,
                        __m512i (*restrict sum)[4]) {
    const int64_t high = s->source.high;
    const uint8_t *low = s->weights, *above = low + (int64_t)s->kernel * s->chunks * s->span * V * 4 * LANES;
    UNROLLED for (int v = 0; v < V; v += 2) {
        zero_sums();
        add_matrices(s, r, 0, low, V - v > 1, wide, x, v);
        store_sums(V - v > 1, (void *)&sum[0][v]);
    }
    for (int shift = 7; shift <= (wide == WORDS ? 14 : wide ? 7 : 0); shift += 7) {
        __m512i more[2 * LANES][4];
        UNROLLED for (int v = 0; v < V; v += 2) {
            zero_sums();
            if (wide == WORDS) add_matrices(s, r, shift == 7 ? 0 : high, above, V - v > 1, wide, x, v);
            if (shift == 7) add_matrices(s, r, high, low, V - v > 1, wide, x, v);
            store_sums(V - v > 1, (void *)&more[0][v]);
        }
        for (int p = 0; p < 2 * LANES; p++)
            UNROLLED for (int v = 0; v < V; v++)
                sum[p][v] = _mm512_add_epi32(sum[p][v], _mm512_slli_epi32(more[p][v], shift));
    }
}

/* A row of sums by matrices, two times 16 columns at once; the last ones are made again, where there are no more. */
FORCED void matrix_row_of(const struct step *s, const int V, const int wide, int y) {
    const struct rows r = rows_at(s, y);
    const int columns = s->width < LANES ? s->width : LANES, last = s->width - columns;
    arrange(columns, s->span);
    for (int at = 0; at < s->width; at += 2 * LANES) {
        const int x[2] = {at < last ? at : last, at + LANES < last ? at + LANES : last};
        __m512i sum[2 * LANES][4];
        matrix_sums(s, &r, V, wide, x, sum);
        for (int i = 0; i < 2; i++) {
            if (columns == LANES) {
                finish_all(s, &r, V, LANES, x[i], sum + i * LANES);
            } else {
                for (int p = 0; p < columns; p++) finish_all(s, &r, V, 1, x[i] + p, sum + i * LANES + p);
            }
        }
    }
}

#define MATRIX_ROW_OF(V)                                                                                                \
    static __attribute__((noinline)) void matrix_bytes_##V(const struct step *s, int y) { matrix_row_of(s, V, 0, y); }  \
    static __attribute__((noinline)) void matrix_words_##V(const struct step *s, int y) { matrix_row_of(s, V, 1, y); }  \
    static __attribute__((noinline)) void matrix_mixed_##V(const struct step *s, int y) { matrix_row_of(s, V, 2, y); }
MATRIX_ROW_OF(1)
MATRIX_ROW_OF(2)
MATRIX_ROW_OF(3)
MATRIX_ROW_OF(4)

static void (*const MATRIX_ROWS_OF[3][4])(const struct step *, int) = {
    {matrix_bytes_1, matrix_bytes_2, matrix_bytes_3, matrix_bytes_4},
    {matrix_words_1, matrix_words_2, matrix_words_3, matrix_words_4},
    {matrix_mixed_1, matrix_mixed_2, matrix_mixed_3, matrix_mixed_4},
};

#endif

static void (*const ROWS_OF[2][4])(const struct step *, int) = {
    {bytes_1, bytes_2, bytes_3, bytes_4},
    {words_1, words_2, words_3, words_4},
};

#if LONG

/* The words of planes c and c + 1 at 16 columns, side by side. */
FORCED __m512i both(const float *from, int64_t plane, int c, int count, const float *fine, __mmask16 mask) {
    __m512i pair[2] = {none(), none()};
    for (int i = 0; i < 2 && c + i < count; i++)
        pair[i] = word(_mm512_maskz_loadu_ps(mask, from + (c + i) * plane), same(fine[c + i]), INPUT);
    return _mm512_or_si512(_mm512_and_si512(pair[0], _mm512_set1_epi32(0xffff)), _mm512_slli_epi32(pair[1], 16));
}

/* Up to LANES columns of planes of floats to the words of as many sites; plane c counts fine[c] for 1. */
static void take_columns(const float *from, int64_t plane, int count, int columns, const float *fine, uint8_t *at,
                         int64_t site) {
    const __mmask16 mask = first_of(columns);
    const __m512i place = _mm512_mullo_epi32(_mm512_set1_epi32(site / 4),
                                             _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15));
    int c = 0;
    for (; c + 8 <= count && columns == LANES; c += 8) { /* eight planes: 16 bytes of each site */
        __m512i row[4], half[4];
        UNROLLED for (int i = 0; i < 4; i++) row[i] = both(from, plane, c + 2 * i, count, fine, mask);
        UNROLLED for (int i = 0; i < 2; i++) {
            half[2 * i] = _mm512_unpacklo_epi32(row[2 * i], row[2 * i + 1]);
            half[2 * i + 1] = _mm512_unpackhi_epi32(row[2 * i], row[2 * i + 1]);
        }
        UNROLLED for (int i = 0; i < 4; i++) { /* sites i, i + 4, i + 8 and i + 12 */
            const __m512i four = i & 1 ? _mm512_unpackhi_epi64(half[i / 2], half[2 + i / 2])
                                       : _mm512_unpacklo_epi64(half[i / 2], half[2 + i / 2]);
            uint8_t *first = at + i * site + 2 * c;
            _mm_storeu_si128((__m128i *)first, _mm512_extracti32x4_epi32(four, 0));
            _mm_storeu_si128((__m128i *)(first + 4 * site), _mm512_extracti32x4_epi32(four, 1));
            _mm_storeu_si128((__m128i *)(first + 8 * site), _mm512_extracti32x4_epi32(four, 2));
            _mm_storeu_si128((__m128i *)(first + 12 * site), _mm512_extracti32x4_epi32(four, 3));
        }
    }
    for (; c < count; c += 2)
        _mm512_mask_i32scatter_epi32(at + 2 * c, mask, place, both(from, plane, c, count, fine, mask), 4);
}

/* So many words, to those of their lower halves and, so many bytes on, of their upper ones. */
static void split(const uint8_t *words, int64_t count, uint8_t *low, int64_t high) {
    for (int64_t i = 0; i < count; i += 32) {
        const __m512i codes = _mm512_loadu_si512(words + 2 * i);
        const __mmask32 mask = count - i >= 32 ? ~0u : (1u << (count - i)) - 1;
        _mm256_mask_storeu_epi8(low + i, mask, _mm512_cvtepi16_epi8(_mm512_and_si512(codes, _mm512_set1_epi16(127))));
        _mm256_mask_storeu_epi8(low + high + i, mask, _mm512_cvtepi16_epi8(_mm512_srai_epi16(codes, 7)));
    }
}

#else

/* The words of planes c and c + 1 at eight columns, side by side. */
FORCED __m256i both(const float *from, int64_t plane, int c, int count, int columns, const float *fine) {
    __m256i pair[2] = {none(), none()};
    for (int i = 0; i < 2 && c + i < count; i++) {
        float values[LANES] = {0};
        if (columns < LANES) memcpy(values, from + (c + i) * plane, columns * sizeof *values);
        pair[i] = word(load(columns < LANES ? values : from + (c + i) * plane), same(fine[c + i]), INPUT);
    }
    return _mm256_blend_epi16(pair[0], _mm256_slli_epi32(pair[1], 16), 0xaa);
}

static void take_columns(const float *from, int64_t plane, int count, int columns, const float *fine, uint8_t *at,
                         int64_t site) {
    for (int c = 0; c < count; c += 8) { /* eight planes: 16 bytes of each site */
        const int bytes = count - c < 8 ? (count - c + 1) / 2 * 4 : 16;
        __m256i row[4], half[4];
        UNROLLED for (int i = 0; i < 4; i++) row[i] = both(from, plane, c + 2 * i, count, columns, fine);
        UNROLLED for (int i = 0; i < 2; i++) {
            half[2 * i] = _mm256_unpacklo_epi32(row[2 * i], row[2 * i + 1]);
            half[2 * i + 1] = _mm256_unpackhi_epi32(row[2 * i], row[2 * i + 1]);
        }
        UNROLLED for (int i = 0; i < LANES; i++) { /* sites i % 4, and 4 on from there */
            const __m256i two = i & 1 ? _mm256_unpackhi_epi64(half[i / 2 % 2], half[2 + i / 2 % 2])
                                      : _mm256_unpacklo_epi64(half[i / 2 % 2], half[2 + i / 2 % 2]);
            const __m128i words = i < 4 ? _mm256_castsi256_si128(two) : _mm256_extracti128_si256(two, 1);
            if (bytes == 16 && columns == LANES)
                _mm_storeu_si128((void *)(at + i * site + 2 * c), words);
            else if (i < columns)
                memcpy(at + i * site + 2 * c, &words, bytes);
        }
    }
}

static void split(const uint8_t *words, int64_t count, uint8_t *low, int64_t high) {} /* no matrices */

#endif

/* A row of planes of floats to row y of words. */
static void take(const float *planes, int64_t plane, int count, int width, const float *fine, const struct form *to,
                 int y) {
    const int64_t site = (int64_t)to->site * (to->high ? 2 : 1); /* halves come apart at the end */
    uint8_t *row = to->high ? to->data + (to->rows + 1) * to->row : row_at(to, y);
    for (int x = 0; x < width; x += LANES)
        take_columns(planes + x, plane, count, width - x < LANES ? width - x : LANES, fine, row + x * site, site);
    if (to->high) split(row, width * site / 2, row_at(to, y), to->high);
}

/* How many rows of a step's sums there can be; done: rows of each result. */
static int possible(const struct step *s, const int32_t *done) {
    int rows = (done[s->reads] - (s->kernel == 3)) / s->stride;
    for (int i = 0; i < 2; i++)
        if (s->added[i].data && done[s->adds[i]] / s->spread < rows) rows = done[s->adds[i]] / s->spread;
    return rows;
}

/* Rows of a step from y on: one, or as many as are made at once, or fewer. */
static void rows(const struct step *s, int y, int count) {
#if MATRICES
    if (s->chunks) {
        MATRIX_ROWS_OF[s->wide][s->vectors - 1](s, y);
        return;
    }
#endif
    if (s->together > 1) {
        rows_by_points(s, y, count);
        return;
    }
    ROWS_OF[s->wide][s->vectors - 1](s, y);
}

/* One turn of the network on an input of height rows: the next TURN of them, count planes of TURN x width floats, or NULL
when all have been taken; and of the results, as many as that allows. words: to which they go, as the first steps read
them. done: rows of the input and of each result that are there, at first 0; they go on beyond the last, so that all turns
are alike, but nothing is made there. */
void isp_integers(const float *planes, int32_t count, int32_t height, int32_t width, const float *fine,
                 const struct form *words, const struct step *steps, int32_t number, int32_t *done) {
    for (int i = 0; planes && i < TURN && done[0] + i < height; i++)
        take(planes + (int64_t)i * width, (int64_t)TURN * width, count, width, fine, words, done[0] + i);
    done[0] += TURN;
    for (int i = 0, end; i < number; i = end) {
        const struct step *s = steps + i;
        const int there = possible(s, done);
        int y = done[s->makes] / s->spread;
        for (end = i + 1; end < number && steps[end].joined; end++) {}
        while (y < there) { /* of rows that go together, at first fewer, so that later there are as many in each turn */
            const int next = y + s->together - (y ? 0 : (s->together - there % s->together) % s->together);
            if (next > there) break;
            for (int j = i; j < end && y < s->height; j++) rows(steps + j, y, (next < s->height ? next : s->height) - y);
            y = next;
        }
        done[s->makes] = y * s->spread;
    }
#if MATRICES
    if (steps->chunks) _tile_release();
#endif
}

#else

int isp_integers_lanes(void) { return 0; }
int isp_integers_vectors(void) { return 0; }
int isp_integers_pairs(void) { return 0; }
int isp_integers_fewer(void) { return 0; }
int isp_integers_matrices(void) { return 0; }

void isp_integers(const float *planes, int32_t count, int32_t height, int32_t width, const float *fine,
                 const struct form *words, const struct step *steps, int32_t number, int32_t *done) {
}

#endif
