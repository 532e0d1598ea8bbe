/* PIL's antialiased bilinear resize of (height, width, 3) uint8, to the bit, in SIMD.
 *
 * Every output of an axis is a weighted sum of neighbouring pixels, with weights that are whole multiples of
 * 2^-22 and add up to 1; half a level is added, and 22 bits are dropped. Across comes first, then down, and
 * between them the pixels are 8 bits again. That is Pillow's own definition, in integers, so every kernel gives
 * the same bytes. The caller makes the weights (ecovision_edge/preprocess/coefficients.py).
 *
 * No sum exceeds 2^31; partial sums may wrap, which leaves the total right. Nothing is allocated, nothing
 * global is written, and no function of the C library beyond memcpy and memmove is called.
 */

#include <stdint.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))
#define INLINE static inline __attribute__((always_inline))

enum {
    ABI = 1,         /* of the functions and structures below; the caller refuses another one */
    BITS = 22,       /* PRECISION_BITS of Pillow's Resample.c */
    HALF = 1 << (BITS - 1),
    TAPS = 4,        /* weights come in groups of as many; those that are not needed are 0 */
    ROWS = 8,        /* rows that are shrunk across at once, at most */
    VECTOR = 32,     /* bytes that a kernel reads or writes at once, at most */
    KEPT = 64,       /* rows that the scratch memory holds beyond those of one output */
};

enum { NONE = 0, AVX2 = 1, NEON = 2, DOTPROD = 3, AVX_VNNI = 4, AVX512_VNNI = 5 };

enum { ACROSS = 0, DOWN = 1 };

/* One axis. `weights` has `taps` for each output, a multiple of TAPS, packed for the kernel and the axis. */
typedef struct {
    int32_t outputs;
    int32_t taps;
    const int32_t *first;     /* the first source pixel of each output, never falling */
    const int32_t *count;     /* how many source pixels it has, 1 to taps */
    const uint32_t *weights;
} Axis;

typedef void Across(const uint8_t *source, int64_t stride, const Axis *axis, uint8_t *out, int64_t out_stride);
typedef void Down(const uint8_t *rows, int64_t stride, int32_t count, const uint32_t *weights, uint8_t *out);

/* A kernel: `many` shrinks `rows` rows across, `few` shrinks `least`. They read up to 16 bytes for a group of
 * four pixels and write 4 bytes for an output of 3. `down` makes VECTOR bytes of one row. */
typedef struct {
    int32_t rows, least;
    Across *many, *few;
    Down *down;
} Kernel;

INLINE int32_t groups_of(const Axis *axis, int32_t i) { return (axis->count[i] + TAPS - 1) >> 2; }

#if defined(__x86_64__)
#include "x86.h"
#elif defined(__aarch64__)
#include "arm.h"
#else
#error "x86-64 and AArch64 only: elsewhere ecovision-edge resizes by numpy, without this library"
#endif

/* Bytes of a row of scratch memory: kernels write and read whole vectors. */
static int64_t narrow_stride(const Axis *across) { return (3 * (int64_t)across->outputs + 2 * VECTOR) & -(int64_t)VECTOR; }

/* Bytes that a row must have for the kernels to read it, gaps and the next row's pixels included. */
static int64_t extent(const Axis *across)
{
    int64_t most = 0;
    for (int32_t i = 0; i < across->outputs; i++) {
        const int64_t end = 3 * ((int64_t)across->first[i] + TAPS * groups_of(across, i)) + 16 - 3 * TAPS;
        most = end > most ? end : most;
    }
    return most;
}

static int32_t most_count(const Axis *axis)
{
    int32_t most = 0;
    for (int32_t i = 0; i < axis->outputs; i++)
        most = axis->count[i] > most ? axis->count[i] : most;
    return most;
}

EXPORT int32_t ecovision_abi(void) { return ABI; }

/* The best kernel for this processor, or NONE. */
EXPORT int32_t ecovision_kernel(void) { return best_kernel(); }

/* Pack `count` weights, a multiple of TAPS, for one axis (ACROSS or DOWN): as many words. */
EXPORT void ecovision_pack(int32_t kernel, int32_t axis, const uint32_t *weights, int64_t count, uint32_t *packed)
{
    for (int64_t i = 0; i < count; i += TAPS)
        pack_taps(kernel, axis, weights + i, packed + i);
}

/* Bytes of scratch memory that one call needs. */
EXPORT int64_t ecovision_scratch(const Axis *across, const Axis *down)
{
    return (2 * (int64_t)most_count(down) + KEPT + ROWS) * narrow_stride(across) + extent(across) + VECTOR;
}

/* Shrink rows `from` to `to` (half-open) across into `out`. Reading beyond a row's end is reading the next row,
 * except at the frame's end: rows that come too near to it, the last one as a rule, are read from a copy. */
static void shrink_rows(
    const Kernel *kernel, const uint8_t *source, int64_t stride, int32_t from, int32_t to, int32_t safe,
    int64_t needed, const Axis *axis, uint8_t *out, int64_t out_stride, uint8_t *copy)
{
    while (from < to) {
        const uint8_t *row = source + from * stride;
        int32_t rows = kernel->least;
        if (from + kernel->rows <= to && from + kernel->rows <= safe)
            kernel->many(row, stride, axis, out, out_stride), rows = kernel->rows;
        else if (from + rows <= to && from + rows <= safe)
            kernel->few(row, stride, axis, out, out_stride);
        else { /* one row, in place of all that `few` takes */
            if (from >= safe)
                row = memcpy(copy, row, (size_t)needed);
            kernel->few(row, 0, axis, out, 0), rows = 1;
        }
        from += rows, out += rows * out_stride;
    }
}

/* Resize a frame. `source`: its first pixel; rows of `columns` pixels are `stride` bytes apart, no less than
 * they are long. `out`: (down->outputs, across->outputs, 3), without gaps. Returns 0, or 1 for no such kernel. */
EXPORT int32_t ecovision_resize(
    int32_t chosen, const uint8_t *source, int64_t stride, int32_t rows, int32_t columns, const Axis *across,
    const Axis *down, uint8_t *out, uint8_t *scratch)
{
    if (chosen < 0 || chosen >= (int32_t)(sizeof kernels / sizeof *kernels) || !kernels[chosen].many)
        return 1;
    const Kernel *kernel = &kernels[chosen];
    const int64_t width = 3 * (int64_t)across->outputs, narrow = narrow_stride(across);
    const int64_t row_bytes = 3 * (int64_t)columns, reach = extent(across);
    const int64_t end = (rows - 1) * stride + row_bytes;
    const int64_t safe = reach > end ? 0 : (end - reach) / stride + 1;
    const int32_t most = most_count(down), capacity = 2 * most + KEPT + ROWS;
    uint8_t *copy = scratch + capacity * narrow;
    const int32_t last = down->first[down->outputs - 1] + down->count[down->outputs - 1];
    int32_t origin = down->first[0], next = origin; /* `scratch` holds the rows from `origin` to `next` */
    for (int32_t y = 0; y < down->outputs; y++, out += width) {
        const int32_t first = down->first[y], stop = first + down->count[y];
        if (next < stop) {
            if (stop - origin + ROWS > capacity) { /* make room: what no output needs any more goes */
                memmove(scratch, scratch + (first - origin) * narrow, (size_t)((next - first) * narrow));
                origin = first;
            }
            const int32_t ahead = stop + kernel->rows - 1 < last ? stop + kernel->rows - 1 : last;
            const int32_t to = next + (ahead - next) / kernel->rows * kernel->rows;
            const int32_t until = to < stop ? last : to; /* the last rows may be fewer */
            shrink_rows(kernel, source, stride, next, until, safe < rows ? (int32_t)safe : rows,
                        reach < row_bytes ? reach : row_bytes, across, scratch + (next - origin) * narrow, narrow, copy);
            next = until;
        }
        const uint8_t *top = scratch + (first - origin) * narrow;
        const uint32_t *weights = down->weights + (int64_t)y * down->taps;
        for (int64_t x = 0; x < width; x += VECTOR) {
            if (x + VECTOR <= width) {
                kernel->down(top + x, narrow, down->count[y], weights, out + x);
            } else {
                uint8_t part[VECTOR];
                kernel->down(top + x, narrow, down->count[y], weights, part);
                memcpy(out + x, part, (size_t)(width - x));
            }
        }
    }
    return 0;
}
